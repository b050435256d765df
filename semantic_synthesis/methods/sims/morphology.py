"""Edges and dilations of masks as the original's MATLAB functions make them, and boxes, in TensorFlow."""

import tensorflow as tf


def edges(mask: tf.Tensor) -> tf.Tensor:
    """bool [N,H,W] -> bool [N,H,W]: Sobel edges, thinned, without threshold (MATLAB's edge(mask, 'Sobel', 0)).

    Of the two pixels at a step the right or lower one is kept; squared gradients count as 0 outside the frame.
    """
    x = tf.cast(tf.pad(tf.cast(mask, tf.int8), [[0, 0], [1, 1], [1, 1]], "SYMMETRIC"), tf.int32)
    left, middle, right = x[:, :, :-2], x[:, :, 1:-1], x[:, :, 2:]
    rows = right - left  # [N,H+2,W]
    gx = rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]
    columns = left + 2 * middle + right
    gy = columns[:, 2:] - columns[:, :-2]
    b = gx * gx + gy * gy  # [N,H,W]
    wide = tf.pad(b, [[0, 0], [1, 1], [1, 1]])
    across = (tf.abs(gx) >= tf.abs(gy)) & (wide[:, 1:-1, :-2] <= b) & (b > wide[:, 1:-1, 2:])
    down = (tf.abs(gy) >= tf.abs(gx)) & (wide[:, :-2, 1:-1] <= b) & (b > wide[:, 2:, 1:-1])
    return (b > 0) & (across | down)


def dilate(mask: tf.Tensor, size: int) -> tf.Tensor:
    """bool [N,H,W] -> bool [N,H,W]: grown by a full size x size square.

    Even squares reach size/2 - 1 pixels up and left and size/2 down and right.
    """
    return _grow(_grow(mask, size, 1), size, 2)


def _grow(mask, size, axis):
    """True where one of the size pixels around is, along one axis: by differences of sums, whatever the size."""
    before, after = size // 2, (size - 1) // 2
    ends = [[0, 0], [0, 0], [0, 0]]
    ends[axis] = [before + 1, after]
    sums = tf.cumsum(tf.pad(tf.cast(mask, tf.int32), ends), axis)
    length = tf.shape(mask)[axis]
    if axis == 1:
        return sums[:, size : size + length] > sums[:, :length]
    return sums[:, :, size : size + length] > sums[:, :, :length]


def band(mask: tf.Tensor, size: int) -> tf.Tensor:
    """bool [N,H,W]: what lies around the edges of masks."""
    return dilate(edges(mask), size)


def enlarge(x: tf.Tensor, scale: int) -> tf.Tensor:
    """Pixel repetition of [N,h,w] or [N,h,w,F]."""
    return x if scale == 1 else tf.repeat(tf.repeat(x, scale, axis=1), scale, axis=2)
