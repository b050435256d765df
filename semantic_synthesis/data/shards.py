"""Datasets as TFRecord files that `prepare shards` writes: their index, and samples by number out of them.

FOLDER/dataset.json is a description (`catalogue`) whose splits name an index, {"shards": "train.shards.json"}, and
whose class_table is that of the files. The index says how many samples each shard holds, which maps, and checksums;
beside every shard lies NAME.json with the place, length and CRC-32 of its records, and the samples' names. A record is
a tf.train.Example: the files of one sample as they were, under image, label, instance and disparity, and their paths
below the dataset (image_path ...).
Any sample is read alone, so that draws, crops and flips are those of the folder, bit for bit.
"""

from __future__ import annotations

import functools
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from .. import storage
from ..files import read_json
from .catalogue import NOUNS, Description
from .errors import DataError
from .pairing import Sample
from .places import root_of

if TYPE_CHECKING:
    from semantic_synthesis.config import Config

FORMAT = 1
INDEX_KEY = "shards"
HEADER, FOOTER = 12, 4  # bytes of a TFRecord around its content: length and its checksum; checksum
REMEDY = "run prepare shards again, which makes what is damaged anew"
_KEYS = {"format", "split", "samples", "maps", "shards", "classes"}


def index_path(config: Config, description: Description, split: str) -> str | None:
    """The path of a split's index; None where the split is no set of shards, or folders are given instead."""
    if config.image_dir or config.label_dir or not description.splits:
        return None
    name = description.layouts(split)[0].get(INDEX_KEY)
    return None if name is None else os.path.join(root_of(config, description), name)


class ShardIndex:
    """A split's index: `count` samples, `maps` (kinds), and where the record of each lies.

    FileNotFoundError or DataError, one line, for what is missing or damaged.
    """

    def __init__(self, path: str) -> None:
        self.path, self._folder = path, os.path.dirname(path)
        values = _read(path)
        if not isinstance(values, dict) or set(values) != _KEYS or values["format"] != FORMAT:
            raise DataError(f"{path}: no index of shards of this version; {REMEDY}")
        self.count, self.maps, self.shards = values["samples"], values["maps"], values["shards"]
        self.classes = values["classes"]
        with ThreadPoolExecutor(8) as threads:
            parts = list(threads.map(self._part, self.shards))
        self._ends = np.cumsum([len(part) for part in parts])
        self._records = np.concatenate(parts)
        if len(self._records) != self.count:
            raise DataError(f"{path}: says {self.count} samples, its shards {len(self._records)}; {REMEDY}")

    def _part(self, shard):
        """int64 [n,3] of a shard: place, length and CRC-32 of its records."""
        path = os.path.join(self._folder, shard["file"])
        found = _read(path + ".json")
        try:
            records = np.array(found["records"], np.int64).reshape(shard["samples"], 3)
            size = storage.size_and_time(path)[0]
        except FileNotFoundError:
            raise FileNotFoundError(f"{path}: no such file; restore it, or {REMEDY}") from None
        except (KeyError, TypeError, ValueError):
            raise DataError(f"{path}.json: damaged; {REMEDY}") from None
        if size != shard["bytes"]:
            raise DataError(
                f"{path}: {size} bytes, expected {shard['bytes']}; copy it again to its end, or {REMEDY}"
            )
        return records

    @functools.cached_property
    def stems(self) -> list[str]:
        """The names of all samples; read when somebody asks."""
        paths = [os.path.join(self._folder, shard["file"]) + ".json" for shard in self.shards]
        return [stem for path in paths for stem in _read(path)["stems"]]

    def place(self, index: int) -> tuple[str, int, int, int]:
        """(file, first byte, length, CRC-32) of the record of a sample."""
        shard = int(np.searchsorted(self._ends, index, "right"))
        start, length, checksum = map(int, self._records[index])
        return os.path.join(self._folder, self.shards[shard]["file"]), start, length, checksum

    def read(self, index: int) -> dict[str, bytes]:
        """{kind: content} and {kind_path: its name} of a sample."""
        path, start, length, checksum = self.place(index)
        try:
            content = storage.read(path, start, length)
        except FileNotFoundError:
            raise FileNotFoundError(f"{path}: no such file; restore it, or {REMEDY}") from None
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from None
        if len(content) != length or zlib.crc32(content) != checksum:
            raise DataError(f"{path}: damaged at byte {start} (sample {index}); copy it again, or {REMEDY}")
        features = tf.train.Example.FromString(content).features.feature
        return {name: value.bytes_list.value[0] for name, value in features.items()}


def _read(path):
    try:
        return read_json(path, REMEDY, DataError)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; restore it, or {REMEDY}") from None


class ShardSamples:
    """A split of shards as `pipeline.Files` reads it: length, kinds of maps, and the contents of a sample's files."""

    def __init__(
        self, config: Config, description: Description, split: str, extra_maps: Sequence[str] = ()
    ) -> None:
        path = index_path(config, description, split)
        assert path is not None
        self.index = ShardIndex(path)
        if config.no_instance is False and "instance" not in self.index.maps:
            raise DataError(
                f"{path}: these shards hold no instance maps; --no_instance, or make shards with them"
            )
        for kind in extra_maps:
            if kind not in self.index.maps:
                raise DataError(f"{path}: these shards hold no {NOUNS[kind]}s; make shards with --{kind}")
        self.has_instances = "instance" in self.index.maps and not config.no_instance
        limit = config.max_dataset_size
        self._count = min(self.index.count, limit) if limit > 0 else self.index.count

    def __len__(self) -> int:
        return self._count

    def contents(self, index: int, kinds: Sequence[str]) -> Iterator[tuple[bytes, str]]:
        """(content, name for messages) of the files of a sample, in the order of kinds."""
        record = self.index.read(index)
        path = self.index.place(index)[0]
        for kind in kinds:
            yield record[kind], f"{path}: {record[f'{kind}_path'].decode()}"

    def mark(self, index: int) -> str:
        """What tells a sample from others of its name without reading it: its name, length and checksum."""
        return " ".join([self.index.stems[index], *map(str, self.index.place(index)[2:])])

    def __getitem__(self, index: int) -> Sample:
        """What a sample was called; its maps are none of this machine's files."""
        stem = self.index.stems[index]
        return Sample(stem, stem, stem, stem if self.has_instances else None)
