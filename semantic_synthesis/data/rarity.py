"""Drawing samples by the rarity of their colours, and the rarity of every pixel (`--rarity_dir`).

The files are those of conditional IMLE (Li et al., ICCV 2019; zth667/Diverse-Image-Synthesis-from-Semantic-Layout),
which clVAE trains GTA5 with. For a few classes each, <...>rarity_bin_<class>.npy: float [n], the cumulated rarity of
the n training samples in the order of their names, from above 0 to 1. One <...>rarity_mask.npy: float32 [n,H,W] or
[n,H,W,1], the rarity of every pixel's class in its sample, in (0,1]; it stays on disk but for what is drawn.
"""

import functools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .. import storage
from .errors import DataError

ITEMS, EPOCH = 400, 10_000  # samples drawn by rarity for an epoch, and how many of these train in it
_ITEMS, _PICKS = 3, 4  # purposes of random numbers


class Rarity:
    """What a --rarity_dir says about `count` samples.

    numbers(purpose, number, count) -> random uint64 [count], a function of its arguments alone.
    """

    size = EPOCH

    def __init__(self, folder: str | Path, count: int, numbers: Callable) -> None:
        self._numbers = numbers
        if not storage.is_folder(folder):
            raise FileNotFoundError(f"--rarity_dir {folder}: no such folder; check the path")
        found = sorted(Path(storage.kept_here(str(folder))).glob("*rarity_*.npy"))
        named = [
            (int(m[1]), path) for path in found if (m := re.search(r"rarity_bin_(\d+)\.npy$", path.name))
        ]
        self._bins = [_read_bin(path, count) for _, path in sorted(named)]
        masks = [path for path in found if path.name.endswith("rarity_mask.npy")]
        if not self._bins or len(masks) != 1:
            raise FileNotFoundError(
                f"--rarity_dir {folder}: {len(self._bins)} files *rarity_bin_<class>.npy and {len(masks)} "
                "*rarity_mask.npy; expected one or more and one"
            )
        self._masks = _read(masks[0], mmap_mode="r")
        if (
            self._masks.ndim not in (3, 4)
            or len(self._masks) != count
            or self._masks.shape[3:] not in ((), (1,))
        ):
            raise DataError(
                f"{masks[0]}: shape {self._masks.shape}; expected ({count}, height, width, 1) for the {count} "
                "training samples"
            )
        self._items = functools.lru_cache(4)(self._draw_items)

    def drawn(self, row: int) -> int:
        """The sample of row `row` of the stream: one of the items of its epoch, all equally likely."""
        pick = int(self._numbers(_PICKS, row, 1)[0]) % ITEMS  # uint64 % int is a float in NumPy 1
        return int(self._items(row // EPOCH)[pick])

    def _draw_items(self, epoch):
        """int64 [ITEMS]: samples for an epoch, by each class's rarity in turn."""
        uniform = self._numbers(_ITEMS, epoch, ITEMS) * 2.0**-64
        turns = np.arange(ITEMS) % len(self._bins)
        found = [np.searchsorted(self._bins[t], u) for t, u in zip(turns, uniform, strict=True)]
        return np.minimum(found, len(self._bins[0]) - 1)

    def mask(self, index: int) -> np.ndarray:
        """float32 [H,W]: the rarity of each pixel of a sample."""
        mask = np.asarray(self._masks[index], np.float32)
        return mask.reshape(mask.shape[:2])


def _read_bin(path, count):
    """A checked file of cumulated rarity, float [count]."""
    values = _read(path)
    if values.shape != (count,) or not np.issubdtype(values.dtype, np.floating):
        raise DataError(
            f"{path}: {values.dtype} {values.shape}; expected ({count},) numbers for the {count} training samples"
        )
    if not (np.diff(values) >= 0).all() or values[0] < 0 or abs(values[-1] - 1) > 1e-3:
        raise DataError(f"{path}: expected cumulated shares, which grow from 0 or above to 1")
    return values


def _read(path, **how):
    try:
        return np.load(path, allow_pickle=False, **how)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(
            f"{path}: not readable as .npy ({str(error).splitlines()[0]}); get it again"
        ) from None
