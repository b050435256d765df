"""The EXIF orientation within exported graphs is that of files, and photos that it turns are refused beside maps."""

import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tensorflow as tf
from fixtures_data import encode_png, jpeg_with, photo, with_exif

from semantic_synthesis.data import ClassTable
from semantic_synthesis.data.graph_exif import orientation
from semantic_synthesis.data.headers import orientation as orientation_of_file
from semantic_synthesis.methods import make_config
from semantic_synthesis.serving.graph_inputs import InputReader

KINDS = {".jpg": "JPEG", ".png": "PNG"}
in_graph = tf.function(orientation, input_signature=[tf.TensorSpec([], tf.string)])


def encoded(ending):
    return cv2.imencode(ending, photo())[1].tobytes()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("ending", KINDS)
def test_all_orientations(ending, order):
    assert int(in_graph(encoded(ending))) == 1
    for value in range(10):  # 0 and 9 are none
        assert int(in_graph(with_exif(encoded(ending), ending, value, order))) == (
            value if 1 <= value <= 8 else 1
        )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("ending", KINDS)
def test_damaged_files_read_as_in_python(ending, order):
    """With bytes changed; where the file ends within its EXIF, any answer will do: it is no picture."""
    whole, kind = with_exif(encoded(ending), ending, 6, order)[:120], KINDS[ending]
    rng, found = np.random.default_rng(0), set()
    # Behind the length of segment or chunk: what does not fit is damaged.
    first = {"JPEG": 6, "PNG": 41}[kind]
    for number in range(400):
        content = bytearray(whole)
        content[rng.integers(first, 80)] = rng.integers(256)
        found.add(int(in_graph(bytes(content))))
        assert int(in_graph(bytes(content))) == orientation_of_file(bytes(content), kind), bytes(content)
        assert 1 <= int(in_graph(whole[: number % 120])) <= 8
    assert {1, 6} <= found


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value, expected", [(6, 6), (0x10006, 1), (0x60000, 1)])
def test_numbers_of_four_bytes(value, expected, order):
    start = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHII", 274, 4, 1, value)
    content = jpeg_with(start + struct.pack(order + "IH", 8, 1) + entry + bytes(4), encoded(".jpg"))
    assert int(in_graph(content)) == orientation_of_file(content, "JPEG") == expected


def test_a_style_photo_with_a_map_of_its_own_must_be_upright():
    table = ClassTable.create("t", [0, 1, 2])
    config = make_config(crop_size=32, aspect_ratio=32 / 24, class_table=table.to_dict(), instance_none_id=0)
    reader = InputReader(config, SimpleNamespace(instance_maps=lambda _: None, stride=1), (24, 32))
    upright, turned = encoded(".jpg"), with_exif(encoded(".jpg"), ".jpg", 6, "<")
    own = {"style_label_png_bytes": tf.constant([encode_png(np.zeros((24, 32), int), 0, 8)])}
    shown, other = ({"style_image_bytes": tf.constant([content])} for content in (upright, turned))
    stored = reader.decoded(shown | own)["image"]
    np.testing.assert_array_equal(reader.decoded(other)["image"], stored)
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match="DataError: style_image_bytes: EXIF orientation 6 turns this photo",
    ):
        reader.decoded(other | own)
