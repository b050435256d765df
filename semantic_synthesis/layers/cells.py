"""Cells: the distinct combinations of ids that occur in maps, and which of them each pixel is.

What depends on a pixel's ids alone (class, pair of class and region, class in one sample) is computed once per
cell and spread over the pixels (layers/spreading.py, layers/modulation.py).
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from semantic_synthesis.layers.pairs import Pairs, Picked, find_pairs
from semantic_synthesis.layers.spreading import find_runs


class Cells(NamedTuple):
    """Which of Q values each pixel takes: index int32 [B,h,w] in [0,Q), and its runs (`find_runs`), None in graphs
    for inference alone whose shapes follow from the map's. pairs, picked: as in a LabelPlan."""

    index: tf.Tensor
    runs: tf.Tensor | None = None
    run_index: tf.Tensor | None = None
    pairs: Pairs | None = None
    picked: Picked | None = None

    @classmethod
    def of(cls, index: tf.Tensor, static: bool = False, paired: bool = False) -> Cells:
        """The Cells of an index map; static: without runs and pairs; paired: whether an enlargement by two comes just
        before (`pairs`)."""
        if static:
            return cls(index)
        return cls(index, *find_runs(index), find_pairs(index) if paired else None)

    def of_pairs(self) -> Cells:
        """The Cells of rows, one for each of these pairs, in the place of pixels."""
        assert self.pairs is not None
        return Cells(self.pairs.index[None, :, None], picked=self.pairs.picked)


def number_cells(*maps: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Numbers the combinations of ids that occur at one pixel, in the order of their first pixel.

    maps: int32 of one shape, ids from 0; the product of their largest ids must stay below 2^63.
    Returns ([int32 [Q] for each map: the id of each cell there], index int32 of the maps' shape in [0,Q)).
    """
    keys = tf.cast(maps[0], tf.int64)
    sizes = [tf.cast(tf.reduce_max(m) + 1, tf.int64) for m in maps[1:]]
    for values, size in zip(maps[1:], sizes, strict=True):
        keys = keys * size + tf.cast(values, tf.int64)
    cells, index = tf.unique(tf.reshape(keys, [-1]))  # [Q]
    columns = []
    for size in reversed(sizes):
        columns.append(tf.cast(cells % size, tf.int32))
        cells = cells // size
    columns.append(tf.cast(cells, tf.int32))
    return columns[::-1], tf.reshape(index, tf.shape(maps[0]))


def pixel_cells(*maps: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
    """`number_cells` without numbering: every pixel is a cell of its own, so shapes follow from the maps' alone."""
    return [tf.reshape(m, [-1]) for m in maps], tf.reshape(tf.range(tf.size(maps[0])), tf.shape(maps[0]))


def class_cells(label: tf.Tensor, num_classes: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """All pairs of class and sample: (classes, samples int32 [B*C], index int32 [B,h,w]), whether they occur or not."""
    batch = tf.shape(label)[0]
    classes = tf.tile(tf.range(num_classes), [batch])
    samples = tf.repeat(tf.range(batch), num_classes)
    return classes, samples, label + num_classes * sample_numbers(label)


def sample_numbers(like: tf.Tensor) -> tf.Tensor:
    """int32, shape of `like` [B,h,w]: the number of the sample at each of its pixels."""
    return tf.zeros_like(like) + tf.range(tf.shape(like)[0])[:, None, None]


def reduced(x: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """A map [B,H,W,...] of another size, by PyTorch's nearest neighbours: row i is the old row floor(i * H / height).

    For whole multiples that is every n-th pixel, from the first on.
    """
    for axis, size in ((1, height), (2, width)):
        if x.shape[axis] != size:
            x = tf.gather(x, tf.range(size) * tf.shape(x)[axis] // size, axis=axis)
    return x
