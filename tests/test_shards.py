"""`prepare shards`: the same batches as the folder, resumed, verified, refused."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from fixtures_data import label_map, write_folders, write_picture
from test_data_pipeline import TREES, make_tree

from semantic_synthesis import files
from semantic_synthesis.data import DataError, open_dataset, pipeline, resolve, sharding
from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.methods import make_config


def shards(out, **options):
    assert sharding.make_shards(sharding.ShardsOptions(out=str(out), **options)) == 0
    return str(out / "dataset.json")


def equal_batches(folder, sharded, splits=("train", "val"), **how):
    """Whether two configs give the same batches, over two epochs of training and once in order."""
    for split in splits:
        one, other = (open_dataset(config, split, **how) for config in (folder, sharded))
        assert len(one.source) == len(other.source) and one.has_instances == other.has_instances
        steps = -(-2 * one.size // 3)
        pairs = [
            (one.batches(3).take(steps), other.batches(3).take(steps)),
            (one.batches(2, training=False), other.batches(2, training=False)),
        ]
        for left, right in pairs:
            left, right = list(left), list(right)
            assert len(left) == len(right) > 0
            for a, b in zip(left, right, strict=True):
                assert a.keys() == b.keys()
                for name in a:
                    np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize("mode", TREES)
def test_every_mode_has_equal_batches(mode, tmp_path):
    make_tree(tmp_path / "data", mode)
    root = str(tmp_path / "data")
    path = shards(
        tmp_path / "shards", dataset_mode=mode, dataroot=root, split="train,val", samples_per_shard=1
    )
    folder = resolve(make_config(dataset_mode=mode, dataroot=root))
    sharded = resolve(make_config(dataset_mode=path))
    for name in ("class_table", "crop_size", "img_width", "img_height", "aspect_ratio", "no_instance"):
        assert getattr(folder, name) == getattr(sharded, name)
    equal_batches(folder, sharded)


@pytest.fixture
def folders(tmp_path):
    images, labels = write_folders(tmp_path / "data", count=5)
    return {"image_dir": images, "label_dir": labels}


def test_own_folders_and_all_kinds_of_maps(tmp_path):
    for name in ("b", "a", "inner/c"):
        scene = render_scene(len(name), 40, 48)
        for kind in ("image", "label", "instance", "disparity"):
            write_picture(tmp_path / kind / f"{name}.png", getattr(scene, kind))
    given = {f"{kind}_dir": str(tmp_path / kind) for kind in ("image", "label", "instance", "disparity")}
    path = shards(tmp_path / "shards", **given, samples_per_shard=2)
    options = {"crop_size": 16, "max_dataset_size": 0}
    folder = resolve(make_config(method="sims", **given, **options))
    sharded = resolve(make_config(method="sims", dataset_mode=path, **options))
    for how in ({}, {"extra_maps": ("disparity",)}, {"instance_maps": "regions"}, {"instance_maps": None}):
        equal_batches(folder, sharded, ("train",), **how)
    limited = (config.replace(max_dataset_size=2, no_instance=True) for config in (folder, sharded))
    equal_batches(*limited, ("train",))
    dataset = open_dataset(sharded)
    assert [dataset.source.samples[i].stem for i in range(3)] == ["a", "b", "inner/c"]


def test_the_index_counts_classes_and_knows_checksums(folders, tmp_path):
    shards(tmp_path / "shards", **folders, samples_per_shard=2)
    index = json.loads((tmp_path / "shards" / "train.shards.json").read_text())
    assert index["samples"] == 5 and [shard["samples"] for shard in index["shards"]] == [2, 2, 1]
    for shard in index["shards"]:
        assert shard["sha256"] == files.file_sha256(tmp_path / "shards" / shard["file"])
    dataset = open_dataset(resolve(make_config(**folders, crop_size=16)))
    maps = [dataset.source.load(i)[1] for i in range(5)]
    pixels = np.bincount(np.concatenate([m.ravel() for m in maps]), minlength=dataset.table.num_classes)
    assert [entry["pixels"] for entry in index["classes"]] == pixels.tolist()
    assert max(entry["files"] for entry in index["classes"]) <= 5


def test_any_reader_of_tfrecords_reads_them(folders, tmp_path):
    import tensorflow as tf

    shards(tmp_path / "shards", **folders, samples_per_shard=2)
    paths = sorted(map(str, (tmp_path / "shards").glob("*.tfrecord")))
    examples = [tf.train.Example.FromString(r.numpy()) for r in tf.data.TFRecordDataset(paths)]
    stems = [e.features.feature["stem"].bytes_list.value[0].decode() for e in examples]
    content = examples[0].features.feature["image"].bytes_list.value[0]
    name = examples[0].features.feature["image_path"].bytes_list.value[0].decode()
    assert len(stems) == 5 and (tmp_path / "data" / name).read_bytes() == content


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.tfrecord")}


def test_it_goes_on(folders, tmp_path, monkeypatch):
    """A killed one leaves whole shards, which stay; files that changed are read again; other parts replace the old."""
    out, read = tmp_path / "shards", sharding._Job._record
    stems = sorted(os.listdir(folders["label_dir"]))

    def broken(self, sample):
        if stems[3].startswith(sample.stem):
            raise ZeroDivisionError
        return read(self, sample)

    with monkeypatch.context() as killed, pytest.raises(ZeroDivisionError):
        killed.setattr(sharding._Job, "_record", broken)
        shards(out, **folders, samples_per_shard=2)
    before = times(out)
    assert before and not (out / "dataset.json").exists() and "train-00001-of-00003.tfrecord" not in before
    path = shards(out, **folders, samples_per_shard=2)
    assert before.items() <= times(out).items() and len(times(out)) == 3
    whole = times(out)
    label = os.path.join(folders["label_dir"], stems[0])
    write_picture(label, label_map((0, 1, 2), seed=9))
    shards(out, **folders, samples_per_shard=2)
    assert {name for name, time in times(out).items() if time != whole[name]} == {
        "train-00000-of-00003.tfrecord"
    }
    shards(out, **folders, samples_per_shard=3)
    assert set(times(out)) == {"train-00000-of-00002.tfrecord", "train-00001-of-00002.tfrecord"}
    assert not list(out.glob("*-of-00003*"))
    equal_batches(
        resolve(make_config(**folders, crop_size=16)),
        resolve(make_config(dataset_mode=path, crop_size=16)),
        ("train",),
    )


def test_what_is_damaged_is_named(folders, tmp_path):
    path = shards(tmp_path / "shards", **folders)
    shard = tmp_path / "shards" / "train-00000-of-00001.tfrecord"
    config, whole = resolve(make_config(dataset_mode=path, crop_size=16)), shard.read_bytes()
    shard.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    with pytest.raises(DataError, match=r"00001\.tfrecord: damaged at byte 12 \(sample 0\); copy it again"):
        open_dataset(config).source.load(0)
    shard.write_bytes(whole[:-7])
    with pytest.raises(
        DataError, match=rf"{len(whole) - 7} bytes, expected {len(whole)}; copy it again to its end"
    ):
        open_dataset(config)
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=r"00001\.tfrecord: no such file; restore it"):
        open_dataset(config)
    (tmp_path / "shards" / "train.shards.json").write_text("{}")
    with pytest.raises(DataError, match=r"train\.shards\.json: no index of shards"):
        resolve(make_config(dataset_mode=path))


def test_mistakes_are_one_line(folders, tmp_path):
    wrong = os.path.join(folders["label_dir"], sorted(os.listdir(folders["label_dir"]))[1])
    good = Path(wrong).read_bytes()
    for content, text in ((b"x" * 90, "label map's format"), (None, "pixels, but")):
        if content:
            Path(wrong).write_bytes(content)
        else:
            write_picture(wrong, label_map((0, 1))[:5])
        with pytest.raises(DataError, match=text) as error:
            shards(tmp_path / "shards", **folders, semantic_label_path=ids_file(tmp_path))
        assert wrong in str(error.value) and "\n" not in str(error.value)
    Path(wrong).write_bytes(good)
    path = shards(tmp_path / "shards", **folders)
    for given, text in (
        ({"dataset_mode": "scenes"}, "scenes are rendered"),
        ({"dataset_mode": path}, "is made of shards"),
        ({**folders, "no_instance": False}, "asks for them"),
    ):
        with pytest.raises((DataError, FileNotFoundError), match=text):
            shards(tmp_path / "other", **given)
    with pytest.raises(DataError, match="these shards hold no instance maps"):
        open_dataset(resolve(make_config(dataset_mode=path)).replace(no_instance=False))
    write_picture(wrong, label_map((200, 201)))
    with pytest.raises(DataError, match="of a dataset of other classes or options"):
        shards(tmp_path / "shards", **folders)


def ids_file(folder):
    (folder / "ids.txt").write_text(",".join(map(str, range(256))))
    return str(folder / "ids.txt")


def test_a_worker_reads_its_own_rows_only(folders, monkeypatch):
    dataset = open_dataset(resolve(make_config(**folders, crop_size=16)))
    whole = list(dataset.batches(4).take(3))
    read, load = [], pipeline.Files.load
    monkeypatch.setattr(pipeline.Files, "load", lambda self, i: (read.append(i), load(self, i))[1])
    part = list(dataset.batches(4, share=(1, 2)).take(2))
    for batch, all_rows in zip(part, whole, strict=False):
        for name in batch:
            np.testing.assert_array_equal(batch[name], all_rows[name][2:])
    rows = [dataset.drawn(row) for step in range(8) for row in (4 * step + 2, 4 * step + 3)]
    assert sorted(read) == sorted(rows[: len(read)])
