"""What --netD names: a discriminator with the losses of its judgement, for any generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from semantic_synthesis import losses
from semantic_synthesis.discriminators import pyramid
from semantic_synthesis.discriminators.judged import Judged
from semantic_synthesis.discriminators.multiscale import MultiscaleDiscriminator
from semantic_synthesis.discriminators.segmentation import SegmentationDiscriminator, halvings
from semantic_synthesis.networks import parse_norm

if TYPE_CHECKING:
    from semantic_synthesis.layers.initialization import Initializer
    from semantic_synthesis.layers.windows import Windows

UNNORMED = "none"  # norm_D of a segmentation network without spectral norm
_COINS = 3 << 32  # keeps the seeds of LabelMix apart from those of styles


class Shown(NamedTuple):
    """What there is to judge.

    fake, real: float32 [B,H,W,3] in [-1,1]; label: int32 [B,H,W] in [0,C); semantics() -> [B,H,W,S], one-hot labels
    and edges; unpaired: bool [B], the fakes that need not match their photo, or None; rows: int64 [B], numbers of the
    samples in the whole training, or None; windows() -> label windows of the same labels, None for the dense form.
    """

    fake: tf.Tensor
    real: tf.Tensor
    label: tf.Tensor
    semantics: Callable[[], tf.Tensor]
    unpaired: tf.Tensor | None = None
    rows: tf.Tensor | None = None
    windows: Callable[[], Windows | None] = lambda: None


class MultiscaleAdversary:
    """Patch discriminators with an adversarial loss and feature matching; any discriminator that gives Judged will do.

    Constructor: (config, num_classes C, semantic_channels S, init).
    """

    def __init__(self, config: Any, num_classes: int, semantic_channels: int, init: Initializer) -> None:
        self.config = config
        self.discriminator = MultiscaleDiscriminator(
            semantic_channels,
            config.num_discriminator_filters,
            scales=config.num_discriminators,
            layers=config.num_discriminator_layers,
            norm=parse_norm(config.norm_D, "norm_D"),
            edges=semantic_channels > num_classes,
            init=init,
        )

    def terms(self, shown: Shown) -> dict[str, dict[str, tf.Tensor]]:
        """{objective: {loss: weighted scalar}}, fakes and reals judged by one call."""
        config = self.config
        fakes, reals = self.judge(shown)
        terms = {"GAN": losses.adversarial(fakes.judgements, True, config.gan_mode, for_generator=True)}
        if not config.no_feature_loss:
            matched = fakes.features
            if shown.unpaired is not None:
                matched = [
                    [losses.paired(f, r, shown.unpaired) for f, r in zip(*group, strict=True)]
                    for group in zip(fakes.features, reals.features, strict=True)
                ]
            matching = losses.feature_matching(matched, reals.features, config.feature_layers)
            terms["GAN_Feat"] = config.lambda_features * matching
        judged = {
            "D_Fake": losses.adversarial(fakes.judgements, False, config.gan_mode),
            "D_real": losses.adversarial(reals.judgements, True, config.gan_mode),
        }
        return {"generator": terms, "discriminator": judged}

    def judge(self, shown: Shown) -> list[Judged]:
        """The discriminator's view of fakes and of reals, both from one call on their concatenation."""
        images = tf.concat([shown.fake, shown.real], 0)  # [2B,H,W,3]
        return self.discriminator(shown.semantics(), images, training=True, **self.labels(shown)).split(2)

    def labels(self, shown: Shown) -> dict[str, Any]:
        """What the discriminator takes beside one-hot labels: their windows."""
        return {"windows": shown.windows()}


class PyramidAdversary(MultiscaleAdversary):
    """A feature pyramid (CC-FPSE's, as SCGAN trains against) with the same losses. Constructor as there."""

    def __init__(self, config: Any, num_classes: int, semantic_channels: int, init: Initializer) -> None:
        self.config = config
        if min(config.crop_size, config.crop_height) < pyramid.SMALLEST:
            raise ValueError(
                f"--netD fpse: pictures of {config.crop_size}x{config.crop_height} are too small for a pyramid of "
                f"stride {pyramid.STRIDE} with instance norm; expected {pyramid.SMALLEST} or more (--crop_size), or "
                "--netD multiscale"
            )
        self.discriminator = pyramid.PyramidDiscriminator(
            semantic_channels,
            config.num_discriminator_filters,
            norm=parse_norm(config.norm_D, "norm_D"),
            init=init,
        )

    def labels(self, shown: Shown) -> dict[str, Any]:
        """Nothing: it averages labels."""
        return {}


class SegmentationAdversary:
    """OASIS' discriminator with its cross entropies and LabelMix (Schönfeld et al., sections 3.1 and 3.2).

    G: fakes are to be segmented as their labels say. D: reals too, fakes as "fake". Balanced class weights, but for
    "fake". Constructor as MultiscaleAdversary's.
    """

    def __init__(self, config: Any, num_classes: int, semantic_channels: int, init: Initializer) -> None:
        self.config, self.num_classes = config, num_classes
        self.ignored = _ignored(config)
        self.discriminator = SegmentationDiscriminator(
            num_classes,
            config.num_discriminator_filters,
            depth=halvings(config.crop_height, config.crop_size),
            spectral=config.norm_D != UNNORMED,
            init=init,
        )

    def terms(self, shown: Shown) -> dict[str, dict[str, tf.Tensor]]:
        """{objective: {loss: weighted scalar}}."""
        config, from_real = self.config, None
        if not config.no_labelmix:
            from_real = self.mask(shown.label, shown.rows)
        of_fake, of_real, of_mixed = self.judge(shown, from_real)
        weights = self.pixel_weights(shown.label)
        right, wrong = shown.label + 1, tf.zeros_like(shown.label)
        judged = {
            "D_Fake": tf.reduce_mean(losses.cross_entropy(of_fake, wrong)),
            "D_real": tf.reduce_mean(weights * losses.cross_entropy(of_real, right)),
        }
        if of_mixed is not None:
            mixing = losses.label_mix(of_mixed, of_real, of_fake, from_real)
            judged["D_labelmix"] = config.lambda_labelmix * mixing
        generator = {"GAN": tf.reduce_mean(weights * losses.cross_entropy(of_fake, right))}
        return {"generator": generator, "discriminator": judged}

    def judge(self, shown: Shown, from_real: tf.Tensor | None = None) -> list[tf.Tensor]:
        """float32 logits [B,H,W,C+1] of fakes, of reals and of mixes (None without from_real, bool [B,H,W]).

        All at the same spectral norms. Fakes have a call of their own, so that the generator's gradient does not run
        through the others.
        """
        others = [shown.real]
        if from_real is not None:
            others.append(tf.where(from_real[..., None], shown.real, tf.stop_gradient(shown.fake)))
        of_fake = tf.cast(self.discriminator(shown.fake), tf.float32)
        found = tf.cast(self.discriminator(tf.concat(others, 0)), tf.float32)
        return [of_fake, *tf.split(found, len(others), 0), None][:3]

    def pixel_weights(self, label: tf.Tensor) -> tf.Tensor:
        """The weight of each pixel's cross entropy, broadcastable to [B,H,W]."""
        if self.config.no_balancing_inloss:
            return tf.ones([1, 1, 1])
        return tf.gather(losses.class_weights(label, self.num_classes, self.ignored), label)

    def mask(self, label: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """LabelMix's choice, bool [B,H,W]: True takes the real picture. One coin per class for all samples of a step.

        The coins are a function of (seed, step), with the step known from the numbers of the samples: replicas agree
        on them, and a resumed training goes on with the same.
        """
        if rows is None:
            raise ValueError("LabelMix draws its coins by the numbers of the samples; give them as `rows`")
        key = tf.stack([tf.constant(self.config.seed + _COINS, tf.int64), rows[0] // self.config.batch_size])
        draws = tf.random.stateless_uniform([self.num_classes], key, alg="philox")
        return tf.gather(draws < 0.5, label)


def _ignored(config):
    """The class without weight: as asked, else the dataset's unknown one; None if there is none."""
    table = config.class_table
    if not config.ignored_class:
        return table["unknown"]
    if config.ignored_class not in table["names"]:
        raise ValueError(
            f"--ignored_class {config.ignored_class}: no such class; expected one of {', '.join(table['names'])}"
        )
    return list(table["names"]).index(config.ignored_class)


ADVERSARIES = {
    "multiscale": MultiscaleAdversary,
    "fpse": PyramidAdversary,
    "segmentation": SegmentationAdversary,
}
