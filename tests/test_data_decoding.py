"""Label maps, instance maps and photos from files: known answers, refusals, fuzzing."""

import cv2
import numpy as np
import pytest
import tensorflow as tf
from fixtures_data import encode_png, png_chunk
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_synthesis.data import ClassTable, DataError, user_error
from semantic_synthesis.data.decoding import (
    MAX_PIXELS,
    decode_image,
    decode_instance,
    decode_label,
    decode_samples,
    read_image,
    read_label,
)
from semantic_synthesis.data.graph_decoding import decode_instance_png, decode_label_png

TABLE = ClassTable.create("t", [0, 1, 2, 3, 255], ["a", "b", "c", "d", "unknown"], unknown=4)
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
LABEL = np.array([[0, 1, 2, 3], [3, 3, 0, 4]])
RAW = np.array(TABLE.raw_ids)[LABEL]
SMALL = np.array([[0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 1, 1]])


def with_alpha(rgb, alpha=255):
    return np.concatenate([rgb, np.full_like(rgb[..., :1], alpha)], axis=-1)


PALETTE_OF_OTHERS = np.full((256, 3), 7)
ADAPTIVE = TABLE.colors[[4, 3, 2, 1, 0]]
FORMATS = {
    "8 bit": (encode_png(RAW, GREY, 8), LABEL),
    "16 bit": (encode_png(RAW, GREY, 16), LABEL),
    "1 bit": (encode_png(SMALL, GREY, 1), SMALL),
    "2 bit": (encode_png(SMALL * 3, GREY, 2), SMALL * 3),
    "4 bit": (encode_png(SMALL * 3, GREY, 4), SMALL * 3),
    "palette": (encode_png(RAW, PALETTE, 8, PALETTE_OF_OTHERS), LABEL),
    "palette 4 bit": (encode_png(SMALL * 2, PALETTE, 4, PALETTE_OF_OTHERS[:4]), SMALL * 2),
    "palette with transparency": (
        encode_png(RAW, PALETTE, 8, PALETTE_OF_OTHERS, [(b"tRNS", bytes(5))]),
        LABEL,
    ),
    "palette whose colours are the table's": (encode_png(4 - LABEL, PALETTE, 8, ADAPTIVE), LABEL),
    "rgb": (encode_png(TABLE.colors[LABEL], RGB, 8), LABEL),
    "rgba": (encode_png(with_alpha(TABLE.colors[LABEL]), RGBA, 8), LABEL),
    "grey and alpha": (encode_png(with_alpha(RAW[..., None]), GREY_ALPHA, 8), LABEL),
}


@pytest.fixture(scope="module")
def graph_decoder():
    """decode_label_png as a compiled function, as in an export."""
    signature = [tf.TensorSpec([], tf.string)]
    return tf.function(lambda png: decode_label_png(png, TABLE), input_signature=signature)


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name, graph_decoder, tmp_path):
    data, expected = FORMATS[name]
    (tmp_path / "a.png").write_bytes(data)
    label = read_label(tmp_path / "a.png", TABLE)
    assert label.dtype == np.int32
    np.testing.assert_array_equal(label, expected)
    np.testing.assert_array_equal(graph_decoder(data), expected)


REFUSED = {
    "jpeg": (cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes(), "JPEG"),
    "empty": (b"", "format"),
    "text": (b"hello", "format"),
    "ids": (encode_png(RAW % 250 + 7, GREY, 8), "label ids 7..10, 12 are not in class table 't'"),
    "255": (encode_png(np.array([[0, 254]]), GREY, 8), "allowed 0..3, 255"),
    "16 bit ids": (encode_png(np.array([[0, 60000]]), GREY, 16), "60000"),
    "colour": (encode_png(TABLE.colors[LABEL] // 2 + 9, RGB, 8), "nearest"),
    "16 bit rgb": (encode_png(TABLE.colors[LABEL], RGB, 16), "16 bits per colour"),
    "transparent": (encode_png(with_alpha(TABLE.colors[LABEL], 3), RGBA, 8), "transparent"),
    "palette ids": (encode_png(RAW % 250 + 7, PALETTE, 8, PALETTE_OF_OTHERS), "not in class table"),
    "palette with two meanings": (
        encode_png(np.array([[0, 1]]), PALETTE, 8, TABLE.colors[[1, 0]]),
        "two meanings",
    ),
    "palette of 300 colours": (encode_png(RAW, PALETTE, 8, np.zeros((300, 3))), "damaged"),
    "cut off": (FORMATS["8 bit"][0][:-20], "damaged"),
    "bad checksum": (FORMATS["8 bit"][0].replace(b"IDAT", b"IDAT\0")[:-1], "damaged"),
    "too few rows": (encode_png(RAW, GREY, 8, data=b"\0\0\0\0\0"), "damaged"),
    "no pixels": (encode_png(np.zeros((0, 4)), GREY, 8), "0 pixels|4x0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name, graph_decoder):
    data, message = REFUSED[name]
    with pytest.raises(DataError, match=message) as caught:
        decode_label(data, TABLE, "folder/a.png")
    assert str(caught.value).startswith("folder/a.png: ") and "\n" not in str(caught.value)
    with pytest.raises(tf.errors.InvalidArgumentError):
        graph_decoder(data)


def test_palettes_hold_no_files():
    """A scan keeps the palettes of all label maps."""
    header, _ = decode_samples(encode_png(np.array([[0, 1]]), PALETTE, 8, TABLE.colors), "x")
    owner = header.palette
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    assert isinstance(owner, np.ndarray)  # not the bytes of a file
    np.testing.assert_array_equal(header.palette, TABLE.colors)


def test_graph_error_names_ids(graph_decoder):
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        graph_decoder(REFUSED["ids"][0])
    line = "label_png: label ids {7, 8, 9, 10, 12} found, allowed are 0..3, 255 (class table 't')"
    assert user_error(caught.value) == line


def test_bomb_is_refused_by_its_header(graph_decoder):
    header = (1 << 16).to_bytes(4, "big") * 2 + bytes([8, GREY, 0, 0, 0])
    bomb = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"x" * 50)
    for decode in (decode_samples, decode_image, decode_instance):
        with pytest.raises(DataError, match=f"65536x65536 pixels; at most {MAX_PIXELS}"):
            decode(bomb, "bomb.png")
    with pytest.raises(tf.errors.InvalidArgumentError, match="65536x65536"):
        graph_decoder(bomb)
    jpeg = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    at = jpeg.index(b"\xff\xc0") + 5
    with pytest.raises(DataError, match="65535x65535 pixels"):
        decode_image(jpeg[:at] + b"\xff\xff\xff\xff" + jpeg[at + 4 :], "bomb.jpg")


def test_photos(tmp_path):
    picture = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    data = cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
    (tmp_path / "a.png").write_bytes(data)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)
    for suffix in (".bmp", ".ppm", ".tiff"):
        data = cv2.imencode(suffix, picture[..., ::-1])[1].tobytes()
        np.testing.assert_array_equal(decode_image(data, "a"), picture)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_image(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"")
    with pytest.raises(DataError, match="0 bytes"):
        read_image(tmp_path / "c.png")
    for damaged in (b"not a picture", data[:40]):
        with pytest.raises(DataError):
            decode_image(damaged, "a")


def test_cut_off_jpeg_is_refused():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = cv2.imencode(".jpg", noise)[1].tobytes()
    assert decode_image(data + b"trailing bytes", "a").shape == (64, 64, 3)
    for length in (10, 200, len(data) // 2, len(data) - 2):
        with pytest.raises(DataError, match="damaged"):
            decode_image(data[:length], "a")


def test_instance_maps():
    ids = np.array([[0, 300], [26001, 65535]])
    np.testing.assert_array_equal(decode_instance(encode_png(ids, GREY, 16), "a"), ids)
    rgb = np.stack([ids % 256, ids // 256, ids * 0 + 1], axis=-1)
    np.testing.assert_array_equal(decode_instance(encode_png(rgb, RGB, 8), "a"), ids + 65536)


INSTANCES = {
    "8 bit": encode_png(RAW, GREY, 8),
    "16 bit": encode_png(RAW * 255, GREY, 16),
    "1 bit": encode_png(SMALL, GREY, 1),
    "4 bit": encode_png(SMALL * 9, GREY, 4),
    "palette": encode_png(RAW, PALETTE, 8, PALETTE_OF_OTHERS),
    "palette 1 bit": encode_png(SMALL, PALETTE, 1, PALETTE_OF_OTHERS[:2]),
    "rgb": encode_png(TABLE.colors[LABEL], RGB, 8),
    "rgba": encode_png(with_alpha(TABLE.colors[LABEL]), RGBA, 8),
    "grey and alpha": encode_png(with_alpha(RAW[..., None]), GREY_ALPHA, 8),
}


@pytest.fixture(scope="module")
def instance_decoder():
    """decode_instance_png as a compiled function, as in an export."""
    signature = [tf.TensorSpec([], tf.string)]
    return tf.function(lambda png: decode_instance_png(png, "instance_png"), input_signature=signature)


@pytest.mark.parametrize("name", INSTANCES)
def test_graphs_read_the_instance_maps_that_files_may_be(name, instance_decoder):
    expected = decode_instance(INSTANCES[name], "a")
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(instance_decoder(INSTANCES[name]), expected)


def test_both_decoders_refuse_the_same_instance_maps(instance_decoder):
    for data, message in (
        (encode_png(TABLE.colors[LABEL], RGB, 16), "16 bits per colour; expected a PNG with object ids"),
        (encode_png(with_alpha(TABLE.colors[LABEL], 3), RGBA, 8), "8 transparent pixels, whose"),
        (b"hello", "expected a PNG with object ids in one channel"),
    ):
        with pytest.raises(DataError, match=message):
            decode_instance(data, "a")
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            instance_decoder(data)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_fuzz_label_bytes(data):
    """Damaged files give a DataError or, where the damage does not touch the content, the right ids."""
    png, expected = FORMATS[data.draw(st.sampled_from(sorted(FORMATS)))]
    damaged = bytearray(png)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(damaged[: data.draw(st.integers(0, 2 * len(damaged)))])
    try:
        label = decode_label(damaged, TABLE, "a")
    except DataError as error:
        assert "\n" not in str(error)
    else:
        np.testing.assert_array_equal(label, expected)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_fuzz_ids(data):
    """Any grid of any values: exactly the table's classes, or an error; both decoders agree."""
    raw_ids = data.draw(st.lists(st.integers(0, 300), min_size=1, max_size=6, unique=True))
    table = ClassTable.create("t", raw_ids)
    height, width = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    values = (
        st.one_of(st.sampled_from(raw_ids), st.integers(0, 300))
        if data.draw(st.booleans())
        else (st.sampled_from(raw_ids))
    )
    flat = data.draw(st.lists(values, min_size=height * width, max_size=height * width))
    grid = np.array(flat).reshape(height, width)
    depth = 8 if grid.max() < 256 else 16
    png = encode_png(grid, GREY, depth)
    if set(flat) <= set(raw_ids):
        label = decode_label(png, table, "a")
        np.testing.assert_array_equal(np.array(raw_ids)[label], grid)
        np.testing.assert_array_equal(decode_label_png(tf.constant(png), table), label)
    else:
        with pytest.raises(DataError):
            decode_label(png, table, "a")
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode_label_png(tf.constant(png), table)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", b"\xff\xd8\xff", b"BM", b"GIF8", b"RIFF", b"P6 "]))
def test_fuzz_photo_bytes(data, start):
    try:
        assert decode_image(start + data, "a").dtype == np.uint8
    except DataError as error:
        assert "\n" not in str(error)
