"""Convolutions of label maps, evaluated once per distinct label patch or densely.

What a token stands for is free: its one-hot class (SPADE), or any vector, one row per token. The first
convolution of a map of such vectors is a sum of nine table rows as well, with the table rows * kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from semantic_synthesis.layers.convolution import add_array
from semantic_synthesis.layers.pairs import pick
from semantic_synthesis.layers.spreading import gather, spread

if TYPE_CHECKING:
    from semantic_synthesis.layers.initialization import Initializer
    from semantic_synthesis.layers.patches import LabelPlan


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
