"""What the three networks train on, made from a batch of photos and layouts (see `simulation`).

All random numbers are functions of seed and row, so a resumed run sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

from semantic_synthesis.methods.sims import ordering, retrieval, simulation
from semantic_synthesis.methods.sims.canvas import Canvas
from semantic_synthesis.methods.sims.morphology import enlarge
from semantic_synthesis.methods.sims.segments import Segments, box_masks

if TYPE_CHECKING:
    from semantic_synthesis.methods.sims.composing import Composer
    from semantic_synthesis.methods.sims.config import SIMSConfig

_SLOTS, _PHOTOS, _SEGMENTS, _DISTURBED, _PAIRS, _DROPOUT = range(6)  # what numbers are for


def uniform(seed: int, row: tf.Tensor, purpose: int, shape: Sequence[int | tf.Tensor]) -> tf.Tensor:
    """float32 in [0,1), a function of seed, row (int64 []) and purpose."""
    return tf.random.stateless_uniform(shape, _key(seed, row, purpose), alg="philox")


def _key(seed, row, purpose):
    """int64 [2]: the seed of random numbers for a row and a purpose."""
    return tf.stack([tf.cast(seed, tf.int64) * 8 + purpose, row])


class Practice:
    """Makes training inputs with the means of a Composer."""

    def __init__(self, config: SIMSConfig, composer: Composer) -> None:
        self.config, self.composer = config, composer
        self.groups, self.bank = composer.groups, composer.bank

    # Transformation

    def disturbed(
        self, batch: dict[str, tf.Tensor], kind: tf.Tensor, segments: Segments
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Inputs of the transformation network: some large segments of each photo, disturbed.

        (picture float32 [B*R,H,W,3] in [0,1], where the segment is after the disturbance; its mask bool [B*R,H,W];
        place bool [B*R,H,W]; the disturbance, theta float32 [B*R,6]); R = --slots, zeros where a layout has fewer.
        """
        rows, there = self._some(segments, batch["row"], _SLOTS)
        segments = segments.and_none()
        scale, size = self.config.scale, self.bank.size
        masks = enlarge(segments.masks(rows), scale) & there[:, None, None]
        photos = tf.repeat((batch["image"] + 1.0) / 2.0, self.config.slots, axis=0)
        boxes = simulation.centred_boxes(scale * tf.gather(segments.box, rows), *size)
        draws = self._per_row(batch["row"], _DISTURBED, [self.config.slots, 4])
        theta = simulation.disturbance(boxes, tf.reshape(draws, [-1, 4]), rotate=not self.config.legacy)
        pictures = tf.where(masks[..., None], photos, 0.0)
        moved = simulation.moved_masks(masks, theta)
        return self.composer.move(pictures, masks, theta), moved, masks, theta

    def _some(self, segments, numbers, purpose):
        """(int32 [B*R] large segments of each sample, drawn by row; bool [B*R]: whether there is one)."""
        rows, slots = self.composer.large(segments), self.config.slots
        sample = tf.gather(segments.sample, rows)

        def draw(inputs):
            index, number = inputs
            mine = tf.boolean_mask(rows, sample == index)
            order = tf.argsort(uniform(self.config.seed, number, purpose, [tf.size(mine)]))
            chosen = tf.gather(mine, order[:slots])
            missing = slots - tf.size(chosen)
            return tf.ensure_shape(tf.pad(chosen, [[0, missing]], constant_values=-1), [slots])

        inputs = (tf.range(tf.size(numbers)), numbers)
        found = tf.reshape(tf.map_fn(draw, inputs, fn_output_signature=tf.int32), [-1])
        there = found >= 0
        return tf.where(there, found, 0), there

    def _per_row(self, numbers, purpose, shape):
        return tf.map_fn(
            lambda row: uniform(self.config.seed, row, purpose, shape),
            numbers,
            fn_output_signature=tf.float32,
        )

    # Order

    def pairs(
        self, batch: dict[str, tf.Tensor], kind: tf.Tensor, segments: Segments
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """(pairs int32 [Q,2], class in front + 1 int32 [Q], whether it counts bool [Q]); Q = B * --slots.

        Which of two neighbours is closer says the disparity; neighbours without are not asked about.
        """
        found = ordering.pairs(segments, self.composer.large(segments), self.groups.rank)
        total = tf.shape(batch["row"])[0] * self.config.slots
        order = tf.argsort(uniform(self.config.seed, batch["row"][0], _PAIRS, [tf.shape(found)[0]]))
        found = tf.gather(found, order[:total])
        count = tf.shape(found)[0]
        step = self.config.scale
        disparity = tf.cast(batch["disparity"][:, ::step, ::step], tf.float32)
        medians = ordering.depths(segments, found, disparity)
        front, known, _ = ordering.front_class(tf.gather(segments.kind, found), medians, self.groups)
        padding = [[0, total - count]]
        found = tf.pad(found, [*padding, [0, 0]])
        return found, tf.pad(tf.where(known, front + 1, 0), padding), tf.pad(known, padding)

    def dropout(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """int64 [2]: the seed of what the order network leaves out for this batch."""
        return _key(self.config.seed, batch["row"][0], _DROPOUT)

    # Synthesis

    def canvases(self, batch: dict[str, tf.Tensor], kind: tf.Tensor, segments: Segments) -> Canvas:
        """Canvases float32 [B,H,W,3] whose segments are the photo's own, cut by stencils of the memory, and layouts
        int32 [B,H,W] with the noise that comes with that."""
        rows = self.composer.large(segments)
        found = self.composer._candidates(kind, segments, rows, lambda *_: self._drawn_photos(batch, kind))
        large = tf.scatter_nd(rows[:, None], tf.ones_like(rows), [tf.size(segments.sample)]) > 0

        def simulate(inputs):
            index, row, photo = inputs
            return self._canvas(
                index, row, (photo + 1.0) / 2.0, kind[index], segments, found.row[:, 0], large
            )

        inputs = (tf.range(tf.size(batch["row"])), batch["row"], batch["image"])
        output = (tf.float32, tf.int32)
        picture, label = tf.map_fn(simulate, inputs, fn_output_signature=output, parallel_iterations=1)
        picture = tf.ensure_shape(picture, [None, *self.bank.size, 3])
        return Canvas(tf.stop_gradient(picture), tf.ensure_shape(label, [None, *self.bank.size]), None)

    def _drawn_photos(self, batch, kind):
        """bool [B,P+1]: a random part of the memory's photos, never the layout's own."""
        step, photos = self.config.scale, self.bank.photo_count
        others = retrieval.other_photos(self.bank, kind[:, ::step, ::step])
        share = min(1.0, self.config.stencil_draws / max(photos, 1))
        draws = self._per_row(batch["row"], _PHOTOS, [photos + 1])
        return others & (draws <= share)

    def _canvas(self, index, number, photo, kind, segments, stencils, large):
        """(picture [H,W,3], label int32 [H,W]) of one sample."""
        mine = tf.cast(tf.where(segments.sample == index)[:, 0], tf.int32)
        places = tf.gather(tf.constant(self.groups.rank), tf.gather(segments.kind, mine))
        order = tf.gather(mine, tf.argsort(places, stable=True))
        draws = uniform(self.config.seed, number, _SEGMENTS, [tf.size(order), 5])
        size = self.bank.size

        def step(i, picture, label, before):
            row = order[i]
            place = enlarge(segments.masks(row[None]), self.config.scale)[0]
            nothing = tf.zeros_like(place)

            def full():
                found = stencils[row]
                stencil = enlarge(self.bank.masks(found[None]), self.config.scale)[0]
                if self.config.legacy:  # without a match the one before stays in use
                    stencil = tf.where(found > 0, stencil, before)
                box = box_masks(self.config.scale * segments.box[row][None], *size)[0]
                segment = simulation.stencilled(
                    photo,
                    place,
                    stencil & (found > 0),
                    self.bank.picture(self.bank["photo"][found]),
                    box,
                    (draws[i, 0] < self.config.recolor_share) & (found > 0),
                    self.config.legacy,
                )
                key = tf.stack([tf.cast(i, tf.int64), number])
                white = tf.random.stateless_uniform(size, key, alg="philox") < self.config.elision_share
                done = simulation.add_to_canvas(picture, segment, white, self.composer.rims.training)
                return done, self._jittered(place, segments.box[row], draws[i, 1:]), stencil

            done, jittered, stencil = tf.cond(large[row], full, lambda: (picture, nothing, before))
            own = tf.where(large[row], stencil, nothing)
            return (
                i + 1,
                done,
                simulation.add_noise(label, segments.kind[row], place, jittered, own, self.groups.count),
                stencil,
            )

        start = (0, tf.zeros([*size, 3]), kind, tf.zeros(size, tf.bool))
        done = tf.while_loop(lambda i, *_: i < tf.size(order), step, start, parallel_iterations=1)
        return done[1], done[2]

    def _jittered(self, place, box, draws):
        """bool [H,W]: the segment's place, turned and moved a little."""
        boxes = simulation.centred_boxes(self.config.scale * box[None], *self.bank.size)
        theta = simulation.disturbance(boxes, tf.concat([[0.5], draws[1:]], 0)[None])
        return simulation.moved_masks(place[None], theta)[0]
