"""What the painting page asks of its server besides pictures: its own files, the runs as JSON, files that users bring.

Nothing that the page sends is ever a path: files come as bytes, names are looked up in lists made at the start.
"""

import base64
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from semantic_synthesis import __version__, data
from semantic_synthesis.data import catalogue
from semantic_synthesis.data.decoding import check_map_pixels, decode_instance, decode_label
from semantic_synthesis.data.geometry import MOST_PIXELS
from semantic_synthesis.demo import demo_layouts, demo_photos
from semantic_synthesis.inference import Synthesizer
from semantic_synthesis.methods.method import Method
from semantic_synthesis.pictures import png_bytes
from semantic_synthesis.serving import rest_protocol
from semantic_synthesis.serving.live_run import LiveRun
from semantic_synthesis.serving.opened_maps import map_values, read_file
from semantic_synthesis.serving.rest_protocol import RequestError
from semantic_synthesis.serving.service import Service

_PAGE = Path(__file__).parent / "page"
_OF_ORIGINS = ("png", "png_synthesize_style")  # signatures whose pictures' origins can be asked for
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def add_page(app: Any, service: Service, runs: dict[str, LiveRun]) -> None:
    """Adds the page's routes to a FastAPI application. service: Service; runs: {name: LiveRun}."""
    from fastapi import Request

    routes = _Routes(service, runs)

    @app.get("/")
    async def index(request: Request):
        return routes.own_file(request, "index.html")

    @app.get("/favicon.ico")
    async def icon(request: Request):
        return routes.own_file(request, "icon.svg")

    @app.get("/page/{name}")
    async def page(request: Request, name: str):
        return routes.own_file(request, name)

    @app.get("/paint/models")
    async def models():
        return answered(200, json.dumps({"version": __version__, "models": list(runs)}))

    @app.get("/paint/models/{name}")
    async def model(name: str):
        return await routes.computed(name, describe)

    @app.get("/paint/models/{name}/layouts/{layout}")
    async def layout(name: str, layout: str):
        return await routes.computed(name, shipped_layout, layout)

    @app.get("/paint/photos/{name}")
    async def photo(name: str):
        return shipped_photo(name)

    @app.post("/paint/models/{name}/maps/{kind}")
    async def read_map(request: Request, name: str, kind: str):
        source = request.query_params.get("file", "")[:200] or "the file"
        crop = request.query_params.get("fit") == "crop"
        return await routes.with_body(
            request, name, ("application/octet-stream", "image/png"), read_file, kind, source, crop
        )

    @app.post("/paint/models/{name}/provenance")
    async def provenance(request: Request, name: str):
        return await routes.with_body(request, name, ("application/json",), origins)


def answered(status: int, content: bytes | str, kind: str = "application/json", headers: Any = ()) -> Any:
    """A response with the page's headers."""
    from fastapi.responses import Response

    return Response(content, status, HEADERS | dict(headers), kind)


def refused(error: RequestError) -> Any:
    """The response to a request that fails with this error."""
    return answered(error.status, rest_protocol.encode_error(str(error)))


def shipped_photo(name: str) -> Any:
    """The response for a photo that ships, or for its label map, NAME_label."""
    found = demo_photos().get(name.removesuffix(".png").removesuffix("_label"))
    if found is None:
        return refused(RequestError(404, f"no photo {name}"))
    return answered(200, found[name.endswith("_label.png")].read_bytes(), "image/png")


class _Routes:
    """What the routes have in common: the page's files, the runs, and the service that takes turns and counts bytes."""

    def __init__(self, service, runs):
        self.service, self.runs = service, runs
        self.files = {path.name: path.read_bytes() for path in _PAGE.iterdir() if path.suffix in _TYPES}

    def own_file(self, request, name):
        if name not in self.files:
            return refused(RequestError(404, f"{name}: not part of the page"))
        tag = f'"{hashlib.sha256(self.files[name]).hexdigest()[:20]}"'
        if request.headers.get("if-none-match") == tag:
            return answered(304, b"", headers={"ETag": tag})
        return answered(200, self.files[name], _TYPES[Path(name).suffix], {"ETag": tag})

    async def computed(self, name, function, *arguments):
        """Bytes of a function of a run that takes its time, in a turn of its own, or the one-line error."""

        def steps():
            yield function(self._find(name), *arguments)

        try:
            return answered(200, await self.service.turns.run(steps()))
        except RequestError as error:
            return refused(error)
        except (ValueError, OSError) as error:
            return refused(RequestError(400, " ".join(str(error).split())))

    async def with_body(self, request, name, kinds, function, *arguments):
        """The same of a function of a run and of the request's body."""
        try:
            self._find(name)
            body = await self._sent(request, kinds)
        except RequestError as error:
            return refused(error)
        return await self.computed(name, function, body, *arguments)

    async def _sent(self, request, kinds):
        """A body of at most --max_body_mb, of types that no other site can send without being asked first."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in kinds or request.headers.get("content-encoding"):
            raise RequestError(415, f"Content-Type {kind!r}; expected {' or '.join(kinds)}, not compressed")
        body = await self.service.bodies.read(request)
        self.service.bodies.release(len(body))
        return body

    def _find(self, name):
        if name not in self.runs:
            raise RequestError(404, f"no run {name}; there are {', '.join(self.runs)}")
        return self.runs[name]


def describe(run: LiveRun) -> bytes:
    """JSON bytes: all that the page knows about a run. From its class table and its style's axes; no method's name."""
    graph = run.graph
    table, method = graph.table, graph.method
    classes = [
        {"name": name, "color": color, "id": raw}
        for name, color, raw in zip(table.names, table.colors.tolist(), table.raw_ids, strict=True)
    ]
    styles = [
        {
            "name": name,
            "shape": list(spec.shape),
            "axes": list(spec.axes),
            "encoded": spec.encoded,
            "present": spec.present,
            "graded": spec.graded,
        }
        for name, spec in graph.specs.items()
    ]
    suits = _scenes_table().names == table.names and _scenes_table().raw_ids == table.raw_ids
    return json.dumps(
        {
            "name": run.name,
            "run": run.run_dir,
            "table": table.name,
            "classes": classes,
            "unknown": table.unknown,
            "size": [graph.height, graph.width] if graph.height else None,
            "native": list(graph.native),
            "most_pixels": MOST_PIXELS,
            "instances": graph.takes_instances,
            "regions": graph.by_region,
            "styles": styles,
            "usual_seed": method.usual_seed,
            "signatures": list(run.signatures),
            "layouts": list(demo_layouts(graph.native)) if suits else [],
            "photos": list(demo_photos()) if suits else [],
            "provenance": type(method).provenance is not Method.provenance,
        }
    ).encode()


@functools.cache
def _scenes_table():
    return catalogue.describe("scenes").table


def shipped_layout(run: LiveRun, name: str) -> bytes:
    """JSON bytes of one layout that ships, in the run's class indices and at its size."""
    size = run.graph.native
    layouts = demo_layouts(size)
    if name not in layouts:
        raise RequestError(404, f"no layout {name}")
    label, instance = layouts[name]
    ids = decode_label(label.read_bytes(), run.graph.table, label.name)
    objects = decode_instance(instance.read_bytes(), instance.name)
    ids, objects = (data.fit_label(np.asarray(x), *size) for x in (ids, objects))
    return json.dumps({"label": map_values(ids), "instance": map_values(objects)}).encode()


def origins(run: LiveRun, body: bytes) -> bytes:
    """JSON bytes of where the parts of a picture come from: {"segments": [...], "pictures": {name: PNG in base64}}.

    body: JSON of one row of a signature of _OF_ORIGINS.
    """
    request = rest_protocol.parse_request(body, run.signatures, 1)
    if request.signature not in _OF_ORIGINS:
        raise RequestError(
            400, f"signature {request.signature}; expected {' or '.join(_OF_ORIGINS)} (signature_name)"
        )
    graph = run.graph
    painter = Synthesizer(run.config, graph.method)
    files = request.inputs
    for name in ("label_png_bytes", "instance_png_bytes"):
        if name in files:
            check_map_pixels(files[name][0], name, graph.most_map)
    label = decode_label(files["label_png_bytes"][0], graph.table, "label_png_bytes")
    instance = None
    if "instance_png_bytes" in files:
        instance = decode_instance(files["instance_png_bytes"][0], "instance_png_bytes")
    layout = painter.layout(label, instance)
    style = (
        painter.sample_style(files["seed"], layout)
        if "seed" in files
        else {name: files[name] for name in graph.specs}
    )
    (found,) = painter.provenance(layout, style)
    pictures = {
        name: base64.b64encode(png_bytes(picture)).decode() for name, picture in found.pictures.items()
    }
    return json.dumps({"segments": found.segments, "pictures": pictures}).encode()
