"""The options of the GANs that grew from SPADE."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

from semantic_synthesis.config import Config
from semantic_synthesis.discriminators import ADVERSARIES
from semantic_synthesis.networks import DOUBLINGS
from semantic_synthesis.options import Use, option

_networks = functools.partial(option, group="Generator, encoder, discriminator", role="network")
_losses = functools.partial(option, group="Losses", role="training")
_optimisation = functools.partial(option, group="Optimisation", role="training")


@dataclass(frozen=True)
class ConditionalGANConfig(Config):
    """Options of the GANs that grew from SPADE."""

    num_generator_filters: int = _networks(64, "Width of the generator's last block.")
    num_upsampling_layers: str = _networks(
        None, "Depth: 5, 6 or 7 doublings.", choices=tuple(DOUBLINGS), kind=str, fallback="normal"
    )
    norm_G: str = _networks(
        "spectralspadesyncbatch3x3",
        "Generator normalisation: [spectral]spade<type><k>x<k>; k: of label convolutions, of no effect without.",
    )
    norm_E: str = _networks(
        "spectralinstance", "Encoder normalisation: spectral<none|batch|sync_batch|instance>."
    )
    norm_D: str = _networks(
        "spectralinstance",
        "Discriminator normalisation, as norm_E; netD segmentation has spectral norm alone, with none not even that.",
    )
    use_vae: bool = _networks(False, "Train an image encoder, which reads styles from photos.")
    z_dim: int = _networks(256, "Length of the style vector z.")
    num_encoder_filters: int = _networks(
        64,
        "Width of the encoder's first layer; it does not follow --num_generator_filters. 0: no encoder, of runs that "
        "were converted without its file.",
    )
    prior_factors: int = _networks(
        0,
        "Factors, common to all parts of a style, of a Gaussian of the training photos' styles from which random "
        "styles are drawn; 0: the standard normal, as in the papers.",
    )
    encoder_size: int = _networks(256, "Pictures are resized to this square for the encoder.")
    netD: str = _networks(
        "multiscale",
        "What judges pictures: patches on several scales, a feature pyramid, or a segmentation network.",
        choices=tuple(ADVERSARIES),
    )
    num_discriminators: int = _networks(2, "Number of discriminator scales (netD multiscale).")
    num_discriminator_layers: int = _networks(4, "Layers of each discriminator (netD multiscale).")
    num_discriminator_filters: int = _networks(64, "Width of the discriminators' first layer.")
    init_type: str = _networks(
        "xavier",
        "Kernel initialiser.",
        role="training",
        choices=("normal", "xavier", "xavier_uniform", "kaiming", "orthogonal", "none"),
    )
    init_variance: float = _networks(
        0.02, "Gain (standard deviation for normal) of the initialiser.", role="training"
    )
    gan_mode: str = _losses(
        "hinge", "Adversarial loss (netD multiscale).", choices=("hinge", "ls", "original", "w")
    )
    lambda_features: float = _losses(10.0, "Weight of feature matching (netD multiscale).")
    no_feature_loss: bool = _losses(False, "Leave feature matching out.")
    feature_layers: str = _losses(
        "all", "Feature matching on all layers, or from the fourth on.", choices=("all", "deep")
    )
    no_balancing_inloss: bool = _losses(
        False, "Weigh all classes alike, unknown pixels included (netD segmentation)."
    )
    ignored_class: str = _losses(
        "", "Class that balanced losses leave out; default: the unknown class (netD segmentation)."
    )
    no_labelmix: bool = _losses(False, "Leave LabelMix out (netD segmentation).")
    lambda_labelmix: float = _losses(10.0, "Weight of LabelMix (netD segmentation).")
    vgg_layers: str = _losses("all", "VGG loss on all five taps or the two deepest.", choices=("all", "deep"))
    lambda_vgg: float = _losses(
        None,
        "Weight of the VGG loss; default 0.06 for Keras weights, 10 for torchvision weights.",
        kind=float,
    )
    no_vgg_loss: bool = _losses(False, "Leave the VGG loss out.")
    vgg_weights: str = _losses(
        "imagenet",
        "imagenet (Keras downloads them), a file (Keras .h5 or torchvision .pth), or random.",
        role="run",
    )
    lambda_kld: float = _losses(0.05, "Weight of the KL term (sum over z, mean over the batch).")
    prior_share: float = _losses(
        0.0, "Share of the samples that train with random styles, without a photo to match (use_vae)."
    )
    no_TTUR: bool = _optimisation(
        False,
        "Same learning rate and betas (0.5, 0.999) for both networks; else G trains at half of --lr, D at twice.",
    )
    beta1: float = _optimisation(None, "Adam beta1; default 0 (0.5 with no_TTUR).", kind=float)
    beta2: float = _optimisation(None, "Adam beta2; default 0.9 (0.999 with no_TTUR).", kind=float)
    D_steps_per_G: int = _optimisation(1, "Discriminator steps per generator step.", least=1)

    z_needs_encoder: ClassVar[bool] = False  # whether there is a z with use_vae alone

    def uses(self) -> list[Use]:
        """When options have an effect."""
        segmenting = self.netD == "segmentation"
        encoder = "of no effect without an encoder (--use_vae)"
        judge = f"of no effect with --netD {self.netD}"
        return [
            *super().uses(),
            Use("norm_E num_encoder_filters encoder_size lambda_kld prior_share", self.use_vae, encoder),
            Use("z_dim", self.use_vae or not self.z_needs_encoder, encoder),
            Use("num_discriminators num_discriminator_layers", self.netD == "multiscale", judge),
            Use("gan_mode lambda_features no_feature_loss feature_layers", not segmenting, judge),
            Use("no_balancing_inloss ignored_class no_labelmix lambda_labelmix", segmenting, judge),
            Use(
                "lambda_features feature_layers",
                not self.no_feature_loss,
                "of no effect with --no_feature_loss",
            ),
            Use("ignored_class", not self.no_balancing_inloss, "of no effect with --no_balancing_inloss"),
            Use("lambda_labelmix", not self.no_labelmix, "of no effect with --no_labelmix"),
            Use("vgg_layers lambda_vgg vgg_weights", not self.no_vgg_loss, "of no effect with --no_vgg_loss"),
        ]


@dataclass(frozen=True)
class ModulatedGANConfig(ConditionalGANConfig):
    """The same with label convolutions (`layers.LabelModulation`)."""

    num_hidden_filters: int = _networks(128, "Width of the hidden layer in every SPADE normaliser.")
    modulation: str = _networks(
        "auto",
        "How scale and shift are computed: on distinct label patches, by dense convolutions, or by rule.",
        choices=("auto", "patches", "dense"),
        role="run",
    )
