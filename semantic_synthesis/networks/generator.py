"""Generator backbone of the SPADE family (Park et al., appendix A)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import tensorflow as tf

from semantic_synthesis.layers import Conv
from semantic_synthesis.layers.residual import double, leaky_relu

if TYPE_CHECKING:
    from semantic_synthesis.layers.initialization import Initializer

DOUBLINGS = {"normal": 5, "more": 6, "most": 7}


def generator_strides(depth: str) -> tuple[int, ...]:
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


def spade_layout(filters: int, depth: str) -> list[Block]:
    """The Blocks of SPADE's generator: 16F channels down to F (F/2 at depth most)."""
    names = ["head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3"]
    widths = [16 * filters] * 4 + [8 * filters, 4 * filters, 2 * filters, filters]
    if depth == "most":
        names.append("up_4")
        widths.append(filters // 2)
    strides = generator_strides(depth)
    return [Block(n, widths[i], widths[i + 1], strides[i]) for i, n in enumerate(names)]


class Generator(keras.layers.Layer):
    """Blocks from coarse to fine, each under its own condition.

    layout: list of Block; make_block(channels_in, channels_out, name) -> layer called as
    block(x, condition, training), and with enlarge=True for x at half the size where it says `enlarges`; finish: from
    the last convolution to [-1,1].
    Call: initial [B,h,w,in of the first block] (the features the method starts from), conditions: one per block, at
    the blocks' strides -> [B,h*s,w*s,3] float32 in [-1,1], s the first stride over the last.
    """

    def __init__(
        self,
        layout: Sequence[Block],
        make_block: Callable,
        *,
        finish: Callable[[tf.Tensor], tf.Tensor] = tf.tanh,
        init: Initializer,
        name: str = "generator",
    ) -> None:
        super().__init__(name=name, autocast=False)
        self.strides, self.finish = tuple(place.stride for place in layout), finish
        self.blocks = [make_block(place.channels_in, place.channels_out, place.name) for place in layout]
        self.conv_img = Conv(layout[-1].channels_out, 3, 3, padding=1, init=init, name="conv_img")
        self.built = True

    def call(self, initial: tf.Tensor, conditions: Any, training: bool = False) -> tf.Tensor:
        x, stride = initial, self.strides[0]
        for block, block_stride, condition in zip(self.blocks, self.strides, conditions, strict=True):
            while 2 * block_stride < stride:
                x, stride = double(x), stride // 2
            if block_stride == stride:
                x = block(x, condition, training=training)
            elif getattr(block, "enlarges", False):
                x = block(x, condition, training=training, enlarge=True)
            else:
                x = block(double(x), condition, training=training)
            stride = block_stride
        x = self.conv_img(leaky_relu(x, training))
        return self.finish(tf.cast(x, tf.float32))
