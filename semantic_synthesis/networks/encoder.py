"""The image encoder of the SPADE family (Park et al., figure 14)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from semantic_synthesis.layers import Dense
from semantic_synthesis.layers.residual import SLOPE
from semantic_synthesis.networks.normed import NormedConv

if TYPE_CHECKING:
    from semantic_synthesis.layers.initialization import Initializer


class Encoder(keras.layers.Layer):
    """Photo -> Gaussian over styles: strided convolutions down to 4x4, two heads.

    size: side of the square the photo is resized to (a power of two, 8 or more; the original has 256).
    Call: image float32 [B,H,W,3] in [-1,1] -> (mean, log-variance), float32 [B,z_dim] each.
    """

    def __init__(
        self,
        filters: int,
        z_dim: int,
        *,
        size: int = 256,
        norm: str = "instance",
        init: Initializer,
        name: str = "encoder",
    ) -> None:
        super().__init__(name=name, autocast=False)
        if size < 8 or size & (size - 1):
            raise ValueError(f"encoder_size is {size}; expected a power of two of 8 or more")
        self.size = size
        count = size.bit_length() - 3  # halvings from size to 4
        widths = [3] + [filters * min(2**i, 8) for i in range(count)]
        conv: dict[str, Any] = {"strides": 2, "padding": 1, "init": init}
        self.convs = [
            NormedConv(widths[i], widths[i + 1], 3, norm, **conv, name=f"layer{i + 1}") for i in range(count)
        ]
        self.mean = Dense(16 * widths[-1], z_dim, init=init, name="mean")
        self.log_variance = Dense(16 * widths[-1], z_dim, init=init, name="log_variance")
        self.built = True

    def call(self, image: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        x = image
        if image.shape[1] != self.size or image.shape[2] != self.size:
            x = tf.image.resize(image, [self.size, self.size])  # bilinear
        for conv in self.convs:
            x = tf.nn.leaky_relu(conv(x, training=training), SLOPE)
        x = tf.reshape(x, [-1, 16 * x.shape[-1]])  # [B,4*4*width of the last layer]
        return tf.cast(self.mean(x), tf.float32), tf.cast(self.log_variance(x), tf.float32)
