"""clVAE's encoder: a photo and its label map -> Gaussians over the latents of every class at every level.

Endo and Kanamori, Pacific Graphics 2020 (arXiv 2106.13416). It is SPADE's encoder; after
each of its first five convolutions the largest value of every channel within each class goes through two dense
layers, one pair per level, shared by all classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf

from semantic_synthesis.layers import Dense
from semantic_synthesis.layers.cells import reduced, sample_numbers
from semantic_synthesis.layers.residual import SLOPE
from semantic_synthesis.networks import Encoder

if TYPE_CHECKING:
    from semantic_synthesis.layers.initialization import Initializer

LEVELS = 5
SMALLEST = 128  # with less there are no five levels above the 4x4 that z is read from


class PhotoStyle(NamedTuple):
    """What the encoder reads off B photos.

    mean, log_variance: float32 [B,5,C,Z], of the latent of each class at each level, 0 the finest; 0 where the class
    has no pixel at that level. present: bool [B,5,C], whether it has. seen: bool [B,C], whether the class has a pixel
    at the encoder's full size. z_mean, z_log_variance: float32 [B,z_dim], of the whole picture.
    """

    mean: tf.Tensor
    log_variance: tf.Tensor
    present: tf.Tensor
    seen: tf.Tensor
    z_mean: tf.Tensor
    z_log_variance: tf.Tensor


class ClassEncoder(Encoder):
    """Photo and label map -> PhotoStyle.

    size: side of the square that both are resized to, a power of two of 128 or more (the original has 256).
    Call: image float32 [B,H,W,3] in [-1,1], label int32 [B,H,W] in [0,C) -> PhotoStyle.
    """

    def __init__(
        self,
        filters: int,
        z_dim: int,
        num_classes: int,
        latent_dim: int,
        *,
        size: int = 256,
        norm: str = "instance",
        init: Initializer,
    ) -> None:
        if size < SMALLEST:
            raise ValueError(f"encoder_size is {size}; expected a power of two of {SMALLEST} or more")
        super().__init__(filters, z_dim, size=size, norm=norm, init=init)
        self.num_classes = num_classes
        widths = [filters * min(2**level, 8) for level in range(LEVELS)]
        self.means = [
            Dense(width, latent_dim, init=init, name=f"mean_{level}") for level, width in enumerate(widths)
        ]
        self.log_variances = [
            Dense(width, latent_dim, init=init, name=f"log_variance_{level}")
            for level, width in enumerate(widths)
        ]

    def call(self, image: tf.Tensor, label: tf.Tensor, training: bool = False) -> PhotoStyle:  # type: ignore[override]
        x = image
        if image.shape[1] != self.size or image.shape[2] != self.size:
            x = tf.image.resize(image, [self.size, self.size])  # bilinear
        label = reduced(label, self.size, self.size)
        levels = []
        for number, conv in enumerate(self.convs):
            x = tf.nn.leaky_relu(conv(x, training=training), SLOPE)
            if number < LEVELS:
                stride = 2 ** (number + 1)
                levels.append(self._read(number, x, label[:, ::stride, ::stride]))
        x = tf.reshape(x, [-1, 16 * x.shape[-1]])  # [B,4*4*width of the last layer]
        z_mean, z_log_variance = tf.cast(self.mean(x), tf.float32), tf.cast(self.log_variance(x), tf.float32)
        mean, log_variance, present = (tf.stack(parts, 1) for parts in zip(*levels, strict=True))
        return PhotoStyle(mean, log_variance, present, self._seen(label), z_mean, z_log_variance)

    def _read(self, level, features, label):
        """(mean, log-variance, presence): [B,C,Z], [B,C,Z], [B,C] of features [B,h,w,F] after their leaky ReLU
        (monotonic, so it commutes with the maximum) and label [B,h,w]."""
        present = tf.reshape(self._seen(label), [-1, 1])  # [B*C,1]
        rows = tf.reshape(tf.cast(features, tf.float32), [-1, features.shape[-1]])  # [B*h*w,F]
        largest = tf.math.unsorted_segment_max(rows, self._segments(label), tf.shape(present)[0])  # [B*C,F]
        # Where there is no pixel the maximum is the smallest float, whose products overflow.
        largest = tf.where(present, largest, 0.0)
        found = []
        for head in (self.means[level], self.log_variances[level]):
            values = tf.where(present, tf.cast(head(largest), tf.float32), 0.0)
            found.append(tf.reshape(values, [-1, self.num_classes, values.shape[-1]]))  # [B,C,Z]
        return *found, tf.reshape(present, [-1, self.num_classes])  # [B,C]

    def _segments(self, label):
        """int32 [B*h*w]: class + C * sample of each pixel."""
        return tf.reshape(label + self.num_classes * sample_numbers(label), [-1])

    def _seen(self, label):
        """bool [B,C]: which classes occur in label maps [B,h,w]."""
        ids = self._segments(label)
        count = tf.shape(label)[0] * self.num_classes
        pixels = tf.math.unsorted_segment_sum(tf.ones_like(ids), ids, count)
        return tf.reshape(pixels > 0, [-1, self.num_classes])
