"""Depth and size of the pictures, as far as the first features of an original tell them.

A style vector enters by a matrix whose rows are the cells of the first features. Their number tells a product alone: 16
cells are 256x256 pixels at one depth, 128x128 or 256x64 at another, and each makes other pictures of the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from absl import logging

from semantic_synthesis.data.errors import first_of
from semantic_synthesis.networks import DOUBLINGS
from semantic_synthesis.originals.evidence import Evidence

_WIDEST, _TALLEST = 4.0, 0.5  # width by height of pictures that somebody trains on
_SHOWN = 6


class Size(NamedTuple):
    """One way to read the cells: a depth, and width and height of the pictures in pixels."""

    depth: str
    width: int
    height: int

    @property
    def flags(self) -> str:
        """What says so on the command line."""
        return (
            f"--num_upsampling_layers {self.depth} --crop_size {self.width} "
            f"--aspect_ratio {self.width / self.height:g}"
        )


def fitting(cells: int, depths: Sequence[str], flags: Mapping[str, Any]) -> list[Size]:
    """The Sizes of usual shape whose first features have so many cells, of those that the flags leave open.

    A width alone means squares, where there are any: the original's --aspect_ratio is 1 unless it is given.
    """
    found = _fitting(cells, depths, flags)
    if flags.get("crop_size") and flags.get("aspect_ratio") is None:
        return [size for size in found if size.width == size.height] or found
    return found


def _fitting(cells, depths, flags):
    found = []
    for depth in depths:
        stride = 2 ** DOUBLINGS[depth]
        for across in (n for n in range(1, cells + 1) if cells % n == 0):
            size = Size(depth, across * stride, cells // across * stride)
            wanted = flags.get("crop_size"), flags.get("aspect_ratio")
            fits = wanted[0] in (None, size.width) and (
                wanted[1] is None or round(size.width / wanted[1]) == size.height
            )
            if fits and _TALLEST <= size.width / size.height <= _WIDEST:
                found.append(size)
    return found


def settle_depth(evidence: Evidence, flags: Mapping[str, Any], sizes: Any, known: bool) -> None:
    """Adds num_upsampling_layers, as far as tensors and size of the first features allow.

    ValueError where files, flags and sizes contradict, or leave a choice that the dataset does not make.
    """
    depths: Any = evidence.value("depths")
    path, how = evidence.source("depths")
    wanted, cells = flags.get("num_upsampling_layers"), evidence.value("cells")
    if wanted and wanted not in depths:
        raise ValueError(
            f"{path}: depth is {' or '.join(depths)} ({how}), but --num_upsampling_layers asks for {wanted}"
        )
    open_depths = (wanted,) if wanted else depths
    check_choice(path, cells, open_depths, flags, known)
    possible = [depth for depth in open_depths if not cells or cells_of(sizes, depth) == cells]
    if not possible:
        refuse_size(path, cells, depths, sizes)
    default = sizes.num_upsampling_layers if known else None
    chosen: Any = wanted or (possible[0] if len(possible) == 1 else default)
    if chosen not in possible:
        raise ValueError(
            f"{path}: depths {' and '.join(possible)} have the same tensors; say which with "
            "--num_upsampling_layers (NVlabs/SPADE's default: normal)"
        )
    if len(possible) > 1:
        others = " or ".join(depth for depth in possible if depth != chosen)
        logging.info(
            "%s: depths %s have the same tensors; taken is %s, as usual for the dataset; the other with "
            "--num_upsampling_layers %s",
            path,
            " and ".join(possible),
            chosen,
            others,
        )
    say_choice(path, cells, open_depths, flags, Size(chosen, sizes.crop_size, sizes.crop_height))
    evidence.add("num_upsampling_layers", chosen, path, how)


def check_choice(
    path: str, cells: int | None, depths: Sequence[str], flags: Mapping[str, Any], known: bool
) -> None:
    """ValueError where cells fit several sizes, and neither flags nor a known dataset say which."""
    fits = fitting(cells, depths, flags) if cells and not known else []
    if len(fits) > 1:
        raise ValueError(
            f"{path}: the first features have {cells} cells, which fit {_listed(fits)}; other sizes than those "
            "of the training make wrong pictures; give these three flags as it was trained"
        )


def say_choice(
    path: str, cells: int | None, depths: Sequence[str], flags: Mapping[str, Any], taken: Size
) -> None:
    """Logs what is taken of several sizes that fit, and what the others are."""
    others = [size for size in fitting(cells, depths, flags) if size != taken] if cells else []
    if others:
        logging.info(
            "%s: the first features have %d cells; taken is %dx%d at depth %s (by flags, else as usual "
            "for the dataset); they also fit %s",
            path,
            cells,
            taken.width,
            taken.height,
            taken.depth,
            _listed(others),
        )


def refuse_size(path: str, cells: int, depths: Sequence[str], sizes: Any) -> None:
    """ValueError: pictures of these sizes (a Config) have other first features."""
    ours = ", ".join(f"{depth} {cells_of(sizes, depth)}" for depth in depths)
    fits = fitting(cells, depths, {})
    raise ValueError(
        f"{path}: the first features have {cells} cells; pictures of {sizes.crop_size}x{sizes.crop_height} would "
        f"give {ours}; give --crop_size, --aspect_ratio and --num_upsampling_layers of the training"
        + (f", for example {_listed(fits)}" if fits else "")
    )


def _listed(fits):
    return first_of([f"{size.width}x{size.height} ({size.flags})" for size in fits], _SHOWN, ", ")


def cells_of(sizes: Any, depth: str) -> int:
    """Cells of the first features for pictures of these sizes (a Config)."""
    stride = 2 ** DOUBLINGS[depth]
    return (sizes.crop_height // stride) * (sizes.crop_size // stride)
