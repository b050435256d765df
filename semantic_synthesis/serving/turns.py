"""Who computes next: a few workers, many requests, one row at a time.

Of the requests that wait, turns go alternately to the one that had the fewest and to the one that waits longest. So a
request of one row passes the long ones of others, and nobody waits for ever, whatever others send.
"""

import asyncio
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Turns:
    """Runs steps of requests in `count` worker threads, fairly. For one event loop."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, "predict")
        self._free, self._waiting = count, []
        self._numbers, self._longest = itertools.count(), False

    async def run(self, steps: Iterator[Any]) -> Any:
        """The last value of an iterator whose items are each computed in a turn of their own."""
        loop, value, end = asyncio.get_running_loop(), None, object()
        for taken in itertools.count():
            await self._turn(taken)
            step = loop.run_in_executor(self._pool, next, steps, end)
            step.add_done_callback(lambda _: self._give())  # also where nobody waits for it any more
            found = await asyncio.shield(step)
            if found is end:
                return value
            value = found

    async def _turn(self, taken):
        """Returns when one of the workers is this request's."""
        if self._free:
            self._free -= 1
            return
        ready = asyncio.get_running_loop().create_future()
        entry = (taken, next(self._numbers), ready)
        self._waiting.append(entry)
        try:
            await ready
        except asyncio.CancelledError:
            if not ready.cancelled():
                self._give()  # it was this request's turn already
            raise

    def _give(self):
        """Passes a worker on."""
        self._waiting = [entry for entry in self._waiting if not entry[2].done()]  # cancelled ones
        if not self._waiting:
            self._free += 1
            return
        self._longest = not self._longest
        entry = min(self._waiting, key=lambda entry: entry[1:2] if self._longest else entry[:2])
        self._waiting.remove(entry)
        entry[2].set_result(None)
