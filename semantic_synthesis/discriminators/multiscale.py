"""The multiscale PatchGAN discriminator of pix2pixHD and SPADE (Wang et al., CVPR 2018; Park et al., appendix A)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from semantic_synthesis.discriminators.judged import Judged
from semantic_synthesis.layers import Conv, convolve
from semantic_synthesis.layers.residual import leaky_relu
from semantic_synthesis.layers.windows import Windows, window_convolution
from semantic_synthesis.networks import NormedConv

if TYPE_CHECKING:
    from semantic_synthesis.layers.initialization import Initializer


class _PatchDiscriminator(keras.layers.Layer):
    """One scale: 4x4 convolutions, padding 2 -> ([features [nB,h,w,f]], judgement [nB,h,w,1])."""

    def __init__(
        self,
        condition_channels: int,
        filters: int,
        layers: int,
        norm: str,
        *,
        edges: bool,
        init: Initializer,
        name: str,
    ) -> None:
        super().__init__(name=name, autocast=False)
        self.condition_channels, self.edges = condition_channels, edges
        self.entry = Conv(condition_channels + 3, filters, 4, strides=2, padding=2, init=init, name="model0")
        self.middle, width = [], filters
        for i in range(1, layers):
            narrow, width = width, min(2 * width, 512)
            strides = 1 if i == layers - 1 else 2
            self.middle.append(
                NormedConv(narrow, width, 4, norm, strides=strides, padding=2, init=init, name=f"model{i}")
            )
        self.last = Conv(width, 1, 4, padding=2, init=init, name=f"model{layers}")
        self.built = True

    def call(
        self, condition: tf.Tensor, images: tf.Tensor, training: bool = False, windows: Windows | None = None
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        x = leaky_relu(self._enter(condition, images, windows), training)
        features = [x]
        for conv in self.middle:
            x = leaky_relu(conv(x, training=training), training)
            features.append(x)
        return features, self.last(x)

    def _enter(self, condition, images, windows):
        """The first convolution of [condition, image], split by linearity.

        The condition [B,...] is shared by the n image batches in images [nB,...], so its part (nearly
        all input channels) is computed once; where its label windows are given, on the distinct ones.
        """
        conv, dtype = self.entry, self.compute_dtype
        kernel = tf.cast(conv.effective_kernel(), dtype)
        parts = tf.split(kernel, [self.condition_channels, 3], 2)
        if windows is None:
            shared = convolve(tf.cast(condition, dtype), parts[0], conv.strides, conv.padding)
        else:
            shared = window_convolution(windows, parts[0], self.edges)
        own = convolve(tf.cast(images, dtype), parts[1], conv.strides, conv.padding)
        shared = tf.nn.bias_add(shared, tf.cast(conv.bias.value, dtype))
        copies = tf.shape(images)[0] // tf.shape(condition)[0]
        return own + tf.tile(shared, [copies, 1, 1, 1])


class MultiscaleDiscriminator(keras.layers.Layer):
    """PatchGANs with separate weights on the full and on average-pooled inputs (Wang et al., pix2pixHD).

    Call: condition [B,H,W,S] (one-hot labels and edges), images [nB,H,W,3] in [-1,1], n batches that
    share the condition one after another -> Judged with a group of features and a judgement per scale. windows: the
    label windows of the condition, which make its part of the first convolution cheaper, or None; edges: whether the
    last channel of the condition is that of instance edges.
    """

    def __init__(
        self,
        condition_channels: int,
        filters: int,
        *,
        scales: int = 2,
        layers: int = 4,
        norm: str = "instance",
        edges: bool = False,
        init: Initializer,
        name: str = "discriminator",
    ) -> None:
        super().__init__(name=name, autocast=False)
        self.scales = [
            _PatchDiscriminator(
                condition_channels, filters, layers, norm, edges=edges, init=init, name=f"discriminator_{i}"
            )
            for i in range(scales)
        ]
        self.built = True

    def call(
        self, condition: tf.Tensor, images: tf.Tensor, training: bool = False, windows: Windows | None = None
    ) -> Judged:
        features, judgements = [], []
        for i, scale in enumerate(self.scales):
            if i > 0:
                condition, images, windows = pool_by_two(condition), pool_by_two(images), None
            group, judgement = scale(condition, images, training=training, windows=windows)
            features.append(group)
            judgements.append(judgement)
        return Judged(features, judgements)


def pool_by_two(x: tf.Tensor) -> tf.Tensor:
    """Mean over 3x3 windows at stride 2, one cell of padding that does not count: [B,H,W,F] -> [B,H',W',F].

    H' = (H - 1) // 2 + 1. SAME pooling would start one cell later on even sizes.
    """
    height, width = tf.shape(x)[1], tf.shape(x)[2]
    # One extra row and column before, and after where the size is odd; average pooling with VALID counts
    # padded cells, so their share is corrected.
    x = tf.pad(x, [[0, 0], [1, height % 2], [1, width % 2], [0, 0]])
    mean = tf.nn.avg_pool2d(x, 3, 2, "VALID")
    rows, columns = _cells(height), _cells(width)
    cells = tf.cast(rows[:, None] * columns[None, :], tf.float32)[None, :, :, None]
    return mean * tf.cast(9.0 / cells, mean.dtype)


def _cells(size):
    """int32 [(size - 1) // 2 + 1]: how many real cells each window of three holds along one axis."""
    centres = tf.range(0, size, 2)
    return 3 - tf.cast(centres == 0, tf.int32) - tf.cast(centres == size - 1, tf.int32)
