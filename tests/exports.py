"""Exported tiny runs that test_exporting.py and test_serving.py share; made once per test process."""

import atexit
import base64
import functools
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf
from helpers import random_arrays, shallow_networks, tiny_config

from semantic_synthesis import data
from semantic_synthesis.data import catalogue
from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.inference import load_run
from semantic_synthesis.runs import build_method, save_weights
from semantic_synthesis.serving.export import ExportOptions, export

STRIDES = (2, 1)
RUNS = {
    "styled": {"use_vae": True},
    "free": {"no_instance": False},
    "regions": {
        "method": "inade",
        "no_instance": False,
        "use_vae": True,
        "noise_dim": 3,
        "instance_none_id": 65000,
    },
    "classes": {"method": "clade", "class_positions": True},
    "composed": {"method": "scgan", "use_vae": True, "num_routing_filters": 4, "num_entry_filters": 3},
    "noise": {"method": "oasis", "no_instance": False, "z_dim": 3},
    "levels": {
        "method": "clvae",
        "encoder_size": 128,
        "modulation": "dense",
        "class_table": catalogue.describe("ade20k").table.to_dict(),
    },
}


@functools.cache
def folder():
    """A folder for this test process."""
    path = Path(tempfile.mkdtemp(prefix="exports-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@functools.cache
def run_dir(name):
    """A run with random weights: "styled" has an encoder, "free" none but instance edges, the others are
    INADE, CLADE-ICPE, SCGAN, OASIS, and clVAE with ADE20K's classes."""
    path = folder() / "runs" / name
    config = tiny_config(path, **RUNS[name])
    with shallow_networks(STRIDES):
        model = build_method(config, training=False)
    config.save(path)
    save_weights(path, random_arrays(model))
    return str(path)


def export_run(name, **options):
    """The exported folder of a run."""
    with shallow_networks(STRIDES):
        return Path(export(ExportOptions(checkpoint_dir=run_dir(name), **options)))


@functools.cache
def exported(name):
    """<folder>/models/<name>/1, float32, as the defaults are."""
    return export_run(name, export_dir=str(folder() / "models"))


@functools.cache
def loaded(name):
    """{signature name: function} of an exported run, loaded again; the model object stays alive."""
    return tf.saved_model.load(str(exported(name))).signatures


@functools.cache
def synthesizer(name):
    """The run in this process."""
    with shallow_networks(STRIDES):
        return load_run(run_dir(name))


def layouts(count, size=32):
    """Rendered label maps uint8 [count,size,size] of the scenes' classes and instance maps of the same."""
    scenes = [render_scene(seed, size, size) for seed in range(count)]
    return np.stack([s.label for s in scenes]), np.stack([s.instance for s in scenes]).astype(np.int32)


def png(array):
    """PNG bytes of grey [h,w] or RGB [h,w,3] values."""
    return cv2.imencode(".png", array[..., ::-1] if array.ndim == 3 else array)[1].tobytes()


def base64_of(content):
    """Text of bytes."""
    return base64.b64encode(content).decode()


def unpacked(pictures):
    """PNG bytes [N] -> uint8 [N,H,W,3]."""
    return np.stack([tf.io.decode_png(p).numpy() for p in np.asarray(pictures)])


def in_process(name, label, seeds, instance=None):
    """uint8 [N,H,W,3] as test_one.py makes them: one layout and seed after another."""
    run, found = synthesizer(name), []
    for i, seed in enumerate(seeds):
        layout = run.layout(label[i], None if instance is None else instance[i])
        found.append(run.synthesize(layout, run.sample_style([seed], layout)))
    return np.concatenate(found)


def assert_same_pixels(found, expected):
    """Equal to 1/255 on every pixel."""
    assert found.dtype == expected.dtype == np.uint8 and found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert expected.std() > 5, "an empty picture compares with anything"


TABLE_COLORS = data.ClassTable.from_dict(tiny_config().class_table).colors
