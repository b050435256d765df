"""Distinct pairs of a cell before an enlargement and of what its pixels are modulated by.

A block that begins with an enlargement by two normalises each value of its input at four pixels, which mostly have the
same scale and shift: what does not look at neighbours (normalisers, activation, the 1x1 convolution of a shortcut) has
the same result at all pixels of one pair. It is computed once per pair and spread over the pixels. Exact: pairs are
compared, not hashed. For inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

# Of maps this many output pixels per cell and finer. Coarser ones have few pixels of equal pairs (docs/performance.md).
PAIRED_STRIDE = 4


class Picked(NamedTuple):
    """Which cells of a map before the enlargement rows stand for: cell int32 [U], counted over the B maps of a
    condition; count: scalar, how many cells there are."""

    cell: tf.Tensor
    count: tf.Tensor


class Pairs(NamedTuple):
    """The U distinct pairs of B maps: picked, their cells; index int32 [U], of which value each is modulated by; places
    int32 [B,h,w], the pair of each pixel."""

    picked: Picked
    index: tf.Tensor
    places: tf.Tensor

    def repeated(self, count: int | tf.Tensor, values: int | tf.Tensor) -> Pairs:
        """The Pairs of `count` copies of the maps, of which each has `values` values of its own."""
        copies, (cell, cells) = tf.range(count)[:, None], self.picked
        return Pairs(
            Picked(tf.reshape(cell + cells * copies, [-1]), cells * count),
            tf.reshape(self.index + values * copies, [-1]),
            tf.reshape(
                self.places + tf.size(cell) * copies[:, :, None, None],
                [-1, *tf.unstack(tf.shape(self.places))[1:]],
            ),
        )


def find_pairs(index: tf.Tensor) -> Pairs:
    """The Pairs of an index map int32 [B,h,w], h and w even, that tells by which value each pixel is modulated."""
    batch, height, width = tf.unstack(tf.shape(index))
    rows, columns, samples = tf.range(height) // 2, tf.range(width) // 2, tf.range(batch) * (height // 2)
    cells = (samples[:, None, None] + rows[:, None]) * (width // 2) + columns  # [B,h,w]
    values = tf.cast(tf.reduce_max(index) + 1, tf.int64)
    keys = tf.cast(cells, tf.int64) * values + tf.cast(index, tf.int64)
    found, places = tf.unique(tf.reshape(keys, [-1]))  # [U]
    picked = Picked(tf.cast(found // values, tf.int32), tf.size(index) // 4)
    return Pairs(picked, tf.cast(found % values, tf.int32), tf.reshape(places, tf.shape(index)))


def has_pairs(stride: int, strides: Sequence[int]) -> bool:
    """Whether pairs pay at one of a generator's strides: where a block enlarges, and the map is fine enough."""
    return stride <= PAIRED_STRIDE and 2 * stride in strides


def pick(x: tf.Tensor, picked: Picked) -> tf.Tensor:
    """Rows of maps before an enlargement: [N,h/2,w/2,F] -> [N/B,U,1,F]."""
    x = tf.reshape(x, [-1, picked.count, x.shape[-1]])
    return tf.gather(x, picked.cell, axis=1)[:, :, None]


def place(rows: tf.Tensor, pairs: Pairs, like: tf.Tensor) -> tf.Tensor:
    """Rows of pairs spread over the pixels: [N/B,U,1,F] -> [N,h,w,F]; like: the maps [N,h/2,w/2,...] before."""
    y = tf.gather(tf.squeeze(rows, 2), pairs.places, axis=1)  # [N/B,B,h,w,F]
    known = like.shape[:3]
    shape = [s if s is not None else tf.shape(like)[i] for i, s in enumerate(known)]
    return tf.reshape(y, [shape[0], 2 * shape[1], 2 * shape[2], rows.shape[-1]])
