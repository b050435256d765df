"""Convolutions with a plain normalisation, as discriminators and encoders use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras

from semantic_synthesis.layers import BatchNorm, Conv, InstanceNorm

if TYPE_CHECKING:
    import tensorflow as tf

    from semantic_synthesis.layers.initialization import Initializer


def parse_norm(text: str, option: str) -> str:
    """The part after `spectral` in norm_D or norm_E: none, batch, sync_batch or instance."""
    kind = text.removeprefix("spectral") or "none"
    if not text.startswith("spectral") or kind not in ("none", "batch", "sync_batch", "instance"):
        raise ValueError(
            f"{option} is {text!r}; expected spectral followed by none, batch, sync_batch or instance"
        )
    return kind


class NormedConv(keras.layers.Layer):
    """Spectrally normalised convolution, then a plain normalisation.

    Call: x [B,H,W,in_channels] -> [B,H',W',filters]. The convolution has a bias only without a norm.
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        kernel_size: int,
        kind: str,
        *,
        strides: int,
        padding: int,
        init: Initializer,
        name: str,
    ) -> None:
        super().__init__(name=name, autocast=False)
        self.conv = Conv(
            in_channels,
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            use_bias=kind == "none",
            spectral=True,
            init=init,
            name="conv",
        )
        self.norm = None
        if kind == "instance":
            self.norm = InstanceNorm(filters, name="norm")
        elif kind != "none":
            self.norm = BatchNorm(
                filters, trainable_affine=True, synchronized=kind == "sync_batch", init=init, name="norm"
            )
        self.built = True

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = self.conv(x)
        return x if self.norm is None else self.norm(x, training=training)
