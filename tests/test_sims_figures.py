"""The figures of benchmarks/sims_scenes.py on cases that can be counted by hand."""

import sys

import numpy as np
import pytest
from helpers import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "benchmarks"))
import sims_scenes


def test_every_pixel_of_a_canvas_is_of_one_kind():
    """From the memory and unchanged, from it and changed, a rim, nothing; white of a photo is no rim."""
    picture = np.array([[[9, 9, 9], [8, 8, 8], [255] * 3, [0] * 3, [255] * 3]], np.uint8)
    owner = np.array([[2, 2, 2, 2, 2]])
    unchanged = np.array([[True, False, True, False, False]])
    found = sims_scenes.kinds_of_pixels(picture, owner, unchanged)
    assert found == {"memory": 3, "unchanged": 2, "rim": 1, "empty": 1}
    nobody = sims_scenes.kinds_of_pixels(picture, np.full((1, 5), -1), np.zeros((1, 5), bool))
    assert nobody == {"memory": 0, "unchanged": 0, "rim": 2, "empty": 1}


def test_a_piece_comes_from_one_source():
    """From where most of its pixels agree: chance agreement with the other does not count."""
    picture = np.arange(12, dtype=np.uint8).reshape(1, 4, 3)
    moved, still = picture.copy(), np.zeros_like(picture)
    moved[0, 3], still[0, 3] = 0, picture[0, 3]
    there = np.ones((1, 4), bool)
    assert sims_scenes.equal_to_one(picture, [still, moved], there).tolist() == [[True, True, True, False]]
    assert sims_scenes.equal_to_one(picture, [still, moved], there & (np.arange(4) == 3))[0, 3]


def test_rows():
    columns = {
        "network": [1, 1, 0, 0, 0],
        "depth": [1, 0, 0, 1, 0],
        "asked": [1, 1, 0, 1, 0],
        "rule": [0, 1, 0, 0, 0],
    }
    row = sims_scenes.order_row({name: np.array(values, bool) for name, values in columns.items()})
    assert (row["pairs"], row["network"], row["classes"]) == (5, 0.8, 0.6)
    assert (row["free pairs"], row["network, free"], row["classes, free"]) == (4, 0.75, 0.5)
    assert (row["against the classes"], row["network among these"]) == (2, 1)
    one = np.zeros((1, 4, 4), bool)
    one[0, :2], two = True, np.zeros((1, 4, 4), bool)
    two[0, 1:3] = True
    assert sims_scenes.iou(one, two).tolist() == [pytest.approx(1 / 3)]
    assert sims_scenes.iou(np.zeros((1, 2, 2), bool), np.zeros((1, 2, 2), bool)).tolist() == [0]
