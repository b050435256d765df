"""Segmenters and what they are read for: confusion, the classes that count, SavedModels, ONNX, the judge that ships."""

import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from semantic_synthesis.data import ClassTable
from semantic_synthesis.data.scenes import CLASSES, render_scene
from semantic_synthesis.evaluation import judge
from semantic_synthesis.evaluation.metrics import SegmentationMetric
from semantic_synthesis.evaluation.segmentation import Confusion, open_segmenter, score_batch


def test_confusion_of_a_small_case():
    confusion = Confusion(4, ignore=3)
    label = np.array([[0, 0, 1, 1, 3]])
    confusion.update(label, np.array([[0, 1, 1, 7, 0]]))
    assert confusion.pixel_accuracy == 0.5
    np.testing.assert_allclose(confusion.class_iou[:2], [1 / 2, 1 / 3])
    assert np.isnan(confusion.class_iou[2]) and np.isnan(confusion.class_iou[3])
    assert confusion.mean_iou == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_classes_that_count():
    """As on Cityscapes, where 19 of 35 count: pixels of the others are left out, whatever is seen there."""

    class Right:
        name = resize = sha256 = "right"

        def classes(self, pictures):
            return pictures[..., 0]

    label = np.array([[[0, 1, 2, 3]]])
    pictures = np.array([[[0, 1, 1, 1]]], np.uint8)[..., None]  # right on classes 0 and 1 alone
    table = ClassTable.create("four", range(4), ["sky", "road", "car", "void"], unknown=3)
    values = {}
    for counted in ((), ("sky", "road"), ("road", "car")):
        metric = SegmentationMetric(Right(), table, counted)
        metric.add_fake(pictures, 0, label)
        values[counted] = {figure["metric"]: figure["value"] for figure in metric.figures()}
    assert values["sky", "road"] == {"miou": 1.0, "pixel accuracy": 1.0}
    assert values["road", "car"] == {"miou": pytest.approx((1 / 2 + 0) / 2), "pixel accuracy": 0.5}
    assert values[()] == {"miou": pytest.approx((1 + 1 / 2 + 0) / 3), "pixel accuracy": pytest.approx(2 / 3)}
    with pytest.raises(
        ValueError, match="--miou_classes sky,sea: no class is called 'sea'; expected some of sky"
    ):
        SegmentationMetric(Right(), table, ("sky", "sea"))


def save_segmenter(folder, size, scores):
    """A SavedModel that calls a pixel class 1 where its red is above 127."""

    class Segmenter(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, size, size, 3], tf.uint8, "photo")])
        def __call__(self, photo):
            red = tf.cast(photo[..., 0], tf.float32)
            if scores:
                return {"scores": tf.stack([127.5 - red, red - 127.5], -1)}
            return {"classes": tf.cast(red > 127.5, tf.int64)}

    module = Segmenter()
    tf.saved_model.save(module, str(folder), signatures=module.__call__)


@pytest.mark.parametrize("size,scores", [(None, True), (8, False)])
def test_saved_models_are_segmenters(tmp_path, size, scores):
    save_segmenter(tmp_path / "model", size, scores)
    segmenter = open_segmenter(str(tmp_path / "model"))
    label = np.zeros((2, 16, 16), np.int32)
    label[:, :8] = 1
    pictures = np.repeat((label * 255).astype(np.uint8)[..., None], 3, -1)
    confusion = Confusion(2)
    score_batch(confusion, segmenter, pictures, label)
    assert confusion.mean_iou == 1 and confusion.counts.sum() == label.size
    assert len(segmenter.sha256) == 64


def test_segmenters_that_do_not_fit_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="--segmenter"):
        open_segmenter(str(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="not a SavedModel"):
        open_segmenter(str(tmp_path / "empty"))
    module = tf.Module()
    module.run = tf.function(lambda x: {"y": x}, input_signature=[tf.TensorSpec([None, 3], tf.float32)])
    tf.saved_model.save(module, str(tmp_path / "other"), signatures=module.run)
    with pytest.raises(ValueError, match=r"expected uint8 or float32 \[N,H,W,3\]"):
        open_segmenter(str(tmp_path / "other"))


class FakeSession:
    """An onnxruntime session for pictures [N,3,8,8]: scores that say "class 1" where red is above 100."""

    def __init__(self, path, providers):
        self.path = path

    def get_inputs(self):
        return [types.SimpleNamespace(name="x", shape=["N", 3, 8, 8], type="tensor(float)")]

    def run(self, _, feed):
        red = feed["x"][:, 0]
        assert feed["x"].dtype == np.float32 and feed["x"].shape[1:] == (3, 8, 8)
        return [np.stack([red <= 100, red > 100], 1).astype(np.float32)]


def test_onnx_networks_are_segmenters(monkeypatch, tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"any")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match="needs onnxruntime"):
        open_segmenter(str(tmp_path / "net.onnx"))
    monkeypatch.setitem(sys.modules, "onnxruntime", types.SimpleNamespace(InferenceSession=FakeSession))
    pictures = np.zeros((2, 16, 16, 3), np.uint8)
    pictures[0, :, 8:, 0] = 200
    found = open_segmenter(str(tmp_path / "net.onnx")).classes(pictures)
    assert found.shape == (2, 8, 8) and (found[0] == ([0] * 4 + [1] * 4)).all() and not found[1].any()


def test_the_shipped_judge_knows_the_scenes():
    """75.1 % mIoU on 200 held-out scenes (docs/evaluation.md); on 24 of them not less than 70."""
    shipped, confusion = judge.load_judge(), Confusion(len(CLASSES))
    for seed in range(10**6, 10**6 + 24):
        scene = render_scene(seed, 128, 128)
        score_batch(confusion, shipped, scene.image[None], scene.label[None])
    assert 0.70 < confusion.mean_iou < 0.85
