"""From a layout to its canvas: segments, candidates and their order, then one piece after another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from semantic_synthesis.methods.sims import canvas as canvases
from semantic_synthesis.methods.sims import ordering, retrieval
from semantic_synthesis.methods.sims.close_up import whole_pixels
from semantic_synthesis.methods.sims.morphology import enlarge
from semantic_synthesis.methods.sims.segments import Segments, find_segments
from semantic_synthesis.methods.sims.warping import warp

if TYPE_CHECKING:
    from semantic_synthesis.methods.sims.bank import Bank
    from semantic_synthesis.methods.sims.canvas import Canvas
    from semantic_synthesis.methods.sims.config import SIMSConfig
    from semantic_synthesis.methods.sims.groups import ClassGroups
    from semantic_synthesis.methods.sims.networks import Order, Transformation

_PAIRS_AT_ONCE = 10
DARKEST = 1 / 255  # photos are black nowhere: black means nothing
_MOST = 2.0**30  # of a choice


class Placed(NamedTuple):
    """What became of a piece: candidate's row of the memory and theta, 0 and the identity without one."""

    row: tf.Tensor
    theta: tf.Tensor


class Composer:
    """Makes plans and canvases for one run; owns no variables.

    config: SIMSConfig; groups: ClassGroups; bank: Bank; transformation, order: the networks, or None.
    """

    def __init__(
        self,
        config: SIMSConfig,
        groups: ClassGroups,
        bank: Bank,
        transformation: Transformation | None,
        order: Order | None,
    ) -> None:
        self.config, self.groups, self.bank = config, groups, bank
        self.transformation, self.order = transformation, order
        self.rims = canvases.Rims.of(config, config.crop_height)

    # Plans

    def plan(self, layout: dict[str, tf.Tensor]) -> dict[str, Any]:
        """What all styles of a layout share, a dict of tensors; S segments over the whole batch.

        kind: int32 [B,H,W], known classes; segments: their tensors by name; place: int32 [S], back to front; row: int32
        [S,k], candidates, best first; score, shape, context: float32 [S,k]; pairs: int32 [Q,2]; logits: [Q,K+1].
        """
        kind, segments = self.segments(layout)
        found = self._candidates(kind, segments, self.large(segments), retrieval.all_photos)
        pairs, logits = self._verdicts(kind, segments)
        rank = tf.constant(self.groups.rank)
        total = tf.size(segments.sample)
        key = segments.sample * len(self.groups.rank) + tf.gather(rank, segments.kind)
        key = tf.argsort(tf.argsort(key, stable=True), stable=True)  # rows are sorted by number within
        strength = ordering.verdicts(logits, tf.gather(segments.kind, pairs))
        place = key if self.config.legacy else ordering.resolve(total, key, pairs, strength)
        return {
            "kind": kind,
            "segments": segments._asdict(),
            "place": place,
            "pairs": pairs,
            "logits": logits,
            **found._asdict(),
        }

    def segments(self, layout: dict[str, tf.Tensor]) -> tuple[tf.Tensor, Segments]:
        """(known classes int32 [B,H,W], Segments at the trunk's size)."""
        step = self.config.scale
        kind = tf.gather(tf.constant(self.groups.known), layout["label"])
        small, region = kind[:, ::step, ::step], layout["instance"][:, ::step, ::step]
        small = tf.ensure_shape(small, [None, *self.bank.base])
        return kind, find_segments(small, region, self.groups.members["thin"])

    def large(self, segments: Segments) -> tf.Tensor:
        """int32 [R]: the segments that get a candidate."""
        least = self.config.segment_area * np.prod(self.bank.base)
        return tf.cast(tf.where(tf.cast(segments.area, tf.float32) > least)[:, 0], tf.int32)

    def _candidates(self, kind, segments, rows, photos):
        """The Found of all segments, row 0 for those not in rows; photos(bank, ...) says which photos may answer."""
        config, step = self.config, self.config.scale
        small = tf.ensure_shape(kind[:, ::step, ::step], [None, *self.bank.base])
        asked = retrieval.Queries.of(segments, rows, small, photos(self.bank, tf.shape(kind)[0]))
        if config.legacy:
            found = retrieval.legacy_search(self.bank, asked, config.candidates)
        else:
            found = retrieval.search(
                self.bank,
                asked,
                candidates=config.candidates,
                shortlist=config.shortlist,
                context_weight=config.context_weight,
            )
        total = tf.size(segments.sample)
        shape = [total, config.candidates]
        return retrieval.Found(*(tf.scatter_nd(rows[:, None], x, shape) for x in found))

    def _verdicts(self, kind, segments):
        """(pairs int32 [Q,2], logits float32 [Q,K+1]) of the order network; none without one."""
        if self.order is None:
            return tf.zeros([0, 2], tf.int32), tf.zeros([0, self.groups.count + 1])
        neighbours = not self.config.legacy
        found = ordering.pairs(segments, self.large(segments), self.groups.rank, neighbours)
        count = tf.shape(found)[0]
        rounds = -(-count // _PAIRS_AT_ONCE)
        padded = tf.pad(found, [[0, rounds * _PAIRS_AT_ONCE - count], [0, 0]])
        chunks = tf.reshape(padded, [-1, _PAIRS_AT_ONCE, 2])  # [rounds,10,2]
        logits = tf.map_fn(
            lambda chunk: self.order(self.order_input(kind, segments, chunk)),
            chunks,
            fn_output_signature=tf.float32,
            parallel_iterations=1,
        )
        return found, tf.reshape(logits, [-1, self.groups.count + 1])[:count]

    def order_input(self, kind: tf.Tensor, segments: Segments, pairs: tf.Tensor) -> tf.Tensor:
        """float32 [Q,h,w,6]: pictures of pairs int32 [Q,2] and of their layouts."""
        step = self.config.scale
        colors = tf.constant(self.groups.colors, tf.float32) / 255.0
        layouts = tf.gather(colors, tf.ensure_shape(kind[:, ::step, ::step], [None, *self.bank.base]))
        pictures = ordering.pair_pictures(segments, pairs, self.groups.colors)
        theirs = tf.gather(layouts, tf.gather(segments.sample, pairs[:, 0]))
        return tf.ensure_shape(tf.concat([pictures, theirs], -1), [None, *self.bank.base, 6])

    # Canvases

    def compose(self, plan: dict[str, Any], sample: tf.Tensor, choice: tf.Tensor) -> tuple[Canvas, Placed]:
        """The Canvas of one sample of a plan, int32 [], with candidates by choice, float32 [I]; and what was placed.

        Placed: row int32 [S], theta float32 [S,6], of the segments of all samples.
        """
        segments = Segments(**plan["segments"])
        mine = tf.cast(tf.where(segments.sample == sample)[:, 0], tf.int32)
        order = tf.gather(mine, tf.argsort(tf.gather(plan["place"], mine)))
        total = tf.size(segments.sample)
        original = plan["kind"][sample]
        identity = tf.tile(tf.constant([[1.0, 0, 0, 0, 1, 0]]), [total, 1])
        row = tf.scatter_nd(order[:, None], self._chosen(plan, segments, order, choice), [total])
        pieces = tf.cumsum(tf.cast(tf.gather(row, order) > 0, tf.int32))

        def step(i, canvas, thetas):
            segment = order[i]
            kind = segments.kind[segment]
            place = enlarge(segments.masks(segment[None]), self.config.scale)[0]

            def pasted():
                piece, theta = self._piece(original, kind, place, row[segment], i)
                cut = self._legacy_cut(plan, segments, segment, pieces[i]) if self.config.legacy else None
                done = canvases.paste(canvas, piece, segment, self.rims, self.groups, cut)
                return done, tf.tensor_scatter_nd_update(thetas, segment[None, None], theta)

            def cleared():
                return canvases.clear(canvas, kind, place), thetas

            return i + 1, *tf.cond(row[segment] > 0, pasted, cleared)

        start = (0, canvases.Canvas.empty(original), identity)
        _, canvas, thetas = tf.while_loop(
            lambda i, *_: i < tf.size(order), step, start, parallel_iterations=1
        )
        done = canvases.finished(canvas, original, self.rims, self.groups, self.config.legacy)
        return done, Placed(row, thetas)

    def _chosen(self, plan, segments, rows, choice):
        """int32 [R]: the candidate of each segment, by the choice of its region."""
        offered = tf.gather(plan["row"], rows)  # [R,k]
        count = tf.reduce_sum(tf.cast(offered > 0, tf.int32), 1)
        wanted = tf.gather(choice, tf.gather(segments.region, rows))
        wanted = tf.cast(tf.clip_by_value(wanted, -_MOST, _MOST), tf.int32)  # larger ones have no int32
        wanted = tf.math.floormod(wanted, tf.maximum(count, 1))
        return tf.gather(offered, wanted, batch_dims=1)

    def _piece(self, label, kind, place, row, number):
        """(Piece, theta float32 [1,6]) of a segment's candidate."""
        scale = self.config.scale
        size = tf.shape(place)
        photo = self.bank["photo"][row]
        mask, pole = (enlarge(x(row[None]), scale)[0] for x in (self.bank.masks, self.bank.poles))
        least = 0.0 if self.config.legacy else DARKEST
        still = tf.where(mask[..., None], tf.maximum(self.bank.picture(photo), least), 0.0)
        theta = tf.constant([[1.0, 0, 0, 0, 1, 0]])
        moved = still
        if self.transformation is not None:
            theta = self.transformation(self.transformation_input(still[None], place[None], label[None]))
            if self.config.round_theta or self.config.legacy:
                theta = whole_pixels(theta, place[None], self.config.transformation_view)
            moved = self.move(still[None], mask[None], theta)[0]
        white = tf.random.stateless_uniform(size, [number, 0], alg="philox") < self.config.elision_share
        return canvases.Piece(kind, place, pole, moved, still, self._casters(kind, photo), white), theta

    def transformation_input(self, picture: tf.Tensor, place: tf.Tensor, kind: tf.Tensor) -> tf.Tensor:
        """float32 [R,H,W,K+5] of pictures [R,H,W,3], places bool [R,H,W] and known classes int32 [R,H,W]."""
        classes = tf.one_hot(tf.minimum(kind, self.groups.count), self.groups.count + 1)
        x = tf.concat([picture, tf.cast(place, tf.float32)[..., None], classes], -1)
        return tf.ensure_shape(x, [None, *self.bank.size, self.groups.count + 5])

    def move(self, picture: tf.Tensor, mask: tf.Tensor, theta: tf.Tensor) -> tf.Tensor:
        """Pictures [R,H,W,3] with masks bool [R,H,W], by theta [R,6]: colours at rims are not mixed with black."""
        moved = warp(picture, theta, self.config.legacy)
        if self.config.legacy:
            return tf.floor(moved * 255.0) / 255.0  # as the original saves them
        share = warp(tf.cast(mask, tf.float32)[..., None], theta)
        return tf.where(share > 0.5, moved / tf.maximum(share, 0.5), 0.0)

    def _casters(self, kind, photo):
        """bool [H,W]: what throws shadows in a photo, looked at for the ground alone."""
        nothing = tf.zeros(self.bank.size, tf.bool)
        if not (self.groups.members["ground"].any() and self.groups.members["caster"].any()):
            return nothing
        throws = tf.constant(np.append(self.groups.members["caster"], False))  # the last for kind -1

        def found():
            kinds = self.bank["kind"]
            rows = tf.where((self.bank["photo"] == photo) & tf.gather(throws, kinds % tf.size(throws)))[:, 0]
            masks = self.bank.masks(tf.cast(rows, tf.int32))
            return enlarge(tf.reduce_any(masks, 0)[None], self.config.scale)[0]

        ground = tf.gather(tf.constant(self.groups.members["ground"]), kind)
        return tf.ensure_shape(tf.cond(ground, found, lambda: nothing), self.bank.size)

    def _legacy_cut(self, plan, segments, segment, number):
        """The original's reading of the order network's answers, see `canvas.legacy_cut`: it looks pairs up by the
        number of the piece where the segment's own number belongs."""
        pairs, kinds = plan["pairs"], segments.kind
        thin = tf.gather(tf.constant(self.groups.members["thin"]), kinds[segment])
        wanted = number - tf.cast(thin, tf.int32)  # thin segments are numbered from 2 there
        there = tf.gather(segments.number, pairs[:, 1]) == wanted
        for same in (kinds, segments.sample):
            there &= tf.gather(same, pairs[:, 1]) == same[segment]
        answer = tf.argmax(plan["logits"], 1, tf.int32) - 1
        before = there & (answer == tf.gather(kinds, pairs[:, 0]))
        total = tf.size(kinds)
        answers = tf.scatter_nd(pairs[:, :1], tf.cast(before, tf.int32), [total]) > 0
        return canvases.legacy_cut(kinds, answers)

    def network_input(self, canvas: Canvas) -> tf.Tensor:
        """float32 [N,H,W,K+5] of the synthesis network, from pictures [N,H,W,3] and labels int32 [N,H,W]."""
        classes = tf.one_hot(tf.minimum(canvas.label, self.groups.count), self.groups.count + 1)
        x = tf.concat([classes, canvas.picture, canvases.known_mask(canvas.picture)], -1)
        return tf.ensure_shape(x, [None, *self.bank.size, self.groups.count + 5])
