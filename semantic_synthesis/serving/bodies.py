"""Request bodies: read within limits of size and time, unpacked within the same size.

A client that stalls costs a small buffer until its time is over, no place in the queue. Large bodies share a budget
of bytes; where it is spent, the one that has been arriving for longest is given up.
"""

import asyncio
import time
import zlib
from typing import Any

from semantic_synthesis.serving.rest_protocol import RequestError

_DISCARDED = 512 << 20  # bytes of an oversized body that are read and dropped, so that clients see the 413
_BODY_S = 60  # seconds a client may take to send its body
_SILENT_S = 10  # seconds between two pieces of it
_BUDGET = 8  # largest bodies that fit into the house at a time
_SMALL = 64  # a body of a 64th of the largest is taken without asking for the budget


class _Body:
    """One that arrives: what is there of it, bytes seen so far, whether it had to make room for others."""

    def __init__(self) -> None:
        self.content, self.size, self.given_up = bytearray(), 0, False


class Bodies:
    """Reads bodies of at most `most_bytes`."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._held, self._arriving = 0, []  # bytes of large bodies in the house; _Body, the oldest first

    async def read(self, request: Any) -> bytes:
        """The body's bytes. RequestError: 408, 413, or 429 where the house is full of large ones.

        The caller calls `release` with their number when they are gone.
        """
        told = request.headers.get("content-length", "")
        if "expect" in request.headers and told.isdecimal() and int(told[:19]) > self.most_bytes:
            raise self._too_large()  # the client asks before it sends
        body, whole = _Body(), False
        self._arriving.append(body)
        try:
            async for chunk in _chunks(request):
                body.size += len(chunk)
                if body.size > _DISCARDED:
                    break
                self._keep(body, chunk)
            if body.size > self.most_bytes:
                raise self._too_large()
            whole = True
            return bytes(body.content)
        finally:
            self._arriving.remove(body)
            if not whole:
                self._drop(body)

    def release(self, size: int) -> None:
        """Gives the bytes of a body back."""
        self._held -= self._counted(size)

    def _counted(self, size):
        return size if size > self.most_bytes // _SMALL else 0

    def _too_large(self):
        return RequestError(413, f"the body is larger than {self.most_bytes} bytes (--max_body_mb)")

    def _keep(self, body, chunk):
        """Adds a piece; of a body that is too large nothing is kept."""
        if body.given_up:
            raise RequestError(429, "too many large bodies at a time; try again later")
        if body.size > self.most_bytes:
            return self._drop(body)
        before = self._counted(len(body.content))
        body.content += chunk
        self._held += self._counted(len(body.content)) - before
        for oldest in self._arriving:
            if self._held <= _BUDGET * self.most_bytes:
                break
            oldest.given_up = oldest.given_up or bool(self._counted(len(oldest.content)))
            if oldest.given_up:
                self._drop(oldest)

    def _drop(self, body):
        self._held -= self._counted(len(body.content))
        body.content = bytearray()


async def _chunks(request):
    """The pieces of a body as they come; RequestError 408 where they do not."""
    stream, end = request.stream().__aiter__(), time.monotonic() + _BODY_S
    while True:
        left = min(_SILENT_S, end - time.monotonic())
        try:
            yield await asyncio.wait_for(stream.__anext__(), max(left, 0.01))
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError:
            text = f"the body did not arrive: {_SILENT_S} s without a byte, or {_BODY_S} s in all"
            raise RequestError(408, text) from None


def unpacked(body: bytes, encoding: str, most_bytes: int) -> bytes:
    """A body without its Content-Encoding, gzip or none. RequestError 400, 413 or 415."""
    if encoding.strip().lower() in ("", "identity"):
        return body
    if encoding.strip().lower() not in ("gzip", "x-gzip"):
        raise RequestError(415, f"Content-Encoding {encoding!r}; expected gzip or none")
    unpacking = zlib.decompressobj(wbits=31)
    try:
        found = unpacking.decompress(body, most_bytes + 1)
    except zlib.error as error:
        raise RequestError(400, f"the body is no gzip ({error})") from None
    if len(found) > most_bytes:
        raise RequestError(413, f"the body unpacks to more than {most_bytes} bytes (--max_body_mb)")
    if not unpacking.eof or unpacking.unused_data:
        raise RequestError(400, "the gzip body is cut off, or something follows it")
    return found
