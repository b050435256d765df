"""Paths with a scheme, on TensorFlow's file system in memory (ram://, of one process), beside the same on disk."""

import dataclasses
import itertools
import os

import numpy as np
import pytest
import tensorflow as tf
from fixtures_data import write_folders
from helpers import shallow_networks, tiny_config
from test_generating import draw, run, run_dir  # noqa: F401  (fixtures)
from test_shards import equal_batches

from semantic_synthesis import files, load, storage
from semantic_synthesis.checkpoint_files import (
    CheckpointWriter,
    newest_checkpoint,
    open_checkpoint,
    remove_leftovers,
)
from semantic_synthesis.data import DataError, resolve
from semantic_synthesis.data.pairing import find_files
from semantic_synthesis.evaluation import GenerateOptions, generating, manifest
from semantic_synthesis.methods import make_config

NUMBERS = itertools.count()


@pytest.fixture
def ram():
    """A folder of its own in memory."""
    return f"ram://bucket-{next(NUMBERS)}/inner"


def upload(folder, where):
    """All files of a folder of this machine."""
    storage.send_folder(str(folder), where)
    return where


@pytest.mark.parametrize("where", ["disk", "ram"])
def test_both_kinds_answer_alike(where, tmp_path, ram):
    root = str(tmp_path / "inner") if where == "disk" else ram
    path = os.path.join(root, "a", "b.txt")
    files.write_bytes(path, b"first\nsecond\n")
    files.write_json(os.path.join(root, "c.json"), {"x": [1]})
    assert storage.exists(path) and storage.is_file(path) and not storage.is_folder(path)
    assert storage.is_folder(root) and not storage.is_file(root) and not storage.exists(path + "x")
    assert sorted(storage.names_in(root)) == ["a", "c.json"]
    assert [(storage.below(f, root), sorted(d), sorted(n)) for f, d, n in storage.walk(root)] == [
        (".", ["a"], ["c.json"]),
        ("a", [], ["b.txt"]),
    ]
    assert storage.read(path) == b"first\nsecond\n" and storage.read(path, 3, 4) == b"st\ns"
    assert [line.strip() for line in storage.lines(path)] == [b"first", b"second"]
    assert files.read_json(os.path.join(root, "c.json"), "") == {"x": [1]}
    assert storage.size_and_time(path)[0] == 13
    before = files.file_sha256(path)
    files.write_bytes(path, b"other")
    assert storage.read(path) == b"other" and files.file_sha256(path) != before
    with files.folder_beside(os.path.join(root, "whole")) as part:
        (part / "x").mkdir()
        (part / "x" / "y").write_text("z")
    assert storage.read(os.path.join(root, "whole", "x", "y")) == b"z"
    with pytest.raises(ZeroDivisionError), files.written_beside(os.path.join(root, "never")) as part:
        open(part, "w").close()
        raise ZeroDivisionError
    assert sorted(storage.names_in(root)) == ["a", "c.json", "whole"]
    storage.remove(path)
    assert not storage.exists(path)
    with pytest.raises(FileNotFoundError):
        storage.read(path)


@pytest.mark.parametrize("pattern, stems", [("x/{stem}.*", {"0"}), ("x/**/{stem}.*", {"0", "old/1"})])
@pytest.mark.parametrize("where", ["disk", "ram"])
def test_patterns_name_the_same_files_everywhere(where, pattern, stems, tmp_path, ram):
    root = str(tmp_path) if where == "disk" else ram
    for name in ("x/0.png", "x/old/1.png", "x/.hidden/2.png"):
        path = f"{root}/{name}"
        storage.make_folder(os.path.dirname(path))
        with tf.io.gfile.GFile(path, "wb") as file:
            file.write(b"1")
    assert set(find_files(root, pattern)) == stems


def test_plain_paths_stay_with_python(monkeypatch):
    monkeypatch.setattr(storage, "_gfile", lambda: 1 / 0)
    assert storage.exists("/") and not storage.is_remote("C://x"[:2]) and storage.names_in("/")
    assert storage.normal("a//b/../c") == "a/c" and storage.normal("gs://a//b/../c") == "gs://a/c"
    assert storage.absolute("gs://a/b/") == "gs://a/b"


def test_the_file_that_counts_is_sent_last(tmp_path, ram, monkeypatch):
    for name in ("config.json", "a.bin", "z.bin"):
        (tmp_path / name).write_text("x")
    sent, send = [], storage.send
    monkeypatch.setattr(storage, "send", lambda *a: (sent.append(os.path.basename(a[0])), send(*a)))
    upload(tmp_path, ram)
    assert sent == ["a.bin", "z.bin", "config.json"]


def test_shards_of_a_bucket_in_a_bucket(tmp_path, ram):
    images, labels = write_folders(tmp_path / "data", count=5)
    upload(tmp_path / "data", ram)
    there = {
        name: f"{ram}/{os.path.basename(path)}"
        for name, path in (("image_dir", images), ("label_dir", labels))
    }
    assert shards_of(f"{ram}/shards", there) == 0
    folder = resolve(make_config(image_dir=images, label_dir=labels, crop_size=16))
    for options in (there, {"dataset_mode": f"{ram}/shards/dataset.json"}):
        equal_batches(folder, resolve(make_config(**options, crop_size=16)), ("train",))


def shards_of(out, given):
    from semantic_synthesis.data import sharding

    return sharding.make_shards(sharding.ShardsOptions(out=out, **given, samples_per_shard=2))


def test_checkpoints_in_a_bucket(ram):
    value = tf.Variable(1.0)
    writer = CheckpointWriter(tf.train.Checkpoint(v=value), ram, 2)
    for number in (1, 2, 3):
        value.assign(number)
        writer.save(number)
    assert newest_checkpoint(ram) == f"{ram}/ckpt-3" and newest_checkpoint(ram + "-none") is None
    assert not any(name.startswith("ckpt-1") for name in storage.names_in(ram))
    value.assign(0)
    tf.train.Checkpoint(v=value).read(f"{ram}/ckpt-3").assert_existing_objects_matched()
    assert (
        value.numpy() == 3
        and "v/.ATTRIBUTES/VARIABLE_VALUE" in open_checkpoint(f"{ram}/ckpt-2").get_variable_to_shape_map()
    )
    storage.remove(f"{ram}/ckpt-3.sha256")  # killed before its end
    assert newest_checkpoint(ram) == f"{ram}/ckpt-3"  # the list knows it
    storage.remove(f"{ram}/checkpoint")
    assert newest_checkpoint(ram) == f"{ram}/ckpt-2"
    remove_leftovers(ram)
    assert not any(name.startswith("ckpt-3") for name in storage.names_in(ram))
    files.write_bytes(f"{ram}/ckpt-2.index", b"x")
    with pytest.raises(ValueError, match=r"ckpt-2: damaged checkpoint \(checksum"):
        newest_checkpoint(ram)


@pytest.mark.slow
def test_a_training_in_a_bucket_is_that_on_disk(tmp_path, ram):
    """Begun, ended, resumed: the same weights; then a run to make pictures of."""
    from semantic_synthesis import train

    options = {
        "crop_size": 16,
        "total_steps": 4,
        "save_model_freq": 2,
        "print_info_freq": 2,
        "save_img_freq": 2,
    }
    states = {}
    with shallow_networks():
        for where in (str(tmp_path / "run"), ram):
            given = dataclasses.asdict(tiny_config(where, **options, ema_decay=0.9))
            given = {k: v for k, v in given.items() if v is not None and k != "class_table"}
            assert train.train({**given, "total_steps": 2}) == 0
            assert train.train(given) == 0
            reader = open_checkpoint(f"{where}/ckpt-4")
            states[where] = {
                n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map() if n[0] != "_"
            }
        one, other = states.values()
        assert one.keys() == other.keys() and len(one) > 50
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
        assert {"config.json", "checkpoint", "ckpt-4.sha256", "logs", "samples"} <= set(storage.names_in(ram))
        pictures = [load(where).paint(np.zeros([16, 16], np.int32)) for where in states]
    np.testing.assert_array_equal(*pictures)


@pytest.fixture
def bucket(run_dir, tmp_path, ram):  # noqa: F811
    """(options of generate on disk, the same in memory): run and maps a, b, in/c."""
    draw(tmp_path / "maps", "a", "b", "in/c")
    on_disk = GenerateOptions(
        run_dir, str(tmp_path / "maps"), results_dir=str(tmp_path / "out"), batch_size=2
    )
    there = dataclasses.replace(
        on_disk,
        checkpoint_dir=upload(run_dir, f"{ram}/run"),
        label_dir=upload(tmp_path / "maps", f"{ram}/maps"),
        results_dir=f"{ram}/out",
    )
    return on_disk, there


def contents(folder):
    return {
        storage.below(os.path.join(root, name), folder): storage.read(os.path.join(root, name))
        for root, _, names in storage.walk(folder)
        for name in names
        if name.endswith(".png")
    }


def test_generate_in_a_bucket_makes_what_it_makes_on_disk(bucket, monkeypatch):
    """And goes on there: what has a line stays, what has none is made again, what is not ours ends it."""
    on_disk, there = bucket
    with shallow_networks():
        assert generating.generate(on_disk) == generating.generate(there) == 0
        whole = contents(on_disk.results_dir)
        assert contents(there.results_dir) == whole and len(whole) == 3
        lines = [manifest.Manifest(one.results_dir, {}, overwrite=True).lines for one in (on_disk, there)]
        assert lines[0] == lines[1]
        monkeypatch.setattr(generating, "write_bytes", lambda *_: 1 / 0)
        assert generating.generate(there) == 0  # nothing left to do
        monkeypatch.undo()
        pieces = [n for n in storage.names_in(there.results_dir) if manifest.PIECES.fullmatch(n)]
        assert len(pieces) == 1
        storage.remove(f"{there.results_dir}/{pieces[0]}")
        storage.remove(f"{there.results_dir}/b.png")
        assert generating.generate(there) == 0 and contents(there.results_dir) == whole
        files.write_bytes(f"{there.results_dir}-2/a.png", b"a photo")
        with pytest.raises(ValueError, match=r"a\.png: is there already"):
            generating.generate(dataclasses.replace(there, results_dir=f"{there.results_dir}-2"))


def test_one_picture_in_a_bucket(bucket):
    from semantic_synthesis import one_picture

    on_disk, there = bucket
    with shallow_networks():
        for one in (on_disk, there):
            options = one_picture.OneOptions(
                checkpoint_dir=one.checkpoint_dir,
                label_filename=f"{one.label_dir}/a.png",
                results_dir=one.results_dir,
            )
            assert one_picture.COMMAND.run(options) == 0
        found = contents(there.results_dir)
        assert found == contents(on_disk.results_dir) and len(found) >= 1


@pytest.mark.parametrize("name", ["checkpoint_dir", "label_dir", "results_dir"])
def test_a_bucket_that_is_not_there_is_one_line(name, bucket):
    _, there = bucket
    missing = [f"zz://{name}/x"] + ([f"ram://never/{name}"] if name != "results_dir" else [])
    with shallow_networks():
        for path in missing:
            with pytest.raises((ValueError, OSError)) as error:
                generating.generate(dataclasses.replace(there, **{name: path}))
            text = str(error.value)
            assert path in text and "\n" not in text


def test_a_bucket_that_cannot_be_written_is_one_line(bucket, monkeypatch, tmp_path):
    _, there = bucket

    def refused(*_args, **_options):
        raise tf.errors.PermissionDeniedError(None, None, "403 Forbidden\nmore of it")

    images, labels = write_folders(tmp_path / "data", count=2)
    with shallow_networks():
        monkeypatch.setattr(tf.io.gfile, "copy", refused)
        with pytest.raises(OSError, match=r"generate\.json: cannot be written \(403 Forbidden\)"):
            generating.generate(dataclasses.replace(there, checkpoint_dir=bucket[0].checkpoint_dir))
    with pytest.raises(OSError, match=r"tfrecord: cannot be written \(403 Forbidden\)"):
        shards_of(f"{there.results_dir}/s", {"image_dir": images, "label_dir": labels})
    with pytest.raises(OSError, match=r"ckpt-1: cannot be written \(403 Forbidden\)"):
        CheckpointWriter(tf.train.Checkpoint(v=tf.Variable(1.0)), f"{there.results_dir}/r", 2).save(1)


def test_datasets_that_are_not_there(ram):
    for options in (
        {"image_dir": f"{ram}/i", "label_dir": f"{ram}/l"},
        {"dataset_mode": f"{ram}/dataset.json"},
        {"dataset_mode": "coco", "dataroot": f"{ram}/coco"},
        {"dataset_mode": "zz://x/dataset.json"},
    ):
        with pytest.raises((DataError, OSError)) as error:
            resolve(make_config(**options))
        assert "://" in str(error.value) and "\n" not in str(error.value)
