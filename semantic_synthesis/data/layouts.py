"""Goes through a dataset file by file and collects every problem instead of stopping at the first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from .catalogue import STORED, Description
from .decoding import (
    decode_disparity,
    decode_instance,
    decode_label,
    open_pixels,
    read_bytes,
    read_instance,
    read_label,
    read_photo_of_map,
)
from .errors import DataError, printable
from .geometry import Geometry
from .instances import compact, file_objects
from .pairing import Sample, find_samples
from .pipeline import size_message
from .places import present_extra_maps
from .scanning import map_files
from .tables import describe_ids
from .transparency import transparency_message

if TYPE_CHECKING:
    from semantic_synthesis.data.tables import ClassTable

PHOTO_LIKE = 0.3
MIN_SHARE = 0.8


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 photo, 2 photos."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@dataclass
class Report:
    """What was found in one split.

    problems: list of {"file", "message"}. sizes: {"WxH": number of photos}. pixels and files: int64 [C],
    per class the pixels and the label maps it appears in. notes: lines about odd but usable things.
    """

    split: str
    table: ClassTable
    samples: int = 0
    problems: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    sizes: dict = field(default_factory=dict)
    pixels: Any = None
    files: Any = None

    def add(self, *messages: str) -> None:
        """Adds problems; a message begins with the file."""
        for message in map(printable, messages):
            self.problems.append({"file": message.split(": ")[0], "message": message})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        total, ids = max(1, int(self.pixels.sum())), self.table.to_dict()["raw_ids"]
        classes = [
            {
                "index": index,
                "id": ids[index],
                "name": self.table.names[index],
                "color": self.table.colors[index].tolist(),
                "pixels": int(self.pixels[index]),
                "share": float(self.pixels[index] / total),
                "files": int(self.files[index]),
            }
            for index in range(self.table.num_classes)
        ]
        return {
            "split": self.split,
            "samples": self.samples,
            "problems": self.problems,
            "notes": self.notes,
            "sizes": self.sizes,
            "classes": classes,
        }

    def lines(self, shown: int = 20) -> Iterator[str]:
        """The report as text for a terminal, at most `shown` problems."""
        yield f"split '{self.split}': {self.samples} samples, {counted(len(self.problems), 'problem')}"
        for problem in self.problems[:shown]:
            yield f"  problem: {problem['message']}"
        if len(self.problems) > shown:
            yield f"  ... and {len(self.problems) - shown} more, all in the JSON report"
        for note in self.notes:
            yield f"  note: {note}"
        common = sorted(self.sizes.items(), key=lambda item: -item[1])
        listed = ", ".join(f"{size} ({count})" for size, count in common[:6])
        if listed:
            yield f"  sizes: {listed}" + (f" and {len(common) - 6} others" if len(common) > 6 else "")
        total, ids = max(1, self.pixels.sum()), self.table.to_dict()["raw_ids"]
        for index in np.argsort(-self.pixels, kind="stable"):
            if self.pixels[index]:
                yield (
                    f"  class {index:4d}  id {describe_ids(np.atleast_1d(ids[index])):>5s}"
                    f"  {100 * self.pixels[index] / total:6.2f} %"
                    f"  in {self.files[index]} label maps  {self.table.names[index]}"
                )


def check_split(config: Any, description: Description, table: ClassTable, split: str) -> Report:
    """The Report of a split; `config` is one that `resolving.fill_options` has filled."""
    report = Report(split, table)
    report.pixels = np.zeros(table.num_classes, np.int64)
    report.files = np.zeros(table.num_classes, np.int64)

    add = report.add
    try:
        extra = present_extra_maps(config, description, split)
        samples = find_samples(config, description, split, add, extra, add)
    except (DataError, FileNotFoundError) as error:
        add(str(error))
        return report
    report.samples = len(samples)
    geometry = Geometry.of(config)
    turned = description.exif == STORED
    none_id = config.instance_none_id
    check = lambda sample: check_sample(sample, table, geometry, description.resize_maps, turned, none_id)  # noqa: E731
    photo_like, transparent = [], {}
    for sample, (problems, size, pixels, noisy, see_through) in zip(
        samples, map_files(check, samples, f"checking {split}"), strict=True
    ):
        for message in problems:
            add(message)
        if size is not None:
            report.sizes[size] = report.sizes.get(size, 0) + 1
        if pixels is not None:
            report.pixels += pixels
            report.files += pixels > 0
        if noisy:
            photo_like.append(sample.label)
        if see_through:
            transparent[sample.image] = see_through
    _add_notes(report, photo_like, transparent)
    return report


def _add_notes(report, photo_like, transparent):
    if transparent:
        path, count = next(iter(transparent.items()))
        report.notes.append(
            f"{counted(len(transparent), 'photo')} with transparency; {path}: {transparency_message(count)}"
        )
    if photo_like:
        report.notes.append(
            f"{len(photo_like)} label maps change at most pixels, like photos or instance maps:"
            f" {photo_like[0]}"
        )
    for name, count in Counter(report.table.names).items():
        if count > 1:
            report.notes.append(
                f"{count} classes are called {name}; to make one class of them, give a single entry a list of their "
                'values, "id": [1, 2, ...]'
            )
    unseen = [report.table.names[i] for i in np.flatnonzero(report.files == 0)]
    if unseen and report.pixels.any():
        names = ", ".join(unseen[:10]) + (", ..." if len(unseen) > 10 else "")
        gaps = "; where ids have gaps, prepare describe drafts a table of those that occur"
        report.notes.append(
            f"{len(unseen)} of {report.table.num_classes} classes never appear: {names}"
            + (gaps if 2 * len(unseen) > report.table.num_classes else "")
        )


def check_sample(
    sample: Sample,
    table: ClassTable,
    geometry: Geometry,
    resize_maps: bool,
    turned: bool = False,
    none_id: int | None = None,
) -> tuple[list[str], str | None, np.ndarray | None, bool, int]:
    """One sample -> (problem lines, "WxH" or None, pixels per class int64 [C] or None, like a photo, transparent)."""
    problems = []

    def tried(function, *arguments):
        try:
            return function(*arguments)
        except (DataError, FileNotFoundError) as error:
            problems.append(str(error))
            return None

    image = tried(lambda: read_photo_of_map(sample.image, turned))
    transparent = 0 if image is None else open_pixels(read_bytes(sample.image))
    label = tried(lambda: decode_label(read_bytes(sample.label), table, sample.label))
    instance, disparity = (
        None if path is None else tried(lambda path=path, decode=decode: decode(read_bytes(path), path))
        for path, decode in ((sample.instance, decode_instance), (sample.disparity, decode_disparity))
    )
    if image is not None:
        tried(geometry.box, *image.shape[:2], np.zeros(3), sample.image)
        maps = ((sample.label, label), (sample.instance, instance), (sample.disparity, disparity))
        for path, map_ in maps:
            if path is None or map_ is None:
                continue
            if message := size_message(path, map_, sample.image, image, resize_maps):
                problems.append(message)
    comparable = label is not None and instance is not None and label.shape == instance.shape
    if comparable and (odd := odd_objects(label, file_objects(np.asarray(instance), none_id))):
        problems.append(f"{sample.instance}: {odd}")
    size = None if image is None else f"{image.shape[1]}x{image.shape[0]}"
    pixels = None if label is None else np.bincount(label.ravel(), minlength=table.num_classes)
    return problems, size, pixels, label is not None and looks_like_photo(label), transparent


def looks_like_photo(label: np.ndarray) -> bool:
    """Whether fewer than PHOTO_LIKE of horizontal neighbours are equal; label maps have mostly equal ones."""
    return label.shape[1] > 1 and bool(np.mean(label[:, 1:] == label[:, :-1]) < PHOTO_LIKE)


def odd_objects(label: np.ndarray, instance: np.ndarray) -> str | None:
    """What is wrong with an instance map beside its label map, as a phrase for a message, or None.

    label, instance: int [H, W] of one size. An object lies within one class, but for its edges: if on average
    less than MIN_SHARE of an object has the class of most of it, or hardly two neighbours are one object, the
    file is something else: a photo, or another picture's map.
    """
    objects = compact(instance, 0)
    inside = objects > 0
    if not inside.any():
        return None
    if looks_like_photo(instance):
        return "neighbouring pixels mostly belong to different objects; is this a photo? Expected object ids"
    classes = int(label.max()) + 1
    keys = objects[inside].astype(np.int64) * classes + label[inside]
    counts = np.bincount(keys, minlength=(objects.max() + 1) * classes).reshape(-1, classes)  # [I+1, C]
    share = counts.max(1).sum() / inside.sum()
    if share < MIN_SHARE:
        return (
            f"only {share:.0%} of the objects' pixels have their object's class in the label map; is this the"
            " instance map of another picture?"
        )
    return None


def read_layout(
    label_path: str | Path,
    table: ClassTable,
    instance_path: str | Path | None = "",
    none_id: int | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """A label map file and, unless "" or None, its instance map file -> int32 [H, W] classes and ids (or None).

    none_id: the value of instance maps that means no object, beside 0 (`instances.file_objects`).
    Errors: DataError, one line, for what is wrong with either, for unequal sizes and for `odd_objects`.
    """
    label = read_label(label_path, table)
    if not instance_path:
        return label, None
    instance = file_objects(read_instance(instance_path), none_id)
    if instance.shape != label.shape:
        raise DataError(
            f"{instance_path}: {instance.shape[1]}x{instance.shape[0]} pixels, but {label_path} has"
            f" {label.shape[1]}x{label.shape[0]}; expected maps of one picture and of equal sizes"
        )
    if odd := odd_objects(label, instance):
        raise DataError(f"{instance_path}: {odd}")
    return label, instance


def draw_palette(table: ClassTable) -> np.ndarray:
    """The classes' colours with index and name: uint8 RGB [H, W, 3]."""
    rows = min(40, table.num_classes)
    columns = -(-table.num_classes // rows)
    picture = np.full((rows * 24 + 8, columns * 260 + 8, 3), 255, np.uint8)
    for index, (name, color) in enumerate(zip(table.names, table.colors.tolist(), strict=True)):
        x, y = 8 + 260 * (index // rows), 8 + 24 * (index % rows)
        cv2.rectangle(picture, (x, y), (x + 36, y + 16), color, cv2.FILLED)
        cv2.rectangle(picture, (x, y), (x + 36, y + 16), (0, 0, 0), 1)
        text = f"{index} {name}".encode("ascii", "replace").decode()
        cv2.putText(
            picture, text[:26], (x + 44, y + 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA
        )
    return picture
