"""The feature pyramid discriminator (Liu et al., CC-FPSE, NeurIPS 2019, section 3.3), as SCGAN uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from semantic_synthesis.discriminators.judged import Judged
from semantic_synthesis.layers import Conv
from semantic_synthesis.layers.residual import SLOPE
from semantic_synthesis.networks import NormedConv

if TYPE_CHECKING:
    from semantic_synthesis.layers.initialization import Initializer

STRIDE = 32  # of the coarsest features; width and height of the pictures are multiples of it
SMALLEST = 64  # side of a picture: at 32 the coarsest features are one cell, and instance norm makes them 0


class PyramidDiscriminator(keras.layers.Layer):
    """Pictures go up a pyramid of five strided convolutions and down again; at strides 4, 8 and 16 a judgement is
    t(f) + <embedding of the labels there, s(f)>, with 1x1 convolutions t and s that the strides share.

    The picture meets the labels in that product alone. Labels are averaged before their 1x1 embedding, which is
    linear: the same numbers as the authors' average of embeddings, for a sixteenth of the work.

    Call: condition [B,H,W,S] (one-hot labels and edges), images [nB,H,W,3] in [-1,1], n batches that share the
    condition one after another -> Judged with four groups of one feature map (strides 4 to 32) and three judgements.
    """

    def __init__(
        self,
        condition_channels: int,
        filters: int,
        *,
        norm: str = "instance",
        init: Initializer,
        name: str = "discriminator",
    ) -> None:
        super().__init__(name=name, autocast=False)
        f = filters
        conv: dict[str, Any] = {"init": init}
        widths = [3, f, 2 * f, 4 * f, 8 * f, 8 * f]
        self.up = [
            NormedConv(widths[i], widths[i + 1], 3, norm, strides=2, padding=1, **conv, name=f"enc{i + 1}")
            for i in range(5)
        ]
        self.lateral = [
            NormedConv(widths[i], 4 * f, 1, norm, strides=1, padding=0, **conv, name=f"lat{i}")
            for i in range(2, 6)
        ]
        self.final = [
            NormedConv(4 * f, 2 * f, 3, norm, strides=1, padding=1, **conv, name=f"final{i}")
            for i in range(2, 5)
        ]
        self.plain = Conv(2 * f, 1, 1, **conv, name="tf")
        self.matched = Conv(2 * f, 2 * f, 1, **conv, name="seg")
        self.embedding = Conv(condition_channels, 2 * f, 1, **conv, name="embedding")
        self.built = True

    def call(self, condition: tf.Tensor, images: tf.Tensor, training: bool = False) -> Judged:
        features, x = [], images
        for conv in self.up:
            x = _activate(conv(x, training=training))
            features.append(x)
        features = features[1:]  # strides 4, 8, 16, 32
        down = [_activate(conv(x, training=training)) for conv, x in zip(self.lateral, features, strict=True)]
        for i in (2, 1, 0):
            down[i] += _double(down[i + 1])
        labels, judgements = tf.nn.avg_pool2d(tf.cast(condition, self.compute_dtype), 4, 4, "VALID"), []
        copies = tf.shape(images)[0] // tf.shape(condition)[0]
        for conv, x in zip(self.final, down[:3], strict=True):
            x = _activate(conv(x, training=training))
            asked = tf.tile(self.embedding(labels), [copies, 1, 1, 1])
            judgements.append(self.plain(x) + tf.reduce_sum(asked * self.matched(x), -1, keepdims=True))
            labels = tf.nn.avg_pool2d(labels, 2, 2, "VALID")
        return Judged([[x] for x in features], judgements)


def _activate(x):
    return tf.nn.leaky_relu(x, SLOPE)


def _double(x):
    """Bilinear enlargement by two, half-pixel centres: [B,h,w,F] -> [B,2h,2w,F]."""
    return tf.cast(tf.image.resize(x, 2 * tf.shape(x)[1:3]), x.dtype)
