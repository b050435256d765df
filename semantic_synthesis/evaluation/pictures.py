"""Folders of pictures as a stream of batches; errors about broken files and other sizes name the file."""

import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from absl import logging

from semantic_synthesis import storage
from semantic_synthesis.data import ClassTable, fit_image, fit_label, read_image, read_label
from semantic_synthesis.data.errors import printable
from semantic_synthesis.data.pairing import find_files, natural_order

ANY_PICTURE = "**/{stem}.*"


def list_pictures(folder: str, flag: str) -> dict[str, str]:
    """{stem: path} of all pictures below a folder, in natural order of the stems."""
    if not folder or not storage.is_folder(folder):
        raise FileNotFoundError(f"--{flag} {folder}: no such folder; check the path")
    found = find_files(folder, ANY_PICTURE)
    if not found:
        raise FileNotFoundError(f"--{flag} {folder}: holds no pictures; expected PNG, JPEG or similar")
    return {stem: found[stem] for stem in sorted(found, key=natural_order)}


def files_beside(folder: str, found: Mapping[str, str]) -> list[str]:
    """Names, relative to a folder, of the files below it that are none of {stem: path}: no pictures, or hidden."""
    used = set(map(storage.real, found.values()))
    paths = (
        os.path.join(root, name) for root, _, names in storage.walk(folder, links=True) for name in names
    )
    return sorted(storage.below(path, folder) for path in paths if storage.real(path) not in used)


def say_left_out(what: str, why: str, names: Sequence[str]) -> None:
    """Warns of pictures that no figure sees: how many, why, and the first of their names."""
    if names:
        first = ", ".join(map(printable, names[:3])) + (", ..." if len(names) > 3 else "")
        logging.warning("%s: %d left out, as %s: %s", what, len(names), why, first)


def parse_shard(text: str) -> tuple[int, int]:
    """ "i/n" -> (i, n) with 0 <= i < n; empty is (0, 1)."""
    try:
        index, count = (int(word) for word in (text or "0/1").split("/"))
    except ValueError:
        index, count = -1, 0
    if not 0 <= index < count:
        raise ValueError(f"--shard {text}; expected i/n with i from 0 to n - 1, for example 0/4")
    return index, count


def parse_size(text: str) -> tuple[int, int] | None:
    """ "WxH" -> (height, width), or None where empty."""
    if not text:
        return None
    try:
        width, height = (int(word) for word in text.lower().split("x"))
    except ValueError:
        width = height = 0
    if width < 1 or height < 1:
        raise ValueError(f"--eval_size {text}; expected WxH in pixels, for example 256x256")
    return height, width


def picture_batches(
    paths: Sequence[str], batch_size: int, size: tuple[int, int] | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Batches (first index, uint8 [B,H,W,3]) of picture files, one batch in memory at a time.

    size: (height, width) all are resized to (area averaging or cubic), or None: all must be equal.
    """
    expected = size
    for start in range(0, len(paths), batch_size):
        batch = []
        for path in paths[start : start + batch_size]:
            picture = read_image(path)
            if size is None:
                expected = expected or picture.shape[:2]
                if picture.shape[:2] != expected:
                    raise ValueError(
                        f"{path}: {picture.shape[1]}x{picture.shape[0]} pixels, but {paths[0]} has "
                        f"{expected[1]}x{expected[0]}; expected equal sizes, or give --eval_size WxH"
                    )
            batch.append(picture if size is None else fit_image(picture, *size))
        yield start, np.stack(batch)


def read_labels(paths: Sequence[str], table: ClassTable, size: tuple[int, int]) -> np.ndarray:
    """int32 [B,H,W] of label map files, nearest neighbour to (height, width)."""
    return np.stack([fit_label(read_label(path, table), *size) for path in paths])


def match_stems(pictures: Mapping[str, str], others: Mapping[str, str], what: str) -> list[str]:
    """Paths of `others` for the stems of `pictures`; an error names the first picture without partner."""
    missing = [stem for stem in pictures if stem not in others]
    if missing:
        raise ValueError(
            f"{pictures[missing[0]]}: no {what} has its stem '{missing[0]}' ({len(missing)} pictures have "
            "none); expected equal names, as generate writes them"
        )
    return [others[stem] for stem in pictures]
