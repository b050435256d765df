"""Spectral norm as a function of kernel, u and v, with gradients that keep little.

Left to TensorFlow, the gradient of a quotient starts with -numerator / denominator^2, which needs nothing of the
backward pass; so those of all kernels are made early and wait in memory, as large as the weights themselves.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def spectral_norm(kernel: tf.Tensor, u: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
    """sigma = v . W u, a scalar: kernel [...,out] as a matrix W [rows,out]; u [out], v [rows] are constants."""
    matrix = tf.reshape(kernel, [-1, kernel.shape[-1]])
    return tf.tensordot(tf.stop_gradient(v), tf.linalg.matvec(matrix, tf.stop_gradient(u)), 1)


@tf.custom_gradient
def normalised(kernel: tf.Tensor, u: tf.Tensor, v: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """kernel / sigma, shape of the kernel; its gradient (dy - (dy . y) v u^T) / sigma needs the result y alone."""
    sigma = spectral_norm(kernel, u, v)
    y = kernel / sigma

    def backward(dy):
        along = tf.reduce_sum(dy * y) / sigma
        outer = tf.reshape(along * v, [-1, 1]) * u[None]  # [rows,out]
        return dy / sigma - tf.reshape(outer, tf.shape(y)), None, None

    return y, backward


@tf.custom_gradient
def divided(x: tf.Tensor, sigma: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """x / sigma, sigma a float32 scalar, x of any dtype; the gradient needs the result y alone."""
    small = tf.cast(sigma, x.dtype)
    y = x / small

    def backward(dy):
        along = tf.reduce_sum(tf.cast(dy, tf.float32) * tf.cast(y, tf.float32))
        return dy / small, -along / sigma

    return y, backward
