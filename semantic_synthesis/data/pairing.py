"""Folders -> samples: finds the files of a split by the description's patterns and pairs them by stem."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from absl import logging

from .. import storage
from .catalogue import MAPS, NOUNS, Description
from .decoding import PICTURE_SUFFIXES
from .errors import DataError, printable
from .places import Listed, find_places, folder_of

if TYPE_CHECKING:
    from semantic_synthesis.config import Config


@dataclass(frozen=True)
class Sample:
    """The files of one sample and their common stem; maps that the dataset lacks, or nobody asked for, are None."""

    stem: str
    image: str
    label: str
    instance: str | None = None
    disparity: str | None = None


def stop(message: str) -> NoReturn:
    """Ends at the first problem; `prepare check` collects them instead."""
    raise DataError(message)


def tell(message: str) -> None:
    """Goes on after what is odd but usable; `prepare check` collects that, too."""
    logging.warning("%s", message)


def natural_order(text: str) -> list[tuple[int, int, str]]:
    """Sort key that reads digit runs as numbers: img2 before img10; names that differ have keys that differ (1, 01)."""
    parts = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text)]
    return [*parts, (-1, 0, text)]


def find_files(root: str | Path, pattern: str, report: Callable[[str], Any] = stop) -> dict[str, str]:
    """{stem: path} of the files that match a pattern; two files with one stem are reported.

    The stem counts the folders that `**` stands for, so equal names in two of them are two samples.
    """
    *parents, name = pattern.split("/")
    any_depth = "**" in parents
    base = storage.normal(os.path.join(root, *(part for part in parents if part != "**")))
    rule, found, seen = _name_rule(name), {}, set()
    for folder, subfolders, names in storage.walk(base, links=True):
        seen.add(storage.real(folder))
        subfolders[:] = [
            s for s in subfolders if any_depth and not s.startswith(".") and _real(folder, s) not in seen
        ]
        inner = storage.below(folder, base).replace(os.sep, "/")
        for name in names:
            match = rule.fullmatch(name)
            if match is None or name.startswith("."):
                continue
            stem = match["stem"] if inner == "." else f"{inner}/{match['stem']}"
            stem = unicodedata.normalize("NFC", stem)  # systems write letters with accents in two ways
            path = os.path.join(folder, name)
            if stem in found:
                report(f"{path}: same stem '{stem}' as {found[stem]}; keep one of the two files")
            found.setdefault(stem, path)
    return found


def path_of(root: str | Path, pattern: str, stem: str) -> str:
    """The file that a pattern names for a stem; `.*` becomes .png."""
    *parents, name = pattern.split("/")
    *inner, stem = stem.split("/")
    folders = [part for parent in parents for part in (inner if parent == "**" else [parent])]
    return os.path.join(root, *folders, name.replace("{stem}", stem).replace(".*", ".png"))


def _real(folder, name):
    return storage.real(os.path.join(folder, name))


def _name_rule(name):
    """A file name pattern as a regular expression with the group `stem`; formats in any case."""
    any_format = name.endswith(".*")
    name = name[:-2] if any_format else name
    rule = re.escape(name).replace(r"\{stem\}", "(?P<stem>.+)").replace(r"\*", ".*")
    endings = f"(?i:{'|'.join(map(re.escape, PICTURE_SUFFIXES))})" if any_format else ""
    return re.compile(rule + endings, re.DOTALL)  # names may hold any character, also ends of lines


def find_samples(
    config: Config,
    description: Description,
    split: str,
    report: Callable[[str], Any] = stop,
    extra_maps: Sequence[str] = (),
    warn: Callable[[str], Any] = tell,
) -> list[Sample]:
    """The list of Samples of a split, in natural order of their stems.

    config: dataroot, image_dir, label_dir, instance_dir, disparity_dir, no_instance, pairing_check and
    max_dataset_size are read. extra_maps: kinds of EXTRA_MAPS that each sample must have. report: called with a line
    for each file without partner and each stem with two files; warn: for lines of a list whose files are not there.
    """
    places, listed = find_places(config, description, split)
    if config.no_instance is False and not places["instance"]:
        raise DataError(_no_instances_message(description))
    if config.no_instance:
        places["instance"] = []
    missing = [kind for kind in extra_maps if not places[kind]]
    if missing:
        raise DataError(f"{description.name}: no {NOUNS[missing[0]]}s are described; give --{missing[0]}_dir")
    kinds = [kind for kind in (*MAPS, *extra_maps) if places[kind]]
    found = {kind: find_all(places[kind], kind, listed, report, warn) for kind in kinds}
    samples = pair(found, config.pairing_check, report)
    return samples[: config.max_dataset_size] if config.max_dataset_size > 0 else samples


def _no_instances_message(description):
    return (
        f"{description.name}: no instance maps are described, but --no_instance=false asks for them;"
        " give --instance_dir (python -m semantic_synthesis prepare instances makes such maps)"
    )


def find_all(
    places: Sequence[tuple[str, str]],
    kind: str,
    listed: Listed | None = None,
    report: Callable[[str], Any] = stop,
    warn: Callable[[str], Any] = tell,
) -> dict[str, str]:
    """{stem: path} over all (root, pattern) of a kind, at least one."""
    found = {}
    for root, pattern in places:
        for stem, path in find_files(root, pattern, report).items():
            if stem in found:
                report(f"{path}: same stem '{stem}' as {found[stem]}; keep one of the two files")
            found.setdefault(stem, path)
    if listed is not None:
        found = _keep_listed(found, listed, kind, warn)
    if not found:
        where = " or ".join(os.path.join(*place).replace("**/", "") for place in places)
        raise FileNotFoundError(
            f"no {NOUNS[kind]}s: nothing matches {where.replace('{stem}', '<name>')};"
            f" check the folder and the split{_other_endings(places)}"
        )
    return found


def _other_endings(places):
    """What the places hold instead of pictures, as the end of a message."""
    endings = Counter()
    for root, pattern in places:
        for _, _, names in storage.walk(os.path.join(root, folder_of(pattern))):
            endings.update(os.path.splitext(name)[1] or "none" for name in names if not name.startswith("."))
    if not endings:
        return ""
    listed = ", ".join(f"{count} with the ending {ending}" for ending, count in endings.most_common(3))
    return f"; found files: {listed}; expected PNG for maps, JPEG, PNG or similar for photos"


def _keep_listed(found, listed, kind, warn):
    """Those of {stem: path} that the lines of a list name: stems, file names, or either before a space."""
    names = {unicodedata.normalize("NFC", os.path.basename(path)): stem for stem, path in found.items()}
    kept, missing = {}, []
    for line in (unicodedata.normalize("NFC", line) for line in listed.lines):  # as stems are
        words = (line, line.split()[0])
        forms = [form for word in words for form in (word, os.path.splitext(word)[0], word.split(".")[0])]
        stem = next((names.get(form, form) for form in forms if form in found or form in names), None)
        if stem is None:
            missing.append(line)
        else:
            kept[stem] = found[stem]
    if missing:
        warn(
            f"{listed.path}: names {len(missing)} {NOUNS[kind]}s that are not there, first {printable(missing[0])}; "
            "get them, or take their lines out"
        )
    return kept


def pair(
    found: Mapping[str, dict[str, str]], check: bool = True, report: Callable[[str], Any] = stop
) -> list[Sample]:
    """{kind: {stem: path}} -> Samples, in natural order.

    With check, stems pair and a stem without partner is reported; without, the sorted lists are paired by
    position and must be equally long.
    """
    if check:
        _check_stems(found, report)
        common = set.intersection(*(set(paths) for paths in found.values()))
        found = {kind: {stem: paths[stem] for stem in common} for kind, paths in found.items()}
    ordered = {kind: sorted(paths, key=natural_order) for kind, paths in found.items()}
    lengths = {kind: len(stems) for kind, stems in ordered.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{count} {NOUNS[kind]}s" for kind, count in lengths.items())
        raise DataError(f"{counts}; expected equally many to pair them by position")
    columns = ([found[kind][stem] for stem in stems] for kind, stems in ordered.items())
    rows = zip(ordered["image"], *columns, strict=True)
    return [Sample(stem, **dict(zip(ordered, row, strict=True))) for stem, *row in rows]


def _pairing_hint(paths, others, kind, other):
    """How a description pairs files whose names differ in endings, or only some of them; "" for other cases."""
    ends = {stem[len(start) :] for stem in others if (start := _start_in(stem, paths)) is not None}
    if len(ends) == 1 and all(_start_in(stem, paths) is not None for stem in others) and ends != {""}:
        end = ends.pop()
        return (
            f"; all {NOUNS[other]}s are named like <name>{end}: a description (--dataset_mode FILE.json) with"
            f' "{other}": "{{stem}}{end}.*" pairs them'
        )
    both = _own_endings(paths, others)
    if both:
        return (
            f"; all {NOUNS[kind]}s are named like <name>{both[0]} and all {NOUNS[other]}s like <name>{both[1]}: a"
            f' description (--dataset_mode FILE.json) with "{kind}": "{{stem}}{both[0]}.*" and'
            f' "{other}": "{{stem}}{both[1]}.*" pairs them'
        )
    if set(others) < set(paths):
        return (
            '; or name those that have one in a text file, and that in a description as the split\'s "list"'
        )
    return ""


def _start_in(stem, paths):
    """The longest beginning of a stem that is one of {stem: path}, None without any."""
    return next((stem[:end] for end in range(len(stem), 0, -1) if stem[:end] in paths), None)


def _own_endings(paths, others):
    """The ending that all stems of one kind have and that of the other kind, as leftImg8bit and gtFine; None where the
    beginnings are not the same."""
    ends = [os.path.commonprefix([stem[::-1] for stem in stems])[::-1] for stems in (paths, others)]
    starts = [
        {stem[: len(stem) - len(end)] for stem in stems}
        for stems, end in zip((paths, others), ends, strict=True)
    ]
    shared = os.path.commonprefix(ends).rstrip("_-. ")  # belongs to the stems, as a number that never changes
    ends = [end[len(shared) :] for end in ends]
    alike = starts[0] == starts[1] and len(starts[0]) > 1 and "" not in starts[0]
    return ends if alike and all(end and not end[0].isalnum() for end in ends) else None


def _unread(stem, others):
    """What a message says of a file with that stem among {stem: path} whose format is not read; "" without one."""
    known, path = next(iter(others.items()))
    if known not in path:  # written in another way (accents)
        return ""
    folder, name = os.path.split(path[: path.rindex(known)] + stem)
    there = storage.names_in(folder) if storage.is_folder(folder) else []
    same = [one for one in sorted(there) if os.path.splitext(one)[0] == name]
    same = [one for one in same if os.path.splitext(one)[1].lower() not in PICTURE_SUFFIXES]
    if not same:
        return ""
    return f", but {os.path.join(folder, same[0])} is there, whose format is not read"


def _check_stems(found, report):
    """Reports, for each kind, the files that lack a partner of another kind."""
    for kind, paths in found.items():
        for other, others in found.items():
            alone = sorted(set(paths) - set(others), key=natural_order)
            if alone:
                unread = _unread(alone[0], others)
                report(
                    f"{paths[alone[0]]}: no {NOUNS[other]} has its stem '{alone[0]}'{unread} (they are like"
                    f" {next(iter(others.values()))}); {len(alone)} of {len(paths)} {NOUNS[kind]}s have no"
                    f" {NOUNS[other]}; add the missing files, remove the others, or check the folders"
                    f"{_pairing_hint(paths, others, kind, other)}"
                )
