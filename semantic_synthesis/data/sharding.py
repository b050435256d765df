"""`prepare shards`: a dataset's files, checked, as TFRecord files with an index (`shards` says what they hold)."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from semantic_synthesis.bars import progress_bar

from .. import storage
from ..checkpoint_files import as_os_errors
from ..config import Config
from ..files import file_sha256, locked, read_json, write_json, written_beside
from ..options import Use, option, refuse_unused
from . import catalogue, resolving
from .decoding import read_bytes
from .errors import DataError
from .pairing import Sample, find_samples
from .pipeline import Files
from .places import find_places
from .scanning import usable_cores
from .shards import FOOTER, FORMAT, HEADER, INDEX_KEY, REMEDY

DESCRIPTION = "dataset.json"


@dataclass(frozen=True)
class ShardsOptions:
    """Options of `prepare shards`."""

    dataset_mode: str = option(
        "", "Name in datasets/ or path of a .json description; empty: your own folders."
    )
    dataroot: str = option("", "Root folder of a named dataset.")
    image_dir: str = option("", "Folder of photos.")
    label_dir: str = option("", "Folder of label maps.")
    instance_dir: str = option("", "Folder of instance maps.")
    disparity_dir: str = option("", "Folder of disparity maps.")
    semantic_label_path: str = option("", "As for training.")
    pairing_check: bool = option(True, "Pair photos and label maps by file stem.")
    no_instance: bool = option(None, "Leave instance maps out.", kind=bool)
    instance_none_id: int = option(None, "As for training.", kind=int, least=0)
    disparity: bool = option(False, "Take the described disparity maps in, too.")
    split: str = option("train", "Which splits, separated by commas: train, val, test.")
    samples_per_shard: int = option(1000, "Samples in a file.", least=1)
    out: str = option("", "Folder to write to; train with --dataset_mode OUT/dataset.json.")


def make_shards(options: Any) -> int:
    """Writes the shards that are not there yet, their indices and dataset.json; the exit code.

    Every file is decoded and checked as in training (`prepare check` looks closer); the first problem ends it as one
    line, and what is written stays.
    """
    if not options.out:
        raise DataError("prepare shards needs --out FOLDER")
    names = (
        "dataroot",
        "image_dir",
        "label_dir",
        "instance_dir",
        "disparity_dir",
        "semantic_label_path",
        "pairing_check",
        "no_instance",
        "instance_none_id",
    )
    custom = options.image_dir or options.label_dir
    mode = options.dataset_mode or (catalogue.CUSTOM if custom else catalogue.SCENES)
    description = catalogue.describe(mode)
    if description.name == catalogue.SCENES:
        raise DataError(
            "scenes are rendered, not read; prepare scenes writes files, of which shards can be made"
        )
    refuse_unused(options, [Use("instance_dir", not options.no_instance, resolving.NO_INSTANCES)])
    given = {name: getattr(options, name) for name in names}
    config = resolving.fill_options(Config(**given, dataset_mode=mode), description)
    extra = ("disparity",) if options.disparity or options.disparity_dir else ()
    splits = [split.strip() for split in options.split.split(",")]
    for split in splits:  # what is wrong with the last is said before the first is made
        find_places(config, description, split)
    with locked(options.out, "another prepare shards"):
        for split in splits:
            _make_split(config, description, split, extra, options)
    return 0


def _make_split(config, description, split, extra, options):
    samples = find_samples(config, description, split, extra_maps=extra)
    first = samples if split == "train" else find_samples(config, description, "train")
    table = resolving.class_table(config, description, first)
    kinds = [kind for kind in (*catalogue.MAPS, *extra) if getattr(samples[0], kind) is not None]
    folder = storage.absolute(options.out)
    _check_description(folder, _description(config, description, table, options.out))
    job = _Job(folder, Files(_Held({}), table, description), kinds, extra, _root(config, samples))
    size = options.samples_per_shard
    parts = [samples[start : start + size] for start in range(0, len(samples), size)]
    files = [f"{split}-{i:05d}-of-{len(parts):05d}.tfrecord" for i in range(len(parts))]
    lock, made = threading.Lock(), []
    with progress_bar(total=len(samples), desc=f"shards of {split}", unit="sample") as bar:

        def advance(count):
            with lock:
                bar.update(count)

        threads = ThreadPoolExecutor(usable_cores() + 1)
        try:
            made = list(threads.map(lambda file, part: job.shard(file, part, advance), files, parts))
        finally:
            threads.shutdown(wait=True, cancel_futures=True)
    _write_index(folder, split, kinds, table, made)
    _write_description(folder, split, _description(config, description, table, options.out))
    _remove_others(folder, split, set(files))
    tqdm.write(
        f"{split}: {len(samples)} samples, shards: {len(files)}; train with "
        f"--dataset_mode {os.path.join(options.out, DESCRIPTION)}"
    )


class _Held:
    """The contents of one sample at a time, as `Files` asks for them."""

    def __init__(self, contents):
        self._contents, self.has_instances = contents, "instance" in contents

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        raise NotImplementedError

    def contents(self, _index: int, kinds: Sequence[str]) -> Iterator[tuple[bytes, str]]:
        """What `pipeline.FileSamples` gives."""
        return (self._contents[kind] for kind in kinds)


@dataclass(frozen=True)
class _Job:
    """How a split's shards are made. root: folder that the names in records are below."""

    folder: str
    files: Files
    kinds: Sequence[str]
    extra: Sequence[str]
    root: str

    def shard(self, file, samples, advance):
        """Makes a shard unless it is there, of the same files; what its side file says, and its name."""
        path = os.path.join(self.folder, file)
        sources = self._sources(samples)
        found = _finished(path, sources)
        if found is None:
            found = {**self._write(path, samples, advance), "sources": sources}
            found["sha256"] = file_sha256(path)
            write_json(path + ".json", found)
        else:
            advance(len(samples))
        return {"file": file, **found}

    def _sources(self, samples):
        """Checksum of what the shard is made of: names, sizes and times of its files, and their classes."""
        digest = hashlib.sha256(json.dumps(self.files.table.to_dict()).encode())
        for sample in samples:
            facts = [(kind, *storage.size_and_time(getattr(sample, kind))) for kind in self.kinds]
            digest.update(json.dumps([sample.stem, facts]).encode())
        return digest.hexdigest()

    def _write(self, path, samples, advance):
        place, records = 0, []
        pixels = np.zeros((2, self.files.table.num_classes), np.int64)  # of each class: pixels, files
        with written_beside(path) as part, as_os_errors(path), tf.io.TFRecordWriter(part) as writer:
            for sample in samples:
                content, counts = self._record(sample)
                writer.write(content)
                records.append([place + HEADER, len(content), zlib.crc32(content)])
                place += HEADER + len(content) + FOOTER
                pixels += [counts, counts > 0]
                advance(1)
        stems = [sample.stem for sample in samples]
        return {
            "samples": len(samples),
            "bytes": place,
            "pixels": pixels[0].tolist(),
            "files": pixels[1].tolist(),
            "records": records,
            "stems": stems,
        }

    def _record(self, sample):
        """(bytes of the Example of a sample, int64 [C] pixels of each class), after all checks."""
        paths = {kind: getattr(sample, kind) for kind in self.kinds}
        contents = {kind: (read_bytes(path), path) for kind, path in paths.items()}
        files = self.files.over(_Held(contents))
        image, label, _, _ = files.load(0)
        for kind in self.extra:
            files.load_extra(kind, 0, image.shape[:2])
        values = {"stem": sample.stem.encode()}
        for kind, (content, path) in contents.items():
            values[kind], values[f"{kind}_path"] = content, _below(path, self.root).encode()
        example = tf.train.Example(features=tf.train.Features(feature=dict(map(_feature, values.items()))))
        counts = np.bincount(label.ravel(), minlength=self.files.table.num_classes)
        return example.SerializeToString(deterministic=True), counts


def _feature(item):
    return item[0], tf.train.Feature(bytes_list=tf.train.BytesList(value=[item[1]]))


def _root(config, samples):
    """The folder above all files of the samples."""
    if config.dataroot:
        return config.dataroot
    paths = [samples[0].image, samples[0].label]
    return os.path.dirname(os.path.commonprefix([os.path.dirname(path) + "/" for path in paths]))


def _below(path, root):
    return path[len(root) :].lstrip("/") if root and path.startswith(root) else path


def _finished(path, sources):
    """What the side file of a whole shard of these sources says, None where there is none."""
    try:
        found = read_json(path + ".json", REMEDY)
        whole = found["sources"] == sources and storage.size_and_time(path)[0] == found["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if whole else None


def _write_index(folder, split, kinds, table, made):
    """The split's index: what `shards.ShardIndex` reads, and how often classes occur."""
    pixels = np.sum([shard["pixels"] for shard in made], 0)
    files = np.sum([shard["files"] for shard in made], 0)
    classes = [
        {"index": i, "name": name, "pixels": int(pixels[i]), "files": int(files[i])}
        for i, name in enumerate(table.names)
    ]
    shards = [{name: shard[name] for name in ("file", "samples", "bytes", "sha256")} for shard in made]
    values = {
        "format": FORMAT,
        "split": split,
        "samples": sum(shard["samples"] for shard in made),
        "maps": kinds,
        "shards": shards,
        "classes": classes,
    }
    write_json(os.path.join(folder, _index_name(split)), values)


def _index_name(split):
    return f"{split}.shards.json"


def _description(config, description, table, out):
    """dataset.json without its splits."""
    name = description.name
    if name == catalogue.CUSTOM:
        name = os.path.basename(storage.normal(out))
    return {
        "name": name,
        "title": description.title,
        "source": description.source,
        "class_table": table.to_dict(),
        "instance_none_id": config.instance_none_id,
        "instances": description.instances,
        "resize_maps": description.resize_maps,
        "exif": description.exif,
        "options": {**description.options, "no_instance": bool(config.no_instance)},
        "dataroot": ".",
    }


def _check_description(folder, values):
    """{split: layout} of the dataset.json that is there; DataError if it is of another dataset."""
    path = os.path.join(folder, DESCRIPTION)
    if not storage.exists(path):
        return {}
    found = read_json(path, "delete it, or choose another --out", DataError)
    splits = found.pop("splits", {}) if isinstance(found, dict) else {}
    if json.dumps(found, sort_keys=True) != json.dumps(values, sort_keys=True):
        raise DataError(f"{path}: of a dataset of other classes or options; choose another --out")
    return splits


def _write_description(folder, split, values):
    splits = {**_check_description(folder, values), split: {INDEX_KEY: _index_name(split)}}
    write_json(os.path.join(folder, DESCRIPTION), {**values, "splits": splits})


def _remove_others(folder, split, files):
    """Deletes shards of this split that an earlier one, in other parts, left."""
    rule = re.compile(rf"({re.escape(split)}-\d{{5}}-of-\d{{5}}\.tfrecord)(\.json)?")
    for name in storage.names_in(folder):
        match = rule.fullmatch(name)
        if match and match[1] not in files:
            storage.remove(os.path.join(folder, name))
