"""TF Serving's REST protocol for Predict: JSON to arrays and back, metadata, status, error bodies.

Follows tensorflow.org/tfx/serving/api_rest: `instances` (rows) or `inputs` (columns), {"b64": ...} for
bytes, base64 answers for outputs whose name ends in _bytes, and no name where an output is the only one.
"""

import base64
import binascii
import json
import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

_KNOWN_KEYS = {"signature_name", "instances", "inputs"}
_BYTES_SUFFIX = "_bytes"
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

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Request(NamedTuple):
    """A predict request: signature name, {input: array}, whether it came as `instances`."""

    signature: str
    inputs: dict
    by_rows: bool


def read_signatures(folder):
    """{name: SignatureDef} of a SavedModel, as in saved_model.pb, without the loader's own."""
    model = saved_model_pb2.SavedModel()
    with open(os.path.join(folder, "saved_model.pb"), "rb") as file:
        model.ParseFromString(file.read())
    signatures = model.meta_graphs[0].signature_def
    return {name: signatures[name] for name in signatures if not name.startswith("__")}


def parse_request(body, signatures):
    """JSON bytes -> Request with arrays of the signature's types. RequestError 400 for anything else."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"JSON Parse error: {error}") from None
    if not isinstance(content, dict):
        raise RequestError(400, f"JSON Parse error: expected an object, found {type(content).__name__}")
    name = content.get("signature_name") or DEFAULT
    if not isinstance(name, str) or name not in signatures:
        raise RequestError(400, f'Serving signature name: "{name}" not found in signature def')
    unknown = sorted(set(content) - _KNOWN_KEYS)
    if unknown or ("instances" in content) == ("inputs" in content):
        raise RequestError(
            400, f"expected exactly one of 'instances' and 'inputs', found keys {sorted(content)}"
        )
    specs = signatures[name].inputs
    by_rows = "instances" in content
    columns = _columns(content["instances"], specs) if by_rows else _named(content["inputs"], specs)
    _check_names(columns, specs)
    return Request(name, {key: to_array(key, columns[key], specs[key]) for key in specs}, by_rows)


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
    if isinstance(value, dict) and not _is_b64(value):
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


def _is_b64(value):
    return isinstance(value, dict) and set(value) == {"b64"}


def to_array(name, value, spec):
    """A JSON value -> array of the TensorInfo's dtype and rank."""
    dtype = tf.as_dtype(spec.dtype)
    rank = len(spec.tensor_shape.dim)
    if dtype == tf.string:
        array = np.array(_decoded(name, value), object)
        if not all(isinstance(item, bytes) for item in array.flat):
            raise RequestError(400, f"{name}: lists of different lengths; expected {rank} dimensions")
    else:
        array = _numbers(name, value, dtype)
    if array.ndim != rank:
        raise RequestError(400, f"{name}: found {array.ndim} dimensions {list(array.shape)}; expected {rank}")
    return array


def _decoded(name, value):
    """Nested lists of {"b64": ...} or strings -> the same of bytes."""
    if isinstance(value, list):
        return [_decoded(name, item) for item in value]
    if isinstance(value, str):
        return value.encode()
    if not _is_b64(value) or not isinstance(value["b64"], str):
        raise RequestError(400, f'{name}: expected {{"b64": "<base64>"}} or a string')
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(400, f"{name}: the text after b64 is not base64") from None


def _numbers(name, value, dtype):
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        raise RequestError(
            400, f"{name}: rows of different lengths; expected a full array of {dtype.name}"
        ) from None
    if array.dtype == object or array.dtype.kind not in ("iuf" if dtype.is_floating else "iu"):
        raise RequestError(400, f"{name}: expected numbers of type {dtype.name}, found {array.dtype.name}")
    if dtype.is_integer and array.size:
        limits = np.iinfo(dtype.as_numpy_dtype)
        low, high = int(array.min()), int(array.max())
        if low < limits.min or high > limits.max:
            raise RequestError(400, f"{name}: {low if low < limits.min else high} does not fit {dtype.name}")
    return array.astype(dtype.as_numpy_dtype)


def encode_answer(outputs, by_rows):
    """{name: array} -> JSON bytes with `predictions` (rows) or `outputs` (columns)."""
    columns = {name: _plain(name, array) for name, array in outputs.items()}
    if len(columns) == 1:
        result = next(iter(columns.values()))
    elif by_rows:
        result = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    else:
        result = columns
    return json.dumps({"predictions" if by_rows else "outputs": result}).encode()


def _plain(name, array):
    """Nested lists for JSON; bytes as base64 objects or text, by the name."""
    if array.dtype != object:
        return array.tolist()

    def text(content):
        if name.endswith(_BYTES_SUFFIX):
            return {"b64": base64.b64encode(content).decode()}
        return content.decode("utf-8", "replace")

    return np.frompyfunc(text, 1, 1)(array).tolist()


def encode_error(text):
    """The body of every answer other than 200."""
    return json.dumps({"error": text}).encode()


def status(model):
    """GET /v1/models/NAME of a ServedModel."""
    state = {
        "version": str(model.version),
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    return json.dumps({"model_version_status": [state]}).encode()


def metadata(model):
    """GET /v1/models/NAME/metadata of a ServedModel."""
    signatures = {name: _signature(definition) for name, definition in model.signatures.items()}
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
