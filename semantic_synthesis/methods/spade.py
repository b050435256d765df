"""SPADE / GauGAN: Park et al., Semantic Image Synthesis with Spatially-Adaptive Normalization, CVPR 2019.

arXiv 1903.07291. Section 3.1 is `normalization.SPADE`; section 3.2 the generator (`networks.Generator`);
section 3.3, multi-modal synthesis, is `encode_style` and `sample_style`.

Deviations from the authors' code: generator and discriminator losses come from one forward pass (the
code makes a second fake after the generator's update), so running statistics and power iterations move
once per step; the KL term is a mean over the batch; the encoder may see pictures of another size than
256 (`encoder_size`); the latent length is free.
"""

import tensorflow as tf

from semantic_synthesis import losses
from semantic_synthesis.layers import (
    Conv,
    Dense,
    Initializer,
    label_tokens,
    modulation_form,
    one_hot_semantics,
    plan_label,
)
from semantic_synthesis.methods.method import Method, row_normal
from semantic_synthesis.networks import (
    Encoder,
    Generator,
    MultiscaleDiscriminator,
    edge_map,
    generator_strides,
    parse_norm,
)
from semantic_synthesis.normalization import SPADE as SPADENorm
from semantic_synthesis.normalization import parse_norm_G
from semantic_synthesis.vgg import VGG19Features


class SPADE(Method):
    """Label map (and style vector z with use_vae) -> picture.

    Layout: label int32 [B,H,W] in [0,C), with instance edges also instance int32 [B,H,W]; H and W
    multiples of the first generator stride; with use_vae exactly crop_height x crop_size.
    Style: {"z": float32 [N,Z]} with use_vae, else {}. A layout of batch 1 serves N styles.
    """

    def __init__(self, config, training=True, initial_weights=True):
        super().__init__(name="spade")
        self.config = config
        init = Initializer(
            config.init_type if initial_weights else "zeros", config.init_variance, config.seed
        )
        self.num_classes = config.num_classes
        self.edges = not config.no_instance
        self.semantic_channels = self.num_classes + int(self.edges)
        self.strides = generator_strides(config.num_upsampling_layers)
        self._check_size()
        self._build_generator(init)
        self.encoder = self.discriminator = self.vgg = None
        if config.use_vae:
            self.encoder = Encoder(
                config.num_encoder_filters, config.z_dim, size=config.encoder_size,
                norm=parse_norm(config.norm_E, "norm_E"), init=init,
            )  # fmt: skip
        if training:
            self.discriminator = MultiscaleDiscriminator(
                self.semantic_channels, config.num_discriminator_filters, scales=config.num_discriminators,
                layers=config.num_discriminator_layers, norm=parse_norm(config.norm_D, "norm_D"), init=init,
            )  # fmt: skip
            if not config.no_vgg_loss:
                self.vgg = VGG19Features(config.vgg_weights)
        self.built = True

    def _check_size(self):
        config, stride = self.config, self.strides[0]
        if config.crop_size % stride or config.crop_height % stride or not config.crop_height:
            raise ValueError(
                f"pictures of {config.crop_size}x{config.crop_height} (--crop_size, --aspect_ratio): with "
                f"--num_upsampling_layers {config.num_upsampling_layers} width and height must be multiples of {stride}"
            )

    def _build_generator(self, init):
        config, grammar = self.config, parse_norm_G(self.config.norm_G)
        self.form = modulation_form(config.modulation, grammar.kernel_size)

        def make_norm(channels, name):
            return SPADENorm(
                channels, self.num_classes, hidden=config.num_hidden_filters, edges=self.edges,
                kernel_size=grammar.kernel_size, statistics=grammar.statistics, init=init, name=name,
            )  # fmt: skip

        width, stride = 16 * config.num_generator_filters, self.strides[0]
        self.initial_shape = (config.crop_height // stride, config.crop_size // stride, width)
        if config.use_vae:
            size = self.initial_shape[0] * self.initial_shape[1] * width
            self.fc = Dense(config.z_dim, size, init=init, name="fc")
        else:
            self.fc = Conv(self.semantic_channels, width, 3, padding=1, init=init, name="fc")
        self.generator = Generator(
            config.num_generator_filters, config.num_upsampling_layers, make_norm,
            spectral=grammar.spectral, init=init,
        )  # fmt: skip

    # Styles

    def sample_style(self, layout, seed):
        """One random style per seed: seed int64 [N] -> {"z": [N,Z]} ({} without an encoder)."""
        return {"z": row_normal(seed, self.config.z_dim)} if self.encoder else {}

    def encode_style(self, image, layout=None):
        """The mean style of photos: image float32 [N,H,W,3] in [-1,1] -> {"z": [N,Z]} ({} without encoder)."""
        return {"z": self.encoder(image)[0]} if self.encoder else {}

    # Pictures

    def plan(self, layout):
        """What depends on the layout alone: {stride: LabelPlan}. Any number of styles can share it."""
        tokens = self._tokens(layout)
        return {
            stride: plan_label(tokens[:, ::stride, ::stride], self._num_tokens, self.form)
            for stride in sorted(set(self.strides))
        }

    def synthesize_planned(self, plan, style, training=False):
        """Pictures float32 [N,H,W,3] in [-1,1] for a plan of batch 1 or N and a style of batch N."""
        conditions = [plan[stride] for stride in self.strides]
        if self.encoder is None:
            semantics = one_hot_semantics(
                conditions[0].tokens, self.num_classes, self.edges, self.compute_dtype
            )
            initial = self.fc(semantics)
        else:
            initial = tf.reshape(self.fc(style["z"]), [-1, *self.initial_shape])  # [N,h,w,16F]
        return self.generator(initial, conditions, training=training)

    def _tokens(self, layout):
        edges = edge_map(layout["instance"]) if self.edges else None
        return label_tokens(layout["label"], edges)

    @property
    def _num_tokens(self):
        return self.num_classes * (2 if self.edges else 1)

    # Training

    def compute_losses(self, batch):
        """One forward pass for both objectives; see Method. Losses are already weighted."""
        config = self.config
        layout = {key: batch[key] for key in ("label", "instance") if key in batch}
        terms, style = {}, {}
        if self.encoder is not None:
            mean, log_variance = self.encoder(batch["image"], training=True)
            noise = row_normal(batch["row"], config.z_dim, config.seed)
            style["z"] = mean + tf.exp(0.5 * log_variance) * noise
            terms["KLD"] = config.lambda_kld * losses.kl_divergence(mean, log_variance)
        fake = self.synthesize_planned(self.plan(layout), style, training=True)
        fakes, reals = self._judge(layout, fake, batch["image"])
        judged_fake, judged_real = [f[-1] for f in fakes], [r[-1] for r in reals]
        terms["GAN"] = losses.adversarial(judged_fake, True, config.gan_mode, for_generator=True)
        if not config.no_feature_loss:
            terms["GAN_Feat"] = config.lambda_features * losses.feature_matching(fakes, reals)
        if self.vgg is not None:
            terms["VGG"] = self._lambda_vgg * self.vgg.loss(fake, batch["image"])
        judged = {
            "D_Fake": losses.adversarial(judged_fake, False, config.gan_mode),
            "D_real": losses.adversarial(judged_real, True, config.gan_mode),
        }
        return {"generator": terms, "discriminator": judged}

    def _judge(self, layout, fake, real):
        """Discriminator features of fakes and of reals, both from one call on their concatenation."""
        tokens = self._tokens(layout)
        condition = one_hot_semantics(tokens, self.num_classes, self.edges, self.compute_dtype)
        outputs = self.discriminator(condition, tf.concat([fake, real], 0), training=True)
        halves = [[tf.split(feature, 2, 0) for feature in scale] for scale in outputs]
        return [[h[0] for h in scale] for scale in halves], [[h[1] for h in scale] for scale in halves]

    @property
    def _lambda_vgg(self):
        given = self.config.lambda_vgg
        return self.vgg.default_weight if given is None else given

    def objectives(self):
        """{objective: layers it trains}."""
        trained = [self.fc, self.generator] + ([self.encoder] if self.encoder else [])
        return {"generator": trained, "discriminator": [self.discriminator]}
