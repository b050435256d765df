"""The conditional normalisers side by side: norm(x, condition) -> same shape."""

import re
from typing import NamedTuple

import keras

from semantic_synthesis.layers import BatchNorm, InstanceNorm, LabelModulation


class NormGrammar(NamedTuple):
    """A parsed norm_G string: spectral convolutions or not, statistics, kernel size of the modulation."""

    spectral: bool
    statistics: str
    kernel_size: int


def parse_norm_G(text):
    """Reads `[spectral]spade<instance|syncbatch|batch><k>x<k>` (spec section 2.4); ValueError otherwise."""
    match = re.fullmatch(r"(spectral)?spade(instance|syncbatch|batch)(\d)x\3", text)
    if not match:
        raise ValueError(
            f"norm_G is {text!r}; expected [spectral]spade<instance|syncbatch|batch><k>x<k>, "
            "for example spectralspadesyncbatch3x3"
        )
    if int(match[3]) % 2 == 0:
        raise ValueError(f"norm_G is {text!r}; the kernel size must be odd, for example 3x3")
    return NormGrammar(bool(match[1]), match[2], int(match[3]))


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
        self.folded = False
        self.built = True

    def fold(self):
        """Folds running statistics into the modulation's last kernel: same outputs (inference only)."""
        if not self.statistics.per_sample and not self.folded:
            self.modulation.fold_statistics(*self.statistics.affine(None))
            self.folded = True

    def call(self, x, plan, training=False):
        if self.folded:
            return self.modulation(x, plan)
        if self.statistics.per_sample:
            x = self.statistics(x, training=training)
            return self.modulation(x, plan, fold=lambda scale, shift: (1.0 + scale, shift))
        a, b = self.statistics.affine(x, training)
        # x * a + b goes into scale and shift, at the cost of a few patches instead of all pixels.
        return self.modulation(
            x, plan, fold=lambda scale, shift: ((1.0 + scale) * a, (1.0 + scale) * b + shift)
        )
