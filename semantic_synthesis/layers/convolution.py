"""Convolutions and dense layers with explicit padding and functional spectral normalisation.

Spectral norm: Miyato et al., ICLR 2018 (arXiv 1802.05957), section 2.1 and algorithm 1. The kernel
used is kernel / sigma with sigma = v . W u; u and v are constants for the gradient, which flows
through the kernel and sigma. Deviation from Keras' own layer: the raw kernel is never overwritten.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from semantic_synthesis.layers import winograd
from semantic_synthesis.layers.initialization import Initializer
from semantic_synthesis.layers.spectral import divided, normalised, spectral_norm

if TYPE_CHECKING:
    import numpy as np

# Input times output channels from which, and pixels of a batch up to which, a matrix product is the faster
# convolution on CPUs.
WIDE_CHANNELS, WIDE_PIXELS = 2**20, 1024


def add_array(
    layer: keras.layers.Layer, name: str, array: np.ndarray, trainable: bool = True
) -> keras.Variable:
    """A float32-by-policy variable of `layer` that starts as `array` (NumPy)."""
    return layer.add_weight(
        name=name,
        shape=array.shape,
        initializer=lambda shape, dtype=None: tf.cast(array, dtype or tf.float32),
        trainable=trainable,
        autocast=False,
        **({} if trainable else {"aggregation": "only_first_replica"}),
    )


class _Linear(keras.layers.Layer):
    """A kernel [..., in, out] with optional bias and optional spectral norm; base of Conv and Dense."""

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        use_bias: bool,
        spectral: bool,
        init: Initializer,
        name: str | None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, autocast=False, dtype=dtype)
        self.spectral = spectral
        self.kernel = add_array(self, "kernel", init(shape, spectral))
        self.bias = add_array(self, "bias", init.normal(shape[-1:], 0.0)) if use_bias else None
        if spectral:
            self.u = add_array(self, "u", init.unit(shape[-1]), trainable=False)
            self.v = add_array(self, "v", init.unit(math.prod(shape[:-1])), trainable=False)
        self.built = True

    def advance(self) -> None:
        """One power iteration (training calls it once per step, outside the tape)."""
        matrix = tf.reshape(tf.cast(self.kernel.value, tf.float32), [-1, self.u.shape[0]])  # [rows, out]
        v = _unit(tf.linalg.matvec(matrix, self.u.value))  # [rows]
        self.v.assign(v)
        self.u.assign(_unit(tf.linalg.matvec(matrix, v, transpose_a=True)))  # [out]

    def fold(self) -> None:
        """Divides the kernel by sigma for good: same outputs, no work per call (inference only)."""
        if self.spectral:
            self.kernel.assign(self.effective_kernel())
            self.spectral = False

    def effective_kernel(self) -> tf.Tensor:
        """Tensor kernel / sigma (or the kernel itself) in the variable's dtype, shape of the kernel."""
        kernel = tf.convert_to_tensor(self.kernel.value)
        if not self.spectral:
            return kernel
        # As they are now, also in the gradient.
        u, v = (tf.convert_to_tensor(vector.value) for vector in (self.u, self.v))
        return normalised(kernel, u, v)

    def _add_bias(self, x):
        return x if self.bias is None else tf.nn.bias_add(x, tf.cast(self.bias.value, x.dtype))


def _unit(vector):
    return vector / tf.maximum(tf.norm(vector), 1e-12)


class Conv(_Linear):
    """2-D convolution, zero padding of `padding` cells on every side.

    Call: x [B,H,W,in_channels] -> [B,H',W',filters], H' = (H + 2 padding - kernel_size) // strides + 1,
    in the layer's compute dtype (dtype: a policy other than the model's). direct: never by Winograd's algorithm, which
    else takes the place of the plain convolution where it is faster (`winograd.pays`).
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        kernel_size: int,
        *,
        strides: int = 1,
        padding: int = 0,
        use_bias: bool = True,
        spectral: bool = False,
        init: Initializer | None = None,
        name: str | None = None,
        dtype: Any = None,
        direct: bool = False,
    ) -> None:
        shape = (kernel_size, kernel_size, in_channels, filters)
        super().__init__(
            shape, use_bias=use_bias, spectral=spectral, init=init or Initializer(), name=name, dtype=dtype
        )
        self.strides, self.padding = strides, padding
        self.direct, self.settled = direct, False
        self._transformed: tf.Variable | None = None

    def fold(self) -> None:
        """As `_Linear.fold`; the kernel is taken for settled once the layer is called."""
        super().fold()
        self.settled = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = tf.cast(x, self.compute_dtype)
        if self._keeps_transformed(x):
            if self._transformed is None:
                self._transformed = winograd.transformed_variable(self.kernel.value)
            [y] = winograd.convolve_transformed(x, self._transformed)
            return self._add_bias(y)
        if self.spectral and self._outweighs(x):
            kernel = tf.convert_to_tensor(self.kernel.value)
            y = convolve(x, tf.cast(kernel, x.dtype), self.strides, self.padding, direct=self.direct)
            return self._add_bias(divided(y, spectral_norm(kernel, self.u.value, self.v.value)))
        kernel = tf.cast(self.effective_kernel(), self.compute_dtype)
        return self._add_bias(convolve(x, kernel, self.strides, self.padding, direct=self.direct))

    def _keeps_transformed(self, x):
        may = self.settled and not self.direct and self.strides == self.padding == 1
        return may and winograd.keeps(x.shape, self.kernel.shape, x.dtype)

    def _outweighs(self, x):
        """Whether the kernel is larger than what it makes of x: then dividing the latter by sigma keeps less."""
        if None in x.shape:
            return False
        cells = [(n + 2 * self.padding - self.kernel.shape[0]) // self.strides + 1 for n in x.shape[1:3]]
        return math.prod(self.kernel.shape[:3]) > x.shape[0] * math.prod(cells)


def convolve(
    x: tf.Tensor, kernel: tf.Tensor, strides: int, padding: int, *, direct: bool = False
) -> tf.Tensor:
    """conv2d with `padding` zero cells on every side: [B,H,W,I], [k,k,I,O] -> [B,H',W',O]; direct: see `Conv`. By
    Winograd's algorithm where that is faster.

    Never by TensorFlow's EXPLICIT padding: on CPUs its gradients leave oneDNN and are 2 (float32) to 100
    (bfloat16) times slower.
    """
    same = strides == 1 and 2 * padding + 1 == kernel.shape[0]
    if not direct and strides == padding == 1 and winograd.pays(x.shape, kernel.shape, x.dtype):
        return winograd.convolve(x, kernel)
    if same and padding and _is_wide(x, kernel):
        return _convolve_wide(x, kernel, padding)
    if same:
        return tf.nn.conv2d(x, kernel, 1, "SAME")
    if padding:
        x = tf.pad(x, [[0, 0], [padding, padding], [padding, padding], [0, 0]])
    return tf.nn.conv2d(x, kernel, strides, "VALID")


def _is_wide(x, kernel):
    """Whether a small map meets a large kernel, on a CPU: there oneDNN spends most of its time on reordering
    the kernel, and one matrix product is up to twice as fast (docs/performance.md)."""
    if None in x.shape or kernel.shape[2] * kernel.shape[3] < WIDE_CHANNELS:
        return False
    return math.prod(x.shape[:3]) <= WIDE_PIXELS and not tf.config.list_physical_devices("GPU")


def _convolve_wide(x, kernel, padding):
    """Stride-1 convolution that keeps the size, as one product of all windows with the kernel."""
    height, width, size = x.shape[1], x.shape[2], 2 * padding + 1
    x = tf.pad(x, [[0, 0], [padding, padding], [padding, padding], [0, 0]])
    # Slices whose gradient is a padding: that of x[:, i:...] takes several times as long.
    starts = [[0, i, j, 0] for i in range(size) for j in range(size)]
    windows = [tf.slice(x, start, [-1, height, width, -1]) for start in starts]
    windows = tf.reshape(tf.concat(windows, -1), [-1, math.prod(kernel.shape[:3])])  # [B*H*W,k*k*I]
    y = tf.matmul(windows, tf.reshape(kernel, [-1, kernel.shape[3]]))
    return tf.reshape(y, [-1, height, width, kernel.shape[3]])


class Dense(_Linear):
    """Fully connected layer. Call: x [B,in_channels] -> [B,filters] in the compute dtype."""

    def __init__(
        self,
        in_channels: int,
        filters: int,
        *,
        spectral: bool = False,
        init: Initializer | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(
            (in_channels, filters), use_bias=True, spectral=spectral, init=init or Initializer(), name=name
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = tf.cast(x, self.compute_dtype)
        return self._add_bias(tf.matmul(x, tf.cast(self.effective_kernel(), self.compute_dtype)))
