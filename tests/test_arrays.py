"""What programs hand over and is none of what a function takes: one line that names what was given and expected."""

import cv2
import numpy as np
import pytest
from helpers import conformance_options, shallow_networks, tiny_config

from semantic_synthesis import load, read_label, runs, write_png
from semantic_synthesis.arrays import check_map, check_pictures
from semantic_synthesis.inference import Synthesizer


@pytest.fixture(scope="module")
def run():
    return load("demo_spade")


@pytest.fixture(scope="module")
def regions():
    """A tiny run with a style per region of the layout."""
    with shallow_networks():
        config = tiny_config("", **conformance_options("inade"))
        return Synthesizer(config, runs.build_method(config, training=False))


@pytest.fixture(scope="module")
def objects():
    """A tiny run with instance maps."""
    with shallow_networks():
        config = tiny_config("", no_instance=False)
        return Synthesizer(config, runs.build_method(config, training=False))


IDS = np.zeros((128, 128), np.uint8)
IDS[64:] = 6
PHOTO = np.zeros((40, 40, 3), np.uint8)


def refused(words, function, *arguments, **named):
    with pytest.raises(ValueError) as caught:
        function(*arguments, **named)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 330
    for word in words:
        assert word in message, message


def one_hot(axis):
    return np.moveaxis(np.eye(14, dtype=np.uint8)[IDS], -1, axis)


MAPS = {
    "as cv2.imread opens it": (
        np.stack([IDS] * 3, -1),
        ["label: array of shape (128, 128, 3)", "ids [h,w]", "cv2"],
    ),
    "channel axis": (IDS[..., None], ["(128, 128, 1)", "ids [h,w] or [N,h,w]", "one channel"]),
    "batch with channels": (IDS[None, ..., None], ["(1, 128, 128, 1)", "one channel"]),
    "RGBA": (np.stack([IDS] * 4, -1), ["(128, 128, 4)"]),
    "as plt.imread opens it": (IDS / 255, ["label ids are floats (0.0235294 among them)", "whole numbers"]),
    "NaN": (np.where(IDS, np.nan, 0), ["label ids are floats (nan among them)"]),
    "one-hot, channels last": (one_hot(-1), ["(128, 128, 14)", "channel per class", "argmax"]),
    "one-hot, channels first": (one_hot(0), ["(14, 128, 128)", "channel per class", "argmax"]),
    "empty": (IDS[:0], ["label: array of shape (0, 128) is empty"]),
    "a row": (IDS[0], ["label: array of shape (128,)"]),
    "too large": (IDS + 10, ["label ids [16] unknown; expected 0 to 13"]),
    "many too large": (np.arange(128 * 128).reshape(128, 128), ["and 16362 more unknown"]),
    "negative": (IDS.astype(int) - 1, ["label ids [-1] unknown"]),
    "beyond 32 bits": (IDS.astype(np.int64) * 2**32, [f"label ids [{6 * 2**32}] unknown"]),
    "text": (np.full((8, 8), "sky"), ["label: ndarray of <U3"]),
    "ragged": ([[1, 2], [3]], ["label: list is no array"]),
    "nothing": (None, ["label: NoneType of object"]),
}


@pytest.mark.parametrize("case", MAPS)
def test_maps(case, run):
    value, words = MAPS[case]
    refused(words, run.layout, value)
    refused(words[:1], run.paint, value)


def test_maps_that_are_none_the_less_right(run):
    right = run.layout(IDS)["label"]
    for same in (IDS.tolist(), IDS.astype(float), IDS.astype(np.uint64), IDS[None], (IDS > 0) * np.int8(6)):
        np.testing.assert_array_equal(run.layout(same)["label"], right)
    np.testing.assert_array_equal(run.layout(IDS > 0)["label"], run.layout((IDS > 0).astype(int))["label"])
    refused(["label: array of shape (2, 128, 128); expected ids [h,w]"], run.paint, np.stack([IDS] * 2))


def test_instance_maps(objects):
    ids = IDS[:32, :32]
    refused(["(16, 16)", "that of label, (32, 32)"], objects.layout, ids, ids[:16, :16])
    refused(["instance: array of shape (32, 32, 3)"], objects.layout, ids, np.stack([ids] * 3, -1))
    refused(["instance ids from -1 to -1"], objects.layout, ids, np.full((32, 32), -1))
    refused(
        ["(16, 16)", "that of label, (32, 32)"],
        objects.paint,
        ids,
        ids[:16, :16],
        size=(64, 64),
    )
    refused(["instance: array of shape (32, 32, 1)"], objects.paint, ids, ids[..., None])
    refused(["instance ids are floats"], objects.layout, ids, np.full((32, 32), 0.5))
    refused(["give one"], objects.layout, ids)


PHOTOS = {
    "floats from 0 to 1": (PHOTO / 255.0, ["photo: float64 from 0 to 0", "uint8 RGB", "(255 * x)"]),
    "floats from -1 to 1": (PHOTO.astype(np.float32) - 1, ["float32 from -1 to -1", "127.5"]),
    "other integers": (PHOTO.astype(int), ["int64", "astype(np.uint8)"]),
    "grey": (PHOTO[..., 0], ["(40, 40)", "grey in three channels"]),
    "RGBA": (np.zeros((40, 40, 4), np.uint8), ["(40, 40, 4)", "transparency"]),
    "channels first": (np.zeros((3, 40, 40), np.uint8), ["(3, 40, 40)", "channels last"]),
    "empty": (PHOTO[:0], ["is empty"]),
    "a file's name": ("photo.jpg", ["photo: str of <U9"]),
}


@pytest.mark.parametrize("case", PHOTOS)
def test_photos(case, run):
    value, words = PHOTOS[case]
    refused(words, run.encode_style, value)
    refused(words, run.read_photos, value)
    refused(words, run.paint, IDS, photo=value)


def test_seeds_and_other_arguments(run):
    for seeds, word in (
        (3, "shape ()"),
        ([], "shape (0,)"),
        ([0.5], "float64"),
        ([2**63], "uint64"),
    ):
        refused(["seeds:", word, "one per picture"], run.sample_style, seeds)
    refused(["2 seeds for 1 photos"], run.encode_style, PHOTO, seed=[1, 2])
    refused(["expected a list of texts, ['all=seed:3']"], run.paint, IDS, restyle="all=seed:3")
    for size in ((0, 5), (5,), 128, (1.5, 3), (10**6, 10**6), "128x128"):
        refused(["size: ", "(height, width)"], run.paint, IDS, size=size)
    refused(["photo_label: given without photo"], run.paint, IDS, photo_label=IDS)
    refused(
        ["photo_label: array of shape (128, 128); expected (40, 40)"],
        run.paint,
        IDS,
        photo=PHOTO,
        photo_label=IDS,
    )
    refused(["load_run: precision is 'fp16'; expected one of float32, bfloat16"], load, "demo_spade", "fp16")


def test_layouts_and_styles(run):
    layout, style = run.layout(IDS), run.sample_style([0])
    for wrong, words in (
        (IDS, ["layout: ndarray; expected what run.layout(label) gives, {label}"]),
        ({"labels": IDS}, ["layout: {labels}"]),
        ({"label": IDS}, ["layout['label']: array of shape (128, 128); expected [N,128,128]"]),
        ({"label": layout["label"] + 20}, ["layout['label'] ids"]),
    ):
        refused(words, run.synthesize, wrong, style)
        refused(words, run.provenance, wrong, style)
        refused(words, run.sample_style, [0], wrong)
    z = style["z"].numpy()
    for wrong, words in (
        (None, ["style: NoneType; expected {z}"]),
        ({}, ["style: {}; expected {z}"]),
        ({"z": z[0]}, ["style['z']: float32 of shape (32,); expected finite floats [N,32]"]),
        ({"z": z[:, :5]}, ["shape (1, 5)"]),
        ({"z": z * np.nan}, ["holds NaN"]),
        ({"z": z.astype(int)}, ["int64"]),
    ):
        refused(words, run.synthesize, layout, wrong)
    two = run.layout(np.stack([IDS, IDS]))
    refused(["1 styles for 2 layouts"], run.synthesize, two, style)
    refused(["3 seeds; expected one for each of the layouts"], run.sample_style, [0, 1, 2], two)


def test_styles_of_too_few_regions(regions):
    """Rows that are missing would be read as noise or zeros."""
    few, many = regions.layout(IDS[:32, :32] * 0), regions.layout(np.arange(32 * 32).reshape(32, 32) % 14)
    refused(
        ["expected finite floats [N,14 or more,2,"], regions.synthesize, many, regions.sample_style([0], few)
    )
    assert regions.synthesize(few, regions.sample_style([0], many)).shape == (1, 32, 32, 3)


def test_as_many_photos_as_layouts(regions):
    ids = IDS[:32, :32]
    one, two, photos = regions.layout(ids), regions.layout(np.stack([ids, ids])), np.stack([PHOTO, PHOTO])
    refused(["2 photos for 1 layouts; expected a layout for each"], regions.encode_style, photos, one)
    refused(["1 photos for 2 layouts"], regions.encode_style, PHOTO, two)
    refused(["2 photos for 1 layouts"], regions.encode_style, photos, one, 0, two)
    refused(["1 photos for 2 layouts"], regions.encode_style, PHOTO, one, 0, two)


def test_writing(tmp_path, run):
    path = str(tmp_path / "p.png")
    for wrong, words in (
        (np.zeros((4, 4, 4), np.uint8), ["picture: array of shape (4, 4, 4); expected uint8 RGB [h,w,3]"]),
        (PHOTO / 255, ["picture: float64 from 0 to 0"]),
        (PHOTO[..., :1], ["(40, 40, 1)"]),
        (PHOTO[None], ["(1, 40, 40, 3)"]),
        (np.zeros((4, 4)), ["picture: array of shape (4, 4)"]),
        (PHOTO[:0, :0], ["is empty"]),
    ):
        refused(words, write_png, path, wrong)
    assert not list(tmp_path.iterdir())
    write_png(path, PHOTO + np.uint8(7))
    write_png(str(tmp_path / "deep.png"), np.full((4, 4), 40000, np.uint16))
    assert cv2.imread(path)[0, 0].tolist() == [7, 7, 7]
    assert cv2.imread(str(tmp_path / "deep.png"), -1)[0, 0] == 40000
    write_png(path, IDS)
    np.testing.assert_array_equal(read_label(path, run.table), IDS)


def test_colours_of_classes(run):
    refused(["label ids [-1] unknown"], run.table.colorize, np.full((4, 4), -1))
    refused(["label ids are float64"], run.table.colorize, np.zeros((4, 4)))
    np.testing.assert_array_equal(run.table.colorize(IDS > 0), run.table.colorize((IDS > 0).astype(int)))


def test_the_checks_give_back_what_they_were_given():
    assert check_map(IDS, "label", 14) is IDS and check_pictures(PHOTO) is PHOTO
