"""What SPADE and the GANs that grew from it share: backbone, discriminator and the losses on its judgement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import tensorflow as tf

from semantic_synthesis import losses
from semantic_synthesis.config import Config
from semantic_synthesis.discriminators import ADVERSARIES, Shown
from semantic_synthesis.layers import (
    Dense,
    Initializer,
    ResidualBlock,
    label_tokens,
    one_hot_semantics,
)
from semantic_synthesis.layers.windows import find_windows
from semantic_synthesis.methods.gan_options import ConditionalGANConfig
from semantic_synthesis.methods.method import Objective, decaying_rate
from semantic_synthesis.methods.style_prior import make_prior
from semantic_synthesis.methods.vgg_method import VGGMethod
from semantic_synthesis.networks import Generator, edge_map, spade_layout
from semantic_synthesis.networks.vgg import VGG19Features
from semantic_synthesis.normalization import parse_norm_G

if TYPE_CHECKING:
    import keras

    from semantic_synthesis.networks.generator import Block


class ConditionalGAN(VGGMethod):
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
        if not 0 <= config.prior_share <= 1:
            raise ValueError(f"--prior_share {config.prior_share}; expected a share from 0 to 1")
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
        """Beside those of the loss, rarity files decide what is drawn."""
        rarity = [f"rarity of the samples' colours ({config.rarity_dir})"] if config.rarity_dir else []
        return super().sources(config) + rarity

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
