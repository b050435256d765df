"""uvicorn's connections with limits: of their number, of headers, of silence at either end.

uvicorn has none of these. Whoever is late or silent is dropped, the longest silent first where there are too many.
"""

import asyncio
import re
import resource
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from semantic_synthesis.serving.rest_protocol import encode_error

ACCEPTED_AT_ONCE = 64  # connections that asyncio accepts before it looks at any
_OWN_FILES = 100  # file descriptors that are no connections
_WAITING_AT_THE_DOOR = 1024  # connections that the system holds until they are accepted
_MOST_HEADER = 64 << 10  # bytes of a request beside its body, and beside 8 for each byte of that (chunks)
_MOST_AHEAD = 16  # requests of a connection that wait for the answers to earlier ones
_HEADER_S = 10  # seconds until a request's headers are there
# Java's HttpClient asks every server for HTTP/2, which may be ignored; httptools would drop the body of such a request.
_UPGRADE, _NO_UPGRADE = re.compile(rb"(?i)\nupgrade:(?=[ \t]*h2c)"), b"\nignored:"
_STALLED_S = 10  # seconds in which a client must have read a part of its answer


def most_connections(asked: int) -> int:
    """As many as asked for, or as the process may open files."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(min(asked, files - _OWN_FILES - ACCEPTED_AT_ONCE), 8)


class Connection(HttpToolsProtocol):
    """A client's connection; `most`: how many of them there may be."""

    def __init__(self, most: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.most, self.since, self.overhead = most, self.loop.time(), 0
        self.unread: tuple[int, float] | None = None
        self.before_headers = True

    @property
    def waits(self) -> bool:
        """Whether it waits for its client: for headers, or for the rest of a body."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def connection_made(self, transport: Any) -> None:
        """Makes room for itself among the others."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            silent = [one for one in self.connections if one.waits]
            oldest = min(silent, key=lambda one: (one.busy_with_a_body, one.since))
            oldest.transport.abort()
            self.connections.discard(oldest)

    @property
    def busy_with_a_body(self) -> bool:
        """Whether headers are there and a body arrives."""
        return self.cycle is not None and not self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        """Bytes of requests; what is not their body is bounded."""
        self.overhead += len(data)
        if self.before_headers:
            head, end, rest = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(_NO_UPGRADE, head) + end + rest
        super().data_received(data)
        if self.overhead > _MOST_HEADER and not self.transport.is_closing():
            self.refuse(431, f"headers of more than {_MOST_HEADER} bytes")

    def on_message_begin(self) -> None:
        """A request begins."""
        self.since, self.overhead = self.loop.time(), 0
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """A request has ended; headers come next."""
        self.before_headers = True
        super().on_message_complete()

    def on_headers_complete(self) -> None:
        """The headers are there; the request runs, or waits for those before it."""
        self.before_headers = False
        if len(self.pipeline) >= _MOST_AHEAD:
            raise ValueError("too many requests ahead of their answers")  # ends in send_400_response
        sized = [name for name, _ in self.headers if name in (b"content-length", b"transfer-encoding")]
        if self.parser.should_upgrade() and sized:  # httptools drops the body of such a request
            self.refuse(400, "Upgrade with a body: expected HTTP/1.1 without")
            raise ValueError("upgrade with a body")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self.overhead -= 9 * len(body)
        super().on_body(body)

    def on_response_complete(self) -> None:
        """The next request may come."""
        self.since = self.loop.time()
        super().on_response_complete()

    def eof_received(self) -> bool:
        """A client that has said all still gets its answer."""
        if self.waits:
            return False
        self.cycle.keep_alive = False
        return True

    def send_400_response(self, msg: str) -> None:
        """The answer to what is no HTTP."""
        self.refuse(400, "Malformed request: not HTTP, or too many requests ahead of their answers")

    def refuse(self, status: int, text: str) -> None:
        """An answer in front of any route, the first that is given; the connection ends."""
        if self.transport.is_closing():
            return
        body = encode_error(text)
        head = f"HTTP/1.1 {status} \r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def check(self, now: float) -> None:
        """Called every second: drops who is late."""
        if self.transport.is_closing():
            return
        unread = self.transport.get_write_buffer_size()
        if unread and self.unread and unread >= self.unread[0]:
            if now - self.unread[1] > _STALLED_S:
                self.transport.abort()
        else:
            self.unread = (unread, now) if unread else None
        if self.waits and not self.busy_with_a_body and now - self.since > _HEADER_S:
            self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's server; `end` is called when running requests have had drain_s seconds, `say` with a line."""

    def __init__(
        self, config: uvicorn.Config, drain_s: float, end: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        super().__init__(config)
        self._drain_s, self._end, self._say = drain_s, end, say

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Also lets the system hold more connections than are accepted at once."""
        await super().startup(sockets)
        for one in sockets or ():
            one.listen(_WAITING_AT_THE_DOOR)
        if self.should_exit:  # the signal came first: uvicorn ends without a shutdown
            self._say("stopping: 0 requests in flight")

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                connection.check(now)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """SIGTERM came, or Ctrl-C: says at once what is still to be answered."""
        count = sum(not one.waits for one in self.server_state.connections)
        self._say(
            f"stopping: {count} requests in flight{f', up to {self._drain_s:g} s for them' if count else ''}"
        )
        asyncio.get_running_loop().call_later(self._drain_s, self._end)
        await super().shutdown(sockets)
