"""A converted run gives one picture, whether through test_one.py's code, the Synthesizer or the export."""

import cv2
import numpy as np
import pytest
import tensorflow as tf
from test_conversion import converted

from semantic_synthesis.inference import load_run
from semantic_synthesis.one_picture import OneOptions, make_pictures
from semantic_synthesis.pictures import to_uint8
from semantic_synthesis.serving.export import ExportOptions, export


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(run folder, Synthesizer, label [1,H,W], its golden picture, the Synthesizer's), int [H,W,3]."""
    run_dir, arrays = converted("spade_plain", tmp_path_factory.mktemp("converted") / "run")
    opened, label = load_run(str(run_dir)), arrays["label"][:1]
    golden = to_uint8(arrays["image"][:1])[0].astype(int)
    return str(run_dir), opened, label, golden, opened.synthesize(opened.layout(label), {})[0].astype(int)


def test_picture_of_a_file_without_further_options(run, tmp_path):
    run_dir, opened, label, golden, synthesized = run
    assert np.abs(synthesized - golden).max() <= 1
    raw = np.asarray(opened.table.raw_ids, np.uint8)[label[0]]  # what a file of this dataset would hold
    cv2.imwrite(str(tmp_path / "map.png"), raw)
    options = OneOptions(
        checkpoint_dir=run_dir, label_filename=str(tmp_path / "map.png"), results_dir=str(tmp_path / "out")
    )
    written = cv2.imread(make_pictures(options)[0])[..., ::-1].astype(int)
    np.testing.assert_array_equal(written, synthesized)


@pytest.mark.slow
def test_picture_of_the_export(run, tmp_path):
    """Of runs that were not converted, exports are asked by default (test_exporting and its neighbours)."""
    run_dir, _, label, _, synthesized = run
    folder = export(ExportOptions(checkpoint_dir=run_dir, export_dir=str(tmp_path / "exports")))
    serve = tf.saved_model.load(folder).signatures["serving_default"]
    served = serve(label=tf.constant(label, tf.uint8), seed=tf.constant([0], tf.int64))["image"].numpy()[0]
    assert np.abs(served.astype(int) - synthesized).max() <= 1
