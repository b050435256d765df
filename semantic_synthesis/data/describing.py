"""`prepare describe`: drafts a dataset's description from what its label maps hold."""

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .. import storage
from ..config import Config
from ..files import write_text
from ..options import option
from . import catalogue
from .class_lists import read_class_list
from .decoding import decode_samples, read_bytes, read_label
from .errors import DataError, printable
from .pairing import find_all, natural_order, pair
from .places import find_places
from .scanning import UNKNOWN_ID, map_sound_files, other_palette
from .tables import ClassTable, palette_color

MAX_COLORS = 1024
TOO_MANY = "a label map has one exact colour per class: are these photos, or are their edges smoothed?"


@dataclass(frozen=True)
class DescribeOptions:
    """Options of `prepare describe`."""

    image_dir: str = option("", "Folder of training photos.")
    label_dir: str = option("", "Folder of training label maps.")
    instance_dir: str = option("", "Folder of training instance maps, if there are any.")
    semantic_label_path: str = option(
        "", "CVAT's labelmap.txt, or another list with the names of the classes."
    )
    out: str = option("dataset.json", "The description to write.")


def describe(options: DescribeOptions) -> int:
    """Drafts a dataset description from folders: ids or colours found, default sizes, file patterns."""
    if storage.exists(options.out):
        raise DataError(
            f"{options.out}: exists already, and names edited in it would be lost; give another --out or remove it"
        )
    config = Config(
        dataset_mode=catalogue.CUSTOM,
        image_dir=options.image_dir,
        label_dir=options.label_dir,
        instance_dir=options.instance_dir,
    )
    samples, left_out = _labelled_samples(config)
    maps, name = [sample.label for sample in samples], Path(options.out).stem
    given = options.semantic_label_path
    classes = named_classes(maps, read_class_list(given, name)) if given else drafted_classes(maps)
    root = os.path.dirname(storage.absolute(options.out))
    folders = {"image": options.image_dir, "label": options.label_dir, "instance": options.instance_dir}
    layout = {kind: f"{_seen_from(folder, root)}/**/{{stem}}.*" for kind, folder in folders.items() if folder}
    if left_out:
        layout["list"] = f"{name}_labelled.txt"
        write_text(os.path.join(root, layout["list"]), list_text([sample.stem for sample in samples]))
        tqdm.write(
            f"{len(left_out)} of {len(left_out) + len(samples)} photos have no label map and are left out, first "
            f"{printable(left_out[0])}; {layout['list']} names the others"
        )
    unknown = next((entry["id"] for entry in classes if entry["name"] == "unknown"), None)
    description = {
        "name": name,
        "classes": classes,
        "unknown_id": unknown,
        "instance_none_id": 0,
        "options": {"crop_size": 256, "no_instance": not options.instance_dir},
        "dataroot": ".",
        "splits": {"train": layout, "val": "train", "test": "val"},
    }
    write_text(options.out, description_text(description))
    tqdm.write(
        f"{options.out}: {len(classes)} classes; edit the names, then train with --dataset_mode {options.out}"
    )
    return 0


def _seen_from(folder, root):
    """A dataset's folder as its description names it: from the description's own folder where both lie on one side."""
    if storage.is_remote(folder) or storage.is_remote(root):
        inside = storage.absolute(folder).startswith(f"{root}/")
        return storage.below(folder, root) if inside else storage.absolute(folder)
    return os.path.relpath(folder, root).replace(os.sep, "/")


def _labelled_samples(config):
    """(Samples, photos that have no label map): photos may be more than label maps, but not the other way."""
    description = catalogue.describe(catalogue.CUSTOM)
    places, _ = find_places(config, description, "train")
    found = {kind: find_all(places[kind], kind) for kind in catalogue.MAPS if places[kind]}
    alone = {stem: path for stem, path in found["image"].items() if stem not in found["label"]}
    labelled = {stem: path for stem, path in found["image"].items() if stem not in alone}
    if labelled:
        found["image"] = labelled
    return pair(found), [alone[stem] for stem in sorted(alone, key=natural_order)] if labelled else []


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


def drafted_classes(paths: Sequence[str], one_palette: bool = True) -> list[dict[str, Any]]:
    """The classes' JSON entries from the ids or colours found in label maps.

    one_palette: maps whose palettes give an id different colours are errors, as nobody says which class it is.
    """
    kinds, counts, shown = set(), Counter(), {}
    for path, (kind, found, palette) in zip(
        paths, map_sound_files(color_counts, paths, "reading label maps"), strict=True
    ):
        kinds.add(kind)
        counts.update(found)
        colors_of_ids = [] if palette is None else palette.tolist()
        message = other_palette(shown, path, {i: tuple(c) for i, c in enumerate(colors_of_ids) if i in found})
        if message and one_palette:
            raise DataError(message)
    if len(kinds) > 1:
        raise DataError(f"{os.path.dirname(paths[0])}: label maps of ids and label maps in RGB; use one kind")
    if kinds == {"colors"}:
        colors = sorted(counts)
        if len(colors) > MAX_COLORS:
            raise DataError(f"{os.path.dirname(paths[0])}: {len(colors)} colours in all; {TOO_MANY}")
        return [{"id": i, "name": f"class {i}", "color": list(c)} for i, c in enumerate(colors)]
    classes = []
    for i in sorted(counts):
        color = list(shown[i][0] if i in shown else palette_color(i))
        name = "unknown" if i == UNKNOWN_ID and UNKNOWN_ID - 1 not in counts else f"class {i}"
        classes.append({"id": i, "name": name, "color": color})
    if len({tuple(c["color"]) for c in classes}) < len(classes):
        classes = [{**c, "color": list(palette_color(c["id"]))} for c in classes]
    return classes


def named_classes(paths: Sequence[str], table: ClassTable) -> list[dict[str, Any]]:
    """A class list's JSON entries, after a check that every label map fits them; 255 in maps becomes unknown."""
    columns = zip(table.raw_ids, table.names, table.colors.tolist(), strict=True)
    entries = [{"id": i, "name": name, "color": color} for i, name, color in columns]
    found = drafted_classes(paths, one_palette=False)
    if any(entry["name"] == "unknown" for entry in found) and UNKNOWN_ID not in table.raw_ids:
        entries.append({"id": UNKNOWN_ID, "name": "unknown"})
    ids, names = ([entry[key] for entry in entries] for key in ("id", "name"))
    colors = [entry.get("color") for entry in entries]
    whole = ClassTable.create(table.name, ids, names, colors)
    map_sound_files(lambda path: read_label(path, whole) is None, paths, "checking label maps")
    return entries


def list_text(stems: Sequence[str]) -> str:
    """A list file's text, one stem a line; DataError for stems that a line cannot hold."""
    for stem in stems:
        if stem != stem.strip() or len(stem.splitlines()) > 1 or not stem.isprintable():
            raise DataError(f"{stem!r}: a list of files cannot hold this name; rename the file")
    return "".join(f"{stem}\n" for stem in stems)


def description_text(description: Mapping[str, Any]) -> str:
    """A description as JSON text with one class per line."""
    classes = ",\n".join("    " + json.dumps(entry) for entry in description["classes"])
    rest = json.dumps({**description, "classes": ["CLASSES"]}, indent=2)
    return re.sub(r'\[\s*"CLASSES"\s*\]', lambda match: f"[\n{classes}\n  ]", rest) + "\n"
