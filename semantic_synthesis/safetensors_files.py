"""The safetensors format: eight bytes of length, a JSON header, raw values.

Written out here: the format is final and this small, and the package of that name reads no bfloat16 into NumPy.
"""

import json
import math
import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from semantic_synthesis import storage
from semantic_synthesis.files import check_regular, written_beside

_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8",
    "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?", "BF16": "<u2",
}  # fmt: skip
_LONGEST_HEADER = 100_000_000  # the format's own limit
_ALIGNED = 8


def is_safetensors(path: str | Path) -> bool:
    """Whether a file begins like one of this format."""
    try:
        start = storage.read(path, 0, 9)
    except OSError:
        return False
    return (
        len(start) == 9 and start[8:] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= _LONGEST_HEADER
    )


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """{name: NumPy array} of a file; arrays are mapped into memory, bfloat16 becomes float32.

    Errors: FileNotFoundError; ValueError, one line, for damaged files and types that NumPy has not.
    """
    check_regular(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file; expected a .safetensors file")
    header, first = _header(path)
    whole = np.memmap(path, np.uint8, "r")[first:]
    spans, arrays = [], {}
    for name, entry in header.items():
        kind, shape, (start, end) = _entry(path, name, entry, whole.size)
        spans.append((start, end))
        array = np.frombuffer(whole[start:end], kind).reshape(shape)
        if entry["dtype"] == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        arrays[name] = array
    spans.sort()
    if any(end > start for (_, end), (start, _) in pairwise(spans)):
        raise _damaged(path, "values of two tensors overlap")
    return arrays


def _damaged(path, reason):
    return ValueError(f"{path}: cut off, damaged or no safetensors file ({reason}); get the file again")


def _header(path):
    """({name: entry}, place of the first value)."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, _LONGEST_HEADER):
            raise _damaged(path, f"a header of {length} bytes in a file of {size}")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise _damaged(path, f"header: {error}") from None
    if not isinstance(header, dict):
        raise _damaged(path, "its header is no table")
    header.pop("__metadata__", None)
    return header, 8 + length


def _entry(path, name, entry, size):
    """(NumPy type, shape, (start, end)) of one tensor, checked against the file's `size` bytes of values."""
    try:
        kind, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        whole = [*shape, start, end]
    except (TypeError, KeyError, ValueError):
        raise _damaged(path, f"no type, shape and place for {name}") from None
    if kind not in _TYPES:
        raise ValueError(f"{path}: {name} is of type {kind}; expected one of {', '.join(_TYPES)}")
    if not all(type(value) is int and value >= 0 for value in whole) or not start <= end <= size:
        raise _damaged(path, f"{name} lies at {[start, end]} of {size} bytes")
    if math.prod(shape) * np.dtype(_TYPES[kind]).itemsize != end - start:
        raise _damaged(path, f"{name} of type {kind} and shape {shape} has {end - start} bytes")
    return _TYPES[kind], shape, (start, end)


def write_safetensors(
    path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Writes {name: NumPy array}, whole or not at all; metadata: {text: text} for other programs."""
    names = {np.dtype(kind): name for name, kind in _TYPES.items() if name != "BF16"}
    header: dict[str, Any] = {"__metadata__": metadata}
    place = 0
    ordered = {
        name: np.ascontiguousarray(arrays[name]).reshape(np.shape(arrays[name])) for name in sorted(arrays)
    }
    for name, array in ordered.items():
        end = place + array.nbytes
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNED)
    with written_beside(path) as part, open(part, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in ordered.values():
            file.write(array.tobytes())
