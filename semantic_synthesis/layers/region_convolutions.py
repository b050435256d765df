"""Convolutions that stay within the regions of an id map, and means over regions.

In a region convolution only the taps whose id equals the centre's contribute. Away from borders between
regions that is an ordinary convolution, so the ordinary one is computed everywhere and the few pixels at
borders again, with their taps masked: the cost does not depend on the number of regions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf

from semantic_synthesis.layers.convolution import Conv
from semantic_synthesis.layers.spreading import gather

if TYPE_CHECKING:
    from semantic_synthesis.layers.initialization import Initializer

_OUTSIDE = -1


class Borders(NamedTuple):
    """The P outputs of a 3x3 convolution over an id map that see more than one id.

    pixels int32 [P,3]: sample, row and column of each in the output; taps int32 [P,9]: the input pixels
    under the kernel, numbered in reading order over the batch; same bool [P,9]: whether they count.
    """

    pixels: tf.Tensor
    taps: tf.Tensor
    same: tf.Tensor

    @classmethod
    def of(cls, ids: tf.Tensor, strides: int = 1) -> Borders:
        """The Borders of int32 ids [B,h,w] (none negative) for a convolution with padding 1."""
        around = _around(ids, _OUTSIDE, strides)  # [B,h',w',9]
        other = (around != around[..., 4:5]) & (around != _OUTSIDE)
        pixels = tf.cast(tf.where(tf.reduce_any(other, -1)), tf.int32)  # [P,3]
        around = tf.gather_nd(around, pixels)  # [P,9]
        numbers = tf.reshape(tf.range(tf.size(ids)), tf.shape(ids))
        taps = tf.gather_nd(_around(numbers, 0, strides), pixels)
        return cls(pixels, taps, around == around[:, 4:5])


def _around(x, outside, strides):
    """The 3x3 neighbourhood of every strides-th pixel: [B,h,w] -> [B,h',w',9], row by row."""
    height, width = tf.shape(x)[1], tf.shape(x)[2]
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1]], constant_values=outside)
    shifts = [
        padded[:, r : r + height : strides, c : c + width : strides] for r in range(3) for c in range(3)
    ]
    return tf.stack(shifts, -1)


class RegionConv(Conv):
    """3x3 convolution with padding 1 in which a tap counts only where its id is the centre's.

    Zeroed taps are not made up for (unlike partial convolutions). Call: x [B,H,W,in_channels] with even
    sides at strides 2, Borders of its ids at the same strides -> [B,H',W',filters].
    """

    def __init__(
        self, in_channels: int, filters: int, *, strides: int = 1, init: Initializer, name: str
    ) -> None:
        super().__init__(in_channels, filters, 3, strides=strides, padding=1, init=init, name=name)

    def call(self, x: tf.Tensor, borders: Borders) -> tf.Tensor:  # type: ignore[override]
        y = super().call(x)
        rows = tf.cast(tf.reshape(x, [-1, x.shape[-1]]), y.dtype)  # [B*H*W,I]
        taps = gather(rows, borders.taps) * tf.cast(borders.same, y.dtype)[..., None]  # [P,9,I]
        kernel = tf.reshape(tf.cast(self.kernel.value, y.dtype), [-1, y.shape[-1]])  # [9*I,O]
        corrected = self._add_bias(tf.matmul(tf.reshape(taps, [-1, kernel.shape[0]]), kernel))  # [P,O]
        return tf.tensor_scatter_nd_update(y, borders.pixels, corrected)


class RegionMeans(NamedTuple):
    """What means over regions of 3x3 neighbourhoods need of an id map [B,h,w] with ids in [0,I).

    segments int32 [B*h*w]: sample * I + id of each pixel; counts float32 [B*I]: pixels per segment;
    rims int32 [P]: the pixels with a neighbour of another id or outside the map; leaves bool [P,9]: for
    which taps the pixel lies outside the region of the centre that would see it.
    """

    segments: tf.Tensor
    counts: tf.Tensor
    rims: tf.Tensor
    leaves: tf.Tensor

    @classmethod
    def of(cls, ids: tf.Tensor, num_ids: int | tf.Tensor) -> RegionMeans:
        """The RegionMeans of int32 ids."""
        samples = tf.range(tf.shape(ids)[0])[:, None, None]
        segments = tf.reshape(samples * num_ids + ids, [-1])
        counts = tf.math.bincount(segments, minlength=tf.shape(ids)[0] * num_ids, dtype=tf.float32)
        around = tf.reshape(_around(ids, _OUTSIDE, 1), [-1, 9])
        other = (around != around[:, 4:5])[:, ::-1]  # tap t sees this pixel from the neighbour at -t
        rims = tf.cast(tf.where(tf.reduce_any(other, -1))[:, 0], tf.int32)
        return cls(segments, counts, rims, tf.gather(other, rims))

    def neighbourhoods(self, x: tf.Tensor) -> tf.Tensor:
        """Mean over each region of the taps within it: x [B,h,w,F] -> float32 [B*I,9*F], 0 without pixels.

        A convolution's mean over a region is its kernel times this: all pixels once, then what each tap
        does not see, summed over the rims alone.
        """
        rows = tf.reshape(tf.cast(x, tf.float32), [-1, x.shape[-1]])  # [B*h*w,F]
        size = tf.size(self.counts)
        whole = tf.math.unsorted_segment_sum(rows, self.segments, size)  # [B*I,F]
        unseen = gather(rows, self.rims)[:, None] * tf.cast(self.leaves, tf.float32)[..., None]  # [P,9,F]
        unseen = tf.math.unsorted_segment_sum(unseen, tf.gather(self.segments, self.rims), size)
        seen = (whole[:, None] - unseen) / tf.maximum(self.counts, 1.0)[:, None, None]  # [B*I,9,F]
        return tf.reshape(seen, [-1, 9 * x.shape[-1]])
