"""The three networks of SIMS: transformation and order (section 4.2, 4.3), synthesis (section 5).

All work on a picture of `base` pixels; larger pictures are made by further stages of the synthesis network. With
the original's widths (64 filters) and sizes they have its parameters, one for one. Pictures are RGB, 0 to 255 (the
original's are BGR). K is the number of classes the networks know, without the unlabelled one.

Deviations: pooling over the whole map before the order network's classifier (the original leaves out the right
quarter; `legacy` keeps that).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from semantic_synthesis.layers import Conv, add_array
from semantic_synthesis.methods.sims import close_up

if TYPE_CHECKING:
    from semantic_synthesis.layers.initialization import Initializer

EPSILON = 1e-12
SLOPE = 0.2
SCALES = (1, 2, 4)  # picture over trunk, of the networks for 256, 512 and 1024 rows


class LayerNorm(keras.layers.Layer):
    """(x - mean) / sqrt(variance + 1e-12) * gamma + beta, per sample over height, width and channels.

    gamma and beta are one per channel. Call: x [N,H,W,F] -> the same; statistics in float32.
    """

    def __init__(self, channels: int, name: str = "norm") -> None:
        super().__init__(name=name, autocast=False)
        self.gamma = add_array(self, "gamma", np.ones(channels, np.float32))
        self.beta = add_array(self, "beta", np.zeros(channels, np.float32))
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        wide = tf.cast(x, tf.float32)
        mean, variance = tf.nn.moments(wide, [1, 2, 3], keepdims=True)
        scale = tf.math.rsqrt(variance + EPSILON) * tf.cast(self.gamma.value, tf.float32)
        return tf.cast((wide - mean) * scale + tf.cast(self.beta.value, tf.float32), x.dtype)


class Unit(keras.layers.Layer):
    """Convolution without bias, layer norm, leaky ReLU: x [N,H,W,in] -> [N,H,W,out]."""

    def __init__(
        self, channels_in: int, channels_out: int, *, size: int = 3, init: Initializer, name: str
    ) -> None:
        super().__init__(name=name, autocast=False)
        self.conv = Conv(
            channels_in, channels_out, size, padding=size // 2, use_bias=False, init=init, name="conv"
        )
        self.norm = LayerNorm(channels_out)
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.leaky_relu(self.norm(self.conv(x)), SLOPE)


class Stack(keras.layers.Layer):
    """Several units, B(out, count) in the specification: x [N,H,W,in] -> [N,H,W,out]."""

    def __init__(
        self, channels_in: int, channels_out: int, count: int, *, init: Initializer, name: str
    ) -> None:
        super().__init__(name=name, autocast=False)
        widths = [channels_in] + [channels_out] * count
        self.units = [Unit(*widths[i : i + 2], init=init, name=f"unit{i + 1}") for i in range(count)]
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        for unit in self.units:
            x = unit(x)
        return x


def encoder_stacks(channels_in: int, filters: int, counts: Sequence[int], init: Initializer) -> list[Stack]:
    """The Stacks of an encoder: widths F, 2F, 4F, 8F, 8F, ..."""
    widths = [channels_in] + [filters * min(2**i, 8) for i in range(len(counts))]
    return [
        Stack(widths[i], widths[i + 1], count, init=init, name=f"encoder{i + 1}")
        for i, count in enumerate(counts)
    ]


def resize(x: tf.Tensor, size: Sequence[int], align: bool = True) -> tf.Tensor:
    """Bilinear [N,H,W,F] -> [N,*size,F] in TensorFlow 1's manner: corners on corners, or origin on origin."""
    if tuple(x.shape[1:3]) == tuple(size):
        return x
    return tf.raw_ops.ResizeBilinear(images=x, size=size, align_corners=align)


def average_pool(x: tf.Tensor) -> tf.Tensor:
    """3x3 means at stride 2; what lies outside does not count."""
    return tf.nn.avg_pool2d(x, 3, 2, "SAME")


class Trunk(keras.layers.Layer):
    """Five stacks that halve the map, by means first, by maxima then: [N,H,W,in] -> [N,H/32,W/32,8F]."""

    def __init__(self, channels_in: int, filters: int, *, init: Initializer, name: str = "trunk") -> None:
        super().__init__(name=name, autocast=False)
        self.stacks = encoder_stacks(channels_in, filters, (2, 2, 3, 3, 3), init)
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        for i, stack in enumerate(self.stacks):
            x = stack(x)
            x = average_pool(x) if i == 0 else tf.nn.max_pool2d(x, 3, 2, "SAME")
        return x


class Transformation(keras.layers.Layer):
    """Segment, place and layout -> affine transformation (section 4.2).

    Call: x float32 [N,H,W,K+5] (RGB of the segment in [0,1], mask of the place, one-hot classes, unlabelled)
    -> theta float32 [N,6], the rows of a 2x3 matrix from output to input pixels about the picture's centre
    (`warping.warp`). Starts as the identity. view: "picture", as published, or "box", the place from close at half
    of the base's size (`close_up`).
    """

    def __init__(
        self,
        num_classes: int,
        base: Sequence[int],
        *,
        filters: int = 64,
        view: str = "picture",
        init: Initializer,
        name: str = "transformation",
    ) -> None:
        super().__init__(name=name, autocast=False)
        self.view = view
        self.base = [side // 2 for side in base] if view == "box" else base
        self.trunk = Trunk(num_classes + 5, filters, init=init)
        self.kernel = add_array(self, "kernel", np.zeros((8 * filters, 6), np.float32))
        self.bias = add_array(self, "bias", np.array([1, 0, 0, 0, 1, 0], np.float32))
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        if self.view == "picture":
            return self._answer(x)
        middle, half = close_up.boxes(x[..., 3] > 0.5)
        return close_up.about_picture(
            self._answer(close_up.glimpses(x, middle, half, self.base)), middle, half
        )

    def _answer(self, x):
        kernel, bias = (tf.cast(array.value, tf.float32) for array in (self.kernel, self.bias))
        return tf.matmul(self.pooled(x), kernel) + bias

    def pooled(self, x: tf.Tensor) -> tf.Tensor:
        """What the last, linear layer sees: float32 [N,8F]."""
        return tf.reduce_mean(tf.cast(self.trunk(resize(x, self.base)), tf.float32), [1, 2])


class Order(keras.layers.Layer):
    """Two segments and the layout -> class of the one in front (section 4.3).

    Call: x float32 [N,h,w,6] (picture of the pair, picture of the layout, class colours in [0,1]) -> logits float32
    [N,K+1]; logit 0 means no pair, logit c+1 class c. legacy: pools over windows of 8x12 cells alone. dropout: int64
    [2], the seed of what is dropped in training; None: nothing is.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        filters: int = 64,
        legacy: bool = False,
        init: Initializer,
        name: str = "order",
    ) -> None:
        super().__init__(name=name, autocast=False)
        self.legacy = legacy
        self.trunk = Trunk(6, filters, init=init)
        self.hidden = Unit(8 * filters, 16 * filters, size=1, init=init, name="hidden")
        self.classes = Conv(16 * filters, num_classes + 1, 1, init=init, name="classes")
        self.built = True

    def call(self, x: tf.Tensor, dropout: tf.Tensor | None = None) -> tf.Tensor:
        x = self.trunk(x)
        if self.legacy:
            x = tf.nn.avg_pool2d(x, [8, 12], [8, 12], "VALID")[:, :1, :1]
        else:
            x = tf.reduce_mean(x, [1, 2], keepdims=True)
        x = self.hidden(x)
        if dropout is not None:
            x = tf.nn.experimental.stateless_dropout(x, 0.5, dropout, rng_alg="philox")
        return tf.cast(self.classes(x)[:, 0, 0], tf.float32)


class Synthesis(keras.layers.Layer):
    """Layout and canvas -> picture (section 5): an encoder and a decoder that sees its input at every size.

    Call: x float32 [N,H,W,K+5] (one-hot classes, unlabelled, canvas RGB in [0,1], 1 where the canvas has colour)
    -> (picture float32 [N,H,W,3], RGB, about 0 to 255; semantic logits float32 [N,h,w,K+1], unlabelled last).
    scale: H over the trunk's height, 1, 2 or 4; h = H for 1 and 2, H/2 for 4. Layers that several scales have are
    called alike in all of them, so weights move on by name.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        scale: int = 1,
        filters: int = 64,
        init: Initializer,
        name: str = "synthesis",
    ) -> None:
        super().__init__(name=name, autocast=False)
        if scale not in SCALES:
            raise ValueError(f"scale is {scale}; expected one of {SCALES}")
        self.scale, seen, top = scale, num_classes + 5, 8 * filters
        self.encoders = encoder_stacks(seen, filters, (2, 2, 3, 3, 3, 3), init)
        skips = [filters * min(2**i, 8) for i in range(6)]
        widths = [4 * filters] + [top] * 5
        inputs = [seen + skips[i] + (top if i < 5 else 0) for i in range(6)]
        self.decoders = [Stack(inputs[i], widths[i], 2, init=init, name=f"decoder{i + 1}") for i in range(6)]
        self.last = Stack(seen + 4 * filters, 4 * filters, 2, init=init, name="last")
        self.refine = self.finish = None
        width = 4 * filters
        if scale > 1:
            width = 2 * filters
            self.refine = Stack(seen + 4 * filters, width, 2, init=init, name="refine2")
        if scale > 2:
            self.finish = Conv(seen + 3, 3, 1, init=init, name="finish4")
        stage = min(scale, 2)
        self.picture = Conv(width, 3, 1, init=init, name=f"picture{stage}")
        self.semantic = Conv(width, num_classes + 1, 1, init=init, name=f"semantic{stage}")
        self.built = True

    def call(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        height, width = x.shape[1], x.shape[2]
        base = (height // self.scale, width // self.scale)
        features = self._trunk(x, base)
        middle = (2 * base[0], 2 * base[1])
        if self.refine is not None:
            seen = resize(x, middle, align=False)  # the original's choice where it is no identity
            features = self.refine(tf.concat([_like(seen, features), resize(features, middle)], -1))
        picture, semantic = self.picture(features), self.semantic(features)
        if self.finish is not None:
            picture = resize(picture, (height, width))
            picture = self.finish(tf.concat([_like(x, picture), picture], -1))
        return (tf.cast(picture, tf.float32) + 1.0) * 127.5, tf.cast(semantic, tf.float32)

    def _trunk(self, x, base):
        """Features [N,*base,4F] of the input."""
        pooled = [resize(x, base)]
        for stack in self.encoders:
            pooled.append(average_pool(stack(pooled[-1])))
        features = None
        for i in reversed(range(6)):
            size = pooled[i + 1].shape[1:3]
            parts = [resize(x, size), pooled[i + 1]] + ([] if features is None else [features])
            parts = [_like(part, pooled[-1]) for part in parts]
            features = self.decoders[i](tf.concat(parts, -1))  # [N,h/2^(i+1),w/2^(i+1),...]
            features = resize(features, pooled[i].shape[1:3])
        return self.last(tf.concat([_like(resize(x, base), features), features], -1))


def _like(x, other):
    return tf.cast(x, other.dtype)
