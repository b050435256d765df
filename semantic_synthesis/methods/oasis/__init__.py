"""OASIS: Schönfeld et al., You Only Need Adversarial Supervision for Semantic Image Synthesis, ICLR 2021.

arXiv 2012.04781. Section 3.1, the segmenting discriminator, is `discriminators.SegmentationDiscriminator`, its losses
(equations 1 to 5) and LabelMix `discriminators.SegmentationAdversary`; section 3.3, 3D noise, is `OASIS.plan` and
`OASIS.synthesize_planned`. The generator is SPADE's with six blocks, whose conditions are maps of vectors: at each
pixel [z of its region ; one-hot of its class].

Deviations from the authors' code: generator and discriminator losses come from one forward pass (the code makes a
second fake after the generator's update), so running statistics move once per step; power iterations are as many per
step as there, but all at its start; class weights and the coins of LabelMix are one set per step for the whole batch
(per device there), and the coins of all classes are independent (there classes 0 and 1 are coupled by an overwrite in
place); the averaged generator gets plain means of batch statistics over --recalibration_batches (there running values
move on by tenths over 51 batches); nothing crops unless the dataset's options say so (there the crop never happens).
Noise that differs between regions (section 3.3, resampling) is a style here; the authors' code does not have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import tensorflow as tf

from semantic_synthesis.config import Config
from semantic_synthesis.layers import Conv, LabelPlan, modulation_form, plan_label
from semantic_synthesis.layers.cells import number_cells, pixel_cells, sample_numbers
from semantic_synthesis.layers.pairs import has_pairs
from semantic_synthesis.layers.spreading import gather
from semantic_synthesis.methods.conditional_gan import ConditionalGAN
from semantic_synthesis.methods.gan_options import ConditionalGANConfig, ModulatedGANConfig
from semantic_synthesis.methods.method import row_normal
from semantic_synthesis.networks import Block
from semantic_synthesis.normalization import SPADE as SPADENorm
from semantic_synthesis.normalization import LabelRows, parse_norm_G
from semantic_synthesis.options import option, redeclared
from semantic_synthesis.styles import REGION, Encoded, StyleSpec

if TYPE_CHECKING:
    import keras

_NEVER = 1_000_000  # epochs: later than any training ends


@dataclass(frozen=True)
class OASISConfig(ModulatedGANConfig):
    """Options of OASIS, with the paper's settings for ADE20K (its appendix; recipes/ has the other datasets)."""

    method: str = redeclared(Config, "method", "oasis")
    no_3dnoise: bool = option(
        False,
        "Leave the noise out: one picture per layout.",
        role="network",
        group="Generator, encoder, discriminator",
    )
    z_dim: int = redeclared(ConditionalGANConfig, "z_dim", 64)
    num_upsampling_layers: str = redeclared(ConditionalGANConfig, "num_upsampling_layers", "normal")
    netD: str = redeclared(ConditionalGANConfig, "netD", "segmentation")
    no_vgg_loss: bool = redeclared(ConditionalGANConfig, "no_vgg_loss", True)
    beta2: float = redeclared(ConditionalGANConfig, "beta2", 0.999)
    decay_epoch: int = redeclared(Config, "decay_epoch", _NEVER)
    ema_decay: float = redeclared(Config, "ema_decay", 0.9999)
    recalibration_batches: int = redeclared(Config, "recalibration_batches", 50)


def oasis_layout(filters: int) -> list[Block]:
    """The Blocks of the generator: 16F channels down to F."""
    widths = [filters * width for width in (16, 16, 16, 8, 4, 2, 1)]
    return [Block(f"body_{i}", widths[i], widths[i + 1], 32 >> i) for i in range(6)]


class OASIS(ConditionalGAN):
    """Label map and one noise vector per region -> picture.

    Layout: label int32 [B,H,W] in [0,C), instance int32 [B,H,W] in [0,I), the regions; H and W multiples of 32.
    Style: {"z": float32 [N,I,Z]}; a random one gives all regions of a picture the same vector, as in training.
    With no_3dnoise {}, and a layout without instance. A layout of batch 1 serves N styles.
    """

    config_class: ClassVar[type[Config]] = OASISConfig
    spectral_init = "same"

    def __init__(self, config: OASISConfig, training: bool = True, initial_weights: bool = True) -> None:
        super().__init__(config, training, initial_weights, name="oasis")
        self.form = modulation_form(config.modulation, parse_norm_G(config.norm_G).kernel_size, said=training)

    @classmethod
    def converter(cls) -> Any:
        """Files of boschresearch/OASIS."""
        from semantic_synthesis.methods.oasis import conversion

        return conversion

    @classmethod
    def instance_maps(cls, config: Any) -> str | None:
        """Every pixel belongs to a region, which may have noise of its own."""
        return None if config.no_3dnoise else "regions"

    @classmethod
    def fixed_size(cls, config: Any) -> bool:
        """The networks are convolutional throughout."""
        return False

    # The networks

    @property
    def noise_dim(self) -> int:
        """Z, 0 without noise."""
        return 0 if self.config.no_3dnoise else self.config.z_dim

    @property
    def row_length(self) -> int:
        """Z + C."""
        return self.noise_dim + self.num_classes

    @classmethod
    def uses_edges(cls, config: Any) -> bool:
        """Instance edges are no input."""
        return False

    def make_layout(self) -> list[Block]:
        """Six blocks: SPADE's without the second middle one."""
        if self.config.num_upsampling_layers != "normal":
            raise ValueError(
                f"--num_upsampling_layers {self.config.num_upsampling_layers}: oasis has normal depth alone"
            )
        return oasis_layout(self.config.num_generator_filters)

    def make_norm(self, channels: int, name: str) -> keras.layers.Layer:
        """The normaliser of one place in the generator."""
        grammar = parse_norm_G(self.config.norm_G)
        return SPADENorm(
            channels,
            self.row_length,
            hidden=self.config.num_hidden_filters,
            kernel_size=grammar.kernel_size,
            statistics=grammar.statistics,
            init=self.init,
            name=name,
        )

    def make_entry(self) -> keras.layers.Layer:
        """The map of vectors to the first features."""
        return Conv(self.row_length, self.initial_shape[-1], 3, padding=1, init=self.init, name="fc")

    def make_encoder(self) -> None:
        """There is none."""
        raise ValueError("--use_vae: oasis has no encoder of photos; leave it out")

    def advance_spectral_norms(self) -> None:
        """Power iterations as often per step as in the authors' code: G twice, the discriminator four times.

        Kernels start so small that the first steps of Adam change their largest singular values by much; sigma must
        follow, or the product of many layers explodes.
        """
        judging = {id(v) for v in self.discriminator.variables} if self.discriminator else set()
        for layer in self.spectral_layers():
            for _ in range(4 if id(layer.kernel) in judging else 2):
                layer.advance()

    # Styles

    @property
    def style_shapes(self) -> dict[str, StyleSpec]:
        """{name: StyleSpec}."""
        return {"z": StyleSpec((None, self.noise_dim), (REGION, "latent"))} if self.noise_dim else {}

    def sample_style(self, layout: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """One random style per seed: seed int64 [N] -> {"z": [N,I,Z]}, one vector for all regions."""
        return self._draw(layout, seed, 0)

    def _draw(self, layout, rows, seed):
        if not self.noise_dim:
            return {}
        regions = tf.reduce_max(layout["instance"]) + 1
        z = row_normal(rows, self.noise_dim, seed)  # [N,Z]
        return {"z": tf.repeat(z[:, None], regions, axis=1)}

    def encode_style(self, image: tf.Tensor, layout: dict[str, tf.Tensor] | None = None) -> Encoded:
        """Photos decide nothing."""
        return Encoded({})

    # Pictures

    def plan(self, layout: dict[str, tf.Tensor]) -> Any:
        """What depends on the layout alone: its T distinct combinations of sample, class and region.

        {"samples", "classes", "regions": int32 [T], "plans": {stride: LabelPlan over these T tokens}}.
        """
        label = layout["label"]
        region = layout["instance"] if self.noise_dim else tf.zeros_like(label)
        number = pixel_cells if self.static_shapes else number_cells
        (samples, classes, regions), tokens = number(sample_numbers(label), label, region)
        plans = {
            stride: plan_label(
                tokens[:, ::stride, ::stride],
                tf.size(classes),
                self.plan_form,
                paired=has_pairs(stride, self.strides),
            )
            for stride in self.strides
        }
        return {"samples": samples, "classes": classes, "regions": regions, "plans": plans}

    def conditions(self, plan: Any, style: dict[str, tf.Tensor]) -> dict[int, LabelRows]:
        """{stride: LabelRows} for a plan of batch 1 or N and a style of batch N."""
        plans, one_hot = plan["plans"], tf.one_hot(plan["classes"], self.num_classes)  # [T,C]
        if not self.noise_dim:
            return {stride: LabelRows(plan, one_hot) for stride, plan in plans.items()}
        z, samples = style["z"], plan["samples"]
        batch, copies = plans[self.stride].tokens.shape[0], 1
        if batch is None or batch != z.shape[0]:  # one layout, each of its copies with rows of its own
            batch = tf.shape(plans[self.stride].tokens)[0]
            copies = tf.shape(z)[0] // batch
            plans = {s: LabelPlan(*p).repeated(copies, tf.size(samples)) for s, p in plans.items()}
            samples = samples + batch * tf.range(copies)[:, None]  # [copies,T]
        places = tf.stack([samples, tf.zeros_like(samples) + plan["regions"]], -1)  # [(copies,)T,2]
        z = tf.gather_nd(z, tf.reshape(places, [-1, 2]))  # [copies*T,Z]
        rows = tf.concat([z, tf.tile(one_hot, [copies, 1])], -1)  # [copies*T,Z+C]
        return {stride: LabelRows(plan, rows) for stride, plan in plans.items()}

    def synthesize_planned(self, plan: Any, style: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Pictures float32 [N,H,W,3] for a plan of batch 1 or N and a style of batch N."""
        conditions = self.conditions(plan, style)
        coarsest = conditions[self.stride]
        initial = self.fc(gather(coarsest.rows, coarsest.plan.tokens))
        return self.generator(initial, [conditions[stride] for stride in self.strides], training=training)

    # Training

    def compute_losses(self, batch: dict[str, tf.Tensor]) -> dict[str, dict[str, tf.Tensor]]:
        """One forward pass for both objectives; see Method. Losses are already weighted."""
        # One vector for the whole picture: fewer tokens than with its regions.
        layout = {"label": batch["label"], "instance": tf.zeros_like(batch["label"])}
        style = self._draw(layout, batch["row"], self.config.seed)
        fake = self.synthesize_planned(self.plan(layout), style, training=True)
        return self.adversarial_terms(layout, fake, batch["image"], rows=batch["row"])
