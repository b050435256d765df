"""Class tables: which raw label value is which class, and the class's name and colour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..arrays import check_ids
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
    more_ids, more_colors: C tuples, mostly empty: further values and colours that are class i, too.
    """

    name: str
    names: tuple
    colors: np.ndarray
    raw_ids: tuple
    unknown: int | None = None
    more_ids: tuple = ()
    more_colors: tuple = ()

    @property
    def num_classes(self) -> int:
        """C, counting the unknown class where the dataset has one."""
        return len(self.names)

    @classmethod
    def create(
        cls,
        name: str,
        raw_ids: Sequence[int | Sequence[int]],
        names: Sequence[str | None] | None = None,
        colors: Sequence[Sequence[Any] | None] | None = None,
        unknown: int | None = None,
    ) -> ClassTable:
        """A checked table; missing names and colours (None, also single ones) are filled in.

        An entry of raw_ids or colors may be a list: all of its values are one class, and the first is what is written
        and shown.
        """
        raw_ids = list(raw_ids)
        if not 0 < len(raw_ids) <= MAX_CLASSES:
            raise DataError(f"class table '{name}': {len(raw_ids)} classes; expected 1 to {MAX_CLASSES}")
        names = list(names) if names is not None else [None] * len(raw_ids)
        colors = list(colors) if colors is not None else [None] * len(raw_ids)
        if not len(names) == len(colors) == len(raw_ids):
            raise DataError(
                f"class table '{name}': {len(raw_ids)} ids, {len(names)} names and {len(colors)} colours;"
                " expected one of each per class"
            )
        ids = [[_checked_id(name, value) for value in _several_ids(entry)] for entry in raw_ids]
        _check_distinct(name, "id", [value for group in ids for value in group])
        raw_ids = tuple(group[0] for group in ids)
        shades = [[_checked_color(name, color) for color in _several_colors(entry)] for entry in colors]
        more_colors = tuple(tuple(group[1:]) for group in shades)
        names = tuple(f"class {i}" if n is None else str(n) for n, i in zip(names, raw_ids, strict=True))
        if unknown is not None and not (_is_int(unknown) and 0 <= unknown < len(raw_ids)):
            raise DataError(f"class table '{name}': unknown is {unknown!r}; expected a class index or null")
        filled = _fill_colors(name, shades, raw_ids)
        return cls(
            name, names, filled, raw_ids, unknown, tuple(tuple(group[1:]) for group in ids), more_colors
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` gives the table back."""
        return {
            "name": self.name,
            "names": list(self.names),
            "colors": _joined(self.colors.tolist(), self.more_colors),
            "raw_ids": _joined(self.raw_ids, self.more_ids),
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
        values = self.to_dict()
        moved = {key: [values[key][i] for i in order] for key in ("raw_ids", "names", "colors")}
        return ClassTable.create(self.name, **moved, unknown=self.num_classes - 1)

    @cached_property
    def ids_of_classes(self) -> tuple[np.ndarray, np.ndarray]:
        """(raw values, their classes): int64 [N] each, of all classes, N >= C."""
        return _flat(self.raw_ids, self.more_ids)

    @cached_property
    def colors_of_classes(self) -> tuple[np.ndarray, np.ndarray]:
        """(uint8 [N, 3] RGB, int64 [N] classes): every colour that is a class, N >= C."""
        colors, classes = _flat(self.colors.tolist(), self.more_colors)
        return colors.astype(np.uint8), classes

    def colorize(self, label: np.ndarray) -> np.ndarray:
        """label int [..., H, W] in [0, C) -> uint8 RGB [..., H, W, 3]."""
        label = np.asarray(label)
        check_ids(label, "label", self.num_classes)
        return self.colors[label.astype(np.int64)]

    @cached_property
    def class_of_id(self) -> np.ndarray:
        """int32 [65536]: raw value -> class index, NO_CLASS where the table has none."""
        classes = np.full(MAX_ID + 1, NO_CLASS, np.int32)
        ids, its = self.ids_of_classes
        classes[ids] = its
        return classes

    @cached_property
    def class_of_color(self) -> np.ndarray:
        """int16 [2**24]: 65536 r + 256 g + b -> class index, NO_CLASS for colours not in the table."""
        classes = np.full(1 << 24, NO_CLASS, np.int16)
        colors, its = self.colors_of_classes
        classes[pack_colors(colors)] = its
        return classes

    @cached_property
    def is_identity(self) -> bool:
        """Whether raw values are the class indices themselves."""
        return self.raw_ids == tuple(range(self.num_classes)) and not any(self.more_ids)


def pack_colors(rgb: np.ndarray) -> np.ndarray:
    """uint8 [..., 3] -> int32 [...]: 65536 r + 256 g + b."""
    rgb = np.asarray(rgb).astype(np.int32)
    return (rgb[..., 0] << 16) | (rgb[..., 1] << 8) | rgb[..., 2]


def _several_ids(entry):
    """An id, or a list of ids of one class -> list."""
    return list(entry) if isinstance(entry, (list, tuple)) and entry else [entry]


def _several_colors(entry):
    """A colour, a list of colours of one class, or None -> list."""
    if entry is None:
        return []
    several = isinstance(entry, (list, tuple)) and entry and all(isinstance(c, (list, tuple)) for c in entry)
    return list(entry) if several else [entry]


def _joined(firsts, more):
    """What `create` takes: the single value of each class, or a list where it has more."""
    more = more or [()] * len(firsts)
    return [[one, *others] if others else one for one, others in zip(firsts, more, strict=True)]


def _flat(firsts, more):
    """(values, classes) of the first and further values of all classes, as arrays."""
    more = more or [()] * len(firsts)
    pairs = [(value, i) for i, one in enumerate(firsts) for value in (one, *more[i])]
    return np.array([value for value, _ in pairs]), np.array([i for _, i in pairs])


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


def _fill_colors(name, shades, raw_ids):
    """uint8 [C, 3]: the first given colour of a class; without any the palette's of the raw id, or the next free."""
    given = [tuple(color) for group in shades for color in group]
    _check_distinct(name, "colour", given)
    used, filled = set(given), []
    for group, raw in zip(shades, raw_ids, strict=True):
        color, index = group[0] if group else None, raw
        while color is None:
            candidate = palette_color(index)
            color = None if candidate in used else candidate
            index += 1
        used.add(color)
        filled.append(color)
    return np.array(filled, np.uint8)  # [C, 3]
