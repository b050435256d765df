"""The losses of the three networks of SIMS; pictures are RGB, 0 to 255.

Deviations from the authors' code: VGG19 gets the channel order its weights expect; the terms are plain means, as the
code's weighting by classes comes to, whose weights sum to 1 at every pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from semantic_synthesis.losses import mean_absolute
from semantic_synthesis.methods.sims.networks import resize

if TYPE_CHECKING:
    from semantic_synthesis.networks.vgg import VGG19Features

# relu1_2 ... relu5_2 of VGG19 with average pooling, and the weights of their terms (section 5, after Chen and
# Koltun, 2017); the pictures themselves come before them with weight 1.
TAPS = (2, 2, 2, 2, 2)
WEIGHTS = (1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5)


def composite(warped: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Segments at their places: [B,R,H,W,3], [B,R,H,W,1] -> their sums [B,H,W,3]."""
    return tf.reduce_sum(warped * mask, 1)


def transformation_loss(real: tf.Tensor, made: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Sum over the masks' pixels of the mean |real - 255 made| over RGB, by their number and one; mean over B.

    real [B,H,W,3] 0 to 255; made [B,H,W,3] in [0,1], see `composite`; mask [B,R,H,W,1] (section 4.2).
    """
    weight = tf.reduce_sum(mask, 1)[..., 0]  # [B,H,W]
    difference = tf.reduce_mean(tf.abs(real - 255.0 * made), -1)  # [B,H,W]
    terms = tf.reduce_sum(weight * difference, [1, 2]) / (tf.reduce_sum(weight, [1, 2]) + 1.0)
    return tf.reduce_mean(terms)


def order_loss(logits: tf.Tensor, target: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Mean cross entropy over the pairs that are there: logits [N,K+1], target int32 [N], present bool [N]."""
    terms = tf.nn.sparse_softmax_cross_entropy_with_logits(target, logits)
    weight = tf.cast(present, tf.float32)
    return tf.reduce_sum(terms * weight) / tf.maximum(tf.reduce_sum(weight), 1.0)


def perceptual_terms(picture: tf.Tensor, real: tf.Tensor, vgg: VGG19Features, scale: int) -> list[tf.Tensor]:
    """The six weighted means of |picture - real|: pixels, then five features; real is a constant.

    Pictures of scale 4 are halved for the features, as in the authors' code.
    """
    real = tf.stop_gradient(real)
    terms = [mean_absolute(picture, real)]
    if scale > 2:
        size = [picture.shape[1] // 2, picture.shape[2] // 2]
        picture, real = (resize(x, size) for x in (picture, real))
    fakes, reals = vgg(picture / 127.5 - 1.0), vgg(real / 127.5 - 1.0)
    return terms + [
        weight * mean_absolute(fake, tf.stop_gradient(real))
        for weight, fake, real in zip(WEIGHTS, fakes, reals, strict=True)
    ]


def semantic_cross_entropy(logits: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
    """Mean over pixels: logits [N,h,w,K+1]; label int32 [N,H,W], of which every H/h-th row and column counts."""
    step = label.shape[1] // logits.shape[1]
    label = label[:, ::step, ::step]
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(label, logits))
