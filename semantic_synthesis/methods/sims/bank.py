"""The memory of SIMS: segments of photos with their masks, and the photos themselves (section 3.1).

A bank folder holds photos/<n>.png (what the networks see, full size), parts/<n>.npz (the segments of each photo; what
a resumed or later run of `prepare bank` adds), made_of.json (what they were made of: `parts`), segments.npz (all of
them, sorted by class: one shard per class) and index.json (sizes, classes, counts, sha256). Masks are runs of pixels
along rows; intersections and pictures of masks come from the runs directly.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import keras
import numpy as np
import tensorflow as tf

from semantic_synthesis import storage
from semantic_synthesis.files import read_json, write_arrays
from semantic_synthesis.methods.sims.features import (
    context_features,
    grid_step,
    low_resolution,
    runs_of,
)

if TYPE_CHECKING:
    from semantic_synthesis.methods.sims.segments import Segments

INDEX, SEGMENTS = "index.json", "segments.npz"
_VOID = -1


@dataclass
class BankArrays:
    """P photos and M segments as NumPy arrays; segments are sorted by kind, photo and number.

    grid: uint16 [P,gh,gw], every step-th known class; kind, photo, number, area: int32 [M]; box: int32 [M,4]; runs:
    int32 [T,3] (row, first column, one behind the last) of the masks, run_first: int64 [M+1]; pole_runs, pole_first:
    the same of what the components have beyond the masks (thin pixels); shape: uint8 [M,512], low-resolution masks.
    """

    grid: np.ndarray
    kind: np.ndarray
    photo: np.ndarray
    number: np.ndarray
    area: np.ndarray
    box: np.ndarray
    runs: np.ndarray
    run_first: np.ndarray
    pole_runs: np.ndarray
    pole_first: np.ndarray
    shape: np.ndarray

    @classmethod
    def of_segments(cls, grid: np.ndarray, segments: Segments, rows: np.ndarray, photo: int) -> BankArrays:
        """The chosen rows of `segments.Segments` of one layout, as the segments of one photo."""
        rows = tf.constant(rows, tf.int32)
        masks = segments.masks(rows).numpy()
        poles = segments.poles(rows).numpy() & ~masks
        chosen = {
            name: tf.gather(getattr(segments, name), rows).numpy().astype(np.int32)
            for name in ("kind", "number", "area", "box")
        }
        runs, first = runs_of(masks)
        pole_runs, pole_first = runs_of(poles)
        return cls(
            grid[None].astype(np.uint16),
            chosen["kind"],
            np.full(len(masks), photo, np.int32),
            chosen["number"],
            chosen["area"],
            chosen["box"],
            runs,
            first,
            pole_runs,
            pole_first,
            low_resolution(masks),
        )

    @classmethod
    def merged(cls, parts: Sequence[BankArrays]) -> BankArrays:
        """Several of them as one; photos are numbered on in their order."""
        joined = {f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)}
        first = np.cumsum([0, *(len(part.grid) for part in parts)])
        joined["photo"] = np.concatenate([part.photo + first[i] for i, part in enumerate(parts)]).astype(
            np.int32
        )
        for name in ("run", "pole"):
            counts = np.concatenate([np.diff(getattr(part, f"{name}_first")) for part in parts])
            joined[f"{name}_first"] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        whole = cls(**joined)
        return whole.rows(np.lexsort((whole.number, whole.photo, whole.kind)))

    def rows(self, order: np.ndarray) -> BankArrays:
        """The segments of the given rows, in that order."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("kind", "photo", "number", "area", "box", "shape"):
            found[name] = found[name][order]
        for name, runs in (("run", "runs"), ("pole", "pole_runs")):
            first = found[f"{name}_first"]
            counts = np.diff(first)[order]
            starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
            index = np.arange(starts[-1]) + np.repeat(first[:-1][order] - starts[:-1], counts)
            found[runs], found[f"{name}_first"] = found[runs][index], starts
        return BankArrays(**found)

    def save(self, path: str | Path) -> None:
        """Writes an .npz file, whole or not at all."""
        write_arrays(path, {f.name: getattr(self, f.name) for f in fields(self)}, compressed=True)

    @classmethod
    def load(cls, path: str | Path) -> BankArrays:
        """Reads an .npz file; ValueError if it is damaged."""
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(**{f.name: file[f.name] for f in fields(cls)})
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise ValueError(f"{path}: damaged ({error}); run prepare bank again") from None
        except Exception as error:  # zipfile and zlib have errors of their own
            raise ValueError(f"{path}: damaged ({error}); run prepare bank again") from None

    def limited(self, photos: int) -> BankArrays:
        """The segments of the first photos alone."""
        kept = self.rows(np.flatnonzero(self.photo < photos))
        kept.grid = self.grid[:photos]
        return kept

    def shares(self, count: int, size: Sequence[int]) -> np.ndarray:
        """float [count]: mean share of the picture of the segments of each class, NaN without any."""
        share = self.area / (size[0] * size[1])
        sums = np.bincount(self.kind, share, count)[:count]
        numbers = np.bincount(self.kind, minlength=count)[:count]
        with np.errstate(invalid="ignore"):
            return sums / numbers


def digest(folder: str | Path, photos: Sequence[str]) -> str:
    """sha256 of a bank: of its segments and of the sizes and names of its photos."""
    whole = hashlib.sha256(Path(folder, SEGMENTS).read_bytes())
    for path in photos:
        whole.update(f"{path} {os.path.getsize(os.path.join(folder, path))}".encode())
    return whole.hexdigest()


def read_index(folder: str | Path) -> dict[str, Any]:
    """index.json of a bank folder; FileNotFoundError or ValueError, one line, where there is no sound one."""
    path = os.path.join(folder, INDEX)
    if not storage.is_file(path):
        raise FileNotFoundError(
            f"{folder}: no {INDEX} here; expected a folder made by python -m semantic_synthesis prepare bank"
        )
    index = read_json(path, "run prepare bank again")
    if not isinstance(index, dict):
        raise ValueError(f"{path}: no table; run prepare bank again")
    missing = {"classes", "size", "base", "photos", "segments", "sha256"} - set(index)
    if missing:
        raise ValueError(f"{path}: no {', '.join(sorted(missing))}; run prepare bank again")
    return index


def empty_arrays(base: Sequence[int]) -> BankArrays:
    """A bank without segments."""
    step, zero = grid_step(base[0]), np.zeros(0, np.int32)
    runs, first = np.zeros((0, 3), np.int32), np.zeros(1, np.int64)
    grid = np.zeros((0, -(-base[0] // step), -(-base[1] // step)), np.uint16)
    return BankArrays(
        grid, zero, zero, zero, zero, np.zeros((0, 4), np.int32), runs, first, runs, first,
        np.zeros((0, 512), np.uint8),
    )  # fmt: skip


class Bank(keras.layers.Layer):
    """The memory as tensors, no part of checkpoints; of exports it is, as what signatures read.

    Row 0 is a segment without pixels of a class that does not exist, photo 0 a black picture: what a place without
    candidate points at. arrays: BankArrays; photos: paths of their pictures (PNG, of `size` pixels), read when
    needed, until `fold` takes them into memory; size, base: (height, width) of the pictures and of the layouts.
    """

    frozen = True

    def __init__(
        self,
        arrays: BankArrays,
        photos: Sequence[str],
        size: Sequence[int],
        base: Sequence[int],
        count: int,
        name: str = "bank",
    ) -> None:
        super().__init__(name=name, autocast=False, trainable=False)
        self.size, self.base, self.count = size, base, count
        self.photo_count, self.paths = len(photos), [str(path) for path in photos]
        self.names = ["/".join(Path(path).parts[-2:]) for path in photos]
        blank = np.full((1, *arrays.grid.shape[1:]), count, np.int32)

        def first(x, value=0):
            return np.concatenate([np.full((1, *x.shape[1:]), value, np.int32), x.astype(np.int32)])

        self.first_of_kind = 1 + np.searchsorted(
            arrays.kind, np.arange(count + 1)
        )  # row of each class's first
        held = {
            "grid": np.concatenate([blank, arrays.grid.astype(np.int32)]),
            "kind": first(arrays.kind, _VOID),
            "photo": first(arrays.photo + 1),
            "number": first(arrays.number),
            "area": first(arrays.area),
            "box": first(arrays.box),
            "runs": arrays.runs,
            "run_first": np.concatenate([[0], arrays.run_first]),
            "pole_runs": arrays.pole_runs,
            "pole_first": np.concatenate([[0], arrays.pole_first]),
            "shape": np.concatenate([np.zeros((1, 512), np.uint8), arrays.shape]),
        }
        held["runs"] = np.concatenate([held["runs"], [[0, 0, 0]]]).astype(np.int32)
        held["pole_runs"] = np.concatenate([held["pole_runs"], [[0, 0, 0]]]).astype(np.int32)
        held["context"] = context_features(held["grid"], held["photo"], held["box"], base, count)
        self.tensors = {
            key: tf.Variable(array, trainable=False, name=f"bank_{key}") for key, array in held.items()
        }
        self.bytes = sum(array.nbytes for array in held.values())
        self.files = None
        self.built = True

    def fold(self) -> None:
        """Takes the files of the photos into memory, so that an export needs no folder."""
        if self.files is not None:
            return
        files = [cv2.imencode(".png", np.zeros((*self.size, 3), np.uint8))[1].tobytes()]
        files += [Path(path).read_bytes() for path in self.paths]
        self.bytes += sum(map(len, files))
        with tf.device("CPU:0"):
            self.files = tf.Variable(tf.constant(files), trainable=False, name="bank_files")

    def __getitem__(self, key: str) -> tf.Tensor:
        return tf.convert_to_tensor(self.tensors[key])

    def picture(self, photo: tf.Tensor) -> tf.Tensor:
        """float32 [H,W,3] in [0,1] of one photo, int32 []; black for photo 0."""
        if self.files is not None:
            content = tf.gather(self.files, photo)
        elif self.paths:
            content = tf.io.read_file(tf.gather(tf.constant(self.paths), tf.maximum(photo - 1, 0)))
        else:
            return tf.zeros([*self.size, 3])
        picture = tf.ensure_shape(tf.io.decode_png(content, 3), [*self.size, 3])
        return tf.cast(picture, tf.float32) / 255.0 * tf.cast(photo > 0, tf.float32)

    def masks(self, rows: tf.Tensor) -> tf.Tensor:
        """bool [R,h,w] of bank segments int32 [R]."""
        return self._drawn(rows, "runs", "run_first")

    def poles(self, rows: tf.Tensor) -> tf.Tensor:
        """bool [R,h,w]: their whole components, thin pixels included."""
        return self.masks(rows) | self._drawn(rows, "pole_runs", "pole_first")

    def runs_of_rows(
        self, rows: tf.Tensor, runs: str = "runs", first: str = "run_first"
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """(runs int32 [T,3], place of each in rows int32 [T]) of bank segments int32 [R]."""
        start, end = tf.gather(self[first], rows), tf.gather(self[first], rows + 1)
        ragged = tf.ragged.range(start, end)
        return tf.gather(self[runs], ragged.values), tf.cast(ragged.value_rowids(), tf.int32)

    def _drawn(self, rows, runs, first):
        height, width = self.base
        found, item = self.runs_of_rows(rows, runs, first)
        shape = [tf.size(rows), height, width + 1]
        starts = tf.stack([item, found[:, 0], found[:, 1]], 1)
        ends = tf.stack([item, found[:, 0], found[:, 2]], 1)
        edges = tf.concat([tf.ones_like(item), -tf.ones_like(item)], 0)
        marks = tf.scatter_nd(tf.concat([starts, ends], 0), edges, shape)
        return tf.cumsum(marks, axis=2)[:, :, :-1] > 0
