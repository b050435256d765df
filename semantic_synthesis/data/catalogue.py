"""Datasets described as data: datasets/<name>.json -> class table, default options, file patterns.

A description is a JSON object:
  name, title, source: text.
  classes: list of {"id": raw label value, "name": text, "color": [r, g, b]}; the order is the class
    index; name and color may be left out; a list of ids, or of colors, is several values of one class.
    null: the classes are found in the label maps.
  unknown_id: raw value of unlabelled pixels, or null; its class is appended unless `classes` has the id.
  instance_none_id: raw value that means "no instance" in instance maps, or null if every value is one.
  instances: how `prepare instances` makes instance maps for this dataset.
  exif: "stored" if label maps fit the stored pixels of photos that EXIF turns; else such photos are refused.
  resize_maps: true if the maps may be smaller than the photos (nearest enlarging); else sizes must agree.
  options: defaults for the options of Config that are None.
  splits: {split: layout, or list of layouts of which the first whose photo folder exists is taken,
    or the name of another split}. A layout is {"image", "label", "instance", "disparity": pattern or list
    of patterns, "list": file with the stems to keep}, or {"shards": index that `prepare shards` wrote}.
  class_table: the whole table as runs store it, instead of classes; `prepare shards` writes it.
  dataroot: default root folder, relative to the JSON file.
A pattern is a path below dataroot: `**` (last of the folders) is any depth of folders, `{stem}` the part
of the file name that is equal in photo, label map and instance map, `*` any text in the file name; the
ending `.*` is any picture format.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import storage
from ..files import read_json, shipped
from .errors import DataError
from .tables import ClassTable

MAPS = ("image", "label", "instance")
EXTRA_MAPS = ("disparity",)  # what some methods train with; larger is closer, 0 unknown
NOUNS = {"image": "photo", "label": "label map", "instance": "instance map", "disparity": "disparity map"}
SPLITS = ("train", "val", "test")
CUSTOM = "custom"
SCENES = "scenes"
STORED = "stored"
_KINDS = {
    "name": str, "title": str, "source": str, "classes": list, "unknown_id": int, "instance_none_id": int,
    "instances": str, "resize_maps": bool, "exif": str, "options": dict, "dataroot": str, "splits": dict,
    "class_table": dict,
}  # fmt: skip
_JSON_NAMES = {list: "list", dict: "object", str: "string", int: "integer", bool: "true or false"}
_LAYOUT_KEYS = {*MAPS, *EXTRA_MAPS, "list"}


@dataclass(frozen=True)
class Description:
    """One parsed datasets/<name>.json; `path` is the file, for messages."""

    path: str
    name: str
    title: str = ""
    source: str = ""
    classes: list | None = None
    class_table: dict | None = None
    unknown_id: int | None = None
    instance_none_id: int | None = None
    instances: str = "connected_components"
    resize_maps: bool = False
    exif: str = "refuse"
    options: dict = field(default_factory=dict)
    dataroot: str | None = None
    splits: dict = field(default_factory=dict)

    @cached_property
    def table(self) -> ClassTable | None:
        """The ClassTable, or None where the description leaves the classes to the user's files."""
        if self.class_table is not None:
            return ClassTable.from_dict(self.class_table, f"{self.path}: class_table")
        if self.classes is None:
            return None
        entries = list(self.classes)
        for entry in entries:
            if not isinstance(entry, dict) or "id" not in entry or set(entry) - {"id", "name", "color"}:
                raise DataError(f"{self.path}: class entry {entry!r}; expected {{id, name, color}}")
        unknown = None
        if self.unknown_id is not None:
            groups = [entry["id"] if isinstance(entry["id"], list) else [entry["id"]] for entry in entries]
            unknown = next((i for i, ids in enumerate(groups) if self.unknown_id in ids), len(groups))
            if unknown == len(groups):
                entries.append({"id": self.unknown_id, "name": "unknown"})
        ids, names, colors = ([entry.get(key) for entry in entries] for key in ("id", "name", "color"))
        return ClassTable.create(self.name, ids, names, colors, unknown=unknown)

    def layouts(self, split: str) -> list[dict[str, Any]]:
        """The layouts of a split, aliases followed."""
        for _ in self.splits:
            found = self.splits.get(split)
            if not isinstance(found, str):
                break
            split = found
        if not isinstance(found := self.splits.get(split), (dict, list)) or not found:
            names = ", ".join(self.splits)
            raise DataError(f"{self.path}: no split '{split}'; this dataset has {names or 'none'}")
        return found if isinstance(found, list) else [found]


def folders() -> list[Path]:
    """Where descriptions are looked for."""
    return [shipped("datasets")]


def describe(dataset_mode: str | Path) -> Description:
    """The Description of a name in datasets/ or of a path to a .json file."""
    if str(dataset_mode).endswith(".json"):
        return read_description(dataset_mode)
    for folder in folders():
        path = folder / f"{dataset_mode}.json"
        if path.is_file():
            return read_description(path)
    names = sorted({path.stem for folder in folders() for path in folder.glob("*.json")})
    raise DataError(
        f"dataset_mode '{dataset_mode}' is unknown; expected one of {', '.join(names)},"
        " or the path of a .json description (python -m semantic_synthesis prepare describe drafts one)"
    )


def read_description(path: str | Path) -> Description:
    """A checked Description from a JSON file."""
    path = os.fspath(path)
    try:
        values = read_json(path, "correct the file", DataError)
    except FileNotFoundError:
        hint = ""
        if not storage.is_remote(path) and not os.path.isabs(path):
            hint = f" (relative ones, a run's too, count from the folder where the command starts, {os.getcwd()})"
        raise FileNotFoundError(f"{path}: no such dataset description; check the path{hint}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected a JSON file") from None
    return parse_description(values, path)


def parse_description(values: Any, path: str | Path) -> Description:
    """A checked Description from JSON values; `path` names their origin in messages."""
    if not isinstance(values, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(values).__name__}")
    unknown = sorted(set(values) - set(_KINDS))
    if unknown:
        raise DataError(f"{path}: unknown keys {', '.join(map(repr, unknown))}; expected {', '.join(_KINDS)}")
    for key, value in values.items():
        kind = _KINDS[key]
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool) != (kind is bool)):
            raise DataError(f"{path}: {key} is {value!r}; expected a JSON {_JSON_NAMES[kind]}")
    if values.get("exif") not in (None, "refuse", STORED):
        raise DataError(f"{path}: exif is {values['exif']!r}; expected refuse or {STORED}")
    values = {key: value for key, value in values.items() if value is not None}
    description = Description(**{"name": Path(path).stem, **values, "path": path})
    for split in description.splits:
        for layout in description.layouts(split):
            _check_layout(layout, split, path)
    return description


def _check_layout(layout, split, path):
    if isinstance(layout, dict) and set(layout) == {"shards"} and isinstance(layout["shards"], str):
        return
    if not isinstance(layout, dict) or set(layout) - _LAYOUT_KEYS or not {"image", "label"} <= set(layout):
        raise DataError(
            f"{path}: split '{split}' needs patterns for image and label, and may have instance and list"
        )
    if not isinstance(layout.get("list", ""), str):
        raise DataError(
            f"{path}: list of split '{split}' is {layout['list']!r}; expected the name of a text file"
        )
    for kind in (*MAPS, *EXTRA_MAPS):
        patterns = patterns_of(layout, kind)
        if not patterns and kind in layout:
            raise DataError(f"{path}: split '{split}' has no pattern for {kind}; expected one or more")
        for pattern in patterns:
            if not isinstance(pattern, str) or pattern.split("/")[-1].count("{stem}") != 1:
                raise DataError(
                    f"{path}: pattern {pattern!r} of split '{split}'; expected one {{stem}}, in the file name"
                )
            folders = pattern.split("/")[:-1]
            if "*" in "".join(folders[:-1]) or (folders and "*" in folders[-1] and folders[-1] != "**"):
                raise DataError(
                    f"{path}: pattern {pattern!r} of split '{split}'; of the folders only the last may be **"
                )


def patterns_of(layout: Mapping[str, Any], kind: str) -> list[str]:
    """The patterns of a layout for image, label or instance, as a list."""
    found = layout.get(kind, [])
    return found if isinstance(found, list) else [found]
