"""JSON text of a request -> Python values -> arrays of a signature's types.

Two things matter here beside the right values. Memory: every step takes a small multiple of the body's size,
whatever it holds (`np.array` of texts would pad them all to the longest). And turns: the outer levels are read by
Python and the rows by the C scanner, one call a row, because the scanner keeps all other threads waiting.
"""

import base64
import binascii
import json
import re
from collections.abc import Generator
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

Value = TypeVar("Value")
_BY_PYTHON = 3  # outer levels: the object, its instances or inputs, their rows
_SPACE = re.compile(r"[ \t\n\r]*")
_WHITE = b" \t\n\r\f\v"
_TURN = 1 << 18  # characters, or numbers, read before others get their turn
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


class ValueProblem(ValueError):
    """What is wrong with a request's values, as one line for the client."""


def finished(steps: Generator[Any, Any, Value]) -> Value:
    """What a generator of turns returns, all in one go."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def parse(body: bytes) -> Any:
    """json.loads(body). ValueProblem for what is no JSON."""
    return finished(parse_steps(body))


def parse_steps(body: bytes) -> Generator[None, None, Any]:
    """Generator that pauses within long bodies and returns json.loads(body)."""
    try:
        reader = _Reader(body.decode(json.detect_encoding(body), "surrogatepass"))
        value, end = yield from reader.value(reader.skip(0), _BY_PYTHON)
        if reader.skip(end) != len(reader.text):
            raise reader.problem("Extra data", end)
    except (ValueError, RecursionError) as error:
        raise ValueProblem(f"JSON Parse error: {error}") from None
    return value


class _Reader:
    """Reads JSON text; each method takes a position, the generators return (value, end)."""

    def __init__(self, text: str) -> None:
        self.text, self.paused = text, 0

    def skip(self, at: int) -> int:
        found = _SPACE.match(self.text, at)  # always one, of no length where there is no space
        return found.end() if found else at

    def problem(self, text: str, at: int) -> json.JSONDecodeError:
        return json.JSONDecodeError(text, self.text, at)

    def value(self, at: int, levels: int) -> Generator[None, None, tuple[Any, int]]:
        opening = self.text[at : at + 1]
        if levels and opening == "[":
            return (yield from self.array(at, levels))
        if levels and opening == "{":
            return (yield from self.object(at, levels))
        try:
            return _scan(self.text, at)
        except StopIteration as error:
            raise self.problem("Expecting value", error.value) from None

    def array(self, at: int, levels: int) -> Generator[None, None, tuple[list, int]]:
        found, at = [], self.skip(at + 1)
        if self.text[at : at + 1] == "]":
            return found, at + 1
        while True:
            item, at = yield from self.value(at, levels - 1)
            found.append(item)
            at, more = self.next(at, "]")
            if not more:
                return found, at
            if at > self.paused + _TURN:
                self.paused = at
                yield

    def object(self, at: int, levels: int) -> Generator[None, None, tuple[dict, int]]:
        found, at = {}, self.skip(at + 1)
        if self.text[at : at + 1] == "}":
            return found, at + 1
        while True:
            if self.text[at : at + 1] != '"':
                raise self.problem("Expecting property name enclosed in double quotes", at)
            key, at = _scan(self.text, at)
            at = self.skip(at)
            if self.text[at : at + 1] != ":":
                raise self.problem("Expecting ':' delimiter", at)
            found[key], at = yield from self.value(self.skip(at + 1), levels - 1)
            at, more = self.next(at, "}")
            if not more:
                return found, at

    def next(self, at: int, closing: str) -> tuple[int, bool]:
        """(position, whether another item follows) after an item."""
        at = self.skip(at)
        if self.text[at : at + 1] == closing:
            return at + 1, False
        if self.text[at : at + 1] != ",":
            raise self.problem("Expecting ',' delimiter", at)
        return self.skip(at + 1), True


# Arrays


def is_b64(value: object) -> bool:
    """Whether a value is {"b64": ...}."""
    return isinstance(value, dict) and set(value) == {"b64"}


def array_steps(name: str, value: Any, spec: Any) -> Generator[None, None, np.ndarray]:
    """Generator that returns a JSON value as array of the TensorInfo's dtype and rank; ValueProblem names the input."""
    dtype, rank = tf.as_dtype(spec.dtype), len(spec.tensor_shape.dim)
    convert = _bytes if dtype == tf.string else _numbers
    if not isinstance(value, list):
        raise ValueProblem(f"{name}: found 0 dimensions; expected {rank}")
    rows, done = [], 0
    for number, row in enumerate(value):
        called = f"row {number}: {name}" if len(value) > 1 else name
        leaves, shape = _leaves(called, row, rank)
        rows.append(convert(called, leaves, shape, dtype))
        done += rows[-1].size
        if done > _TURN:
            done = 0
            yield
    if len({row.shape for row in rows}) > 1:
        raise ValueProblem(f"{name}: rows of different lengths; expected a full array of {dtype.name}")
    if not rows:
        return np.empty([0] * rank, dtype.as_numpy_dtype)
    return np.stack(rows)


def _leaves(name, row, rank):
    """(flat list of what is no list, shape) of one row of an input with `rank` dimensions."""
    shape, level = [], [row]
    for found in range(1, rank):
        kinds = set(map(type, level))
        if kinds - {list}:
            different = "; some lists are of different lengths" if list in kinds else ""
            raise ValueProblem(f"{name}: found {found} dimensions; expected {rank}{different}")
        sizes = set(map(len, level))
        if len(sizes) > 1:
            raise ValueProblem(f"{name}: lists of different lengths; expected {rank} dimensions")
        shape.extend(sizes or {0})
        level = list(chain.from_iterable(level))
    if list in set(map(type, level)):
        raise ValueProblem(
            f"{name}: lists of different lengths, or more than {rank} dimensions; expected {rank}"
        )
    return level, shape


def _numbers(name, leaves, shape, dtype):
    """Array of numbers; refused: other types, what does not fit, NaN and Infinity."""
    wrong = set(map(type, leaves)) - ({int, float} if dtype.is_floating else {int})
    if dtype == tf.bool:
        wrong = set(map(type, leaves)) - {bool}
    if wrong:
        kinds = ", ".join(sorted(kind.__name__ for kind in wrong))
        raise ValueProblem(f"{name}: expected numbers of type {dtype.name}, found {kinds}")
    if dtype.is_integer and leaves:
        limits = np.iinfo(dtype.as_numpy_dtype)
        low, high = min(leaves), max(leaves)
        if low < limits.min or high > limits.max:
            shown = _short(low if low < limits.min else high)
            raise ValueProblem(f"{name}: {shown} does not fit {dtype.name}")
    try:
        with np.errstate(over="ignore"):
            array = np.array(leaves, np.float64 if dtype.is_floating else dtype.as_numpy_dtype)
            array = array.astype(dtype.as_numpy_dtype)
    except OverflowError:
        raise ValueProblem(f"{name}: a number does not fit {dtype.name}") from None
    if dtype.is_floating and not np.isfinite(array).all():
        raise ValueProblem(
            f"{name}: NaN, Infinity or a number too large for {dtype.name}; expected finite numbers"
        )
    return array.reshape(shape)


def _short(number):
    """Text of an integer; of a very long one its length (Python refuses to print these)."""
    return (
        str(number) if abs(number) < 10**30 else f"a number of about {number.bit_length() * 3 // 10} digits"
    )


def _bytes(name, leaves, shape, dtype):
    """Array of bytes objects, of {"b64": ...} or text."""
    array = np.empty(len(leaves), object)
    array[:] = [_content(name, leaf) for leaf in leaves]
    return array.reshape(shape)


def _content(name, leaf):
    if isinstance(leaf, str):
        try:
            return leaf.encode()
        except UnicodeEncodeError:
            raise ValueProblem(f"{name}: text with half a surrogate pair, which no bytes stand for") from None
    if not is_b64(leaf) or not isinstance(leaf["b64"], str):
        raise ValueProblem(f'{name}: expected {{"b64": "<base64>"}} or a string')
    try:
        return unpack_base64(leaf["b64"])
    except (binascii.Error, ValueError):
        raise ValueProblem(f"{name}: the text after b64 is not base64") from None


def unpack_base64(text: str) -> bytes:
    """Bytes of base64 as TF Serving reads it: white space is skipped, padding may be left out."""
    packed = text.encode("ascii").translate(None, _WHITE)
    bare = packed.rstrip(b"=")
    padding = -len(bare) % 4
    if padding == 3 or len(packed) - len(bare) not in (0, padding):
        raise ValueError("wrong length")
    return base64.b64decode(bare + b"=" * padding, validate=True)
