"""SPADE / GauGAN: Park et al., Semantic Image Synthesis with Spatially-Adaptive Normalization, CVPR 2019.

arXiv 1903.07291. Section 3.1 is `normalization.SPADE`; section 3.2 the generator (`networks.Generator`);
section 3.3, multi-modal synthesis, is `encode_style` and `sample_style`.

Deviations from the authors' code: generator and discriminator losses come from one forward pass (the
code makes a second fake after the generator's update), so running statistics and power iterations move
once per step; the KL term is a mean over the batch; the encoder may see pictures of another size than
256 (`encoder_size`); the latent length is free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from semantic_synthesis.config import Config
from semantic_synthesis.layers import modulation_form, plan_label
from semantic_synthesis.layers.pairs import has_pairs
from semantic_synthesis.methods.gan_options import ModulatedGANConfig
from semantic_synthesis.methods.global_style import GlobalStyleGAN
from semantic_synthesis.normalization import SPADE as SPADENorm
from semantic_synthesis.normalization import parse_norm_G
from semantic_synthesis.options import redeclared

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


@dataclass(frozen=True)
class SPADEConfig(ModulatedGANConfig):
    """Options of SPADE."""

    z_needs_encoder: ClassVar[bool] = True
    method: str = redeclared(Config, "method", "spade")


class SPADE(GlobalStyleGAN):
    """Label map (and style vector z with use_vae) -> picture.

    Layout: label int32 [B,H,W] in [0,C), with instance edges also instance int32 [B,H,W]; H and W
    multiples of the first generator stride; with use_vae exactly crop_height x crop_size.
    Style: {"z": float32 [N,Z]} with use_vae, else {}. A layout of batch 1 serves N styles.
    """

    config_class: ClassVar[type[Config]] = SPADEConfig

    def __init__(self, config: SPADEConfig, training: bool = True, initial_weights: bool = True) -> None:
        super().__init__(config, training, initial_weights, name="spade")
        self.form = modulation_form(config.modulation, parse_norm_G(config.norm_G).kernel_size, said=training)

    @classmethod
    def converter(cls) -> Any:
        """Files of NVlabs/SPADE."""
        from semantic_synthesis.methods.spade import conversion

        return conversion

    def make_norm(self, channels: int, name: str) -> keras.layers.Layer:
        """The normaliser of one place in the generator."""
        grammar = parse_norm_G(self.config.norm_G)
        return SPADENorm(
            channels,
            self.num_classes,
            hidden=self.config.num_hidden_filters,
            edges=self.edges,
            kernel_size=grammar.kernel_size,
            statistics=grammar.statistics,
            init=self.init,
            name=name,
        )

    def plan(self, layout: dict[str, tf.Tensor]) -> Any:
        """What depends on the layout alone: {stride: LabelPlan}. Any number of styles can share it."""
        tokens = self.tokens(layout)
        return {
            stride: plan_label(
                tokens[:, ::stride, ::stride],
                self.num_tokens,
                self.plan_form,
                paired=has_pairs(stride, self.strides),
            )
            for stride in sorted(set(self.strides))
        }

    @staticmethod
    def tokens_of(condition: Any) -> tf.Tensor:
        """The tokens that a condition was made from."""
        return condition.tokens
