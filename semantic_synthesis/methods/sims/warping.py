"""The spatial transformer of SIMS (section 4.2, after Jaderberg et al., 2015), in pixels about the centre.

Deviation: samples are cut off at the picture's border, not one pixel before it, and grids of odd sizes are right;
`legacy` keeps the original's ways (the last row and column come out 0, odd grids are off).
"""

import tensorflow as tf


def warp(image: tf.Tensor, theta: tf.Tensor, legacy: bool = False) -> tf.Tensor:
    """Bilinear sampling at affinely transformed places; 0 outside.

    image float32 [N,H,W,F]; theta [N,6] or [N,2,3]: (x, y) of the input = theta (x, y, 1) of the output, pixels
    about the centre (W // 2, H // 2). -> [N,H,W,F]; gradients reach both.
    """
    height, width = image.shape[1], image.shape[2]
    theta = tf.reshape(theta, [-1, 2, 3])
    x, y = _grid(height, width, legacy)
    ones = tf.ones_like(x)
    places = tf.matmul(theta, tf.stack([x, y, ones])[None])  # [N,2,H*W]
    x, y = places[:, 0] + width // 2, places[:, 1] + height // 2
    x0, y0 = tf.floor(x), tf.floor(y)
    total = 0.0
    for dy in (0, 1):
        for dx in (0, 1):
            total += _corner(image, x, y, x0, y0, dx, dy, legacy)
    return tf.reshape(total, tf.shape(image))


def _grid(height, width, legacy):
    """x and y of the output's pixels about the centre, float32 [H*W] each."""
    columns = tf.range(width, dtype=tf.float32) - width // 2
    rows = tf.range(height, dtype=tf.float32) - height // 2
    if legacy:
        columns = tf.linspace(-float(width // 2), float(width // 2 - 1), width)
        rows = tf.range(height, dtype=tf.float32) + float(-height // 2)
    y, x = tf.meshgrid(rows, columns, indexing="ij")
    return tf.reshape(x, [-1]), tf.reshape(y, [-1])  # [H*W]


def _corner(image, x, y, x0, y0, dx, dy, legacy):
    """One of the four pixels around each place times its weight: [N,H*W,F]."""
    height, width = image.shape[1], image.shape[2]
    right, low = tf.cast(width - 1, tf.float32), tf.cast(height - 1, tf.float32)
    column, row = x0 + dx, y0 + dy
    if legacy:  # weights from clipped corners: 0 as soon as both fall together
        left, far = tf.clip_by_value(x0, 0.0, right), tf.clip_by_value(x0 + 1, 0.0, right)
        top, bottom = tf.clip_by_value(y0, 0.0, low), tf.clip_by_value(y0 + 1, 0.0, low)
        weight = (x - left if dx else far - x) * (y - top if dy else bottom - y)
    else:
        inside = (column >= 0) & (column <= right) & (row >= 0) & (row <= low)
        weight = (x - x0 if dx else x0 + 1 - x) * (y - y0 if dy else y0 + 1 - y)
        weight = tf.where(inside, weight, 0.0)
    column = tf.cast(tf.clip_by_value(column, 0.0, right), tf.int32)
    row = tf.cast(tf.clip_by_value(row, 0.0, low), tf.int32)
    pixels = tf.reshape(image, [tf.shape(image)[0], height * width, image.shape[3]])  # [N,H*W,F]
    return tf.gather(pixels, row * width + column, batch_dims=1) * weight[..., None]


def round_theta(theta: tf.Tensor) -> tf.Tensor:
    """Whole numbers, halves to even: moves by whole pixels, which do not blur (the original at test)."""
    return tf.round(theta)
