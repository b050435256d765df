"""LPIPS, the learned perceptual distance: Zhang et al., The Unreasonable Effectiveness of Deep Features as a
Perceptual Metric, CVPR 2018 (arXiv 1801.03924), equation 1, in the form of the lpips package, version 0.1.

d(a, b) = sum over layers of the mean over pixels of w_l . (f_l(a) - f_l(b))^2, features scaled to unit
length over the channels. Two files: torchvision's ImageNet backbone (vgg16-397923af.pth or
alexnet-owt-7be5be79.pth) and the linear weights w (weights/v0.1/vgg.pth or alex.pth of the lpips package).
Diversity of one layout's samples is the mean distance over all pairs.
"""

import itertools

import numpy as np
import tensorflow as tf

from semantic_synthesis.evaluation import weight_files
from semantic_synthesis.files import array_sha256, file_sha256

_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32)
_EPSILON = 1e-10
_LINEAR_URL = (
    "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/{net}.pth"
)

# Per layer of torchvision's `features`: index, output channels, kernel, stride, padding, (kernel, stride) of
# a max pool in front, or None, and whether LPIPS reads the features behind its ReLU.
_POOL = (2, 2)
_NETWORKS = {
    "vgg": (
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        (
            (0, 64, 3, 1, 1, None, False), (2, 64, 3, 1, 1, None, True),
            (5, 128, 3, 1, 1, _POOL, False), (7, 128, 3, 1, 1, None, True),
            (10, 256, 3, 1, 1, _POOL, False), (12, 256, 3, 1, 1, None, False), (14, 256, 3, 1, 1, None, True),
            (17, 512, 3, 1, 1, _POOL, False), (19, 512, 3, 1, 1, None, False), (21, 512, 3, 1, 1, None, True),
            (24, 512, 3, 1, 1, _POOL, False), (26, 512, 3, 1, 1, None, False), (28, 512, 3, 1, 1, None, True),
        ),
    ),
    "alex": (
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        (
            (0, 64, 11, 4, 2, None, True), (3, 192, 5, 1, 2, (3, 2), True), (6, 384, 3, 1, 1, (3, 2), True),
            (8, 256, 3, 1, 1, None, True), (10, 256, 3, 1, 1, None, True),
        ),
    ),
}  # fmt: skip


class LPIPS:
    """Call: two uint8 [N,H,W,3] -> float32 [N] distances. No resize: compare pictures of equal size.

    net: vgg or alex; weights: the backbone's file, empty (found or downloaded) or random; linear: the file
    of linear weights, empty (the installed lpips package's, or downloaded) or random (1 / F).
    """

    resize = "none"

    def __init__(self, net: str = "alex", weights: str = "", linear: str = "") -> None:
        if net not in _NETWORKS:
            raise ValueError(f"--lpips_net {net}; expected vgg or alex")
        url, self._layers = _NETWORKS[net]
        kernels, self.sha256, origin = _load_backbone(weights, url, self._layers)
        heads, head_sha256 = _load_linear(net, weights, linear, [la[1] for la in self._layers if la[-1]])
        self.sha256 += f" linear {head_sha256}"
        if linear == weight_files.RANDOM != weights:
            origin += ", linear weights 1 / F (comparable with nothing published)"
        self.name = f"LPIPS 0.1 {net}, {origin}"
        self._convs = [tuple(tf.constant(a) for a in pair) for pair in kernels]
        self._heads = [tf.constant(head) for head in heads]
        self._features = tf.function(self._compute_features, reduce_retracing=True)
        self._compare = tf.function(self._compute_distance, reduce_retracing=True)
        self._spread = tf.function(self._compute_field, reduce_retracing=True)

    def __call__(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """float32 [N]."""
        return self._compare(self.features(first), self.features(second)).numpy()

    def features(self, pictures: np.ndarray) -> list[tf.Tensor]:
        """List of float32 [N,h,w,F], of unit length over F; pictures uint8, or float in [-1,1]."""
        pictures = np.asarray(pictures)
        if pictures.dtype == np.uint8:
            pictures = pictures.astype(np.float32) / 127.5 - 1.0
        return self._features(tf.constant(pictures, tf.float32))

    def diversity(self, samples: np.ndarray) -> float:
        """Mean distance over all pairs of uint8 [S,H,W,3], S at least 2."""
        if len(samples) < 2:
            raise ValueError(f"{len(samples)} sample of a layout; diversity needs at least 2 (--num_samples)")
        features = self.features(samples)
        one = [[feature[i : i + 1] for feature in features] for i in range(len(samples))]
        distances = [self._compare(first, second) for first, second in itertools.combinations(one, 2)]
        return float(np.mean(distances))

    def field(self, samples: np.ndarray) -> np.ndarray:
        """float32 [H,W]: the distance at every pixel, mean over all pairs of uint8 [S,H,W,3], S at least 2; each
        layer's enlarged bilinearly, as the package's `spatial` does."""
        features = self.features(samples)
        pairs = np.array(list(itertools.combinations(range(len(samples)), 2)), np.int32)
        return self._spread(features, tf.constant(pairs), tf.constant(samples.shape[1:3])).numpy()

    def _compute_features(self, pictures):
        x, found = (pictures - _SHIFT) / _SCALE, []
        for layer, (kernel, bias) in zip(self._layers, self._convs, strict=True):
            *_, stride, padding, pool, read = layer
            if pool:
                x = tf.nn.max_pool2d(x, *pool, "VALID")
            edges = [[0, 0], [padding, padding], [padding, padding], [0, 0]]
            x = tf.nn.relu(tf.nn.conv2d(x, kernel, stride, edges) + bias)
            if read:
                length = tf.sqrt(tf.reduce_sum(x**2, -1, keepdims=True))
                found.append(x / (length + _EPSILON))
        return found

    def _compute_field(self, features, pairs, size):
        def distance(pair):
            maps = [
                tf.reduce_sum((f[pair[0]] - f[pair[1]]) ** 2 * head, -1, keepdims=True)
                for f, head in zip(features, self._heads, strict=True)
            ]
            return tf.add_n([tf.image.resize(m, size)[..., 0] for m in maps])

        return tf.reduce_mean(tf.map_fn(distance, pairs, fn_output_signature=tf.float32), 0)

    def _compute_distance(self, first, second):
        terms = [
            tf.reduce_mean(tf.reduce_sum((a - b) ** 2 * head, -1), (1, 2))
            for a, b, head in zip(first, second, self._heads, strict=True)
        ]
        return tf.add_n(terms)


def _load_backbone(weights, url, layers):
    """([(kernel HWIO, bias)], sha256, where they come from)."""
    narrow, shapes = 3, []
    for _, wide, size, *_ in layers:
        shapes.append((wide, narrow, size, size))
        narrow = wide
    if weights == weight_files.RANDOM:
        rng = np.random.default_rng(0)
        kernels = [_random(rng, shape) for shape in shapes]
        sha256 = array_sha256({str(i): kernel for i, (kernel, _) in enumerate(kernels)})
        return kernels, sha256, "RANDOM weights (comparable with nothing published)"
    from semantic_synthesis.pth import read_pth  # PyTorch is needed for such files alone

    path = weight_files.find_file("lpips_weights", weights, url)
    tensors, kernels = read_pth(path), []
    for (index, wide, *_), shape in zip(layers, shapes, strict=True):
        kernel = weight_files.take(tensors, f"features.{index}.weight", shape, path)
        bias = weight_files.take(tensors, f"features.{index}.bias", (wide,), path)
        kernels.append((kernel.transpose(2, 3, 1, 0), bias))
    return kernels, file_sha256(path), "torchvision's file"


def _random(rng, shape):
    kernel = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2.0 / np.prod(shape[1:])))
    return kernel.transpose(2, 3, 1, 0), np.zeros(shape[0], np.float32)


def _load_linear(net, weights, linear, widths):
    """([float32 [F] per layer], sha256); all weights are 1 / F for random, and for a random backbone without a file."""
    found = linear or weight_files.file_in_package("lpips", f"weights/v0.1/{net}.pth")
    if linear == weight_files.RANDOM or (not found and weights == weight_files.RANDOM):
        return [np.full(width, 1 / width, np.float32) for width in widths], "none (1 / F)"
    from semantic_synthesis.pth import read_pth

    path = weight_files.find_file("lpips_linear", found or "", _LINEAR_URL.format(net=net))
    tensors = read_pth(path)
    heads = [
        weight_files.take(tensors, f"lin{i}.model.1.weight", (1, width, 1, 1), path).reshape(-1)
        for i, width in enumerate(widths)
    ]
    return heads, file_sha256(path)
