"""INADE: Tan et al., Diverse Semantic Image Synthesis via Probability Distribution Modeling, CVPR 2021.

arXiv 2103.06878. Section 3.2 is `normalization.INADE`, section 3.3 `instance_encoder`; backbone and
discriminator are SPADE's. Paper symbols: noise remapping N_r = N * sigma + mu is `InstanceGaussian.sample`.

Deviations from the authors' code: those of SPADE; an instance map need not exist (`instance_maps`); the
discriminators see instance edges only unless no_instance; feature matching (feature_layers deep) takes the
last features of discriminators of less than four layers, where the code drops the term; the KL term
is a mean over the batch (the code sums: its lambda_kld at n samples per GPU is n times ours); an encoded
style is the Gaussian's mean, scale and shift kept apart (the authors' demo mixes them up).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import tensorflow as tf

from semantic_synthesis import losses
from semantic_synthesis.config import Config
from semantic_synthesis.layers.cells import Cells, number_cells, sample_numbers
from semantic_synthesis.layers.pairs import has_pairs
from semantic_synthesis.methods.conditional_gan import ConditionalGAN, random_rows
from semantic_synthesis.methods.gan_options import ConditionalGANConfig
from semantic_synthesis.methods.inade.encoder import InstanceEncoder
from semantic_synthesis.methods.method import row_normal
from semantic_synthesis.networks import parse_norm
from semantic_synthesis.normalization import INADE as INADENorm
from semantic_synthesis.normalization import RegionCells, RegionMaps, parse_norm_G
from semantic_synthesis.options import option, redeclared
from semantic_synthesis.styles import REGION, Encoded, StyleSpec

if TYPE_CHECKING:
    import keras

_NOISE = 1 << 32  # keeps the seeds of instance noise apart from those of z


@dataclass(frozen=True)
class INADEConfig(ConditionalGANConfig):
    """Options of INADE; norm_E is spectralinstance or spectralnone."""

    method: str = redeclared(Config, "method", "inade")
    noise_dim: int = option(
        64,
        "Length of the noise of each instance, for scale and for shift.",
        role="network",
        group="Generator, encoder, discriminator",
    )
    feature_layers: str = redeclared(ConditionalGANConfig, "feature_layers", "deep")
    vgg_layers: str = redeclared(ConditionalGANConfig, "vgg_layers", "deep")


class INADE(ConditionalGAN):
    """Label map, one noise vector per instance, and one for the whole picture -> picture.

    Layout: label int32 [B,H,W] in [0,C), instance int32 [B,H,W] in [0,I); the size is crop_height x
    crop_size. Style: {"noise": float32 [N,I,2,noise_dim], for scale and for shift of each instance,
    "z": float32 [N,Z]}. A layout of batch 1 serves N styles.
    """

    config_class: ClassVar[type[Config]] = INADEConfig
    encoder_sees_layout: ClassVar[bool] = True

    def __init__(self, config: INADEConfig, training: bool = True, initial_weights: bool = True) -> None:
        super().__init__(config, training, initial_weights, name="inade")

    @classmethod
    def converter(cls) -> Any:
        """Files of tzt101/INADE."""
        from semantic_synthesis.methods.inade import conversion

        return conversion

    @classmethod
    def instance_maps(cls, config: Any) -> str:
        """Every pixel belongs to an instance."""
        return "regions"

    @classmethod
    def fixed_size(cls, config: Any) -> bool:
        """The dense layer after z decides the size."""
        return True

    def make_norm(self, channels: int, name: str) -> keras.layers.Layer:
        """The normaliser of one place in the generator."""
        return INADENorm(
            channels,
            self.num_classes,
            noise_dim=self.config.noise_dim,
            statistics=parse_norm_G(self.config.norm_G).statistics,
            init=self.init,
            name=name,
        )

    def make_entry(self) -> keras.layers.Layer:
        """z to the first features."""
        return self.dense_entry()

    def make_encoder(self) -> keras.layers.Layer | None:
        """The encoder of photos and their instances."""
        config, norm = self.config, parse_norm(self.config.norm_E, "norm_E")
        if norm not in ("instance", "none"):
            raise ValueError(
                f"norm_E is {config.norm_E!r}; INADE's encoder takes spectralinstance or spectralnone"
            )
        if config.num_encoder_filters < 1:
            raise ValueError(
                f"num_encoder_filters is {config.num_encoder_filters}; INADE's encoder (use_vae) needs 1 or more"
            )
        return InstanceEncoder(config.num_encoder_filters, config.noise_dim, norm=norm, init=self.init)

    # Styles

    @property
    def style_shapes(self) -> dict[str, StyleSpec]:
        """{name: StyleSpec}; photos decide the noise of their instances, not z."""
        return {
            "noise": StyleSpec(
                (None, 2, self.config.noise_dim),
                (REGION, "scale or shift", "latent"),
                encoded=self.encoder is not None,
                present=1,
            ),
            "z": StyleSpec((self.config.z_dim,), ("latent",)),
        }

    def sample_style(self, layout: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """One random style per seed: seed int64 [N] -> {"noise", "z"}; instance i has the same noise in
        every layout, or with a fitted prior in every layout where it is of the same class."""
        style = self._draw(layout, seed, 0)
        if self.prior is None:
            return style
        size = 2 * self.config.noise_dim
        of = tf.broadcast_to(tf.maximum(self._classes(layout), 0), tf.shape(style["noise"])[:2])
        numbers = tf.reshape(style["noise"], [-1, tf.shape(of)[1], size])
        noise = self.prior(numbers, seed, of)
        return {**style, "noise": tf.reshape(noise, tf.shape(style["noise"]))}

    def _classes(self, layout):
        """int32 [B,I]: the class of each instance, -1 for those a layout does not have."""
        count, samples = self._count(layout), tf.shape(layout["label"])[0]
        ids = tf.reshape(layout["instance"] + count * sample_numbers(layout["label"]), [-1])
        found = tf.math.unsorted_segment_max(tf.reshape(layout["label"], [-1]), ids, samples * count)
        return tf.reshape(tf.maximum(found, -1), [samples, count])

    def style_size(self) -> int:
        """The noise of all classes; z stays standard normal."""
        return self.num_classes * 2 * self.config.noise_dim

    def fit(self, batches: Iterable[dict[str, tf.Tensor]]) -> None:
        """Fits the prior to the noise of photos: a row per photo, the means over the instances of each class; how far
        instances are from theirs counts as doubt of the photo."""
        if self.prior is None or self.encoder is None:
            return
        rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for batch in batches:
            read = self.encoder(batch["image"], batch["instance"], self._count(batch))
            for of, *posterior in zip(self._classes(batch).numpy(), *(x.numpy() for x in read), strict=True):
                there = of >= 0
                means, logs = (np.reshape(x, [len(of), -1])[there].astype(float) for x in posterior)
                rows.append(_by_class(means, logs, of[there], self.num_classes))
        self.prior.fit(*(np.stack(parts) for parts in zip(*rows, strict=True)))

    def _draw(self, layout, rows, seed):
        instances, size = self._count(layout), 2 * self.config.noise_dim
        noise = row_normal(rows, instances * size, seed + _NOISE)
        noise = tf.reshape(noise, [-1, instances, 2, self.config.noise_dim])  # [N,I,2,Z]
        return {"noise": noise, "z": row_normal(rows, self.config.z_dim, seed)}

    @staticmethod
    def _count(layout):
        """I: one more than the largest instance id."""
        return tf.reduce_max(layout["instance"]) + 1

    def encode_style(self, image: tf.Tensor, layout: dict[str, tf.Tensor]) -> Encoded:
        """The mean noise of the photo's instances: image float32 [N,H,W,3] in [-1,1] -> Encoded {"noise"}.

        Empty without encoder. z is not read from photos.
        """
        if self.encoder is None:
            return Encoded({})
        count = self._count(layout)
        here = tf.reduce_max(layout["instance"], [1, 2])  # ids of a layout have no gaps
        present = tf.range(count)[None] <= here[:, None]  # [N,I]
        return Encoded({"noise": self.encoder(image, layout["instance"], count).mean}, {"noise": present})

    # Pictures

    def plan(self, layout: dict[str, tf.Tensor]) -> Any:
        """The Q pairs of class and instance in the layouts, and which of them each pixel is.

        {"classes": int32 [Q], "instances": int32 [Q], "index": int32 [B,H,W]}. With static shapes the layout itself.
        """
        if self.static_shapes:
            return {name: layout[name] for name in ("label", "instance")}
        (classes, instances), index = number_cells(layout["label"], layout["instance"])
        return {"classes": classes, "instances": instances, "index": index}

    def synthesize_planned(self, plan: Any, style: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Pictures float32 [N,H,W,3] in [-1,1] for a plan of batch 1 or N and a style of batch N."""
        conditions = self._conditions(plan, style["noise"])
        ordered = [conditions[stride] for stride in self.strides]
        return self.generator(self.enter(style["z"]), ordered, training=training)

    def _conditions(self, plan, noise):
        """{stride: RegionCells, or RegionMaps with static shapes}."""
        if "label" in plan:
            maps = plan["label"], plan["instance"]
            return {s: RegionMaps(*(m[:, ::s, ::s] for m in maps), noise) for s in set(self.strides)}
        samples = tf.range(tf.shape(noise)[0])[:, None, None]
        index = plan["index"] + tf.size(plan["classes"]) * samples  # [N,H,W]
        return {
            stride: RegionCells(
                plan["classes"],
                plan["instances"],
                Cells.of(index[:, ::stride, ::stride], paired=has_pairs(stride, self.strides)),
                noise,
            )
            for stride in set(self.strides)
        }

    # Training

    def training_style(
        self, batch: dict[str, tf.Tensor]
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor], tf.Tensor | None]:
        """(style to train with, {"KLD": weighted term}, which samples are unpaired: bool [B] or None)."""
        config, unpaired = self.config, None
        style = self._draw(batch, batch["row"], config.seed)
        if self.encoder is None:
            return style, {}, None
        posterior = self.encoder(batch["image"], batch["instance"], self._count(batch))
        noise = posterior.sample(style["noise"])
        if config.prior_share:
            unpaired = random_rows(batch["row"], config.prior_share)
            noise = tf.where(unpaired[:, None, None, None], style["noise"], noise)
        # Half: the original averages the terms of scale and shift, kl_divergence sums over both.
        divergence = config.lambda_kld / 2 * losses.kl_divergence(*posterior)
        return {**style, "noise": noise}, {"KLD": divergence}, unpaired


def _by_class(means, log_variances, of, classes):
    """(means, variances, presence), each [C*size], of the instances [I,size] of one photo, of the classes int [I]."""
    found = np.zeros((3, classes, means.shape[1]))
    for value in np.unique(of):
        mine = of == value
        mean = means[mine].mean(0)
        variance = np.exp(log_variances[mine]) + (means[mine] - mean) ** 2
        found[:, value] = mean, variance.mean(0), np.ones_like(mean)
    mean, variance, present = found.reshape(3, -1)
    return mean, variance, present > 0
