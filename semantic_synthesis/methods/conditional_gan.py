"""What SPADE and the GANs that grew from it share: backbone, discriminator and the losses on its judgement."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import tensorflow as tf

from semantic_synthesis import losses
from semantic_synthesis.config import Config
from semantic_synthesis.discriminators import ADVERSARIES, Shown
from semantic_synthesis.layers import (
    Conv,
    Dense,
    Initializer,
    ResidualBlock,
    label_tokens,
    one_hot_semantics,
)
from semantic_synthesis.layers.windows import find_windows
from semantic_synthesis.methods.method import Method, Objective, decaying_rate, row_normal
from semantic_synthesis.methods.style_prior import make_prior
from semantic_synthesis.networks import DOUBLINGS, Encoder, Generator, edge_map, parse_norm, spade_layout
from semantic_synthesis.networks.vgg import VGG19Features
from semantic_synthesis.normalization import parse_norm_G
from semantic_synthesis.options import option
from semantic_synthesis.styles import Encoded, StyleSpec

if TYPE_CHECKING:
    import keras

    from semantic_synthesis.networks.generator import Block

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
        "spectralspadesyncbatch3x3", "Generator normalisation: [spectral]spade<type><k>x<k>."
    )
    norm_E: str = _networks(
        "spectralinstance", "Encoder normalisation: spectral<none|batch|sync_batch|instance>."
    )
    norm_D: str = _networks("spectralinstance", "Discriminator normalisation, as norm_E (netD multiscale).")
    use_vae: bool = _networks(False, "Train an image encoder, which reads styles from photos.")
    z_dim: int = _networks(256, "Length of the style vector z.")
    num_encoder_filters: int = _networks(
        64, "Width of the encoder's first layer; it does not follow --num_generator_filters."
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
        "all", "Feature matching on all layers or the last before the judgement.", choices=("all", "deep")
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
    D_steps_per_G: int = _optimisation(1, "Discriminator steps per generator step.")


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


class ConditionalGAN(Method):
    """A generator under conditions of the layout, trained against what --netD names.

    A subclass gives make_norm(channels, name) or make_block, make_entry() and make_encoder(), called by the
    constructor, training_style(batch) -> (style to train with, {"KLD": weighted term} or {}, which samples are
    unpaired: bool [B] or None), and the rest of Method's contract. make_layout, uses_edges, finish and
    spectral_init are there to be replaced where a paper differs.
    Deviation from the authors' code: generator and discriminator losses come from one forward pass (the
    code makes a second fake after the generator's update), so running statistics and power iterations
    move once per step.
    """

    config_class: ClassVar[type[Config]] = ConditionalGANConfig
    finish = staticmethod(tf.tanh)
    loss_texts: ClassVar[dict] = {
        "GAN": "How far the discriminator is from taking the generator's pictures for real; lower is better for the "
        "generator. It and D_Fake pull against each other: neither should stay near 0.",
        "GAN_Feat": "Feature matching: distance of the discriminator's features of pictures and photos, weighted.",
        "VGG": "Perceptual loss: distance of VGG19's features of pictures and photos, weighted.",
        "KLD": "Distance of the encoder's styles from the random ones, weighted. Near 0 the encoder is ignored.",
        "D_Fake": "How far the discriminator is from seeing that the generator's pictures are made.",
        "D_real": "How far the discriminator is from seeing that photos are real.",
        "D_labelmix": "Consistency of the discriminator on pictures mixed along the borders of classes, weighted.",
    }
    spectral_init = "default"  # initial values of spectrally normalised kernels, see Initializer

    def __init__(self, config: Any, training: bool, initial_weights: bool, name: str) -> None:
        super().__init__(name=name)
        self.config = config
        self.init = Initializer(
            config.init_type if initial_weights else "zeros",
            config.init_variance,
            config.seed,
            self.spectral_init,
        )
        self.num_classes = config.num_classes
        self.edges = self.uses_edges(config)
        self.semantic_channels = self.num_classes + int(self.edges)
        layout = self.make_layout()
        self.strides = tuple(place.stride for place in layout)
        self._check_size()
        stride = self.strides[0]
        self.initial_shape = (
            config.crop_height // stride,
            config.crop_size // stride,
            layout[0].channels_in,
        )
        self.fc = self.make_entry()
        self.generator = Generator(layout, self.make_block, finish=self.finish, init=self.init)
        self.encoder = self.make_encoder() if config.use_vae else None
        self.prior = make_prior(config, self.style_size())
        self.adversary: Any = None
        self.discriminator: Any = None
        self.vgg: Any = None
        if training:
            self.adversary = ADVERSARIES[config.netD](
                config, self.num_classes, self.semantic_channels, self.init
            )
            self.discriminator = self.adversary.discriminator
            if not config.no_vgg_loss:
                self.vgg = VGG19Features(config.vgg_weights)
        self.built = True

    @classmethod
    def without_features(cls, config: Any) -> Any:
        """The same networks without VGG19."""
        return config.replace(no_vgg_loss=True)

    # What the constructor asks for

    @classmethod
    def uses_edges(cls, config: Any) -> bool:
        """Whether the networks see instance edges."""
        return not config.no_instance

    def make_layout(self) -> list[Block]:
        """The generator's Blocks."""
        return spade_layout(self.config.num_generator_filters, self.config.num_upsampling_layers)

    def make_block(self, channels_in: int, channels_out: int, name: str) -> keras.layers.Layer:
        """One block of the generator."""
        spectral = parse_norm_G(self.config.norm_G).spectral
        return ResidualBlock(
            channels_in, channels_out, self.make_norm, spectral=spectral, init=self.init, name=name
        )

    @property
    def stride(self) -> int:
        """Width and height of layouts are multiples of it."""
        return self.strides[0]

    @classmethod
    def sources(cls, config: Any) -> list[str]:
        """The VGG loss brings weights of its own, and rarity files decide what is drawn."""
        found = [] if config.no_vgg_loss else [f"VGG19 weights ({config.vgg_weights}) in the loss"]
        return found + (
            [f"rarity of the samples' colours ({config.rarity_dir})"] if config.rarity_dir else []
        )

    @classmethod
    def instance_maps(cls, config: Any) -> str | None:
        """The instance edges are all that is made of the maps."""
        return "objects" if cls.uses_edges(config) else None

    def style_size(self) -> int:
        """Length of the part of a style that a fitted prior draws; 0 where photos give no styles."""
        return 0

    def fitted_layers(self) -> list[Any]:
        """The prior of styles."""
        return [] if self.prior is None else [self.prior]

    def _check_size(self):
        config, stride = self.config, self.strides[0]
        if config.crop_size % stride or config.crop_height % stride or not config.crop_height:
            raise ValueError(
                f"pictures of {config.crop_size}x{config.crop_height} (--crop_size, --aspect_ratio): with "
                f"--num_upsampling_layers {config.num_upsampling_layers} width and height must be multiples of {stride}"
            )

    @property
    def plan_form(self) -> str:
        """The form in which labels are planned: patches have as many rows as values ask for."""
        return "dense" if self.static_shapes else self.form

    # The first features

    def dense_entry(self) -> Dense:
        """From z to the first features."""
        height, width, channels = self.initial_shape
        return Dense(self.config.z_dim, height * width * channels, init=self.init, name="fc")

    def enter(self, z: tf.Tensor) -> tf.Tensor:
        """The first features of style vectors: z [N,Z] -> [N,h,w,16F]."""
        return tf.reshape(self.fc(z), [-1, *self.initial_shape])

    # Training

    def adversarial_terms(
        self,
        layout: dict[str, tf.Tensor],
        fake: tf.Tensor,
        real: tf.Tensor,
        unpaired: tf.Tensor | None = None,
        rows: tf.Tensor | None = None,
        pixels: tf.Tensor | None = None,
    ) -> dict[str, dict[str, tf.Tensor]]:
        """{objective: {loss: weighted scalar}} of fakes and reals [B,H,W,3].

        unpaired: bool [B], the fakes that need not match their photo: their terms of feature matching and
        VGG loss are 0, in means over all samples; rows: int64 [B], numbers of the samples (batch["row"]);
        pixels: weights of the VGG loss float32 [B,H,W], or None.
        """
        config = self.config
        terms = self.adversary.terms(self.shown(layout, fake, real, unpaired, rows))
        if self.vgg is not None:
            weight = self.vgg.default_weight if config.lambda_vgg is None else config.lambda_vgg
            matched = fake if unpaired is None else losses.paired(fake, real, unpaired)
            terms["generator"]["VGG"] = weight * self.vgg.loss(matched, real, config.vgg_layers, pixels)
        return terms

    def compute_losses(self, batch: dict[str, tf.Tensor]) -> dict[str, dict[str, tf.Tensor]]:
        """One forward pass for both objectives; see Method. Losses are already weighted."""
        layout: dict[str, tf.Tensor] = {key: batch[key] for key in ("label", "instance") if key in batch}
        style, divergence, unpaired = self.training_style(batch)
        fake = self.synthesize_planned(self.plan(layout), style, training=True)
        terms = self.adversarial_terms(
            layout, fake, batch["image"], unpaired, batch["row"], batch.get("rarity")
        )
        return terms | {"generator": divergence | terms["generator"]}

    def shown(
        self,
        layout: dict[str, tf.Tensor],
        fake: tf.Tensor,
        real: tf.Tensor,
        unpaired: tf.Tensor | None = None,
        rows: tf.Tensor | None = None,
    ) -> Shown:
        """What discriminators get to see (`discriminators.Shown`)."""
        tokens = self.tokens(layout)
        return Shown(
            fake,
            real,
            layout["label"],
            lambda: self.semantics(tokens),
            unpaired,
            rows,
            lambda: find_windows(tokens, self.num_tokens) if self.counts_windows else None,
        )

    @property
    def counts_windows(self) -> bool:
        """Whether the discriminator sees label windows: as `modulation_form` chooses patches, for all methods."""
        asked = getattr(self.config, "modulation", "auto")
        return asked == "patches" or (asked == "auto" and not tf.config.list_physical_devices("GPU"))

    def tokens(self, layout: dict[str, tf.Tensor]) -> tf.Tensor:
        """int32 [B,H,W]: class ids, with the edge bit where edges are used (`label_tokens`)."""
        return label_tokens(layout["label"], edge_map(layout["instance"]) if self.edges else None)

    @property
    def num_tokens(self) -> int:
        """Number of different tokens."""
        return self.num_classes * (2 if self.edges else 1)

    def semantics(self, tokens: tf.Tensor) -> tf.Tensor:
        """One-hot classes and edges of tokens [B,h,w] -> [B,h,w,S]."""
        return one_hot_semantics(tokens, self.num_classes, self.edges, self.compute_dtype)

    def objectives(self) -> dict[str, Objective]:
        """Generator (with entry and encoder) and discriminator, at rates and betas of their own (TTUR)."""
        config = self.config
        slow, fast = (1.0, 1.0) if config.no_TTUR else (0.5, 2.0)
        betas = (0.5, 0.999) if config.no_TTUR else (0.0, 0.9)
        asked = (config.beta1, config.beta2)
        betas = (betas[0] if asked[0] is None else asked[0], betas[1] if asked[1] is None else asked[1])
        trained = [self.fc, self.generator] + ([self.encoder] if self.encoder else [])
        return {
            "generator": Objective(
                trained, decaying_rate(config, slow), betas, period=config.D_steps_per_G, averaged=True
            ),
            "discriminator": Objective([self.discriminator], decaying_rate(config, fast), betas),
        }


def random_rows(rows: tf.Tensor, share: float) -> tf.Tensor:
    """bool [B]: which samples (numbers int64 [B]) train with random styles, evenly spread; share in [0,1].

    Not in the papers' code; BicycleGAN (Zhu et al., NeurIPS 2017) trains on both kinds of style. Without
    it the networks see encoded styles alone, and random ones look right only as far as the KL term makes
    the two alike.
    """
    number = tf.cast(rows % 1_000_000, tf.float64)
    return tf.floor((number + 1) * share) > tf.floor(number * share)


class GlobalStyleGAN(ConditionalGAN):
    """SPADE's ways of a style: with use_vae one vector z for the whole picture, else none.

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
        """The encoder of photos (Park et al., figure 14)."""
        config = self.config
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
        return {"z": StyleSpec((self.config.z_dim,), ("latent",), encoded=True)} if self.encoder else {}

    def sample_style(self, layout: dict[str, tf.Tensor] | None, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """One random style per seed: seed int64 [N] -> {"z": [N,Z]} ({} without an encoder)."""
        if self.encoder is None:
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
        if self.encoder:
            initial = self.enter(style["z"])
        else:
            initial = self.fc(self.semantics(self.tokens_of(conditions[0])))
        return self.generator(initial, conditions, training=training)

    def training_style(
        self, batch: dict[str, tf.Tensor]
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor], tf.Tensor | None]:
        """(style to train with, {"KLD": weighted term}, which samples are unpaired: bool [B] or None)."""
        if self.encoder is None:
            return {}, {}, None
        config, unpaired = self.config, None
        mean, log_variance = self.encoder(batch["image"], training=True)
        noise = row_normal(batch["row"], config.z_dim, config.seed)
        z = mean + tf.exp(0.5 * log_variance) * noise
        if config.prior_share:
            unpaired = random_rows(batch["row"], config.prior_share)
            z = tf.where(unpaired[:, None], noise, z)
        divergence = config.lambda_kld * losses.kl_divergence(mean, log_variance)
        return {"z": z}, {"KLD": divergence}, unpaired
