"""INADE's encoder: a photo and its instance map -> a Gaussian over the noise of every instance.

Tan et al., CVPR 2021, section 3.3. The four heads are linear and only their means
over instances are used, so the means are taken first and the heads' kernels applied to them: the same
numbers for a small part of the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import tensorflow as tf

from semantic_synthesis.layers import Conv, InstanceNorm
from semantic_synthesis.layers.region_convolutions import Borders, RegionConv, RegionMeans
from semantic_synthesis.layers.residual import SLOPE

if TYPE_CHECKING:
    from semantic_synthesis.layers.initialization import Initializer

_HEADS = ("scale_mean", "scale_log_variance", "shift_mean", "shift_log_variance")


class InstanceGaussian(NamedTuple):
    """Mean and log-variance of the noise for scale and for shift: float32 [B,I,2,Z] each; 0 where absent."""

    mean: tf.Tensor
    log_variance: tf.Tensor

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """mean + standard deviation * noise, all [B,I,2,Z]."""
        return self.mean + tf.exp(0.5 * self.log_variance) * noise


class InstanceEncoder(keras.layers.Layer):
    """Region convolutions down to a sixteenth and up again, then means over the instances.

    norm: instance (the paper's) or none. Instance norm subtracts a photo's mean colours, so that the encoder
    tells a grey sky from an orange one by the regions' borders at best; without it they reach the heads.

    Call: image float32 [B,H,W,3] in [-1,1], instance int32 [B,H,W] in [0,I), num_instances I; H and W
    multiples of 16 -> InstanceGaussian.
    """

    def __init__(
        self,
        filters: int,
        noise_dim: int,
        *,
        norm: str = "instance",
        init: Initializer,
        name: str = "encoder",
    ) -> None:
        super().__init__(name=name, autocast=False)
        f = filters
        options: dict[str, Any] = {"init": init}
        widths = [3, f, 2 * f, 4 * f, 8 * f]
        self.down = [
            RegionConv(widths[i], widths[i + 1], strides=2, **options, name=f"layer{i + 1}") for i in range(4)
        ]
        self.middle = RegionConv(8 * f, 4 * f, **options, name="middle")
        self.up = [
            RegionConv(8 * f, 2 * f, **options, name="up1"),
            RegionConv(4 * f, f, **options, name="up2"),
            RegionConv(2 * f, f, **options, name="up3"),
        ]
        self.norms = [_make_norm(norm, f"norm{i}") for i in range(8)]  # no variables
        self.heads = [Conv(f, noise_dim, 3, padding=1, **options, name=name) for name in _HEADS]
        self.built = True

    def call(self, image: tf.Tensor, instance: tf.Tensor, num_instances: tf.Tensor) -> InstanceGaussian:
        norms, x, skips = iter(self.norms), tf.cast(image, self.compute_dtype), []
        stride = 1
        for conv in self.down:
            x = _activate(next(norms)(conv(x, Borders.of(instance[:, ::stride, ::stride], 2))))
            skips.append(x)
            stride *= 2
        skips.pop()  # the coarsest goes on itself
        x = _double(_activate(next(norms)(self.middle(x, Borders.of(instance[:, ::stride, ::stride])))))
        for conv in self.up:
            stride //= 2
            x = tf.concat([x, skips.pop()], -1)
            x = _double(_activate(next(norms)(conv(x, Borders.of(instance[:, ::stride, ::stride])))))
        return self._pool(x, instance, num_instances)

    def _pool(self, x, instance, num_instances):
        """The heads' means over instances: x [B,H,W,f] -> InstanceGaussian."""
        means = RegionMeans.of(instance, num_instances)
        kernel = tf.concat([tf.cast(head.kernel.value, tf.float32) for head in self.heads], -1)
        kernel = tf.reshape(kernel, [-1, kernel.shape[-1]])  # [9f,4Z]
        bias = tf.concat([tf.cast(head.bias.value, tf.float32) for head in self.heads], -1)  # [4Z]
        present = tf.cast(means.counts > 0, tf.float32)[:, None]
        pooled = tf.matmul(means.neighbourhoods(x), kernel) + bias * present  # [B*I,4Z]
        size = kernel.shape[-1] // 4
        pooled = tf.reshape(pooled, [-1, num_instances, 2, 2, size])  # [B,I,scale or shift,mean or log,Z]
        return InstanceGaussian(*tf.unstack(pooled, axis=3))


def _make_norm(kind, name):
    return InstanceNorm(None, name=name) if kind == "instance" else tf.identity


def _activate(x):
    return tf.nn.leaky_relu(x, SLOPE)


def _double(x):
    """Bilinear enlargement by two, half-pixel centres: [B,h,w,F] -> [B,2h,2w,F]."""
    size = 2 * tf.shape(x)[1:3]
    return tf.cast(tf.image.resize(x, size), x.dtype)
