"""Files of every kind that folders of pictures hold: what no file is, giants, odd photos, odd names."""

import importlib.util
import os
import re
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from fixtures_data import encode_png, label_map, photo, write_folders, write_json, write_picture
from helpers import run_script

from semantic_synthesis import data
from semantic_synthesis.data import DataError, catalogue, layouts, resolving
from semantic_synthesis.data.class_lists import read_class_list
from semantic_synthesis.data.decoding import MAX_PIXELS, decode_image, read_image, read_label
from semantic_synthesis.data.describing import DescribeOptions, describe
from semantic_synthesis.data.pairing import find_files, natural_order
from semantic_synthesis.methods import make_config
from semantic_synthesis.pth import read_pth

TABLE = data.ClassTable.create("three", [0, 1, 2])


def report_of(images, labels, **options):
    """The Report of `prepare check`."""
    config = make_config(image_dir=str(images), label_dir=str(labels), crop_size=16, **options)
    config = resolving.fill_options(config.replace(dataset_mode="custom"), catalogue.describe("custom"))
    return layouts.check_split(config, catalogue.describe("custom"), TABLE, "train")


# What is no file


@pytest.fixture(params=["pipe", "device"])
def endless(request, tmp_path):
    path = tmp_path / "endless.png"
    if request.param == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    return str(path)


def test_only_regular_files_are_read(endless):
    readers = [
        read_image,
        lambda path: read_label(path, TABLE),
        data.read_instance,
        catalogue.read_description,
    ]
    readers += (
        [read_pth] if importlib.util.find_spec("torch") else []
    )  # which says first that PyTorch is missing
    for read in readers:
        with pytest.raises(
            ValueError, match=r"endless\.png: is a (pipe|device), or a link to one; expected a regular"
        ):
            read(endless)


# Giants: the header of a picture that was never unpacked


def giant(kind, width, height):
    """The first bytes of a picture of a size, enough to see it."""
    if kind == "webp lossless":
        bits = (width - 1) | (height - 1) << 14
        return b"RIFF\x40\0\0\0WEBPVP8L\x20\0\0\0\x2f" + struct.pack("<I", bits) + bytes(40)
    if kind == "webp":
        return (
            b"RIFF\x40\0\0\0WEBPVP8 \x20\0\0\0"
            + bytes(3)
            + b"\x9d\x01\x2a"
            + struct.pack("<HH", width, height)
            + bytes(40)
        )
    if kind == "webp extended":
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        return b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + sides + bytes(40)
    if kind in ("tiff", "tiff big-endian"):
        order = "<" if kind == "tiff" else ">"
        start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
        entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 4, 1, 8)]
        return (
            start
            + struct.pack(order + "H", 3)
            + b"".join(struct.pack(order + "HHII", *e) for e in entries)
            + bytes(8)
        )
    if kind == "bmp":
        return b"BM" + bytes(12) + struct.pack("<Iii", 40, width, -height) + bytes(40)
    if kind == "gif":
        return b"GIF89a" + struct.pack("<HH", width, height) + bytes(40)
    return b"P6 # a comment\n%d %d\n255\n" % (width, height) + bytes(40)


KINDS = ("webp", "webp lossless", "webp extended", "tiff", "tiff big-endian", "bmp", "gif", "ppm")


@pytest.mark.parametrize("kind", KINDS)
def test_giants_are_refused_before_they_are_unpacked(kind):
    with pytest.raises(DataError, match=rf"x: 16383x16382 pixels; at most {MAX_PIXELS} "):
        decode_image(giant(kind, 16383, 16382), "x")
    for cut in range(len(giant(kind, 5, 5))):  # a small one without its content, cut anywhere
        with pytest.raises(DataError, match=r"^x: (damaged|not a) picture"):
            decode_image(giant(kind, 5, 5)[:cut], "x")


@pytest.mark.parametrize("ending", [".webp", ".tiff", ".bmp", ".ppm"])
def test_small_ones_are_read(ending):
    picture = photo(20, 30)
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if ending == ".webp" else []
    content = cv2.imencode(ending, picture[..., ::-1], options)[1].tobytes()
    np.testing.assert_array_equal(decode_image(content, "x"), picture)


# Depth


@pytest.mark.parametrize("ending", [".png", ".tiff"])
def test_deep_photos(ending):
    values = np.linspace(0, 1, 48 * 3).reshape(6, 8, 3)

    def decoded(array):
        return decode_image(cv2.imencode(ending, array)[1].tobytes(), "x")

    full = np.round(values * 65535).astype(np.uint16)
    np.testing.assert_allclose(decoded(full).astype(int), full[..., ::-1] / 257, atol=1)
    with pytest.raises(
        DataError, match=r"x: photo with 16 bits, of which no value is above 4\d\d\d of 65535.*8 bits"
    ):
        decoded(np.round(values * 4095).astype(np.uint16))
    if ending == ".tiff":
        with pytest.raises(
            DataError, match=r"x: photo is a 32-bit float TIFF; save it with 8 bits per colour"
        ):
            decoded(values.astype(np.float32))  # OpenCV before 5 writes it as LogLuv


@pytest.mark.parametrize("white, kind", [(1023, ">u2"), (100, "u1")])
def test_photos_of_another_white(white, kind):
    picture = np.full((6, 8, 3), white)
    content = b"P6\n# by hand\n8 6\n%d\n" % white + picture.astype(kind).tobytes()
    with pytest.raises(DataError, match=f"x: photo whose largest value is {white}; expected 255 or 65535"):
        decode_image(content, "x")


# Names


@pytest.mark.parametrize(
    "name", ["a\nb", "②", "5²", "01①", "tab\t", "n" * 251, "back\\slash", "quote'\"", "x.y z"]
)
def test_any_legal_name_pairs(tmp_path, name):
    for kind, array in (("images", photo()), ("labels", label_map([0, 1, 2]))):
        content = cv2.imencode(".png", array)[1].tobytes()
        (tmp_path / kind).mkdir()
        (tmp_path / kind / f"{name}.png").write_bytes(content)
        write_picture(tmp_path / kind / "1.png", array)
    report = report_of(tmp_path / "images", tmp_path / "labels")
    assert (report.samples, report.problems) == (2, [])
    assert set(find_files(str(tmp_path / "images"), "{stem}.*")) == {name, "1"}


def test_a_missing_description_says_where_relative_paths_count_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"^x/a\.json: no such .*, {re.escape(os.getcwd())}\)$"):
        catalogue.describe("x/a.json")
    with pytest.raises(FileNotFoundError, match=r"a\.json: no such dataset description; check the path$"):
        catalogue.describe(str(tmp_path / "a.json"))


def test_messages_stay_one_line(tmp_path):
    write_folders(tmp_path)
    (tmp_path / "images" / "a\nb.jpg").write_bytes(b"")
    (problem,) = report_of(tmp_path / "images", tmp_path / "labels").problems
    assert r"a\nb.jpg: no label map has its stem 'a\nb'" in problem["message"]


@pytest.mark.parametrize("folder", ["", "more/"])
def test_a_partner_in_a_format_that_is_not_read_is_named(tmp_path, folder):
    write_folders(tmp_path)
    write_picture(tmp_path / "labels" / folder / "x.png", label_map([0, 1, 2]))
    (tmp_path / "images" / folder).mkdir(exist_ok=True)
    heic = tmp_path / "images" / folder / "x.heic"
    heic.write_bytes(b"photo")
    (problem,) = report_of(tmp_path / "images", tmp_path / "labels").problems
    assert (
        f"no photo has its stem '{folder}x', but {heic} is there, whose format is not read"
        in problem["message"]
    )


def test_hidden_folders_are_passed_over(tmp_path):
    images, labels = write_folders(tmp_path)
    for folder in (".ipynb_checkpoints", ".git"):
        write_picture(tmp_path / "images" / folder / "0-checkpoint.jpg", photo())
    report = report_of(images, labels)
    assert (report.samples, report.problems) == (3, [])


def test_the_command_itself_checks(tmp_path):
    """In its own process, where nothing else has been imported; names that are no text are shown escaped."""
    images, labels = write_folders(tmp_path)
    Path(os.fsdecode(os.fsencode(images) + b"/\xff.jpg")).write_bytes(b"")
    arguments = ["prepare", "check", "--image_dir", images, "--label_dir", labels]
    code, out, err = run_script("semantic_synthesis/__main__.py", arguments, PYTHONIOENCODING="utf-8:strict")
    assert code == 1, err
    assert "split 'train': 3 samples, 1 problem\n" in out and r"\udcff.jpg: no label map" in out


def test_composed_and_decomposed_letters_pair(tmp_path):
    write_picture(tmp_path / "images" / "caf\u00e9.png", photo())
    write_picture(tmp_path / "labels" / "cafe\u0301.png", label_map([0, 1, 2]))
    report = report_of(tmp_path / "images", tmp_path / "labels")
    assert (report.samples, report.problems) == (1, [])


# Folders


def test_one_folder_for_photos_and_maps_is_refused(tmp_path):
    images, _ = write_folders(tmp_path)
    (tmp_path / "link").symlink_to(images)
    for labels in (images, tmp_path / "link"):
        (problem,) = report_of(images, labels).problems
        assert "--image_dir and --label_dir are the same folder" in problem["message"]
        assert '"{stem}_mask.png"' in problem["message"]


@pytest.mark.parametrize(
    ("end", "hint"), [("_mask", '"label": "{stem}_mask.*" pairs'), (".jpg", '"{stem}.jpg.*"')]
)
def test_endings_of_maps_are_told(tmp_path, end, hint):
    images, labels = write_folders(tmp_path)
    for path in list((tmp_path / "labels").iterdir()):
        path.rename(path.with_name(path.stem + end + path.suffix))
    assert hint in report_of(images, labels).problems[0]["message"]


@pytest.mark.parametrize("inner", ["", "_000019"])
def test_endings_of_photos_and_maps_are_told_and_pair(tmp_path, inner):
    images, labels = write_folders(tmp_path)
    for folder, end in (("images", "_leftImg8bit"), ("labels", "_gtFine_labelTrainIds")):
        for path in list((tmp_path / folder).iterdir()):
            path.rename(path.with_name(f"ulm_{path.stem}{inner}{end}{path.suffix}"))
    said = report_of(images, labels).problems[0]["message"]
    patterns = dict(re.findall(r'"(image|label)": "(\S+)"', said))
    assert patterns == {"image": "{stem}_leftImg8bit.*", "label": "{stem}_gtFine_labelTrainIds.*"}
    splits = {"train": {kind: f"{kind}s/{pattern}" for kind, pattern in patterns.items()}}
    described = {"classes": [{"id": i} for i in range(3)], "dataroot": ".", "splits": splits}
    config = make_config(dataset_mode=write_json(tmp_path / "mine.json", described), crop_size=16)
    assert len(data.open_dataset(data.resolve(config)).source) == 3


def test_endings_that_are_no_endings_are_not_told(tmp_path):
    images, labels = write_folders(tmp_path)
    for path in list((tmp_path / "labels").iterdir()):
        path.rename(path.with_name(f"x{path.stem}_mask{path.suffix}"))
    assert "{stem}" not in report_of(images, labels).problems[0]["message"]


def test_more_photos_than_maps(tmp_path):
    images, labels = write_folders(tmp_path)
    (tmp_path / "labels" / "1.png").unlink()
    (problem,) = report_of(images, labels).problems
    assert 'the split\'s "list"' in problem["message"]


def test_order_of_names():
    names = ["a", "a1", "a01", "a001", "a2", "a10", "a10b", "b"]
    expected = ["a", "a001", "a01", "a1", "a2", "a10", "a10b", "b"]
    for start in range(len(names)):  # sets of names have another order in every process
        assert sorted(names[start:] + names[:start], key=natural_order) == expected


@pytest.mark.parametrize("ending", [".npy", ".gif"])
def test_files_of_other_kinds_are_told(tmp_path, ending):
    images, labels = write_folders(tmp_path)
    for path in list((tmp_path / "labels").iterdir()):
        path.rename(path.with_suffix(ending))
    (problem,) = report_of(images, labels).problems
    assert f"found files: 3 with the ending {ending}; expected PNG" in problem["message"]


def test_jfif_is_jpeg(tmp_path):
    images, labels = write_folders(tmp_path)
    for path in list((tmp_path / "images").iterdir()):
        path.rename(path.with_suffix(".jfif"))
    assert report_of(images, labels).samples == 3


def test_byte_order_marks_are_skipped(tmp_path):
    write_folders(tmp_path)
    splits = {"train": {"image": "images/{stem}.*", "label": "labels/{stem}.*", "list": "list.txt"}}
    described = {"classes": [{"id": i} for i in range(3)], "dataroot": ".", "splits": splits}
    path = tmp_path / "mine.json"
    write_json(path, described)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf0.jpg\r\n2\r\n")
    (tmp_path / "ids.txt").write_bytes(b"\xef\xbb\xbf0,1,2")
    config = data.resolve(make_config(dataset_mode=str(path), crop_size=16))
    assert [sample.stem for sample in data.open_dataset(config).source.samples] == ["0", "2"]
    assert read_class_list(str(tmp_path / "ids.txt"), "t").raw_ids == (0, 1, 2)


def test_lists_name_files_with_dots_and_spaces(tmp_path, monkeypatch):
    lines = []  # absl's own function: what its logger passes on depends on who configured it first
    monkeypatch.setattr("absl.logging.warning", lambda text, *values: lines.append(text % values))
    names = ["a.b", "a.c", "benign (1)", "x y"]
    for name in names:
        write_picture(tmp_path / "images" / f"{name}.png", photo())
        write_picture(tmp_path / "labels" / f"{name}.png", label_map([0, 1, 2]))
    splits = {"train": {"image": "images/{stem}.*", "label": "labels/{stem}.*", "list": "list.txt"}}
    described = {"classes": [{"id": i} for i in range(3)], "dataroot": ".", "splits": splits}
    mode = write_json(tmp_path / "mine.json", described)
    (tmp_path / "list.txt").write_text("a.b.png\nbenign (1)\nx y.jpg\nmissing.png\n")
    config = data.resolve(make_config(dataset_mode=mode, crop_size=16))
    found = [sample.stem for sample in data.open_dataset(config).source.samples]
    assert found == ["a.b", "benign (1)", "x y"]
    assert "list.txt: names 1 photos that are not there, first missing.png" in "".join(lines)
    report = layouts.check_split(config, catalogue.describe(mode), data.open_dataset(config).table, "train")
    assert [problem["file"] for problem in report.problems] == [str(tmp_path / "list.txt")] * 2
    assert "1 label maps that are not there" in report.problems[1]["message"]


def test_lists_of_composed_and_decomposed_letters(tmp_path):
    forms = {"caf\u00e9": "cafe\u0301", "the\u0301": "th\u00e9.png"}  # of the file: of the list
    for stem in forms:
        write_picture(tmp_path / "images" / f"{stem}.png", photo())
        write_picture(tmp_path / "labels" / f"{stem}.png", label_map([0, 1, 2]))
    (tmp_path / "list.txt").write_text("".join(f"{line}\n" for line in forms.values()), "utf-8")
    splits = {"train": {"image": "images/{stem}.*", "label": "labels/{stem}.*", "list": "list.txt"}}
    described = {"classes": [{"id": i} for i in range(3)], "dataroot": ".", "splits": splits}
    config = make_config(dataset_mode=write_json(tmp_path / "mine.json", described), crop_size=16)
    assert len(data.open_dataset(data.resolve(config)).source) == 2


def test_palettes_that_differ_between_maps(tmp_path):
    images, _ = write_folders(tmp_path, count=2)
    for name, palette in (("0", [[70, 130, 180], [0, 0, 0]]), ("1", [[128, 64, 128], [0, 0, 0]])):
        content = encode_png(np.zeros((24, 32), np.uint8), 3, 8, palette=palette)
        (tmp_path / "labels" / f"{name}.png").write_bytes(content)
    with pytest.raises(
        DataError, match=r"1\.png: its palette gives index 0 the colour \(128, 64, 128\), that of \S+0"
    ):
        data.resolve(make_config(image_dir=images, label_dir=str(tmp_path / "labels"), crop_size=16))


def test_descriptions_are_not_drafted_from_palettes_that_differ(tmp_path):
    for number, palette in enumerate(([[255, 0, 0], [0, 255, 0]], [[0, 255, 0], [0, 0, 255]])):
        write_picture(tmp_path / "images" / f"{number}.png", photo(8, 8))
        path = tmp_path / "labels" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_png(np.eye(8), 3, 8, palette))
    folders = {"image_dir": str(tmp_path / "images"), "label_dir": str(tmp_path / "labels")}
    with pytest.raises(DataError, match=r"1\.png: its palette gives index 0 the colour \(0, 255, 0\)"):
        describe(DescribeOptions(**folders, out=str(tmp_path / "mine.json")))
    (tmp_path / "ids.txt").write_text("255 0 0 a\n0 255 0 b\n0 0 255 c\n")
    listed = {"semantic_label_path": str(tmp_path / "ids.txt"), "out": str(tmp_path / "mine.json")}
    with pytest.raises(DataError, match="palette PNG with two meanings"):
        describe(
            DescribeOptions(**folders, **listed)
        )  # the list says the classes, and reading every map checks them
