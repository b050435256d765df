"""Generator backbone and image encoder of the SPADE family (Park et al., appendix A)."""

from typing import NamedTuple

import keras
import tensorflow as tf

from semantic_synthesis.layers import BatchNorm, Conv, Dense, InstanceNorm
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


class Block(NamedTuple):
    """A place for a residual block: name, channels in and out, output pixels per feature cell."""

    name: str
    channels_in: int
    channels_out: int
    stride: int


def spade_layout(filters, depth):
    """The Blocks of SPADE's generator: 16F channels down to F (F/2 at depth most)."""
    names = ["head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3"]
    widths = [16 * filters] * 4 + [8 * filters, 4 * filters, 2 * filters, filters]
    if depth == "most":
        names.append("up_4")
        widths.append(filters // 2)
    strides = generator_strides(depth)
    return [Block(n, *widths[i : i + 2], strides[i]) for i, n in enumerate(names)]


class Generator(keras.layers.Layer):
    """Blocks from coarse to fine, each under its own condition.

    layout: list of Block; make_block(channels_in, channels_out, name) -> layer called as
    block(x, condition, training); finish: from the last convolution to [-1,1].
    Call: initial [B,h,w,in of the first block] (the features the method starts from), conditions: one per block, at
    the blocks' strides -> [B,h*s,w*s,3] float32 in [-1,1], s the first stride over the last.
    """

    def __init__(self, layout, make_block, *, finish=tf.tanh, init, name="generator"):
        super().__init__(name=name, autocast=False)
        self.strides, self.finish = tuple(place.stride for place in layout), finish
        self.blocks = [make_block(place.channels_in, place.channels_out, place.name) for place in layout]
        self.conv_img = Conv(layout[-1].channels_out, 3, 3, padding=1, init=init, name="conv_img")
        self.built = True

    def call(self, initial, conditions, training=False):
        x, stride = initial, self.strides[0]
        for block, block_stride, condition in zip(self.blocks, self.strides, conditions, strict=True):
            while block_stride < stride:
                x, stride = double(x), stride // 2
            x = block(x, condition, training=training)
        x = self.conv_img(tf.nn.leaky_relu(x, SLOPE))
        return self.finish(tf.cast(x, tf.float32))


def double(x):
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
        x = tf.reshape(x, [-1, 16 * x.shape[-1]])  # [B,4*4*width of the last layer]
        return tf.cast(self.mean(x), tf.float32), tf.cast(self.log_variance(x), tf.float32)


def edge_map(instance):
    """1 where an instance id differs from its left, right, upper or lower neighbour.

    instance int [B,H,W] -> int32 [B,H,W] (spec section 1; the map's border is no edge).
    """
    across = tf.cast(instance[:, :, 1:] != instance[:, :, :-1], tf.int32)
    down = tf.cast(instance[:, 1:] != instance[:, :-1], tf.int32)
    sides = tf.maximum(tf.pad(across, [[0, 0], [0, 0], [1, 0]]), tf.pad(across, [[0, 0], [0, 0], [0, 1]]))
    ends = tf.maximum(tf.pad(down, [[0, 0], [1, 0], [0, 0]]), tf.pad(down, [[0, 0], [0, 1], [0, 0]]))
    return tf.maximum(sides, ends)
