"""SIMS as a method: memory, canvases and the three networks together.

Paper symbols: the memory is M, segments P_i, layouts L, the canvas C, the networks T (section 4.2), the ordering
network (4.3) and f (5).
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import tensorflow as tf

from semantic_synthesis import data
from semantic_synthesis.config import Config
from semantic_synthesis.layers import Initializer
from semantic_synthesis.methods.method import Objective, Provenance
from semantic_synthesis.methods.sims import losses, opening, provenance
from semantic_synthesis.methods.sims.canvas import Canvas
from semantic_synthesis.methods.sims.close_up import corner_loss
from semantic_synthesis.methods.sims.composing import Composer, Placed
from semantic_synthesis.methods.sims.config import NO_BANK, SIMSConfig
from semantic_synthesis.methods.sims.groups import ClassGroups
from semantic_synthesis.methods.sims.networks import Order, Synthesis, Transformation
from semantic_synthesis.methods.sims.practice import Practice
from semantic_synthesis.methods.sims.warping import warp
from semantic_synthesis.methods.vgg_method import VGGMethod
from semantic_synthesis.networks.vgg import VGG19Features
from semantic_synthesis.styles import REGION, Encoded, StyleSpec


class SIMS(VGGMethod):
    """Layout -> canvas of segments of other photos -> picture.

    Layout: label int32 [B,H,W] in [0,C), instance int32 [B,H,W] in [0,I), crop_height x crop_size. Style: {"choice":
    float32 [N,I]}, which of its candidates each region's segments take, 0 the best; whole parts count, and beyond
    the last candidate counting starts again. A layout of batch 1 serves N styles.
    """

    config_class: ClassVar[type[Config]] = SIMSConfig
    usual_seed: ClassVar[int | None] = 0  # the best candidates
    why_not_static: ClassVar[str] = (
        "its pictures are put together from as many pieces of stored photos as a layout asks for"
    )

    def __init__(self, config: SIMSConfig, training: bool = True, initial_weights: bool = True) -> None:
        super().__init__(name="sims")
        self.config = config
        table = data.ClassTable.from_dict(config.class_table)
        _check_size(config)
        self.bank, shares = opening.open_bank(config, training)
        self.groups = ClassGroups.of(table, config.class_groups, shares)
        made: dict[str, Any] = {
            "filters": config.num_filters,
            "init": Initializer("xavier_uniform" if initial_weights else "zeros", seed=config.seed),
        }
        known = self.groups.count
        self.transformation = (
            Transformation(known, self.bank.base, view=config.transformation_view, **made)
            if config.use_transformation
            else None
        )
        legacy = config.order_pooling == "windows"
        self.order = Order(known, legacy=legacy, **made) if config.use_order else None
        self.synthesis = Synthesis(known, scale=config.scale, **made)
        self.composer = Composer(config, self.groups, self.bank, self.transformation, self.order)
        # A graph from the first picture on: piece by piece it would take longer than tracing does.
        self._placed = tf.function(self._all_placed, autograph=False, reduce_retracing=True)
        self.practice = Practice(config, self.composer) if training else None
        self.vgg = None
        if training and not config.no_vgg_loss:
            self.vgg = VGG19Features(config.vgg_weights, taps=losses.TAPS, average=True)
        self.built = True

    # What the contract asks

    @classmethod
    def converter(cls) -> Any:
        """Checkpoints of xjqicuhk/SIMS."""
        from semantic_synthesis.methods.sims import conversion

        return conversion

    @classmethod
    def without_features(cls, config: Any) -> Any:
        """No VGG19 and no memory."""
        return super().without_features(config).replace(bank_dir=NO_BANK)

    @classmethod
    def sources(cls, config: Any) -> list[str]:
        """The memory is a part of every picture."""
        return ["photos of the memory, parts of which are in every picture", *super().sources(config)]

    @classmethod
    def instance_maps(cls, config: Any) -> str:
        """Every pixel belongs to a region: what style rows are for."""
        return "regions"

    @classmethod
    def extra_maps(cls, config: Any) -> Sequence[str]:
        """Depth teaches the order network."""
        return ("disparity",) if config.use_order and config.order_period else ()

    @classmethod
    def fixed_size(cls, config: Any) -> bool:
        """Masks of the memory have one size."""
        return True

    def published(self, config: Any) -> tuple[Any, dict[str, str]]:
        """With the memory in the run's own folder."""
        if not self.bank.paths:
            return config, {}
        return config.replace(bank_dir=""), opening.files_of(self.bank)

    @property
    def stride(self) -> int:
        """Width and height of layouts are multiples of it."""
        return self.config.scale

    @property
    def style_shapes(self) -> dict[str, StyleSpec]:
        """{name: StyleSpec}."""
        return {"choice": StyleSpec((None,), (REGION,), graded=False)}

    def sample_style(self, layout: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Candidates drawn evenly for each region; seed 0 takes the best everywhere. seed int64 [N] -> {"choice"}."""
        regions = tf.reduce_max(layout["instance"]) + 1

        def draw(one):
            key = tf.stack([tf.constant(0, tf.int64), one])
            value = tf.random.stateless_uniform([regions], key, alg="philox")
            return tf.where(one == 0, 0.0, tf.floor(value * self.config.candidates))

        return {"choice": tf.map_fn(draw, tf.cast(seed, tf.int64), fn_output_signature=tf.float32)}

    def encode_style(self, image: tf.Tensor, layout: dict[str, tf.Tensor] | None = None) -> Encoded:
        """Photos decide nothing."""
        return Encoded({})

    def plan(self, layout: dict[str, tf.Tensor]) -> dict[str, Any]:
        """Segments, candidates and order of layouts, see `Composer.plan`."""
        return self.composer.plan(layout)

    def synthesize_planned(self, plan: Any, style: dict[str, tf.Tensor]) -> tf.Tensor:
        """Pictures float32 [N,H,W,3] in [-1,1] for a plan of batch 1 or N and a style of batch N."""
        canvas = self.canvases(plan, style)
        picture, _ = self.synthesis(self.composer.network_input(canvas))
        return tf.clip_by_value(picture / 127.5 - 1.0, -1.0, 1.0)

    def canvases(self, plan: Any, style: dict[str, tf.Tensor]) -> Canvas:
        """The Canvas of every style: pictures float32 [N,H,W,3] in [0,1], labels and owners int32 [N,H,W]."""
        return self.placed(plan, style)[0]

    def placed(self, plan: Any, style: dict[str, tf.Tensor]) -> tuple[Canvas, Placed]:
        """(Canvas, Placed) of every style, N before all axes."""
        found = self._placed(plan, style)
        return Canvas(*found[:3]), Placed(*found[3:])

    def _all_placed(self, plan, style):
        samples = tf.shape(plan["kind"])[0]
        count = tf.shape(style["choice"])[0]

        def compose(inputs):
            index, choice = inputs
            canvas, placed = self.composer.compose(plan, tf.minimum(index, samples - 1), choice)
            return (*canvas, *placed)

        output = (tf.float32, tf.int32, tf.int32, tf.int32, tf.float32)
        inputs = (tf.range(count), style["choice"])
        return tf.map_fn(compose, inputs, fn_output_signature=output, parallel_iterations=1)

    def diagrams(self, plan: Any, style: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The canvases, on which the synthesis network paints."""
        picture = self.canvases(plan, style).picture
        return {"composition/canvas": tf.cast(tf.round(picture * 255.0), tf.uint8)}

    def provenance(self, plan: Any, style: dict[str, tf.Tensor]) -> list[Provenance]:
        """A Provenance per style: segments with their photos, and the canvas and order they were put in."""
        canvas, placed = self.placed(plan, style)
        found = []
        for index in range(len(canvas.picture)):
            steps = {
                "canvas": tf.cast(tf.round(canvas.picture[index] * 255.0), tf.uint8).numpy(),
                "order": provenance.order_picture(plan, canvas, index),
            }
            segments = provenance.describe(
                plan, canvas, placed, index, self.groups.names, self.bank, self.config.scale
            )
            found.append(Provenance(segments, steps))
        return found

    # Training

    def objectives(self) -> dict[str, Objective]:
        """Each network by itself: they share no variables."""
        config, found = self.config, {}
        unit = config.lr / 1e-4
        if self.transformation is not None:
            found["transformation"] = Objective(
                [self.transformation], lambda epoch: 1e-5 * unit, period=config.transformation_period
            )
        if self.order is not None:
            found["order"] = Objective(
                [self.order],
                lambda epoch: unit * min(1e-6 * 1.1 ** int(epoch), 1e-5),
                period=config.order_period,
            )
        found["synthesis"] = Objective(
            [self.synthesis],
            lambda epoch: unit * synthesis_rate(epoch, config.scale),
            period=config.synthesis_period,
            averaged=True,
        )
        return found

    def compute_losses(self, batch: dict[str, tf.Tensor]) -> dict[str, dict[str, tf.Tensor]]:
        """{objective: {loss: weighted scalar}}; nothing is computed for objectives that never move."""
        layout = {key: batch[key] for key in ("label", "instance")}
        kind, segments = self.composer.segments(layout)
        made = {
            "transformation": self._transformation_losses,
            "order": self._order_losses,
            "synthesis": self._synthesis_losses,
        }
        return {
            name: made[name](batch, kind, segments) if objective.period else {}
            for name, objective in self.objectives().items()
        }

    def _transformation_losses(self, batch, kind, segments):
        picture, _, place, moved = self.practice.disturbed(batch, kind, segments)
        kinds = tf.repeat(kind, self.config.slots, axis=0)
        theta = self.transformation(self.composer.transformation_input(picture, place, kinds))
        if self.config.transformation_view == "box":
            return {"corners": corner_loss(theta, moved, place)}
        shape = [-1, self.config.slots, *self.bank.size]
        warped = tf.reshape(warp(picture, theta, self.config.legacy), [*shape, 3])  # [B,R,H,W,3]
        mask = tf.reshape(tf.cast(place, tf.float32), [*shape, 1])  # [B,R,H,W,1]
        real = (batch["image"] + 1.0) * 127.5
        return {"colour": losses.transformation_loss(real, losses.composite(warped, mask), mask)}

    def _order_losses(self, batch, kind, segments):
        pairs, front, known = self.practice.pairs(batch, kind, segments)
        pictures = self.composer.order_input(kind, segments.and_none(), pairs)
        logits = self.order(pictures, dropout=self.practice.dropout(batch))
        return {"front": losses.order_loss(logits, front, known)}

    def _synthesis_losses(self, batch, kind, segments):
        config = self.config
        canvas = self.practice.canvases(batch, kind, segments)
        picture, semantic = self.synthesis(self.composer.network_input(canvas))
        real = (batch["image"] + 1.0) * 127.5
        if self.vgg is None:
            terms = {"L1": losses.mean_absolute(picture, real)}
        else:
            pixels, *features = losses.perceptual_terms(picture, real, self.vgg, config.scale)
            terms = {"L1": pixels, "VGG": config.lambda_vgg * tf.add_n(features)}
        return terms | {"semantic": config.lambda_semantic * losses.semantic_cross_entropy(semantic, kind)}


def synthesis_rate(epoch: float, scale: int) -> float:
    """The original's rates: for the smallest pictures a ramp to 1e-3, and 1e-4 after 112 epochs; else 1e-4."""
    if scale > 1:
        return 1e-4
    return min(1e-6 * 1.1 ** int(epoch), 1e-3 if epoch < 112 else 1e-4)


def _check_size(config):
    if config.scale not in (1, 2, 4):
        raise ValueError(f"--scale {config.scale}; expected 1, 2 or 4")
    if config.crop_size % config.scale or config.crop_height % config.scale:
        raise ValueError(
            f"pictures of {config.crop_size}x{config.crop_height} (--crop_size, --aspect_ratio): width and height "
            f"must be multiples of --scale {config.scale}"
        )
    if config.legacy and config.transformation_view != "picture":
        raise ValueError(
            f"--legacy with --transformation_view {config.transformation_view}: the original looks at the picture; "
            "leave one of them out"
        )
