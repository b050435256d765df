"""Runs of free size paint maps as they are, the same in test_one.py, generate, Python, the export and REST."""

import base64
import json

import cv2
import numpy as np
import pytest
import tensorflow as tf
from exports import STRIDES, loaded, png, synthesizer
from helpers import random_arrays, shallow_networks, tiny_config

from semantic_synthesis import data
from semantic_synthesis.data.geometry import MOST_PIXELS
from semantic_synthesis.data.graph_decoding import pad_maps
from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.evaluation.generating import GenerateOptions, generate
from semantic_synthesis.evaluation.manifest import style_seed
from semantic_synthesis.inference import load_run
from semantic_synthesis.one_picture import OneOptions, make_pictures
from semantic_synthesis.runs import build_method, save_weights
from semantic_synthesis.serving.export import ExportOptions, export
from semantic_synthesis.serving.served_model import ServedModel

SIZES = {"wide": (128, 256), "odd": (77, 333), "large": (512, 1024)}  # height, width


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (8, 12), (13, 4)])
def test_maps_are_continued_to_multiples_of_the_stride(size):
    label = np.arange(size[0] * size[1], dtype=np.int32).reshape(size)
    padded = data.pad_map(label, 4)
    height, width = padded.shape
    assert height % 4 == width % 4 == 0 and height - size[0] < 4 and width - size[1] < 4
    np.testing.assert_array_equal(padded[: size[0], : size[1]], label)
    assert (padded[size[0] :, : size[1]] == label[-1]).all()
    assert (padded[:, size[1] :] == padded[:, size[1] - 1 : size[1]]).all()
    np.testing.assert_array_equal(pad_maps(tf.constant(label[None]), 4)[0], padded)
    spec = tf.TensorSpec([None, None, None], tf.int32)
    unknown = tf.function(lambda x: pad_maps(x, 4), input_signature=[spec])
    np.testing.assert_array_equal(unknown(label[None])[0], padded)


def run_of(folder, method, crop, strides):
    """A run of random weights of that size."""
    config = tiny_config(folder, method=method, crop_size=crop, z_dim=3)
    with shallow_networks(strides):
        model = build_method(config, training=False)
    config.save(folder)
    save_weights(folder, random_arrays(model))
    return str(folder)


def paint_everywhere(tmp_path, run_dir, maps):
    """{consumer: {map name: uint8 picture}} of maps {name: uint8 [h,w]}, seed 0."""
    (tmp_path / "maps").mkdir()
    for name, label in maps.items():
        cv2.imwrite(str(tmp_path / "maps" / f"{name}.png"), label)
    run, found = load_run(run_dir), {"python": {}, "one": {}, "export": {}, "ids": {}, "rest": {}, "bare": {}}
    path = export(ExportOptions(checkpoint_dir=run_dir, export_dir=str(tmp_path / "models")))
    model, served = tf.saved_model.load(path), ServedModel("m", 1, path)
    seed = tf.zeros([1], tf.int64)
    for name, label in maps.items():
        file = str(tmp_path / "maps" / f"{name}.png")
        found["python"][name] = run.paint(label)
        options = OneOptions(checkpoint_dir=run_dir, label_filename=file, results_dir=str(tmp_path / "one"))
        found["one"][name] = cv2.imread(make_pictures(options)[0])[..., ::-1]
        answer = model.png({"label_png_bytes": tf.constant([png(label)]), "seed": seed})["image_png_bytes"][0]
        found["export"][name] = tf.io.decode_png(answer).numpy()
        found["ids"][name] = model.serving_default({"label": label[None], "seed": seed})["image"][0].numpy()
        layout = run.layout(label)
        bare = {"label": label[None], **run.sample_style([0], layout)}
        if "instance" in layout:
            bare["region"] = layout["instance"][:, : label.shape[0], : label.shape[1]]
        found["bare"][name] = model.picture(bare)["image"][0].numpy()
        row = {"label_png_bytes": {"b64": base64.b64encode(png(label)).decode()}, "seed": 0}
        body = json.dumps({"signature_name": "png", "instances": [row]}).encode()
        found["rest"][name] = decoded(served, body)
    generate(
        GenerateOptions(
            checkpoint_dir=run_dir, label_dir=str(tmp_path / "maps"), results_dir=str(tmp_path / "generated")
        )
    )
    assert_generated(run, tmp_path / "generated", maps)
    return found


def assert_generated(run, folder, maps):
    """Every file is the picture of its map by the seed of its name."""
    for name, label in maps.items():
        picture = cv2.imread(str(folder / f"{name}.png"))[..., ::-1].astype(int)
        assert np.abs(picture - run.paint(label, seed=style_seed(0, name, 0))).max() <= 1, name


def decoded(served, body):
    """The picture of a REST answer."""
    answer = served.predict(body)
    (row,) = json.loads(answer if isinstance(answer, bytes | str) else b"".join(answer))["predictions"]
    return cv2.imdecode(np.frombuffer(base64.b64decode(row["b64"]), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def assert_one_picture(found, maps):
    for name, label in maps.items():
        right = found["one"][name].astype(int)
        assert right.shape == (*label.shape, 3) and right.std() > 5
        for consumer, pictures in found.items():
            assert pictures[name].shape == right.shape, consumer
            assert np.abs(pictures[name].astype(int) - right).max() <= 1, (consumer, name)


def maps_of(*names):
    return {name: render_scene(8, *SIZES[name]).label.astype(np.uint8) for name in names}


def test_a_map_of_any_size_gives_one_picture_everywhere(tmp_path):
    """A run trained at 64x64, stride 32; one map whose sides are multiples, one whose are not."""
    maps = maps_of("wide", "odd")
    with shallow_networks((32, 1)):
        found = paint_everywhere(tmp_path, run_of(tmp_path / "run", "spade", 64, (32, 1)), maps)
    assert_one_picture(found, maps)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spade", "clade", "oasis", "scgan"])
def test_all_sizes_of_all_methods_of_free_size(method, tmp_path):
    """With all blocks."""
    maps = maps_of(*SIZES)
    config = tiny_config(tmp_path / "run", method=method, crop_size=64, z_dim=3)
    config.save(tmp_path / "run")
    save_weights(tmp_path / "run", random_arrays(build_method(config, training=False)))
    assert_one_picture(paint_everywhere(tmp_path, str(tmp_path / "run"), maps), maps)


def test_the_far_part_of_a_picture_does_not_change_its_near_part():
    """Native, not squeezed: the left half of a wide picture is that of the map's left half, away from the seam."""
    run = synthesizer("classes")
    label = np.repeat(np.repeat(np.arange(8, dtype=np.int32).reshape(2, 4), 16, 0), 16, 1)  # [32,64]
    wide, left = run.paint(label), run.paint(label[:, :32])
    assert wide.shape == (32, 64, 3)
    difference = np.abs(wide[:, :8].astype(int) - left[:, :8])
    assert difference.max() <= 1


def test_asked_sizes_are_painted_not_resized(tmp_path):
    """--output_height and --output_width fit the map, as in the export."""
    run = synthesizer("noise")
    label = render_scene(3, 32, 32).label
    asked = run.paint(label, size=(20, 50))
    np.testing.assert_array_equal(asked, run.paint(data.fit_label(label, 20, 50)))


def test_maps_too_large_are_refused_before_anything_is_computed():
    run = synthesizer("noise")
    with pytest.raises(ValueError, match=rf"3000x2000 pixels; .* 1 to {MOST_PIXELS} pixels"):
        run.layout(np.zeros((2000, 3000), np.uint8))


def test_exports_of_free_size_answer_any_size():
    label = np.zeros((1, 33, 31), np.uint8)
    seed = tf.zeros([1], tf.int64)
    model = loaded("noise")
    inputs = {"label": tf.constant(label), "seed": seed, "instance": tf.zeros([1, 33, 31], tf.int32)}
    assert model["serving_default"](**inputs)["image"].shape == (1, 33, 31, 3)
    regions = model["regions"](label=inputs["label"], instance=inputs["instance"])["region"]
    assert regions.shape == (1, 33, 31)
    assert STRIDES[0] == 2
