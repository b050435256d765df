"""Segments of the memory that resemble those of a layout (section 3.2): shape and surroundings, then exactly.

score = IoU of the masks, where they lie in the picture, plus context_weight times IoU of the contexts: equal labels in
both boxes, 12.5 % wider on every side, by the labelled pixels in either. Two stages: products of low-resolution masks
and class histograms with the class's shard of the memory give a short list, which is compared exactly.

Deviations: contexts are compared on every step-th pixel (`bank.grid_step`, 32 rows); the authors' code compares shapes
alone, one photo after another, which loses some of the best (`legacy_slots`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf

from semantic_synthesis.methods.sims.features import CONTEXT_CELLS, cell_shares, context_boxes, grid_step

if TYPE_CHECKING:
    from semantic_synthesis.methods.sims.bank import Bank
    from semantic_synthesis.methods.sims.segments import Segments

SAME_LAYOUT = 0.9  # share of equal cells of the grid from which a photo counts as the layout's own
_LEAST = -1e9
_PORTION = 16384  # rows of the memory at a time


class Queries(NamedTuple):
    """What R segments of layouts are looked for by.

    mask: bool [R,h,w]; kind: int32 [R]; box: int32 [R,4]; grid: int32 [R,gh,gw], every step-th known class of its
    layout; allowed: bool [R,P+1], the photos of the memory that may answer.
    """

    mask: tf.Tensor
    kind: tf.Tensor
    box: tf.Tensor
    grid: tf.Tensor
    allowed: tf.Tensor

    @classmethod
    def of(cls, segments: Segments, rows: tf.Tensor, kind: tf.Tensor, allowed: tf.Tensor) -> Queries:
        """Of the rows int32 [R] of Segments; kind: int32 [B,h,w], known classes; allowed: bool [B,P+1]."""
        step = grid_step(kind.shape[1])
        sample = tf.gather(segments.sample, rows)
        return cls(
            segments.masks(rows),
            tf.gather(segments.kind, rows),
            tf.gather(segments.box, rows),
            tf.gather(kind[:, ::step, ::step], sample),
            tf.gather(allowed, sample),
        )


class Found(NamedTuple):
    """Candidates, best first: row int32 [R,k] of the memory (0: none), score, shape, context: float32 [R,k]."""

    row: tf.Tensor
    score: tf.Tensor
    shape: tf.Tensor
    context: tf.Tensor


def all_photos(bank: Bank, samples: int | tf.Tensor) -> tf.Tensor:
    """bool [B,P+1]: every photo may answer."""
    return tf.ones([samples, bank.photo_count + 1], tf.bool)


def other_photos(bank: Bank, kind: tf.Tensor, share: float = SAME_LAYOUT) -> tf.Tensor:
    """bool [B,P+1]: the photos that do not show the layouts int32 [B,h,w] themselves, mirrored or not."""
    step = grid_step(kind.shape[1])
    grids = kind[:, ::step, ::step], kind[:, :, ::-1][:, ::step, ::step]  # [B,gh,gw]
    flat = tf.reshape(bank["grid"], [bank.photo_count + 1, -1])  # [P+1,cells]

    def differs(grids):
        same = [tf.cast(flat == tf.reshape(grid, [1, -1]), tf.float32) for grid in grids]
        return tf.reduce_max([tf.reduce_mean(x, 1) for x in same], 0) < share

    return tf.map_fn(differs, grids, fn_output_signature=tf.bool)


def search(bank: Bank, queries: Queries, *, candidates: int, shortlist: int, context_weight: float) -> Found:
    """The Found of the best `candidates` segments of the memory for each query."""
    rows = shortlisted(bank, queries, shortlist_length(bank, max(shortlist, candidates)), context_weight)
    return best(bank, queries, rows, candidates, context_weight)


def shortlist_length(bank: Bank, least: int) -> int:
    """How many segments of a class are compared exactly: four times the root of the largest class, or `least`.

    The more segments there are, the more of them the first stage cannot tell apart; with this length the ten best
    are found in memories of 10^4 to 10^6 segments alike (benchmarks/retrieval.py).
    """
    largest = int(np.diff(bank.first_of_kind).max(initial=0))
    return max(least, int(4 * largest**0.5))


def best(bank: Bank, queries: Queries, rows: tf.Tensor, candidates: int, context_weight: float) -> Found:
    """The best of the rows int32 [R,L] of the memory (0: none), compared exactly."""
    shape, context = exact(bank, queries, rows)
    score = shape + context_weight * context
    score = tf.where(shape > 0, score, 0.0)
    short = tf.maximum(candidates - tf.shape(rows)[1], 0)
    padded = [tf.pad(x, [[0, 0], [0, short]]) for x in (score, shape, context)]
    value, place = tf.math.top_k(padded[0], candidates)
    row = tf.gather(tf.pad(rows, [[0, 0], [0, short]]), place, batch_dims=1)
    there = [tf.gather(x, place, batch_dims=1) for x in padded[1:]]
    return Found(tf.where(value > 0, row, 0), value, *there)


def exact(bank: Bank, queries: Queries, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(IoU of the masks, IoU of the contexts), float32 [R,L], of rows int32 [R,L] of the memory; 0 for row 0."""
    flat = tf.reshape(rows, [-1])  # [R*L]
    items = tf.repeat(tf.range(tf.shape(rows)[0]), tf.shape(rows)[1])
    common = tf.cast(_intersections(bank, queries.mask, flat, items), tf.float64)
    own = tf.reduce_sum(tf.cast(queries.mask, tf.float64), [1, 2])  # [R]
    union = tf.gather(own, items) + tf.cast(tf.gather(bank["area"], flat), tf.float64) - common
    shape = tf.cast(common / tf.maximum(union, 1.0), tf.float32)
    context = _context_iou(bank, queries, flat, items)
    sizes = tf.shape(rows)
    shape, context = (tf.where(flat > 0, x, 0.0) for x in (shape, context))
    return tf.reshape(shape, sizes), tf.reshape(context, sizes)  # [R,L]


def _intersections(bank, masks, rows, items):
    """int32 [N]: pixels that row n of the memory shares with mask items[n], from sums along the mask's rows."""
    sums = tf.cumsum(tf.pad(tf.cast(masks, tf.int32), [[0, 0], [0, 0], [1, 0]]), axis=2)  # [R,h,w+1]
    runs, place = bank.runs_of_rows(rows)
    item = tf.gather(items, place)
    ends = tf.gather_nd(sums, tf.stack([item, runs[:, 0], runs[:, 2]], 1))
    starts = tf.gather_nd(sums, tf.stack([item, runs[:, 0], runs[:, 1]], 1))
    return tf.math.unsorted_segment_sum(ends - starts, place, tf.size(rows))


def _context_iou(bank, queries, rows, items):
    """float32 [N] for row n of the memory and query items[n]."""
    size = queries.grid.shape[1:]
    theirs = _inside(context_boxes(tf.gather(bank["box"], rows), bank.base, size), size)
    ours = _inside(context_boxes(queries.box, bank.base, size), size)
    their_grid = tf.cast(
        tf.gather(tf.cast(bank["grid"], tf.uint16), tf.gather(bank["photo"], rows)), tf.int32
    )
    our_known, their_known = ours & (queries.grid < bank.count), theirs & (their_grid < bank.count)
    both = tf.gather(our_known, items) & their_known & (tf.gather(queries.grid, items) == their_grid)
    common, mine, other = (
        tf.reduce_sum(tf.cast(x, tf.float32), [1, 2]) for x in (both, our_known, their_known)
    )
    return common / tf.maximum(tf.gather(mine, items) + other - common, 1.0)


def _inside(cells, size):
    y, x = tf.range(size[0])[None, :, None], tf.range(size[1])[None, None]
    top, left, bottom, right = (cells[:, i, None, None] for i in range(4))
    return (y >= top) & (y < bottom) & (x >= left) & (x < right)  # [N,gh,gw]


# The first stage


def shortlisted(bank: Bank, queries: Queries, length: int, context_weight: float) -> tf.Tensor:
    """int32 [R,length]: rows of the memory that may be the best; 0 where a class has fewer allowed ones.

    One class after another: its shard is read once for all queries of that class.
    """
    down, across = cell_shares(*bank.base)
    small = tf.einsum("rh,mhw,cw->mrc", down, tf.cast(queries.mask, tf.float32), across)
    small = tf.round(255.0 * tf.reshape(small, [-1, 512])) / 255.0  # [R,512]
    context = query_contexts(queries, bank.count)
    firsts = tf.constant(bank.first_of_kind, tf.int32)
    kinds = tf.unique(queries.kind)[0]

    def of_kind(i, rows):
        asked = tf.reshape(tf.where(queries.kind == kinds[i]), [-1])  # [Q]
        low, high = _shard(firsts, kinds[i])
        score = _likeness(bank, tf.gather(small, asked), tf.gather(context, asked), low, high, context_weight)
        allowed = tf.gather(tf.gather(queries.allowed, asked), bank["photo"][low:high], axis=1)
        score = tf.where(allowed, score, _LEAST)  # [Q,M]
        count = tf.minimum(length, high - low)
        value, place = tf.math.top_k(score, count)
        found = tf.where(value > _LEAST / 2, place + low, 0)
        found = tf.pad(found, [[0, 0], [0, length - count]])
        return i + 1, tf.tensor_scatter_nd_update(rows, asked[:, None], found)

    rows = tf.zeros([tf.size(queries.kind), length], tf.int32)
    return tf.while_loop(lambda i, _: i < tf.size(kinds), of_kind, (0, rows), parallel_iterations=1)[1]


def _likeness(bank, small, context, low, high, weight):
    """float32 [Q,M]: how much rows low to high of the memory resemble queries [Q,512] and [Q,32*count], roughly.

    In portions, so that no float copy of a large shard exists.
    """
    own = tf.reduce_sum(tf.square(small), 1)[:, None]  # [Q,1]

    def portion(i, scores):
        start = low + i * _PORTION
        end = tf.minimum(start + _PORTION, high)
        theirs = tf.cast(bank["shape"][start:end], tf.float32) / 255.0  # [m,512]
        common = tf.matmul(small, theirs, transpose_b=True)  # [Q,m]
        score = common / tf.maximum(tf.reduce_sum(tf.square(theirs), 1) + own - common, 1e-6)
        if weight:
            surroundings = tf.cast(bank["context"][start:end], tf.float32)
            cosine = tf.matmul(context, surroundings, transpose_b=True)  # [Q,m]
            score += weight * cosine / tf.maximum(2.0 - cosine, 1e-6)
        return i + 1, scores.write(i, tf.transpose(score))

    count = tf.maximum((high - low + _PORTION - 1) // _PORTION, 1)
    shape = tf.TensorShape([None, None])
    scores = tf.TensorArray(tf.float32, count, infer_shape=False, element_shape=shape)
    scores = tf.while_loop(lambda i, _: i < count, portion, (0, scores), parallel_iterations=1)[1]
    return tf.transpose(tf.reshape(scores.concat(), [-1, tf.shape(small)[0]]))  # [Q,M]


def _shard(firsts, kind):
    """First row and one behind the last of a class in the memory."""
    return tf.gather(firsts, kind), tf.gather(firsts, kind + 1)


def query_contexts(queries: Queries, count: int) -> tf.Tensor:
    """float32 [R,32*count]: as `bank.context_features`."""
    rows, columns = queries.grid.shape[1:]
    base = queries.mask.shape[1:]
    parts = np.minimum(np.arange(rows) * CONTEXT_CELLS[0] // rows, CONTEXT_CELLS[0] - 1)[:, None]
    parts = parts * CONTEXT_CELLS[1] + (np.arange(columns) * CONTEXT_CELLS[1] // columns)[None]
    inside = _inside(context_boxes(queries.box, base, (rows, columns)), (rows, columns))
    key = parts[None] * (count + 1) + tf.minimum(queries.grid, count)
    width = CONTEXT_CELLS[0] * CONTEXT_CELLS[1] * (count + 1)
    key = key + width * tf.range(tf.shape(key)[0])[:, None, None]
    places = tf.boolean_mask(key, inside)
    found = tf.math.unsorted_segment_sum(tf.ones_like(places, tf.float32), places, width * tf.shape(key)[0])
    found = tf.sqrt(tf.reshape(found, [-1, width // (count + 1), count + 1])[:, :, :count])
    found = tf.reshape(found, [-1, width // (count + 1) * count])  # [R,32*count]
    return found / tf.maximum(tf.norm(found, axis=1, keepdims=True), 1e-6)


# Every segment, and the original's way


def whole_shards(bank: Bank, queries: Queries) -> tf.Tensor:
    """int32 [R,L]: all allowed rows of the memory of each query's class, in their order, 0 behind."""
    low, high = _shard(tf.constant(bank.first_of_kind, tf.int32), queries.kind)
    rows = low[:, None] + tf.range(tf.maximum(tf.reduce_max(high - low), 1))[None]
    rows = tf.where(rows < high[:, None], rows, 0)
    allowed = tf.gather(queries.allowed, tf.gather(bank["photo"], rows), batch_dims=1)
    return tf.where(allowed, rows, 0)


def search_everything(bank: Bank, queries: Queries, *, candidates: int, context_weight: float) -> Found:
    """As `search`, without a first stage."""
    return best(bank, queries, whole_shards(bank, queries), candidates, context_weight)


def legacy_slots(bank: Bank, queries: Queries, candidates: int) -> tuple[tf.Tensor, tf.Tensor]:
    """(IoU float32 [R,k], row int32 [R,k]) of the original's slots, in its order; 0 where unused.

    Shapes alone. Photos come one after another; each fills the slot that was the smallest before it, and of its
    segments that are better than that the last one stays.
    """
    rows = whole_shards(bank, queries)
    shape = exact(bank, queries, rows)[0]
    photo = tf.gather(bank["photo"], rows)
    count = tf.shape(rows)[0]
    slots, held = tf.zeros([count, candidates]), tf.zeros([count, candidates], tf.int32)

    def step(i, slots, held, place, least, before):
        new = photo[:, i] != before
        place = tf.where(new, tf.argmin(slots, 1, tf.int32), place)
        least = tf.where(new, tf.reduce_min(slots, 1), least)
        here = tf.one_hot(place, candidates, on_value=True, off_value=False)
        better = here & (shape[:, i] > least)[:, None]
        slots = tf.where(better, shape[:, i, None], slots)
        held = tf.where(better, rows[:, i, None], held)
        return i + 1, slots, held, place, least, photo[:, i]

    start = (0, slots, held, tf.zeros([count], tf.int32), tf.zeros([count]), tf.fill([count], -1))
    done = tf.while_loop(lambda i, *_: i < tf.shape(rows)[1], step, start)
    return done[1], done[2]


def legacy_search(bank: Bank, queries: Queries, candidates: int) -> Found:
    """The Found of the original's slots, best first."""
    slots, held = legacy_slots(bank, queries, candidates)
    value, place = tf.math.top_k(slots, candidates)
    row = tf.gather(held, place, batch_dims=1)
    return Found(row, value, value, tf.zeros_like(value))
