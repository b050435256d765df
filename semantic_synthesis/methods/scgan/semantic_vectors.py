"""The semantic vector generator: a label map -> a pyramid of feature maps (Wang et al., section 3.1).

The vectors decide which expert works where. Each level sees the level below, enlarged, and its own label map.
All in float32 whatever the precision of the other networks: gates are taken from means of the vectors, and blurred
labels reach thousands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from semantic_synthesis.layers import Conv, LabelPlan, convolve, label_convolution
from semantic_synthesis.layers.residual import SLOPE
from semantic_synthesis.methods.scgan.label_pyramid import Blur, label_pyramid
from semantic_synthesis.networks import double

if TYPE_CHECKING:
    from semantic_synthesis.layers.initialization import Initializer


def level_widths(filters: int, count: int) -> list[int]:
    """Channels of the vectors of each of `count` levels, coarsest first."""
    return [filters * max(16 // 2**i, 1) for i in range(count)]


class SemanticVectors(keras.layers.Layer):
    """x_1 = conv(lrelu(conv(m_1))), x_k = conv(lrelu(conv(lrelu([up(x_(k-1)), m_k])))) on the label pyramid m.

    filters: width of the finest vectors; count: levels; spectral: of all convolutions but the picture's.
    Call: tokens int32 [B,H,W]; plan: LabelPlan of the same -> list of float32 [B,h,w,F_k], coarsest first.
    `picture(finest)` is the auxiliary picture, which only training needs.
    """

    def __init__(
        self,
        num_classes: int,
        filters: int,
        count: int,
        *,
        edges: bool,
        spectral: bool,
        blur: Blur | None = None,
        init: Initializer,
        name: str = "vectors",
    ) -> None:
        super().__init__(name=name, autocast=False, dtype="float32")
        self.num_classes, self.edges, self.blur = num_classes, edges, blur or Blur()
        semantic, widths = num_classes + int(edges), level_widths(filters, count)
        conv: dict[str, Any] = {"padding": 1, "init": init, "dtype": "float32", "direct": True}
        self.entries, self.exits, below = [], [], 0
        for i, width in enumerate(widths, 1):
            self.entries.append(Conv(below + semantic, width, 3, spectral=spectral, **conv, name=f"in_{i}"))
            self.exits.append(Conv(width, width, 3, spectral=spectral, **conv, name=f"out_{i}"))
            below = width
        self.picture_in = Conv(below, filters // 2, 3, **conv, name="picture_in")
        self.picture_out = Conv(filters // 2, 3, 3, **conv, name="picture_out")
        self.built = True

    def call(self, tokens: tf.Tensor, plan: LabelPlan) -> list[tf.Tensor]:
        labels = label_pyramid(tokens, len(self.entries), self.num_classes, self.edges, self.blur)
        if labels[-1] is None:
            labels[-1] = plan
        x, vectors = None, []
        for entry, leave, semantics in zip(self.entries, self.exits, labels, strict=True):
            x = leave(_activate(self._enter(entry, x, semantics)))
            vectors.append(x)
        return vectors

    def _enter(self, conv, below, semantics):
        """The convolution of [lrelu(up(below)), labels], split by linearity: labels are 0 or more, so the leaky
        ReLU leaves them alone, and of a one-hot map there are few distinct patches."""
        kernel = tf.cast(conv.effective_kernel(), tf.float32)
        channels = kernel.shape[2] - self.num_classes - int(self.edges)
        own, shared = kernel[:, :, :channels], kernel[:, :, channels:]
        if isinstance(semantics, LabelPlan):
            y = label_convolution(semantics, shared, self.edges)
        else:
            y = convolve(semantics, shared, 1, 1, direct=True)
        if below is not None:
            # Enlarged first: TensorFlow's graph optimiser fails (an error in the log) at merging a convolution with an
            # activation where its output has other readers, as the vectors have.
            y += convolve(_activate(double(below)), own, 1, 1, direct=True)
        return tf.nn.bias_add(y, tf.cast(conv.bias.value, tf.float32))

    def picture(self, finest: tf.Tensor) -> tf.Tensor:
        """The auxiliary picture of the finest vectors: [B,H,W,F] -> float32 [B,H,W,3] in [-1,1]."""
        return tf.clip_by_value(self.picture_out(_activate(self.picture_in(finest))), -1.0, 1.0)


def _activate(x):
    return tf.nn.leaky_relu(x, SLOPE)
