"""What is computed once for each pair of a cell and a value, against the same pixel by pixel."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_synthesis.layers import pairs
from semantic_synthesis.layers.residual import double
from semantic_synthesis.methods import make_config
from semantic_synthesis.runs import build_method

CLASSES = 5


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 6), st.integers(0, 99))
def test_pairs_are_those_that_occur(batch, height, width, values, seed):
    index = np.random.default_rng(seed).integers(0, values, (batch, 2 * height, 2 * width)).astype(np.int32)
    found = pairs.find_pairs(tf.constant(index))
    cells = np.arange(batch * height * width).reshape(batch, height, width).repeat(2, 1).repeat(2, 2)
    expected = set(zip(cells.ravel().tolist(), index.ravel().tolist(), strict=True))
    given_back = list(zip(found.picked.cell.numpy().tolist(), found.index.numpy().tolist(), strict=True))
    assert len(given_back) == len(expected) and set(given_back) == expected
    assert int(found.picked.count) == batch * height * width
    places = found.places.numpy()
    np.testing.assert_array_equal(found.picked.cell.numpy()[places], cells)
    np.testing.assert_array_equal(found.index.numpy()[places], index)


@pytest.mark.parametrize("copies", [1, 3])
def test_rows_come_back_to_their_pixels(copies):
    rng = np.random.default_rng(0)
    found = pairs.find_pairs(tf.constant(rng.integers(0, 3, (2, 4, 6)), tf.int32))
    x = tf.constant(rng.standard_normal((2 * copies, 2, 3, 5)), tf.float32)
    rows = pairs.pick(x, found.picked)
    assert rows.shape == (copies, found.index.shape[0], 1, 5)
    np.testing.assert_array_equal(pairs.place(rows, found, x), double(x))


def test_copies_of_one_map_have_pairs_of_their_own():
    index = np.random.default_rng(0).integers(0, 4, (1, 4, 6)).astype(np.int32)
    found = pairs.find_pairs(tf.constant(index)).repeated(3, 4)
    whole = pairs.find_pairs(tf.constant(np.concatenate([index, index + 4, index + 8])))
    tf.nest.map_structure(np.testing.assert_array_equal, found, whole)


def layouts(batch, ids):
    """Maps of blocks with one odd pixel: few distinct patches, borders within and between cells."""
    rng = np.random.default_rng(1)
    label = rng.integers(0, ids, (batch, 4, 4)).astype(np.int32).repeat(16, 1).repeat(16, 2)
    label[:, 21, 37] = 0
    return {"label": label, "instance": (label > 2).astype(np.int32)}


def pictures(name, monkeypatch, paired, batch, styles, noise=False, **options):
    """(pictures of random weights, how often rows of pairs were spread over pixels)."""
    placed, real = [], pairs.place
    monkeypatch.setattr("semantic_synthesis.layers.residual.place", lambda *a: placed.append(a) or real(*a))
    pays = pairs.has_pairs if paired else lambda stride, strides: False
    monkeypatch.setattr(f"semantic_synthesis.methods.{name}.has_pairs", pays)
    config = make_config(
        **{
            "method": name,
            "class_table": {"names": [f"c{i}" for i in range(CLASSES)]},
            "crop_size": 64,
            "aspect_ratio": 1.0,
            "no_instance": True,
            "num_generator_filters": 4,
            "num_upsampling_layers": "normal",
            **options,
        }
    )
    method, layout = build_method(config, training=False), layouts(batch, CLASSES)
    if noise:
        layout["label"] = (
            np.random.default_rng(2).integers(0, CLASSES, layout["label"].shape).astype(np.int32)
        )
    style = method.sample_style(layout, tf.range(styles, dtype=tf.int64))
    return method.synthesize_planned(method.plan(layout), style).numpy(), len(placed)


def assert_equal_pictures(name, monkeypatch, batch, styles, has_pairs=True, tolerance=2e-6, **options):
    found, calls = pictures(name, monkeypatch, True, batch, styles, **options)
    expected, none = pictures(name, monkeypatch, False, batch, styles, **options)
    assert none == 0
    assert calls >= 4 if has_pairs else calls == 0  # two tensors in each of two or three blocks that enlarge
    assert found.shape == expected.shape and expected.std() > 1e-4
    np.testing.assert_allclose(found, expected, atol=tolerance)


@pytest.mark.parametrize("batch, styles", [pytest.param(1, 1, marks=pytest.mark.slow), (2, 2), (1, 3)])
@pytest.mark.parametrize("name", ["spade", "clade", "inade", "oasis", "clvae"])
def test_pictures_are_those_of_pixels(name, batch, styles, monkeypatch):
    assert_equal_pictures(name, monkeypatch, batch, styles)


def test_statistics_of_a_sample_are_those_of_its_cells(monkeypatch):
    assert_equal_pictures("spade", monkeypatch, 2, 2, norm_G="spectralspadeinstance3x3")


def test_pictures_of_bfloat16_are_those_of_pixels(monkeypatch):
    assert_equal_pictures("spade", monkeypatch, 1, 1, tolerance=0.02, precision="bfloat16")


def test_maps_of_many_patches_have_no_pairs(monkeypatch):
    assert_equal_pictures("spade", monkeypatch, 1, 1, False, tolerance=0, noise=True)


@pytest.mark.parametrize(
    "options", [{"no_instance": False}, {"class_positions": True}], ids=["edges", "places"]
)
def test_what_differs_within_a_class_has_no_pairs(options, monkeypatch):
    assert_equal_pictures("clade", monkeypatch, 1, 1, False, tolerance=0, **options)


def test_a_compiled_function_takes_either_form_by_its_map(monkeypatch):
    monkeypatch.undo()
    options = {
        "class_table": {"names": [f"c{i}" for i in range(CLASSES)]},
        "crop_size": 64,
        "no_instance": True,
    }
    config = make_config(**options, aspect_ratio=1.0, num_generator_filters=4, num_upsampling_layers="normal")
    method = build_method(config, training=False)
    method.fold()
    spec = {"label": tf.TensorSpec([None, None, None], tf.int32)}
    paint = tf.function(lambda layout: method.synthesize(layout, {}), input_signature=[spec])
    for noise in (False, True):
        layout = {"label": layouts(1, CLASSES)["label"][:, :, :32]}
        if noise:
            layout["label"] = np.random.default_rng(2).integers(0, CLASSES, (1, 64, 32)).astype(np.int32)
        found = paint({"label": tf.constant(layout["label"])})
        np.testing.assert_allclose(found, method.synthesize(layout, {}), atol=2e-6)
