"""python -m semantic_synthesis serve: a development twin of TF Serving's REST interface, no replacement.

A client or page written against it works unchanged against TF Serving. What it has not: gRPC, versions
side by side, labels, new versions while running, batching of requests, monitoring. What it has on top:
bounds of bodies, rows, requests and connections, fair turns, and checks of who asks (`service`, `bodies`, `turns`,
`connections`, `access`), which in front of TF Serving are a proxy's business.
"""

import gc
import importlib.util
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf

from semantic_synthesis import data, storage
from semantic_synthesis.options import Command, option
from semantic_synthesis.serving import rest_protocol
from semantic_synthesis.serving.access import TOKEN_VARIABLE, Access, Gate, open_log
from semantic_synthesis.serving.files import errors_only, models
from semantic_synthesis.serving.rest_protocol import RequestError
from semantic_synthesis.serving.service import Service

_SWITCH_S = 0.001  # after which a thread that parses or encodes lets the one that listens go on
_END_S = 0.5  # seconds in which the last answers are sent when time is over


@dataclass(frozen=True)
class ServeOptions:
    """Options of `python -m semantic_synthesis serve`."""

    export_dir: str = option("exports", "Folder that export.py wrote: <export_dir>/<model name>/<version>/.")
    host: str = option("127.0.0.1", "Address to listen on; the default is reachable from this machine only.")
    rest_api_port: int = option(8501, "Port; 0 takes a free one.")
    max_body_mb: float = option(32.0, "Largest request body in MB; larger ones are answered 413.")
    max_rows: int = option(64, "Most rows (pictures) of one request; more are answered 400.")
    turn_rows: int = option(
        1, "Rows computed before other requests get their turn; more suit exports with --batch_rows."
    )
    max_queue: int = option(64, "Requests in the house, running or waiting; more are answered 429.")
    max_connections: int = option(
        512, "Connections at a time; beyond them the one that is silent for longest is closed."
    )
    num_threads: int = option(2, "Requests computed at the same time.")
    drain_s: float = option(60.0, "Seconds that running requests get after SIGTERM.")
    allow_origin: tuple = option(
        (), "Origin whose pages may call this server, such as http://localhost:3000; * for all."
    )
    allow_host: tuple = option(
        (), "Name under which clients reach this server, beside addresses and localhost; * for any."
    )
    api_token: str = option("", "Token that clients must send as Authorization: Bearer TOKEN.")
    api_token_file: str = option(
        "", f"File with that token; without both, the environment's {TOKEN_VARIABLE} if set."
    )
    request_log: bool = option(True, "One line to standard error for each request.")


class ServedModel:
    """One version of one model; requests are parsed, computed and answered row by row."""

    def __init__(
        self, name: str, version: int, folder: str, most_rows: int | None = None, turn_rows: int = 1
    ) -> None:
        self.name, self.version, self.most_rows, self.turn_rows = name, version, most_rows, turn_rows
        try:
            with errors_only():
                self._model = tf.saved_model.load(str(folder))
        except (OSError, tf.errors.OpError) as error:
            raise ValueError(f"{folder}: cannot be loaded ({error}); export it again") from None
        self._signatures = rest_protocol.read_signatures(folder)

    @property
    def signatures(self) -> Mapping[str, Any]:
        """{signature name: SignatureDef}, inputs at least."""
        return self._signatures

    def described(self) -> Mapping[str, Any]:
        """{signature name: SignatureDef with inputs and outputs}."""
        return self.signatures

    def function(self, signature: str) -> Callable[..., Any]:
        """The signature as a function of keywords."""
        return self._model.signatures[signature]

    def predict(self, body: bytes) -> bytes:
        """JSON bytes of a predict request -> JSON bytes of the answer. RequestError for whatever is wrong."""
        for found in self.steps(body):
            answer = found
        return answer

    def steps(self, body: bytes) -> Iterator[Any]:
        """Iterator over the turns of a request, whose last item is what `predict` returns."""
        request = yield from rest_protocol.request_steps(body, self.signatures, self.most_rows)
        del body  # as large as all the rest
        parts = []
        for rows in self._turns(request.inputs):
            if parts:
                yield None
            parts.append(self._call(request.signature, rows))
        pieces = []
        for piece in rest_protocol.answer_pieces(rest_protocol.joined(parts), request.by_rows):
            pieces.append(piece)
            if len(parts) > 1:  # a single row is answered in the turn that computes it
                yield None
        yield b"".join(pieces)

    def _turns(self, inputs):
        """Inputs of a few rows each; all at once where the numbers of rows differ, which the graph refuses."""
        counts = {len(array) for array in inputs.values()}
        if len(counts) > 1 or not max(counts):
            yield inputs
            return
        for at in range(0, counts.pop(), self.turn_rows):
            yield {name: array[at : at + self.turn_rows] for name, array in inputs.items()}

    def _call(self, signature, inputs):
        """{name: array} of some rows."""
        function = self.function(signature)
        try:
            outputs = function(**{name: tf.constant(x) for name, x in inputs.items()})
        except tf.errors.OpError as error:
            lines = [line.strip() for line in error.message.splitlines()]
            line = (
                data.user_error(error) or [line for line in lines if line and not line.startswith("[[")][-1]
            )
            raise RequestError(rest_protocol.HTTP_STATUS.get(error.error_code, 500), line) from None
        return {name: x.numpy() for name, x in outputs.items()}


def make_app(
    service: Service, access: Access, log: Any, add_pages: Callable[[Any], None] | None = None
) -> Gate:
    """The ASGI application. add_pages: function(app) that adds routes in front of the protocol's."""
    # FastAPI reads the routes' annotations as it meets them: no `from __future__ import annotations` in this file.
    from fastapi import FastAPI, Request
    from fastapi.middleware.cors import CORSMiddleware
    from fastapi.responses import Response
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect

    app = FastAPI(title="semantic_synthesis serve", docs_url=None, redoc_url=None, openapi_url=None)

    def answered(status, body):
        headers = {"connection": "close"} if status in (408, 503) else {}
        headers |= {"www-authenticate": "Bearer"} if status == 401 else {}
        return Response(body, status, headers, "application/json")

    @app.exception_handler(HTTPException)
    async def elsewhere(request: Request, _: HTTPException):
        text = f"Malformed request: {request.method} {request.scope['path']}"
        return answered(400, rest_protocol.encode_error(text))

    if add_pages:
        add_pages(app)

    @app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
    async def answer(request: Request):
        refused = access.token_refusal(request.scope)
        if refused:
            return answered(refused[0], rest_protocol.encode_error(refused[1]))
        try:
            return answered(*await service.answer(request))
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it
        except Exception:
            log.exception("%s %s", request.method, ascii(request.scope["path"]))
            return answered(500, rest_protocol.encode_error("internal error; the server's log says more"))

    if access.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=access.origins, allow_methods=["GET", "POST"], allow_headers=["*"]
        )  # fmt: skip
    return Gate(app, access, log)


def check(options: ServeOptions) -> None:
    """ValueError for limits that allow nothing."""
    for name in ("max_rows", "turn_rows", "max_queue", "max_connections", "num_threads"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} {getattr(options, name)}; expected 1 or more")
    if not options.max_body_mb > 0 or options.max_body_mb > 2000:
        raise ValueError(f"--max_body_mb {options.max_body_mb}; expected more than 0, at most 2000")
    if not 0 <= options.drain_s < 1e6:
        raise ValueError(f"--drain_s {options.drain_s}; expected seconds, 0 or more")


def serve(options: ServeOptions) -> int:
    """Serves the newest version of every model in the folder until SIGTERM or SIGINT; the exit code.

    Running requests are answered before it ends. Errors: ValueError or OSError, one line, before it listens.
    """
    need_uvicorn()
    check(options)
    access = Access(options)
    listening = listen(options)
    service = Service(options, load_models(options.export_dir, options.max_rows, options.turn_rows))

    def announce(address):
        model = next(iter(service.served))
        print(f"development server, not for production: {address}/v1/models/{model}", flush=True)

    return run_server(options, listening, service, access, announce)


def need_uvicorn(command: str = "serve") -> None:
    """ValueError unless what the server is made of is installed."""
    if not all(importlib.util.find_spec(name) for name in ("fastapi", "uvicorn", "httptools")):
        raise ValueError(
            f"{command} needs fastapi and uvicorn; expected: pip install 'semantic-synthesis[serve]'"
        )


def run_server(
    options: ServeOptions, listening: socket.socket, service: Service, access: Access,
    announce: Callable[[str], None], add_pages: Callable[[Any], None] | None = None,
) -> int:  # fmt: skip
    """Answers on a bound socket until SIGTERM or SIGINT; the exit code.

    announce: function of "http://host:port", called when clients may come; add_pages: see `make_app`.
    """
    import uvicorn

    from semantic_synthesis.serving.connections import ACCEPTED_AT_ONCE, Connection, Server, most_connections

    log, lines = open_log(options.request_log)
    config = uvicorn.Config(
        make_app(service, access, log, add_pages), timeout_graceful_shutdown=options.drain_s + _END_S,
        http=partial(Connection, most_connections(options.max_connections)), ws="none", lifespan="off",
        backlog=ACCEPTED_AT_ONCE, log_level="critical", access_log=False, server_header=False,
    )  # fmt: skip
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn raises them again when it has drained
    sys.setswitchinterval(_SWITCH_S)
    gc.set_threshold(10_000, 10, 1_000)  # lists of a long body, counted again and again, would stop everybody
    listening.listen(128)
    host, port = listening.getsockname()[:2]
    announce(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
    Server(config, options.drain_s, service.end).run(sockets=[listening])
    _end(service, lines)
    return 0


def _end(service, lines):
    """Writes the log out; rows that are still computed though nobody waits are not waited for."""
    end = time.monotonic() + _END_S
    while lines.qsize() and time.monotonic() < end:
        time.sleep(0.01)
    if service.ended:
        sys.stdout.flush()
        os._exit(0)


def load_models(
    export_dir: str | Path, most_rows: int | None = None, turn_rows: int = 1
) -> dict[str, ServedModel]:
    """{name: ServedModel}, the newest version of each. ValueError or OSError if there is none."""
    found = models(export_dir) if storage.is_folder(export_dir) else {}
    if not found:
        raise ValueError(
            f"{export_dir}: no <model name>/<version>/ here; expected a folder written by export.py"
        )
    return {
        name: ServedModel(name, numbers[-1], f"{export_dir}/{name}/{numbers[-1]}", most_rows, turn_rows)
        for name, numbers in found.items()
    }


def listen(options: ServeOptions) -> socket.socket:
    """A bound socket, so that a port in use is known before models are loaded."""
    address = (options.host, options.rest_api_port)
    try:
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except (OSError, OverflowError) as error:
        raise OSError(
            f"{options.host}:{options.rest_api_port}: cannot listen ({error}); choose another --rest_api_port"
        ) from None
    return listening


COMMAND = Command(
    ServeOptions, serve, "serve --export_dir exports --rest_api_port 8501",
)  # fmt: skip
