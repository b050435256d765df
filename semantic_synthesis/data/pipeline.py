"""Batches of a dataset: a stream that is a pure function of the seed and the step."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import tensorflow as tf

from .. import storage
from . import catalogue
from .decoding import (
    check_upright,
    decode_disparity,
    decode_image,
    decode_instance,
    decode_label,
    read_bytes,
)
from .errors import DataError
from .geometry import Geometry, fit_label, same_shape
from .instances import compact, regions
from .pairing import Sample, find_samples
from .rarity import Rarity
from .scanning import usable_cores
from .scenes import SIZE_RANGE, render_scene
from .shards import ShardSamples, index_path
from .tables import ClassTable

if TYPE_CHECKING:
    from semantic_synthesis.config import Config
    from semantic_synthesis.data.catalogue import Description

HELD_OUT_SEED = 1_000_000
SCENES_CACHE_BYTES = 1 << 30
_EPOCHS, _CROPS = 1, 2


def open_dataset(
    config: Config,
    split: str = "train",
    instance_maps: str | None = "objects",
    extra_maps: Sequence[str] = (),
) -> Dataset:
    """The Dataset of a resolved config; split is "train", "val" or "test".

    instance_maps: what batches hold as instance maps: objects (if the config uses instance maps), regions
    (always; by class where there are no objects), or None. extra_maps: further kinds, of catalogue.EXTRA_MAPS.
    """
    table = ClassTable.from_dict(config.class_table, "class_table of the run")
    description = catalogue.describe(config.dataset_mode)
    geometry = Geometry.of(config)
    if description.name == catalogue.SCENES:
        first_seed = 0 if split == "train" else HELD_OUT_SEED
        count = config.max_dataset_size or config.scenes_count
        source: Files | RenderedScenes = RenderedScenes(
            first_seed, min(count, config.scenes_count), geometry, not config.no_instance
        )
    else:
        samples: FileSamples | ShardSamples
        if index_path(config, description, split):
            samples = ShardSamples(config, description, split, extra_maps)
        else:
            samples = FileSamples(find_samples(config, description, split, extra_maps=extra_maps))
        source = Files(samples, table, description)
    rarity = None
    if config.rarity_dir and split == "train":
        rarity = Rarity(config.rarity_dir, len(source), functools.partial(_numbers, config.seed))
    return Dataset(config, table, geometry, source, instance_maps, rarity, extra_maps)


class FileSamples:
    """Samples whose maps are files of their own; `shards.ShardSamples` are the others."""

    def __init__(self, samples: list[Sample]) -> None:
        self._samples = samples
        self.has_instances = samples[0].instance is not None

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]

    def contents(self, index: int, kinds: Sequence[str]) -> Iterator[tuple[bytes, str]]:
        """(content, name for messages) of the files of a sample, in the order of kinds."""
        for kind in kinds:
            path = getattr(self._samples[index], kind)
            yield read_bytes(path), path

    def mark(self, index: int) -> str:
        """What tells a sample from others of its name without reading it: its name and the sizes of its files."""
        sample = self._samples[index]
        paths = filter(None, (sample.image, sample.label, sample.instance))
        return " ".join([sample.stem, *(str(storage.size_and_time(path)[0]) for path in paths)])


class Files:
    """Samples from files.

    `load(i)` gives (image uint8 [h, w, 3], label [h, w], instance [h, w] or None, name).
    """

    def __init__(
        self, samples: FileSamples | ShardSamples | Any, table: ClassTable, description: Description
    ) -> None:
        self.samples = samples
        self.table = table
        self.description = description
        self.instance_none_id = description.instance_none_id
        self.has_instances = samples.has_instances
        self._resize_maps, self._turned = description.resize_maps, description.exif == catalogue.STORED

    def __len__(self) -> int:
        return len(self.samples)

    def over(self, samples: Any) -> Files:
        """The same rules for other samples, for `prepare shards`."""
        return Files(samples, self.table, self.description)

    def mark(self, index: int) -> str:
        """What tells sample `index` from others without reading it."""
        return self.samples.mark(index)

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, str]:
        """Sample `index`, decoded and validated."""
        kinds = ("image", "label", "instance") if self.has_instances else ("image", "label")
        contents = self.samples.contents(index, kinds)
        content, photo = next(contents)
        if not self._turned:
            check_upright(content, photo)
        image = decode_image(content, photo)
        content, path = next(contents)
        label = self._fitted(decode_label(content, self.table, path), path, image, photo)
        instance = None
        if self.has_instances:
            content, path = next(contents)
            instance = self._fitted(decode_instance(content, path), path, image, photo)
        return image, label, instance, photo

    def load_extra(self, kind: str, index: int, shape: tuple[int, ...]) -> np.ndarray:
        """Another map of sample `index`, int32 [h, w] of the photo's shape."""
        content, path = next(self.samples.contents(index, (kind,)))
        map_ = decode_disparity(content, path)
        fits = same_shape(map_.shape, shape) if self._resize_maps else map_.shape == shape
        if not fits:
            raise DataError(
                f"{path}: {map_.shape[1]}x{map_.shape[0]} pixels, the photo has {shape[1]}x{shape[0]}; "
                f"expected equal {'shapes' if self._resize_maps else 'sizes'}"
            )
        return fit_label(map_, *shape)

    def _fitted(self, map_, path, image, image_path):
        """The map at the photo's size, which it must have unless the dataset says otherwise."""
        if message := size_message(path, map_, image_path, image, self._resize_maps):
            raise DataError(message)
        return fit_label(map_, *image.shape[:2])


def size_message(
    path: str | Path, map_: np.ndarray, image_path: str | Path, image: np.ndarray, resize: bool
) -> str | None:
    """The error line for a map whose size is not the photo's or, with `resize`, whose shape is not; None if it fits."""
    if same_shape(map_.shape, image.shape) if resize else map_.shape == image.shape[:2]:
        return None
    return (
        f"{path}: {map_.shape[1]}x{map_.shape[0]} pixels, but {image_path} has"
        f" {image.shape[1]}x{image.shape[0]}; expected equal {'shapes' if resize else 'sizes'}: check that they are a"
        " pair and that no"
        " EXIF entry rotates the photo, or resize the map with nearest neighbour"
    )


class RenderedScenes:
    """Rendered landscapes, kept in memory up to SCENES_CACHE_BYTES; `load` as Files."""

    instance_none_id = 0

    def __init__(self, first_seed: int, count: int, geometry: Geometry, has_instances: bool) -> None:
        self.first_seed = first_seed
        self.count = count
        self.height, self.width = geometry.source_size()
        low, high = SIZE_RANGE
        if not (low <= self.height <= high and low <= self.width <= high):
            raise DataError(
                f"scenes are {low} to {high} pixels wide and high; asked for {self.width}x{self.height}"
            )
        self.has_instances = has_instances
        self._cache = {}
        self._lock = threading.Lock()
        bytes_each = 8 * self.height * self.width  # 3 a pixel of the photo, 1, 2 and 2 of the maps
        self._room = SCENES_CACHE_BYTES // bytes_each

    def __len__(self) -> int:
        return self.count

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, str]:
        """Scene `index`, rendered on first use."""
        scene = self._scene(index)
        return scene.image, scene.label, scene.instance, self.mark(index)

    def mark(self, index: int) -> str:
        """What tells one scene from another, as of `Files`."""
        return f"scene {self.first_seed + index}"

    def load_extra(self, kind: str, index: int, shape: tuple[int, ...]) -> np.ndarray:
        """Another map of scene `index`, int32 [h, w]."""
        return getattr(self._scene(index), kind).astype(np.int32)

    def _scene(self, index):
        scene = self._cache.get(index)
        if scene is None:
            scene = render_scene(self.first_seed + index, self.height, self.width)
            with self._lock:
                if len(self._cache) < self._room:
                    self._cache[index] = scene
        return scene


class Dataset:
    """A split of a dataset: `table`, `size` (samples per epoch), `has_instances` and `batches`."""

    def __init__(
        self,
        config: Config,
        table: ClassTable,
        geometry: Geometry,
        source: Files | RenderedScenes,
        instance_maps: str | None = "objects",
        rarity: Rarity | None = None,
        extra_maps: Sequence[str] = (),
    ) -> None:
        self.table = table
        self._regions = instance_maps == "regions"
        self.has_instances = self._regions or (source.has_instances and instance_maps is not None)
        self._extra_maps = extra_maps
        self.seed = config.seed
        self.count = len(source)
        self.size = rarity.size if rarity else max(1, int(config.prob_dataset * self.count))
        none = config.instance_none_id
        self._none_id = source.instance_none_id if none is None else none
        self._rarity = rarity
        self._geometry = geometry
        self._order = functools.lru_cache(4)(
            lambda epoch: np.argsort(_numbers(config.seed, _EPOCHS, epoch, self.count), kind="stable")
        )
        self.source = source

    def batches(
        self, batch_size: int, first_step: int = 0, training: bool = True, share: tuple[int, int] = (0, 1)
    ) -> tf.data.Dataset:
        """The tf.data.Dataset of the batches of steps first_step, first_step + 1, ...

        Elements: image float32 [B, H, W, 3] in [-1, 1]; label int32 [B, H, W] in [0, C); instance int32
        [B, H, W], if has_instances, of 0 (none) and 1..I, or regions of 0..I-1; extra maps int32
        [B, H, W]; row int64 [B], the number of the sample in the whole stream, step * batch_size + position. In
        training, if the dataset has them (`Rarity`), also rarity float32 [B, H, W] in (0, 1].
        Training: endless; each epoch draws `size` samples in a new order; crop and flip depend on the
        seed and the row alone. Testing: all samples once, in order, resized or cropped in the middle;
        the last batch may be smaller.
        share: (i, n), in training: only the i-th of n equal parts of every batch, B = batch_size / n; nothing of
        the others is read.
        """
        if training:
            part = batch_size // share[1]
            first = share[0] * part
            rows = tf.data.Dataset.counter(first_step).map(
                lambda step: step * batch_size + first + tf.range(part, dtype=tf.int64)
            )
        else:
            first_row = first_step * batch_size
            rows = tf.data.Dataset.range(first_row, max(self.count, first_row)).batch(batch_size)
        read = functools.partial(self._read, training=training)
        return rows.map(read, num_parallel_calls=2, deterministic=True).prefetch(2)

    def drawn(self, row: int) -> int:
        """The sample that training draws for a row: by rarity, or entry row % size of a permutation per epoch."""
        if self._rarity:
            return self._rarity.drawn(row)
        return int(self._order(row // self.size)[row % self.size])

    def _read(self, rows, training):
        """Rows int64 [B] -> the batch described in `batches`."""
        types = self._types(training)
        load = functools.partial(self._load_batch, types=types, training=training)
        maps = tf.numpy_function(load, [rows], [tf.as_dtype(dtype) for dtype in types.values()])
        size = [rows.shape[0], self._geometry.height, self._geometry.width]
        for tensor in maps:
            tensor.set_shape(size + [3] * (tensor.dtype == tf.uint8))
        batch = dict(zip(types, maps, strict=True), row=rows)
        batch["image"] = tf.cast(batch["image"], tf.float32) * (1 / 127.5) - 1.0  # [B, H, W, 3] in [-1, 1]
        return batch

    def _types(self, training):
        """{map: NumPy type}: what `_load` gives of a sample, in its order."""
        types = {"image": np.uint8, "label": np.int32}
        if self.has_instances:
            types["instance"] = np.int32
        types |= dict.fromkeys(self._extra_maps, np.int32)
        if training and self._rarity:
            types["rarity"] = np.float32
        return types

    def _load_batch(self, rows, types, training):
        """numpy: the maps of `types`, image uint8 [B, H, W, 3], all others [B, H, W]."""
        size = len(rows), self._geometry.height, self._geometry.width
        maps = [np.empty((*size, 3) if name == "image" else size, dtype) for name, dtype in types.items()]

        def load(position):
            row = int(rows[position])
            if training:
                arrays = self._load(self.drawn(row), _numbers(self.seed, _CROPS, row, 3) * 2.0**-64)
            else:
                arrays = self._load(row, None)
            for batch, array in zip(maps, arrays, strict=True):
                batch[position] = array

        list(_threads().map(load, range(len(rows))))
        return maps

    def _load(self, index, draws):
        """numpy: one sample's maps after the geometry; every user error as a DataError."""
        try:
            image, label, instance, name = self.source.load(index)
            box = self._geometry.box(*label.shape, draws, name)
            extra = [self.source.load_extra(kind, index, label.shape) for kind in self._extra_maps]
        except FileNotFoundError as error:
            raise DataError(str(error)) from None
        maps = [box.image(image), box.map(label)]
        if self.has_instances:
            objects = box.map(instance) if self.source.has_instances else None
            if objects is not None and (self._none_id or not self._regions):
                objects = compact(objects, self._none_id)
            maps.append(regions(maps[1], objects) if self._regions else objects)
        maps += [box.map(map_) for map_ in extra]
        if draws is not None and self._rarity:
            maps.append(box.map(fit_label(self._rarity.mask(index), *label.shape)))
        return maps


@functools.cache
def _threads():
    """The threads that decode; OpenCV's own threads would compete with them."""
    cv2.setNumThreads(1)
    return ThreadPoolExecutor(usable_cores() + 1)


def _numbers(seed, purpose, number, count):
    """uint64 [count], random numbers that depend on the arguments alone."""
    key = [int(seed) % (1 << 64), number]
    return np.random.Philox(key=key, counter=[0, 0, 0, purpose]).random_raw(count)
