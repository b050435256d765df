"""Label windows: a discriminator's first convolution of a one-hot map, evaluated once per distinct window.

The convolution has a 4x4 kernel, stride 2 and two cells of padding. A label map has few distinct windows: 617 of 16,641
in a photo's at 256x256. The numbering is exact, as that of label patches: pairs of ids are packed into int64.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from semantic_synthesis.layers.convolution import convolve
from semantic_synthesis.layers.modulation import one_hot_semantics, tap_table
from semantic_synthesis.layers.patches import MOST_DISTINCT
from semantic_synthesis.layers.spreading import gather

SIZE, STRIDE, PADDING = 4, 2, 2


class Windows(NamedTuple):
    """The distinct windows of tokens [B,H,W]; R, Q count distinct rows of four and windows.

    rows [R,4] int32: tokens of each row, `num_tokens` outside the map; members [Q,4] int32: the rows of each window,
    from the top; index [B,H//2+1,W//2+1] int32: the window at each place. Tensors alone, so that layers may take it.
    """

    tokens: tf.Tensor
    rows: tf.Tensor
    members: tf.Tensor
    index: tf.Tensor


def find_windows(tokens: tf.Tensor, num_tokens: int) -> Windows:
    """The Windows of int32 tokens [B,H,W] in [0, num_tokens)."""
    height, width = (STRIDE * (tf.shape(tokens)[axis] // STRIDE + 2) for axis in (1, 2))
    border = [[0, 0], [PADDING, PADDING], [PADDING, PADDING]]
    padded = tf.pad(tf.cast(tokens, tf.int64), border, constant_values=num_tokens)[:, :height, :width]
    rows, ids = _number(padded, tf.constant(num_tokens + 1, tf.int64), axis=2)
    members, index = _number(ids, tf.shape(rows, tf.int64)[0], axis=1)
    rows, members, index = (tf.cast(x, tf.int32) for x in (rows, members, index))
    return Windows(tokens, rows, members, index)


def _number(ids, base, axis):
    """(members [R,4], number of each [..]): the distinct fours of neighbours that begin at even places of an axis, of
    int64 ids [B,h,w] in [0, base)."""

    def part(x, start, end=None, step=1):  # by slices: a transposed int64 map makes oneDNN complain
        return x[:, start:end:step] if axis == 1 else x[:, :, start:end:step]

    pairs, pair = _distinct(part(ids, 0, step=2), part(ids, 1, step=2), base)
    fours, number = _distinct(part(pair, 0, -1), part(pair, 1), tf.shape(pairs, tf.int64)[0])
    return tf.reshape(tf.gather(pairs, fours), [-1, SIZE]), number


def _distinct(first, second, base):
    """(members [n,2], number int64 of each) of the distinct pairs of int64 ids below `base`."""
    keys, number = tf.unique(tf.reshape(first * base + second, [-1]), tf.int64)
    return tf.stack([keys // base, keys % base], 1), tf.reshape(number, tf.shape(first))


def window_convolution(windows: Windows, kernel: tf.Tensor, edges: bool) -> tf.Tensor:
    """The convolution of the one-hot map (and edges) with kernel [4,4,S,F]: [B,H//2+1,W//2+1,F].

    edges: whether tokens carry the edge bit.

    Sums run in float32; where more than half of the windows are distinct, convolved densely.
    """

    def dense():
        classes = kernel.shape[2] - int(edges)
        semantics = one_hot_semantics(windows.tokens, classes, edges, kernel.dtype)
        return convolve(semantics, kernel, STRIDE, PADDING)

    def by_windows():
        table = tf.cast(tap_table(kernel, edges), tf.float32)  # [16,T+1,F]
        tokens, filters = table.shape[1], table.shape[2]
        places = windows.rows[:, None] + tokens * tf.reshape(tf.range(SIZE * SIZE), [1, SIZE, SIZE])
        rows = tf.reduce_sum(
            gather(tf.reshape(table, [-1, filters]), places), 2
        )  # [R,4,F], by row of the kernel
        places = SIZE * windows.members + tf.range(SIZE)
        values = tf.reduce_sum(gather(tf.reshape(rows, [-1, filters]), places), 1)  # [Q,F]
        return gather(tf.cast(values, kernel.dtype), windows.index)

    few = tf.shape(windows.members)[0] <= tf.cast(
        MOST_DISTINCT * tf.cast(tf.size(windows.index), tf.float32), tf.int32
    )
    return tf.cond(few, by_windows, dense)
