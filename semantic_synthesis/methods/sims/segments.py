"""Segments of a layout: connected parts of its regions, thin things bridged (section 3.1), as TensorFlow operations.

Numbering follows the first pixel of a component in column-major order, as in the original. Deviation: with instance
maps each object is a region of its own, so touching objects are segments of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf

from semantic_synthesis.layers.connected import connected_regions

if TYPE_CHECKING:
    import numpy as np


class Segments(NamedTuple):
    """The S segments of a batch of layouts, sorted by sample, class and number.

    map: int32 [B,h,w], the segment each pixel belongs to, -1 for none; sample, kind (known class), region, number
    (from 1 within sample and class), area: int32 [S]; box: int32 [S,4], top, left, bottom, right, the last two
    exclusive; layer: int32 [S] and parts: int32 [G,h,w], where parts[layer[s]] == s is the component that s belongs
    to, thin pixels included.
    """

    map: tf.Tensor
    sample: tf.Tensor
    kind: tf.Tensor
    region: tf.Tensor
    number: tf.Tensor
    area: tf.Tensor
    box: tf.Tensor
    layer: tf.Tensor
    parts: tf.Tensor

    def masks(self, rows: tf.Tensor) -> tf.Tensor:
        """bool [R,h,w] of the segments int32 [R]."""
        return tf.gather(self.map, tf.gather(self.sample, rows)) == rows[:, None, None]

    def poles(self, rows: tf.Tensor) -> tf.Tensor:
        """bool [R,h,w]: the components within the boxes of the segments int32 [R], thin pixels included."""
        whole = tf.gather(self.parts, tf.gather(self.layer, rows)) == rows[:, None, None]
        return whole & box_masks(tf.gather(self.box, rows), *tf.unstack(tf.shape(self.map))[1:])

    def and_none(self) -> Segments:
        """The same and one without pixels behind them: a row to point at also where a batch has no segment at all."""
        names = ("sample", "kind", "region", "number", "area", "layer")
        rows = {name: tf.pad(getattr(self, name), [[0, 1]]) for name in names}
        return self._replace(**rows, box=tf.pad(self.box, [[0, 1], [0, 0]]))


def box_masks(boxes: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """bool [R,height,width]: inside of int32 boxes [R,4]."""
    y, x = tf.range(height)[None, :, None], tf.range(width)[None, None]
    top, left, bottom, right = (boxes[:, i, None, None] for i in range(4))
    return (y >= top) & (y < bottom) & (x >= left) & (x < right)


def find_segments(kind: tf.Tensor, region: tf.Tensor, thin: np.ndarray) -> Segments:
    """The Segments of layouts.

    kind: int32 [B,h,w], known classes in [0,K), K and above for unlabelled pixels; region: int32 [B,h,w], of which
    each has one class; thin: bool [K+1], NumPy.
    """
    count = len(thin) - 1
    size = tf.shape(kind)
    labelled = kind < count
    if thin.any():
        layers = _layers(kind, region, labelled, thin)
    else:
        own = tf.where(labelled, region + 1, 0)
        layers = own, tf.range(size[0]), own > 0
    maps, samples, own = layers
    places = tf.where(maps > 0)  # [P,3]
    components, index = tf.unique(tf.gather_nd(connected_regions(maps), places))  # in no order
    layer = tf.cast(places[:, 0], tf.int32)
    owns = tf.cast(tf.gather_nd(own, places), tf.int32)
    total = tf.size(components)
    pixels = tf.math.unsorted_segment_sum(owns, index, total)
    rest = tf.math.unsorted_segment_sum(1 - owns, index, total)  # thin pixels of other classes
    there = tf.stack([tf.gather(samples, layer), *tf.unstack(tf.cast(places[:, 1:], tf.int32), axis=1)], 1)
    kinds = tf.math.unsorted_segment_min(_where_own(kind, there, owns, count), index, total)
    regions = tf.math.unsorted_segment_min(_where_own(region, there, owns, size[1] * size[2]), index, total)
    sample = tf.math.unsorted_segment_min(there[:, 0], index, total)
    first = tf.math.unsorted_segment_min(
        places[:, 2] * tf.cast(size[1], tf.int64) + places[:, 1], index, total
    )
    keep = tf.where(pixels > rest)[:, 0]
    key = tf.cast(sample * count + kinds, tf.int64) * tf.cast(size[1] * size[2], tf.int64) + first
    keep = tf.gather(keep, tf.argsort(tf.gather(key, keep), stable=True))  # [S]
    row = tf.scatter_nd(keep[:, None], tf.range(1, tf.size(keep) + 1), [tf.cast(total, tf.int64)]) - 1
    of_place = tf.gather(row, index)
    parts = tf.tensor_scatter_nd_update(tf.fill(tf.shape(maps), -1), places, of_place)
    flat = tf.where(owns > 0, of_place, -1)
    whole = tf.tensor_scatter_nd_max(tf.fill(size, -1), there, flat)
    sample, kinds, regions, pixels = (tf.gather(x, keep) for x in (sample, kinds, regions, pixels))
    box = _boxes(there, flat, tf.size(keep))
    deep = tf.gather(tf.math.unsorted_segment_min(layer, index, total), keep)
    numbers = _numbers(sample, kinds, count)
    return Segments(whole, sample, kinds, regions, numbers, pixels, box, deep, parts)


def _layers(kind, region, labelled, thin):
    """One map per region of a class that is not thin, thin pixels included, and one per thin region.

    (int32 [G,h,w], positive inside; their samples int32 [G]; bool [G,h,w]: pixels of the region itself).
    """
    size, most = tf.shape(kind), tf.reduce_max(region) + 1
    samples = tf.range(size[0])[:, None, None]
    keys = tf.where(labelled, samples * most + region, -1)
    found = tf.sort(tf.unique(tf.reshape(keys, [-1]))[0])
    found = tf.boolean_mask(found, found >= 0)  # [G]
    sample = found // most
    own = tf.gather(keys, sample) == found[:, None, None]  # [G,h,w]
    is_thin = tf.gather(tf.constant(thin), tf.minimum(kind, len(thin) - 1))  # [B,h,w]
    bridged = ~tf.reduce_any(own & tf.gather(is_thin, sample), [1, 2])  # [G]
    maps = own | (bridged[:, None, None] & tf.gather(is_thin, sample))
    return tf.cast(maps, tf.int32), sample, own


def _where_own(values, there, owns, other):
    return tf.where(owns > 0, tf.gather_nd(values, there), other)


def _numbers(sample, kind, count):
    """Position from 1 within sample and class, of rows sorted by both."""
    key = sample * count + kind
    rows = tf.range(tf.size(key))
    return rows - tf.searchsorted(key, key) + 1


def _boxes(there, rows, count):
    """int32 [count,4] around the places [P,3] of each row."""
    rows = tf.where(rows < 0, count, rows)
    low = tf.math.unsorted_segment_min(there[:, 1:], rows, count + 1)[:count]
    high = tf.math.unsorted_segment_max(there[:, 1:], rows, count + 1)[:count] + 1
    return tf.concat([low, high], 1)
