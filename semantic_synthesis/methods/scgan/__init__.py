"""SCGAN: Wang et al., Image Synthesis via Semantic Composition, ICCV 2021.

arXiv 2109.07053. Section 3.1 is `semantic_vectors` (labels: `label_pyramid`), section 3.2 `composition`, the
discriminator `discriminators.PyramidDiscriminator` or SPADE's.

Deviations from the authors' code: those of SPADE (methods/spade); the auxiliary picture is computed in training
only; its loss is L1; depth `most` works; scores during training come from the whole pictures of the held-out split
as they are made at test time, not from random crops. Not here: the unpaired and the averaging variants of the code,
which are incomplete as published (averages: --ema_decay), and discriminators that no published model uses.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

import tensorflow as tf

from semantic_synthesis import losses
from semantic_synthesis.config import Config
from semantic_synthesis.layers import LabelPlan, modulation_form, plan_label
from semantic_synthesis.methods.global_style import GlobalStyleGAN
from semantic_synthesis.methods.scgan.composition import (
    ACTIVATIONS,
    ComposedBlock,
    Composition,
    SCNorm,
    expert_logits,
    parse_norm_G,
)
from semantic_synthesis.methods.scgan.gate_pictures import gate_pictures
from semantic_synthesis.methods.scgan.label_pyramid import Blur, check_window
from semantic_synthesis.methods.scgan.options import SCGANConfig
from semantic_synthesis.methods.scgan.semantic_vectors import SemanticVectors

if TYPE_CHECKING:
    import keras

    from semantic_synthesis.methods.method import Objective
    from semantic_synthesis.networks.generator import Block


class SCGAN(GlobalStyleGAN):
    """Label map (and style vector z with use_vae) -> picture; layout and style as SPADE.

    The plan holds the gates: N styles of one layout share one run of the semantic vector generator.
    """

    config_class: ClassVar[type[Config]] = SCGANConfig
    finish = staticmethod(lambda x: tf.clip_by_value(x, -1.0, 1.0))

    def __init__(self, config: SCGANConfig, training: bool = True, initial_weights: bool = True) -> None:
        super().__init__(config, training, initial_weights, name="scgan")
        self.vectors = self._make_vectors()
        self.form = modulation_form(config.modulation, self.grammar.kernel_size, said=training)

    @classmethod
    def converter(cls) -> Any:
        """Files of dvlab-research/SCGAN."""
        from semantic_synthesis.methods.scgan import conversion

        return conversion

    # Parts

    @property
    def grammar(self) -> SCNorm:
        """What norm_G says."""
        return parse_norm_G(self.config.norm_G)

    @property
    def _generator_init(self):
        """In the generator the authors' initialiser reaches spectrally normalised kernels, too."""
        return self.init.with_spectral("same")

    def make_layout(self) -> list[Block]:
        """SPADE's, but for the width of the first features."""
        for name in ("num_experts_conv", "num_experts_norm"):
            if getattr(self.config, name) < 1:
                raise ValueError(f"--{name} is {getattr(self.config, name)}; expected 1 or more")
        first, *rest = super().make_layout()
        return [first._replace(channels_in=16 * self.config.num_entry_filters), *rest]

    def make_block(self, channels_in: int, channels_out: int, name: str) -> keras.layers.Layer:
        """One block of the generator."""
        config = self.config
        return ComposedBlock(
            channels_in,
            channels_out,
            self.num_classes,
            conv_experts=config.num_experts_conv,
            norm_experts=config.num_experts_norm,
            grammar=self.grammar,
            edges=self.edges,
            hidden=config.num_hidden_filters,
            init=self._generator_init,
            name=name,
        )

    def _make_vectors(self):
        config = self.config
        count = self.strides[0].bit_length()  # one level per doubling, and the coarsest
        blur = Blur(
            config.label_blur,
            config.blur_levels,
            config.blur_size,
            config.blur_sigma,
            config.blur_iterations,
            config.blur_relative,
        )
        if blur.kind != "none":
            check_window(blur)
        return SemanticVectors(
            self.num_classes,
            config.num_routing_filters,
            count,
            edges=self.edges,
            blur=blur,
            spectral=config.spectral_routing,
            init=self._generator_init,
        )

    # Plan

    def plan(self, layout: dict[str, tf.Tensor]) -> Any:
        """What depends on the layout alone: {stride: Composition}. Any number of styles can share it."""
        labels = self._label_plans(layout)
        return self._compose(labels, self.vectors(labels[1].tokens, labels[1]))

    def _label_plans(self, layout):
        """{stride: LabelPlan} where labels are needed beside the gates: the finest, the first features', shortcuts'."""
        tokens, found = self.tokens(layout), {}
        shortcuts = {
            s for s, b in zip(self.strides, self.generator.blocks, strict=True) if b.conv_s is not None
        }
        for stride in sorted({1, self.strides[0]} | shortcuts):
            here = tokens[:, ::stride, ::stride]
            needed = stride == 1 or stride in shortcuts
            found[stride] = plan_label(here, self.num_tokens, self.plan_form) if needed else LabelPlan(here)
        return found

    def logits(self, vectors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(of convolutions [B,h,w,Ec], of normalisations [B,h,w,En]): the experts' logits in vectors [B,h,w,F]."""
        config = self.config
        return expert_logits(vectors, config.num_experts_conv), expert_logits(
            vectors, config.num_experts_norm
        )

    def diagrams(self, plan: Any, style: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The gates at every stride: which expert kernel and which expert scale counts where."""
        return gate_pictures(plan)

    def _compose(self, labels, vectors):
        """{stride: Composition} from {stride: LabelPlan} and the semantic vectors, coarsest first."""
        config, activate, found = self.config, ACTIVATIONS[self.config.weight_type], {}
        for i, x in enumerate(reversed(vectors)):
            convs, norms = self.logits(x)
            if config.routing_detach:
                convs = tf.stop_gradient(convs)
            convs, norms = activate(convs * config.temperature), activate(norms * config.temperature)
            norms = tf.concat([tf.ones_like(norms[..., :1]), norms], -1)  # [B,h,w,1+En]
            found[2**i] = Composition(convs, norms, labels.get(2**i))
        return found

    @staticmethod
    def tokens_of(condition: Any) -> tf.Tensor:
        """The tokens that a condition was made from."""
        return condition.label.tokens

    # Training

    def objectives(self) -> dict[str, Objective]:
        """The generator's layers include the semantic vector generator."""
        found = super().objectives()
        generator = found["generator"]
        found["generator"] = dataclasses.replace(generator, layers=[*generator.layers, self.vectors])
        return found

    def compute_losses(self, batch: dict[str, tf.Tensor]) -> dict[str, dict[str, tf.Tensor]]:
        """One forward pass for both objectives; see Method. Losses are already weighted."""
        layout: dict[str, tf.Tensor] = {key: batch[key] for key in ("label", "instance") if key in batch}
        style, divergence, unpaired = self.training_style(batch)
        labels = self._label_plans(layout)
        vectors = self.vectors(labels[1].tokens, labels[1])
        fake = self.synthesize_planned(self._compose(labels, vectors), style, training=True)
        terms = self.adversarial_terms(
            layout, fake, batch["image"], unpaired, batch["row"], batch.get("rarity")
        )
        reconstruction = losses.mean_absolute(self.vectors.picture(vectors[-1]), batch["image"])
        own = divergence | {"W_Recon": self.config.lambda_reconstruction * reconstruction}
        return terms | {"generator": own | terms["generator"]}


__all__ = ["SCGAN", "SCGANConfig"]
