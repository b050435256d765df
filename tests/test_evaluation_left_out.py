"""Pictures that an evaluation does not see are named."""

import pytest
from fixtures_data import label_map, photo, write_json, write_picture
from helpers import random_arrays, shallow_networks, tiny_config
from test_evaluation_folders import MeanColour

from semantic_synthesis import runs
from semantic_synthesis.evaluation import EvaluateOptions, GenerateOptions, evaluating, streams, tables
from semantic_synthesis.evaluation.during_training import TrainEval
from semantic_synthesis.evaluation.evaluating import score
from semantic_synthesis.evaluation.generating import generate
from semantic_synthesis.methods import make_config


@pytest.fixture(autouse=True)
def light_networks(monkeypatch):
    monkeypatch.setattr(evaluating, "InceptionFeatures", MeanColour)


def test_files_beside_the_pictures(tmp_path, caplog):
    for side in ("fake", "real"):
        for n in range(3):
            write_picture(tmp_path / side / f"{n}.png", photo(seed=n))
    (tmp_path / "fake" / "generate.json").write_text("{}")  # its own record
    (tmp_path / "real" / "a.heic").write_bytes(b"x")
    write_picture(tmp_path / "real" / ".ipynb_checkpoints" / "1.png", photo())
    options = EvaluateOptions(fake_dir=str(tmp_path / "fake"), real_dir=str(tmp_path / "real"), metrics="fid")
    (figure,) = score(options)
    names = [".ipynb_checkpoints/1.png", "a.heic"]
    assert figure["left out"] == {"real_dir: they are no pictures or hidden": names}
    (said,) = [message for message in caplog.messages if ": 2 left out" in message]
    assert (
        said
        == f"--real_dir {tmp_path}/real: 2 left out, as they are no pictures or hidden: {', '.join(names)}"
    )
    (tmp_path / "real" / "a.heic").unlink()
    (tmp_path / "real" / ".ipynb_checkpoints" / "1.png").unlink()
    assert "left out" not in score(options)[0]


def test_layouts_without_picture_and_real_pictures_without_layout(tmp_path, caplog):
    for n in range(4):
        write_picture(tmp_path / "labels" / f"{n}.png", label_map((0, 1)))
    for name in ("0_0", "0_1", "1_0", "1_1", "3"):
        write_picture(tmp_path / "fake" / f"{name}.png", photo())
    for name in ("0", "1", "9"):
        write_picture(tmp_path / "real" / f"{name}.png", photo())
    folders = {
        f"{kind}_dir": str(tmp_path / folder)
        for kind, folder in (("fake", "fake"), ("real", "real"), ("label", "labels"))
    }
    stream = streams.FolderStream(EvaluateOptions(dataset_mode="scenes", **folders))
    stream.feed([])
    assert stream.protocol()["left out"] == {
        "label_dir: no picture has their names": [f"{tmp_path}/labels/2.png"],
        "real_dir: these have no label map, so that no real picture is segmented": [f"{tmp_path}/real/9.png"],
    }
    assert len(caplog.messages) == 2


def test_layouts_beyond_max_images(tmp_path, caplog):
    for n in range(5):
        write_picture(tmp_path / "images" / f"{n}.png", photo(seed=n))
        write_picture(tmp_path / "labels" / f"{n}.png", label_map((0, 1), seed=n))
    (tmp_path / "labels" / "5.gif").write_bytes(b"GIF89a")
    split = {"train": {"image": "images/{stem}.png", "label": "labels/{stem}.png"}, "val": "train"}
    classes = [{"id": 0}, {"id": 1}]
    mode = write_json(tmp_path / "a.json", {"classes": classes, "dataroot": ".", "splits": split})
    run_dir = str(tmp_path / "run")
    with shallow_networks():
        config = tiny_config(run_dir, dataset_mode=mode, crop_size=16)
        config.save(run_dir)
        runs.save_weights(run_dir, random_arrays(runs.build_method(config, training=False)))
        options = EvaluateOptions(checkpoint_dir=run_dir, max_images=3, metrics="fid")
        (figure,) = score(options)
        assert figure["images"] == 3
        assert figure["left out"] == [f"{tmp_path}/labels/3.png", f"{tmp_path}/labels/4.png"]
        assert "--max_images 3: 2 left out, as there are more layouts" in "".join(caplog.messages)
        caplog.clear()
        generate(GenerateOptions(run_dir, str(tmp_path / "labels"), results_dir=str(tmp_path / "out")))
    assert any(said.endswith("no pictures or hidden: 5.gif") for said in caplog.messages)


@pytest.mark.parametrize(
    "val, said", [("train", True), ({"image": "b/{stem}.*", "label": "c/{stem}.*"}, False)]
)
def test_a_split_that_is_the_training_set_is_named(val, said, tmp_path, caplog):
    train = {"image": "a/{stem}.*", "label": "c/{stem}.*"}
    classes = [{"id": i, "name": f"class {i}"} for i in range(2)]
    write_json(
        tmp_path / "town.json", {"name": "town", "classes": classes, "splits": {"train": train, "val": val}}
    )
    streams.say_if_training(make_config(dataset_mode=str(tmp_path / "town.json")), "val")
    assert ("split val of" in caplog.text and "is the training set" in caplog.text) == said


def test_folders_of_ones_own_are_one_split(tmp_path, caplog):
    """Before and during a training: nothing of them is held out."""
    for n in range(2):
        write_picture(tmp_path / "images" / f"{n}.png", photo(32, 32, seed=n))
        write_picture(tmp_path / "labels" / f"{n}.png", label_map([0, 1], 32, 32))
    folders = {"image_dir": str(tmp_path / "images"), "label_dir": str(tmp_path / "labels")}
    config = tiny_config(tmp_path / "run", dataset_mode="custom", crop_size=16, **folders)
    with shallow_networks():
        TrainEval(config, EvaluateOptions(metrics="fid"))
    assert "split val of custom is the training set" in caplog.text
    caplog.clear()
    streams.say_if_training(tiny_config(tmp_path / "run"), "val")
    assert not caplog.text


@pytest.mark.parametrize(
    "options, needs",
    [
        ({}, "--segmenter FILE (a SavedModel folder or .onnx file of your classes) and layouts: "),
        ({"segmenter": "red"}, "miou needs layouts: --checkpoint_dir, or --label_dir with --dataset_mode;"),
    ],
)
def test_miou_says_what_it_needs(options, needs):
    with pytest.raises(ValueError) as caught:
        evaluating.make_metrics(EvaluateOptions(metrics="miou", **options), False, None)
    assert needs in str(caught.value)


def test_tables_for_terminals_are_narrow():
    rows = [
        {"metric": name, "value": 2.5, "size": "128x128", "sha256": "0" * 12, "split": "w " * 60}
        for name in "ab"
    ]
    lines = tables.fitted_table(rows, "metric", "value").splitlines()
    assert lines[:4] == ["| metric | value |", "|---|---|", "| a | 2.5 |", "| b | 2.5 |"]
    assert (
        lines[5].startswith("size: 128x128; sha256: 000000000000; split: w w") and max(map(len, lines)) <= 80
    )
