"""What segments are compared by: runs of their masks, low-resolution masks, surroundings."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

CELLS = 32  # rows of the grid on which contexts are compared, at most
SHAPE_CELLS = (16, 32)  # of the low-resolution masks
CONTEXT_CELLS = (4, 8)
MARGIN = 0.125  # of the box, on every side: the segment's surroundings


def grid_step(height: int) -> int:
    """Every how many pixels of a layout of that height contexts are compared."""
    return max(1, height // CELLS)


def runs_of(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """bool [M,h,w] -> runs int32 [T,3] (row, first column, one behind the last), first int64 [M+1]."""
    edges = np.diff(np.pad(masks, ((0, 0), (0, 0), (1, 1))).astype(np.int8), axis=2)
    item, row, start = np.nonzero(edges == 1)
    end = np.nonzero(edges == -1)[2]
    counts = np.bincount(item, minlength=len(masks))
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return np.stack([row, start, end], 1).astype(np.int32).reshape(-1, 3), first


def low_resolution(masks: np.ndarray) -> np.ndarray:
    """bool [M,h,w] -> uint8 [M,512], means over 16x32 cells."""
    down, across = cell_shares(*masks.shape[1:])
    small = np.einsum("rh,mhw,cw->mrc", down, masks.astype(np.float32), across, optimize=True)
    return np.round(255 * small).astype(np.uint8).reshape(-1, down.shape[0] * across.shape[0])


def cell_shares(height: int, width: int) -> list[np.ndarray]:
    """float32 [16,h] and [32,w]: how much of each low-resolution cell is which row and column."""
    return [_shares(cells, size) for cells, size in zip(SHAPE_CELLS, (height, width), strict=True)]


def _shares(cells, size):
    edges = np.arange(cells + 1) * size / cells
    low, high = edges[:-1, None], edges[1:, None]
    covered = np.minimum(high, np.arange(size) + 1) - np.maximum(low, np.arange(size))
    return (np.clip(covered, 0, None) * cells / size).astype(np.float32)


def context_boxes(box: tf.Tensor, base: Sequence[int], grid: Sequence[int]) -> tf.Tensor:
    """Cells of the grid around boxes: int [M,4] in pixels -> int32 [M,4] in cells, 12.5 % wider on every side."""
    box = np.asarray(box, np.float64) if isinstance(box, np.ndarray) else tf.cast(box, tf.float64)
    step = grid_step(base[0])
    high, wide = (box[:, 2] - box[:, 0]) * MARGIN, (box[:, 3] - box[:, 1]) * MARGIN
    sides = [box[:, 0] - high, box[:, 1] - wide, box[:, 2] + high, box[:, 3] + wide]
    if isinstance(box, np.ndarray):
        cells = np.ceil(np.stack(sides, 1) / step)
        return np.clip(cells, 0, [grid[0], grid[1]] * 2).astype(np.int32)
    cells = tf.math.ceil(tf.stack(sides, 1) / step)
    return tf.cast(tf.clip_by_value(cells, 0.0, tf.constant([grid[0], grid[1]] * 2, tf.float64)), tf.int32)


def context_features(
    grids: np.ndarray, photo: np.ndarray, box: np.ndarray, base: Sequence[int], count: int
) -> np.ndarray:
    """float16 [M,32*count]: per 4x8 parts of the picture, how many cells of the context are of each class, rooted.

    grids: int [P,gh,gw]; photo: int [M]. Rows have length 1, so products are cosines.
    """
    rows, columns = grids.shape[1:]
    parts = np.minimum(np.arange(rows) * CONTEXT_CELLS[0] // rows, CONTEXT_CELLS[0] - 1)[:, None]
    parts = parts * CONTEXT_CELLS[1] + (np.arange(columns) * CONTEXT_CELLS[1] // columns)[None]
    cells = context_boxes(np.asarray(box), base, (rows, columns))
    found = np.zeros((len(photo), CONTEXT_CELLS[0] * CONTEXT_CELLS[1] * (count + 1)), np.float32)
    for i, (top, left, bottom, right) in enumerate(cells):
        inside = np.s_[top:bottom, left:right]
        key = parts[inside] * (count + 1) + np.minimum(grids[photo[i]][inside], count)
        found[i] = np.bincount(key.ravel(), minlength=found.shape[1])
    found = np.sqrt(found.reshape(len(photo), -1, count + 1)[:, :, :count]).reshape(len(photo), -1)
    return (found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)).astype(np.float16)
