"""Label patches: a function of small label neighbourhoods, evaluated once per distinct neighbourhood.

SPADE's scale and shift at a pixel depend on the 5x5 labels around it alone (two 3x3 convolutions, Park
et al., section 3.1). `plan_label` numbers the distinct 3x3 and 5x5 neighbourhoods of a label batch;
`LabelModulation` evaluates the two convolutions on them, or densely, over the same variables.
The numbering is exact: neighbourhoods are packed into int64 and compared with tf.unique, never hashed
to fewer bits. Zero padding of the labels and of the hidden layer is part of a neighbourhood.

What a token stands for is free: its one-hot class (SPADE), or any vector, one row per token. The first
convolution of a map of such vectors is a sum of nine table rows as well, with the table rows * kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from semantic_synthesis.layers.convolution import add_array
from semantic_synthesis.layers.pairs import Pairs, Picked, find_pairs, pick
from semantic_synthesis.layers.spreading import find_runs, gather, spread

if TYPE_CHECKING:
    from semantic_synthesis.layers.initialization import Initializer

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


class LabelModulation(keras.layers.Layer):
    """scale and shift maps: conv(relu(conv(vector of each pixel's token))), both 3x3 with zero padding.

    Arguments: num_classes C, or length D of the rows; channels F of scale and of shift; hidden width; edges:
    whether tokens carry an instance-edge bit, which is semantic channel C; kernel_size other than 3 exists in
    dense form only.
    Variables: shared_kernel [k,k,C(+1),hidden], shared_bias, kernel [k,k,hidden,2F] (scale first), bias [2F].
    """

    def __init__(
        self,
        num_classes: int,
        channels: int,
        hidden: int,
        *,
        edges: bool = False,
        kernel_size: int = 3,
        init: Initializer,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, autocast=False)
        self.num_classes, self.edges, self.kernel_size = num_classes, edges, kernel_size
        semantic = num_classes + int(edges)
        window = (kernel_size, kernel_size)
        halves = [init((*window, hidden, channels)) for _ in range(2)]
        self.shared_kernel = add_array(self, "shared_kernel", init((*window, semantic, hidden)))
        self.shared_bias = add_array(self, "shared_bias", np.zeros(hidden, np.float32))
        self.kernel = add_array(self, "kernel", np.concatenate(halves, -1))
        self.bias = add_array(self, "bias", np.zeros(2 * channels, np.float32))
        self.built = True

    def call(
        self, x: tf.Tensor, plan: LabelPlan, fold: Any = None, rows: tf.Tensor | None = None
    ) -> tf.Tensor:
        """x * scale + shift at every pixel: x [N,h,w,F], plan of batch N or 1 -> the same shape and dtype.

        rows: float [T,D], the vector of each token, for plans of T tokens (and N samples, as each has rows of
        its own); None: tokens are classes, their vectors one-hot.
        fold(scale, shift) -> (scale, shift) is applied before values are spread over the pixels; it
        gets float32 [Q,F] or [B,h,w,F] and must act on the last axis only. None: taken as they are.
        """
        if plan.patches is None:
            return self._dense(x, plan, fold, rows)
        if plan.use_patches is None:
            return self._by_patches(x, plan, fold, rows)
        return tf.cond(
            plan.use_patches,
            lambda: self._by_patches(x, plan, fold, rows),
            lambda: self._dense(x, plan, fold, rows),
        )

    def _by_patches(self, x, plan, fold, rows=None):
        # The values do not depend on x; without this all layers' would be made first and wait in memory.
        with tf.control_dependencies([x]):
            values = self._folded(self.patch_values(plan, rows), fold)  # [Q,2F]
        if plan.picked is not None:
            x = pick(x, plan.picked)
        return spread(x, values, plan.index, plan.runs, plan.run_index)

    def patch_values(self, plan: LabelPlan, rows: tf.Tensor | None = None) -> tf.Tensor:
        """[Q,2F]: scale and shift, biases included, of each distinct 5x5 patch."""
        table = self._table(rows)  # [9,T+1,hidden]
        tokens, width = tf.shape(table)[1] if rows is not None else table.shape[1], table.shape[2]
        positions = plan.patches + tokens * tf.range(9)  # [P,9]
        taps = gather(tf.reshape(table, [-1, width]), positions)  # [P,9,hidden]
        hidden = tf.nn.relu(tf.reduce_sum(taps, 1) + tf.cast(self.shared_bias.value, taps.dtype))
        hidden = tf.pad(hidden, [[0, 1], [0, 0]])  # [P+1,hidden], zeros outside the map
        strips = tf.reshape(gather(hidden, plan.triples), [-1, 3 * width])  # [R+1,3*hidden]
        kernel = tf.cast(self.kernel.value, self.compute_dtype)
        matrices = tf.unstack(tf.reshape(kernel, [3, 3 * width, kernel.shape[-1]]))  # 3 x [3*hidden,2F]
        columns = tf.unstack(plan.columns, axis=1)  # 3 x [Q]
        values = [gather(tf.matmul(strips, m), column) for m, column in zip(matrices, columns, strict=True)]
        return self._add_bias(tf.add_n(values))

    def _table(self, rows=None):
        """[9,T+1,hidden] in the compute dtype: contribution of a token at each tap, zeros for outside."""
        return tap_table(tf.cast(self.shared_kernel.value, self.compute_dtype), self.edges, rows)

    def _dense(self, x, plan, fold, rows=None):
        if rows is None:
            semantics = one_hot_semantics(plan.tokens, self.num_classes, self.edges, self.compute_dtype)
        else:
            semantics = gather(tf.cast(rows, self.compute_dtype), plan.tokens)  # [N,h,w,D]
        shared = tf.cast(self.shared_kernel.value, self.compute_dtype)
        hidden = tf.nn.conv2d(semantics, shared, 1, "SAME")
        hidden = tf.nn.relu(tf.nn.bias_add(hidden, tf.cast(self.shared_bias.value, hidden.dtype)))
        kernel = tf.cast(self.kernel.value, self.compute_dtype)
        values = self._folded(self._add_bias(tf.nn.conv2d(hidden, kernel, 1, "SAME")), fold)
        scale, shift = tf.split(values, 2, -1)
        return x * scale + shift

    def _add_bias(self, values):
        return tf.nn.bias_add(values, tf.cast(self.bias.value, values.dtype))

    def _folded(self, values, fold):
        if fold is None:
            return values
        halves = tf.split(tf.cast(values, tf.float32), 2, -1)
        return tf.cast(tf.concat(fold(*halves), -1), values.dtype)

    def fold_statistics(self, a: tf.Tensor, b: tf.Tensor) -> None:
        """Makes this layer's own output scale * a and scale * b + shift, scale counted from 1: a, b [F].

        The kernel and bias take the place of `fold` in `call`; for inference only.
        """
        for variable, one in ((self.kernel, 0.0), (self.bias, 1.0)):
            scale, shift = tf.split(tf.cast(variable.value, tf.float32), 2, -1)
            scale += one
            variable.assign(tf.concat([scale * a, scale * b + shift], -1))


def tap_table(kernel: tf.Tensor, edges: bool, rows: tf.Tensor | None = None) -> tf.Tensor:
    """[k*k,T+1,F]: what each token, or row [T,D], adds at each tap of a kernel [k,k,D,F]; zeros for outside."""
    kernel = tf.reshape(
        kernel, [kernel.shape[0] * kernel.shape[1], *kernel.shape[2:]]
    )  # [9,C(+1),F] for k = 3
    if rows is not None:
        kernel = tf.matmul(tf.cast(rows, kernel.dtype)[None], kernel)  # [9,T,F]
    elif edges:
        plain, edge = kernel[:, :-1], kernel[:, -1:]
        kernel = tf.stack([plain, plain + edge], 2)  # [9,C,2,F]
        kernel = tf.reshape(kernel, [kernel.shape[0], -1, kernel.shape[-1]])  # [9,2C,F]
    return tf.pad(kernel, [[0, 0], [0, 1], [0, 0]])


def label_convolution(plan: LabelPlan, kernel: tf.Tensor, edges: bool) -> tf.Tensor:
    """3x3 convolution, zero padding, of the one-hot map that a plan was made from: kernel [3,3,C(+1),F] ->
    [B,h,w,F]. On distinct patches where the plan says so, else dense."""

    def dense():
        num_classes = kernel.shape[2] - int(edges)
        return tf.nn.conv2d(
            one_hot_semantics(plan.tokens, num_classes, edges, kernel.dtype), kernel, 1, "SAME"
        )

    def by_patches():
        table = tap_table(kernel, edges)  # [9,T+1,F]
        positions = plan.patches + table.shape[1] * tf.range(9)  # [P,9]
        sums = tf.reduce_sum(gather(tf.reshape(table, [-1, table.shape[2]]), positions), 1)  # [P,F]
        centres = tf.gather(plan.triples[:, 1], plan.columns[:, 1])  # [Q]: the patch in each 5x5 one
        return gather(sums, tf.gather(centres, plan.index))

    if plan.patches is None:
        return dense()
    return by_patches() if plan.use_patches is None else tf.cond(plan.use_patches, by_patches, dense)


def one_hot_semantics(tokens: tf.Tensor, num_classes: int, edges: bool, dtype: Any) -> tf.Tensor:
    """[B,h,w,C(+1)]: the one-hot label map, and the edge channel last where tokens carry it."""
    if not edges:
        return tf.one_hot(tokens, num_classes, dtype=dtype)
    one_hot = tf.one_hot(tokens // 2, num_classes, dtype=dtype)
    return tf.concat([one_hot, tf.cast(tokens % 2, dtype)[..., None]], -1)
