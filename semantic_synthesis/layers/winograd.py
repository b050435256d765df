"""3x3 convolutions with a quarter of the multiplications: Winograd's minimal filtering F(4x4, 3x3).

Lavin and Gray, CVPR 2016 (arXiv 1509.09308), section 4: each 4x4 tile of the result is A^T [(G g G^T) * (B^T d B)] A,
with g the kernel and d the 6x6 window around the tile. The products over all tiles and channels are 36 matrix products.
The transforms, too, are matrix products here, of banded matrices that cut the tiles and pad with zeros on the way:
as sums of slices they would cost more than they save (docs/performance.md).
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import math
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

TILE, WINDOW = 4, 6  # cells of a tile's result and of what it is made of, along one axis
# Products of input and output channels from which, sizes of maps from which and up to which, and cells of a batch from
# which fewer products outweigh the transforms; measured by benchmarks/winograd.py.
LEAST_CHANNELS, LEAST_SIZE, MOST_SIZE, LEAST_CELLS = 2**16, 16, 96, 1024
KEPT_SIZE = 24  # of maps from which a settled kernel's transform is kept


def _both_axes(matrix):
    """The matrix for windows or tiles of two axes, whose rows and columns are both numbered by (across, down)."""
    return np.kron(matrix, matrix).astype(np.float32)


_INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float64,
)
_ONE_AXIS = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    np.float64,
)
# [36,9]; a kernel lies in memory by (down, across).
_KERNEL = _both_axes(_ONE_AXIS).reshape(WINDOW**2, 3, 3).transpose(0, 2, 1).reshape(WINDOW**2, 9)
_RESULT = _both_axes(
    np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
)  # [16,36]

_allowed = contextvars.ContextVar("winograd", default=True)  # threads trace graphs of their own


@contextlib.contextmanager
def direct_convolutions() -> Iterator[None]:
    """Within it `pays` is never true: for graphs that other programs take over, with kernels of plain size."""
    before = _allowed.set(False)
    try:
        yield
    finally:
        _allowed.reset(before)


def pays(shape: tf.TensorShape, kernel_shape: tf.TensorShape, dtype: tf.DType) -> bool:
    """Whether the algorithm is the faster one for x of [B,H,W,I] and a kernel [3,3,I,O].

    Not where H or W is unknown; an unknown B counts as 1. Decided by sizes alone, so that a run gives the
    same picture every time. float32 on CPUs only: bfloat16's rounding grows several times in the transforms.
    """
    batch, height, width = shape[:3]
    if (
        not _allowed.get()
        or dtype != tf.float32
        or tuple(kernel_shape[:2]) != (3, 3)
        or None in (height, width)
    ):
        return False
    wide = math.prod(kernel_shape[2:]) >= LEAST_CHANNELS
    fits = min(height, width) >= LEAST_SIZE and max(height, width) <= MOST_SIZE
    fills = (batch or 1) * height * width >= LEAST_CELLS
    return wide and fits and fills and not tf.config.list_physical_devices("GPU")


def keeps(shape: tf.TensorShape, kernel_shape: tf.TensorShape, dtype: tf.DType) -> bool:
    """Whether it pays to keep the transformed kernel of a settled layer rather than to make it at each call: smaller
    maps have larger kernels, and making these costs little beside a batch of maps."""
    return pays(shape, kernel_shape, dtype) and min(shape[1:3]) >= KEPT_SIZE


def transform_kernel(kernel: tf.Tensor, turned: bool = False) -> tf.Tensor:
    """[3,3,I,O] -> [36,I,O], what `convolve_transformed` takes: four times as large; turned: of the kernel turned by
    180 degrees."""
    _, _, inputs, outputs = kernel.shape
    rows = tf.matmul(_KERNEL[:, ::-1] if turned else _KERNEL, tf.reshape(kernel, [9, -1]))
    return tf.reshape(rows, [WINDOW**2, inputs, outputs])


def transformed_variable(kernel: tf.Tensor) -> tf.Variable:
    """The same of a kernel that will not change, kept outside of whatever graph is being traced."""
    with tf.init_scope():
        return tf.Variable(transform_kernel(kernel), trainable=False, name="transformed_kernel")


def convolve_transformed(x: tf.Tensor, *transformed: tf.Tensor) -> list[tf.Tensor]:
    """conv2d with one zero cell on every side, by each of several kernels [36,I,O]: x [B,H,W,I] -> [B,H,W,O] each."""
    windows = _windows(x)
    return [_assembled(tf.matmul(windows, one), x) for one in transformed]


@tf.custom_gradient
def convolve(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """conv2d with one zero cell on every side: x [B,H,W,I], kernel [3,3,I,O] -> [B,H,W,O], gradients the same way."""
    [y] = convolve_transformed(x, _transformed_after(x, kernel))

    def backward(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        turned = _transformed_after(dy, kernel, turned=True)
        dx = _assembled(tf.matmul(_windows(dy), turned, transpose_b=True), dy)
        with tf.control_dependencies([dy]):
            windows = _windows(x)
        products = tf.matmul(windows, _spread(dy), transpose_a=True)  # [36,I,O]
        rows = tf.reshape(products, [WINDOW**2, -1])
        dk = tf.matmul(_KERNEL, rows, transpose_a=True)  # [9,I*O]
        return dx, tf.reshape(dk, kernel.shape)

    return y, backward


def _transformed_after(x, kernel, turned=False):
    """The transformed kernel, made when x is there: else those of all layers would be made first and wait in memory."""
    with tf.control_dependencies([x]):
        return transform_kernel(kernel, turned)


def _tiles(size):
    return -(-size // TILE)


def _windows(x):
    """B^T d B of every tile, zeros outside the map: [B,H,W,I] -> [36,B*tiles,I]."""
    _, height, width, channels = x.shape
    columns = _tiles(width)
    across = _band(width)[:, None]  # [6,1,columns,W]
    down = _band(height)[None, :, None]  # [1,6,1,rows,H]
    x = tf.matmul(across, tf.reshape(x, [1, -1, width, channels]))  # [6,B*H,columns,I]
    x = tf.reshape(x, [WINDOW, 1, -1, height, columns * channels])
    x = tf.matmul(down, x)  # [6,6,B,tiles down,columns*I]
    return tf.reshape(x, [WINDOW**2, -1, channels])


def _assembled(products, like):
    """A^T m A of every tile, put together: [36,B*tiles,O] -> [B,H,W,O] with B, H and W of `like`."""
    _, height, width, _ = like.shape
    rows, columns, channels = _tiles(height), _tiles(width), products.shape[-1]
    y = tf.matmul(_RESULT, tf.reshape(products, [WINDOW**2, -1]))  # [16,B*tiles*O]
    y = tf.reshape(y, [TILE, TILE, -1, rows, columns, channels])  # column in a tile, row in it, ...
    y = tf.transpose(y, [2, 3, 1, 4, 0, 5])
    return tf.reshape(y, [-1, rows * TILE, columns * TILE, channels])[:, :height, :width]


def _spread(dy):
    """The gradient of `_assembled`'s products: [B,H,W,O] -> [36,B*tiles,O]."""
    _, height, width, channels = dy.shape
    rows, columns = _tiles(height), _tiles(width)
    dy = tf.pad(dy, [[0, 0], [0, rows * TILE - height], [0, columns * TILE - width], [0, 0]])
    dy = tf.reshape(dy, [-1, rows, TILE, columns, TILE, channels])
    dy = tf.reshape(tf.transpose(dy, [4, 2, 0, 1, 3, 5]), [TILE**2, -1])
    dy = tf.matmul(_RESULT, dy, transpose_a=True)
    return tf.reshape(dy, [WINDOW**2, -1, channels])


@functools.cache
def _band(size):
    """float32 [6,tiles,size]: B^T of each tile where it lies on a line of `size` cells."""
    found = np.zeros((WINDOW, _tiles(size), size + WINDOW), np.float32)
    for tile in range(_tiles(size)):
        found[:, tile, TILE * tile : TILE * tile + WINDOW] = _INPUT
    return found[..., 1 : size + 1]
