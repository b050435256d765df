"""mIoU and pixel accuracy of pictures under a segmenter: does a picture show its layout?

A segmenter is an object with `classes(pictures uint8 [N,H,W,3]) -> int [N,h,w]` and name, sha256, resize.
`open_segmenter` makes one of "scenes" (the built-in judge), a SavedModel folder or an .onnx file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from semantic_synthesis import storage
from semantic_synthesis.data import fit_image, fit_label
from semantic_synthesis.evaluation.judge import load_judge
from semantic_synthesis.files import array_sha256, file_sha256

SCENES = "scenes"


class Confusion:
    """Counts int64 [C,C] of pixels: rows are the layout's classes, columns the segmenter's.

    ignore: the class or classes of the layout whose pixels do not count ("unknown").
    """

    def __init__(self, num_classes: int, ignore: int | Sequence[int] = ()) -> None:
        self.num_classes, self.ignore = num_classes, ignore
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def update(self, label: np.ndarray, predicted: np.ndarray) -> None:
        """Adds maps int [...] of equal shape; ids of `predicted` outside [0,C) count as wrong."""
        label, predicted = np.asarray(label).ravel().astype(np.int64), np.asarray(predicted).ravel()
        kept = ~np.isin(label, self.ignore)
        label, predicted = label[kept], predicted[kept].astype(np.int64)
        size = self.num_classes
        outside = (predicted < 0) | (predicted >= size)
        predicted = np.where(outside, (label + 1) % size, predicted)  # any wrong class
        self.counts += np.bincount(label * size + predicted, minlength=size * size).reshape(size, size)

    def merge(self, other: Confusion) -> None:
        """Adds what another Confusion saw."""
        self.counts += other.counts

    @property
    def pixel_accuracy(self) -> float:
        """Share of pixels whose class is the layout's."""
        return float(np.trace(self.counts) / max(self.counts.sum(), 1))

    @property
    def class_iou(self) -> np.ndarray:
        """float64 [C]: intersection over union; NaN for classes that no layout has."""
        hits, rows = np.diag(self.counts), self.counts.sum(1)
        union = rows + self.counts.sum(0) - hits
        return np.where(rows > 0, hits / np.maximum(union, 1), np.nan)

    @property
    def mean_iou(self) -> float:
        """Mean of class_iou over the classes that occur in the layouts."""
        found = self.class_iou
        return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")


class SavedModelSegmenter:
    """A SavedModel with signature serving_default: one picture tensor in, one tensor out.

    In: [N,H,W,3] RGB, values 0 to 255, uint8 or float32; what the network wants beyond that (means,
    scales) belongs into the model. Free sizes get pictures as they are, fixed ones resized pictures.
    Out: integers [N,h,w], the classes; or floats [N,h,w,K], scores of which the largest counts.
    """

    def __init__(self, folder: str) -> None:
        try:
            self._model = tf.saved_model.load(folder)
        except (OSError, ValueError, tf.errors.OpError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"--segmenter {folder}: not a SavedModel ({reason})") from None
        self._function = self._model.signatures.get("serving_default")
        if self._function is None:
            names = ", ".join(self._model.signatures) or "none"
            raise ValueError(f"--segmenter {folder}: signatures {names}; expected serving_default")
        inputs, outputs = self._function.structured_input_signature[1], self._function.structured_outputs
        if len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(
                f"--segmenter {folder}: {len(inputs)} inputs and {len(outputs)} outputs; expected one "
                "picture tensor [N,H,W,3] and one tensor of classes [N,h,w] or scores [N,h,w,K]"
            )
        (self._input, spec), (self._output,) = next(iter(inputs.items())), outputs
        if spec.shape.rank != 4 or spec.shape[-1] != 3 or spec.dtype not in (tf.uint8, tf.float32):
            raise ValueError(f"--segmenter {folder}: input {spec}; expected uint8 or float32 [N,H,W,3]")
        self._size, self._dtype = spec.shape[1:3].as_list(), spec.dtype
        self.name = f"SavedModel {os.path.basename(os.path.normpath(folder))}"
        self.sha256 = _folder_sha256(folder)
        self.resize = _resize_rule(self._size)

    def classes(self, pictures: np.ndarray) -> np.ndarray:
        """int [N,h,w]."""
        fitted = tf.cast(_fitted(pictures, self._size), self._dtype)
        return _as_classes(self._function(**{self._input: fitted})[self._output].numpy(), self.name)


class OnnxSegmenter:
    """An ONNX network: one picture tensor [N,H,W,3] or [N,3,H,W], RGB 0 to 255, uint8 or float32.

    Out: integers [N,h,w], or scores [N,h,w,K] ([N,K,h,w] where the input is [N,3,H,W]).
    """

    def __init__(self, path: str) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise ValueError(
                f"--segmenter {path}: .onnx needs onnxruntime (pip install onnxruntime); or give a SavedModel"
            ) from None
        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (spec,) = self._session.get_inputs()[:1]
        self._input, self._first = spec.name, spec.shape[1] == 3
        sides = spec.shape[2:4] if self._first else spec.shape[1:3]
        self._size = [side if isinstance(side, int) else None for side in sides]
        self._dtype = np.uint8 if "uint8" in spec.type else np.float32
        self.name, self.sha256 = f"ONNX {os.path.basename(path)}", file_sha256(path)
        self.resize = _resize_rule(self._size)

    def classes(self, pictures: np.ndarray) -> np.ndarray:
        """int [N,h,w]."""
        fitted = _fitted(pictures, self._size).astype(self._dtype)
        fitted = fitted.transpose(0, 3, 1, 2) if self._first else fitted
        output = self._session.run(None, {self._input: fitted})[0]
        if self._first and output.ndim == 4:
            output = output.transpose(0, 2, 3, 1)
        return _as_classes(output, self.name)


def open_segmenter(name: str, num_classes: int | None = None) -> Any:
    """The segmenter of --segmenter: "scenes", a SavedModel folder, or an .onnx file."""
    if name == SCENES:
        judge = load_judge()
        if num_classes is not None and num_classes != judge.network.outputs[0].shape[-1]:
            raise ValueError(
                f"--segmenter scenes knows {judge.network.outputs[0].shape[-1]} classes, the layouts have "
                f"{num_classes}; give a segmenter of your dataset (SavedModel or .onnx)"
            )
        return judge
    if storage.is_folder(name):
        return SavedModelSegmenter(name)
    expected = "expected scenes, a SavedModel folder or .onnx"
    if not storage.is_file(name):
        raise FileNotFoundError(f"--segmenter {name}: no such file; {expected}")
    if not name.endswith(".onnx"):
        raise ValueError(f"--segmenter {name}: unknown kind of file; {expected}")
    with storage.brought(name) as here:
        return OnnxSegmenter(here)


def score_batch(confusion: Confusion, segmenter: Any, pictures: np.ndarray, labels: np.ndarray) -> None:
    """Adds a batch: the segmenter's classes, nearest neighbour to the layouts' size, against the layouts."""
    for label, predicted in zip(labels, segmenter.classes(pictures), strict=True):
        confusion.update(label, fit_label(predicted, *np.shape(label)))


def _fitted(pictures, size):
    if None in size or tuple(pictures.shape[1:3]) == tuple(size):
        return np.asarray(pictures)
    return np.stack([fit_image(picture, *size) for picture in pictures])


def _resize_rule(size):
    return "none" if None in size else f"{size[1]}x{size[0]}, area averaging or cubic"


def _as_classes(output, name):
    if output.ndim == 4 and output.shape[-1] == 1 and np.issubdtype(output.dtype, np.integer):
        return output[..., 0]
    if output.ndim == 4 and np.issubdtype(output.dtype, np.floating):
        return np.argmax(output, -1)
    if output.ndim == 3 and np.issubdtype(output.dtype, np.integer):
        return output
    raise ValueError(
        f"{name}: output {output.dtype} {output.shape}; expected integers [N,h,w] or float scores [N,h,w,K]"
    )


def _folder_sha256(folder):
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            found[os.path.relpath(path, folder)] = np.frombuffer(file_sha256(path).encode(), np.uint8)
    return array_sha256(found)
