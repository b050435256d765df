"""Class tables: which raw label value is which class, and the class's name and colour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .errors import DataError

MAX_ID = 65535
MAX_CLASSES = 32767
NO_CLASS = -1
_SHOWN = 12


def palette_color(index: int) -> tuple[int, int, int]:
    """RGB of entry `index` in the PASCAL VOC palette: distinct for every index below 2**24."""
    color = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            color[channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
    return color[0], color[1], color[2]


def describe_ids(ids: Iterable[int]) -> str:
    """Ids as short text for messages: [0, 1, 2, 7] -> "0..2, 7"."""
    ids = sorted(int(i) for i in ids)
    runs = []
    for value in ids:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    texts = [str(a) if a == b else f"{a}..{b}" for a, b in runs]
    return ", ".join(texts[:_SHOWN]) + (", ..." if len(texts) > _SHOWN else "")


@dataclass(frozen=True, eq=False)
class ClassTable:
    """The classes of a dataset; the position in the lists is the class index in [0, C).

    name: the dataset's name, for messages.
    names: class names, C strings.
    colors: uint8 [C, 3], RGB, all distinct.
    raw_ids: C integers; a pixel of a label map with value raw_ids[i] is of class i.
    unknown: index of the class that stands for unlabelled pixels, or None.
    """

    name: str
    names: tuple
    colors: np.ndarray
    raw_ids: tuple
    unknown: int | None = None

    @property
    def num_classes(self) -> int:
        """C, counting the unknown class where the dataset has one."""
        return len(self.names)

    @classmethod
    def create(
        cls,
        name: str,
        raw_ids: Sequence[int],
        names: Sequence[str | None] | None = None,
        colors: Sequence[Sequence[int] | None] | None = None,
        unknown: int | None = None,
    ) -> ClassTable:
        """A checked table; missing names and colours (None, also single ones) are filled in."""
        raw_ids = tuple(_checked_id(name, value) for value in raw_ids)
        if not 0 < len(raw_ids) <= MAX_CLASSES:
            raise DataError(f"class table '{name}': {len(raw_ids)} classes; expected 1 to {MAX_CLASSES}")
        names = list(names) if names is not None else [None] * len(raw_ids)
        colors = list(colors) if colors is not None else [None] * len(raw_ids)
        if not len(names) == len(colors) == len(raw_ids):
            raise DataError(
                f"class table '{name}': {len(raw_ids)} ids, {len(names)} names and {len(colors)} colours;"
                " expected one of each per class"
            )
        _check_distinct(name, "id", raw_ids)
        names = tuple(f"class {i}" if n is None else str(n) for n, i in zip(names, raw_ids, strict=True))
        if unknown is not None and not (_is_int(unknown) and 0 <= unknown < len(raw_ids)):
            raise DataError(f"class table '{name}': unknown is {unknown!r}; expected a class index or null")
        return cls(name, names, _fill_colors(name, colors, raw_ids), raw_ids, unknown)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` gives the table back."""
        return {
            "name": self.name,
            "names": list(self.names),
            "colors": self.colors.tolist(),
            "raw_ids": list(self.raw_ids),
            "unknown": self.unknown,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "class table") -> ClassTable:
        """A checked table from `to_dict`'s values; `source` names their origin in messages."""
        if not isinstance(values, dict):
            raise DataError(f"{source}: expected a JSON object, found {type(values).__name__}")
        keys = {"name", "names", "colors", "raw_ids", "unknown"}
        if set(values) != keys:
            wrong = sorted(repr(key) for key in set(values) ^ keys)
            raise DataError(f"{source}: class table has wrong or missing keys {', '.join(wrong)}")
        for key in ("names", "colors", "raw_ids"):
            if not isinstance(values[key], (list, tuple)):
                raise DataError(f"{source}: {key} is {values[key]!r}; expected a list")
        return cls.create(
            str(values["name"]), values["raw_ids"], values["names"], values["colors"], values["unknown"]
        )

    def with_unknown_last(self) -> ClassTable:
        """The same classes with the unknown one in the last place; ValueError where there is none."""
        if self.unknown is None:
            raise DataError(f"class table '{self.name}': has no unknown class to put last")
        order = [i for i in range(self.num_classes) if i != self.unknown] + [self.unknown]
        return ClassTable(
            self.name,
            tuple(self.names[i] for i in order),
            self.colors[order],
            tuple(self.raw_ids[i] for i in order),
            self.num_classes - 1,
        )

    def colorize(self, label: np.ndarray) -> np.ndarray:
        """label int [..., H, W] in [0, C) -> uint8 RGB [..., H, W, 3]."""
        return self.colors[np.asarray(label)]

    @cached_property
    def class_of_id(self) -> np.ndarray:
        """int32 [65536]: raw value -> class index, NO_CLASS where the table has none."""
        classes = np.full(MAX_ID + 1, NO_CLASS, np.int32)
        classes[list(self.raw_ids)] = np.arange(self.num_classes)
        return classes

    @cached_property
    def class_of_color(self) -> np.ndarray:
        """int16 [2**24]: 65536 r + 256 g + b -> class index, NO_CLASS for colours not in the table."""
        classes = np.full(1 << 24, NO_CLASS, np.int16)
        classes[pack_colors(self.colors)] = np.arange(self.num_classes)
        return classes

    @cached_property
    def is_identity(self) -> bool:
        """Whether raw values are the class indices themselves."""
        return self.raw_ids == tuple(range(self.num_classes))


def pack_colors(rgb: np.ndarray) -> np.ndarray:
    """uint8 [..., 3] -> int32 [...]: 65536 r + 256 g + b."""
    rgb = np.asarray(rgb).astype(np.int32)
    return (rgb[..., 0] << 16) | (rgb[..., 1] << 8) | rgb[..., 2]


def _is_int(value):
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _checked_id(name, value):
    if not _is_int(value) or not 0 <= value <= MAX_ID:
        raise DataError(f"class table '{name}': class id {value!r}; expected an integer from 0 to {MAX_ID}")
    return int(value)


def _check_distinct(name, what, values):
    seen = set()
    for value in values:
        if value in seen:
            raise DataError(f"class table '{name}': {what} {value} appears twice; every class needs its own")
        seen.add(value)


def _checked_color(name, color):
    good = isinstance(color, (list, tuple, np.ndarray)) and len(color) == 3
    if not good or not all(_is_int(v) and 0 <= v <= 255 for v in color):
        raise DataError(f"class table '{name}': colour {color!r}; expected [red, green, blue] from 0 to 255")
    return tuple(int(v) for v in color)


def _fill_colors(name, colors, raw_ids):
    """uint8 [C, 3]: given colours, and for None the palette's colour of the raw id (or the next free)."""
    given = [None if c is None else _checked_color(name, c) for c in colors]
    _check_distinct(name, "colour", [c for c in given if c is not None])
    used = {c for c in given if c is not None}
    filled = []
    for color, raw in zip(given, raw_ids, strict=True):
        index = raw
        while color is None:
            candidate = palette_color(index)
            color = None if candidate in used else candidate
            index += 1
        used.add(color)
        filled.append(color)
    return np.array(filled, np.uint8)  # [C, 3]
