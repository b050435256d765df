"""An exported picture function in the form of other programs: TensorFlow Lite, ONNX, a graph compiled by XLA.

Each is written from the bare signature (bare.py) for one picture of a fixed size, run again by its own program, and
compared with what test_one.py makes of the same map and style.
"""

from __future__ import annotations

import logging as python_logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from semantic_synthesis.data import regions
from semantic_synthesis.inference import load_run
from semantic_synthesis.pictures import to_uint8
from semantic_synthesis.serving.bare import REGION_INPUT, SIGNATURE
from semantic_synthesis.serving.files import errors_only

WEIGHTS = ("float32", "float16", "int8")
OPSET = 17
_ONNX_PACKAGES = 'pip install "semantic-synthesis[onnx]"'
_SMALL = 2**10  # values; tensors below stay in float32


def check_programs(target: str) -> None:
    """ValueError, one line, if what writes and checks a target is not installed."""
    if target != "onnx":
        return
    try:
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise ValueError(f"--target onnx: {error}; expected {_ONNX_PACKAGES}") from None


def write(
    target: str,
    folder: Path,
    name: str,
    function: Any,
    specs: dict[str, tf.TensorSpec],
    weights: str = "float32",
) -> Path:
    """Writes the model into an existing folder; its path.

    function, specs: of bare.picture_function with rows=1 and a fixed size; weights: how they are stored.
    """
    if target == "xla":
        save_graph(folder, function, specs)
        return folder
    path = Path(folder) / f"{name}.{ {'lite': 'tflite', 'onnx': 'onnx'}[target] }"
    path.write_bytes({"lite": _lite, "onnx": _onnx}[target](function, specs, weights))
    return path


def save_graph(folder: str | Path, function: Any, specs: dict[str, tf.TensorSpec]) -> None:
    """A SavedModel of the one signature."""
    module, concrete = tf.Module(), function.get_concrete_function(specs)
    module.weights = list(concrete.variables)
    setattr(module, SIGNATURE, function)
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with errors_only():
        tf.saved_model.save(module, str(folder), signatures={SIGNATURE: concrete}, options=options)


def _lite(function, specs, weights):
    """Bytes of a .tflite that built-in operations run; float16: stored so; int8: kernels, computed in float32.

    ValueError for weights that float16 does not hold.
    """
    with tempfile.TemporaryDirectory() as folder, errors_only():
        save_graph(folder, function, specs)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if weights != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if weights == "float16":
            converter.target_spec.supported_types = [tf.float16]
        model = converter.convert()
    if weights == "float16":
        _check_half(model)
    return model


def _check_half(model):
    """ValueError where a weight is beyond float16's range: the converter stores the largest number of it instead.

    What is looked at are the stored weights, as the converter has multiplied some by each other.
    """
    largest = np.finfo(np.float16).max
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpreter = _lite_interpreter()(model_content=model)
    halves = [one["index"] for one in interpreter.get_tensor_details() if one["dtype"] == np.float16]
    count = sum(int((np.abs(interpreter.get_tensor(index)) >= largest).sum()) for index in halves)
    if count:
        raise ValueError(
            f"--weights float16: {count} of the model's weights are beyond {largest:.0f}, the most that float16 holds; "
            "expected --weights float32, or --target onnx, which keeps those in float32"
        )


def _onnx(function, specs, weights):
    """Bytes of an .onnx; float16: large weights stored so and cast when the model is loaded."""
    import tf2onnx

    python_logging.getLogger("tf2onnx").setLevel(python_logging.ERROR)
    with errors_only(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, _ = tf2onnx.convert.from_function(function, [specs], opset=OPSET)
    if weights == "float16":
        _halve(model.graph)
    return model.SerializeToString()


def _halve(graph):
    """Large float32 weights of an ONNX graph as float16, each with a cast back; what float16 cannot hold stays."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _SMALL:
            continue
        name = tensor.name
        with np.errstate(over="ignore"):
            small = numpy_helper.to_array(tensor).astype(np.float16)
        if not np.isfinite(small).all():  # scales of channels that hardly vary have no bound
            continue
        half = numpy_helper.from_array(small, f"{name}_float16")
        tensor.CopyFrom(half)
        casts.append(helper.make_node("Cast", [half.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


# Running them again


def call_lite(path: str | Path) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """A function of {input: array} -> image, by the TensorFlow Lite interpreter."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # TensorFlow's own interpreter says that it will move to another package
        runner = _lite_interpreter()(model_path=str(path)).get_signature_runner(SIGNATURE)
    return lambda inputs: runner(**inputs)["image"]


def _lite_interpreter():
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        return tf.lite.Interpreter
    return Interpreter


def call_onnx(path: str | Path) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """A function of {input: array} -> image, by onnxruntime on the CPU."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes: one for each way in which a graph can be wrong
        reason = " ".join(str(error).split())[-120:]
        raise ValueError(
            f"--target onnx: ONNX Runtime does not take what tf2onnx makes of this run (... {reason}); expected "
            "another --target"
        ) from None
    return lambda inputs: session.run(["image"], inputs)[0]


def call_xla(path: str | Path) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """A function of {input: array} -> image, by XLA."""
    model = tf.saved_model.load(str(path))
    picture = getattr(model, SIGNATURE)

    def call(inputs, model=model):
        return picture({name: tf.constant(values) for name, values in inputs.items()})["image"].numpy()

    return call


CALLS = {"lite": call_lite, "onnx": call_onnx, "xla": call_xla}


def example(
    run: Any, size: tuple[int, int], specs: dict[str, tf.TensorSpec], seed: int = 0
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(inputs {name: array} of the bare signature, picture uint8 [1,H,W,3] that test_one.py makes of them)."""
    rows, columns = np.indices(size)
    step = max(1, min(size) // 6)
    label = (rows // step + columns // step) % run.table.num_classes
    instance = 1 + label
    layout = run.layout(label, instance if run.instance_maps == "objects" else None)
    style = run.sample_style([seed], layout)
    found = {"label": label[None], **{name: np.asarray(values) for name, values in style.items()}}
    if "instance" in specs:
        found["instance"] = instance[None]
    if REGION_INPUT in specs:
        found[REGION_INPUT] = regions(label.astype(np.int32))[None]
    inputs = {name: found[name].astype(spec.dtype.as_numpy_dtype) for name, spec in specs.items()}
    return inputs, run.synthesize(layout, style)


def largest_difference(
    target: str, path: Path, run_dir: str, size: tuple[int, int], specs: dict[str, tf.TensorSpec]
) -> int:
    """The largest difference between the written model's picture and test_one.py's, of 255."""
    inputs, right = example(load_run(run_dir), size, specs)
    found = CALLS[target](path)(inputs)
    found = found if found.dtype == np.uint8 else to_uint8(found)
    return int(np.abs(found.astype(int) - right).max())
