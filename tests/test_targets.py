"""`export.py --target`: the written model, run by the program it is for, gives test_one.py's pictures."""

import contextlib
import functools
import subprocess
import sys
from pathlib import Path

import conformance
import cv2
import exports
import keras
import numpy as np
import pytest
import tensorflow as tf
from conformance import networks

from semantic_synthesis import data
from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.inference import load_run
from semantic_synthesis.methods import METHODS
from semantic_synthesis.one_picture import OneOptions, make_pictures
from semantic_synthesis.serving import targets
from semantic_synthesis.serving.export import ExportOptions, export

SHIPPED = (
    "demo_spade",
    "demo_inade",
    "demo_clade",
    "demo_clvae",
    "demo_oasis",
    "demo_scgan",
)  # SIMS has none
STATIC = [name for name in METHODS if not METHODS[name].why_not_static]
SUFFIXES = {"lite": ".tflite", "onnx": ".onnx"}
VARIANTS = [name for name in exports.RUNS if name not in ("styled",)]


def opened(name):
    """(run folder, Synthesizer, context in which its networks are built)."""
    if name in SHIPPED:
        return name, load_run(name)
    if name in exports.RUNS:
        return exports.run_dir(name), exports.synthesizer(name)
    return conformance.run_dir(name), conformance.opened(name)


def building(name):
    """Whatever the networks of a run need while they are built."""
    if name in exports.RUNS:
        return exports.shallow_networks(exports.STRIDES)
    return networks() if name in METHODS else _nothing()


def _nothing():
    return contextlib.nullcontext()


@functools.cache
def written(name, target, **options):
    """Path of a run's model."""
    with building(name):
        path = Path(
            export(
                ExportOptions(
                    checkpoint_dir=opened(name)[0],
                    export_dir=str(conformance.folder() / "targets"),
                    model_name=name,
                    target=target,
                    **options,
                )
            )
        )
    if target in SUFFIXES:
        (path,) = path.glob(f"*{SUFFIXES[target]}")
    return path


@functools.cache
def case(name):
    """(inputs of the bare signature, picture uint8 [1,H,W,3] that test_one.py wrote) of one map, seed 0."""
    run_dir, run = opened(name)
    folder = conformance.folder() / "cases" / name
    folder.mkdir(parents=True)
    scene = render_scene(11, *run.size)
    cv2.imwrite(str(folder / "map.png"), scene.label)
    instance = ""
    if run.instance_maps == "objects":
        instance = str(folder / "instance.png")
        cv2.imwrite(instance, scene.instance.astype(np.uint16))
    with building(name):
        options = OneOptions(
            checkpoint_dir=run_dir,
            label_filename=str(folder / "map.png"),
            instance_filename=instance,
            results_dir=str(folder),
        )
        picture = cv2.imread(make_pictures(options)[0])[None, ..., ::-1].astype(int)
    layout = run.layout(*data.read_layout(str(folder / "map.png"), run.table, instance))
    inputs = {"label": layout["label"].astype(np.uint8)}
    if run.instance_maps:
        inputs[{"regions": "region", "objects": "instance"}[run.instance_maps]] = layout["instance"]
    return inputs | {k: np.asarray(v) for k, v in run.sample_style([0], layout).items()}, picture


def assert_same(found, name):
    right = case(name)[1]
    assert found.dtype == np.uint8 and found.shape == right.shape and right.std() > 5
    assert np.abs(found.astype(int) - right).max() <= 1


def call(name, target):
    return targets.CALLS[target](written(name, target))(case(name)[0])


def slow_but(*quick):
    """METHODS, shipped runs and variants, all slow but some."""
    names = [*SHIPPED, *STATIC, *VARIANTS]
    return pytest.mark.parametrize(
        "name", [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]
    )


@slow_but("spade")
def test_tensorflow_lite(name):
    """By built-in operations alone: the converter allows no others."""
    assert_same(call(name, "lite"), name)


@slow_but("spade")
def test_onnx(name):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    if name == "classes":  # CLADE-ICPE: tf2onnx has nothing for the minima over regions
        with pytest.raises(
            ValueError, match=r"^--target onnx: ONNX Runtime does not take .* expected another"
        ):
            written(name, "onnx")
        return
    assert_same(call(name, "onnx"), name)


@slow_but("spade")
def test_xla(name):
    assert_same(call(name, "xla"), name)


@functools.cache
def served(name):
    """The default export of a run."""
    if name in exports.RUNS:
        return str(exports.exported(name))
    if name in METHODS:
        return conformance.exported(name)
    return export(ExportOptions(checkpoint_dir=name, export_dir=str(conformance.folder() / "models")))


@slow_but()
def test_keras_layer_and_jit_compile_on_the_default_export(name):
    """Its bare signature `picture`, as attribute and as signature."""
    inputs = {key: tf.constant(values) for key, values in case(name)[0].items()}
    layer = keras.layers.TFSMLayer(served(name), call_endpoint="picture")
    assert_same(layer(inputs)["image"].numpy(), name)
    model = tf.saved_model.load(served(name))
    compiled = tf.function(lambda x: model.signatures["picture"](**x)["image"], jit_compile=True)
    assert_same(compiled(inputs).numpy(), name)


def test_every_function_is_an_attribute_that_takes_a_dict():
    """In TFSMLayer, in a Sequential, and on the loaded model; functions of one input take it bare as well."""
    folder, label = str(exports.exported("styled")), exports.layouts(1)[0]
    model = tf.saved_model.load(folder)
    inputs = {"label": tf.constant(label), "seed": tf.constant([2], tf.int64)}
    right = exports.in_process("styled", label, [2])
    exports.assert_same_pixels(model.serving_default(inputs)["image"].numpy(), right)
    layer = keras.layers.TFSMLayer(folder, call_endpoint="serving_default")
    found = keras.Sequential([layer])(inputs)
    exports.assert_same_pixels(found["image"].numpy(), right)
    for name in model.signatures:
        assert callable(getattr(model, name)), name
    seed = tf.constant([2], tf.int64)
    z = model.sample_style({"seed": seed})["z"]
    np.testing.assert_array_equal(z, model.sample_style(seed)["z"])
    styled = keras.layers.TFSMLayer(folder, call_endpoint="synthesize_style")({"label": label, "z": z})
    exports.assert_same_pixels(styled["image"].numpy(), right)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize(
    "target, weights, share, mean",
    [("lite", "float16", 0.55, 0.5), ("onnx", "float16", 0.55, 0.5), ("lite", "int8", 0.35, 3.0)],
)
def test_smaller_weights(name, target, weights, share, mean):
    """File size as a share of float32's, and the mean difference of 255."""
    path = written(name, target, weights=weights)
    assert path.stat().st_size < share * written(name, target).stat().st_size
    inputs, right = case(name)
    difference = np.abs(targets.CALLS[target](path)(inputs).astype(int) - right)
    print(name, target, weights, path.stat().st_size, difference.max(), difference.mean())
    assert difference.mean() < mean


@pytest.mark.parametrize("largest", [6e4, 1e6])
def test_weights_that_float16_does_not_hold_stay_as_they_are(largest):
    """As infinity they would take a channel's part out of every picture."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    kernel = np.full((64, 64), 0.5, np.float32)
    kernel[3, 5] = largest
    specs = {"x": tf.TensorSpec([1, 64], tf.float32)}
    function = tf.function(lambda inputs: {"image": inputs["x"] @ kernel})
    session, sizes = None, {}
    for weights in ("float32", "float16"):
        model = targets._onnx(function, specs, weights)
        session, sizes[weights] = (
            onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]),
            len(model),
        )
    found = session.run(None, {session.get_inputs()[0].name: np.full((1, 64), 0.5, np.float32)})[0]
    np.testing.assert_allclose(found, 0.5 * kernel.sum(0)[None], rtol=1e-3)
    assert (sizes["float16"] < 0.8 * sizes["float32"]) == (largest < 65504)


@pytest.mark.parametrize("largest", [-6e4, -1e6])
def test_lite_refuses_weights_that_float16_does_not_hold(largest, tmp_path):
    """Its converter would store the largest number that there is in their place."""
    kernel = tf.Variable(np.full((64, 64), 0.5, np.float32))
    kernel[3, 5].assign(largest)
    specs = {"x": tf.TensorSpec([1, 64], tf.float32)}
    function = tf.function(lambda inputs: {"image": inputs["x"] @ kernel})
    targets.write("lite", tmp_path, "whole", function, specs)  # float32 holds them
    if largest > -65504:
        targets.write("lite", tmp_path, "half", function, specs, "float16")
        return
    with pytest.raises(
        ValueError, match=r"^--weights float16: 1 of .* beyond 65504, .*; expected --weights float32"
    ):
        targets.write("lite", tmp_path, "half", function, specs, "float16")
    assert [path.stem for path in tmp_path.iterdir()] == ["whole"]


@pytest.mark.slow
def test_plain_tf2onnx_on_the_default_export(tmp_path):
    """`python -m tf2onnx.convert --saved-model EXPORT --signature_def picture`."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    file = tmp_path / "x.onnx"
    asked = {
        "saved-model": served("demo_spade"),
        "tag": "serve",
        "signature_def": "picture",
        "opset": 17,
        "output": file,
    }
    flags = [str(word) for name, value in asked.items() for word in (f"--{name}", value)]
    done = subprocess.run([sys.executable, "-m", "tf2onnx.convert", *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert_same(session.run(["image"], case("demo_spade")[0])[0], "demo_spade")


# What is refused

_REFUSED = {
    "weights of serving": (["--weights", "float16"], "--precision"),
    "int8 of onnx": (["--target", "onnx", "--weights", "int8"], "float32 or float16"),
    "patches of lite": (["--target", "lite", "--modulation", "patches"], "leave it out"),
    "bfloat16 of lite": (["--target", "lite", "--precision", "bfloat16"], "float32"),
    "rows of xla": (["--target", "xla", "--batch_rows"], "one picture at a time"),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_refused(name, tmp_path):
    flags, part = _REFUSED[name]
    options = {}
    for flag, value in zip(flags[::2], [*flags[1::2], True], strict=False):
        options[flag[2:]] = value
    with pytest.raises(ValueError, match=part):
        export(ExportOptions(checkpoint_dir="demo_spade", export_dir=str(tmp_path), **options))
    assert not list(tmp_path.iterdir())


def test_methods_without_a_static_graph_say_why(tmp_path):
    """SIMS: as many pieces as a layout asks for."""
    with pytest.raises(
        ValueError, match=r"--target lite: sims has no graph for it, as .* expected --target serving"
    ):
        export(
            ExportOptions(checkpoint_dir=conformance.run_dir("sims"), export_dir=str(tmp_path), target="lite")
        )
    assert not list(tmp_path.iterdir())


def test_a_wrong_picture_is_an_error_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "largest_difference", lambda *_: 2)
    monkeypatch.setattr(targets, "write", lambda target, folder, name, *_: Path(folder) / f"{name}.tflite")
    options = ExportOptions(checkpoint_dir="demo_spade", export_dir=str(tmp_path), target="lite")
    with pytest.raises(
        ValueError, match=r"largest difference from test_one\.py: 2 of 255; expected at most 1"
    ):
        export(options)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
