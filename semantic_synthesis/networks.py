"""Generator backbone, multiscale discriminator and image encoder of the SPADE family (spec sections 2, 3)."""

import keras
import tensorflow as tf

from semantic_synthesis.layers import BatchNorm, Conv, Dense, InstanceNorm, ResidualBlock, convolve
from semantic_synthesis.layers.residual import SLOPE

DOUBLINGS = {"normal": 5, "more": 6, "most": 7}


def generator_strides(depth):
    """Output pixels per feature cell for each residual block, coarsest first.

    depth: normal, more or most. The first value is the stride of the initial features.
    """
    doublings = DOUBLINGS[depth]
    strides = [2**doublings, 2 ** (doublings - 1)]
    strides.append(strides[-1] // (1 if depth == "normal" else 2))
    while strides[-1] > 1:
        strides.append(strides[-1] // 2)
    return tuple(strides)


class Generator(keras.layers.Layer):
    """Residual blocks from coarse to fine, each under its own condition.

    make_norm(channels, name=...) -> normaliser. Call: initial [B,h,w,16F] (the features the method
    starts from), conditions: one per block, at the strides of `generator_strides(depth)`
    -> [B,h*s,w*s,3] float32 in [-1,1], s the first stride.
    """

    def __init__(self, filters, depth, make_norm, *, spectral=True, init, name="generator"):
        super().__init__(name=name, autocast=False)
        names = ["head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3"]
        widths = [16 * filters] * 4 + [8 * filters, 4 * filters, 2 * filters, filters]
        if depth == "most":
            names.append("up_4")
            widths.append(filters // 2)
        self.strides = generator_strides(depth)
        self.blocks = [
            ResidualBlock(widths[i], widths[i + 1], make_norm, spectral=spectral, init=init, name=name)
            for i, name in enumerate(names)
        ]
        self.conv_img = Conv(widths[-1], 3, 3, padding=1, init=init, name="conv_img")
        self.built = True

    def call(self, initial, conditions, training=False):
        x, stride = initial, self.strides[0]
        for block, block_stride, condition in zip(self.blocks, self.strides, conditions, strict=True):
            if block_stride < stride:
                x = _double(x)
            stride = block_stride
            x = block(x, condition, training=training)
        x = self.conv_img(tf.nn.leaky_relu(x, SLOPE))
        return tf.tanh(tf.cast(x, tf.float32))


def _double(x):
    """Nearest-neighbour enlargement by two: [B,h,w,F] -> [B,2h,2w,F]."""
    return tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2)


def parse_norm(text, option):
    """The part after `spectral` in norm_D or norm_E: none, batch, sync_batch or instance."""
    kind = text.removeprefix("spectral") or "none"
    if not text.startswith("spectral") or kind not in ("none", "batch", "sync_batch", "instance"):
        raise ValueError(
            f"{option} is {text!r}; expected spectral followed by none, batch, sync_batch or instance"
        )
    return kind


class NormedConv(keras.layers.Layer):
    """Spectrally normalised convolution, then a plain normalisation (spec section 4.2).

    Call: x [B,H,W,in_channels] -> [B,H',W',filters]. The convolution has a bias only without a norm.
    """

    def __init__(self, in_channels, filters, kernel_size, kind, *, strides, padding, init, name):
        super().__init__(name=name, autocast=False)
        self.conv = Conv(
            in_channels, filters, kernel_size, strides=strides, padding=padding, use_bias=kind == "none",
            spectral=True, init=init, name="conv",
        )  # fmt: skip
        self.norm = None
        if kind == "instance":
            self.norm = InstanceNorm(filters, name="norm")
        elif kind != "none":
            self.norm = BatchNorm(
                filters, trainable_affine=True, synchronized=kind == "sync_batch", init=init, name="norm"
            )
        self.built = True

    def call(self, x, training=False):
        x = self.conv(x)
        return x if self.norm is None else self.norm(x, training=training)


class Encoder(keras.layers.Layer):
    """Photo -> Gaussian over styles (spec section 3.1): strided convolutions down to 4x4, two heads.

    size: side of the square the photo is resized to (a power of two, 8 or more; the original has 256).
    Call: image float32 [B,H,W,3] in [-1,1] -> (mean, log-variance), float32 [B,z_dim] each.
    """

    def __init__(self, filters, z_dim, *, size=256, norm="instance", init, name="encoder"):
        super().__init__(name=name, autocast=False)
        if size < 8 or size & (size - 1):
            raise ValueError(f"encoder_size is {size}; expected a power of two of 8 or more")
        self.size = size
        count = size.bit_length() - 3  # halvings from size to 4
        widths = [3] + [filters * min(2**i, 8) for i in range(count)]
        conv = {"strides": 2, "padding": 1, "init": init}
        self.convs = [
            NormedConv(widths[i], widths[i + 1], 3, norm, **conv, name=f"layer{i + 1}") for i in range(count)
        ]
        self.mean = Dense(16 * widths[-1], z_dim, init=init, name="mean")
        self.log_variance = Dense(16 * widths[-1], z_dim, init=init, name="log_variance")
        self.built = True

    def call(self, image, training=False):
        x = image
        if image.shape[1] != self.size or image.shape[2] != self.size:
            x = tf.image.resize(image, [self.size, self.size])  # bilinear
        for conv in self.convs:
            x = tf.nn.leaky_relu(conv(x, training=training), SLOPE)
        x = tf.reshape(x, [-1, 16 * x.shape[-1]])  # [B,16*8F], rows, columns, channels
        return tf.cast(self.mean(x), tf.float32), tf.cast(self.log_variance(x), tf.float32)


class _PatchDiscriminator(keras.layers.Layer):
    """One scale (spec section 3.3): 4x4 convolutions, padding 2; see MultiscaleDiscriminator."""

    def __init__(self, condition_channels, filters, layers, norm, *, init, name):
        super().__init__(name=name, autocast=False)
        self.condition_channels = condition_channels
        self.entry = Conv(condition_channels + 3, filters, 4, strides=2, padding=2, init=init, name="model0")
        self.middle, width = [], filters
        for i in range(1, layers):
            narrow, width = width, min(2 * width, 512)
            strides = 1 if i == layers - 1 else 2
            self.middle.append(
                NormedConv(narrow, width, 4, norm, strides=strides, padding=2, init=init, name=f"model{i}")
            )
        self.last = Conv(width, 1, 4, padding=2, init=init, name=f"model{layers}")
        self.built = True

    def call(self, condition, images, training=False):
        x = tf.nn.leaky_relu(self._enter(condition, images), SLOPE)
        features = [x]
        for conv in self.middle:
            x = tf.nn.leaky_relu(conv(x, training=training), SLOPE)
            features.append(x)
        return [*features, self.last(x)]

    def _enter(self, condition, images):
        """The first convolution of [condition, image], split by linearity.

        The condition [B,...] is shared by the n image batches in images [nB,...], so its part (nearly
        all input channels) is computed once.
        """
        conv, dtype = self.entry, self.compute_dtype
        kernel = tf.cast(conv.effective_kernel(), dtype)
        parts = tf.split(kernel, [self.condition_channels, 3], 2)
        shared = convolve(tf.cast(condition, dtype), parts[0], conv.strides, conv.padding)
        own = convolve(tf.cast(images, dtype), parts[1], conv.strides, conv.padding)
        shared = tf.nn.bias_add(shared, tf.cast(conv.bias.value, dtype))
        copies = tf.shape(images)[0] // tf.shape(condition)[0]
        return own + tf.tile(shared, [copies, 1, 1, 1])


class MultiscaleDiscriminator(keras.layers.Layer):
    """PatchGANs with separate weights on the full and on average-pooled inputs (spec section 3.2).

    Call: condition [B,H,W,S] (one-hot labels and edges), images [nB,H,W,3] in [-1,1], n batches that
    share the condition one after another -> list over scales of lists of feature maps [nB,h,w,f], the
    last of each being the judgement [nB,h,w,1].
    """

    def __init__(
        self, condition_channels, filters, *, scales=2, layers=4, norm="instance", init, name="discriminator"
    ):
        super().__init__(name=name, autocast=False)
        self.scales = [
            _PatchDiscriminator(
                condition_channels, filters, layers, norm, init=init, name=f"discriminator_{i}"
            )
            for i in range(scales)
        ]
        self.built = True

    def call(self, condition, images, training=False):
        outputs = []
        for i, scale in enumerate(self.scales):
            if i > 0:
                condition, images = pool_by_two(condition), pool_by_two(images)
            outputs.append(scale(condition, images, training=training))
        return outputs


def pool_by_two(x):
    """Mean over 3x3 windows at stride 2, one cell of padding that does not count: [B,H,W,F] -> [B,H',W',F].

    H' = (H - 1) // 2 + 1. SAME pooling would start one cell later on even sizes.
    """
    height, width = tf.shape(x)[1], tf.shape(x)[2]
    # One extra row and column before, and after where the size is odd; average pooling with VALID counts
    # padded cells, so their share is corrected.
    x = tf.pad(x, [[0, 0], [1, height % 2], [1, width % 2], [0, 0]])
    mean = tf.nn.avg_pool2d(x, 3, 2, "VALID")
    rows, columns = _cells(height), _cells(width)
    cells = tf.cast(rows[:, None] * columns[None, :], tf.float32)[None, :, :, None]
    return mean * tf.cast(9.0 / cells, mean.dtype)


def _cells(size):
    """int32 [(size - 1) // 2 + 1]: how many real cells each window of three holds along one axis."""
    centres = tf.range(0, size, 2)
    return 3 - tf.cast(centres == 0, tf.int32) - tf.cast(centres == size - 1, tf.int32)


def edge_map(instance):
    """1 where an instance id differs from its left, right, upper or lower neighbour.

    instance int [B,H,W] -> int32 [B,H,W] (spec section 1; the map's border is no edge).
    """
    across = tf.cast(instance[:, :, 1:] != instance[:, :, :-1], tf.int32)
    down = tf.cast(instance[:, 1:] != instance[:, :-1], tf.int32)
    sides = tf.maximum(tf.pad(across, [[0, 0], [0, 0], [1, 0]]), tf.pad(across, [[0, 0], [0, 0], [0, 1]]))
    ends = tf.maximum(tf.pad(down, [[0, 0], [1, 0], [0, 0]]), tf.pad(down, [[0, 0], [0, 1], [0, 0]]))
    return tf.maximum(sides, ends)
