"""Label patches: a function of small label neighbourhoods, evaluated once per distinct neighbourhood.

SPADE's scale and shift at a pixel depend on the 5x5 labels around it alone (two 3x3 convolutions, Park
et al., section 3.1). `plan_label` numbers the distinct 3x3 and 5x5 neighbourhoods of a label batch;
`LabelModulation` evaluates the two convolutions on them, or densely, over the same variables.
The numbering is exact: neighbourhoods are packed into int64 and compared with tf.unique, never hashed
to fewer bits. Zero padding of the labels and of the hidden layer is part of a neighbourhood.
"""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from semantic_synthesis.layers.convolution import add_array

# Above this share of distinct 5x5 patches the dense convolutions are faster (docs/performance.md).
MOST_DISTINCT = 0.5
# Three ids below 2^21 pack into 63 bits.
_PACKABLE = 2**21


class LabelPlan(NamedTuple):
    """One label batch at one resolution.

    tokens [B,h,w] int32: class id, or 2 * class id + edge bit where instance edges are used.
    patches [P,9] int32: tokens of each distinct 3x3 patch, row-major; `num_tokens` outside the map.
    neighbours [Q,9] int32: the 3x3 patches around each distinct 5x5 patch; P outside the map.
    index [B,h,w] int32: which 5x5 patch lies around each pixel.
    runs [B*h*w] int32, run_index [R] int32: pixels in reading order fall into R runs of equal index;
    the run of each pixel and the index of each run (gradients are summed by runs first).
    use_patches: scalar bool, whether the patch form is the faster one for this batch; None: no question.
    A plan without patches is for the dense form. Only tensors and None, so that a plan may cross
    tf.function boundaries.
    """

    tokens: tf.Tensor
    patches: tf.Tensor | None
    neighbours: tf.Tensor | None
    index: tf.Tensor | None
    runs: tf.Tensor | None
    run_index: tf.Tensor | None
    use_patches: tf.Tensor | None


def label_tokens(label, edges=None):
    """int32 [B,h,w] tokens from label ids and, where used, the edge map (0 or 1) of the same shape."""
    return label if edges is None else 2 * label + tf.cast(edges, tf.int32)


def plan_label(tokens, num_tokens, form="auto"):
    """The LabelPlan of int32 tokens [B,h,w] in [0, num_tokens).

    form: patches, dense, or auto (patches where few neighbourhoods are distinct, decided per batch).
    """
    if form == "dense":
        return LabelPlan(tokens, None, None, None, None, None, None)
    patches, index, packable = _number(tf.cast(tokens, tf.int64), tf.constant(num_tokens, tf.int64))
    count = tf.shape(patches, tf.int64)[0]
    neighbours, index, packable_5 = _number(index, count)
    use_patches = None
    if form == "auto":
        share = tf.shape(neighbours)[0] / tf.size(tokens)
        use_patches = packable & packable_5 & (share <= MOST_DISTINCT)
    else:
        tf.debugging.assert_equal(packable & packable_5, True, "too many distinct patches; use modulation auto")
    patches, neighbours, index = (tf.cast(ids, tf.int32) for ids in (patches, neighbours, index))
    return LabelPlan(tokens, patches, neighbours, index, *_find_runs(index), use_patches)


def _find_runs(index):
    """(run of each pixel [B*h*w], index of each run [R]) of int32 index [B,h,w]."""
    flat = tf.reshape(index, [-1])
    starts = tf.concat([[True], flat[1:] != flat[:-1]], 0)
    return tf.cumsum(tf.cast(starts, tf.int32)) - 1, tf.boolean_mask(flat, starts)


def _number(ids, outside):
    """Numbers the distinct 3x3 neighbourhoods of int64 ids [B,h,w] in [0, outside).

    Returns (members [P,9], index [B,h,w], packable): the ids of each neighbourhood with `outside`
    beyond the border, the neighbourhood of each pixel, and whether the numbering is exact.
    """
    triples, rows, exact = _number_triples(ids, outside, axis=2)
    count = tf.shape(triples, tf.int64)[0]
    columns, index, exact_columns = _number_triples(rows, count, axis=1)
    triples = tf.concat([triples, tf.fill([1, 3], outside)], 0)  # the row beyond the border
    members = tf.reshape(tf.gather(triples, columns), [-1, 9])  # [P,9]
    return members, index, exact & exact_columns


def _number_triples(ids, outside, axis):
    """Distinct triples of neighbours along an axis: (members [R,3], index [B,h,w] int64, exact)."""
    padding = [[0, 0], [0, 0], [0, 0]]
    padding[axis] = [1, 1]
    padded = tf.pad(ids, padding, constant_values=outside)
    base = outside + 1
    size = tf.shape(ids)[axis]
    first, middle, last = (_slice(padded, axis, start, size) for start in range(3))
    keys, index = tf.unique(tf.reshape((first * base + middle) * base + last, [-1]))
    members = tf.stack([keys // (base * base), keys // base % base, keys % base], 1)  # [R,3]
    return members, tf.cast(tf.reshape(index, tf.shape(ids)), tf.int64), base <= _PACKABLE


def _slice(x, axis, start, size):
    return x[:, start : start + size] if axis == 1 else x[:, :, start : start + size]


class LabelModulation(keras.layers.Layer):
    """scale and shift maps: conv(relu(conv(one-hot label))), both 3x3 with zero padding.

    Arguments: num_classes C; channels F of scale and of shift; hidden width; edges: whether tokens carry
    an instance-edge bit, which is semantic channel C; kernel_size other than 3 exists in dense form only.
    Variables: shared_kernel [k,k,C(+1),hidden], shared_bias, kernel [k,k,hidden,2F] (scale first), bias [2F].
    """

    def __init__(self, num_classes, channels, hidden, *, edges=False, kernel_size=3, init, name=None):
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

    def call(self, x, plan, fold):
        """x * scale + shift at every pixel: x [N,h,w,F], plan of batch N or 1 -> the same shape and dtype.

        fold(scale, shift) -> (scale, shift) is applied before values are spread over the pixels; it
        gets float32 [Q,F] or [B,h,w,F] and must act on the last axis only.
        """
        if plan.patches is None:
            return self._dense(x, plan, fold)
        if plan.use_patches is None:
            return self._by_patches(x, plan, fold)
        return tf.cond(
            plan.use_patches, lambda: self._by_patches(x, plan, fold), lambda: self._dense(x, plan, fold)
        )

    def _by_patches(self, x, plan, fold):
        scale, shift = self._split(self.patch_values(plan), fold)  # 2 x [Q,F]
        return spread(x, scale, shift, plan)

    def patch_values(self, plan):
        """[Q,2F]: scale and shift, biases included, of each distinct 5x5 patch."""
        table = self._table()  # [9,T+1,hidden]
        hidden_width, rows = table.shape[2], table.shape[1]
        positions = plan.patches + rows * tf.range(9)  # [P,9]
        taps = tf.gather(tf.reshape(table, [-1, hidden_width]), positions)  # [P,9,hidden]
        hidden = tf.nn.relu(tf.reduce_sum(taps, 1) + tf.cast(self.shared_bias.value, taps.dtype))
        hidden = tf.pad(hidden, [[0, 1], [0, 0]])  # [P+1,hidden], zeros outside the map
        columns = tf.reshape(tf.gather(hidden, plan.neighbours), [-1, 9 * hidden_width])  # [Q,9*hidden]
        kernel = tf.cast(self.kernel.value, self.compute_dtype)
        return self._add_bias(tf.matmul(columns, tf.reshape(kernel, [-1, kernel.shape[-1]])))

    def _table(self):
        """[9,T+1,hidden] in the compute dtype: contribution of a token at each tap, zeros for outside."""
        kernel = tf.cast(self.shared_kernel.value, self.compute_dtype)
        kernel = tf.reshape(kernel, [9, *kernel.shape[2:]])  # [9,C(+1),hidden]
        if self.edges:
            plain, edge = kernel[:, :-1], kernel[:, -1:]
            kernel = tf.stack([plain, plain + edge], 2)  # [9,C,2,hidden]
            kernel = tf.reshape(kernel, [9, 2 * self.num_classes, kernel.shape[-1]])  # [9,2C,hidden]
        return tf.pad(kernel, [[0, 0], [0, 1], [0, 0]])

    def _dense(self, x, plan, fold):
        semantics = one_hot_semantics(plan.tokens, self.num_classes, self.edges, self.compute_dtype)
        shared = tf.cast(self.shared_kernel.value, self.compute_dtype)
        hidden = tf.nn.conv2d(semantics, shared, 1, "SAME")
        hidden = tf.nn.relu(tf.nn.bias_add(hidden, tf.cast(self.shared_bias.value, hidden.dtype)))
        kernel = tf.cast(self.kernel.value, self.compute_dtype)
        scale, shift = self._split(self._add_bias(tf.nn.conv2d(hidden, kernel, 1, "SAME")), fold)
        return x * scale + shift

    def _add_bias(self, values):
        return tf.nn.bias_add(values, tf.cast(self.bias.value, values.dtype))

    def _split(self, values, fold):
        scale, shift = fold(*tf.split(tf.cast(values, tf.float32), 2, -1))
        return tf.cast(scale, self.compute_dtype), tf.cast(shift, self.compute_dtype)


def spread(x, scale, shift, plan):
    """x * scale[index] + shift[index]: x [N,h,w,F], scale and shift [Q,F] of x's dtype.

    The gradient keeps x alone and gathers again; sums over pixels run in float32, first over runs of
    equal pixels, then over runs of equal index, which is faster than one scattered sum.
    """

    return _spread(x, scale, shift, plan.index, plan.runs, plan.run_index)


@tf.custom_gradient
def _spread(x, scale, shift, index, runs, run_index):
    y = x * tf.gather(scale, index) + tf.gather(shift, index)

    def backward(dy):
        rows = tf.cast(tf.concat([dy * x, dy], -1), tf.float32)  # [N,h,w,2F]
        rows = tf.reshape(rows, [-1, *tf.unstack(tf.shape(index)), rows.shape[-1]])  # [N/B,B,h,w,2F]
        rows = tf.reshape(tf.reduce_sum(rows, 0), [-1, rows.shape[-1]])  # [B*h*w,2F]
        sums = tf.math.segment_sum(rows, runs)  # [R,2F]
        sums = tf.math.unsorted_segment_sum(sums, run_index, tf.shape(scale)[0])  # [Q,2F]
        dscale, dshift = tf.split(tf.cast(sums, scale.dtype), 2, -1)
        return dy * tf.gather(scale, index), dscale, dshift, None, None, None

    return y, backward


def one_hot_semantics(tokens, num_classes, edges, dtype):
    """[B,h,w,C(+1)]: the one-hot label map, and the edge channel last where tokens carry it."""
    if not edges:
        return tf.one_hot(tokens, num_classes, dtype=dtype)
    one_hot = tf.one_hot(tokens // 2, num_classes, dtype=dtype)
    return tf.concat([one_hot, tf.cast(tokens % 2, dtype)[..., None]], -1)
