"""Drafts a dataset's description from what its label maps hold."""

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .decoding import decode_samples, read_bytes
from .errors import DataError
from .scanning import map_files
from .tables import palette_color

MAX_COLORS = 1024
TOO_MANY = "a label map has one exact colour per class: are these photos, or are their edges smoothed?"


def color_counts(path: str | Path) -> tuple[str, dict, np.ndarray | None]:
    """A label map's content: ("ids", {id: pixels}, palette or None) or ("colors", {rgb: pixels}, None)."""
    header, samples = decode_samples(read_bytes(path), path)
    if samples.ndim == 2:
        counts = np.bincount(samples.ravel())
        return "ids", {int(i): int(counts[i]) for i in np.flatnonzero(counts)}, header.palette
    values, counts = np.unique(samples.reshape(-1, 3), axis=0, return_counts=True)  # [N, 3], [N]
    if len(values) > MAX_COLORS:
        raise DataError(f"{path}: {len(values)} colours; {TOO_MANY}")
    return "colors", {tuple(v): int(n) for v, n in zip(values.tolist(), counts, strict=True)}, None


def drafted_classes(paths: Sequence[str]) -> list[dict[str, Any]]:
    """The classes' JSON entries from the ids or colours found in label maps."""
    kinds, counts = set(), Counter()
    palette: Any = None
    for kind, found, colors in map_files(color_counts, paths, "reading label maps"):
        kinds.add(kind)
        counts.update(found)
        palette = colors if palette is None else palette
    if len(kinds) > 1:
        raise DataError(f"{os.path.dirname(paths[0])}: label maps of ids and label maps in RGB; use one kind")
    if kinds == {"colors"}:
        colors = sorted(counts)
        if len(colors) > MAX_COLORS:
            raise DataError(f"{os.path.dirname(paths[0])}: {len(colors)} colours in all; {TOO_MANY}")
        return [{"id": i, "name": f"class {i}", "color": list(c)} for i, c in enumerate(colors)]
    classes = []
    for i in sorted(counts):
        given = palette is not None and i < len(palette)
        color = palette[i].tolist() if given else list(palette_color(i))
        name = "unknown" if i == 255 and 254 not in counts else f"class {i}"
        classes.append({"id": i, "name": name, "color": color})
    if len({tuple(c["color"]) for c in classes}) < len(classes):
        classes = [{**c, "color": list(palette_color(c["id"]))} for c in classes]
    return classes


def description_text(description: Mapping[str, Any]) -> str:
    """A description as JSON text with one class per line."""
    classes = ",\n".join("    " + json.dumps(entry) for entry in description["classes"])
    rest = json.dumps({**description, "classes": ["CLASSES"]}, indent=2)
    return re.sub(r'\[\s*"CLASSES"\s*\]', lambda match: f"[\n{classes}\n  ]", rest) + "\n"
