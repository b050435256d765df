"""python -m semantic_synthesis serve: a development twin of TF Serving's REST interface, no replacement.

A client or page written against it works unchanged against TF Serving. What it has not: gRPC, versions
side by side, labels, new versions while running, batching of requests, monitoring. What it has on top:
bounds of bodies, rows, requests and connections, fair turns, and checks of who asks (`service`, `bodies`, `turns`,
`connections`, `access`), which in front of TF Serving are a proxy's business.
"""

import atexit
import gc
import importlib.util
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from semantic_synthesis.options import Command, option
from semantic_synthesis.serving import rest_protocol
from semantic_synthesis.serving.access import TOKEN_VARIABLE, Access, Gate, open_log
from semantic_synthesis.serving.served_model import load_models, warm_up
from semantic_synthesis.serving.service import Service, malformed

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
    max_queue: int = option(64, "Requests at once, running or waiting; more are answered 429.")
    max_connections: int = option(
        512, "Connections at a time; beyond them the one that is silent for longest is closed."
    )
    warmup: bool = option(
        False,
        "Run every signature once before the server says that it is there: no client waits for a first call.",
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
        return answered(400, rest_protocol.encode_error(malformed(request.method, request.scope["path"])))

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
        )
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

    if options.warmup:
        warm_up(service.served)

    def announce(address):
        for model in service.served:
            print(f"development server, not for production: {address}/v1/models/{model}", flush=True)

    return run_server(options, listening, service, access, announce)


def need_uvicorn(command: str = "serve") -> None:
    """ValueError unless what the server is made of is installed."""
    if not all(importlib.util.find_spec(name) for name in ("fastapi", "uvicorn", "httptools")):
        raise ValueError(
            f"{command} needs fastapi and uvicorn; expected: pip install 'semantic-synthesis[serve]'"
        )


def run_server(
    options: ServeOptions,
    listening: socket.socket,
    service: Service,
    access: Access,
    announce: Callable[[str], None],
    add_pages: Callable[[Any], None] | None = None,
) -> int:
    """Answers on a bound socket until SIGTERM or SIGINT; the exit code.

    announce: function of "http://host:port", called when clients may come; add_pages: see `make_app`.
    """
    import uvicorn

    from semantic_synthesis.serving.connections import ACCEPTED_AT_ONCE, Connection, Server, most_connections

    log, lines = open_log(options.request_log)
    config = uvicorn.Config(
        make_app(service, access, log, add_pages),
        timeout_graceful_shutdown=options.drain_s + _END_S,
        http=partial(Connection, most_connections(options.max_connections)),
        ws="none",
        lifespan="off",
        backlog=ACCEPTED_AT_ONCE,
        log_level="critical",
        access_log=False,
        server_header=False,
    )
    server = Server(config, options.drain_s, service.end, log.error)
    for number in (signal.SIGTERM, signal.SIGINT):
        # From now on, as whoever reads the address may end it at once; uvicorn raises them again when it has drained.
        signal.signal(number, server.handle_exit)
    sys.setswitchinterval(_SWITCH_S)
    gc.set_threshold(10_000, 10, 1_000)  # lists of a long body, counted again and again, would stop everybody
    listening.listen(128)
    host, port = listening.getsockname()[:2]
    announce(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
    server.run(sockets=[listening])
    _end(service, lines)
    return 0


def _end(service, lines):
    """Writes the log out; rows that are still computed though nobody waits are not waited for, nor TensorFlow's
    taking itself apart, which has nothing to save."""
    end = time.monotonic() + _END_S
    while lines.qsize() and time.monotonic() < end:
        time.sleep(0.01)
    if service.ended:
        _leave()
    atexit.register(_leave)


def _leave():
    sys.stdout.flush()
    os._exit(0)


def listen(options: ServeOptions) -> socket.socket:
    """A bound socket, so that a port in use is known before models are loaded."""
    address = (options.host, options.rest_api_port)
    try:
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        # Connections inherit it. asyncio sets it for itself only where it knows the protocol; without it an answer's
        # second part, the body, waits 40 ms for the client's acknowledgement of the first.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except (OSError, OverflowError) as error:
        raise OSError(
            f"{options.host}:{options.rest_api_port}: cannot listen ({error}); choose another --rest_api_port"
        ) from None
    return listening


COMMAND = Command(
    ServeOptions,
    serve,
    "serve --export_dir exports --rest_api_port 8501",
)
