"""What SPADE, CLADE and INADE share: backbone, multiscale discriminator and the losses on its features."""

from typing import ClassVar

import tensorflow as tf

from semantic_synthesis import losses
from semantic_synthesis.layers import Conv, Dense, Initializer, label_tokens, one_hot_semantics
from semantic_synthesis.methods.method import Method, row_normal
from semantic_synthesis.networks import (
    Encoder,
    Generator,
    MultiscaleDiscriminator,
    edge_map,
    generator_strides,
    parse_norm,
)
from semantic_synthesis.normalization import parse_norm_G
from semantic_synthesis.vgg import VGG19Features


class ConditionalGAN(Method):
    """A generator under conditions of the layout, trained against discriminators that see the layout.

    A subclass gives make_norm(channels, name), make_entry() and make_encoder(), called by the constructor,
    and the rest of Method's contract.
    Deviation from the authors' code: generator and discriminator losses come from one forward pass (the
    code makes a second fake after the generator's update), so running statistics and power iterations
    move once per step.
    """

    defaults: ClassVar[dict] = {"feature_layers": "all", "vgg_layers": "all"}

    def __init__(self, config, training, initial_weights, name):
        super().__init__(name=name)
        self.config = config = self.with_defaults(config)
        self.init = Initializer(
            config.init_type if initial_weights else "zeros", config.init_variance, config.seed
        )
        self.num_classes = config.num_classes
        self.edges = not config.no_instance
        self.semantic_channels = self.num_classes + int(self.edges)
        self.strides = generator_strides(config.num_upsampling_layers)
        self._check_size()
        width, stride = 16 * config.num_generator_filters, self.strides[0]
        self.initial_shape = (config.crop_height // stride, config.crop_size // stride, width)
        self.fc = self.make_entry()
        self.generator = Generator(
            config.num_generator_filters, config.num_upsampling_layers, self.make_norm,
            spectral=parse_norm_G(config.norm_G).spectral, init=self.init,
        )  # fmt: skip
        self.encoder = self.make_encoder() if config.use_vae else None
        self.discriminator = self.vgg = None
        if training:
            self.discriminator = MultiscaleDiscriminator(
                self.semantic_channels, config.num_discriminator_filters, scales=config.num_discriminators,
                layers=config.num_discriminator_layers, norm=parse_norm(config.norm_D, "norm_D"),
                init=self.init,
            )  # fmt: skip
            if not config.no_vgg_loss:
                self.vgg = VGG19Features(config.vgg_weights)
        self.built = True

    @classmethod
    def instance_maps(cls, config):
        """The instance edges are all that is made of the maps."""
        return None if config.no_instance else "objects"

    def _check_size(self):
        config, stride = self.config, self.strides[0]
        if config.crop_size % stride or config.crop_height % stride or not config.crop_height:
            raise ValueError(
                f"pictures of {config.crop_size}x{config.crop_height} (--crop_size, --aspect_ratio): with "
                f"--num_upsampling_layers {config.num_upsampling_layers} width and height must be multiples of {stride}"
            )

    # The first features

    def dense_entry(self):
        """From z to the first features."""
        height, width, channels = self.initial_shape
        return Dense(self.config.z_dim, height * width * channels, init=self.init, name="fc")

    def enter(self, z):
        """The first features of style vectors: z [N,Z] -> [N,h,w,16F]."""
        return tf.reshape(self.fc(z), [-1, *self.initial_shape])

    # Training

    def adversarial_terms(self, layout, fake, real, unpaired=None):
        """{objective: {loss: weighted scalar}} of fakes and reals [B,H,W,3] from one discriminator call.

        unpaired: bool [B], the fakes that need not match their photo: their terms of feature matching and
        VGG loss are 0, in means over all samples.
        """
        config = self.config
        fakes, reals = self._judge(layout, fake, real)
        judged_fake, judged_real = [f[-1] for f in fakes], [r[-1] for r in reals]
        terms = {"GAN": losses.adversarial(judged_fake, True, config.gan_mode, for_generator=True)}
        if not config.no_feature_loss:
            matched = fakes
            if unpaired is not None:
                matched = [
                    [_paired(f, r, unpaired) for f, r in zip(*scale, strict=True)]
                    for scale in zip(fakes, reals, strict=True)
                ]
            matching = losses.feature_matching(matched, reals, config.feature_layers)
            terms["GAN_Feat"] = config.lambda_features * matching
        if self.vgg is not None:
            weight = self.vgg.default_weight if config.lambda_vgg is None else config.lambda_vgg
            matched = fake if unpaired is None else _paired(fake, real, unpaired)
            terms["VGG"] = weight * self.vgg.loss(matched, real, config.vgg_layers)
        judged = {
            "D_Fake": losses.adversarial(judged_fake, False, config.gan_mode),
            "D_real": losses.adversarial(judged_real, True, config.gan_mode),
        }
        return {"generator": terms, "discriminator": judged}

    def _judge(self, layout, fake, real):
        """Discriminator features of fakes and of reals, both from one call on their concatenation."""
        condition = self.semantics(self.tokens(layout))
        outputs = self.discriminator(condition, tf.concat([fake, real], 0), training=True)
        halves = [[tf.split(feature, 2, 0) for feature in scale] for scale in outputs]
        return [[h[0] for h in scale] for scale in halves], [[h[1] for h in scale] for scale in halves]

    def tokens(self, layout):
        """int32 [B,H,W]: class ids, with the edge bit where edges are used (`label_tokens`)."""
        return label_tokens(layout["label"], edge_map(layout["instance"]) if self.edges else None)

    @property
    def num_tokens(self):
        """Number of different tokens."""
        return self.num_classes * (2 if self.edges else 1)

    def semantics(self, tokens):
        """One-hot classes and edges of tokens [B,h,w] -> [B,h,w,S]."""
        return one_hot_semantics(tokens, self.num_classes, self.edges, self.compute_dtype)

    def objectives(self):
        """{objective: layers it trains}."""
        trained = [self.fc, self.generator] + ([self.encoder] if self.encoder else [])
        return {"generator": trained, "discriminator": [self.discriminator]}


def random_rows(rows, share):
    """bool [B]: which samples (numbers int64 [B]) train with random styles, evenly spread; share in [0,1].

    Not in the papers' code; BicycleGAN (Zhu et al., NeurIPS 2017) trains on both kinds of style. Without
    it the networks see encoded styles alone, and random ones look right only as far as the KL term makes
    the two alike.
    """
    number = tf.cast(rows % 1_000_000, tf.float64)
    return tf.floor((number + 1) * share) > tf.floor(number * share)


def _paired(fake, real, unpaired):
    """fake [B,...] with real, a constant, in the unpaired rows: the difference to real is then 0 there."""
    return tf.where(tf.reshape(unpaired, [-1, 1, 1, 1]), tf.stop_gradient(real), fake)


class GlobalStyleGAN(ConditionalGAN):
    """SPADE's ways of a style: with use_vae one vector z for the whole picture, else none.

    Style: {"z": float32 [N,Z]} with use_vae, else {}. A layout of batch 1 serves N styles. A subclass gives
    make_norm, plan(layout) -> {stride: condition} and tokens_of(condition), its tokens [B,h,w].
    The KL term is a mean over the batch, where the authors' code sums.
    """

    @classmethod
    def fixed_size(cls, config):
        """The dense layer after z decides the size; without z the networks are convolutional throughout."""
        return config.use_vae

    def make_entry(self):
        """z, or the label map itself, to the first features."""
        if self.config.use_vae:
            return self.dense_entry()
        return Conv(self.semantic_channels, self.initial_shape[-1], 3, padding=1, init=self.init, name="fc")

    def make_encoder(self):
        """The encoder of photos (Park et al., figure 14)."""
        config = self.config
        return Encoder(
            config.num_encoder_filters, config.z_dim, size=config.encoder_size,
            norm=parse_norm(config.norm_E, "norm_E"), init=self.init,
        )  # fmt: skip

    @property
    def style_shapes(self):
        """{name: shape of one style}."""
        return {"z": (self.config.z_dim,)} if self.encoder else {}

    @property
    def encoded(self):
        """Photos decide all of the style."""
        return ("z",) if self.encoder else ()

    def sample_style(self, layout, seed):
        """One random style per seed: seed int64 [N] -> {"z": [N,Z]} ({} without an encoder)."""
        return {"z": row_normal(seed, self.config.z_dim)} if self.encoder else {}

    def encode_style(self, image, layout=None):
        """The mean style of photos: image float32 [N,H,W,3] in [-1,1] -> {"z": [N,Z]} ({} without encoder)."""
        return {"z": self.encoder(image)[0]} if self.encoder else {}

    def synthesize_planned(self, plan, style, training=False):
        """Pictures float32 [N,H,W,3] in [-1,1] for a plan of batch 1 or N and a style of batch N."""
        conditions = [plan[stride] for stride in self.strides]
        if self.encoder:
            initial = self.enter(style["z"])
        else:
            initial = self.fc(self.semantics(self.tokens_of(conditions[0])))
        return self.generator(initial, conditions, training=training)

    def compute_losses(self, batch):
        """One forward pass for both objectives; see Method. Losses are already weighted."""
        config = self.config
        layout = {key: batch[key] for key in ("label", "instance") if key in batch}
        style, divergence, unpaired = {}, {}, None
        if self.encoder is not None:
            mean, log_variance = self.encoder(batch["image"], training=True)
            noise = row_normal(batch["row"], config.z_dim, config.seed)
            style["z"] = mean + tf.exp(0.5 * log_variance) * noise
            if config.prior_share:
                unpaired = random_rows(batch["row"], config.prior_share)
                style["z"] = tf.where(unpaired[:, None], noise, style["z"])
            divergence["KLD"] = config.lambda_kld * losses.kl_divergence(mean, log_variance)
        fake = self.synthesize_planned(self.plan(layout), style, training=True)
        terms = self.adversarial_terms(layout, fake, batch["image"], unpaired)
        return terms | {"generator": divergence | terms["generator"]}
