"""What a figure means: its protocol, and how figures are printed and stored."""

import functools
import hashlib
import json
import os

import numpy as np


@functools.lru_cache(64)
def _sha256(path, _size, _changed):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def file_sha256(path):
    """Checksum of a file as hexadecimal text."""
    status = os.stat(path)
    return _sha256(str(path), status.st_size, status.st_mtime_ns)


def array_sha256(arrays):
    """Checksum of {name: array}, for networks that come from no file."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def write_json(path, values):
    """Writes JSON whole or not at all."""
    path = os.fspath(path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(values, file, indent=1)
        file.write("\n")
    os.replace(path + ".part", path)


def show(value):
    """A figure or a word as short text."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(rows):
    """Markdown table of dicts; the columns are the keys in the order of their first appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(show(row.get(column, "")) for column in columns) + " |" for row in rows]
    return "\n".join(lines)
