"""Class tables and dataset descriptions: known answers, round trips, fuzzing."""

import json

import numpy as np
import pytest
from fixtures_data import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_synthesis.data import ClassTable, DataError, resolve
from semantic_synthesis.data.catalogue import describe, parse_description
from semantic_synthesis.data.tables import describe_ids, palette_color
from semantic_synthesis.methods import make_config

MODES = sorted(path.stem for path in (REPOSITORY / "datasets").glob("*.json"))
CHANNELS = {
    "ade20k": 151,
    "cityscapes": 35,
    "coco": 183,
    "celeba": 19,
    "celeba_scgan": 19,
    "deepfashion": 16,
    "deepfashion_inade": 8,
    "gta5": 20,
    "facades": 13,
    "scenes": 14,
}


def test_palette_is_pascal_voc():
    assert [palette_color(i) for i in (0, 1, 2, 3, 15, 255)] == [
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (128, 128, 0),
        (192, 128, 128),
        (224, 224, 192),
    ]
    assert len({palette_color(i) for i in range(5000)}) == 5000


def test_describe_ids():
    assert describe_ids([0, 1, 2, 7]) == "0..2, 7"


@pytest.mark.parametrize("mode", MODES)
def test_shipped_descriptions(mode):
    description = describe(mode)
    if mode == "custom":
        assert description.table is None
        return
    assert description.table.num_classes == CHANNELS[mode]
    assert description.name == mode


def test_facts_of_the_papers():
    ade = describe("ade20k").table
    assert (ade.names[0], ade.names[1], ade.names[150], ade.unknown) == ("unknown", "wall", "flag", 0)
    coco = describe("coco").table
    assert coco.class_of_id[[0, 181, 255]].tolist() == [0, 181, 182] and coco.unknown == 182
    assert (coco.names[0], coco.names[91], coco.names[181]) == ("person", "banner", "wood")
    assert describe("cityscapes").table.names[7:9] == ("road", "sidewalk")
    scgan = describe("celeba_scgan").table
    assert scgan.class_of_id[[0, 1, 18]].tolist() == [18, 0, 17]
    assert describe("gta5").table.names[18:] == ("bicycle", "other")


def test_colorize():
    table = ClassTable.create("t", [4, 9], colors=[[1, 2, 3], None])
    np.testing.assert_array_equal(table.colorize([[1, 0]]), [[palette_color(9), (1, 2, 3)]])


ids = st.lists(st.integers(0, 65535), min_size=1, max_size=30, unique=True)
junk = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70000) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(ids, st.data())
def test_round_trip(raw_ids, data):
    colors = [data.draw(st.none() | st.tuples(*[st.integers(0, 255)] * 3)) for _ in raw_ids]
    given_colors = [c for c in colors if c is not None]
    if len(set(given_colors)) < len(given_colors):
        with pytest.raises(DataError, match="twice"):
            ClassTable.create("t", raw_ids, colors=colors)
        return
    table = ClassTable.create("t", raw_ids, colors=colors)
    again = ClassTable.from_dict(json.loads(json.dumps(table.to_dict())))
    assert again.to_dict() == table.to_dict()
    assert len(np.unique(table.colors, axis=0)) == len(raw_ids)
    np.testing.assert_array_equal(table.class_of_id[raw_ids], np.arange(len(raw_ids)))
    assert np.count_nonzero(table.class_of_id >= 0) == len(raw_ids)


@settings(max_examples=150, deadline=None)
@given(st.fixed_dictionaries({k: junk for k in ("name", "names", "colors", "raw_ids", "unknown")}) | junk)
def test_fuzz_class_table(values):
    try:
        ClassTable.from_dict(values)
    except DataError as error:
        assert "\n" not in str(error)


KEYS = [
    "name",
    "classes",
    "unknown_id",
    "instance_none_id",
    "options",
    "splits",
    "dataroot",
    "instances",
    "x",
]


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), junk) | junk)
def test_fuzz_description(values):
    try:
        parse_description(values, "a.json").table  # noqa: B018
    except DataError as error:
        assert "\n" not in str(error)


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "crop_size": st.integers(-2, 300),
            "aspect_ratio": st.floats(allow_nan=True),
            "img_height": st.integers(-2, 300),
            "img_width": st.integers(-2, 300),
            "prob_dataset": st.floats(-1, 2),
            "scenes_count": st.integers(-1, 3),
            "preprocess_mode": st.sampled_from(["fixed", "crop", "resize_and_crop", "scale_width_and_crop"]),
        },
    )
)
def test_fuzz_config(options):
    try:
        config = resolve(make_config(**options))
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert resolve(config) == config
        assert config.crop_height > 0 and config.class_table["names"][0] == "sky"


PAIR = {"image": "a/{stem}.*", "label": "b/{stem}.*"}


@pytest.mark.parametrize(
    "layout, message",
    [
        ([], "no split 'train'"),
        ({**PAIR, "image": []}, "split 'train' has no pattern for image"),
        ([PAIR, {**PAIR, "instance": []}], "split 'train' has no pattern for instance"),
        ({**PAIR, "list": 5}, "list of split 'train' is 5; expected the name of a text file"),
        ({**PAIR, "list": ["x"]}, "list of split 'train' is "),
    ],
)
def test_wrong_splits(layout, message):
    with pytest.raises(DataError, match=f"^mine.json: {message}"):
        parse_description({"splits": {"train": layout}}, "mine.json")


def test_sizes_follow_the_crop():
    config = resolve(make_config(dataset_mode="scenes", crop_size=64, aspect_ratio=2.0))
    assert (config.crop_size, config.crop_height, config.img_width, config.img_height) == (64, 32, 64, 32)
    assert config.preprocess_mode == "fixed" and config.no_instance is True
