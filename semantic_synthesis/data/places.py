"""Where the files of a split lie: a description's patterns, or the folders that options name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from .. import storage
from ..files import check_regular
from .catalogue import CUSTOM, EXTRA_MAPS, MAPS, NOUNS, SPLITS, Description, describe, patterns_of
from .errors import DataError

if TYPE_CHECKING:
    from semantic_synthesis.config import Config

_ANY = "**/{stem}.*"


class Listed(NamedTuple):
    """The lines of a list file, and the file."""

    path: str
    lines: list[str]


def find_places(
    config: Config, description: Description, split: str
) -> tuple[dict[str, list[tuple[str, str]]], Listed | None]:
    """({kind: [(root folder, pattern)]}, Listed or None: what to keep) of a split."""
    if _is_custom(config, description):
        if split not in SPLITS:
            raise DataError(f"no split '{split}'; expected one of {', '.join(SPLITS)}")
        return _custom_places(config), None
    root = root_of(config, description)
    layout = _present_layout(description, split, root)
    places = {
        kind: [(root, pattern) for pattern in patterns_of(layout, kind)] for kind in (*MAPS, *EXTRA_MAPS)
    }
    for kind, folder in (("instance", config.instance_dir), ("disparity", config.disparity_dir)):
        if folder:
            places[kind] = [(_folder(kind, folder), _ANY)]
    return places, _read_list(root, layout["list"]) if "list" in layout else None


def _is_custom(config, description):
    """Whether the folders of the options are the dataset, and no root folder is read."""
    return bool(config.image_dir or config.label_dir or description.name == CUSTOM)


def has_root(config: Config) -> bool:
    """Whether --dataroot has an effect."""
    return not _is_custom(config, describe(config.dataset_mode or CUSTOM))


def present_extra_maps(config: Config, description: Description, split: str) -> list[str]:
    """The kinds of EXTRA_MAPS that are given, or described and there: datasets may come without."""
    places, _ = find_places(config, description, split)
    return [
        kind
        for kind in EXTRA_MAPS
        if any(storage.is_folder(os.path.join(root, folder_of(pattern))) for root, pattern in places[kind])
    ]


def _custom_places(config):
    """{kind: [(folder, pattern)]} of --image_dir, --label_dir and --instance_dir."""
    folders = {
        "image": config.image_dir,
        "label": config.label_dir,
        "instance": config.instance_dir,
        "disparity": config.disparity_dir,
    }
    for kind, folder in folders.items():
        if not folder and kind in ("image", "label"):
            raise DataError(f"--{kind}_dir is missing; your own dataset needs --image_dir and --label_dir")
    places = {kind: [(_folder(kind, path), _ANY)] if path else [] for kind, path in folders.items()}
    _refuse_one_folder(folders)
    return places


def _refuse_one_folder(folders):
    """Two kinds of files in one folder cannot be told apart by the folder."""
    seen = {}
    for kind, path in folders.items():
        other = seen.setdefault(storage.real(path), kind) if path else kind
        if other != kind:
            raise DataError(
                f"--{other}_dir and --{kind}_dir are the same folder, {path}; move the {NOUNS[kind]}s to one of their "
                "own, or describe both by patterns of their names in a --dataset_mode FILE.json, for example "
                '"image": "{stem}.jpg", "label": "{stem}_mask.png" (docs/datasets.md)'
            )


def _folder(kind, path):
    if not storage.is_folder(path):
        raise FileNotFoundError(f"--{kind}_dir {path}: no such folder; check the path")
    return path


def root_of(config: Config, description: Description) -> str:
    """The root folder of a named dataset; DataError or FileNotFoundError where it is open or not there."""
    root = config.dataroot
    if not root and description.dataroot is not None:
        root = storage.normal(os.path.join(os.path.dirname(description.path), description.dataroot))
    if not root:
        raise DataError(
            f"--dataset_mode {description.name} needs --dataroot, the folder that holds the dataset"
        )
    if not storage.is_folder(root):
        raise FileNotFoundError(f"--dataroot {root}: no such folder; check the path")
    return root


def folder_of(pattern: str) -> str:
    """The folder of a pattern, below its root."""
    return "/".join(part for part in pattern.split("/")[:-1] if part != "**")


def _present_layout(description, split, root):
    """The first layout of the split whose photo folder exists; layouts are the dataset's known forms."""
    layouts = description.layouts(split)
    if "shards" in layouts[0]:
        raise DataError(
            f"{description.path}: split '{split}' is made of shards, which hold no files to look at one by one; give "
            "the dataset that they were made of"
        )
    for layout in layouts:
        if storage.is_folder(os.path.join(root, folder_of(patterns_of(layout, "image")[0]))):
            return layout
    expected = " or ".join(folder_of(patterns_of(layout, "image")[0]) + "/" for layout in layouts)
    inside = sorted(
        f"{name}/" for name in storage.names_in(root) if storage.is_folder(os.path.join(root, name))
    )
    raise FileNotFoundError(
        f"--dataroot {root}: split '{split}' of {description.name} expects the folder {expected} here;"
        f" found {', '.join(inside[:8]) or 'no folders'}; give the folder above, or get this split's files"
    )


def _read_list(root, name):
    """The Listed of a file, without the ends of lines."""
    path = os.path.join(root, name)
    check_regular(path)
    try:
        lines = storage.read(path).decode("utf-8-sig").splitlines()
        return Listed(path, [line.strip() for line in lines if line.strip()])
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: no such list of files; it names, one per line, the files of the split"
        ) from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); expected one file name per line"
        ) from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file; expected one file name per line") from None
