"""OASIS' discriminator: a U-Net that segments its picture into the classes and "fake" (Schönfeld et al., section 3.1).

Deviation: pictures too small for six halvings get as many as they allow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from semantic_synthesis.layers import Conv, convolve
from semantic_synthesis.layers.residual import SLOPE
from semantic_synthesis.networks import double

if TYPE_CHECKING:
    from semantic_synthesis.layers.initialization import Initializer

HALVINGS = 6


class _Block(keras.layers.Layer):
    """shortcut(x) + conv_2(lrelu(conv_1(lrelu(x)))), at half the size (down), or at twice the size (up).

    Pooling comes after the convolutions, enlargement before; the shortcut is a 1x1 convolution where the width
    changes, else the identity, and both commute with it, so that runs on the smaller map. `first`: no activation
    of x, which is a picture.
    Call: x [B,h,w,in_channels] -> [B,h/2,w/2,filters] or [B,2h,2w,filters].
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        *,
        up: bool,
        first: bool = False,
        spectral: bool,
        init: Initializer,
        name: str,
    ) -> None:
        super().__init__(name=name, autocast=False)
        conv: dict[str, Any] = {"spectral": spectral, "init": init}
        self.up, self.first = up, first
        self.conv_1 = Conv(in_channels, filters, 3, padding=1, **conv, name="conv_1")
        self.conv_2 = Conv(filters, filters, 3, padding=1, **conv, name="conv_2")
        self.conv_s: Any = (
            Conv(in_channels, filters, 1, **conv, name="conv_s") if in_channels != filters else None
        )
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        y = x if self.first else tf.nn.leaky_relu(x, SLOPE)
        y = self.conv_1(double(y) if self.up else y)
        y = self.conv_2(tf.nn.leaky_relu(y, SLOPE))
        if self.up:
            return double(x if self.conv_s is None else self.conv_s(x)) + y
        x, y = _halve(x), _halve(y)
        if self.conv_s is None:
            return x + y
        # The bias last: TensorFlow's attempt to fuse convolution, bias and sum ends in an error message here.
        kernel = tf.cast(self.conv_s.effective_kernel(), x.dtype)
        return tf.nn.bias_add(convolve(x, kernel, 1, 0) + y, tf.cast(self.conv_s.bias.value, x.dtype))


def _halve(x):
    """Means over 2x2 cells: [B,2h,2w,F] -> [B,h,w,F]."""
    return tf.nn.avg_pool2d(x, 2, 2, "VALID")


def halvings(height: int, width: int) -> int:
    """How often the network halves pictures of this size: six times, or as often as both sides are even."""
    count = 0
    while count < HALVINGS and not (height | width) & (1 << count):
        count += 1
    return count


class SegmentationDiscriminator(keras.layers.Layer):
    """U-Net without normalisation: `depth` halvings, as many doublings that see what lies on their level, and a
    1x1 convolution.

    Widths: 2F 2F 4F 4F 8F 8F downwards, mirrored upwards to F. spectral: whether all but the last convolution have a
    spectral norm.
    Call: images [B,H,W,3] in [-1,1], H and W multiples of 2^depth -> logits [B,H,W,C+1] in the compute dtype:
    channel 0 is "fake", channel k+1 class k.
    """

    def __init__(
        self,
        num_classes: int,
        filters: int,
        *,
        depth: int = HALVINGS,
        spectral: bool = True,
        init: Initializer,
        name: str = "discriminator",
    ) -> None:
        super().__init__(name=name, autocast=False)
        block: dict[str, Any] = {"spectral": spectral, "init": init}
        widths = [3] + [filters * 2 ** (1 + i // 2) for i in range(depth)]
        self.down = [
            _Block(widths[i], widths[i + 1], up=False, first=i == 0, **block, name=f"down_{i}")
            for i in range(depth)
        ]
        widths[0] = filters
        self.up = []
        for i, width in enumerate(reversed(widths[:-1])):
            entry = widths[-1] if i == 0 else 2 * widths[depth - i]
            self.up.append(_Block(entry, width, up=True, **block, name=f"up_{i}"))
        self.last = Conv(filters, num_classes + 1, 1, init=init, name="last")
        self.built = True

    def call(self, images: tf.Tensor) -> tf.Tensor:
        x, skips = tf.cast(images, self.compute_dtype), []
        for block in self.down:
            x = block(x)
            skips.append(x)
        skips.pop()  # the coarsest goes on itself
        x = self.up[0](x)
        for block in self.up[1:]:
            x = block(tf.concat([skips.pop(), x], -1))  # [B,h,w,2F]
        return self.last(x)
