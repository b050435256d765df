"""What ships to try runs with: every layout twice, at 128 and at 256, each with its objects."""

import os

import numpy as np
import pytest

from semantic_synthesis import data
from semantic_synthesis.data import catalogue
from semantic_synthesis.demo import demo_layouts, demo_objects, demo_photos


@pytest.fixture(scope="module")
def table():
    return catalogue.describe("scenes").table


@pytest.mark.parametrize(
    "size,side", [((128, 128), 128), ((255, 512), 128), ((256, 256), 256), ((512, 300), 256)]
)
def test_layouts_are_of_the_runs_size(table, size, side):
    found = demo_layouts(size)
    assert list(found) == sorted(found) and "lake" in found
    for label, instance in found.values():
        ids, objects = data.read_label(label, table), data.read_instance(instance)
        assert ids.shape == objects.shape == (side, side)
        for one in np.unique(objects):
            if one:  # an object is of one class
                assert len(np.unique(ids[objects == one])) == 1


def test_large_layouts_show_what_the_small_ones_show(table):
    """Half of a large map is its small one but for pixels at edges."""
    for name, (small, _) in demo_layouts((128, 128)).items():
        large, _ = demo_layouts((256, 256))[name]
        same = data.read_label(large, table)[::2, ::2] == data.read_label(small, table)
        assert same.mean() > 0.95, large


def test_objects_go_with_demo_layouts_alone(tmp_path, monkeypatch):
    label, instance = demo_layouts((256, 256))["village"]
    assert demo_objects(str(label)) == str(instance)
    monkeypatch.chdir(label.parent)
    assert os.path.samefile(demo_objects("village_label.png"), instance)  # however it is named
    (tmp_path / "village_label.png").write_bytes(label.read_bytes())
    assert demo_objects(str(tmp_path / "village_label.png")) == ""
    assert demo_objects("village_instance.png") == ""


def test_photos_have_label_maps(table):
    assert list(demo_photos()) == ["day", "overcast", "sunset", "night", "winter"]
    for photo, label in demo_photos().values():
        assert data.read_image(photo).shape[:2] == data.read_label(label, table).shape
