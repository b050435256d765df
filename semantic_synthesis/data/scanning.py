"""Finds the classes of a dataset without a class table by reading all its label maps once."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from semantic_synthesis.bars import progress_bar

from .decoding import decode_samples, read_bytes
from .errors import DataError, first_of
from .tables import ClassTable, describe_ids

UNKNOWN_ID = 255
MAX_SCANNED_CLASSES = 1024


def scan_classes(paths: Sequence[str], name: str, report: Callable[[str], Any]) -> ClassTable:
    """A ClassTable from label maps with one channel of ids: classes 0..largest id, 255 as unknown.

    255 counts as "unknown" unless the ids run up to it without a gap (254 is present). report: called with a line for
    each map whose palette gives an id another colour than the maps before.
    """
    found, colors = set(), {}
    for path, (ids, palette) in zip(paths, map_files(label_ids, paths, "reading label maps"), strict=True):
        found |= ids
        if message := other_palette(colors, path, palette):
            report(message)
    ids = sorted(found)
    known = [i for i in ids if i != UNKNOWN_ID or UNKNOWN_ID - 1 in found]
    raw_ids = list(range(max(known, default=-1) + 1))
    names: list[str | None] = [None] * len(raw_ids)
    unknown = None
    if UNKNOWN_ID in found and UNKNOWN_ID not in known:
        if UNKNOWN_ID not in raw_ids:
            raw_ids.append(UNKNOWN_ID)
            names.append("unknown")
        unknown = raw_ids.index(UNKNOWN_ID)
    if len(raw_ids) > MAX_SCANNED_CLASSES:
        raise DataError(
            f"{os.path.dirname(paths[0])}: ids up to {ids[-1]}; more than {MAX_SCANNED_CLASSES} classes"
            " look like instance maps or photos; check --label_dir or list the ids in --semantic_label_path"
        )
    remarks = []
    if unknown is not None:
        remarks.append(
            "255 counts as unlabelled, not as a class (where it is one: list all ids in --semantic_label_path)"
        )
    if (absent := len(raw_ids) - len(ids)) > len(ids):
        remarks.append(
            f"{absent} of the classes occur nowhere, and cost time and memory; for the others alone draft a "
            "description (prepare describe) and give it as --dataset_mode"
        )
    logging.info(
        "%s: %d classes from the label ids %s", name, len(raw_ids), "; ".join([describe_ids(ids), *remarks])
    )
    return ClassTable.create(name, raw_ids, names, unknown=unknown)


def label_ids(path: str | Path) -> tuple[set[int], dict[int, tuple[int, ...]]]:
    """The set of ids in a label map with one channel, and {id: colour} where it has a palette; RGB maps are errors."""
    header, samples = decode_samples(read_bytes(path), path)
    if samples.ndim == 3:
        raise DataError(
            f"{path}: label map in RGB, but no class table says which colour is which class; draft one with"
            " python -m semantic_synthesis prepare describe and give it as --dataset_mode"
        )
    ids = np.flatnonzero(np.bincount(samples.ravel())).tolist()
    palette = [] if header.palette is None else header.palette.tolist()
    return set(ids), {i: tuple(palette[i]) for i in ids if i < len(palette)}


def other_palette(
    colors: dict[int, tuple], path: str | Path, palette: Mapping[int, tuple[int, ...]]
) -> str | None:
    """The error line for a map whose palette, {id: colour}, gives an id another colour than the maps before; None for
    others. colors: {id: (colour, first file)} so far, to which it adds."""
    for index, color in palette.items():
        first, where = colors.setdefault(index, (color, path))
        if color != first:
            return (
                f"{path}: its palette gives index {index} the colour {color}, that of {where} {first}: the same ids"
                " are not the same classes; save the maps as one-channel ids, or as RGB with a class table"
            )
    return None


def map_files(function: Callable, items: Sequence[Any], text: str) -> Iterator[Any]:
    """Yields function(item) in order, computed by threads, with a progress bar."""
    threads = ThreadPoolExecutor(usable_cores() + 1)
    try:
        yield from progress_bar(threads.map(function, items), total=len(items), desc=text, unit="file")
    finally:
        threads.shutdown(wait=True, cancel_futures=True)


def map_sound_files(function: Callable, paths: Sequence[str], text: str) -> list[Any]:
    """[function(path)] of all files; one DataError about every file for which it raised one."""

    def tried(path):
        try:
            return function(path), None
        except (DataError, FileNotFoundError) as error:
            return None, str(error)

    found = list(map_files(tried, paths, text))
    wrong = [message for _, message in found if message is not None]
    if len(wrong) > 1:
        raise DataError(f"{len(wrong)} of {len(found)} files cannot be used: {first_of(wrong)}")
    if wrong:
        raise DataError(wrong[0])
    return [value for value, _ in found]


def usable_cores() -> int:
    """The number of cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
