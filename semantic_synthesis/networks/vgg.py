"""Frozen VGG19 features for the perceptual loss.

Two kinds of weights exist and expect different inputs. torchvision's (files .pth, keys features.N.*)
are fed pictures in [-1,1] as they are, which is what the published SPADE models were trained with;
Keras' (Caffe) weights expect BGR in 0..255 minus the mean, and their features are about a hundred times
larger, hence the smaller default weight.
"""

import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from semantic_synthesis import losses
from semantic_synthesis.layers import add_array
from semantic_synthesis.layers.cells import reduced

# Width and number of convolutions per block.
_BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
# relu1_1 ... relu5_1, each the first convolution of its block.
FIRST = (1, 1, 1, 1, 1)
TAP_WEIGHTS = {"all": (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0), "deep": (0.0, 0.0, 0.0, 1 / 4, 1.0)}
# Index of each convolution in torchvision's `features`.
_TORCH_INDEX = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
# What keras.applications.VGG19(include_top=False, weights="imagenet") reads.
_KERAS_FILE, _KERAS_MD5 = (
    "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "253f8cb515780f3b799900260a226db6",
)
_KERAS_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg19/{_KERAS_FILE}"
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


class VGG19Features(keras.layers.Layer):
    """Call: image [B,H,W,3] in [-1,1] -> list of five features, by default relu1_1 ... relu5_1.

    weights: imagenet (Keras downloads), a path (Keras .h5; torchvision .pth or .safetensors), or random.
    taps: which convolution of each block, counted from 1; average: whether blocks end in 2x2 means, not maxima.
    """

    frozen = True

    def __init__(
        self, weights: str = "imagenet", taps: Any = FIRST, average: bool = False, name: str = "vgg19"
    ) -> None:
        super().__init__(name=name, autocast=False, trainable=False)
        self.taps, self.average = taps, average
        self.counts = [count for _, count in _BLOCKS[:-1]] + [
            taps[-1]
        ]  # nothing is needed after the last tap
        self.caffe, arrays = _load(weights, sum(self.counts))
        self.default_weight = 0.06 if self.caffe else 10.0
        self.convs = [
            (add_array(self, f"kernel_{i}", kernel, False), add_array(self, f"bias_{i}", bias, False))
            for i, (kernel, bias) in enumerate(arrays)
        ]
        self.built = True

    def call(self, image: tf.Tensor) -> list[tf.Tensor]:
        x = tf.cast(image, tf.float32)
        if self.caffe:
            x = (x[..., ::-1] + 1.0) * 127.5 - tf.constant(_CAFFE_MEAN_BGR)
        x, features, convs = tf.cast(x, self.compute_dtype), [], iter(self.convs)
        pool = tf.nn.avg_pool2d if self.average else tf.nn.max_pool2d
        for block, count in enumerate(self.counts):
            if block > 0:
                x = pool(x, 2, 2, "VALID")
            for i in range(count):
                kernel, bias = next(convs)
                x = tf.nn.conv2d(x, tf.cast(kernel.value, x.dtype), 1, "SAME")
                x = tf.nn.relu(tf.nn.bias_add(x, tf.cast(bias.value, x.dtype)))
                if i + 1 == self.taps[block]:
                    features.append(x)
        return features

    def loss(
        self, fake: tf.Tensor, real: tf.Tensor, taps: Any = "all", pixels: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Weighted sum over the five taps of mean |features(fake) - features(real)|; real is a constant.

        taps: a key of TAP_WEIGHTS; pixels: float32 [B,H,W], weights of the pixels, reduced to each tap's size by
        nearest neighbours; means are over all elements all the same.
        """
        fakes, reals = self(fake), self(tf.stop_gradient(real))
        terms = []
        for weight, f, r in zip(TAP_WEIGHTS[taps], fakes, reals, strict=True):
            if weight and pixels is not None:
                share = tf.cast(reduced(pixels, f.shape[1], f.shape[2]), f.dtype)[..., None]  # [B,h,w,1]
                f, r = f * share, r * share
            if weight:
                terms.append(weight * losses.mean_absolute(f, tf.stop_gradient(r)))
        return tf.add_n(terms)


def weights_file(weights: str) -> str:
    """Path of the file that --vgg_weights means, "" for random; Keras downloads imagenet's 80 MB the first time.

    Uses no TensorFlow, so that training asks before anything that takes time. Errors: FileNotFoundError, ValueError.
    """
    if weights == "random":
        return ""
    if weights == "imagenet":
        try:
            return keras.utils.get_file(_KERAS_FILE, _KERAS_URL, cache_subdir="models", file_hash=_KERAS_MD5)
        except Exception as error:
            raise _unobtainable(weights, error) from None
    if not os.path.isfile(weights):
        raise FileNotFoundError(
            f"--vgg_weights {weights}: no such file; expected imagenet, random, a Keras .h5 or a torchvision .pth "
            "or .safetensors"
        )
    return weights


def _unobtainable(weights, error):
    reason = str(error).splitlines()[0]
    return ValueError(
        f"VGG19 weights ({weights}) could not be had: {reason}; ways out: --no_vgg_loss, or --vgg_weights with a file "
        "(Keras .h5 without top, torchvision vgg19 .pth), or --vgg_weights random"
    )


def _load(weights, count):
    """(whether of the Caffe kind, [(kernel HWIO, bias)] of the first `count` convolutions)."""
    if weights == "random":
        rng = np.random.default_rng(0)
        return False, [(_random(rng, shape), np.zeros(shape[-1], np.float32)) for shape in _shapes(count)]
    path = weights_file(weights)
    if weights.endswith((".pth", ".pt", ".safetensors")):
        return False, _from_torchvision(weights, count)
    return True, _from_keras(weights, path, count)


def _shapes(count=16):
    widths = [3] + [width for width, convolutions in _BLOCKS for _ in range(convolutions)]
    return [(3, 3, *widths[i : i + 2]) for i in range(count)]


def _random(rng, shape):
    deviation = np.sqrt(2.0 / np.prod(shape[:-1]))
    return rng.standard_normal(shape, np.float32) * np.float32(deviation)


def _from_keras(weights, path, count):
    try:
        network = keras.applications.VGG19(include_top=False, weights=path)
    except Exception as error:
        raise _unobtainable(weights, error) from None
    layers = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    return [tuple(layer.get_weights()) for layer in layers[:count]]


def _from_torchvision(path, count):
    from semantic_synthesis.pth import read_pth  # PyTorch is needed for such files alone

    tensors = read_pth(path)
    arrays = []
    for index, shape in zip(_TORCH_INDEX[:count], _shapes(count), strict=True):
        keys = f"features.{index}.weight", f"features.{index}.bias"
        if keys[0] not in tensors or tensors[keys[0]].shape != (shape[3], shape[2], 3, 3):
            raise ValueError(
                f"{path}: {keys[0]} of shape {(shape[3], shape[2], 3, 3)} not found; expected torchvision's vgg19"
            )
        arrays.append((tensors[keys[0]].transpose(2, 3, 1, 0), tensors[keys[1]]))
    return arrays
