"""The label map at every level of the semantic vector generator: averaged, or blurred within classes.

The blur adds up, in a Gaussian window that is not normalised (sum 13.6 at the published
size and width), the pixels of a pixel's own class: depthwise convolution of the one-hot map times the one-hot map.
Only a pixel's own channel survives that product, so one map of weights says it all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from semantic_synthesis.layers import one_hot_semantics

KINDS = ("none", "full", "pyramid")


class Blur(NamedTuple):
    """How labels are blurred.

    kind: none, full (the finest map alone) or pyramid (each of the `levels` - 1 finest maps; coarser ones are samples
    of those); size, sigma: of the window in pixels; iterations; relative: whether sums are divided by what was there
    before the last iteration.
    """

    kind: str = "none"
    levels: int = 4
    size: int = 7
    sigma: float = 1.5
    iterations: int = 1
    relative: bool = False


def label_pyramid(
    tokens: tf.Tensor, count: int, num_classes: int, edges: bool, blur: Blur
) -> list[tf.Tensor | None]:
    """Semantics of `count` levels, coarsest first, each half as large as the next: float32 [B,h,w,C(+1)].

    tokens: int32 [B,H,W] (`label_tokens`). Averages of 2x2 cells; with a pyramid blur the upper left cell. The last
    is None where it is the one-hot map itself (blur none).
    """
    label, edge = (tokens // 2, tf.cast(tokens % 2, tf.float32)) if edges else (tokens, None)
    if blur.kind == "pyramid":
        return _sampled(label, edge, count, num_classes, blur)
    weights = None
    if blur.kind == "full":
        weights = blur_within(label, tf.ones_like(label, tf.float32), blur)
    levels = [None if weights is None else _scaled(label, weights, edge, num_classes)]
    if count > 1:
        levels.append(_quarter(tokens, levels[0], num_classes, edges))
    while len(levels) < count:
        levels.append(tf.nn.avg_pool2d(levels[-1], 2, 2, "VALID"))
    return levels[::-1]


def _quarter(tokens, finest, num_classes, edges):
    """Averages of 2x2 cells of the finest level, which is not made where it is one-hot: [B,H/2,W/2,C(+1)]."""
    if finest is not None:
        return tf.nn.avg_pool2d(finest, 2, 2, "VALID")
    corners = [tokens[:, i::2, j::2] for i in range(2) for j in range(2)]
    return tf.add_n([one_hot_semantics(corner, num_classes, edges, tf.float32) for corner in corners]) / 4.0


def _sampled(label, edge, count, num_classes, blur):
    """The pyramid of samples, whose finer levels are blurred: weights within classes and weights of edges."""
    weights = tf.ones_like(label, tf.float32)
    levels = [_scaled(label, *_blur_both(label, weights, edge, blur), num_classes)]
    for below in range(1, count):  # the next level derives from the finest before its blur
        label, weights = label[:, ::2, ::2], weights[:, ::2, ::2]
        edge = None if edge is None else edge[:, ::2, ::2]
        if below + 1 < blur.levels:
            weights, edge = _blur_both(label, weights, edge, blur)
        levels.append(_scaled(label, weights, edge, num_classes))
    return levels[::-1]


def _blur_both(label, weights, edge, blur):
    """Weights within classes and, where there are any, of edges, which are one class."""
    blurred = blur_within(label, weights, blur)
    return blurred, None if edge is None else blur_within(tf.zeros_like(label), edge, blur)


def _scaled(label, weights, edge, num_classes):
    """[B,h,w,C(+1)]: weights in the channel of the class, and the edge map last."""
    semantics = tf.one_hot(label, num_classes) * weights[..., None]
    return semantics if edge is None else tf.concat([semantics, edge[..., None]], -1)


def blur_within(label: tf.Tensor, weights: tf.Tensor, blur: Blur) -> tf.Tensor:
    """Each weight times the windowed sum of the weights of its class, `iterations` times over (the sum moves on, the
    factor stays): int32 and float32 [B,h,w] -> float32 [B,h,w]. Zero beyond the border."""
    x, before = weights, weights
    for _ in range(blur.iterations):
        before, x = x, _sum_within(label, x, blur) * weights
    return x / (before + 1e-8) if blur.relative else x


def check_window(blur: Blur) -> None:
    """ValueError, one line, for windows that hold no pixel, which take the labels away, or no number."""
    if blur.size < 1:
        raise ValueError(f"--blur_size {blur.size} with --label_blur {blur.kind}; expected 1 or more pixels")
    if blur.sigma <= 0 or not 2 * blur.sigma**2:
        raise ValueError(
            f"--blur_sigma {blur.sigma} with --label_blur {blur.kind}; expected more than 0 pixels"
        )


def gaussian_window(size: int, sigma: float) -> np.ndarray:
    """float32 [size,size], 1 in the middle. size: 1 or more; sigma: more than 0 (`check_window`)."""
    place = np.arange(size) - size // 2
    line = np.exp(-np.square(place) / (2 * sigma**2))
    return np.float32(np.outer(line, line))


def _sum_within(label, values, blur):
    window, size = tf.constant(gaussian_window(blur.size, blur.sigma)), blur.size
    margin = size // 2
    border = [[0, 0], [margin, margin], [margin, margin]]
    height, width = tf.shape(label)[1], tf.shape(label)[2]
    ids, values = tf.pad(label, border), tf.pad(values, border)  # values beyond the border are 0

    def add_row(i, total):
        rows, theirs = ids[:, i : i + height], values[:, i : i + height]
        for j in range(size):
            same = rows[:, :, j : j + width] == label
            total += window[i, j] * tf.where(same, theirs[:, :, j : j + width], 0.0)
        return i + 1, tf.ensure_shape(total, label.shape)

    start = (tf.constant(0), tf.zeros_like(label, tf.float32))
    return tf.while_loop(lambda i, _: i < size, add_row, start, maximum_iterations=size)[1]
