"""A run as a SavedModel with named signatures, in the folders that TF Serving expects."""

import os
import re
from dataclasses import dataclass, make_dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.saved_model import fingerprinting_utils

from semantic_synthesis import data, storage
from semantic_synthesis.checkpoint_files import as_os_errors
from semantic_synthesis.config import Config
from semantic_synthesis.files import folder_beside
from semantic_synthesis.methods import METHODS
from semantic_synthesis.options import Command, option
from semantic_synthesis.runs import asked_size, find_run, inference_options, load_config, open_run
from semantic_synthesis.serving import files as serving_files
from semantic_synthesis.serving import targets
from semantic_synthesis.serving.bare import check_static, picture_function
from semantic_synthesis.serving.graph import ServingGraph
from semantic_synthesis.serving.target_cards import target_card


@dataclass(frozen=True)
class _Common:
    """Options of export.py for every method."""

    checkpoint_dir: str = option("demo_spade", "Run folder, or the name of a shipped run.")
    export_dir: str = option("exports", "The model goes to <export_dir>/<model_name>/<version>/.")
    model_name: str = option("", "Name of the model in TF Serving; empty: the run folder's name.")
    version: int = option(0, "Version number; 0: one more than the largest there.")
    output_height: int = option(
        0, "Height of the pictures in pixels; 0: the run's, or free where the run allows."
    )
    output_width: int = option(
        0, "Width of the pictures in pixels; 0: the run's, or free where the run allows."
    )
    precision: str = option("float32", "Arithmetic of the network.", choices=("float32", "bfloat16"))
    label_dtype: str = option(
        None, "Type of label ids; default uint8 up to 256 classes.", choices=("uint8", "int32"), kind=str
    )
    target: str = option(
        "serving",
        "Who runs it: TF Serving and TensorFlow, TensorFlow Lite, ONNX Runtime, or TensorFlow with XLA.",
        choices=("serving", *targets.CALLS),
    )
    weights: str = option(
        "float32",
        "How lite and onnx store weights; the arithmetic stays float32 (int8: lite alone).",
        choices=targets.WEIGHTS,
    )
    image_dtype: str = option(
        "uint8",
        "What the bare signature (picture) gives: uint8, or float32 in [-1,1].",
        choices=("uint8", "float32"),
    )
    batch_rows: bool = option(
        False,
        "Compute the rows of a request together: faster on GPUs; pixels may differ by 1 between batch sizes.",
    )


def _inference_fields():
    """The options with which runs may be computed otherwise than they were trained."""
    return [
        (
            name,
            str,
            option(None, f"{one.metadata['help']} Default: as the run says.", one.metadata["choices"], str),
        )
        for name, one in inference_options(METHODS.values()).items()
    ]


ExportOptions = make_dataclass(
    "ExportOptions",
    _inference_fields(),
    bases=(_Common,),
    frozen=True,
    namespace={"__doc__": "Options of export.py; the run knows all others."},
)


@dataclass(frozen=True)
class Export:
    """What the files beside the graph say about it.

    size: (height, width), None where free; stride: what free sizes are multiples of; table: ClassTable;
    signatures: {name: ConcreteFunction}; style: {name: StyleSpec}.
    """

    name: str
    version: int
    config: Config
    table: data.ClassTable
    size: tuple
    stride: int
    batch_rows: bool
    signatures: dict
    style: dict


def export(options: Any) -> str:
    """Writes <export_dir>/<model name>/<version>/ whole or not at all; its path.

    options: ExportOptions. Beside the models: models.config and batching.config for TF Serving.
    Errors: ValueError or OSError, one line, before anything is written.
    """
    return _export(options)[0]


def _export(options):
    """(path, a line about the check of the written model, "" for serving)."""
    _check_options(options)
    run_dir = find_run(options.checkpoint_dir)
    config = load_config(run_dir)
    name = options.model_name or storage.name_of(run_dir)
    folder, version = _place(options, name)
    size = asked_size(options, config) or (None, None)
    dtype = _label_dtype(options, config)
    changes = {name: getattr(options, name) for name, _, _ in _inference_fields()}
    config, method = open_run(run_dir, options.precision, **changes)
    if options.image_dtype != "uint8" and method.why_not_static:
        raise ValueError(
            f"--image_dtype {options.image_dtype}: is for the signature picture, which this run has not "
            f"({method.why_not_static}); leave it out"
        )
    if options.target != "serving":
        return _export_target(options, config, method, size, dtype, run_dir, name, _version(folder, version))
    image_dtype = tf.as_dtype(options.image_dtype)
    graph = ServingGraph(config, method, size, dtype, options.batch_rows, image_dtype)
    done = Export(
        name,
        version,
        config,
        graph.table,
        size,
        graph.stride,
        options.batch_rows,
        graph.signatures(),
        method.style_shapes,
    )
    place = _version(folder, version)
    with folder_beside(place) as part, as_os_errors(place):
        _save(done.signatures, part)
        serving_files.write_extras(done, run_dir, part / "assets.extra")
    serving_files.write_server_configs(options.export_dir, options.batch_rows)
    return place, ""


def _version(folder, number):
    return os.path.join(folder, str(number))


def _check_options(options):
    if options.target == "serving":
        if options.weights != "float32":
            raise ValueError(f"--weights {options.weights}: with --target lite or onnx only; see --precision")
        return
    if options.batch_rows:
        raise ValueError(f"--batch_rows: --target {options.target} takes one picture at a time; leave it out")
    if options.precision != "float32":
        raise ValueError(f"--precision {options.precision}: --target {options.target} computes in float32")
    allowed = {"lite": targets.WEIGHTS, "onnx": ("float32", "float16"), "xla": ("float32",)}[options.target]
    if options.weights not in allowed:
        raise ValueError(
            f"--weights {options.weights} --target {options.target}; expected {' or '.join(allowed)}"
        )
    for field, _, _ in _inference_fields():
        if getattr(options, field) is not None:
            raise ValueError(
                f"--{field} {getattr(options, field)}: --target {options.target} has one form, whose shapes no"
                " layout changes; leave it out"
            )
    targets.check_programs(options.target)


def _export_target(options, config, method, size, dtype, run_dir, name, place):
    """Writes <place>/ with the model, its card and the class table, after a check of the model's picture."""
    check_static(method, f"--target {options.target}")
    size = size if size[0] else (config.crop_height, config.crop_size)
    compiled = True if options.target == "xla" else None
    function, specs = picture_function(
        config,
        method,
        size,
        dtype,
        rows=1,
        image_dtype=tf.as_dtype(options.image_dtype),
        jit_compile=compiled,
    )
    with folder_beside(place) as part, as_os_errors(place):
        part = Path(part)
        file = targets.write(options.target, part, name, function, specs, options.weights)
        difference = targets.largest_difference(options.target, file, run_dir, size, specs)
        line = f"largest difference from test_one.py: {difference} of 255"
        if difference > 1 and options.weights == "float32":
            raise ValueError(f"{place}: {line}; expected at most 1, so nothing was written")
        image = tf.TensorSpec([1, *size, 3], options.image_dtype)
        shown = "." if options.target == "xla" else file.name
        card = target_card(
            options.target,
            name,
            shown,
            run_dir,
            config,
            specs,
            method.style_shapes,
            image,
            options.weights,
            difference,
        )
        serving_files.write_described(data.ClassTable.from_dict(config.class_table), card, part)
    return place, line


def _save(signatures, folder):
    module = tf.Module()
    used = {id(v): v for function in signatures.values() for v in function.variables}
    module.weights = list(used.values())  # what no signature reads (raw norms, log-variances) stays behind
    for name, function in signatures.items():
        setattr(module, name, _attribute(function))
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with serving_files.errors_only():
        tf.saved_model.save(module, str(folder), signatures=signatures, options=options)
        _forget_gradients(folder)


def _attribute(function):
    """A signature as a function of one dict, which is what Keras' TFSMLayer passes on; those of one input take that
    input as well."""
    specs = function.structured_input_signature[0][0]

    def call(inputs):
        return function(inputs if isinstance(inputs, dict) else {next(iter(specs)): inputs})

    found = tf.function(call, autograph=False)
    found.get_concrete_function(specs)
    if len(specs) == 1:
        found.get_concrete_function(*specs.values())
    return found


def _forget_gradients(folder):
    """Takes the names of custom gradients out of the graph: they are not saved, and loaders warn of each."""
    path = folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for graph in model.meta_graphs:
        functions = (function.node_def for function in graph.graph_def.library.function)
        for node in chain(graph.graph_def.node, *functions):
            node.attr.pop("_gradient_op_type", None)
    path.write_bytes(model.SerializeToString(deterministic=True))
    fingerprinting_utils.write_fingerprint(str(folder))


def _place(options, name):
    """(model folder, version number), checked."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise ValueError(
            f"--model_name {name!r}; expected letters, digits, _ . and - (it is part of the URL)"
        )
    folder = os.path.join(options.export_dir, name)
    folder = folder if options.target == "serving" else os.path.join(folder, options.target)
    there = serving_files.versions(folder)
    if options.version < 0:
        raise ValueError(f"--version {options.version}; expected 1 or more, or 0 for the next one")
    version = options.version or max(there, default=0) + 1
    if version in there or storage.exists(_version(folder, version)):
        raise ValueError(
            f"{_version(folder, version)}: exists already; choose another --version or leave it out"
        )
    return folder, version


def _label_dtype(options, config):
    name = options.label_dtype or ("uint8" if config.num_classes <= 256 else "int32")
    if name == "uint8" and config.num_classes > 256:
        raise ValueError(f"--label_dtype uint8; the run has {config.num_classes} classes; expected int32")
    return tf.as_dtype(name)


def _run(options):
    path, line = _export(options)
    print(f"{path}\n{line}" if line else path)
    return 0


COMMAND = Command(
    ExportOptions,
    _run,
    "export --checkpoint_dir checkpoints/mine --export_dir exports",
)
