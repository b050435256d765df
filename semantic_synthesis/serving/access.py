"""Who may ask the development server: hosts, pages of other origins, a token; and the log of who did.

A browser lets any page send requests to an address on this machine. So the Host must be one that no foreign name
server can point here, and pages of other origins need --allow_origin.
"""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import json
import logging
import logging.handlers
import os
import queue
import re
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import urlsplit

TOKEN_VARIABLE = "SEMANTIC_SYNTHESIS_API_TOKEN"
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s?#@]+")
_MOST_PATH = 200  # characters of a path in the log


def read_token(options: Any) -> str:
    """The token that clients must send: of --api_token, --api_token_file or the environment; "" for none."""
    if options.api_token and options.api_token_file:
        raise ValueError("--api_token and --api_token_file; expected one of them")
    if not options.api_token_file:
        return options.api_token or os.environ.get(TOKEN_VARIABLE, "").strip()
    try:
        with open(options.api_token_file, encoding="utf-8") as file:
            token = file.read(10_000).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{options.api_token_file}: cannot be read as text ({error})") from None
    if not token:
        raise ValueError(f"{options.api_token_file}: is empty; expected the token that clients send")
    return token


class Access:
    """The rules. Refusals are (HTTP status, text), None for who may pass."""

    def __init__(self, options: Any) -> None:
        self.token = read_token(options).encode()
        self.origins = list(options.allow_origin)
        self.hosts = {name.lower() for name in (options.host, *options.allow_host)}
        for origin in self.origins:
            if origin not in ("*", "null") and not _ORIGIN.fullmatch(origin):
                raise ValueError(f"--allow_origin {origin!r}; expected such as http://localhost:3000, or *")

    def refusal(self, scope: Mapping[str, Any]) -> tuple[int, str] | None:
        """Of Host and Origin."""
        hosts, origins = (_values(scope, name) for name in (b"host", b"origin"))
        if len(hosts) > 1 or (not hosts and scope["http_version"] != "1.0"):
            return 400, f"{len(hosts)} Host headers; expected one"
        if hosts and not self._known(hosts[0]):
            return (
                421,
                f"Host {hosts[0]!r} is not this server; expected its address, localhost or an --allow_host",
            )
        for origin in origins:
            own = hosts and origin.lower() == f"{scope['scheme']}://{hosts[0].lower()}"
            if not own and "*" not in self.origins and origin not in self.origins:
                return (
                    403,
                    f"pages of {origin!r} may not call this server; --allow_origin lists those that may",
                )
        return None

    def _known(self, host):
        """Addresses, localhost and names without a dot cannot be made to point here by others; names can."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
            return True
        except ValueError:
            return (
                name in self.hosts
                or "*" in self.hosts
                or name.endswith(".localhost")
                or (bool(re.fullmatch(r"[a-z0-9_-]+", name)))
            )

    def token_refusal(self, scope: Mapping[str, Any]) -> tuple[int, str] | None:
        """Of the token."""
        if not self.token:
            return None
        sent = [value.encode("latin-1") for value in _values(scope, b"authorization")]
        if (
            len(sent) == 1
            and hmac.compare_digest(sent[0].partition(b" ")[2].strip(), self.token)
            and (sent[0][:7].lower() == b"bearer ")
        ):
            return None
        return 401, "no or another token; expected the header Authorization: Bearer <token>"


def _values(scope, name):
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


async def send_json(
    send: Callable, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """An ASGI answer of JSON bytes."""
    about = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": about})
    await send({"type": "http.response.body", "body": body})


class Gate:
    """ASGI: refuses foreign hosts and origins, and logs every request in one line."""

    def __init__(self, app: Any, access: Access, log: Any) -> None:
        self.app, self.access, self.log = app, access, log

    async def __call__(self, scope: MutableMapping[str, Any], receive: Callable, send: Callable) -> None:
        """One request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, found = time.perf_counter(), {"status": "-", "sent": 0}

        async def watched(message):
            found["status"] = message.get("status", found["status"])
            found["sent"] += len(message.get("body", b""))
            await send(message)

        try:
            refused = self.access.refusal(scope)
            if refused:
                await send_json(watched, refused[0], json.dumps({"error": refused[1]}).encode())
            else:
                await self.app(scope, receive, watched)
        finally:
            self._write(scope, found, time.perf_counter() - start)

    def _write(self, scope, found, seconds):
        client = (scope.get("client") or ("-",))[0]
        path = ascii(scope["path"])[1:-1]
        shown = path if len(path) <= _MOST_PATH else f"{path[:_MOST_PATH]}..."
        self.log.info(
            "%s %s %s %s %d B %.0f ms",
            client,
            scope["method"],
            shown,
            found["status"],
            found["sent"],
            1000 * seconds,
        )


# The log


class _NeverWaits(logging.handlers.QueueHandler):
    """Hands lines to a thread; where nobody reads them, they are dropped and the server goes on."""

    def enqueue(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(queue.Full):
            self.queue.put_nowait(record)


class _Unbuffered(logging.Handler):
    """Lines to standard error without Python's buffer, on which the end of the process would wait."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            os.write(2, (self.format(record) + "\n").encode(errors="backslashreplace"))


def open_log(shown: bool) -> tuple[logging.Logger, Any]:
    """The server's logger: requests if `shown`, errors always, to standard error."""
    logger, lines = logging.getLogger("semantic_synthesis.serving"), queue.Queue(1000)
    writer = _Unbuffered()
    writer.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger.handlers, logger.propagate = [_NeverWaits(lines)], False
    logger.setLevel(logging.INFO if shown else logging.ERROR)
    logging.handlers.QueueListener(lines, writer).start()
    return logger, lines
