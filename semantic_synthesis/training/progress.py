"""The line in a terminal that says how far a training is and what a wait is for; in a log, a line a minute."""

import contextlib
import logging as standard
import sys
import time
from collections.abc import Iterator, Mapping

from absl import logging
from tqdm import tqdm

LOG_SECONDS = 60
_LINE = "{n_fmt}/{total_fmt} {percentage:3.0f}% [{elapsed}<{remaining}]{postfix}"


class Progress:
    """One line, never wider than the terminal. active=False shows nothing at all."""

    def __init__(self, total: int, first: int, active: bool) -> None:
        self.active, self.total = active, total
        self.bar = tqdm(
            total=total,
            initial=first,
            bar_format=_LINE,
            dynamic_ncols=True,
            disable=not active or not sys.stderr.isatty(),
        )
        self._said = time.monotonic()
        handler = logging.get_absl_handler()
        self._cleaner = _LineCleaner(self.bar)
        handler.addFilter(self._cleaner)

    def advance(self) -> None:
        """One step done."""
        self.bar.update(1)

    def show(self, step: int, values: Mapping[str, str]) -> None:
        """values {name: text}, the most important first: as many as fit."""
        if not self.bar.disable:
            self.bar.set_postfix_str(fitted(values, _room(self.bar)), refresh=False)
        elif self.active and (time.monotonic() - self._said > LOG_SECONDS or step == self.total):
            self._said = time.monotonic()
            logging.info("step %d/%d: %s", step, self.total, fitted(values, 200))

    @contextlib.contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Says what a wait is for, while it lasts."""
        if self.bar.disable:
            if self.active:
                logging.info("%s", text)
            yield
            return
        before = self.bar.postfix
        self.bar.set_postfix_str(text[: _room(self.bar)])
        try:
            yield
        finally:
            self.bar.set_postfix_str(before or "", refresh=False)

    def close(self) -> None:
        """Leaves the line as it is."""
        logging.get_absl_handler().removeFilter(self._cleaner)
        self.bar.close()


class _LineCleaner:
    """A filter of log records that lets all pass and clears the line before each."""

    def __init__(self, bar):
        self._bar = bar

    def filter(self, record: standard.LogRecord) -> bool:
        if not self._bar.disable:
            self._bar.clear()
        return True


def fitted(values: Mapping[str, str], width: int) -> str:
    """{name: text} as "name text, name text", as many from the first on as fit into width columns."""
    line = ""
    for name, value in values.items():
        longer = f"{line}, {name} {value}" if line else f"{name} {value}"
        if len(longer) > width:
            break
        line = longer
    return line


def _room(bar):
    """Columns that a bar's terminal has left for what stands behind the times."""
    width = (bar.dynamic_ncols(bar.fp)[0] if bar.dynamic_ncols else bar.ncols) or 80
    before = bar.format_meter(**{**bar.format_dict, "ncols": None, "postfix": None})
    return max(0, width - len(before) - len(", "))
