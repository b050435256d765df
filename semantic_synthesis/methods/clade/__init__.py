"""CLADE: Tan et al., Efficient Semantic Image Synthesis via Class-Adaptive Normalization, TPAMI 2021.

arXiv 2012.04644. `normalization.CLADE` is the class-adaptive layer, with `positions` CLADE-ICPE (intra-class
positional encoding); all else is SPADE's (methods/spade).

Deviations from the authors' code: those of SPADE; the places of ICPE are computed from the label map the
networks see, not read from files made at the photo's original size, so they are right after crop and flip
(the code mirrors them upside down). As there, class 0 has no places, whatever class that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import tensorflow as tf

from semantic_synthesis.config import Config
from semantic_synthesis.layers import label_tokens
from semantic_synthesis.layers.cells import Cells
from semantic_synthesis.layers.connected import region_offsets
from semantic_synthesis.layers.pairs import has_pairs
from semantic_synthesis.methods.gan_options import ConditionalGANConfig
from semantic_synthesis.methods.global_style import GlobalStyleGAN
from semantic_synthesis.normalization import CLADE as CLADENorm
from semantic_synthesis.normalization import LabelCells, parse_norm_G
from semantic_synthesis.options import option, redeclared

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class CLADEConfig(ConditionalGANConfig):
    """Options of CLADE."""

    z_needs_encoder: ClassVar[bool] = True
    method: str = redeclared(Config, "method", "clade")
    class_positions: bool = option(
        False,
        "CLADE-ICPE: scale and shift also depend on the place in a region.",
        role="network",
        group="Generator, encoder, discriminator",
    )


class CLADE(GlobalStyleGAN):
    """Label map (and style vector z with use_vae) -> picture; layout and style as SPADE."""

    config_class: ClassVar[type[Config]] = CLADEConfig

    def __init__(self, config: CLADEConfig, training: bool = True, initial_weights: bool = True) -> None:
        super().__init__(config, training, initial_weights, name="clade")

    @classmethod
    def converter(cls) -> Any:
        """Files of tzt101/CLADE."""
        from semantic_synthesis.methods.clade import conversion

        return conversion

    def make_norm(self, channels: int, name: str) -> keras.layers.Layer:
        """The normaliser of one place in the generator."""
        return CLADENorm(
            channels,
            self.num_classes,
            edges=self.edges,
            positions=self.config.class_positions,
            statistics=parse_norm_G(self.config.norm_G).statistics,
            init=self.init,
            name=name,
        )

    def plan(self, layout: dict[str, tf.Tensor]) -> Any:
        """What depends on the layout alone: {stride: LabelCells}. Any number of styles can share it."""
        tokens = self.tokens(layout)
        offsets = region_offsets(layout["label"]) if self.config.class_positions else None

        def condition(stride):
            here = tokens[:, ::stride, ::stride]  # [B,h,w]
            edges = here % 2 if self.edges else None
            places = None if offsets is None else offsets[:, ::stride, ::stride]  # [B,h,w,2]
            return LabelCells(
                Cells.of(
                    here // 2 if self.edges else here,
                    self.static_shapes,
                    paired=has_pairs(stride, self.strides) and not self.edges and offsets is None,
                ),
                None if edges is None else tf.cast(edges, tf.float32)[..., None],
                places,
            )

        return {stride: condition(stride) for stride in sorted(set(self.strides))}

    @staticmethod
    def tokens_of(condition: LabelCells) -> tf.Tensor:
        """The tokens that a condition was made from."""
        edges = None if condition.edges is None else condition.edges[..., 0]
        return label_tokens(condition.cells.index, edges)
