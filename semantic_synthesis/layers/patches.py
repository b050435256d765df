"""Label patches: the small neighbourhoods of a label batch, numbered.

SPADE's scale and shift at a pixel depend on the 5x5 labels around it alone (two 3x3 convolutions, Park
et al., section 3.1). `plan_label` numbers the distinct 3x3 and 5x5 neighbourhoods of a label batch;
`modulation.LabelModulation` evaluates the two convolutions on them, or densely, over the same variables.
The numbering is exact: neighbourhoods are packed into int64 and compared with tf.unique, never hashed
to fewer bits. Zero padding of the labels and of the hidden layer is part of a neighbourhood.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf
from absl import logging

from semantic_synthesis.layers.pairs import Pairs, Picked, find_pairs
from semantic_synthesis.layers.spreading import find_runs

# Above this share of distinct 5x5 patches the dense convolutions are faster (docs/performance.md).
MOST_DISTINCT = 0.5
# Three ids below 2^21 pack into 63 bits.
_PACKABLE = 2**21


class LabelPlan(NamedTuple):
    """One label batch at one resolution; P, R, Q count distinct 3x3, 3x5 and 5x5 neighbourhoods.

    tokens [B,h,w] int32: class id, or 2 * class id + edge bit where instance edges are used, or the number of
    a row (`LabelModulation`).
    patches [P,9] int32: tokens of each 3x3 patch, row-major; `num_tokens` outside the map.
    triples [R+1,3] int32: the 3x3 patches (of each 3x5 one) side by side; P outside the map. The last
    row is the one beyond the upper and lower border.
    columns [Q,3] int32: the triples above, at and below the centre of each 5x5 patch.
    index [B,h,w] int32: which 5x5 patch lies around each pixel.
    runs [B*h*w] int32, run_index [S] int32: pixels in reading order fall into S runs of equal index;
    the run of each pixel and the index of each run (gradients are summed by runs first).
    use_patches: scalar bool, whether the patch form is the faster one for this batch, and a possible one; None: no
    question.
    pairs: of the cells before an enlargement that comes just before this resolution, and the index; None: no question.
    picked: of a plan of such pairs, whose index is [1,U,1], the cells.
    A plan without patches is for the dense form. Only tensors and None, so that a plan may cross
    tf.function boundaries.
    """

    tokens: tf.Tensor
    patches: tf.Tensor | None = None
    triples: tf.Tensor | None = None
    columns: tf.Tensor | None = None
    index: tf.Tensor | None = None  # type: ignore[assignment]  # hides tuple.index
    runs: tf.Tensor | None = None
    run_index: tf.Tensor | None = None
    use_patches: tf.Tensor | None = None
    pairs: Pairs | None = None
    picked: Picked | None = None

    def of_pairs(self) -> LabelPlan:
        """The plan of rows, one for each of this plan's pairs, in the place of pixels."""
        assert self.pairs is not None
        index = self.pairs.index[None, :, None]
        return self._replace(
            index=index, runs=None, run_index=None, use_patches=None, pairs=None, picked=self.pairs.picked
        )

    def dense(self) -> LabelPlan:
        """The plan for the dense form."""
        return LabelPlan(self.tokens)

    def repeated(self, count: int | tf.Tensor, num_tokens: int | tf.Tensor) -> LabelPlan:
        """The plan of `count` copies of this plan's layout whose tokens differ: those of copy i are
        num_tokens * i more. For styles that give each copy rows of its own."""
        copies = tf.range(count)
        tokens = self.tokens + num_tokens * copies[:, None, None]  # [count,h,w]
        if self.patches is None or self.triples is None or self.runs is None or self.run_index is None:
            return LabelPlan(tokens)
        patches, triples = tf.shape(self.patches)[0], tf.shape(self.triples)[0] - 1
        columns, runs = tf.shape(self.columns)[0], tf.shape(self.run_index)[0]
        outside = tf.fill([1, 3], patches * count)
        return LabelPlan(
            tokens,
            _copies(self.patches, num_tokens, count),
            tf.concat([_copies(self.triples[:-1], patches, count), outside], 0),
            _copies(self.columns, triples, count),
            self.index + columns * copies[:, None, None],
            tf.reshape(self.runs[None] + runs * copies[:, None], [-1]),
            tf.reshape(self.run_index[None] + columns * copies[:, None], [-1]),
            self.use_patches,
            self.pairs and self.pairs.repeated(count, columns),
        )


def _copies(ids, size, count):
    """Ids int32 [n,k] in [0,size], where size means outside, of `count` copies one after another: [count*n,k] in
    [0,count*size]."""
    shifted = ids[None] + size * tf.range(count)[:, None, None]  # [count,n,k]
    shifted = tf.where(ids[None] == size, size * count, shifted)
    return tf.reshape(shifted, [-1, ids.shape[1]])


def modulation_form(asked: str, kernel_size: int, said: bool = False) -> str:
    """The form to plan with, from the option: auto, patches or dense. said: whether the choice is logged.

    auto is dense where a GPU is present (patches are slower there: docs/performance.md) and for kernels other than 3x3,
    of which patches are not made; else it stays auto, and each batch decides by its share of distinct
    patches at each resolution.
    """
    form = asked
    if kernel_size != 3 or (asked == "auto" and tf.config.list_physical_devices("GPU")):
        form = "dense"
    if asked == "patches" and kernel_size != 3:
        raise ValueError(
            f"--modulation patches with {kernel_size}x{kernel_size} kernels in norm_G; expected 3x3"
        )
    if said:
        logging.info(
            "label modulation: %s (--modulation %s)",
            {
                "dense": "computed at every pixel",
                "patches": "computed once for each distinct label patch",
                "auto": "computed once for each distinct label patch where at most "
                f"{MOST_DISTINCT:.0%} of them are distinct, else at every pixel",
            }[form],
            asked,
        )
    return form


def label_tokens(label: tf.Tensor, edges: tf.Tensor | None = None) -> tf.Tensor:
    """int32 [B,h,w] tokens from label ids and, where used, the edge map (0 or 1) of the same shape."""
    return label if edges is None else 2 * label + tf.cast(edges, tf.int32)


def plan_label(
    tokens: tf.Tensor, num_tokens: int | tf.Tensor, form: str = "auto", paired: bool = False
) -> LabelPlan:
    """The LabelPlan of int32 tokens [B,h,w] in [0, num_tokens), a number or scalar tensor.

    num_tokens: a number or an integer scalar tensor; form: patches, dense, or auto (patches where few neighbourhoods
    are distinct, decided per batch); paired: whether an enlargement by two comes just before (layers/pairs.py). Batches
    of more patches than can be numbered are for the dense form, whatever was asked for.
    """
    if form == "dense":
        return LabelPlan(tokens)
    # 3x3 patches of tokens, then 3x3 patches of those.
    triples, rows, exact = _number(tf.cast(tokens, tf.int64), tf.cast(num_tokens, tf.int64), axis=2)
    columns, ids, exact_2 = _number(rows, _outside(triples), axis=1)
    patches = tf.reshape(tf.gather(triples, columns[:-1]), [-1, 9])  # [P,9]
    triples, rows, exact_3 = _number(ids, tf.shape(patches, tf.int64)[0], axis=2)
    columns, index, exact_4 = _number(rows, _outside(triples), axis=1)
    columns = columns[:-1]  # [Q,3]
    exact = exact & exact_2 & exact_3 & exact_4
    use_patches = None if form == "patches" and _surely_few(tokens, num_tokens) else exact
    if form == "auto":
        use_patches = exact & (tf.shape(columns)[0] / tf.size(tokens) <= MOST_DISTINCT)
    patches, triples, columns, index = (tf.cast(x, tf.int32) for x in (patches, triples, columns, index))
    pairs = find_pairs(index) if paired else None
    return LabelPlan(tokens, patches, triples, columns, index, *find_runs(index), use_patches, pairs)


def _surely_few(tokens, num_tokens):
    """Whether the shape alone says that all numbers can be packed: there is no dense form to keep ready then."""
    pixels = tf.TensorShape(tokens.shape).num_elements()  # as many patches at most, and one beyond the border
    return (
        pixels is not None and pixels < _PACKABLE and not tf.is_tensor(num_tokens) and num_tokens < _PACKABLE
    )


def _number(ids, outside, axis):
    """Numbers the distinct triples of neighbours along an axis of int64 ids [B,h,w] in [0, outside).

    Returns (members [R+1,3], index [B,h,w], exact): the ids of each triple with `outside` beyond the
    border, last the triple that lies wholly outside; the triple around each pixel; whether ids were few
    enough to be packed. If not, nothing of it is used, and it is that of ids 0, so that no number is out of bounds.
    """
    exact = outside < _PACKABLE
    ids, outside = tf.where(exact, ids, 0), tf.where(exact, outside, 1)
    padding = [[0, 0], [0, 0], [0, 0]]
    padding[axis] = [1, 1]
    padded = tf.pad(ids, padding, constant_values=outside)
    base = outside + 1
    size = tf.shape(ids)[axis]
    first, middle, last = (_slice(padded, axis, start, size) for start in range(3))
    keys, index = tf.unique(tf.reshape((first * base + middle) * base + last, [-1]))
    members = tf.stack([keys // (base * base), keys // base % base, keys % base], 1)  # [R,3]
    members = tf.concat([members, tf.fill([1, 3], outside)], 0)
    return members, tf.cast(tf.reshape(index, tf.shape(ids)), tf.int64), exact


def _outside(triples):
    """The id of the triple that lies wholly outside: int64 scalar."""
    return tf.shape(triples, tf.int64)[0] - 1


def _slice(x, axis, start, size):
    return x[:, start : start + size] if axis == 1 else x[:, :, start : start + size]
