"""The HTTP side of the development server: routes, bounds, fair turns, and the end."""

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from semantic_synthesis.serving import rest_protocol
from semantic_synthesis.serving.bodies import Bodies, unpacked
from semantic_synthesis.serving.rest_protocol import RequestError
from semantic_synthesis.serving.turns import Turns

_LARGE = 1 << 20  # bytes of a body; of larger ones no more are unpacked at a time than there are workers
_URL = re.compile(r"/v1/models/([^/:]+)(?:/versions/([0-9]{1,19}))?(?:(/metadata)|:(\w+))?")


def malformed(method: str, path: str) -> str:
    """The text about an address that is none."""
    how = "GET /v1/models/NAME, GET /v1/models/NAME/metadata or POST /v1/models/NAME:predict"
    return f"Malformed request: {method} {path}; expected {how}"


class Service:
    """Answers requests. options: ServeOptions; served: {name: ServedModel}."""

    def __init__(self, options: Any, served: Mapping[str, Any]) -> None:
        self.served, self.most_requests = served, options.max_queue
        self.bodies, self.turns = Bodies(int(options.max_body_mb * 1e6)), Turns(options.num_threads)
        self._large = asyncio.Semaphore(options.num_threads)
        self.in_house = Counter()  # {client's address: requests computed or waiting}
        self._running, self.ended = set(), False

    async def answer(self, request: Any) -> tuple[int, bytes]:
        """Any request -> (HTTP status, JSON bytes)."""
        task = asyncio.ensure_future(self._dispatch(request))
        self._running.add(task)
        try:
            return 200, await task
        except RequestError as error:
            return error.status, rest_protocol.encode_error(str(error))
        except MemoryError:
            return 503, rest_protocol.encode_error("not enough memory for this request; try a smaller one")
        except asyncio.CancelledError:
            if not self.ended:
                raise
            return 503, rest_protocol.encode_error("the server ends; its time for running requests is over")
        finally:
            task.cancel()
            self._running.discard(task)

    def end(self) -> None:
        """Answers whatever still runs with 503, now."""
        self.ended = True
        for task in self._running:
            task.cancel()

    async def _dispatch(self, request):
        match = _URL.fullmatch(request.url.path)
        predicting = bool(match and match[4])
        if (
            not match
            or request.method != ("POST" if predicting else "GET")
            or (predicting and match[4] != "predict")
        ):
            raise RequestError(400, malformed(request.method, request.url.path))
        model = self._find(match[1], match[2])
        if predicting:
            return await self._predict(model, request)
        if match[3]:  # of a run that is served without an export the signatures may have to be traced
            return await self.turns.run(rest_protocol.metadata(one) for one in [model])
        return rest_protocol.status(model)

    def _find(self, name, version):
        model = self.served.get(name)
        if model is None or (version and int(version) != model.version):
            wanted = f"Specific({name}, {version})" if version else f"Latest({name})"
            there = ", ".join(
                name if one.version == 1 else f"{name} (version {one.version})"
                for name, one in self.served.items()
            )
            raise RequestError(404, f"Servable not found for request: {wanted}; there are: {there}")
        return model

    async def _predict(self, model, request):
        client = getattr(getattr(request, "client", None), "host", "")
        self._check_room(client)  # before the body is read, and again when the request takes its place
        bodies = [await self.bodies.read(request)]
        size = len(bodies[0])
        try:
            self._check_room(client)
            self.in_house[client] += 1
            try:
                encoding = request.headers.get("content-encoding", "")
                large = size > _LARGE or encoding
                async with self._large if large else nullcontext():
                    return await self.turns.run(self._steps(model, bodies, encoding))
            finally:
                self.in_house -= Counter([client])
        finally:
            self.bodies.release(size)

    def _check_room(self, client):
        """Full means full for those who fill it: another address has a share of its own."""
        found, limit = self.in_house.total(), self.most_requests
        if found < limit:
            return
        share = limit // (len(self.in_house) + (client not in self.in_house))
        if found >= 2 * limit or self.in_house[client] >= max(share, 1):
            raise RequestError(429, f"{found} requests are waiting already; try again later")

    def _steps(self, model, bodies, encoding):
        """The turns of a request; nothing here holds on to its body."""
        yield from model.steps(unpacked(bodies.pop(), encoding, self.bodies.most_bytes))
