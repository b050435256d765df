"""Work of threads before and behind a loop, in bounded amounts: files are read and written while networks compute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from semantic_synthesis.data.scanning import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], depth: int, threads: int = 0
) -> Iterator[Result]:
    """Yields function(item) in the order of items, computed by threads (0: one more than cores).

    At most depth + 1 results are there or being made at a time. An error of the function, or of the items, is raised
    in its turn.
    """
    pool, waiting, items, failed = (
        ThreadPoolExecutor(threads or usable_cores() + 1),
        deque(),
        iter(items),
        None,
    )
    try:
        while True:
            try:
                waiting.append(pool.submit(function, next(items)))
            except StopIteration:
                break
            except Exception as error:
                failed = error
                break
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        if failed is not None:
            raise failed
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class Behind:
    """Work that is left to threads, at most `most` pieces of it begun or waiting at a time.

    As a context: its end waits for all of it. The first error of a piece is raised by the next `do` or by the end,
    and what has not begun then never does; an error of the loop itself lets the pieces end.
    """

    def __init__(self, most: int) -> None:
        self._pool, self._pieces, self._most = ThreadPoolExecutor(usable_cores() + 1), deque(), most

    def do(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Leaves function(*arguments) to a thread, as soon as there is room."""
        self._wait(self._most - 1)
        self._pieces.append(self._pool.submit(function, *arguments))

    def _wait(self, left):
        """Until no more than so many pieces are left; after an error none is."""
        try:
            while len(self._pieces) > left:
                self._pieces.popleft().result()
        except BaseException:
            self._pieces.clear()
            self._pool.shutdown(wait=True, cancel_futures=True)
            raise

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._wait(0)
        finally:
            self._pool.shutdown(wait=True)
