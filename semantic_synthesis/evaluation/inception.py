"""The Inception network that FID figures of the literature come from.

Its weights are those of TensorFlow's inception-2015-12-05, in the file that pytorch-fid publishes
(pt_inception-2015-12-05-6726825d.pth). It differs from torchvision's inception_v3: average pools do not
count the padding, and the last block's pool is a maximum (both as in pytorch-fid, which keeps the original
graph's behaviour). Batch norms (epsilon 0.001) are folded into the convolutions.
Pictures are resized to 299x299 without regard to their shape: bilinear, half-pixel centres, no
anti-aliasing, then scaled from 0..255 to [-1,1].
"""

import numpy as np
import tensorflow as tf

from semantic_synthesis.evaluation import weight_files
from semantic_synthesis.files import array_sha256, file_sha256

URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
SIZE = 299
DIMS = (64, 192, 768, 2048)
_EPSILON = 0.001

# Convolutions by block: name: (input channels, output channels, kernel height, width); strides and padding stand in
# the calls, SAME and 1 but where a block shrinks its picture.
_STEM = {
    "Conv2d_1a_3x3": (3, 32, 3, 3),
    "Conv2d_2a_3x3": (32, 32, 3, 3),
    "Conv2d_2b_3x3": (32, 64, 3, 3),
    "Conv2d_3b_1x1": (64, 80, 1, 1),
    "Conv2d_4a_3x3": (80, 192, 3, 3),
}


def _block_a(channels, pool):
    return {
        "branch1x1": (channels, 64, 1, 1),
        "branch5x5_1": (channels, 48, 1, 1),
        "branch5x5_2": (48, 64, 5, 5),
        "branch3x3dbl_1": (channels, 64, 1, 1),
        "branch3x3dbl_2": (64, 96, 3, 3),
        "branch3x3dbl_3": (96, 96, 3, 3),
        "branch_pool": (channels, pool, 1, 1),
    }


def _block_c(width):
    return {
        "branch1x1": (768, 192, 1, 1),
        "branch7x7_1": (768, width, 1, 1),
        "branch7x7_2": (width, width, 1, 7),
        "branch7x7_3": (width, 192, 7, 1),
        "branch7x7dbl_1": (768, width, 1, 1),
        "branch7x7dbl_2": (width, width, 7, 1),
        "branch7x7dbl_3": (width, width, 1, 7),
        "branch7x7dbl_4": (width, width, 7, 1),
        "branch7x7dbl_5": (width, 192, 1, 7),
        "branch_pool": (768, 192, 1, 1),
    }


def _block_e(channels):
    return {
        "branch1x1": (channels, 320, 1, 1),
        "branch3x3_1": (channels, 384, 1, 1),
        "branch3x3_2a": (384, 384, 1, 3),
        "branch3x3_2b": (384, 384, 3, 1),
        "branch3x3dbl_1": (channels, 448, 1, 1),
        "branch3x3dbl_2": (448, 384, 3, 3),
        "branch3x3dbl_3a": (384, 384, 1, 3),
        "branch3x3dbl_3b": (384, 384, 3, 1),
        "branch_pool": (channels, 192, 1, 1),
    }


_BLOCKS = {
    "Mixed_5b": _block_a(192, 32),
    "Mixed_5c": _block_a(256, 64),
    "Mixed_5d": _block_a(288, 64),
    "Mixed_6a": {
        "branch3x3": (288, 384, 3, 3),
        "branch3x3dbl_1": (288, 64, 1, 1),
        "branch3x3dbl_2": (64, 96, 3, 3),
        "branch3x3dbl_3": (96, 96, 3, 3),
    },
    "Mixed_6b": _block_c(128),
    "Mixed_6c": _block_c(160),
    "Mixed_6d": _block_c(160),
    "Mixed_6e": _block_c(192),
    "Mixed_7a": {
        "branch3x3_1": (768, 192, 1, 1),
        "branch3x3_2": (192, 320, 3, 3),
        "branch7x7x3_1": (768, 192, 1, 1),
        "branch7x7x3_2": (192, 192, 1, 7),
        "branch7x7x3_3": (192, 192, 7, 1),
        "branch7x7x3_4": (192, 192, 3, 3),
    },
    "Mixed_7b": _block_e(1280),
    "Mixed_7c": _block_e(2048),
}


class InceptionFeatures:
    """Call: uint8 [N,H,W,3] -> float32 [N,dims], feature maps averaged over the picture.

    dims: 64 (first max pool), 192 (second), 768 (before the auxiliary classifier) or 2048 (final pool).
    weights: path of pytorch-fid's file, empty (found or downloaded) or random (seed 0).
    """

    resize = "299x299 bilinear without anti-aliasing (pytorch-fid)"

    def __init__(self, weights: str = "", dims: int = 2048) -> None:
        if dims not in DIMS:
            raise ValueError(f"--eval_dims {dims}; expected one of {', '.join(map(str, DIMS))}")
        self.dims = dims
        arrays, self.sha256, origin = _load(weights)
        self.name = f"Inception 2015-12-05, {dims} dims, {origin}"
        self._convs = {name: tuple(tf.constant(a) for a in pair) for name, pair in arrays.items()}
        self._features = tf.function(
            self._compute, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)]
        )

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """float32 [N,dims] of uint8 [N,H,W,3]."""
        return self._features(tf.constant(pictures)).numpy()

    def _compute(self, pictures):
        x = tf.image.resize(tf.cast(pictures, tf.float32) / 255.0, (SIZE, SIZE), "bilinear", antialias=False)
        x = self._conv(2.0 * x - 1.0, "Conv2d_1a_3x3", 2, "VALID")
        x = self._conv(x, "Conv2d_2a_3x3", 1, "VALID")
        x = tf.nn.max_pool2d(self._conv(x, "Conv2d_2b_3x3"), 3, 2, "VALID")  # [N,73,73,64]
        if self.dims > 64:
            x = self._conv(x, "Conv2d_3b_1x1")
            x = tf.nn.max_pool2d(self._conv(x, "Conv2d_4a_3x3", 1, "VALID"), 3, 2, "VALID")  # [N,35,35,192]
        if self.dims > 192:
            for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
                x = self._a(x, name)  # [N,35,35,288]
            x = self._b(x, "Mixed_6a")
            for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
                x = self._c(x, name)  # [N,17,17,768]
        if self.dims > 768:
            x = self._d(x, "Mixed_7a")
            x = self._e(x, "Mixed_7b", tf.nn.avg_pool2d)
            x = self._e(x, "Mixed_7c", tf.nn.max_pool2d)  # [N,8,8,2048]
        return tf.reduce_mean(x, (1, 2))

    def _conv(self, x, name, stride=1, padding="SAME"):
        kernel, bias = self._convs[name]
        return tf.nn.relu(tf.nn.conv2d(x, kernel, stride, padding) + bias)

    def _chain(self, x, block, *names):
        for name in names:
            x = self._conv(x, f"{block}.{name}")
        return x

    def _a(self, x, block):
        pool = tf.nn.avg_pool2d(x, 3, 1, "SAME")  # TensorFlow's pools do not count the padding
        return tf.concat(
            [
                self._chain(x, block, "branch1x1"),
                self._chain(x, block, "branch5x5_1", "branch5x5_2"),
                self._chain(x, block, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
                self._chain(pool, block, "branch_pool"),
            ],
            -1,
        )  # [N,35,35,224 + pool]

    def _b(self, x, block):
        double = self._chain(x, block, "branch3x3dbl_1", "branch3x3dbl_2")
        return tf.concat(
            [
                self._conv(x, f"{block}.branch3x3", 2, "VALID"),
                self._conv(double, f"{block}.branch3x3dbl_3", 2, "VALID"),
                tf.nn.max_pool2d(x, 3, 2, "VALID"),
            ],
            -1,
        )  # [N,17,17,768]

    def _c(self, x, block):
        pool = tf.nn.avg_pool2d(x, 3, 1, "SAME")
        return tf.concat(
            [
                self._chain(x, block, "branch1x1"),
                self._chain(x, block, *[f"branch7x7_{i}" for i in (1, 2, 3)]),
                self._chain(x, block, *[f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5)]),
                self._chain(pool, block, "branch_pool"),
            ],
            -1,
        )  # [N,17,17,768]

    def _d(self, x, block):
        first = self._chain(x, block, "branch3x3_1")
        second = self._chain(x, block, "branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3")
        return tf.concat(
            [
                self._conv(first, f"{block}.branch3x3_2", 2, "VALID"),
                self._conv(second, f"{block}.branch7x7x3_4", 2, "VALID"),
                tf.nn.max_pool2d(x, 3, 2, "VALID"),
            ],
            -1,
        )  # [N,8,8,1280]

    def _e(self, x, block, pool):
        single = self._chain(x, block, "branch3x3_1")
        double = self._chain(x, block, "branch3x3dbl_1", "branch3x3dbl_2")
        return tf.concat(
            [
                self._chain(x, block, "branch1x1"),
                self._chain(single, block, "branch3x3_2a"),
                self._chain(single, block, "branch3x3_2b"),
                self._chain(double, block, "branch3x3dbl_3a"),
                self._chain(double, block, "branch3x3dbl_3b"),
                self._chain(pool(x, 3, 1, "SAME"), block, "branch_pool"),
            ],
            -1,
        )  # [N,8,8,2048]


def _shapes():
    """{name: (I, O, kh, kw)} of all convolutions."""
    inner = {f"{block}.{name}": s for block, convs in _BLOCKS.items() for name, s in convs.items()}
    return {**_STEM, **inner}


def _load(weights):
    """({name: (kernel HWIO, bias)}, sha256, where they come from)."""
    if weights == weight_files.RANDOM:
        rng = np.random.default_rng(0)
        arrays = {name: _random(rng, *shape) for name, shape in _shapes().items()}
        sha256 = array_sha256({name: kernel for name, (kernel, _) in arrays.items()})
        return arrays, sha256, "RANDOM weights (comparable with nothing published)"
    from semantic_synthesis.pth import read_pth  # PyTorch is needed for such files alone

    path = weight_files.find_file("inception_weights", weights, URL)
    tensors = read_pth(path)
    arrays = {name: _folded(tensors, name, shape, path) for name, shape in _shapes().items()}
    return arrays, file_sha256(path), "pytorch-fid's file"


def _random(rng, narrow, wide, height, width):
    deviation = np.sqrt(2.0 / (narrow * height * width))
    kernel = rng.standard_normal((height, width, narrow, wide), np.float32) * np.float32(deviation)
    return kernel, np.zeros(wide, np.float32)


def _folded(tensors, name, shape, path):
    """Kernel HWIO and bias with the batch norm folded in."""
    narrow, wide, height, width = shape
    kernel = weight_files.take(tensors, f"{name}.conv.weight", (wide, narrow, height, width), path)
    gamma, beta, mean, variance = (
        weight_files.take(tensors, f"{name}.bn.{part}", (wide,), path).astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    factor = gamma / np.sqrt(variance + _EPSILON)
    kernel = kernel.transpose(2, 3, 1, 0) * factor  # HWIO
    return kernel.astype(np.float32), (beta - mean * factor).astype(np.float32)
