"""EXIF orientation of photos: read as stored, refused beside maps unless a description says how these were drawn."""

import struct

import cv2
import numpy as np
import pytest
from fixtures_data import jpeg_with, photo, with_exif, write_folders, write_json
from test_data_files import report_of

from semantic_synthesis import data
from semantic_synthesis.data import DataError
from semantic_synthesis.data.decoding import decode_image, read_image
from semantic_synthesis.data.headers import orientation
from semantic_synthesis.methods import make_config


@pytest.mark.parametrize("value", [1, 3, 6])
def test_turned_tiff_is_read_as_stored(value):
    picture = photo(20, 30)
    content = bytearray(cv2.imencode(".tiff", picture[..., ::-1])[1].tobytes())
    order = "<" if content.startswith(b"II") else ">"
    at = struct.unpack_from(order + "I", content, 4)[0]
    entries = [at + 2 + 12 * i for i in range(struct.unpack_from(order + "H", content, at)[0])]
    entry = next(e for e in entries if struct.unpack_from(order + "H", content, e)[0] in (274, 284))
    struct.pack_into(order + "HHIH", content, entry, 274, 3, 1, value)  # in place of the default planes
    assert orientation(bytes(content), "TIFF") == value
    np.testing.assert_array_equal(decode_image(bytes(content), "x"), picture)


def test_orientation_beside_a_damaged_entry():
    content = cv2.imencode(".jpg", photo())[1].tobytes()
    entries = struct.pack("<HHII", 258, 3, 3, 9999) + struct.pack("<HHIHH", 274, 3, 1, 6, 0)
    content = jpeg_with(b"II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4), content)
    assert orientation(content, "JPEG") == 6


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_turned_photos(tmp_path, ending, order):
    images, labels = write_folders(tmp_path, photos=ending[1:])
    kind = {".jpg": "JPEG", ".png": "PNG"}[ending]
    paths = [tmp_path / "images" / f"{number}{ending}" for number in range(3)]
    for path, value in zip(paths, (3, 6, 1), strict=True):
        path.write_bytes(with_exif(path.read_bytes(), ending, value, order))
        assert orientation(path.read_bytes(), kind) == value
        assert read_image(path).shape == (24, 32, 3)
    messages = [problem["message"] for problem in report_of(images, labels).problems]
    assert [message.split(" turns")[0] for message in messages] == [
        f"{paths[0]}: EXIF orientation 3",
        f"{paths[1]}: EXIF orientation 6",
    ]
    config = data.resolve(make_config(image_dir=images, label_dir=labels, crop_size=16))
    source = data.open_dataset(config).source
    with pytest.raises(DataError, match=r"0\.\w+: EXIF orientation 3 turns this photo"):
        source.load(0)
    assert source.load(2)[0].shape == (24, 32, 3)


def test_a_description_may_say_that_maps_fit_stored_pixels(tmp_path):
    write_folders(tmp_path)
    path = tmp_path / "images" / "0.jpg"
    path.write_bytes(with_exif(path.read_bytes(), ".jpg", 3, "<"))
    splits = {"train": {"image": "images/{stem}.*", "label": "labels/{stem}.*"}}
    described = {
        "classes": [{"id": i} for i in range(3)],
        "dataroot": ".",
        "splits": splits,
        "exif": "stored",
    }
    mode = write_json(tmp_path / "mine.json", described)
    config = data.resolve(make_config(dataset_mode=mode, crop_size=16))
    assert data.open_dataset(config).source.load(0)[0].shape == (24, 32, 3)
