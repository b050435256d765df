"""The conditional normalisers side by side: norm(x, condition) -> same shape."""

import re
from typing import NamedTuple

import keras
import tensorflow as tf

from semantic_synthesis.layers import BatchNorm, InstanceNorm, LabelModulation


class NormGrammar(NamedTuple):
    """A parsed norm_G string: spectral convolutions or not, statistics, kernel size of the modulation."""

    spectral: bool
    statistics: str
    kernel_size: int


def parse_norm_G(text):
    """Reads `[spectral]spade<instance|syncbatch|batch><k>x<k>` (spec section 2.4); ValueError otherwise."""
    match = re.fullmatch(r"spade(instance|syncbatch|batch)(\d)x\d", text.replace("spectral", ""))
    if not match:
        raise ValueError(
            f"norm_G is {text!r}; expected [spectral]spade<instance|syncbatch|batch><k>x<k>, "
            "for example spectralspadesyncbatch3x3"
        )
    if int(match[2]) % 2 == 0:
        raise ValueError(f"norm_G is {text!r}; the kernel size must be odd, for example 3x3")
    return NormGrammar("spectral" in text, match[1], int(match[2]))


def make_statistics(kind, channels, name):
    """The parameter-free normalisation that `kind` names: instance, batch (per replica) or syncbatch."""
    if kind == "instance":
        return InstanceNorm(channels, name=name)
    return BatchNorm(channels, synchronized=kind == "syncbatch", name=name)


class SPADE(keras.layers.Layer):
    """Spatially-adaptive normalisation (Park et al., equation 1): normalised(x) * (1 + scale) + shift.

    Call: x [B,h,w,channels]; plan: LabelPlan of the same h and w, batch B or 1 -> [B,h,w,channels].
    """

    def __init__(
        self, channels, num_classes, *, hidden=128, edges=False, kernel_size=3, statistics="syncbatch", init,
        name=None,
    ):  # fmt: skip
        super().__init__(name=name, autocast=False)
        self.statistics = make_statistics(statistics, channels, "statistics")
        self.modulation = LabelModulation(
            num_classes, channels, hidden, edges=edges, kernel_size=kernel_size, init=init, name="modulation"
        )
        self.built = True

    def call(self, x, plan, training=False):
        a, b = self.statistics.affine(x, training)
        if self.statistics.per_sample:
            x = tf.cast(tf.cast(x, tf.float32) * a + b, x.dtype)
            return self.modulation(x, plan, fold=lambda scale, shift: (1.0 + scale, shift))
        # x * a + b goes into scale and shift, at the cost of a few patches instead of all pixels.
        return self.modulation(x, plan, fold=lambda scale, shift: ((1.0 + scale) * a, (1.0 + scale) * b + shift))
