"""Training material for the networks, made of a photo and its layout (sections 3.2, 3.3 and 5.1), in TensorFlow.

Deviations: a segment is disturbed by one affine map (the authors' code scales bicubically, moves, and draws a rotation
that it does not apply); recoloured segments stay within their own outline; masks of the label noise are turned and
moved, without the code's detour over a larger frame.
"""

import numpy as np
import tensorflow as tf

from semantic_synthesis.methods.sims.canvas import _band, _has_colour
from semantic_synthesis.methods.sims.warping import warp

SCALES, SHIFT, DEGREES = (0.9, 1.1), 1 / 32, 2.5  # of disturbed segments; the shift is a share of their size
_TINY = 2.0**-52


def transfer_colors(
    source: tf.Tensor, reference: tf.Tensor, source_mask: tf.Tensor, reference_mask: tf.Tensor
) -> tf.Tensor:
    """Colours with the mean and covariance of others (Monge-Kantorovitch, linear): float32 [H,W,3].

    source, reference: [H,W,3]; masks bool [H,W]: which pixels count; those of the source outside are moved as well.
    out = (x - mean0) T + mean1, T = A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2 of the covariances A, B.
    """
    (mean0, a), (mean1, b) = _moments(source, source_mask), _moments(reference, reference_mask)
    values, vectors = tf.linalg.eigh(a)
    root = tf.sqrt(tf.maximum(values, 0.0) + _TINY)
    turned = vectors * root[None]  # [3,3], A^1/2 in the basis of its eigenvectors
    inner, axes = tf.linalg.eigh(_symmetric(tf.matmul(turned, tf.matmul(b, turned), transpose_a=True)))
    middle = tf.matmul(axes * tf.sqrt(tf.maximum(inner, 0.0) + _TINY)[None], axes, transpose_b=True)
    outer = vectors / root[None]
    moved = tf.matmul(tf.matmul(outer, middle), outer, transpose_b=True)
    x = tf.reshape(tf.cast(source, tf.float64) - mean0, [-1, 3])
    return tf.cast(tf.reshape(tf.matmul(x, moved) + mean1, tf.shape(source)), source.dtype)  # [H,W,3]


def _moments(picture, mask):
    x = tf.cast(tf.boolean_mask(picture, mask), tf.float64)  # [n,3]
    count = tf.cast(tf.shape(x)[0], tf.float64)
    mean = tf.reduce_sum(x, 0) / tf.maximum(count, 1.0)
    x -= mean
    return mean, tf.matmul(x, x, transpose_a=True) / tf.maximum(count - 1.0, 1.0)


def _symmetric(matrix):
    return (matrix + tf.transpose(matrix)) / 2.0


def stencilled(
    photo: tf.Tensor,
    place: tf.Tensor,
    stencil: tf.Tensor,
    other: tf.Tensor,
    box: tf.Tensor,
    recolor: tf.Tensor,
    legacy: bool = False,
) -> tf.Tensor:
    """A segment cut by another one's outline, sometimes in the other photo's colours: float32 [H,W,3].

    photo, other: float32 [H,W,3] in [0,1]; place, stencil, box: bool [H,W], the segment, the outline and the
    rectangle around the segment, whose colours are compared; recolor: bool []. legacy: recoloured segments
    reach beyond their outline.
    """
    plain = tf.where((stencil & place)[..., None], photo, 0.0)

    def recolored():
        colors = tf.clip_by_value(transfer_colors(photo, other, box, box), 0.0, 1.0)
        inside = (stencil if legacy else stencil & place) & box
        return tf.where(inside[..., None], colors, tf.where(box[..., None], 0.0, plain))

    return tf.cond(recolor & tf.reduce_any(box), recolored, lambda: plain)


def add_to_canvas(picture: tf.Tensor, segment: tf.Tensor, white: tf.Tensor, width: int) -> tf.Tensor:
    """The canvas [H,W,3] with a segment on top, whose rim of the given width is partly white (bool [H,W])."""
    rim = _band(_has_colour(segment), width)
    segment = tf.where((rim & white)[..., None], 1.0, segment)
    return tf.where(_has_colour(segment)[..., None], segment, picture)


def add_noise(
    label: tf.Tensor, kind: tf.Tensor, place: tf.Tensor, jittered: tf.Tensor, stencil: tf.Tensor, void: int
) -> tf.Tensor:
    """The layout [H,W] after a segment: itself again, nothing where its moved mask or its stencil reaches beyond."""
    label = tf.where(place, kind, label)
    return tf.where(~place & (jittered | stencil), void, label)


def disturbance(box: tf.Tensor, draws: tf.Tensor, rotate: bool = True) -> tf.Tensor:
    """theta float32 [R,6] of random scales, shifts and rotations about the segments' centres.

    box: float32 [R,4], top, left, bottom, right in pixels about the picture's centre; draws: float32 [R,4], uniform
    in [0,1): scale, horizontal and vertical shift, angle.
    """
    middle = tf.stack([box[:, 1] + box[:, 3], box[:, 0] + box[:, 2]], 1) / 2.0  # [R,2], x and y
    size = tf.stack([box[:, 3] - box[:, 1], box[:, 2] - box[:, 0]], 1)
    scale = SCALES[0] + (SCALES[1] - SCALES[0]) * draws[:, 0]
    shift = (draws[:, 1:3] * 2.0 - 1.0) * SHIFT * size
    angle = (draws[:, 3] * 2.0 - 1.0) * (np.pi / 180 * DEGREES if rotate else 0.0)
    turn = tf.stack([tf.cos(angle), -tf.sin(angle), tf.sin(angle), tf.cos(angle)], 1)
    turn = tf.reshape(turn, [-1, 2, 2]) / scale[:, None, None]
    offset = middle - tf.linalg.matvec(turn, middle + shift)
    return tf.reshape(tf.concat([turn, offset[..., None]], 2), [-1, 6])  # [R,6]


def moved_masks(masks: tf.Tensor, theta: tf.Tensor) -> tf.Tensor:
    """bool [R,H,W] moved by theta [R,6], by nearest pixels as far as bilinear weights of a half say so."""
    return warp(tf.cast(masks, tf.float32)[..., None], theta)[..., 0] > 0.5


def centred_boxes(box: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Boxes int32 [R,4] in pixels -> float32 [R,4] about the centre, as `disturbance` takes them."""
    return tf.cast(box - tf.constant([height // 2, width // 2] * 2), tf.float32)
