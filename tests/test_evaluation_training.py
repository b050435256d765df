"""Evaluation during training: averaged weights count, the best run is kept, a resume goes on."""

import json

import numpy as np
import pytest
from helpers import shallow_networks, tiny_config

from semantic_synthesis import runs
from semantic_synthesis.data import ClassTable
from semantic_synthesis.evaluation import EvaluateOptions, evaluating
from semantic_synthesis.evaluation.during_training import TrainEval
from semantic_synthesis.layers.naming import named_variables


class Colours:
    """Feature network of 3 numbers: the mean colour."""

    name, sha256, resize, dims = "mean colour", "0", "none", 3

    def __init__(self, *_):
        pass

    def __call__(self, pictures):
        return pictures.mean((1, 2)) / 255


def test_metrics_come_in_the_order_asked_for(monkeypatch):
    """The first one decides what best/ keeps."""
    monkeypatch.setattr(evaluating, "InceptionFeatures", Colours)
    monkeypatch.setattr(evaluating, "load_judge", Colours)
    monkeypatch.setattr(evaluating, "open_segmenter", lambda *_: Colours())
    table = ClassTable.create("two", [0, 1], ["a", "b"])
    for asked in ("miou,judge", "judge,miou", "judge,kid,miou"):
        made = evaluating.make_metrics(EvaluateOptions(metrics=asked), True, table)
        kinds = ["miou" if hasattr(m, "confusion") else "judge" if "judge" in m.name else "kid" for m in made]
        assert kinds == asked.split(",")
    (first, _) = evaluating.make_metrics(EvaluateOptions(), True, table)
    assert hasattr(first, "confusion")
    pictures = np.random.default_rng(0).integers(0, 256, (2, 4, 8, 8, 3), np.uint8)
    for asked in ("fid,kid", "kid,fid"):  # one object, whose figures come in that order
        (both,) = evaluating.make_metrics(EvaluateOptions(metrics=asked), False, table)
        both.add_real(pictures[0], 0)
        both.add_fake(pictures[1], 0)
        assert [figure["metric"] for figure in both.figures()] == asked.split(",")


def test_a_single_layout_is_refused_before_the_training(monkeypatch, tmp_path):
    monkeypatch.setattr(evaluating, "InceptionFeatures", Colours)
    with pytest.raises(
        ValueError, match=r"^--eval_metrics: fid compares .* at least 2 .* found 1 .--eval_images 1.$"
    ):
        TrainEval(tiny_config(tmp_path), EvaluateOptions(metrics="fid", max_images=1))


def test_the_best_weights_are_kept_and_averages_count(monkeypatch, tmp_path):
    monkeypatch.setattr(evaluating, "InceptionFeatures", Colours)
    options = EvaluateOptions(metrics="fid", max_images=4, batch_size=2)
    with shallow_networks():
        config = tiny_config(tmp_path, crop_size=16, use_vae=True)
        method = runs.build_method(config)
        last = named_variables(method)
        bias, kernel = (last[f"generator/conv_img/{name}"] for name in ("bias", "kernel"))
        kernel.assign(kernel.value * 0.01)  # nearly grey pictures
        score = TrainEval(config, options, every=2)
        first = score(10, method)["fid"]
        assert score(10, method)["fid"] == first  # nothing random in it
        bias.assign(bias.value + 3.0)  # nearly white pictures
        worse = score(20, method)["fid"]
        record = json.loads((tmp_path / "best" / "best.json").read_text())
        assert worse > first and record["step"] == 10 and record["value"] == first
        average = {"generator/conv_img/bias": bias.value - 3.0}
        assert score(30, method, average)["fid"] == pytest.approx(first, rel=1e-3)
        resumed = TrainEval(config, options, every=2)
        assert resumed(40, method)["fid"] == worse
        assert json.loads((tmp_path / "best" / "best.json").read_text())["step"] in (10, 30)
        best = runs.open_run(str(tmp_path / "best"))[1]
        (tmp_path / "best" / "best.json").write_text("{}")
        with pytest.raises(ValueError, match=r"best\.json: no record of a best run; delete it"):
            resumed(50, method)
    kept = named_variables(best)["generator/conv_img/bias"].numpy()
    np.testing.assert_allclose(kept, bias.numpy() - 3.0, atol=1e-5)
    assert [step for step in range(1, 31) if score.is_due(step, 5)] == [10, 20, 30]
    assert [step for step in range(1, 16) if score.is_due(step, 2.5)] == [5, 10, 15]


def test_a_kill_between_the_best_weights_and_their_record(monkeypatch, tmp_path):
    """Newer weights lie beside the older record then, whose figure is not theirs: the next ones are kept."""
    monkeypatch.setattr(evaluating, "InceptionFeatures", Colours)
    options, record = (
        EvaluateOptions(metrics="fid", max_images=4, batch_size=2),
        tmp_path / "best" / "best.json",
    )
    with shallow_networks():
        config = tiny_config(tmp_path, crop_size=16)
        score = TrainEval(config, options)
        for figure in (0.5, 0.7):  # the second is worse and leaves all as it is
            score._keep_best(10, {"fid": figure})
        assert json.loads(record.read_text())["value"] == 0.5
        first = record.read_text()
        named_variables(score.method)["generator/conv_img/bias"].assign([1.0, 2.0, 3.0])
        score._keep_best(20, {"fid": 0.3})
        record.write_text(first)
        resumed = TrainEval(config, options)
        for figure in (0.6, 0.8):
            resumed._keep_best(30, {"fid": figure})
        assert json.loads(record.read_text())["value"] == 0.6
        old = json.loads(record.read_text())
        del old["sha256"]
        record.write_text(json.dumps({**old, "value": 0.1}))  # by an older version: taken at its word
        TrainEval(config, options)._keep_best(40, {"fid": 0.2})
        assert json.loads(record.read_text())["value"] == 0.1
