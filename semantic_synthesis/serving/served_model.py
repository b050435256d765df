"""Exported models in this process: loaded, warmed up, and asked row by row."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from semantic_synthesis import data, storage
from semantic_synthesis.serving import rest_protocol
from semantic_synthesis.serving.files import errors_only, models, others, warm_up_requests
from semantic_synthesis.serving.rest_protocol import RequestError


class ServedModel:
    """One version of one model; requests are parsed, computed and answered row by row."""

    def __init__(
        self, name: str, version: int, folder: str, most_rows: int | None = None, turn_rows: int = 1
    ) -> None:
        self.name, self.version, self.most_rows, self.turn_rows = name, version, most_rows, turn_rows
        self.folder = str(folder)
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

    def warm_up(self) -> int:
        """Runs the requests that the export brought for it, one for each signature; their number."""
        requests = warm_up_requests(self.folder)
        for signature, inputs in requests.items():
            self._call(signature, inputs)
        return len(requests)

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
        for where, rows in self._turns(request.inputs):
            if parts:
                yield None
            parts.append(self._call(request.signature, rows, where))
        pieces = []
        for piece in rest_protocol.answer_pieces(rest_protocol.joined(parts), request.by_rows):
            pieces.append(piece)
            if len(parts) > 1:  # a single row is answered in the turn that computes it
                yield None
        yield b"".join(pieces)

    def _turns(self, inputs):
        """(which rows, for messages, inputs of a few rows); all at once where the numbers of rows differ, which the
        graph refuses."""
        counts = {len(array) for array in inputs.values()}
        if len(counts) > 1 or max(counts) <= 1:
            yield "", inputs
            return
        count = counts.pop()
        for at in range(0, count, self.turn_rows):
            last = min(at + self.turn_rows, count) - 1
            where = f"row {at}: " if at == last else f"rows {at} to {last}: "
            yield where, {name: array[at : last + 1] for name, array in inputs.items()}

    def _call(self, signature, inputs, where=""):
        """{name: array} of some rows; `where` begins the message about what is wrong with them."""
        function = self.function(signature)
        try:
            outputs = function(**{name: tf.constant(x) for name, x in inputs.items()})
        except tf.errors.OpError as error:
            lines = [line.strip() for line in error.message.splitlines()]
            said = data.user_error(error)
            line = said or _named([one for one in lines if one and not one.startswith("[[")][-1], inputs)
            status = rest_protocol.HTTP_STATUS.get(error.error_code, 500)
            raise RequestError(status, where + line) from None
        return {name: x.numpy() for name, x in outputs.items()}


def _named(line, inputs):
    """What TensorFlow says of a file that it cannot decode, which it calls by its size, with the input's name."""
    found = re.match(r"Invalid (PNG|JPEG) data.* size (\d+)", line)
    if not found:
        return line
    size = int(found[2])
    names = [
        name for name, rows in inputs.items() if any(isinstance(x, bytes) and len(x) == size for x in rows)
    ]
    return f"{' or '.join(names)}: damaged or cut off {found[1]}; send it whole" if names else line


def load_models(
    export_dir: str | Path, most_rows: int | None = None, turn_rows: int = 1
) -> dict[str, ServedModel]:
    """{name: ServedModel}, the newest version of each. ValueError or OSError if there is none."""
    found, left_out = (models(export_dir), others(export_dir)) if storage.is_folder(export_dir) else ({}, [])
    if not found:
        parent = os.path.dirname(os.path.abspath(export_dir)) if left_out else ""
        raise ValueError(
            f"{export_dir}: no <model name>/<version>/saved_model.pb here; expected a folder written by export.py"
            + (
                f" (here are {', '.join(left_out)}); if this is one model's folder, take --export_dir {parent}"
                if left_out
                else ""
            )
        )
    if left_out:
        sys.stderr.write(f"left out, as there is no saved_model.pb for TensorFlow: {', '.join(left_out)}\n")
    return {
        name: ServedModel(name, numbers[-1], f"{export_dir}/{name}/{numbers[-1]}", most_rows, turn_rows)
        for name, numbers in found.items()
    }


def warm_up(served: Mapping[str, ServedModel]) -> None:
    """Runs each signature of each model once; says how many and how long."""
    for name, model in served.items():
        start = time.perf_counter()
        count = model.warm_up()
        seconds = time.perf_counter() - start
        line = f"{name}: {count} signatures warmed up in {seconds:.1f} s"
        missing = f"{name}: its export brought no warm-up requests; export it again"
        sys.stderr.write(f"{line if count else missing}\n")
