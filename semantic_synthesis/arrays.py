"""Checks of the arrays that programs hand over: what is none of what a function takes ends as one line that says so.

Nothing is guessed: floats are no pictures, three equal channels are no map.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

MOST_PIXELS_WRITTEN = (
    2**26
)  # of a picture, which may be enlarged after the network (there: geometry.MOST_PIXELS)
_SHOWN = 8
_MAP_REMEDY = (
    "a map that cv2.imread or Pillow opened has channels: take read_label(path, run.table), or one channel"
)
_PICTURE_REMEDY = (
    "floats from 0 to 1: (255 * x).round().astype(np.uint8); from -1 to 1: ((x + 1) * 127.5).round().astype(np.uint8); "
    "other integers that are 8 bits: x.astype(np.uint8)"
)


def _array(values, what, expected):
    try:
        found = np.asarray(values)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{what}: {type(values).__name__} is no array ({reason}); expected {expected}"
        ) from None
    if found.dtype.kind not in "biuf":
        raise ValueError(f"{what}: {type(values).__name__} of {found.dtype}; expected {expected}")
    return found


def _whole(found, what):
    """Floats that are whole numbers as int64; ValueError for others."""
    if found.dtype.kind != "f":
        return found
    with np.errstate(invalid="ignore"):
        odd = found[~(np.isfinite(found) & (found == np.round(found)) & (np.abs(found) < 2**53))]
    if odd.size:
        raise ValueError(
            f"{what} ids are floats ({odd.flat[0]:g} among them); expected whole numbers: of an index map from a file "
            "not what plt.imread or a division by 255 gives, of probabilities their argmax"
        )
    return found.astype(np.int64)


def check_map(values: Any, what: str, classes: int | None = None, batches: bool = True) -> np.ndarray:
    """A map as integers [h,w] or, with `batches`, [N,h,w], as given; ValueError, one line, for anything else.

    what: name for messages; classes: number of classes that ids are below, None: any that int32 holds, 0 for none.
    """
    expected = "ids [h,w] or [N,h,w]" if batches else "ids [h,w]"
    found = _array(values, what, expected)
    shape = f"{what}: array of shape {found.shape}"
    if found.size == 0:
        raise ValueError(f"{shape} is empty; expected {expected}")
    if found.ndim >= 3 and found.shape[-1] <= 4:
        raise ValueError(f"{shape}; expected {expected}; {_MAP_REMEDY}")
    found = _whole(found, what)
    if classes is not None and _is_one_hot(found, classes):
        raise ValueError(
            f"{shape} holds one channel per class; expected {expected}: its argmax over the classes"
        )
    if found.ndim not in ((2, 3) if batches else (2,)):
        raise ValueError(f"{shape}; expected {expected}")
    check_ids(found, what, classes)
    return found


def _is_one_hot(found, classes):
    """Whether there are as many channels as classes, last or first, of which one is 1 and all others 0."""
    if found.ndim != 3 or classes < 2 or found.min() < 0 or found.max() > 1:
        return False
    return any(found.shape[axis] == classes and (found.sum(axis) == 1).all() for axis in (-1, 0))


def check_ids(found: np.ndarray, what: str, classes: int | None) -> None:
    """ValueError, one line, unless all are integers below `classes`; None: of int32, 0 for none."""
    if found.dtype.kind not in "biu":
        raise ValueError(f"{what} ids are {found.dtype}; expected whole numbers")
    if not found.size:
        return
    low, high = found.min(), found.max()
    if classes is None:
        if low < 0 or high > np.iinfo(np.int32).max:
            raise ValueError(
                f"{what} ids from {low} to {high}; expected 0 (no object) to {np.iinfo(np.int32).max}"
            )
    elif low < 0 or high >= classes:
        wrong = np.unique(found[(found < 0) | (found >= classes)])
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise ValueError(f"{what} ids {wrong[:_SHOWN].tolist()}{more} unknown; expected 0 to {classes - 1}")


def check_pictures(values: Any, what: str = "photo", batches: bool = True) -> np.ndarray:
    """Pictures uint8 [h,w,3], or with `batches` [N,h,w,3] as well, as given; ValueError, one line, else."""
    expected = "uint8 RGB [h,w,3]" + (" or [N,h,w,3]" if batches else "")
    found = _array(values, what, expected)
    shape = f"{what}: array of shape {found.shape}"
    if found.size == 0:
        raise ValueError(f"{shape} is empty; expected {expected}")
    if found.ndim not in ((3, 4) if batches else (3,)) or found.shape[-1] != 3:
        raise ValueError(f"{shape}; expected {expected}{_channel_hint(found)}")
    if found.dtype != np.uint8:
        low, high = found.min(), found.max()
        raise ValueError(
            f"{what}: {found.dtype} from {low:g} to {high:g}; expected {expected}; {_PICTURE_REMEDY}"
        )
    return found


def _channel_hint(found):
    if found.ndim >= 3 and found.shape[-3] == 3:
        return ": channels last (np.moveaxis(x, -3, -1))"
    if found.ndim >= 3 and found.shape[-1] == 4:
        return ": without transparency (x[..., :3])"
    return ": grey in three channels (np.stack([x] * 3, -1))" if found.ndim == 2 else ""


def check_seeds(values: Any, what: str = "seeds") -> np.ndarray:
    """Seeds int64 [N]; ValueError, one line, for anything else."""
    expected = "a list of whole numbers of 64 bits, one per picture"
    found = _array(values, what, expected)
    if found.ndim != 1 or not found.size:
        raise ValueError(f"{what}: array of shape {found.shape}; expected {expected}, for example [0, 1]")
    if found.dtype.kind not in "iu" or (found.dtype == np.uint64 and found.max() >= 2**63):
        raise ValueError(f"{what}: {found.dtype}; expected {expected}")
    return found.astype(np.int64)


def check_size(size: Any) -> tuple[int, int]:
    """(height, width) of a picture as integers."""
    expected = (
        f"(height, width) in pixels, whole numbers from 1, at most {MOST_PIXELS_WRITTEN} pixels together"
    )
    try:
        height, width = size
        whole = (
            all(int(side) == side and side >= 1 for side in (height, width))
            and height * width <= MOST_PIXELS_WRITTEN
        )
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise ValueError(f"size: {size!r}; expected {expected}")
    return int(height), int(width)


def check_layout(
    layout: Any, names: Collection[str], classes: int, size: tuple[int, int] | None, stride: int
) -> int:
    """The number of layouts in {name: int [N,H,W]}, which `Synthesizer.layout` makes; ValueError for anything else.

    size: (H, W), None where multiples of the stride will do.
    """
    if not isinstance(layout, dict) or set(layout) != set(names):
        given = f"{{{', '.join(map(str, layout))}}}" if isinstance(layout, dict) else type(layout).__name__
        raise ValueError(f"layout: {given}; expected what run.layout(label) gives, {{{', '.join(names)}}}")
    expected = f"[N,{size[0]},{size[1]}]" if size else f"[N,H,W] with H and W multiples of {stride}"
    shapes = set()
    for name in names:
        found = check_map(layout[name], f"layout['{name}']", classes if name == "label" else None)
        fits = found.shape[1:] == size if size else not any(side % stride for side in found.shape[1:])
        if found.ndim != 3 or not fits:
            raise ValueError(
                f"layout['{name}']: array of shape {found.shape}; expected {expected}, as run.layout gives"
            )
        shapes.add(found.shape)
    if len(shapes) > 1:
        raise ValueError(f"layout: arrays of shapes {sorted(shapes)}; expected equal ones")
    return shapes.pop()[0]


def check_style(style: Any, specs: Mapping[str, Any], layouts: int, regions: int) -> None:
    """ValueError unless a style has all tensors of {name: StyleSpec}: finite floats for `layouts` layouts.

    There are as many styles as layouts, or one layout; regions: how many rows an axis without size has at least.
    """
    if not isinstance(style, dict) or set(style) != set(specs):
        given = f"{{{', '.join(map(str, style))}}}" if isinstance(style, dict) else type(style).__name__
        expected = f"{{{', '.join(specs)}}}" if specs else "{}, as this run takes none"
        raise ValueError(f"style: {given}; expected {expected}, as run.sample_style gives")
    for name, spec in specs.items():
        what = f"style['{name}']"
        sizes = [f"{regions} or more" if size is None else str(size) for size in spec.shape]
        expected = f"finite floats [{','.join(['N', *sizes])}]"
        found = _array(style[name], what, expected)
        fits = found.ndim == len(spec.shape) + 1 and all(
            there >= regions if size is None else there == size
            for size, there in zip(spec.shape, found.shape[1:], strict=True)
        )
        if not fits or found.dtype.kind != "f":
            raise ValueError(f"{what}: {found.dtype} of shape {found.shape}; expected {expected}")
        if not np.isfinite(found).all():
            raise ValueError(f"{what}: holds NaN or infinite values; expected {expected}")
        if len(found) < 1 or layouts not in (1, len(found)):
            raise ValueError(
                f"{what}: {len(found)} styles for {layouts} layouts; expected as many, or one layout"
            )
