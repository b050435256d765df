"""Exported models: the documented signatures, test_one.py's pixels, errors that name the mistake."""

import io
import re
import struct
import subprocess
import sys
import zlib

import cv2
import exports
import numpy as np
import pytest
import tensorflow as tf
from helpers import REPOSITORY
from PIL import Image

from semantic_synthesis import data
from semantic_synthesis.data import decoding as data_decoding
from semantic_synthesis.one_picture import OneOptions, make_pictures

SIGNATURES = {
    "serving_default": {"label": ("uint8", [-1, 32, 32]), "seed": ("int64", [-1])},
    "png": {"label_png_bytes": ("string", [-1]), "seed": ("int64", [-1])},
    "png_style": {"label_png_bytes": ("string", [-1]), "style_image_bytes": ("string", [-1])},
    "encode_style": {"image": ("uint8", [-1, 32, 32, 3])},
    "sample_style": {"seed": ("int64", [-1])},
    "png_encode_style": {"style_image_bytes": ("string", [-1])},
    "png_synthesize_style": {"label_png_bytes": ("string", [-1]), "z": ("float32", [-1, 4])},
    "synthesize_style": {"label": ("uint8", [-1, 32, 32]), "z": ("float32", [-1, 4])},
    "picture": {"label": ("uint8", [-1, 32, 32]), "z": ("float32", [-1, 4])},
}
OUTPUTS = {
    "serving_default": {"image": ("uint8", [-1, 32, 32, 3])},
    "png": {"image_png_bytes": ("string", [-1])},
    "png_style": {"image_png_bytes": ("string", [-1])},
    "encode_style": {"z": ("float32", [-1, 4])},
    "sample_style": {"z": ("float32", [-1, 4])},
    "png_encode_style": {"z": ("float32", [-1, 4])},
    "png_synthesize_style": {"image_png_bytes": ("string", [-1])},
    "synthesize_style": {"image": ("uint8", [-1, 32, 32, 3])},
    "picture": {"image": ("uint8", [-1, 32, 32, 3])},
}


def call(name, signature, **inputs):
    """Outputs of a signature as arrays."""
    function = exports.loaded(name)[signature]
    specs = function.structured_input_signature[1]
    found = function(**{key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()})
    return {key: value.numpy() for key, value in found.items()}


def cli(*arguments):
    """Standard output of saved_model_cli."""
    command = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_saved_model_cli_lists_the_documented_signatures():
    from semantic_synthesis.serving.rest_protocol import read_signatures

    found = read_signatures(exports.exported("styled"))

    def plain(infos):
        return {
            key: (tf.as_dtype(info.dtype).name, [dim.size for dim in info.tensor_shape.dim])
            for key, info in infos.items()
        }

    assert {name: plain(found[name].inputs) for name in found} == SIGNATURES
    assert {name: plain(found[name].outputs) for name in found} == OUTPUTS
    shown = cli("show", "--dir", str(exports.exported("styled")), "--all")
    for name, inputs in SIGNATURES.items():
        block = shown.split(f"signature_def['{name}']:")[1].split("signature_def[")[0]
        names = {
            line.split("['")[1].split("']")[0]
            for line in block.splitlines()
            if "['" in line and "puts[" in line
        }
        assert names == {*inputs, *OUTPUTS[name]}


def test_saved_model_cli_run_gives_the_pixels_of_test_one(tmp_path):
    label, _ = exports.layouts(1)
    cv2.imwrite(str(tmp_path / "map.png"), label[0])
    text = (REPOSITORY / "docs" / "export.md").read_text()
    saving = re.search(r"^python -c '(import numpy .*)'$", text, re.M)[1]
    subprocess.run([sys.executable, "-c", saving], cwd=tmp_path, check=True)
    assert np.load(tmp_path / "label.npy").shape == (1, 128, 128) and np.load(tmp_path / "seed.npy") == [7]
    np.save(tmp_path / "label.npy", label)
    options = OneOptions(
        exports.run_dir("styled"), str(tmp_path / "map.png"), results_dir=str(tmp_path), seed=7
    )
    with exports.shallow_networks(exports.STRIDES):
        expected = cv2.imread(make_pictures(options)[0])[..., ::-1]
    inputs = f"label={tmp_path / 'label.npy'};seed={tmp_path / 'seed.npy'}"
    cli(
        "run", "--dir", str(exports.exported("styled")), "--tag_set", "serve", "--signature_def",
        "serving_default", "--inputs", inputs, "--outdir", str(tmp_path),
    )  # fmt: skip
    exports.assert_same_pixels(np.load(tmp_path / "image.npy"), expected[None])


def test_loads_with_tensorflow_alone(tmp_path):
    label, _ = exports.layouts(1)
    (tmp_path / "map.png").write_bytes(exports.png(label[0]))
    program = """
import sys
import tensorflow as tf
sys.modules["semantic_synthesis"] = None  # an import of it would fail
png = tf.saved_model.load(sys.argv[1]).signatures["png"]
out = png(label_png_bytes=tf.constant([open("map.png", "rb").read()]), seed=tf.constant([3], tf.int64))
open("out.png", "wb").write(out["image_png_bytes"].numpy()[0])
"""
    command = [sys.executable, "-I", "-c", program, str(exports.exported("styled"))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "gradient" not in done.stderr
    expected = exports.in_process("styled", label, [3])
    exports.assert_same_pixels(exports.unpacked([(tmp_path / "out.png").read_bytes()]), expected)


# Rows


def test_rows_keep_their_pixels_in_any_batch():
    label, _ = exports.layouts(3)
    seeds = [5, -1, 2**62]
    together = call("styled", "serving_default", label=label, seed=seeds)["image"]
    exports.assert_same_pixels(together, exports.in_process("styled", label, seeds))
    for i in range(3):
        alone = call("styled", "serving_default", label=label[i : i + 1], seed=seeds[i : i + 1])["image"]
        np.testing.assert_array_equal(alone[0], together[i])
    turned = call("styled", "serving_default", label=label[::-1], seed=seeds[::-1])["image"]
    np.testing.assert_array_equal(turned[::-1], together)
    other = call("styled", "serving_default", label=label[:1], seed=[6])["image"]
    assert np.abs(other[0].astype(int) - together[0]).max() > 1


def test_styles_go_out_and_come_back():
    label, _ = exports.layouts(2)
    run = exports.synthesizer("styled")
    photos = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    z = call("styled", "encode_style", image=photos)["z"]
    np.testing.assert_allclose(z, run.encode_style(photos)["z"], rtol=1e-4, atol=1e-5)
    pictures = call("styled", "synthesize_style", label=label, z=z)["image"]
    exports.assert_same_pixels(pictures, run.synthesize(run.layout(label), {"z": tf.constant(z)}))
    files = {
        "label_png_bytes": [exports.png(x) for x in label],
        "style_image_bytes": [exports.png(x) for x in photos],
    }
    exports.assert_same_pixels(
        exports.unpacked(call("styled", "png_style", **files)["image_png_bytes"]), pictures
    )


# Files


def encoded_maps(label):
    """{kind: PNG bytes} of one label map [h,w] in every form that means the same."""
    palette = Image.fromarray(label, "P")
    palette.putpalette(exports.TABLE_COLORS.tobytes())
    file = io.BytesIO()
    palette.save(file, "png")
    return {
        "index": exports.png(label),
        "16 bits": exports.png(label.astype(np.uint16)),
        "palette": file.getvalue(),
        "RGB": exports.png(exports.TABLE_COLORS[label]),
    }


def test_every_kind_of_map_gives_the_same_picture():
    label, _ = exports.layouts(1)
    maps = list(encoded_maps(label[0]).values())
    found = exports.unpacked(
        call("styled", "png", label_png_bytes=maps, seed=[4] * len(maps))["image_png_bytes"]
    )
    exports.assert_same_pixels(found[:1], exports.in_process("styled", label, [4]))
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@pytest.mark.parametrize("size", [(48, 80), (16, 31), (32, 33)])
def test_maps_of_other_sizes_are_fitted_as_by_test_one(size):
    label = cv2.resize(exports.layouts(1, 64)[0][0], size[::-1], interpolation=cv2.INTER_NEAREST)
    found = call("styled", "png", label_png_bytes=[exports.png(label)], seed=[1])["image_png_bytes"]
    exports.assert_same_pixels(exports.unpacked(found), exports.in_process("styled", [label], [1]))


def test_style_photos_of_any_size_and_kind():
    label, _ = exports.layouts(1)
    noise = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)
    photo = cv2.resize(noise, (90, 70), interpolation=cv2.INTER_CUBIC)
    jpeg = cv2.imencode(".jpg", photo[..., ::-1])[1].tobytes()
    found = call("styled", "png_style", label_png_bytes=[exports.png(label[0])], style_image_bytes=[jpeg])
    run = exports.synthesizer("styled")
    style = run.encode_style(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1])
    expected = run.synthesize(run.layout(label[0]), style)
    difference = exports.unpacked(found["image_png_bytes"]).astype(int) - expected
    assert np.abs(difference).mean() < 2  # another resize than OpenCV's: a style next to the same


def test_free_sizes_and_instances():
    for size in (32, 48):
        label, instance = exports.layouts(2, size)
        found = call("free", "serving_default", label=label, instance=instance, seed=[0, 0])["image"]
        files = {
            "label_png_bytes": [exports.png(x) for x in label],
            "instance_png_bytes": [exports.png(x.astype(np.uint16)) for x in instance],
        }
        pictures = exports.unpacked(call("free", "png", **files, seed=[0, 0])["image_png_bytes"])
        np.testing.assert_array_equal(pictures, found)
        assert found.shape == (2, size, size, 3)
        if size == 32:
            exports.assert_same_pixels(found, exports.in_process("free", label, [0, 0], instance))
    assert sorted(exports.loaded("free")) == ["picture", "png", "serving_default"]


# Mistakes in requests

_MAP = exports.png(np.zeros((32, 32), np.uint8))
_ONES = np.zeros((1, 32, 32), np.uint8)
_REQUESTS = {
    "unknown ids": ("serving_default", {"label": _ONES + 200, "seed": [0]}, "200", "0 to 13"),
    "size": ("serving_default", {"label": _ONES[:, :16], "seed": [0]}, "32x16 pixels", "takes 32x32"),
    "rows": ("serving_default", {"label": _ONES, "seed": [0, 1]}, "1, 2 rows", "equally many"),
    "no rows": ("serving_default", {"label": _ONES[:0], "seed": np.zeros(0)}, "0, 0 rows", "one or more"),
    "size of z": ("synthesize_style", {"label": _ONES[:, :, :8], "z": np.zeros((1, 4))}, "8x32", "32x32"),
    "length of z": (
        "synthesize_style",
        {"label": _ONES, "z": np.zeros((1, 3))},
        "z: expected [N,4], got [1,3]",
    ),
    "length of z beside files": (
        "png_synthesize_style",
        {"label_png_bytes": [_MAP], "z": np.zeros((1, 40))},
        "z: expected [N,4], got [1,40]",
    ),
    "photo size": ("encode_style", {"image": np.zeros((1, 8, 9, 3))}, "image: 9x8", "takes 32x32"),
    "png ids": ("png", {"label_png_bytes": [exports.png(_ONES[0] + 99)], "seed": [0]}, "99", "0..13"),
    "not a PNG": ("png", {"label_png_bytes": [b"GIF89a and more" * 9], "seed": [0]}, "not a PNG"),
    "empty": ("png", {"label_png_bytes": [b""], "seed": [0]}, "not a PNG"),
    "cut off": ("png", {"label_png_bytes": [_MAP[:50]], "seed": [0]}, "PNG"),
    "colours": (
        "png",
        {"label_png_bytes": [exports.png(np.ones((32, 32, 3), np.uint8))], "seed": [0]},
        "(1, 1, 1)",
    ),
    "one bad row": ("png", {"label_png_bytes": [_MAP, b"x" * 40], "seed": [0, 1]}, "not a PNG"),
    "no photo": ("png_style", {"label_png_bytes": [_MAP], "style_image_bytes": [b"text"]}, "neither JPEG"),
    "cut photo": ("png_style", {"label_png_bytes": [_MAP], "style_image_bytes": [_MAP[:40]]}, "png"),
}


@pytest.mark.parametrize("case", _REQUESTS)
def test_bad_requests_are_invalid_arguments(case):
    signature, inputs, *parts = _REQUESTS[case]
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        call("styled", signature, **inputs)
    for part in parts:
        assert part.lower() in caught.value.message.lower()


def palette_map(size, index, colors):
    """PNG bytes of one index everywhere, with a palette of so many colours."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", size, size, 8, 3, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes([index]) * size) * size)
    parts = [
        (b"IHDR", header),
        (b"tEXt", b"a\0b"),
        (b"PLTE", bytes(range(3 * colors))),
        (b"IDAT", pixels),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("kind", ["palette", "one bit", "photo"])
def test_files_much_larger_than_the_picture_are_not_unpacked(kind):
    largest, name = (1024, "style_image_bytes") if kind == "photo" else (256, "label_png_bytes")

    def ask(size):
        zeros = np.zeros((size, size), np.uint8)
        if kind == "photo":
            jpeg = cv2.imencode(".jpg", np.stack([zeros] * 3, -1))[1].tobytes()
            files = {"label_png_bytes": [_MAP], "style_image_bytes": [jpeg]}
            return call("styled", "png_style", **files)
        png = palette_map(size, 0, 2) if kind == "palette" else exports.png(zeros)
        if kind == "one bit":
            png = cv2.imencode(".png", zeros, [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes()
        return call("styled", "png", label_png_bytes=[png], seed=[0])

    ask(largest)
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=f"{name}: {largest + 1}x{largest + 1} pixels; at most {largest**2}",
    ):
        ask(largest + 1)


def test_palette_indices_without_a_colour_are_refused_as_by_test_one():
    for colors, index in ((1, 0), (2, 1), (14, 13)):
        assert call("styled", "png", label_png_bytes=[palette_map(8, index, colors)], seed=[0])
        wrong = palette_map(8, index + 1, colors)
        with pytest.raises(data.DataError, match=f"palette index {index + 1} of {colors} colours"):
            data_decoding.decode_label(
                wrong, data.ClassTable.from_dict(exports.tiny_config().class_table), "x"
            )
        with pytest.raises(
            tf.errors.InvalidArgumentError,
            match=f"damaged PNG, palette index {index + 1} of {colors} colours",
        ):
            call("styled", "png", label_png_bytes=[wrong], seed=[0])
    none = palette_map(8, 0, 2).replace(b"PLTE", b"PLTF")
    with pytest.raises(tf.errors.InvalidArgumentError):
        call("styled", "png", label_png_bytes=[none], seed=[0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_styles_of_no_finite_picture_are_refused(value):
    z = np.full((1, 4), value, np.float32)
    with pytest.raises(tf.errors.InvalidArgumentError, match="NaN or Infinity; expected finite"):
        call("styled", "synthesize_style", label=_ONES * 0, z=z)


def test_keras_layers_take_a_dict_of_inputs():
    label, _ = exports.layouts(1)
    folder, inputs = (
        str(exports.exported("styled")),
        {"label": tf.constant(label), "seed": tf.constant([2], tf.int64)},
    )
    found = tf.keras.layers.TFSMLayer(folder, call_endpoint="serving_default")(inputs)
    exports.assert_same_pixels(found["image"].numpy(), exports.in_process("styled", label, [2]))
    photo = tf.zeros([1, 32, 32, 3], tf.uint8)
    assert tf.keras.layers.TFSMLayer(folder, call_endpoint="encode_style")(photo)["z"].shape == (1, 4)


def test_free_sizes_have_a_limit():
    label = np.zeros((1, 0, 32), np.uint8)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"32x0 pixels; expected at least 1 and at most"):
        call("free", "serving_default", label=label, instance=label, seed=[0])
    large = exports.png(np.zeros((2049, 2048), np.uint8))
    files = {"label_png_bytes": [large], "instance_png_bytes": [large], "seed": [0]}
    with pytest.raises(tf.errors.InvalidArgumentError, match="label_png_bytes: 2048x2049 pixels; "):
        call("free", "png", **files)


def test_maps_and_instances_must_have_one_size():
    label, instance = np.zeros((1, 32, 32), np.uint8), np.zeros((1, 34, 32), np.int32)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"instance: 32x34 pixels; .* 32x32"):
        call("free", "serving_default", label=label, instance=instance, seed=[0])


def assert_files_of_two_sizes_are_refused(run):
    large, small = (exports.png(np.zeros((size, 32), np.uint8)) for size in (64, 32))
    for maps in ((large, small), (small, large)):
        files = dict(zip(("label_png_bytes", "instance_png_bytes"), ([one] for one in maps), strict=True))
        sizes = r"instance_png_bytes: 32x(32|64) pixels; label_png_bytes has 32x(64|32); expected maps of one"
        with pytest.raises(tf.errors.InvalidArgumentError, match=sizes):
            call(run, "png", **files, seed=[0])


def test_files_of_maps_must_have_one_size():
    assert_files_of_two_sizes_are_refused("free")


# Other forms


def test_nothing_of_training_is_in_the_graph():
    names = {
        name
        for name, _ in tf.train.list_variables(str(exports.exported("styled") / "variables" / "variables"))
    }
    model = tf.saved_model.load(str(exports.exported("styled")))
    used = {v.name for v in model.weights}
    assert used and not any(
        name.split("/")[-1] in ("u:0", "v:0") or "discriminator" in name for name in used | names
    )
    graph = (exports.exported("styled") / "saved_model.pb").read_bytes()
    for absent in (b"PyFunc", b"FusedBatchNorm", b"_gradient_op_type", str(REPOSITORY).encode()):
        assert absent not in graph


def test_other_forms_give_nearly_the_same_pixels(tmp_path):
    label, _ = exports.layouts(2)
    expected = call("styled", "serving_default", label=label, seed=[0, 1])["image"].astype(int)
    path = exports.export_run(
        "styled",
        export_dir=str(tmp_path),
        precision="bfloat16",
        modulation="dense",
        batch_rows=True,
        label_dtype="int32",
    )
    model = tf.saved_model.load(str(path))
    found = model.signatures["serving_default"](
        label=tf.constant(label, tf.int32), seed=tf.constant([0, 1], tf.int64)
    )["image"].numpy()
    assert np.abs(found - expected).mean() < 4
    assert tf.bfloat16 in {v.dtype for v in model.weights}
    wrong = tf.constant(np.where(label == label[0, 0, 0], -3, label.astype(int)), tf.int32)
    with pytest.raises(tf.errors.InvalidArgumentError, match="-3 unknown; allowed are 0 to 13"):
        model.signatures["serving_default"](label=wrong, seed=tf.constant([0, 1], tf.int64))
