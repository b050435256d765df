"""python -m semantic_synthesis serve: a development twin of TF Serving's REST interface, no replacement.

A client or page written against it works unchanged against TF Serving. What it has not: gRPC, versions
side by side, labels, new versions while running, batching of requests, monitoring. What it has on top:
bounded bodies (413) and a bounded queue (429), which in front of TF Serving are a proxy's business.
"""

import asyncio
import logging
import os
import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import tensorflow as tf

from semantic_synthesis import data
from semantic_synthesis.options import Command, option
from semantic_synthesis.serving import rest_protocol
from semantic_synthesis.serving.files import errors_only, models
from semantic_synthesis.serving.rest_protocol import RequestError

_URL = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?(?:(/metadata)|:(\w+))?")
_DISCARDED = 512 << 20  # bytes of an oversized body that are read and dropped, so that clients see the 413
_BODY_S = 60  # seconds a client may take to send its body
_logger = logging.getLogger("semantic_synthesis.serving")


@dataclass(frozen=True)
class ServeOptions:
    """Options of `python -m semantic_synthesis serve`."""

    export_dir: str = option("exports", "Folder that export.py wrote: <export_dir>/<model name>/<version>/.")
    host: str = option("127.0.0.1", "Address to listen on; the default is reachable from this machine only.")
    rest_api_port: int = option(8501, "Port; 0 takes a free one.")
    max_body_mb: float = option(32.0, "Largest request body in MB; larger ones are answered 413.")
    max_queue: int = option(64, "Requests in the house, running or waiting; more are answered 429.")
    num_threads: int = option(2, "Requests computed at the same time.")
    drain_s: float = option(60.0, "Seconds that running requests get after SIGTERM.")


class ServedModel:
    """One version of one model; `predict` may be called from several threads."""

    def __init__(self, name, version, folder):
        self.name, self.version = name, version
        try:
            with errors_only():
                self._model = tf.saved_model.load(str(folder))
        except (OSError, tf.errors.OpError) as error:
            raise ValueError(f"{folder}: cannot be loaded ({error}); export it again") from None
        self.signatures = rest_protocol.read_signatures(folder)

    def predict(self, body):
        """JSON bytes of a predict request -> JSON bytes of the answer. RequestError for whatever is wrong."""
        request = rest_protocol.parse_request(body, self.signatures)
        function = self._model.signatures[request.signature]
        try:
            outputs = function(**{name: tf.constant(x) for name, x in request.inputs.items()})
        except tf.errors.OpError as error:
            lines = [line.strip() for line in error.message.splitlines()]
            line = (
                data.user_error(error) or [line for line in lines if line and not line.startswith("[[")][-1]
            )
            raise RequestError(rest_protocol.HTTP_STATUS.get(error.error_code, 500), line) from None
        return rest_protocol.encode_answer({name: x.numpy() for name, x in outputs.items()}, request.by_rows)


class Service:
    """The HTTP side: routes, bounds, worker threads. options: ServeOptions; served: {name: ServedModel}."""

    def __init__(self, options, served):
        self.served = served
        self.most_bytes, self.most_requests = int(options.max_body_mb * 1e6), options.max_queue
        self.waiting = 0
        self.pool = ThreadPoolExecutor(options.num_threads, "predict")

    async def answer(self, request):
        """Any request -> (HTTP status, JSON bytes)."""
        try:
            return 200, await self._dispatch(request)
        except RequestError as error:
            return error.status, rest_protocol.encode_error(str(error))

    async def _dispatch(self, request):
        match = _URL.fullmatch(request.url.path)
        predicting = bool(match and match[4])
        if (
            not match
            or request.method != ("POST" if predicting else "GET")
            or (predicting and match[4] != "predict")
        ):
            raise RequestError(400, f"Malformed request: {request.method} {request.url.path}")
        model = self._find(match[1], match[2])
        if predicting:
            return await self._predict(model, request)
        return rest_protocol.metadata(model) if match[3] else rest_protocol.status(model)

    def _find(self, name, version):
        model = self.served.get(name)
        if model is None or (version and int(version) != model.version):
            wanted = f"Specific({name}, {version})" if version else f"Latest({name})"
            raise RequestError(404, f"Servable not found for request: {wanted}")
        return model

    async def _predict(self, model, request):
        if self.waiting >= self.most_requests:
            raise RequestError(429, f"{self.waiting} requests are waiting already; try again later")
        self.waiting += 1  # before the body is read: what waits is bounded in bytes, too
        try:
            body = await self._body(request)
            return await asyncio.get_running_loop().run_in_executor(self.pool, model.predict, body)
        finally:
            self.waiting -= 1

    async def _body(self, request):
        try:
            return await asyncio.wait_for(self._read(request), _BODY_S)
        except asyncio.TimeoutError:
            raise RequestError(408, f"the body did not arrive within {_BODY_S} s") from None

    async def _read(self, request):
        told = request.headers.get("content-length", "")
        too_large = RequestError(413, f"the body is larger than {self.most_bytes} bytes (--max_body_mb)")
        if told.isdecimal() and int(told) > self.most_bytes and "expect" in request.headers:
            raise too_large  # the client asks before it sends
        body, size = bytearray(), 0
        async for chunk in request.stream():
            size += len(chunk)
            if size <= self.most_bytes:
                body += chunk
            elif size > _DISCARDED:
                break
            else:
                body.clear()
        if size > self.most_bytes:
            raise too_large
        return bytes(body)


def make_app(service):
    """The ASGI application."""
    from fastapi import FastAPI, Request
    from fastapi.responses import Response
    from starlette.requests import ClientDisconnect

    app = FastAPI(title="semantic_synthesis serve", docs_url=None, redoc_url=None, openapi_url=None)

    @app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
    async def answer(request: Request):
        try:
            status, body = await service.answer(request)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it
        except Exception:
            _logger.exception("%s %s", request.method, request.url.path)
            status, body = 500, rest_protocol.encode_error("internal error; the server's log says more")
        return Response(body, status, media_type="application/json")

    return app


def serve(options):
    """Serves the newest version of every model in the folder until SIGTERM or SIGINT; the exit code.

    Running requests are answered before it ends. Errors: ValueError or OSError, one line, before it listens.
    """
    try:
        import uvicorn
    except ImportError:
        raise ValueError(
            "serve needs fastapi and uvicorn; expected: pip install 'semantic-synthesis[serve]'"
        ) from None
    listening = _listen(options)
    served = load_models(options.export_dir)
    config = uvicorn.Config(
        make_app(Service(options, served)), timeout_graceful_shutdown=options.drain_s or None,
        log_level="warning", access_log=False, server_header=False,
    )  # fmt: skip
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn raises them again when it has drained
    listening.listen(128)  # from the line below on, clients may come
    host, port = listening.getsockname()[:2]
    print(
        f"development server, not for production: http://{host}:{port}/v1/models/{next(iter(served))}",
        flush=True,
    )
    uvicorn.Server(config).run(sockets=[listening])
    return 0


def load_models(export_dir):
    """{name: ServedModel}, the newest version of each. ValueError or OSError if there is none."""
    found = models(export_dir) if os.path.isdir(export_dir) else {}
    if not found:
        raise ValueError(
            f"{export_dir}: no <model name>/<version>/ here; expected a folder written by export.py"
        )
    return {name: ServedModel(name, v[-1], f"{export_dir}/{name}/{v[-1]}") for name, v in found.items()}


def _listen(options):
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
    ServeOptions, serve, "Serves exported models over TF Serving's REST interface, for development.",
    "serve --export_dir exports --rest_api_port 8501",
)  # fmt: skip
