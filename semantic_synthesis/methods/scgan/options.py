"""Options of SCGAN; their defaults are those of the published ADE20K model."""

import functools
from dataclasses import dataclass
from typing import ClassVar

from semantic_synthesis.config import Config
from semantic_synthesis.methods.gan_options import ConditionalGANConfig, ModulatedGANConfig
from semantic_synthesis.methods.scgan.composition import ACTIVATIONS
from semantic_synthesis.methods.scgan.label_pyramid import KINDS
from semantic_synthesis.options import Use, option, redeclared

_networks = functools.partial(option, group="Generator, encoder, discriminator", role="network")
_losses = functools.partial(option, group="Losses", role="training")
_base = functools.partial(redeclared, ConditionalGANConfig)


@dataclass(frozen=True)
class SCGANConfig(ModulatedGANConfig):
    """Options of SCGAN."""

    z_needs_encoder: ClassVar[bool] = True
    method: str = redeclared(Config, "method", "scgan")
    num_generator_filters: int = _base("num_generator_filters", 32)
    norm_G: str = _networks(
        "spectralsccsyncbatch3x3", "Generator normalisation: [spectral]scc<instance|syncbatch|batch><k>x<k>."
    )
    num_encoder_filters: int = _base("num_encoder_filters", 32)
    beta2: float = _base("beta2", 0.999)
    batch_size: int = redeclared(Config, "batch_size", 16)
    num_experts_conv: int = _networks(3, "Expert kernels of each spatially conditional convolution.")
    num_experts_norm: int = _networks(
        4, "Expert scales and shifts of each spatially conditional normalisation."
    )
    weight_type: str = _networks(
        "softmax", "From logits of experts to their gates, at every pixel.", choices=tuple(ACTIVATIONS)
    )
    temperature: float = _networks(0.05, "Logits are multiplied by it before weight_type.")
    num_routing_filters: int = _networks(
        32, "Width of the finest semantic vectors; the coarsest have 16 times that."
    )
    num_entry_filters: int = _networks(32, "The generator's first features have 16 times as many channels.")
    spectral_routing: bool = _networks(True, "Spectral norm in the semantic vector generator.")
    routing_detach: bool = _networks(
        False, "The gates of convolutions do not train the semantic vectors.", role="training"
    )
    label_blur: str = _networks(
        "none",
        "Labels of the semantic vectors blurred within classes: not, the full map, or the finest levels.",
        choices=KINDS,
    )
    blur_levels: int = _networks(
        4, "label_blur pyramid: the blur_levels - 1 finest levels are blurred, and those below sample them."
    )
    blur_size: int = _networks(7, "Side of the blur's window in pixels.")
    blur_sigma: float = _networks(1.5, "Standard deviation of the blur's window in pixels.")
    blur_iterations: int = _networks(1, "How often the blur is applied.")
    blur_relative: bool = _networks(False, "Divide by the values before the last iteration.")
    lambda_reconstruction: float = _losses(2.0, "Weight of the L1 loss of the auxiliary picture.")
    netD: str = _base("netD", "fpse")

    def uses(self) -> list[Use]:
        """When options have an effect."""
        why = f"of no effect with --label_blur {self.label_blur}"
        return [
            *super().uses(),
            Use("blur_levels", self.label_blur == "pyramid", why),
            Use("blur_size blur_sigma blur_iterations blur_relative", self.label_blur != "none", why),
        ]
