"""What the parts of a memory were made of: made_of.json beside them, so that no other data are mixed in.

Parts are found by the number of their sample alone. The file says which options shaped them, and of every part a
checksum of its sample's name and file sizes; null stands for parts from before there was such a file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from semantic_synthesis.files import read_json, write_json

RECORD = "made_of.json"
_DIGITS = 16


def part_path(folder: str | Path, row: int) -> str:
    """The file of the segments of one photo."""
    return os.path.join(folder, "parts", f"{row:08d}.npz")


def rows_there(folder: str | Path) -> list[int]:
    """The numbers of all parts in a folder, in order."""
    return sorted(int(path.stem) for path in Path(folder, "parts").glob("*.npz"))


def short(values: Any) -> str:
    """A value as text for messages, long lists by their beginning and length."""
    if not isinstance(values, (list, tuple)) or len(values) < 5:
        return str(values)
    return f"{', '.join(map(str, values[:3]))}, ... {len(values)} in all"


def check_same(before: Mapping[str, Any], wanted: Mapping[str, Any], folder: str | Path) -> None:
    """ValueError, one line, for the first of the wanted values that a memory was made with another one of."""
    for key, value in wanted.items():
        if before.get(key) != value:
            raise ValueError(
                f"{folder}: made for other {key} ({short(before.get(key))}, asked for {short(value)}); choose another "
                "folder or the options it was made with"
            )


def _as_read(value):
    """The value as JSON gives it back: tuples are lists."""
    if isinstance(value, dict):
        return {name: _as_read(one) for name, one in value.items()}
    return [_as_read(one) for one in value] if isinstance(value, list | tuple) else value


def missing_rows(folder: str | Path, wanted: dict[str, Any], source: Any, shown: str | Path) -> list[int]:
    """The numbers of the samples that have no part yet, after a check that those there were made of the same.

    wanted: JSON values that all parts of a folder must agree on; source: of a `data.Dataset`; shown: the folder as
    messages name it. What the new ones are made of is written down before the first of them is.
    Errors: ValueError, one line, for parts of other options or other samples.
    """
    wanted = _as_read(wanted)
    there, before = set(rows_there(folder)), _read(folder, shown)
    marks = _marks(source)
    known: list[str | None] = []
    if before is not None:
        if there:
            check_same(before["options"], wanted, shown)
        known = before["samples"]
        _check_samples(known, marks, there, source, shown)
    missing = [row for row in range(len(source)) if row not in there]
    if missing:
        count = max(len(source), max(there, default=-1) + 1)
        known = [*known, *[None] * count][:count]
        samples = [
            known[row] if row in there else marks[row] if row < len(marks) else None for row in range(count)
        ]
        write_json(os.path.join(folder, RECORD), {"options": wanted, "samples": samples})
    return missing


def _marks(source):
    """A checksum of each sample's name and file sizes; by threads, as each is a question to the file system."""

    def mark(row):
        return hashlib.sha256(source.mark(row).encode()).hexdigest()[:_DIGITS]

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(mark, range(len(source))))


def _read(folder, shown):
    path, remedy = os.path.join(folder, RECORD), "delete it, and the parts are taken as they are"
    if not os.path.isfile(path):
        return None
    found = read_json(path, remedy)
    try:
        options, samples = found["options"], found["samples"]
        if isinstance(options, dict) and isinstance(samples, list):
            return found
    except (KeyError, TypeError):
        pass
    raise ValueError(f"{os.path.join(shown, RECORD)}: does not say what the parts were made of; {remedy}")


def _check_samples(known, marks, there, source, shown):
    both = range(min(len(known), len(marks)))
    other = [row for row in both if row in there and known[row] not in (None, marks[row])]
    if other:
        name = source.mark(other[0])
        raise ValueError(
            f"{shown}: {len(other)} of {len(there)} parts were made of other samples than the dataset has now, first "
            f"{os.path.basename(part_path('', other[0]))}, now {name}; choose another folder, or keep the samples that "
            "were there as they were: new ones are added at the end, where their names must sort"
        )
