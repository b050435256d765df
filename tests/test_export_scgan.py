"""Exported runs of SCGAN: pixels, styles, variables, free sizes, REST."""

import base64
import json
import re

import exports
import numpy as np
import pytest
import tensorflow as tf
from helpers import layout_map, shallow_networks, write_run
from test_exporting import call

from semantic_synthesis import runs
from semantic_synthesis.serving.export import ExportOptions, export


def test_exported_pixels_and_styles():
    label, _ = exports.layouts(2)
    expected = exports.in_process("composed", label, [1, 2])
    exports.assert_same_pixels(
        call("composed", "serving_default", label=label, seed=[1, 2])["image"], expected
    )
    files = [exports.png(x) for x in label]
    found = call("composed", "png", label_png_bytes=files, seed=[1, 2])["image_png_bytes"]
    exports.assert_same_pixels(exports.unpacked(found), expected)
    photos = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    encoded = call("composed", "encode_style", image=photos)["z"]
    np.testing.assert_allclose(encoded, exports.synthesizer("composed").encode_style(photos)["z"], atol=1e-4)


def test_exported_variables_hold_no_auxiliary_picture():
    prefix = str(exports.exported("composed") / "variables" / "variables")
    shapes = [tuple(shape) for _, shape in tf.train.list_variables(prefix)]
    vectors = exports.synthesizer("composed").method.vectors
    assert tuple(vectors.picture_out.kernel.shape) not in shapes  # [3,3,2,3], no other kernel has that
    assert tuple(vectors.entries[0].kernel.shape) in shapes


@pytest.mark.slow
def test_pictures_of_any_size(tmp_path):
    """Without an encoder all is convolutional: exports take any multiple of the stride."""
    with shallow_networks((2, 1)):
        _check_any_size(tmp_path)


def _check_any_size(tmp_path):
    run_dir = write_run(
        str(tmp_path / "run"), method="scgan", num_routing_filters=4, num_entry_filters=3, use_vae=False
    )
    folder = export(ExportOptions(checkpoint_dir=run_dir, export_dir=str(tmp_path)))
    serve = tf.saved_model.load(folder).signatures["serving_default"]
    label = layout_map(64, 96)[None]
    picture = serve(label=tf.constant(label), seed=tf.constant([0], tf.int64))["image"].numpy()
    _, method = runs.open_run(run_dir)
    ours = (method.synthesize({"label": tf.constant(label, tf.int32)}, {}).numpy() + 1) * 127.5
    assert np.abs(picture - ours).max() <= 1.01 and picture.std() > 5


@pytest.mark.slow
def test_rest():
    """The development server gives the pixels of this process, for seeds and for a style that a photo gave."""
    pytest.importorskip("fastapi")
    from test_serving import ask, png_request, png_row, start_server

    label, _ = exports.layouts(1)
    process = start_server(exports.exported("composed").parent.parent)
    try:
        port = int(re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())[1])
        path = "/v1/models/composed:predict"
        status, answer = ask(port, "POST", path, png_request(png_row(exports.png(label[0]), 5)))
        assert status == 200, answer
        found = exports.unpacked([base64.b64decode(answer["predictions"][0]["b64"])])
        exports.assert_same_pixels(found, exports.in_process("composed", label, [5]))
        photo = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
        body = {"signature_name": "encode_style", "instances": photo.tolist()}
        status, answer = ask(port, "POST", path, json.dumps(body).encode())
        assert status == 200, answer
        z = answer["predictions"][0]
        run = exports.synthesizer("composed")
        np.testing.assert_allclose(z, run.encode_style(photo)["z"][0], atol=1e-4)
        body = {"signature_name": "synthesize_style", "instances": [{"label": label[0].tolist(), "z": z}]}
        status, answer = ask(port, "POST", path, json.dumps(body).encode())
        assert status == 200, answer
        layout = run.layout(label[0])
        expected = run.synthesize(layout, run.encode_style(photo))
        exports.assert_same_pixels(np.array(answer["predictions"], np.uint8), expected)
    finally:
        process.kill()
        process.communicate()
