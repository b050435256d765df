"""clVAE: Endo and Kanamori, Diversifying Semantic Image Synthesis and Editing via Class- and Layer-wise VAEs.

Pacific Graphics 2020 (Computer Graphics Forum 39(7)), arXiv 2106.13416. The encoder of
classes is `encoder.ClassEncoder`. The generator is SPADE's, but its six coarser blocks see, in place of the one-hot
label map, at each pixel the sum of a learned vector of its class and the latent of that class at the block's level
(`LabelRows`). One more latent, z, belongs to the whole picture. Discriminator and losses are SPADE's.

Deviations from the authors' code: generator and discriminator losses come from one forward pass (the code makes a
second fake after the generator's update), so running statistics and power iterations move once per step; the KL term is
a mean over the batch (the code sums: its lambda_kld at n samples is n times ours); levels and lengths of the latents do
not depend on the batch, so training runs on any number of devices; the encoder may see pictures of another size than
256 (`encoder_size`); with instance maps the finest block and the discriminator see their edges; without an encoder
(use_vae false) latents are random in training too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from semantic_synthesis import losses
from semantic_synthesis.config import Config
from semantic_synthesis.layers import ResidualBlock, add_array, modulation_form, plan_label
from semantic_synthesis.layers.cells import class_cells, number_cells, sample_numbers
from semantic_synthesis.layers.pairs import has_pairs
from semantic_synthesis.layers.spreading import gather
from semantic_synthesis.methods.clvae.encoder import LEVELS, ClassEncoder, PhotoStyle
from semantic_synthesis.methods.conditional_gan import ConditionalGAN, random_rows
from semantic_synthesis.methods.gan_options import ConditionalGANConfig, ModulatedGANConfig
from semantic_synthesis.methods.method import Objective, row_normal
from semantic_synthesis.networks import parse_norm
from semantic_synthesis.normalization import SPADE as SPADENorm
from semantic_synthesis.normalization import LabelRows, parse_norm_G
from semantic_synthesis.options import Use, option, redeclared
from semantic_synthesis.styles import CLASS, LAYER, Encoded, StyleSpec

if TYPE_CHECKING:
    from semantic_synthesis.layers.initialization import Initializer

# The level whose latents a block sees, 0 the finest; other blocks see the one-hot label map. By block, not by
# stride: at depth "more" the strides differ and the levels do not.
BLOCK_LEVELS = {"head_0": 4, "G_middle_0": 3, "G_middle_1": 3, "up_0": 2, "up_1": 1, "up_2": 0}
_LATENTS = 1 << 33  # keeps the seeds of class latents apart from those of z

_networks = functools.partial(option, group="Generator, encoder, discriminator", role="network")


@dataclass(frozen=True)
class CLVAEConfig(ModulatedGANConfig):
    """Options of clVAE: the paper's defaults; lambda_kld is 0.05 summed over its batch of 4."""

    method: str = redeclared(Config, "method", "clvae")
    latent_dim: int = _networks(
        None, "Length of the latent of a class at a level; default: the number of classes.", kind=int
    )
    num_generator_filters: int = _networks(
        None, "Width of the generator's last block.", kind=int, fallback=64
    )
    num_encoder_filters: int = _networks(
        None, "Width of the encoder's first layer; default: num_generator_filters.", kind=int
    )
    use_vae: bool = redeclared(ConditionalGANConfig, "use_vae", True)
    lambda_kld: float = redeclared(ConditionalGANConfig, "lambda_kld", 0.2)
    lambda_kld_classes: float = option(
        None,
        "Weight of the KL terms of the classes' latents; default: lambda_kld.",
        group="Losses",
        role="training",
        kind=float,
    )
    total_epochs: int = redeclared(Config, "total_epochs", 50)
    decay_epoch: int = redeclared(Config, "decay_epoch", 50)

    def uses(self) -> list[Use]:
        """When options have an effect."""
        encoder = "of no effect without an encoder (--use_vae)"
        return [*super().uses(), Use("lambda_kld_classes", self.use_vae, encoder)]


class ClassEmbedding(keras.layers.Layer):
    """A learned vector per class, at all levels the same: embedding [C,Z]; standard normal at the start."""

    def __init__(self, num_classes: int, size: int, *, init: Initializer, name: str = "embedding") -> None:
        super().__init__(name=name, autocast=False)
        self.weight = add_array(self, "weight", init.normal((num_classes, size), 1.0))
        self.built = True

    def call(self, classes: tf.Tensor) -> tf.Tensor:
        """The vectors of class ids int32 [T]: float32 [T,Z]."""
        return gather(tf.cast(self.weight.value, tf.float32), classes)


class CLVAE(ConditionalGAN):
    """Label map, a latent per class and level, and one for the whole picture -> picture.

    Layout: label int32 [B,H,W] in [0,C), with instance edges also instance int32 [B,H,W]; the size is crop_height x
    crop_size. Style: {"class_latents": float32 [N,5,C,Z], level 0 the finest, "z": float32 [N,z_dim]}. A layout of
    batch 1 serves N styles.
    """

    config_class: ClassVar[type[Config]] = CLVAEConfig
    encoder_sees_layout: ClassVar[bool] = True

    def __init__(self, config: CLVAEConfig, training: bool = True, initial_weights: bool = True) -> None:
        if config.latent_dim is not None and config.latent_dim < 1:
            raise ValueError(f"--latent_dim {config.latent_dim}; expected 1 or more")
        super().__init__(config, training, initial_weights, name="clvae")
        self.embedding = ClassEmbedding(self.num_classes, self.latent_dim, init=self.init)
        self.form = modulation_form(config.modulation, parse_norm_G(config.norm_G).kernel_size, said=training)
        self.levels = tuple(BLOCK_LEVELS.get(place.name) for place in self.make_layout())

    @classmethod
    def converter(cls) -> Any:
        """Files of endo-yuki-t/DiversifyingSMIS."""
        from semantic_synthesis.methods.clvae import conversion

        return conversion

    @classmethod
    def fixed_size(cls, config: Any) -> bool:
        """The dense layer after z decides the size."""
        return True

    @property
    def latent_dim(self) -> int:
        """Z: the length of the latent of a class at a level."""
        return self.config.latent_dim or self.config.num_classes

    def make_block(self, channels_in: int, channels_out: int, name: str) -> keras.layers.Layer:
        """A block that sees rows of classes, or the one-hot map."""
        styled = name in BLOCK_LEVELS
        make_norm = functools.partial(
            self.make_norm,
            size=self.latent_dim if styled else self.num_classes,
            edges=self.edges and not styled,
        )
        spectral = parse_norm_G(self.config.norm_G).spectral
        return ResidualBlock(
            channels_in, channels_out, make_norm, spectral=spectral, init=self.init, name=name
        )

    def make_norm(self, channels: int, name: str, size: int, edges: bool) -> keras.layers.Layer:
        """The normaliser of one place in the generator; size: of the vectors it sees at the pixels."""
        grammar = parse_norm_G(self.config.norm_G)
        return SPADENorm(
            channels,
            size,
            hidden=self.config.num_hidden_filters,
            edges=edges,
            kernel_size=grammar.kernel_size,
            statistics=grammar.statistics,
            init=self.init,
            name=name,
        )

    def make_entry(self) -> keras.layers.Layer:
        """z to the first features."""
        return self.dense_entry()

    def make_encoder(self) -> keras.layers.Layer | None:
        """The encoder of photos and their label maps."""
        config = self.config
        return ClassEncoder(
            config.num_encoder_filters or config.num_generator_filters,
            config.z_dim,
            self.num_classes,
            self.latent_dim,
            size=config.encoder_size,
            norm=parse_norm(config.norm_E, "norm_E"),
            init=self.init,
        )

    # Styles

    @property
    def style_shapes(self) -> dict[str, StyleSpec]:
        """{name: StyleSpec}; photos decide z, and at all levels the latents of the classes they show."""
        encoded, shape = self.encoder is not None, (LEVELS, self.num_classes, self.latent_dim)
        return {
            "class_latents": StyleSpec(shape, (LAYER, CLASS, "latent"), encoded, present=2),
            "z": StyleSpec((self.config.z_dim,), ("latent",), encoded),
        }

    def sample_style(self, layout: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """One random style per seed, of all classes: seed int64 [N] -> {"class_latents", "z"}."""
        style = self._draw(seed, 0)
        if self.prior is None:
            return style
        shape = style["class_latents"].shape
        numbers = tf.concat([tf.reshape(style["class_latents"], [-1, math.prod(shape[1:])]), style["z"]], 1)
        drawn = self.prior(numbers, seed)
        latents, z = tf.split(drawn, [numbers.shape[1] - self.config.z_dim, self.config.z_dim], 1)
        return {"class_latents": tf.reshape(latents, [-1, *shape[1:]]), "z": z}

    def style_size(self) -> int:
        """The latents of all levels and classes, and z."""
        return LEVELS * self.num_classes * self.latent_dim + self.config.z_dim

    def fit(self, batches: Iterable[dict[str, tf.Tensor]]) -> None:
        """Fits the prior to the styles of photos."""
        if self.prior is None or self.encoder is None:
            return
        found: list[list[np.ndarray]] = [[], [], []]
        read = tf.function(self.encoder, autograph=False)
        for batch in batches:
            photo = read(batch["image"], batch["label"])
            count = len(photo.z_mean)
            everywhere = np.ones(photo.z_mean.shape, bool)
            shown = np.broadcast_to(photo.present.numpy()[..., None], photo.mean.shape)
            for values, parts in zip(
                found,
                ((photo.mean, photo.z_mean), (photo.log_variance, photo.z_log_variance), (shown, everywhere)),
                strict=True,
            ):
                values.append(np.concatenate([np.reshape(part, [count, -1]) for part in parts], 1))
        means, logs, present = map(np.concatenate, found)
        self.prior.fit(means.astype(float), np.exp(logs.astype(float)), present)

    def _draw(self, rows, seed):
        shape = self.style_shapes["class_latents"].shape
        latents = row_normal(rows, tf.reduce_prod(shape), seed + _LATENTS)
        return {
            "class_latents": tf.reshape(latents, [-1, *shape]),  # [N,5,C,Z]
            "z": row_normal(rows, self.config.z_dim, seed),
        }

    def encode_style(self, image: tf.Tensor, layout: dict[str, tf.Tensor]) -> Encoded:
        """The mean style of photos of these layouts: image float32 [N,H,W,3] in [-1,1] -> Encoded.

        A class that the photo shows but that has no pixel at some coarse level is decided there, too: 0, as in the
        authors' code. Empty without encoder.
        """
        if self.encoder is None:
            return Encoded({})
        found = self.encoder(image, layout["label"])
        decided = tf.repeat(found.seen[:, None], LEVELS, axis=1)  # [N,5,C]
        return Encoded({"class_latents": found.mean, "z": found.z_mean}, {"class_latents": decided})

    # Pictures

    def plan(self, layout: dict[str, tf.Tensor]) -> Any:
        """What depends on the layout alone; any number of styles can share it.

        {"classes", "samples": int32 [Q], the pairs of class and sample that occur; "cells": {stride: LabelPlan of
        the pairs}; "semantics": {stride: LabelPlan of the classes}, for the blocks that see no latents}.
        """
        label = layout["label"]
        if self.static_shapes:
            classes, samples, index = class_cells(label, self.num_classes)
        else:
            (classes, samples), index = number_cells(label, sample_numbers(label))
        tokens, places = self.tokens(layout), list(zip(self.strides, self.levels, strict=True))
        return {
            "classes": classes,
            "samples": samples,
            "cells": {
                s: plan_label(
                    index[:, ::s, ::s], tf.size(classes), self.plan_form, paired=has_pairs(s, self.strides)
                )
                for s in sorted({stride for stride, level in places if level is not None})
            },
            "semantics": {
                s: plan_label(
                    tokens[:, ::s, ::s], self.num_tokens, self.plan_form, paired=has_pairs(s, self.strides)
                )
                for s in sorted({stride for stride, level in places if level is None})
            },
        }

    def synthesize_planned(self, plan: Any, style: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Pictures float32 [N,H,W,3] in [-1,1] for a plan of batch 1 or N and a style of batch N."""
        latents, pairs = style["class_latents"], tf.size(plan["classes"])
        batch = tf.shape(next(iter(plan["cells"].values())).tokens)[0]
        copies = tf.shape(latents)[0] // batch
        classes = tf.tile(plan["classes"], [copies])  # [T], T = copies * Q
        samples = plan["samples"] + batch * tf.range(copies)[:, None]  # [copies,Q]
        cells = tf.stack([tf.reshape(samples, [-1]), classes], 1)  # [T,2]
        embedded = self.embedding(classes)
        rows = {
            level: embedded + tf.gather_nd(latents[:, level], cells)  # [T,Z]
            for level in set(self.levels) - {None}
        }
        plans = {stride: cell_plan.repeated(copies, pairs) for stride, cell_plan in plan["cells"].items()}
        conditions = [
            plan["semantics"][stride] if level is None else LabelRows(plans[stride], rows[level])
            for stride, level in zip(self.strides, self.levels, strict=True)
        ]
        return self.generator(self.enter(style["z"]), conditions, training=training)

    # Training

    def objectives(self) -> dict[str, Objective]:
        """Those of SPADE; the generator's moves the embedding as well."""
        found = super().objectives()
        mine = found["generator"]
        return found | {"generator": replace(mine, layers=[*mine.layers, self.embedding])}

    def training_style(
        self, batch: dict[str, tf.Tensor]
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor], None]:
        """(style to train with, {"KLD": weighted term}, which samples are unpaired: bool [B] or None)."""
        config, unpaired = self.config, None
        noise = self._draw(batch["row"], config.seed)
        if self.encoder is None:
            return noise, {}, None
        found = self.encoder(batch["image"], batch["label"], training=True)
        style = {
            "class_latents": found.mean + tf.exp(0.5 * found.log_variance) * noise["class_latents"],
            "z": found.z_mean + tf.exp(0.5 * found.z_log_variance) * noise["z"],
        }
        if config.prior_share:
            unpaired = random_rows(batch["row"], config.prior_share)
            style = {
                name: tf.where(tf.reshape(unpaired, [-1, *[1] * (x.shape.rank - 1)]), noise[name], x)
                for name, x in style.items()
            }
        local = config.lambda_kld if config.lambda_kld_classes is None else config.lambda_kld_classes
        return style, {"KLD": class_divergence(found, config.lambda_kld, local)}, unpaired


def class_divergence(found: PhotoStyle, picture: float = 1.0, classes: float = 1.0) -> tf.Tensor:
    """The KL term of a PhotoStyle: that of z, and for each level the mean over the classes present there.

    Sums over latents and levels, a mean over the batch. picture, classes: weights of the two.
    """
    present = tf.cast(found.present, tf.float32)  # [B,5,C]
    shares = present / tf.reduce_sum(present, -1, keepdims=True)
    local = losses.kl_divergence(found.mean, found.log_variance, shares[..., None])
    return classes * local + picture * losses.kl_divergence(found.z_mean, found.z_log_variance)
