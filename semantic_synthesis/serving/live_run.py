"""A run served without an export: the signatures of `graph.ServingGraph`, traced when they are first asked for.

In this process and not through an export in a folder beside the run: nothing is written next to the run, nothing there
can be older than its weights, and the first picture waits for one trace instead of for all of them.
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from semantic_synthesis import storage
from semantic_synthesis.runs import find_run, load_config, open_run
from semantic_synthesis.serving.graph import ServingGraph, trace
from semantic_synthesis.serving.served_model import ServedModel


class LiveRun(ServedModel):
    """One run folder as version 1 of a model; `run_dir` as given, `name` for URLs."""

    def __init__(
        self,
        name: str,
        run_dir: str | Path,
        precision: str = "float32",
        most_rows: int | None = None,
        turn_rows: int = 1,
    ) -> None:
        self.run_dir = find_run(run_dir)
        self.config = load_config(self.run_dir)  # a mistake in the folder is told before anything slow
        self.precision, self.most_rows, self.turn_rows = precision, most_rows, turn_rows
        self.name, self.version = name, 1
        self._lock = threading.Lock()
        self._graph: Any = None
        self._functions: Any = None
        self._signatures: Any = None

    def open(self) -> "LiveRun":
        """Loads the weights, once; any thread. ValueError or OSError, one line, if they are missing or damaged."""
        with self._lock:
            if self._graph is None:
                config, method = open_run(self.run_dir, self.precision)
                size = (config.crop_height, config.crop_size) if method.fixed_size(config) else (None, None)
                ids = tf.uint8 if config.num_classes <= 256 else tf.int32
                graph = ServingGraph(config, method, size, ids)
                declared = graph.declared()
                self._functions = _Traced(declared)
                self._signatures = _Definitions(declared, self._functions)
                self._graph = graph
        return self

    @property
    def graph(self) -> ServingGraph:
        """The ServingGraph."""
        return self.open()._graph

    @property
    def signatures(self) -> Mapping[str, Any]:
        """{signature name: SignatureDef}; outputs are filled in by a trace, see `_Definitions`."""
        return self.open()._signatures

    def described(self) -> dict[str, Any]:
        """The signatures with outputs, all of them traced."""
        return {name: self._signatures.whole(name) for name in self.signatures}

    def function(self, signature: str) -> Callable[..., Any]:
        """The signature as a function of keywords."""
        return self.open()._functions[signature]


class _Traced(Mapping):
    """{signature name: function of keywords}; each is traced at its first use, one at a time."""

    def __init__(self, declared):
        self._declared, self._done, self._lock = declared, {}, threading.Lock()

    def __getitem__(self, name):
        function, specs = self._declared[name]
        if name not in self._done:  # what is traced already does not wait for what is being traced
            with self._lock:
                if name not in self._done:
                    self._done[name] = trace(function, specs)
        done = self._done[name]
        return lambda **inputs: done(inputs)

    def outputs(self, name):
        self[name]
        return self._done[name].structured_outputs

    def __iter__(self):
        return iter(self._declared)

    def __len__(self):
        return len(self._declared)


class _Definitions(Mapping):
    """{signature name: SignatureDef with inputs alone}, which is all that reading a request needs."""

    def __init__(self, declared, traced):
        self._traced = traced
        self._inputs = {name: _definition(specs) for name, (_, specs) in declared.items()}

    def __getitem__(self, name):
        return self._inputs[name]

    def __iter__(self):
        return iter(self._inputs)

    def __len__(self):
        return len(self._inputs)

    def whole(self, name):
        """One with its outputs."""
        found = meta_graph_pb2.SignatureDef()
        found.CopyFrom(self._inputs[name])
        for key, spec in self._traced.outputs(name).items():
            _fill(found.outputs[key], spec)
        return found


def _definition(specs):
    found = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    for name, spec in specs.items():
        _fill(found.inputs[name], spec)
    return found


def _fill(info, spec):
    info.name, info.dtype = spec.name or "", spec.dtype.as_datatype_enum
    info.tensor_shape.CopyFrom(spec.shape.as_proto())


def name_of(run_dir: str | Path) -> str:
    """The model's name in URLs: the run folder's, with other characters than URLs take bare as _."""
    name = storage.name_of(find_run(run_dir))
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "_" for c in name) or "run"
