"""Painter: a method of another package. No paper, no GAN: colours per class at two scales, trained on mean |error|.

Every class has a paint at every level (0: pixels, 1: cells of 4x4), and the picture has a tint. Photos decide the
paints of the classes they show at a level, by the mean colour of the class there; the tint is always random.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import tensorflow as tf

from semantic_synthesis.config import Config
from semantic_synthesis.layers import BatchNorm, Conv, Dense, Initializer, add_array
from semantic_synthesis.methods.method import Method, Objective, decaying_rate, row_normal
from semantic_synthesis.options import option, redeclared
from semantic_synthesis.originals.evidence import Evidence, shape_of
from semantic_synthesis.originals.rules import Ignored, Rule, linear, spectral_convolution
from semantic_synthesis.styles import CLASS, LAYER, Encoded, StyleSpec, merge_style

STRIDES = (1, 4)


@dataclass(frozen=True)
class PainterConfig(Config):
    """Options of Painter."""

    method: str = redeclared(Config, "method", "painter")
    total_epochs: int = redeclared(Config, "total_epochs", 20)
    brush_width: int = option(8, "Channels of the canvas.", role="network", group="Painter")
    paint_dim: int = option(4, "Length of a paint.", role="network", group="Painter")
    lambda_paint: float = option(1.0, "Weight of the loss.", role="training", group="Painter")


class Painter(Method):
    """Layout: label int32 [B,H,W], multiples of 4. Style: paints [N,2,C,Z], tint [N,3]."""

    config_class: ClassVar[type[Config]] = PainterConfig
    encoder_sees_layout: ClassVar[bool] = True
    stride = STRIDES[-1]

    def __init__(self, config, training=True, initial_weights=True):
        super().__init__(name="painter")
        self.config, width = config, config.brush_width
        init = Initializer("xavier" if initial_weights else "zeros", 1.0, config.seed)
        table = init.normal((len(STRIDES), config.num_classes, width), 0.5)
        self.table = add_array(self, "table", table)
        self.brush = Dense(config.paint_dim, width, init=init, name="brush")
        self.reader = Dense(3, config.paint_dim, init=init, name="reader")
        self.norm = BatchNorm(width, name="norm")
        self.mix = Conv(width, 3, 3, padding=1, spectral=True, init=init, name="mix")
        self.built = True

    @classmethod
    def converter(cls):
        """Files of an imagined original."""
        return PainterFiles

    @classmethod
    def instance_maps(cls, config):
        """None are read."""
        return None

    @classmethod
    def fixed_size(cls, config):
        """Pictures may have any size."""
        return False

    def objectives(self):
        """One: everything."""
        return {"strokes": Objective([self], decaying_rate(self.config), averaged=True)}

    @property
    def style_shapes(self):
        """{name: StyleSpec}."""
        shape = (len(STRIDES), self.config.num_classes, self.config.paint_dim)
        return {
            "paints": StyleSpec(shape, (LAYER, CLASS, "latent"), encoded=True, present=2),
            "tint": StyleSpec((3,), ("latent",)),
        }

    def sample_style(self, layout, seed):
        """One random style per seed."""
        shape = self.style_shapes["paints"].shape
        paints = tf.reshape(row_normal(seed, int(np.prod(shape))), [-1, *shape])  # [N,2,C,Z]
        return {"paints": paints, "tint": row_normal(seed, 3, seed=1)}

    def encode_style(self, image, layout):
        """The mean colours of the classes that a photo shows at each level."""
        values, present = [], []
        for stride in STRIDES:
            one_hot = tf.one_hot(layout["label"][:, ::stride, ::stride], self.config.num_classes)
            count = tf.reduce_sum(one_hot, [1, 2])  # [N,C]
            colours = tf.einsum("nhwc,nhwk->nck", one_hot, image[:, ::stride, ::stride])
            means = colours / tf.maximum(count, 1)[..., None]  # [N,C,3]
            values.append(tf.reshape(self.reader(tf.reshape(means, [-1, 3])), [*means.shape[:2], -1]))
            present.append(count > 0)
        return Encoded({"paints": tf.cast(tf.stack(values, 1), tf.float32)}, {"paints": tf.stack(present, 1)})

    def plan(self, layout):
        """The classes at each level."""
        return [layout["label"][:, ::stride, ::stride] for stride in STRIDES]

    def synthesize_planned(self, plan, style, training=False):
        """Pictures float32 [N,H,W,3] in [-1,1]."""
        canvas, samples = 0.0, tf.shape(style["tint"])[0]
        for level, (label, stride) in enumerate(zip(plan, STRIDES, strict=True)):
            paints = style["paints"][:, level]  # [N,C,Z]
            rows = self.brush(tf.reshape(paints, [-1, paints.shape[-1]]))  # [N*C,F]
            rows = tf.cast(self.table.value, tf.float32)[level] + tf.reshape(
                tf.cast(rows, tf.float32), [samples, -1, rows.shape[-1]]
            )
            label = tf.broadcast_to(label, [samples, *tf.unstack(tf.shape(label))[1:]])  # [N,h,w]
            part = tf.gather(rows, label, batch_dims=1)  # [N,h,w,F]
            canvas += tf.repeat(tf.repeat(part, stride, 1), stride, 2)
        picture = tf.cast(self.mix(tf.nn.leaky_relu(self.norm(canvas, training=training))), tf.float32)
        return tf.tanh(picture + 0.1 * style["tint"][:, None, None])

    def compute_losses(self, batch):
        """The mean |error| of pictures painted with the photo's own paints."""
        style = self.sample_style(batch, batch["row"])
        style = merge_style(style, self.encode_style(batch["image"], batch))
        picture = self.synthesize_planned(self.plan(batch), style, training=True)
        error = tf.reduce_mean(tf.abs(picture - batch["image"]))
        return {"strokes": {"L1": self.config.lambda_paint * error}}


class PainterFiles:
    """A converter: one file with `mix` as a spectral convolution, tables and dense layers."""

    ROLES: ClassVar[dict] = {"source": ("painter", r"paints\.table")}

    @staticmethod
    def infer(files, asked):
        """Widths and classes from the tensors."""
        evidence, (path, tensors) = Evidence(), files["source"]
        _, classes, width = shape_of(tensors, "paints.table", path)
        evidence.add("num_classes", classes, path, "of paints.table")
        evidence.add("brush_width", width, path, "of paints.table")
        evidence.add("paint_dim", shape_of(tensors, "brush.weight", path)[1], path, "of brush")
        return evidence

    @staticmethod
    def rules(role, config):
        """Where each tensor goes."""
        dense = [Rule(rf"({n})\.weight", r"\1/kernel", linear) for n in ("brush", "reader")]
        return [
            *dense,
            *[Rule(rf"({n})\.bias", r"\1/bias") for n in ("brush", "reader")],
            *spectral_convolution("mix", "mix", 3),
            Rule(r"paints\.table", "table"),
            Rule(r"norm\.running_mean", "norm/moving_mean"),
            Rule(r"norm\.running_var", "norm/moving_variance"),
            Ignored(r"norm\.num_batches_tracked", "a count"),
        ]
