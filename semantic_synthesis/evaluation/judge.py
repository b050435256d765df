"""The built-in segmenter for scenes: a small U-Net that reads pictures of 128x128.

It judges whether a picture shows its layout (mIoU), and its features stand in for Inception's where those
weights cannot be had: scores in them are comparable with each other, never with published ones.
Pictures are folded 2x2 into channels first, so most of the work happens at 64x64. It learned from rendered
scenes alone, none of which any generator trains or is scored on (`TRAINING_SEED`).

    python benchmarks/scenes.py --train_judge
"""

from __future__ import annotations

import itertools
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from semantic_synthesis.data import fit_image, fit_label
from semantic_synthesis.data.scenes import CLASSES, render_scene
from semantic_synthesis.files import file_sha256, shipped, write_arrays

SIZE = 128
TRAINING_SEED = 500_000  # scenes of generators start at 0, held-out ones at 1,000,000
FOLDER = str(shipped("checkpoints", "scenes_judge"))
_FILE = "weights.npz"
_WIDTHS = (24, 48, 80, 112)  # encoder's channels at 64, 32, 16 and 8 pixels


class Judge:
    """A trained judge. Pictures are uint8 [N,H,W,3], resized to 128x128 where they are not.

    `classes(pictures)` -> int32 [N,128,128]; `features(pictures)` -> float32 [N,264], the encoder's four
    feature maps averaged over the picture; `maps(pictures)` -> the four maps, float32 [N,h,w,F].
    """

    name = "scenes judge"
    dims = sum(_WIDTHS)

    def __init__(self, network: keras.Model, sha256: str = "") -> None:
        self.network, self.sha256 = network, sha256
        self.resize = f"{SIZE}x{SIZE}, area averaging or cubic"
        self._call = tf.function(lambda pictures: network(scale(pictures), training=False))

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """The features; so a judge is a feature network."""
        return self.features(pictures)

    def classes(self, pictures: np.ndarray) -> np.ndarray:
        """int32 [N,128,128]: the class of each pixel."""
        return np.argmax(self._outputs(pictures)[0], -1).astype(np.int32)

    def features(self, pictures: np.ndarray) -> np.ndarray:
        """float32 [N,264]."""
        return np.concatenate([feature.mean((1, 2)) for feature in self.maps(pictures)], -1)

    def maps(self, pictures: np.ndarray) -> list[np.ndarray]:
        """float32 [N,h,w,F] for 64x64x24, 32x32x48, 16x16x80, 8x8x112."""
        return self._outputs(pictures)[1:]

    def field(self, samples: np.ndarray) -> np.ndarray:
        """float32 [H,W]: at every pixel the squared difference of unit-length features, mean over the four maps and
        over all pairs of uint8 [S,H,W,3], S at least 2."""
        maps = [m / (np.linalg.norm(m, axis=-1, keepdims=True) + 1e-6) for m in self.maps(samples)]
        fields = []
        for i, j in itertools.combinations(range(len(samples)), 2):
            differences = [((m[i] - m[j]) ** 2).sum(-1) for m in maps]
            fields.append(np.mean([fit_label(d, *samples.shape[1:3]) for d in differences], 0))
        return np.mean(fields, 0)

    def _outputs(self, pictures):
        fitted = np.stack([fit_image(picture, SIZE, SIZE) for picture in pictures])
        return [output.numpy() for output in self._call(fitted)]


def scale(pictures: np.ndarray | tf.Tensor) -> tf.Tensor:
    """uint8 [N,H,W,3] -> float32 in [-1,1]."""
    return tf.cast(pictures, tf.float32) / 127.5 - 1.0


def build_network() -> keras.Model:
    """Keras model: float32 [N,128,128,3] in [-1,1] -> logits [N,128,128,C] and the encoder's four maps."""
    picture = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Lambda(lambda t: tf.nn.space_to_depth(t, 2), name="fold")(picture)  # [N,64,64,12]
    maps = []
    for level, width in enumerate(_WIDTHS):
        if level:
            x = keras.layers.MaxPool2D(name=f"pool_{level}")(x)
            x = _block(x, width, f"down_{level}a")
        x = _block(x, width, f"down_{level}")
        maps.append(x)
    for level in (2, 1, 0):
        x = _block(x, _WIDTHS[level], f"narrow_{level}", 1)
        x = keras.layers.UpSampling2D(interpolation="bilinear", name=f"up_{level}")(x)
        x = keras.layers.Concatenate(name=f"join_{level}")([x, maps[level]])
        x = _block(x, _WIDTHS[level] + 8 * (level == 0), f"merge_{level}")
    x = keras.layers.Conv2D(4 * len(CLASSES), 1, name="head")(x)  # [N,64,64,4C]
    logits = keras.layers.Lambda(lambda t: tf.nn.depth_to_space(t, 2), name="unfold")(x)
    return keras.Model(picture, [logits, *maps], name="scenes_judge")


def _block(x, width, name, size=3):
    x = keras.layers.Conv2D(width, size, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = keras.layers.BatchNormalization(momentum=0.97, name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def load_judge(folder: str | Path = FOLDER) -> Judge:
    """The Judge of a folder with weights.npz.

    Errors: FileNotFoundError without the file, ValueError if it is damaged.
    """
    path = os.path.join(folder, _FILE)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"{path}: the judge for scenes is missing; make it with python benchmarks/scenes.py --train_judge"
        )
    network = build_network()
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for weight in network.weights:
                weight.assign(arrays[weight.path].astype(np.float32))
    except (zipfile.BadZipFile, EOFError, OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: damaged ({error}); get the file again or train the judge anew") from None
    return Judge(network, file_sha256(path))


def save_judge(network: keras.Model, folder: str | Path) -> Any:
    """Writes weights.npz, float16 but for the norms' statistics, whole or not at all."""
    path = os.path.join(folder, _FILE)
    arrays = {}
    for weight in network.weights:
        small = weight.path.endswith("kernel")
        arrays[weight.path] = weight.numpy().astype(np.float16 if small else np.float32)
    write_arrays(path, arrays, compressed=True)
    return path


def train_judge(
    steps: int = 1200,
    batch_size: int = 8,
    scenes: int = 4000,
    seed: int = 0,
    learning_rate: float = 3e-3,
    report: Callable[[str], Any] = lambda text: None,
) -> Judge:
    """Trains a judge on rendered scenes; the Judge.

    Loss: cross-entropy, each class weighted by (its share of the pixels)^-0.35; Adam, linear warm-up over
    50 steps and cosine decay to 0. Pictures are mirrored at random and get noise of 2 % of the range.
    """
    keras.utils.set_random_seed(seed)
    network = build_network()
    optimizer = keras.optimizers.Adam(_cosine(learning_rate, steps), beta_2=0.99)
    optimizer.build(network.trainable_variables)
    stream = _scene_batches(scenes, batch_size, seed)
    weights = _class_weights(next(stream)[1] for _ in range(8))

    @tf.function
    def step(pictures, labels):
        noisy = scale(pictures) + tf.random.normal(tf.shape(pictures), stddev=0.04)
        with tf.GradientTape() as tape:
            logits = network(noisy, training=True)[0]
            terms = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(terms * tf.gather(weights, labels))
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        return loss

    for number in range(1, steps + 1):
        loss = step(*next(stream))
        if number % 50 == 0 or number == steps:
            report(f"step {number} of {steps}: loss {float(loss):.3f}")
    return Judge(network)


def _cosine(rate, steps):
    warm = min(50, steps // 2)
    return keras.optimizers.schedules.CosineDecay(
        rate / 10, max(steps - warm, 1), warmup_target=rate, warmup_steps=warm
    )


def _class_weights(labels):
    """float32 [C] with mean 1 over the pixels of some batches."""
    counts = np.bincount(np.concatenate([label.ravel() for label in labels]), minlength=len(CLASSES))
    share = (counts + 1) / counts.sum()
    weights = share**-0.35
    return tf.constant(weights / np.sum(share * weights), tf.float32)


def _scene_batches(scenes, batch_size, seed):
    """Endless batches (uint8 [B,128,128,3], int32 [B,128,128]); a scene is rendered once."""
    rng, kept = np.random.default_rng(seed), {}
    while True:
        order = rng.permutation(scenes)
        for start in range(0, scenes - batch_size + 1, batch_size):
            pictures, labels = [], []
            for index in order[start : start + batch_size]:
                if index not in kept:
                    scene = render_scene(TRAINING_SEED + int(index), SIZE, SIZE)
                    kept[index] = scene.image, scene.label
                turn = slice(None, None, -1 if rng.random() < 0.5 else 1)
                pictures.append(kept[index][0][:, turn])
                labels.append(kept[index][1][:, turn])
            yield np.stack(pictures), np.stack(labels).astype(np.int32)
