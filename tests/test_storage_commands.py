"""Every command that takes a path does in memory (ram://) what it does on disk."""

import dataclasses
import io
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from fixtures_data import photo, write_folders, write_picture
from helpers import shallow_networks
from test_evaluation_folders import MeanColour
from test_generating import run, run_dir  # noqa: F401  (fixtures)
from test_rarity import COUNT, SHARES, write_rarity
from test_shards import equal_batches
from test_sims_bank import config as sims_config
from test_storage import contents, ram, upload  # noqa: F401  (fixtures)

from semantic_synthesis import convert, data, describing, load, publishing, restyling, storage
from semantic_synthesis.data import prepare
from semantic_synthesis.evaluation import EvaluateOptions, evaluating
from semantic_synthesis.evaluation.segmentation import open_segmenter
from semantic_synthesis.methods import make_config
from semantic_synthesis.methods.sims import building, opening
from semantic_synthesis.serving.export import ExportOptions, export
from semantic_synthesis.serving.files import models


def do(name, **values):
    command = prepare.COMMANDS[name.removeprefix("prepare ")]
    return command.run(command.options(**values))


def everything(folder):
    return {
        storage.below(os.path.join(root, name), folder): storage.read(os.path.join(root, name))
        for root, _, names in storage.walk(folder)
        for name in names
    }


def test_copies_for_libraries(ram):  # noqa: F811
    for name in ("model-3.index", "model-3.data-0", "model-30.index", "folder/a/b"):
        storage.send(__file__, f"{ram}/{name}")
    with storage.brought(f"{ram}/model-3") as here:
        assert sorted(os.listdir(os.path.dirname(here))) == ["model-3.data-0", "model-3.index"]
    with storage.brought(f"{ram}/folder/") as here:
        assert os.path.isfile(f"{here}/a/b")
    assert not os.path.exists(here)
    with (
        pytest.raises(ValueError, match=rf"^{ram}/none: no such"),
        storage.brought(f"{ram}/none") as here,
    ):
        raise ValueError(f"{here}: no such file")
    with storage.returned(f"{ram}/folder") as here:
        (open(f"{here}/c", "w")).close()
    assert sorted(storage.names_in(f"{ram}/folder")) == ["a", "c"]
    kept = storage.kept_here(f"{ram}/folder")
    assert storage.kept_here(f"{ram}/folder") == kept and sorted(os.listdir(kept)) == ["a", "c"]


def test_describe_and_publish(run_dir, ram, capsys):  # noqa: F811
    there = upload(run_dir, f"{ram}/run")
    with shallow_networks():
        for path in (run_dir, there):
            describing.describe(describing.DescribeOptions(path))
        mine, its = capsys.readouterr().out.split(f"{there}: ")
        assert mine.split(": ", 1)[1] == its
        for kind in ("npz", "safetensors"):
            small = f"{ram}/{kind}"
            options = publishing.PublishOptions(there, small, "float32", kind)
            assert publishing.publish(options) == 0
            label = np.zeros([16, 16], np.int32)
            np.testing.assert_array_equal(load(small).paint(label), load(run_dir).paint(label))
            with pytest.raises(ValueError, match=rf"{small}: exists already"):
                publishing.publish(options)


def test_convert(tmp_path, ram):  # noqa: F811
    pytest.importorskip("torch", reason="reading .pth files needs PyTorch (pip install torch)")
    from test_conversion import GOLDEN, converted

    on_disk, _ = converted("spade_plain", tmp_path / "run")
    source = upload(GOLDEN / "spade_plain", f"{ram}/files")
    given = json.loads(storage.read(f"{on_disk}/config.json"))
    kept = ("method", "dataset_mode", "crop_size", "aspect_ratio", "no_instance", "num_upsampling_layers")
    flags = {name: given[name] for name in kept}
    options = convert.ConvertOptions(source=f"{source}/net_G.pth", checkpoint_dir=f"{ram}/run", **flags)
    assert convert.convert(options) == f"{ram}/run"
    mine, its = (np.load(io.BytesIO(storage.read(f"{p}/weights.npz"))) for p in (on_disk, f"{ram}/run"))
    assert mine.files == its.files
    for name in mine.files:
        np.testing.assert_array_equal(mine[name], its[name])
    with pytest.raises(ValueError, match=rf"^{ram}/run: exists already"):
        convert.convert(options)
    broken = dataclasses.replace(options, source=f"{ram}/broken.pth", checkpoint_dir=f"{ram}/other")
    upload_text(broken.source, "no network")
    with pytest.raises(ValueError, match=rf"^{ram}/broken\.pth: no PyTorch checkpoint"):
        convert.convert(broken)
    with pytest.raises(OSError, match=rf"^{ram}/none\.pth: no such file"):
        convert.convert(dataclasses.replace(broken, source=f"{ram}/none.pth"))


def upload_text(path, text):
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(text)


def test_export_and_its_models(run_dir, ram):  # noqa: F811
    there = upload(run_dir, f"{ram}/run")
    with shallow_networks():
        place = export(ExportOptions(checkpoint_dir=there, export_dir=f"{ram}/exports"))
    assert place == f"{ram}/exports/run/1" and models(f"{ram}/exports") == {"run": [1]}
    assert b'name: "run"' in storage.read(f"{ram}/exports/models.config")
    label = np.zeros([1, 16, 16], np.uint8)
    signature = tf.saved_model.load(place).signatures["serving_default"]
    served = signature(label=tf.constant(label), seed=tf.constant([3], tf.int64))["image"][0].numpy()
    with shallow_networks():
        painted = load(run_dir).paint(label[0].astype(np.int32), seed=3)
    assert np.abs(served.astype(int) - painted).max() <= 1
    with pytest.raises(ValueError, match=rf"^{ram}/exports/run/1: exists already"):
        export(ExportOptions(checkpoint_dir=there, export_dir=f"{ram}/exports", version=1))
    from semantic_synthesis.serving.served_model import load_models

    assert load_models(f"{ram}/exports")["run"].version == 1


def test_evaluate(tmp_path, ram, monkeypatch):  # noqa: F811
    monkeypatch.setattr(evaluating, "InceptionFeatures", MeanColour)
    found = {}
    for side, shift in (("real", 0), ("fake", 7)):
        for i in range(4):
            write_picture(tmp_path / side / f"{i}.png", photo(16, 16, seed=i + shift))
    upload(tmp_path, ram)
    for root in (str(tmp_path), ram):
        options = EvaluateOptions(
            fake_dir=f"{root}/fake",
            real_dir=f"{root}/real",
            metrics="fid",
            save_real_stats=f"{root}/real.npz",
        )
        assert evaluating.evaluate(options) == 0
        again = dataclasses.replace(
            options,
            real_dir="",
            save_real_stats="",
            real_stats=f"{root}/real.npz",
            report=f"{root}/again.json",
        )
        assert evaluating.evaluate(again) == 0
        found[root] = [
            json.loads(storage.read(f"{root}/{name}"))["figures"][0]["value"]
            for name in ("fake_evaluation.json", "again.json")
        ]
        assert storage.read(f"{root}/again.md").startswith(b"|")
    assert found[str(tmp_path)] == found[ram] and found[ram][0] == pytest.approx(found[ram][1])
    with pytest.raises(OSError, match="no such file"):
        open_segmenter(f"{ram}/none.onnx")


def test_prepare_scenes_describe_and_instances(tmp_path, ram):  # noqa: F811
    for root in (str(tmp_path / "s"), f"{ram}/s"):
        assert do("prepare scenes", count=2, out=root, height=32, width=32, disparity=True) == 0
    assert everything(tmp_path / "s") == everything(f"{ram}/s")
    images, labels = write_folders(tmp_path / "own", count=2)
    upload(tmp_path / "own", f"{ram}/own")
    configs = []
    for root in (os.path.dirname(images), f"{ram}/own"):
        folders = {
            "image_dir": f"{root}/{os.path.basename(images)}",
            "label_dir": f"{root}/{os.path.basename(labels)}",
        }
        assert do("prepare describe", **folders, out=f"{root}/d.json") == 0
        assert do("prepare check", **folders, report=f"{root}/report.json") == 0
        configs.append(data.resolve(make_config(dataset_mode=f"{root}/d.json", crop_size=16)))
        assert storage.exists(f"{root}/report_palette.png")
    equal_batches(*configs, ("train",))


def test_prepare_celeba(tmp_path, ram):  # noqa: F811
    for number in range(3):
        for part, (start, end) in {"skin": (0, 300), "hair": (200, 400)}.items():
            mask = np.zeros((512, 512, 3), np.uint8)
            mask[start:end] = 255
            write_picture(tmp_path / "CelebAMask-HQ-mask-anno" / "0" / f"{number:05d}_{part}.png", mask)
    upload(tmp_path, ram)
    for root in (str(tmp_path), ram):
        assert do("prepare celeba", dataroot=root, test_count=1) == 0
    assert everything(tmp_path) == everything(ram)


def test_prepare_bank_and_runs_that_use_it(tmp_path, ram):  # noqa: F811
    settings = sims_config()
    for folder in (str(tmp_path / "bank"), f"{ram}/bank"):
        building.build_bank(settings, folder)
    mine, its = everything(tmp_path / "bank"), everything(f"{ram}/bank")
    assert mine.keys() == {*its, ".lock"} and mine["index.json"] == its["index.json"]
    building.build_bank(settings, f"{ram}/bank")  # goes on: all is there
    assert everything(f"{ram}/bank") == its
    given = settings.replace(bank_dir=f"{ram}/bank", checkpoint_dir=f"{ram}/run")
    bank, _ = opening.open_bank(given, training=True)
    record = json.loads(storage.read(f"{ram}/run/bank.json"))
    assert record["path"] == f"{ram}/bank"
    other, _ = opening.open_bank(settings.replace(bank_dir=str(tmp_path / "bank")), training=False)
    np.testing.assert_array_equal(bank.picture(1), other.picture(1))
    with pytest.raises(OSError, match=rf"^{ram}/none: the run's memory is not here"):
        opening.open_bank(settings.replace(bank_dir=f"{ram}/none", checkpoint_dir=""), training=False)


def test_rarity(tmp_path, ram):  # noqa: F811
    images, labels = write_folders(tmp_path, count=COUNT)
    masks = np.ones((COUNT, 24, 32, 1), np.float32)
    folder = write_rarity(tmp_path / "rarity", SHARES, masks)
    plain = data.resolve(make_config(image_dir=images, label_dir=labels, crop_size=16))
    batches = [
        next(iter(data.open_dataset(plain.replace(rarity_dir=place)).batches(4)))
        for place in (folder, upload(folder, f"{ram}/rarity"))
    ]
    for name, values in batches[0].items():
        np.testing.assert_array_equal(values, batches[1][name])
    with pytest.raises(OSError, match=rf"--rarity_dir {ram}/none: no such folder"):
        data.open_dataset(plain.replace(rarity_dir=f"{ram}/none"))


def test_photos_of_restyling(ram):  # noqa: F811
    upload_text(f"{ram}/a,b.jpg", "x")
    assert restyling.split_photo(f"{ram}/a,b.jpg") == (f"{ram}/a,b.jpg", "")
    assert restyling.split_photo(f"{ram}/a.jpg,{ram}/b.png") == (f"{ram}/a.jpg", f"{ram}/b.png")


def test_every_command_is_here():
    """A new command that takes a path needs a line here: where it is tried in memory."""
    from semantic_synthesis.__main__ import COMMANDS as ALL

    tried = {
        "one": "test_storage",
        "train": "test_storage",
        "generate": "test_storage",
        "prepare shards": "test_storage",
        "paint": "opens runs as `one`, exports as `serve`",
        "recipes": "reads files of the package alone",
        "prepare instances": "reads as `prepare describe`, writes as `prepare scenes`",
    }
    here = {"describe", "publish", "convert", "export", "serve", "evaluate", "prepare check", "prepare describe",
            "prepare celeba", "prepare scenes", "prepare bank"}  # fmt: skip
    assert set(ALL) == here | set(tried)
