"""The conditional residual block of the SPADE family (Park et al., figure 4 and appendix A)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from semantic_synthesis.layers.convolution import Conv
from semantic_synthesis.layers.pairs import place

if TYPE_CHECKING:
    from semantic_synthesis.layers.initialization import Initializer

SLOPE = 0.2  # of every leaky ReLU


def leaky_relu(x: tf.Tensor, training: bool = False) -> tf.Tensor:
    """max(x, SLOPE x). In training its gradient is read off the result, which the next layer keeps anyway, so x need
    not be kept beside it."""
    return _from_result(x) if training else tf.nn.leaky_relu(x, SLOPE)


@tf.custom_gradient
def _from_result(x):
    y = tf.nn.leaky_relu(x, SLOPE)
    return y, lambda dy: tf.raw_ops.LeakyReluGrad(gradients=dy, features=y, alpha=SLOPE)


def double(x: tf.Tensor) -> tf.Tensor:
    """Nearest-neighbour enlargement by two: [B,h,w,F] -> [B,2h,2w,F]."""
    return tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2)


class ResidualBlock(keras.layers.Layer):
    """x -> shortcut(x) + conv_1(lrelu(norm_1(conv_0(lrelu(norm_0(x)))))).

    make_norm(channels, name=...) -> normaliser called as norm(x, condition, training), which says with
    `out_channels` how many it gives. The shortcut is conv_s(norm_s(x)), 1x1 without bias or activation,
    where the width changes, else the identity.
    Call: x [B,h,w,in_channels], condition as the normaliser takes it -> [B,h,w,filters]. enlarge: x is [B,h/2,w/2,...],
    and the nearest-neighbour enlargement comes first; in inference what is equal in several of the enlarged pixels is
    computed once, where the condition knows its `pairs`.
    """

    enlarges = True

    def __init__(
        self,
        in_channels: int,
        filters: int,
        make_norm: Callable,
        *,
        spectral: bool = True,
        init: Initializer,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, autocast=False)
        middle = min(in_channels, filters)
        conv: dict[str, Any] = {"padding": 1, "spectral": spectral, "init": init}
        self.norm_0 = make_norm(in_channels, name="norm_0")
        self.conv_0 = Conv(self.norm_0.out_channels, middle, 3, **conv, name="conv_0")
        self.norm_1 = make_norm(middle, name="norm_1")
        self.conv_1 = Conv(self.norm_1.out_channels, filters, 3, **conv, name="conv_1")
        self.norm_s: Any = None
        self.conv_s: Any = None
        if in_channels != filters:
            self.norm_s = make_norm(in_channels, name="norm_s")
            self.conv_s = Conv(
                self.norm_s.out_channels,
                filters,
                1,
                use_bias=False,
                spectral=spectral,
                init=init,
                name="conv_s",
            )
        self.built = True

    def call(self, x: tf.Tensor, condition: Any, training: bool = False, enlarge: bool = False) -> tf.Tensor:
        enter = self._enter_enlarged if enlarge else self._enter
        shortcut, x = enter(x, condition, training)
        x = self.conv_0(x)
        x = self.conv_1(leaky_relu(self.norm_1(x, condition, training=training), training))
        return shortcut + x

    def _enter(self, x, condition, training):
        """(shortcut, input of conv_0): all that looks at no neighbours."""
        shortcut = x
        if self.conv_s is not None:
            shortcut = self.conv_s(self.norm_s(x, condition, training=training))
        return shortcut, leaky_relu(self.norm_0(x, condition, training=training), training)

    def _enter_enlarged(self, x, condition, training):
        pairs = None if training else getattr(condition, "pairs", None)
        if pairs is None:
            return self._enter(double(x), condition, training)

        def by_pairs():
            rows = self._enter(x, condition.of_pairs(), training)
            shortcut = double(x) if self.conv_s is None else place(rows[0], pairs, x)
            return shortcut, place(rows[1], pairs, x)

        if getattr(condition, "use_patches", None) is None:
            return by_pairs()
        return tf.cond(
            condition.use_patches, by_pairs, lambda: self._enter(double(x), condition.dense(), training)
        )
