"""Progress bars of commands that go over files and pictures."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

LOG_SECONDS = 30  # between two lines of a bar whose screen is a file


def progress_bar(items: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """tqdm(items, **options), as wide as the terminal; where there is none, a line now and then."""
    often = {} if sys.stderr.isatty() else {"mininterval": LOG_SECONDS, "maxinterval": 2 * LOG_SECONDS}
    return tqdm(items, dynamic_ncols=True, **often, **options)
