"""Which values are which class: several of one class, lists of labelling tools, folders with fewer maps than photos."""

import json

import cv2
import numpy as np
import pytest
import tensorflow as tf
from fixtures_data import encode_png, label_map, photo, write_folders, write_json, write_picture

from semantic_synthesis import data
from semantic_synthesis.data import ClassTable, DataError, catalogue, layouts, resolving, transparency
from semantic_synthesis.data.class_lists import read_class_list
from semantic_synthesis.data.decoding import decode_image, decode_label
from semantic_synthesis.data.prepare import COMMANDS
from semantic_synthesis.methods import make_config

FRUIT = {
    "classes": [
        {"id": 0, "name": "background"},
        {"id": [4, 2, 300], "name": "apple", "color": [[200, 0, 0], [9, 9, 9]]},
    ],
    "unknown_id": 2,
}


def fruit(**changes):
    return catalogue.parse_description({**FRUIT, **changes}, "fruit.json").table


# Several values of one class


@pytest.mark.parametrize("in_graph", [False, True])
def test_several_values_are_one_class(in_graph):
    def read(png):
        return decode_label_in_graph(png) if in_graph else decode_label(png, fruit(), "m")

    def decode_label_in_graph(png):
        return data.decode_label_png(tf.constant(png), fruit(), "m").numpy()

    ids = np.array([[0, 2, 300, 4]])
    np.testing.assert_array_equal(read(encode_png(ids, 0, 16)), [[0, 1, 1, 1]])
    colors = np.array([[[0, 0, 0], [9, 9, 9], [200, 0, 0]]])
    np.testing.assert_array_equal(read(encode_png(colors, 2, 8)), [[0, 1, 1]])
    np.testing.assert_array_equal(read(encode_png([[4, 2]], 3, 8, palette=np.full((5, 3), 77))), [[1, 1]])
    with pytest.raises((DataError, tf.errors.OpError), match=r"allowed (are )?0, 2, 4, 300"):
        read(encode_png(np.array([[3, 0]]), 0, 8))
    with pytest.raises((DataError, tf.errors.OpError), match=r"colour \(9, 9, 8\)"):
        read(encode_png(np.array([[[9, 9, 8]]]), 2, 8))


def test_tables_of_several_values_come_back():
    table = fruit()
    assert (table.num_classes, table.unknown, table.raw_ids) == (2, 1, (0, 4))
    assert table.to_dict()["raw_ids"] == [0, [4, 2, 300]]
    again = ClassTable.from_dict(json.loads(json.dumps(table.to_dict())))
    assert again.to_dict() == table.to_dict() and not again.is_identity
    assert not ClassTable.create("t", [[0, 7], 1]).is_identity
    moved = fruit(unknown_id=0).with_unknown_last()
    assert moved.to_dict()["raw_ids"] == [[4, 2, 300], 0] and moved.unknown == 1
    assert moved.class_of_id[[0, 2, 300]].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    "entry, message",
    [
        ({"id": [1, 0]}, "id 0 appears twice"),
        ({"id": []}, r"class id \[\]; expected an integer"),
        ({"id": [1, "2"]}, "class id '2'"),
        ({"id": [[1]]}, r"class id \[1\]"),
        ({"id": 1, "color": [[1, 2, 3], [1, 2, 3]]}, r"colour \(1, 2, 3\) appears twice"),
        ({"id": 1, "color": []}, r"colour \[\]; expected"),
        ({"id": 1, "color": [[1, 2]]}, r"colour \[1, 2\]; expected"),
    ],
)
def test_wrong_lists_of_values(entry, message):
    with pytest.raises(DataError, match=message):
        catalogue.parse_description({"classes": [{"id": 0}, entry]}, "a.json").table  # noqa: B018


def check(tmp_path, classes):
    """The report's lines of one label map with the ids 0 to 5, as JSON classes describe it."""
    ids = np.repeat(np.arange(6, dtype=np.uint8), 4)[None].repeat(16, 0)  # [16, 24]
    write_picture(tmp_path / "images" / "1.png", photo(16, 24))
    write_picture(tmp_path / "labels" / "1.png", ids)
    split = {"train": {"image": "images/{stem}.*", "label": "labels/{stem}.*"}}
    mode = write_json(tmp_path / "a.json", {"classes": classes, "dataroot": ".", "splits": split})
    description = catalogue.describe(mode)
    config = resolving.fill_options(make_config(dataset_mode=mode, crop_size=16), description)
    report = layouts.check_split(config, description, description.table, "train")
    json.dumps(report.to_dict())
    return "\n".join(report.lines())


def test_check_shows_several_ids_and_equal_names(tmp_path):
    merged = [{"id": 0, "name": "background"}, {"id": [1, 2, 3, 4, 5], "name": "apple"}]
    text = check(tmp_path, merged)
    assert "id  1..5   83.33 %" in text and "note" not in text
    apart = [{"id": 0, "name": "background"}, *({"id": i, "name": "apple"} for i in range(1, 6))]
    assert "5 classes are called apple; to make one class of them, give a single entry a list" in check(
        tmp_path, apart
    )


# Lists of labelling tools

CVAT = "# label:color_rgb:parts:actions\nbackground:0,0,0::\naeroplane:10,10,128::\n\nbird:::\n"
CAMVID = "64 128 64\tAnimal\n192, 0, 128 Arch way\n"


@pytest.mark.parametrize(
    "text, names, colors",
    [
        (CVAT, ("background", "aeroplane", "bird"), [[0, 0, 0], [10, 10, 128], [0, 128, 0]]),
        (CAMVID, ("Animal", "Arch way"), [[64, 128, 64], [192, 0, 128]]),
        ("0 1 2 7", ("class 0", "class 1", "class 2", "class 7"), None),
    ],
)
def test_class_lists(tmp_path, text, names, colors):
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    table = read_class_list(str(tmp_path / "list.txt"), "t")
    assert table.names == names
    assert colors is None or table.colors.tolist() == colors


@pytest.mark.parametrize(
    "text, message",
    [
        (CVAT + "tree;1,2,3", r"line 6 is 'tree;1,2,3'; the lines before are of another form"),
        ("sky\nroad\n", r"'sky'; expected integers with commas between, CVAT's labelmap.txt"),
        ("a:1,2,3::\nb:1,2,3::", r"colour \(1, 2, 3\) appears twice"),
        ("a:1,2,999::", r"colour \[1, 2, 999\]; expected"),
    ],
)
def test_wrong_class_lists(tmp_path, text, message):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        read_class_list(str(tmp_path / "list.txt"), "t")


# More photos than label maps


def cvat_folders(tmp_path, count=5, labelled=(0, 3)):
    images, labels = tmp_path / "images", tmp_path / "labels"
    colors = np.array([[0, 0, 0], [10, 10, 128], [0, 108, 128]], np.uint8)
    for i in range(count):
        write_picture(images / f"2007_{i}.jpg", photo())
    for i in labelled:
        write_picture(labels / f"2007_{i}.png", colors[label_map((0, 1, 2))])
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\naeroplane:10,10,128::\nbird:0,108,128::\n")
    return images, labels


def draft(tmp_path, **options):
    command = COMMANDS["describe"]
    out = str(tmp_path / "mine.json")
    images, labels = str(tmp_path / "images"), str(tmp_path / "labels")
    assert command.run(command.options(image_dir=images, label_dir=labels, out=out, **options)) == 0
    return out


def test_describe_leaves_photos_without_map_out(tmp_path, capfd):
    cvat_folders(tmp_path)
    mode = draft(tmp_path, semantic_label_path=str(tmp_path / "labelmap.txt"))
    said = capfd.readouterr().out
    assert "3 of 5 photos have no label map and are left out, first " in said and "2007_1.jpg" in said
    assert (tmp_path / "mine_labelled.txt").read_text() == "2007_0\n2007_3\n"
    config = data.resolve(make_config(dataset_mode=mode, crop_size=16))
    assert config.class_table["names"] == ["background", "aeroplane", "bird"]
    assert [sample.stem for sample in data.open_dataset(config).source.samples] == ["2007_0", "2007_3"]


def test_describe_still_refuses_maps_without_photo(tmp_path):
    cvat_folders(tmp_path)
    (tmp_path / "images" / "2007_3.jpg").unlink()
    with pytest.raises(DataError, match=r"2007_3\.png: no photo has its stem"):
        draft(tmp_path)
    assert not list(tmp_path.glob("mine*"))


def test_describe_refuses_names_that_a_list_cannot_hold(tmp_path):
    write_folders(tmp_path, count=2)
    write_picture(tmp_path / "images" / "a\nb.png", photo())
    write_picture(tmp_path / "labels" / "a\nb.png", label_map((0, 1)))
    write_picture(tmp_path / "images" / "alone.png", photo())
    with pytest.raises(DataError, match=r"'a\\nb': a list of files cannot hold this name; rename"):
        draft(tmp_path)


def test_describe_names_every_bad_file(tmp_path):
    cvat_folders(tmp_path)
    for name in ("2007_0", "2007_3"):
        (tmp_path / "labels" / f"{name}.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"^2 of 2 files cannot be used: .*2007_0\.png: .*; .*2007_3\.png: "):
        draft(tmp_path)


def test_a_class_called_unknown_is_the_unknown_one(tmp_path):
    cvat_folders(tmp_path)
    (tmp_path / "labelmap.txt").write_text("unknown:0,0,0::\naeroplane:10,10,128::\nbird:0,108,128::\n")
    mode = draft(tmp_path, semantic_label_path=str(tmp_path / "labelmap.txt"))
    assert json.loads((tmp_path / "mine.json").read_text())["unknown_id"] == 0
    table = data.resolve(make_config(dataset_mode=mode, crop_size=16)).class_table
    assert table["names"] == ["unknown", "aeroplane", "bird"]


def test_describe_says_what_a_class_list_lacks(tmp_path):
    cvat_folders(tmp_path)
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\nbird:0,108,128::\n")
    with pytest.raises(
        DataError, match=r"2007_0\.png: colour \(10, 10, 128\) .* is not in class table 'mine'"
    ):
        draft(tmp_path, semantic_label_path=str(tmp_path / "labelmap.txt"))


# Transparent photos


def encoded(ending, alpha):
    rgb = photo()
    pixels = np.concatenate([rgb[..., ::-1], np.full((24, 32, 1), alpha, np.uint8)], -1)
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if ending == ".webp" else []
    return rgb, cv2.imencode(ending, pixels, options)[1].tobytes()


@pytest.mark.parametrize("ending", [".png", ".webp", ".tiff"])
def test_transparent_photos(tmp_path, ending, monkeypatch, caplog):
    monkeypatch.setattr(transparency, "_looks", iter(range(99)))
    rgb, opaque = encoded(ending, 255)
    np.testing.assert_array_equal(decode_image(opaque, "x"), rgb)
    assert not caplog.messages
    rgb, clear = encoded(ending, 100)
    for _ in range(3):  # said once
        np.testing.assert_array_equal(decode_image(clear, "x"), rgb)
    (said,) = caplog.messages
    assert "x: photo with 768 transparent pixels, which are read in the colour that the file stores" in said
    images, labels = write_folders(tmp_path, count=2)
    (tmp_path / "images" / "0.jpg").rename(tmp_path / "other")
    path = tmp_path / "images" / f"0{ending}"
    path.write_bytes(clear)
    config = make_config(image_dir=images, label_dir=labels, crop_size=16, dataset_mode="custom")
    config = resolving.fill_options(config, catalogue.describe("custom"))
    report = layouts.check_split(
        config, catalogue.describe("custom"), ClassTable.create("t", [0, 1, 2]), "train"
    )
    assert not report.problems
    assert f"1 photo with transparency; {path}: photo with 768 transparent pixels" in report.notes[0]
