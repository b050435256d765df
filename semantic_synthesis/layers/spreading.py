"""Values of a few distinct conditions spread over the pixels that share them, with fast exact gradients."""

from collections.abc import Callable

import tensorflow as tf


def find_runs(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(run of each pixel int32 [n], index of each run [R]) of an integer index of any shape with n elements."""
    flat = tf.reshape(index, [-1])
    starts = tf.concat([[True], flat[1:] != flat[:-1]], 0)
    return tf.cumsum(tf.cast(starts, tf.int32)) - 1, tf.boolean_mask(flat, starts)


@tf.custom_gradient
def gather(table: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """tf.gather(table [N,F], index) whose gradient is summed in float32, also for bfloat16 tables."""

    def backward(gradient):
        rows = tf.reshape(tf.cast(gradient, tf.float32), [-1, table.shape[1]])
        sums = tf.math.unsorted_segment_sum(rows, tf.reshape(index, [-1]), tf.shape(table)[0])
        return tf.cast(sums, table.dtype), None

    return tf.gather(table, index), backward


def spread(
    x: tf.Tensor,
    values: tf.Tensor,
    index: tf.Tensor,
    runs: tf.Tensor | None,
    run_index: tf.Tensor | None,
) -> tf.Tensor:
    """x * scale + shift with (scale, shift) = values[index]: x [N,h,w,F], values [Q,2F], index and its runs as
    `find_runs` gives them; without runs (None) for inference only."""
    if runs is None:
        return _spread_values(x, _halves(values), index)
    return _spread(x, values, index, runs, run_index)


def _halves(values):
    return tf.reshape(values, [-1, values.shape[-1] // 2])  # [2Q,F]: scale and shift of a patch in turn


def _spread_values(x, halves, index):
    return x * tf.gather(halves, 2 * index) + tf.gather(halves, 2 * index + 1)


@tf.custom_gradient
def _spread(x, values, index, runs, run_index):
    """`spread` with a gradient.

    The gradient keeps x alone and gathers again; sums over pixels run in float32, first over runs of
    equal pixels, then over runs of equal index, which is faster than one scattered sum.
    """
    halves = _halves(values)
    y = _spread_values(x, halves, index)

    def backward(dy):
        rows = tf.cast(tf.concat([dy * x, dy], -1), tf.float32)  # [N,h,w,2F]
        rows = tf.reshape(rows, [-1, *tf.unstack(tf.shape(index)), rows.shape[-1]])  # [N/B,B,h,w,2F]
        rows = tf.reshape(tf.reduce_sum(rows, 0), [-1, rows.shape[-1]])  # [B*h*w,2F]
        sums = tf.math.segment_sum(rows, runs)  # [S,2F]
        sums = tf.math.unsorted_segment_sum(sums, run_index, tf.shape(values)[0])  # [Q,2F]
        with tf.control_dependencies([dy]):  # else it is gathered at once and waits for dy in memory
            scale = tf.gather(halves, 2 * index)
        return dy * scale, tf.cast(sums, values.dtype), None, None, None

    return y, backward
