"""TF Serving's REST protocol for Predict: JSON to arrays and back, metadata, status, error bodies.

Follows tensorflow.org/tfx/serving/api_rest: `instances` (rows) or `inputs` (columns), {"b64": ...} for
bytes, base64 answers for outputs whose name ends in _bytes, and no name where an output is the only one.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from semantic_synthesis import storage
from semantic_synthesis.serving import json_values
from semantic_synthesis.serving.json_values import ValueProblem, is_b64

_KNOWN_KEYS = {"signature_name", "instances", "inputs"}
_UNKNOWN_SIZE = 3 << 22  # numbers of a row whose size is free: three channels of the largest picture
_BYTES_SUFFIX = "_bytes"
_MOST_TEXT = 2000  # of an error: clients' own words come back in it
DEFAULT = "serving_default"
# As TF Serving's http_server.cc; codes are those of absl::Status.
HTTP_STATUS = {
    tf.errors.INVALID_ARGUMENT: 400,
    tf.errors.FAILED_PRECONDITION: 400,
    tf.errors.OUT_OF_RANGE: 400,
    tf.errors.NOT_FOUND: 404,
    tf.errors.RESOURCE_EXHAUSTED: 429,
    tf.errors.UNIMPLEMENTED: 501,
    tf.errors.UNAVAILABLE: 503,
    tf.errors.DEADLINE_EXCEEDED: 504,
}


class RequestError(Exception):
    """An answer other than 200: HTTP status and text of the error body."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Request(NamedTuple):
    """A predict request: signature name, {input: array}, whether it came as `instances`."""

    signature: str
    inputs: dict
    by_rows: bool


def read_signatures(folder: str | Path) -> dict[str, Any]:
    """{name: SignatureDef} of a SavedModel, as in saved_model.pb, without the loader's own."""
    model = saved_model_pb2.SavedModel()
    model.ParseFromString(storage.read(os.path.join(folder, "saved_model.pb")))
    signatures = model.meta_graphs[0].signature_def
    return {name: signatures[name] for name in signatures if not name.startswith("__")}


def parse_request(body: bytes, signatures: Mapping[str, Any], most_rows: int | None = None) -> Request:
    """JSON bytes -> Request with arrays of the signature's types. RequestError 400 for anything else.

    most_rows: rows that a request may have, None for any number.
    """
    return json_values.finished(request_steps(body, signatures, most_rows))


def request_steps(
    body: bytes, signatures: Mapping[str, Any], most_rows: int | None = None
) -> Generator[None, None, Request]:
    """Generator that pauses within long bodies and returns what `parse_request` does."""
    try:
        return (yield from _request_steps(body, signatures, most_rows))
    except ValueProblem as problem:
        raise RequestError(400, str(problem)) from None


def _request_steps(body, signatures, most_rows):
    if most_rows is not None and _separators(body) > _most_values(signatures) * most_rows:
        raise RequestError(400, f"more numbers than {most_rows} rows of this model have (--max_rows)")
    content = yield from json_values.parse_steps(body)
    del body
    if not isinstance(content, dict):
        raise RequestError(400, f"JSON Parse error: expected an object, found {type(content).__name__}")
    name = content.get("signature_name") or DEFAULT
    if not isinstance(name, str) or name not in signatures:
        there = ", ".join(sorted(signatures))
        raise RequestError(
            400, f'Serving signature name: "{name}" not found in signature def; there are: {there}'
        )
    unknown = sorted(set(content) - _KNOWN_KEYS)
    if unknown or ("instances" in content) == ("inputs" in content):
        raise RequestError(
            400, f"expected exactly one of 'instances' and 'inputs', found keys {sorted(content)}"
        )
    specs = signatures[name].inputs
    by_rows = "instances" in content
    if by_rows:
        _check_count(content["instances"], most_rows)
        columns = _columns(content["instances"], specs)
    else:
        columns = _named(content["inputs"], specs)
        for column in columns.values():
            _check_count(column, most_rows)
    _check_names(columns, specs)
    arrays = {}
    for key in specs:
        arrays[key] = yield from json_values.array_steps(key, columns[key], specs[key])
    return Request(name, arrays, by_rows)


def _check_count(rows, most_rows):
    if most_rows is not None and isinstance(rows, list) and len(rows) > most_rows:
        text = f"{len(rows)} rows; this server takes at most {most_rows} in a request (--max_rows)"
        raise RequestError(400, text)


def _separators(body):
    """Commas and brackets of a body: it unpacks to hardly more values than these."""
    return sum(body.count(mark) for mark in (b",", b"[", b"{"))


def _most_values(signatures):
    """Commas and brackets of the longest row of any signature, generously."""

    def values(info):
        sizes = [dim.size for dim in info.tensor_shape.dim[1:]]
        return _UNKNOWN_SIZE if min(sizes, default=0) < 0 else math.prod(sizes)

    rows = [sum(2 * values(info) + 8 for info in one.inputs.values()) for one in signatures.values()]
    return max(rows) + 64


def _columns(instances, specs):
    """[{name: value}, ...] or bare values of the only input -> {name: [values]}."""
    if not isinstance(instances, list) or not instances:
        raise RequestError(400, "'instances' is no list of one or more rows")
    rows = [_named(row, specs) for row in instances]
    for number, row in enumerate(rows):
        _check_names(row, specs, f"row {number} of 'instances': ")
    return {name: [row[name] for row in rows] for name in specs}


def _named(value, specs):
    """{name: value}, also of a bare value where there is one input."""
    if isinstance(value, dict) and not is_b64(value):
        return value
    if len(specs) == 1:
        return {next(iter(specs)): value}
    raise RequestError(400, f"expected an object with {', '.join(sorted(specs))}")


def _check_names(columns, specs, where=""):
    extra, missing = sorted(set(columns) - set(specs)), sorted(set(specs) - set(columns))
    if extra or missing:
        raise RequestError(
            400,
            f"{where}inputs do not match the signature: sent extra {extra}, missing but required {missing}",
        )


def to_array(name: str, value: Any, spec: Any) -> np.ndarray:
    """A JSON value -> array of the TensorInfo's dtype and rank. RequestError 400 for anything else."""
    try:
        return json_values.finished(json_values.array_steps(name, value, spec))
    except ValueProblem as problem:
        raise RequestError(400, str(problem)) from None


def encode_answer(outputs: Mapping[str, np.ndarray], by_rows: bool) -> bytes:
    """{name: array} -> JSON bytes with `predictions` (rows) or `outputs` (columns)."""
    return b"".join(answer_pieces(outputs, by_rows))


def answer_pieces(outputs: Mapping[str, np.ndarray], by_rows: bool) -> Iterator[bytes]:
    """The bytes of encode_answer, a row at a time, because nothing else runs while one is encoded."""
    start, alone = ("predictions" if by_rows else "outputs"), len(outputs) == 1
    if alone or not by_rows:
        yield f'{{"{start}": '.encode() + (b"" if alone else b"{")
        for number, (name, array) in enumerate(outputs.items()):
            title = "" if alone else f"{json.dumps(name)}: "
            yield f"{', ' if number else ''}{title}[".encode()
            yield from (_separated(number, _text(name, row)) for number, row in enumerate(array))
            yield b"]"
        yield b"}" if alone else b"}}"
        return
    yield f'{{"{start}": ['.encode()
    for number, row in enumerate(zip(*outputs.values(), strict=True)):
        values = (
            f"{json.dumps(name)}: {_text(name, value)}" for name, value in zip(outputs, row, strict=True)
        )
        yield _separated(number, f"{{{', '.join(values)}}}")
    yield b"]}"


def _separated(number, text):
    return (f", {text}" if number else text).encode()


def _text(name, row):
    """JSON of a row; line by line where it has lines, so that other threads get a word in."""
    if isinstance(row, np.ndarray) and row.ndim > 1:
        return f"[{', '.join([json.dumps(_plain(name, line)) for line in row])}]"
    return json.dumps(_plain(name, row))


def joined(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """[{name: rows}, ...] of one request, computed one after another -> {name: rows}.

    Rows with fewer regions than others are filled up with zeros, as the graph does with rows of one call.
    """
    found = {}
    for name in parts[0]:
        arrays = [part[name] for part in parts]
        sizes = np.max([array.shape[1:] for array in arrays], axis=0) if arrays[0].ndim > 1 else []
        found[name] = np.concatenate(
            [
                np.pad(
                    a,
                    [(0, 0), *[(0, int(most) - size) for most, size in zip(sizes, a.shape[1:], strict=True)]],
                )
                if a.shape[1:] != tuple(sizes)
                else a
                for a in arrays
            ]
        )
    return found


def _plain(name, row):
    """A row's nested lists for JSON; bytes as base64 objects or text, by the name."""

    def text(content):
        if name.endswith(_BYTES_SUFFIX):
            return {"b64": base64.b64encode(content).decode()}
        return content.decode("utf-8", "replace")

    if isinstance(row, bytes):
        return text(row)
    return np.frompyfunc(text, 1, 1)(row).tolist() if row.dtype == object else row.tolist()


def encode_error(text: str) -> bytes:
    """The body of every answer other than 200."""
    shown = text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]} ..."
    return json.dumps({"error": shown}).encode()


def status(model: Any) -> bytes:
    """GET /v1/models/NAME of a ServedModel."""
    state = {
        "version": str(model.version),
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    return json.dumps({"model_version_status": [state]}).encode()


def metadata(model: Any) -> bytes:
    """GET /v1/models/NAME/metadata of a ServedModel."""
    signatures = {name: _signature(definition) for name, definition in model.described().items()}
    spec = {"name": model.name, "signature_name": "", "version": str(model.version)}
    return json.dumps(
        {"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}}
    ).encode()


def _signature(definition):
    return {
        "inputs": {name: _tensor(info) for name, info in definition.inputs.items()},
        "outputs": {name: _tensor(info) for name, info in definition.outputs.items()},
        "method_name": definition.method_name,
        "defaults": {},
    }


def _tensor(info):
    dims = [{"size": str(dim.size), "name": dim.name} for dim in info.tensor_shape.dim]
    shape = {"dim": dims, "unknown_rank": info.tensor_shape.unknown_rank}
    return {"name": info.name, "dtype": types_pb2.DataType.Name(info.dtype), "tensor_shape": shape}
