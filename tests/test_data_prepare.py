"""The prepare commands, each on a small folder."""

import errno
import itertools
import json
import os

import cv2
import numpy as np
import pytest
from fixtures_data import encode_png, label_map, photo, write_folders, write_picture

from semantic_synthesis.data import (
    ClassTable,
    DataError,
    instances,
    open_dataset,
    prepare,
    read_instance,
    read_layout,
    resolve,
)
from semantic_synthesis.data.instances import class_ranks, connected_components, polygon_mask, run_length_mask
from semantic_synthesis.data.layouts import odd_objects
from semantic_synthesis.data.prepare import CELEBA_PARTS, COMMANDS
from semantic_synthesis.methods import make_config


def run(name, **options):
    """Runs a command and returns its exit code."""
    command = COMMANDS[name]
    return command.run(command.options(**options))


def test_check_good(tmp_path, capsys):
    images, labels = write_folders(tmp_path, ids=(0, 1, 255))
    report = tmp_path / "report" / "r.json"
    assert run("check", image_dir=images, label_dir=labels, report=str(report)) == 0
    values = json.loads(report.read_text())
    assert values["samples"] == 3 and values["sizes"] == {"32x24": 3} and values["problems"] == []
    assert [c["name"] for c in values["classes"]] == ["class 0", "class 1", "unknown"]
    assert sum(c["pixels"] for c in values["classes"]) == 3 * 24 * 32
    assert cv2.imread(str(report.with_name("r_palette.png"))) is not None
    assert "3 samples, 0 problems" in capsys.readouterr().out


def test_check_lists_every_problem(tmp_path, capsys):
    images, labels = write_folders(tmp_path, count=8)
    (tmp_path / "ids.txt").write_text("0,1,2")
    (tmp_path / "labels" / "0.png").unlink()
    (tmp_path / "labels" / "1.png").write_bytes(b"")
    write_picture(tmp_path / "labels" / "2.png", label_map([0, 200]))
    write_picture(tmp_path / "labels" / "3.png", label_map([0, 1], 10, 10))
    (tmp_path / "images" / "4.jpg").write_bytes(b"no photo")
    write_picture(tmp_path / "images" / "5.png", photo())
    (tmp_path / "labels" / "6.png").unlink()
    write_picture(tmp_path / "labels" / "6.jpg", photo())
    ids = str(tmp_path / "ids.txt")
    report = tmp_path / "r.json"
    code = run("check", image_dir=images, label_dir=labels, semantic_label_path=ids, report=str(report))
    assert code == 1
    files = [p["file"].removeprefix(f"{tmp_path}/") for p in json.loads(report.read_text())["problems"]]
    assert sorted(files) == [
        "images/0.jpg",
        "images/4.jpg",
        "images/5.png",
        "labels/1.png",
        "labels/2.png",
        "labels/3.png",
        "labels/6.jpg",
    ]
    assert "subtract" not in capsys.readouterr().out


def test_check_notices_photos_among_the_label_maps(tmp_path, capsys):
    images, labels = write_folders(tmp_path, ids=(0,))
    noise = np.random.default_rng(0).integers(0, 100, (24, 32), dtype=np.uint8)
    write_picture(tmp_path / "labels" / "1.png", noise)
    assert run("check", image_dir=images, label_dir=labels) == 0
    assert "like photos" in capsys.readouterr().out


def test_check_lists_every_file_of_swapped_folders(tmp_path, capsys):
    images, labels = write_folders(tmp_path)
    assert run("check", image_dir=labels, label_dir=images) == 1
    found = capsys.readouterr().out
    assert found.count("label map is a JPEG") == 3 and found.count("folders are not swapped") == 3


def test_check_reads_instance_maps(tmp_path, capsys):
    images, labels = write_folders(tmp_path)
    instances = tmp_path / "instances"
    own = connected_components(label_map((0, 1, 2), seed=0))
    write_picture(instances / "0.png", own.astype(np.uint8))
    write_picture(instances / "1.jpg", photo(24, 32))
    noise = np.random.default_rng(0).integers(1, 9, (24, 32), dtype=np.uint8)
    write_picture(instances / "2.png", noise)
    assert run("check", image_dir=images, label_dir=labels, instance_dir=str(instances)) == 1
    found = [line for line in capsys.readouterr().out.splitlines() if "instances/" in line]
    assert len(found) == 2
    assert "1.jpg: instance map is a JPEG" in found[0] and "RGB (r + 256 g" in found[0]
    assert "2.png: neighbouring pixels mostly belong to different objects" in found[1]


def test_objects_lie_within_classes():
    label = np.repeat([[0, 1, 2, 3]], 8, 0).repeat(8, 1)  # four stripes of 8 x 8 pixels
    own = np.where(label > 1, label + 5, 0)
    assert odd_objects(label, own) is None
    assert odd_objects(label, np.zeros_like(label)) is None
    assert odd_objects(label, np.roll(own, 1, 1)) is None  # an eighth of each object lies in the next class
    assert "only 75% of the objects' pixels" in odd_objects(label, np.roll(own, 2, 1))
    assert "different objects" in odd_objects(label, np.arange(256).reshape(8, 32))


def test_read_layout(tmp_path):
    table = ClassTable.create("three", [0, 1, 2])
    label = label_map((0, 1, 2))
    objects = connected_components(label).astype(np.uint8)
    for name, values in {"label": label, "objects": objects, "small": objects[:-1]}.items():
        write_picture(tmp_path / f"{name}.png", values)
    rows = np.repeat(np.arange(1, 25, dtype=np.uint8)[:, None], 32, 1)
    write_picture(tmp_path / "rows.png", rows)
    path = lambda name: str(tmp_path / f"{name}.png")  # noqa: E731
    found = read_layout(path("label"), table, path("objects"))
    np.testing.assert_array_equal(found, [label, objects])
    assert read_layout(path("label"), table)[1] is None
    with pytest.raises(DataError, match=r"small.png: 32x23 pixels, but .*label.png has 32x24"):
        read_layout(path("label"), table, path("small"))
    with pytest.raises(DataError, match=r"rows.png: only .* instance map of another"):
        read_layout(path("label"), table, path("rows"))


@pytest.mark.parametrize("form", ["ids", "palette", "colors"])
def test_describe_drafts_a_dataset_that_trains(form, tmp_path):
    images, labels = write_folders(tmp_path, ids=(0, 2, 255))
    colors = np.random.default_rng(1).permutation(256 * 3).reshape(256, 3) % 256
    if form != "ids":
        for n in range(3):
            ids = label_map([0, 2, 255], seed=n)
            if form == "palette":
                (tmp_path / "labels" / f"{n}.png").write_bytes(encode_png(ids, 3, 8, colors))
            else:
                write_picture(tmp_path / "labels" / f"{n}.png", colors[ids].astype(np.uint8))
    out = tmp_path / "about" / "town.json"
    assert run("describe", image_dir=images, label_dir=labels, out=str(out)) == 0
    with pytest.raises(DataError, match=r"town\.json: exists already"):
        run("describe", image_dir=images, label_dir=labels, out=str(out))
    config = resolve(make_config(dataset_mode=str(out), crop_size=16))
    dataset = open_dataset(config)
    assert dataset.table.num_classes == 3 and dataset.table.name == "town"
    assert dataset.table.unknown == (None if form == "colors" else 2)
    if form == "palette":
        assert dataset.table.colors[1].tolist() == colors[2].tolist()
    batch = next(iter(dataset.batches(3)))
    assert set(np.unique(batch["label"])) == {0, 1, 2}


def test_instances_for_own_folders(tmp_path):
    images, labels = write_folders(tmp_path)
    target = str(tmp_path / "instances")
    assert run("instances", image_dir=images, label_dir=labels, instance_dir=target) == 0
    config = resolve(make_config(image_dir=images, label_dir=labels, instance_dir=target, crop_size=16))
    batch = next(iter(open_dataset(config).batches(2)))
    assert batch["instance"].numpy().min() == 1
    expected = connected_components(label_map((0, 1, 2), seed=1))
    np.testing.assert_array_equal(read_instance(f"{target}/1.png"), expected)


def test_instances_replace_no_other_maps(tmp_path):
    images, labels = write_folders(tmp_path)
    target = tmp_path / "inst"
    options = {"image_dir": images, "label_dir": labels, "instance_dir": str(target)}
    assert run("instances", **options) == run("instances", **options) == 0  # the same again
    own = np.full((24, 32), 9, np.uint8)
    write_picture(target / "1.png", own)
    with pytest.raises(DataError, match=r"1\.png: another instance map is there; remove it, or give another"):
        run("instances", **options)
    np.testing.assert_array_equal(read_instance(target / "1.png"), own)


def test_more_instances_than_a_png_holds(tmp_path):
    """Four classes by turns along rows and columns: every pixel is a region of its own."""
    rows, columns = np.indices((260, 260)) % 2
    write_picture(tmp_path / "labels" / "a.png", (2 * rows + columns).astype(np.uint8))
    write_picture(tmp_path / "images" / "a.jpg", photo(260, 260))
    folders = {f"{kind}_dir": str(tmp_path / f"{kind}s") for kind in ("image", "label", "instance")}
    wrong = rf"^{tmp_path}/labels/a\.png: ids up to 67600 for its instances; expected at most 65535, .*: take it out"
    with pytest.raises(DataError, match=wrong):
        run("instances", **folders)


@pytest.mark.parametrize("name", ["check", "instances", "shards"])
def test_splits_that_are_none(name, tmp_path):
    images, labels = write_folders(tmp_path)
    options = {"out": str(tmp_path / "out")} if name == "shards" else {}
    options |= {"instance_dir": str(tmp_path / "inst")} if name == "instances" else {}
    options |= {"split": "train, vall" if name == "shards" else "vall"}
    with pytest.raises(DataError, match="no split 'vall'; expected one of train, val, test"):
        run(name, image_dir=images, label_dir=labels, **options)
    assert not (tmp_path / "out").exists()


def test_scenes_that_cannot_be_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match="height is 8"):
        run("scenes", out=str(tmp_path / "out"), count=1, height=8)
    assert not (tmp_path / "out").exists()


def test_scenes_on_a_full_disk(tmp_path, monkeypatch):
    """One line with the file's name; no part of it stays."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("semantic_synthesis.files.os.replace", full)
    with pytest.raises(
        OSError, match=r"\d{7}\.png: cannot be written \(No space left on device\); free space"
    ):
        run("scenes", out=str(tmp_path / "out"), count=3, height=32, width=32)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_instances_of_inade(tmp_path):
    for n in (1, 2):
        write_picture(tmp_path / f"images/training/ADE_train_{n}.jpg", photo(seed=n))
        write_picture(tmp_path / f"annotations/training/ADE_train_{n}.png", label_map([0, 5, 150], seed=n))
    assert run("instances", dataset_mode="ade20k", dataroot=str(tmp_path)) == 0
    written = read_instance(tmp_path / "instances/training/ADE_train_2.png")
    np.testing.assert_array_equal(written, class_ranks(label_map([0, 5, 150], seed=2)))
    config = resolve(make_config(dataset_mode="ade20k", dataroot=str(tmp_path), no_instance=False))
    assert open_dataset(config).has_instances


def test_instance_folder_of_a_named_dataset(tmp_path):
    """--instance_dir replaces the dataset's own place, for writing and for reading."""
    root, target = tmp_path / "ade", str(tmp_path / "instances")
    write_picture(root / "images/training/ADE_train_1.jpg", photo(seed=1))
    write_picture(root / "annotations/training/ADE_train_1.png", label_map([0, 5, 150], seed=1))
    assert run("instances", dataset_mode="ade20k", dataroot=str(root), instance_dir=target) == 0
    assert not (root / "instances").exists()
    written = read_instance(f"{target}/ADE_train_1.png")
    np.testing.assert_array_equal(written, class_ranks(label_map([0, 5, 150], seed=1)))
    config = resolve(make_config(dataset_mode="ade20k", dataroot=str(root), instance_dir=target))
    assert open_dataset(config).has_instances


def test_instances_of_coco(tmp_path):
    write_picture(tmp_path / "train_img/7.jpg", photo(8, 8))
    write_picture(tmp_path / "train_label/7.png", np.full((8, 8), 3, np.uint8))
    square = [[2, 2, 5, 2, 5, 5, 2, 5]]
    annotations = [
        {"image_id": 1, "segmentation": {"counts": []}, "iscrowd": 1},
        {"image_id": 1, "segmentation": square},
    ]
    values = {"images": [{"id": 1, "file_name": "7.jpg"}], "annotations": annotations}
    (tmp_path / "a.json").write_text(json.dumps(values))
    code = run("instances", dataset_mode="coco", dataroot=str(tmp_path), annotations=str(tmp_path / "a.json"))
    assert code == 0
    written = read_instance(tmp_path / "train_inst/7.png")
    assert np.unique(written).tolist() == [3, 256] and (written[2:4, 2:4] == 256).all()
    with pytest.raises(ValueError, match="comes with instance maps"):
        run("instances", dataset_mode="cityscapes", dataroot=str(tmp_path))


def test_polygon_mask():
    mask = polygon_mask([(1, 0.5), (4.2, 0.5), (1, 3.7)], 5, 6)
    corners = np.array([[1, 0.5], [4.2, 0.5], [1, 3.7]], np.float32)
    inside = [[cv2.pointPolygonTest(corners, (x, y), False) >= 0 for x in range(6)] for y in range(5)]
    np.testing.assert_array_equal(mask, inside)


def test_celeba(tmp_path):
    folder = tmp_path / "CelebAMask-HQ-mask-anno" / "0"
    boxes = {"skin": (0, 300), "nose": (50, 90), "hair": (200, 400), "hat": (350, 500)}
    for number in range(3):
        write_picture(tmp_path / "CelebA-HQ-img" / f"{number}.jpg", photo(1024, 1024, number))
        for part, (start, end) in boxes.items():
            mask = np.zeros((512, 512, 3), np.uint8)
            mask[start:end] = 255
            write_picture(folder / f"{number:05d}_{part}.png", mask)
    assert run("celeba", dataroot=str(tmp_path), test_count=1) == 0
    assert (tmp_path / "train_list.txt").read_text() == "0.jpg\n1.jpg\n"
    config = resolve(make_config(dataset_mode="celeba", dataroot=str(tmp_path)))
    dataset = open_dataset(config, "test")
    (batch,) = dataset.batches(4, training=False)
    column = batch["label"][0, :, 0].numpy()
    expected = [CELEBA_PARTS.index(p) + 1 for p in ("skin", "nose", "skin", "hair", "hat")] + [0]
    assert [column[0]] + [b for a, b in itertools.pairwise(column) if a != b] == expected


def test_scenes_as_files(tmp_path):
    assert run("scenes", count=3, out=str(tmp_path / "s"), height=32, width=64) == 0
    config = resolve(make_config(dataset_mode=str(tmp_path / "s" / "dataset.json")))
    dataset = open_dataset(config)
    batch = next(iter(dataset.batches(2, training=False)))
    assert batch["image"].shape == (2, 32, 64, 3) and dataset.has_instances and dataset.size == 3
    rendered = open_dataset(resolve(make_config(crop_size=64, aspect_ratio=2.0, no_instance=False)))
    for key, value in next(iter(rendered.batches(2, training=False))).items():
        np.testing.assert_array_equal(value, batch[key])
    with pytest.raises(ValueError, match="--out"):
        run("scenes", count=1)


def test_examples_of_prepare_name_both_folders():
    for name, command in COMMANDS.items():
        assert ("--image_dir" in command.example) == ("--label_dir" in command.example), name


def test_run_lengths_of_coco():
    """A 4x3 picture whose middle column is set; texts by the rule of COCO's maskApi.c, letter by letter."""
    middle = np.zeros((4, 3), bool)
    middle[:, 1] = True
    for counts in ([4, 4, 4], "444"):
        np.testing.assert_array_equal(run_length_mask({"size": [4, 3], "counts": counts}, 4, 3), middle)
    assert instances._unpacked("T3l00") == [100, 28, 0]
    assert instances._unpacked(":53M") == [10, 5, 3, 2]  # the last is 5 - 3
    label = np.full((4, 3), 20, np.uint8)
    shapes = [
        {"segmentation": {"size": [4, 3], "counts": "444"}},
        {"segmentation": {"size": [4, 3], "counts": [0, 12]}, "iscrowd": 1},  # as in the original script
    ]
    expected = np.where(middle, 256, 20)
    np.testing.assert_array_equal(instances.coco_polygons(label, shapes), expected)
    with pytest.raises(ValueError, match=r"run lengths of size \[4, 3\]"):
        run_length_mask({"size": [4, 3], "counts": [5]}, 4, 3)


def test_more_objects_than_a_png_holds(monkeypatch):
    """65,280 objects from 256 on are the most; the next one is refused, not another object's number."""
    monkeypatch.setattr(instances, "run_length_mask", lambda *_: True)
    shapes = [{"segmentation": {"size": [1, 1], "counts": [0, 1]}}] * 65281
    made = instances.coco_polygons(np.zeros((1, 1), np.uint8), shapes)
    with pytest.raises(
        DataError, match=r"^a\.png: ids up to 65536 for its instances; expected at most 65535"
    ):
        prepare._smallest(made, "a.png")


def test_celeba_of_five_pictures(tmp_path, capsys):
    for number in range(5):
        mask = np.full((512, 512, 3), 255, np.uint8)
        write_picture(tmp_path / "CelebAMask-HQ-mask-anno" / "0" / f"{number:05d}_skin.png", mask)
    _, command = COMMANDS["celeba"][:2]
    options = COMMANDS["celeba"].options(dataroot=str(tmp_path))
    with pytest.raises(DataError, match=r"--test_count 2000: \S+ has 5 pictures; expected less"):
        command(options)
    assert not (tmp_path / "CelebAMaskHQ-mask").exists()
    for count in (2, 3):  # the first list stays, and that is said
        assert command(COMMANDS["celeba"].options(dataroot=str(tmp_path), test_count=count)) == 0
        assert (tmp_path / "train_list.txt").read_text() == "0.jpg\n1.jpg\n2.jpg\n"
        said = capsys.readouterr().out
        assert ("train_list.txt is kept as it is; delete it to have it made by --test_count" in said) == (
            count == 3
        )
