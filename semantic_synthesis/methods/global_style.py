"""The style of SPADE, CLADE and SCGAN: one vector for the whole picture, random or from a photo's encoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from semantic_synthesis import losses
from semantic_synthesis.layers import Conv
from semantic_synthesis.methods.conditional_gan import ConditionalGAN, random_rows
from semantic_synthesis.methods.method import row_normal
from semantic_synthesis.networks import Encoder, parse_norm
from semantic_synthesis.styles import Encoded, StyleSpec

if TYPE_CHECKING:
    import keras


class GlobalStyleGAN(ConditionalGAN):
    """SPADE's ways of a style: with use_vae one vector z for the whole picture, else none.

    A converted run may have z and no encoder (num_encoder_filters 0): it draws z, and photos decide nothing.
    Style: {"z": float32 [N,Z]} with use_vae, else {}. A layout of batch 1 serves N styles. A subclass gives
    make_norm, plan(layout) -> {stride: condition} and tokens_of(condition), its tokens [B,h,w].
    The KL term is a mean over the batch, where the authors' code sums.
    """

    @classmethod
    def fixed_size(cls, config: Any) -> bool:
        """The dense layer after z decides the size; without z the networks are convolutional throughout."""
        return config.use_vae

    def make_entry(self) -> keras.layers.Layer:
        """z, or the label map itself, to the first features."""
        if self.config.use_vae:
            return self.dense_entry()
        return Conv(self.semantic_channels, self.initial_shape[-1], 3, padding=1, init=self.init, name="fc")

    def make_encoder(self) -> keras.layers.Layer | None:
        """The encoder of photos (Park et al., figure 14); None where the original's file was not there."""
        config = self.config
        if not config.num_encoder_filters:
            return None
        return Encoder(
            config.num_encoder_filters,
            config.z_dim,
            size=config.encoder_size,
            norm=parse_norm(config.norm_E, "norm_E"),
            init=self.init,
        )

    @property
    def style_shapes(self) -> dict[str, StyleSpec]:
        """{name: StyleSpec}."""
        if not self.config.use_vae:
            return {}
        return {"z": StyleSpec((self.config.z_dim,), ("latent",), encoded=self.encoder is not None)}

    def sample_style(self, layout: dict[str, tf.Tensor] | None, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """One random style per seed: seed int64 [N] -> {"z": [N,Z]} ({} without use_vae)."""
        if not self.config.use_vae:
            return {}
        numbers = row_normal(seed, self.config.z_dim)
        return {"z": numbers if self.prior is None else self.prior(numbers, seed)}

    def style_size(self) -> int:
        """z alone."""
        return self.config.z_dim

    def fit(self, batches: Iterable[dict[str, tf.Tensor]]) -> None:
        """Fits the prior to the styles of photos."""
        if self.prior is None:
            return
        read = tf.function(self.encoder, autograph=False)
        photos = [[part.numpy().astype(float) for part in read(batch["image"])] for batch in batches]
        means, logs = (np.concatenate(parts) for parts in zip(*photos, strict=True))
        self.prior.fit(means, np.exp(logs), np.ones(means.shape, bool))

    def encode_style(self, image: tf.Tensor, layout: dict[str, tf.Tensor] | None = None) -> Encoded:
        """The mean style of photos: image float32 [N,H,W,3] in [-1,1] -> Encoded {"z": [N,Z]} (or empty)."""
        return Encoded({"z": self.encoder(image)[0]} if self.encoder else {})

    def synthesize_planned(self, plan: Any, style: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Pictures float32 [N,H,W,3] in [-1,1] for a plan of batch 1 or N and a style of batch N."""
        conditions = [plan[stride] for stride in self.strides]
        if self.config.use_vae:
            initial = self.enter(style["z"])
        else:
            initial = self.fc(self.semantics(self.tokens_of(conditions[0])))
        return self.generator(initial, conditions, training=training)

    def training_style(
        self, batch: dict[str, tf.Tensor]
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor], tf.Tensor | None]:
        """(style to train with, {"KLD": weighted term}, which samples are unpaired: bool [B] or None)."""
        if not self.config.use_vae:
            return {}, {}, None
        if self.encoder is None:
            raise ValueError(
                f"{self.config.checkpoint_dir}: use_vae with num_encoder_filters 0, a style vector and no encoder to "
                "train it with; give --num_encoder_filters, or convert again with the original's file (--encoder)"
            )
        config, unpaired = self.config, None
        mean, log_variance = self.encoder(batch["image"], training=True)
        noise = row_normal(batch["row"], config.z_dim, config.seed)
        z = mean + tf.exp(0.5 * log_variance) * noise
        if config.prior_share:
            unpaired = random_rows(batch["row"], config.prior_share)
            z = tf.where(unpaired[:, None], noise, z)
        divergence = config.lambda_kld * losses.kl_divergence(mean, log_variance)
        return {"z": z}, {"KLD": divergence}, unpaired
