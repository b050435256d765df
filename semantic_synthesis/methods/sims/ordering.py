"""Which of two segments lies in front (section 3.3), and a composition order from all such verdicts.

Deviations: only neighbours are asked about at test (the authors' code asks about all pairs and uses few); verdicts
are resolved into one order, which the code leaves to the sequence of classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from semantic_synthesis.methods.sims.morphology import band, dilate, edges

if TYPE_CHECKING:
    import numpy as np

    from semantic_synthesis.methods.sims.groups import ClassGroups
    from semantic_synthesis.methods.sims.segments import Segments

NEAR, BAND = (
    3,
    11,
)  # squares, in pixels of the layout: how near neighbours are, and where their depths are compared


def pairs(segments: Segments, rows: tf.Tensor, rank: np.ndarray, neighbours: bool = True) -> tf.Tensor:
    """int32 [Q,2]: pairs of the segments int32 [R], of one sample and different classes.

    The first of each lies further back by its class's rank (int32 [K+1], NumPy); pairs are sorted by the ranks of
    both, then by their numbers. neighbours: only pairs of which the second reaches the first one's edge.
    """
    kind, sample = tf.gather(segments.kind, rows), tf.gather(segments.sample, rows)
    place = tf.gather(tf.constant(rank), kind)
    wanted = (sample[:, None] == sample[None]) & (place[:, None] < place[None])
    if neighbours:
        masks = segments.masks(rows)
        near = _flat(dilate(edges(masks), NEAR))
        wanted &= tf.matmul(near, _flat(masks), transpose_b=True) > 0.5
    found = tf.cast(tf.where(wanted), tf.int32)  # [Q,2], positions in rows
    count = tf.size(rows)
    first, second = found[:, 0], found[:, 1]
    key = tf.gather(sample, first)
    for part, base in (
        (tf.gather(place, first), len(rank)),
        (tf.gather(place, second), len(rank)),
        (first, count),
        (second, count),
    ):
        key = tf.cast(key, tf.int64) * tf.cast(base, tf.int64) + tf.cast(part, tf.int64)
    return tf.gather(rows, tf.gather(found, tf.argsort(key, stable=True)))


def _flat(masks):
    return tf.reshape(tf.cast(masks, tf.float32), [tf.shape(masks)[0], -1])  # [R,h*w]


def pair_pictures(segments: Segments, found: tf.Tensor, colors: np.ndarray) -> tf.Tensor:
    """float32 [Q,h,w,3] in [0,1]: both segments of pairs int32 [Q,2] in their classes' colours (uint8 [K+1,3])."""
    colors = tf.constant(colors, tf.float32) / 255.0
    picture = 0.0
    for i in range(2):
        rows = found[:, i]
        shade = tf.gather(colors, tf.gather(segments.kind, rows))[:, None, None]
        picture += tf.cast(segments.masks(rows), tf.float32)[..., None] * shade
    return picture


def depths(segments: Segments, found: tf.Tensor, disparity: tf.Tensor) -> tf.Tensor:
    """float32 [Q,2]: median disparity of both of each pair int32 [Q,2] where their rims meet; NaN where none is valid.

    disparity: float32 [B,h,w], larger is closer, 0 and NaN invalid.
    """
    masks = [segments.masks(found[:, i]) for i in range(2)]
    common = band(masks[0], BAND) & band(masks[1], BAND)
    values = tf.gather(disparity, tf.gather(segments.sample, found[:, 0]))
    valid = common & (values > 0)
    return tf.stack([_median(values, valid & mask) for mask in masks], 1)


def _median(values, valid):
    """float32 [Q] of the valid ones of [Q,h,w]; the mean of the middle two where their number is even."""
    count = tf.reduce_sum(tf.cast(valid, tf.int32), [1, 2])
    flat = tf.reshape(tf.where(valid, values, float("inf")), [tf.shape(values)[0], -1])
    order = tf.sort(flat, axis=1)
    middle = [tf.maximum((count - 1) // 2, 0), count // 2]
    low, high = (tf.gather(order, i, batch_dims=1) for i in middle)
    return tf.where(count > 0, (low + high) / 2, float("nan"))


def front_class(
    kinds: tf.Tensor, medians: tf.Tensor, groups: ClassGroups
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """(int32 [Q]: known class in front; bool [Q]: whether that is known at all; bool [Q]: whether by rule).

    kinds: int32 [Q,2]; medians: as `depths`. Whatever stands on a planar thing lies in front of it, by rule.
    """
    known = ~tf.reduce_any(tf.math.is_nan(medians), 1)
    front = tf.where(medians[:, 0] <= medians[:, 1], kinds[:, 1], kinds[:, 0])
    planar = tf.gather(tf.constant(groups.members["planar"]), kinds[:, 0])
    rule = planar & tf.gather(tf.constant(groups.members["front"]), kinds[:, 1])
    return tf.where(rule, kinds[:, 1], front), known, rule & known


def verdicts(logits: tf.Tensor, kinds: tf.Tensor) -> tf.Tensor:
    """float32 [Q]: how strongly the second of each pair is in front (negative: the first one is).

    logits: float32 [Q,K+1] of `networks.Order`; kinds: int32 [Q,2].
    """
    first, second = (tf.gather(logits, kinds[:, i] + 1, batch_dims=1) for i in range(2))
    return second - first


def resolve(count: int | tf.Tensor, key: tf.Tensor, found: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """int32 [count]: place of each segment from back to front.

    key: int [count], distinct, the coarse order; found: int32 [Q,2], pairs; strength: float32 [Q], positive where the
    second is in front. Verdicts hold from the strongest on; one that contradicts those before (that would close a
    cycle) is dropped. What they leave open follows the key.
    """
    behind = tf.where(strength > 0, found[:, 0], found[:, 1])
    front = tf.where(strength > 0, found[:, 1], found[:, 0])
    order = tf.argsort(-tf.abs(strength), stable=True)
    behind, front = tf.gather(behind, order), tf.gather(front, order)
    below = _acyclic(count, behind, front)
    rows, key = tf.range(count), tf.cast(key, tf.int32)

    def place(i, places, left):
        blocked = tf.reduce_any(below & left[:, None], 0) | ~left
        chosen = tf.argmin(tf.where(blocked, key.dtype.max, key), output_type=tf.int32)
        here = rows == chosen
        return i + 1, tf.where(here, i, places), left & ~here

    start = (0, tf.zeros([count], tf.int32), tf.ones([count], tf.bool))
    return tf.while_loop(lambda i, *_: i < count, place, start)[1]


def _acyclic(count, behind, front):
    """bool [count,count]: which lies (directly or not) behind which, by verdicts int32 [Q] in order of weight."""

    def add(i, below):
        a, b = behind[i], front[i]
        up = below[:, a] | (tf.range(count) == a)  # what is behind a, and a
        over = below[b] | (tf.range(count) == b)
        fits = ~below[b, a] & (a != b)
        return i + 1, below | (fits & up[:, None] & over[None])

    start = (0, tf.zeros([count, count], tf.bool))
    return tf.while_loop(lambda i, _: i < tf.size(behind), add, start)[1]
