"""`describe`: what a run is, in one page: sizes, parameters by part, styles, options, cost of a picture."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_callbacks  # the one way to see every operation of a call

from semantic_synthesis import data, storage
from semantic_synthesis.inference import Synthesizer
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.methods import Method
from semantic_synthesis.options import Command, option, options_of
from semantic_synthesis.runs import (
    build_method,
    find_run,
    inference_options,
    load_config,
    load_weights,
    weights_path,
)
from semantic_synthesis.styles import encoded_names

_REGIONS = 24  # of the example map


@dataclass(frozen=True)
class DescribeOptions:
    """Options of `python -m semantic_synthesis describe`."""

    checkpoint_dir: str = option("", "Run folder, or the name of a shipped run.")
    label_filename: str = option(
        "", "Label map whose picture the cost is for; empty: an example map of 24 regions."
    )


def describe(options: DescribeOptions) -> int:
    """Prints the page; exit code 0. Errors: as `runs.open_run`, and for the label map as `data.read_label`."""
    if not options.checkpoint_dir:
        raise ValueError("describe needs a run: semantic-synthesis describe RUN")
    print("\n".join(page(options.checkpoint_dir, options.label_filename)))
    return 0


_OF_INSTANCES = {"objects": "needed (objects)", "regions": "used where given (regions)"}


def page(run_dir: str | Path, label_filename: str = "") -> Iterator[str]:
    """Lines of text about a run."""
    run_dir = find_run(run_dir)
    config = load_config(run_dir).replace(precision="float32")
    method = build_method(config, training=False, initial_weights=False)
    load_weights(method, run_dir)  # says what is wrong with them
    yield from _head(run_dir, config, method)
    yield from ("", *_parameters(method), "", *_styles(method), "", *_options(config), "")
    yield from _costs(config, method, label_filename)


def _head(run_dir, config, method):
    path = weights_path(run_dir)
    maps = method.instance_maps(config)
    size = "always" if method.fixed_size(config) else "or as large as the label map"
    yield f"{run_dir}: {config.method} run"
    yield f"pictures    {config.crop_size}x{config.crop_height} (width x height), {size}"
    yield f"classes     {config.num_classes} of '{config.class_table['name']}'" + (
        "" if maps is None else f"; instance maps: {_OF_INSTANCES[maps]}"
    )
    yield f"weights     {os.path.basename(path)}, {storage.size_and_time(path)[0] / 1e6:.1f} MB"


def _parameters(method):
    """Numbers of parameters by part; what is for training alone is no part of it."""
    parts = {}
    for name, variable in named_variables(method).items():
        part = "/".join(name.split("/")[:2]) if name.count("/") > 1 else name.split("/")[0]
        kept = parts.setdefault(part, [0, 0])
        kept[not variable.trainable] += math.prod(variable.shape)
    width = max(map(len, parts))
    yield f"{'part':<{width}}  {'parameters':>12}  {'statistics':>10}"
    for part, (trained, other) in parts.items():
        yield f"{part:<{width}}  {trained:>12,}  {other:>10,}"
    total = [sum(column) for column in zip(*parts.values(), strict=True)]
    yield f"{'all':<{width}}  {total[0]:>12,}  {total[1]:>10,}"


def _styles(method):
    specs = method.style_shapes
    if not specs:
        yield "style: none; a label map has one picture"
    for name, spec in specs.items():
        axes = ", ".join(
            f"{axis} {'any number' if size is None else size}"
            for axis, size in zip(spec.axes, spec.shape, strict=True)
        )
        yield f"style '{name}': {axes}; {'read off photos' if name in encoded_names(specs) else 'random'}"


def _options(config):
    """Options that shaped the run and are not the defaults."""
    yield "options (network and training) that differ from the defaults:"
    for name, one in options_of(config).items():
        value = getattr(config, name)
        default = None if one.default is MISSING else one.default
        if one.metadata["role"] != "run" and value != default:
            yield "  " + shlex.quote(f"--{name}={value}")


# Cost


def _costs(config, method, label_filename):
    run = Synthesizer(config, method)
    label = data.read_label(label_filename, run.table) if label_filename else example_map(run)
    layout = run.layout(label, np.zeros_like(label) if run.instance_maps == "objects" else None)
    style = run.sample_style([0], layout)
    shown = os.path.basename(label_filename) if label_filename else f"an example map of {_REGIONS} regions"
    height, width = layout["label"].shape[1:]
    yield f"cost of one {width}x{height} picture of {shown}, its style given; convolutions and matrix products alone"
    yield "(a multiplication with its addition counts as 2):"
    for name, value in _choices(config, method):
        chosen = config.replace(**{name: value}) if name else config
        model = build_method(chosen, training=False, initial_weights=False)
        model.fold()
        yield f"  {count_flops(model, layout, style) / 1e9:10.3f} GFLOP" + (
            f"  --{name} {value}" if name else ""
        )


def _choices(config, method):
    """(option, value) of every way in which the run can compute the same pictures; [("", None)] for one alone."""
    found = inference_options([type(method)])
    return [(n, value) for n, one in found.items() for value in one.metadata["choices"]] or [("", None)]


def example_map(run: Synthesizer) -> np.ndarray:
    """int32 [H,W]: regions around random points, always the same for one run."""
    random, (height, width) = np.random.default_rng(0), run.size
    places = random.uniform(size=(_REGIONS, 2)) * run.size
    classes = random.integers(run.table.num_classes, size=_REGIONS)
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot(rows[..., None] - places[:, 0], columns[..., None] - places[:, 1])  # [H,W,R]
    return classes[distance.argmin(-1)].astype(np.int32)


def count_flops(method: Method, layout: Mapping[str, np.ndarray], style: dict[str, tf.Tensor]) -> int:
    """What one call of `synthesize` computes in convolutions and matrix products, as a number.

    Operation by operation, with the shapes of this call: what depends on the map is counted as it is.
    """
    found = []

    def note(kind, inputs, attributes, outputs, _name=None, _graph=None):
        kind = tf.compat.as_str(kind)
        if kind in _FLOPS:
            attributes = dict(zip(attributes[::2], attributes[1::2], strict=True))
            found.append(
                _FLOPS[kind]([value.shape.as_list() for value in inputs], attributes, outputs[0].shape)
            )

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    op_callbacks.add_op_callback(note)
    try:
        method.synthesize({name: tf.constant(ids) for name, ids in layout.items()}, style)
    finally:
        op_callbacks.remove_op_callback(note)
        tf.config.run_functions_eagerly(before)
    return sum(found)


def _convolution(inputs, _attributes, output):
    return 2 * math.prod(output) * math.prod(inputs[1][:3])  # kernel [kh,kw,I,O]


def _transposed(inputs, _attributes, _output):
    return 2 * math.prod(inputs[2]) * math.prod(inputs[1][:3])  # kernel [kh,kw,O,I], x is the third


def _depthwise(inputs, _attributes, output):
    return 2 * math.prod(output) * math.prod(inputs[1][:2])


def _product(inputs, attributes, output):
    turned = attributes.get("transpose_a") or attributes.get("adj_x")
    return 2 * math.prod(output) * inputs[0][-2 if turned else -1]


_FLOPS = {
    "Conv2D": _convolution,
    "Conv2DBackpropInput": _transposed,
    "DepthwiseConv2dNative": _depthwise,
    "MatMul": _product,
    "BatchMatMulV2": _product,
    "BatchMatMulV3": _product,
}

COMMAND = Command(DescribeOptions, describe, "describe demo_spade", argument="checkpoint_dir")
