"""Segments seen from close: the box of a place, what it shows, and affine maps in its own units.

Ours, not the paper's (`--transformation_view box`). The published transformation network sees the whole picture, in
which a segment is small, and answers about the picture's centre, where every change of size needs a shift that depends
on the place. In its box every segment fills the view, and sizes and shifts stand by themselves.

Boxes are (middle, half): float32 [N,2] each, (x, y) in pixels about the picture's centre (W // 2, H // 2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from semantic_synthesis.methods.sims.warping import round_theta

MARGIN = 1.3  # view over box
_LEAST = 4.0  # pixels from the middle of a box to its sides
_CORNERS = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]], np.float32)


def boxes(place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(middle, half) of masks bool [N,H,W]; the whole picture for a mask without pixels."""
    spans = [_span(tf.reduce_any(place, axis)) for axis in (1, 2)]  # of columns, of rows
    middle, half = (tf.stack(x, 1) for x in zip(*spans, strict=True))
    return middle, half


def _span(there):
    """Middle and half length of what is true in bool [N,L], float32 [N] each."""
    length = there.shape[1]
    first = tf.argmax(there, 1, tf.int32)
    last = length - 1 - tf.argmax(there[:, ::-1], 1, tf.int32)  # both are the ends of a line without any
    first, last = tf.cast(first, tf.float32), tf.cast(last, tf.float32)
    return (first + last) / 2.0 - length // 2, tf.maximum((last - first + 1.0) / 2.0, _LEAST)


def glimpses(x: tf.Tensor, middle: tf.Tensor, half: tf.Tensor, size: Sequence[int]) -> tf.Tensor:
    """What boxes and some pixels around them show: float32 [N,H,W,F] -> [N,*size,F], 0 outside of the picture."""
    height, width = x.shape[1], x.shape[2]
    low, high = middle - half * MARGIN, middle + half * MARGIN
    corners = tf.stack([low[:, 1], low[:, 0], high[:, 1], high[:, 0]], 1)  # [N,4] top, left, bottom, right
    corners = (corners + [height // 2, width // 2] * 2) / [
        height - 1.0,
        width - 1.0,
        height - 1.0,
        width - 1.0,
    ]
    return tf.image.crop_and_resize(x, corners, tf.range(tf.shape(x)[0]), size)


def about_picture(theta: tf.Tensor, middle: tf.Tensor, half: tf.Tensor) -> tf.Tensor:
    """Maps float32 [N,6] about boxes, whose halves are their units -> about the picture's centre in pixels, [N,6]."""
    theta = tf.reshape(theta, [-1, 2, 3])
    turn = theta[:, :, :2] * half[:, :, None] / half[:, None, :]
    shift = middle - tf.linalg.matvec(turn, middle) + theta[:, :, 2] * half
    return tf.reshape(tf.concat([turn, shift[..., None]], 2), [-1, 6])


def whole_pixels(theta: tf.Tensor, place: tf.Tensor, view: str) -> tf.Tensor:
    """Maps [N,6] of masks bool [N,H,W] as `--round_theta` makes them: moves by whole pixels, which do not blur.

    view: "picture", all six numbers rounded (as published), or "box", the move of the middle of the mask's box.
    """
    if view == "picture":
        return round_theta(theta)
    middle, _ = boxes(place)
    theta = tf.reshape(theta, [-1, 2, 3])
    shift = tf.round(tf.linalg.matvec(theta[:, :, :2], middle) + theta[:, :, 2] - middle)
    return tf.reshape(tf.concat([tf.eye(2, batch_shape=tf.shape(shift)[:1]), shift[..., None]], 2), [-1, 6])


def corner_loss(found: tf.Tensor, disturbance: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """How far `found` is from undoing a disturbance: mean |difference| of the boxes' corners, in halves of the boxes.

    found, disturbance: float32 [N,6]; place: bool [N,H,W], where segments belong; masks without pixels do not count.
    """
    middle, half = boxes(place)
    found, disturbance = (tf.reshape(x, [-1, 2, 3]) for x in (found, disturbance))
    corners = middle[:, None] + half[:, None] * _CORNERS  # [N,4,2]
    back = tf.linalg.inv(disturbance[:, :, :2])
    wanted = tf.einsum("nij,ncj->nci", back, corners - disturbance[:, None, :, 2])
    sent = tf.einsum("nij,ncj->nci", found[:, :, :2], corners) + found[:, None, :, 2]
    terms = tf.reduce_mean(tf.abs(sent - wanted) / half[:, None], [1, 2])  # [N]
    there = tf.cast(tf.reduce_any(place, [1, 2]), tf.float32)
    return tf.reduce_sum(terms * there) / tf.maximum(tf.reduce_sum(there), 1.0)
