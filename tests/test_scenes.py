"""The procedural landscapes: determinism, exact ground truth, looks."""

import functools
import json
import pathlib

import numpy as np
import pytest

from semantic_synthesis.data import scenes
from semantic_synthesis.data.scenes import CLASSES, COLORS, LOOKS, render_scene

DATASETS = pathlib.Path(__file__).resolve().parents[1] / "datasets"
THINGS = [CLASSES.index(name) for name in ("tree", "house", "rock", "cloud")]
SEEDS = range(10)

render = functools.lru_cache(maxsize=None)(render_scene)


def _same(a, b):
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in ("image", "label", "instance"))


@pytest.mark.parametrize("seed", [0, 3, 2**40])
def test_same_arguments_same_bytes(seed):
    first = render_scene(seed, 64, 64)
    render_scene(seed + 1, 64, 48)  # another scene and another size in between change nothing
    second = render_scene(seed, 64, 64)
    assert first.look == second.look and _same(first, second)


def test_seeds_differ():
    assert not np.array_equal(render(0, 64, 64).label, render(1, 64, 64).label)
    assert {render(seed, 32, 32).look for seed in range(60)} == set(LOOKS)


@pytest.mark.parametrize("size", [(64, 64), (16, 16), (40, 96), (96, 40), (17, 101)])
def test_shapes_dtypes_and_ranges(size):
    scene = render(5, *size)
    assert scene.image.shape == (*size, 3) and scene.image.dtype == np.uint8
    assert scene.label.shape == size and scene.label.dtype == np.uint8
    assert scene.instance.shape == size and scene.instance.dtype == np.uint16
    assert scene.label.max() < len(CLASSES)
    assert scene.look in LOOKS


@pytest.mark.parametrize("seed", SEEDS)
def test_layout_does_not_depend_on_the_look(seed):
    first, *others = [render(seed, 64, 64, look) for look in LOOKS]
    for other in others:
        assert np.array_equal(first.label, other.label)
        assert np.array_equal(first.instance, other.instance)
        assert not np.array_equal(first.image, other.image)
    drawn = render(seed, 64, 64)
    assert np.array_equal(first.label, drawn.label)
    assert np.array_equal(drawn.image, render(seed, 64, 64, drawn.look).image)


@pytest.mark.parametrize("seed", SEEDS)
def test_instances_are_consecutive_and_of_one_class(seed):
    scene = render(seed, 128, 128)
    ids = np.unique(scene.instance)
    things = np.isin(scene.label, THINGS)
    assert np.array_equal(things, scene.instance > 0)
    assert np.array_equal(ids[ids > 0], np.arange(1, (ids > 0).sum() + 1))
    for number in ids[ids > 0]:
        assert len(np.unique(scene.label[scene.instance == number])) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_composition_is_the_same_at_every_size(seed):
    shares = []
    for side in (64, 128, 256):
        label = render(seed, side, side, "day").label
        shares.append(np.bincount(label.ravel(), minlength=len(CLASSES)) / label.size)
    # Outlines cover their border pixels too, so thin things take a larger share of small pictures.
    assert np.abs(shares[0] - shares[1]).max() < 0.07
    assert np.abs(shares[1] - shares[2]).max() < 0.05
    small, large = render(seed, 64, 64, "day").label, render(seed, 128, 128, "day").label
    assert (small == large[::2, ::2]).mean() > 0.85


def test_looks_change_sky_and_ground():
    sky, ground = {}, {}
    for look in LOOKS:
        skies, grounds = [], []
        for seed in SEEDS:
            scene = render(seed, 64, 64, look)
            skies.append(scene.image[scene.label == CLASSES.index("sky")].mean(0))
            grounds.append(scene.image[-20:].mean((0, 1)))
        sky[look], ground[look] = np.mean(skies, 0), np.mean(grounds, 0)
    assert sky["night"].mean() < 0.5 * sky["day"].mean()
    assert ground["night"].mean() < 0.6 * ground["day"].mean()
    assert sky["sunset"][0] - sky["sunset"][2] > 40 > sky["day"][0] - sky["day"][2]
    assert ground["sunset"][0] / ground["sunset"][2] > 1.2 * ground["day"][0] / ground["day"][2]
    assert ground["winter"].mean() > 1.3 * ground["day"].mean()
    assert np.ptp(sky["overcast"]) < 0.3 * np.ptp(sky["day"])
    for means in (sky, ground):
        for i, a in enumerate(LOOKS):
            for b in LOOKS[:i]:
                assert np.abs(means[a] - means[b]).max() > 12, (a, b)


def test_every_class_occurs():
    count = np.zeros(len(CLASSES), int)
    for seed in range(200):
        count[np.unique(render_scene(seed, 64, 64).label)] += 1
    assert (count >= 4).all(), dict(zip(CLASSES, count, strict=True))


def test_labelled_regions_differ_in_colour():
    """The picture follows the label map: edges of labels are edges of the picture."""
    edges, inside = [], []
    for seed in SEEDS:
        scene = render(seed, 128, 128, "day")
        step = np.abs(np.diff(scene.image.astype(int), axis=1)).sum(-1)
        border = scene.label[:, 1:] != scene.label[:, :-1]
        edges.append(step[border].mean())
        inside.append(step[~border].mean())
    assert np.mean(edges) > 3 * np.mean(inside)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"seed": 0, "height": 15}, "height is 15; expected a whole number from 16 to 2048"),
        ({"seed": 0, "width": 4096}, "width"),
        ({"seed": 0, "look": "noon"}, "look is 'noon'; expected one of day, sunset"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        render_scene(**arguments)


def test_json_equals_module():
    table = json.loads((DATASETS / "scenes.json").read_text())
    rows = [{"id": i, "name": name, "color": COLORS[i].tolist()} for i, name in enumerate(CLASSES)]
    assert [{k: row[k] for k in ("id", "name", "color")} for row in table["classes"]] == rows
    assert table["name"] == "scenes" and table["unknown_id"] is None
    assert len(np.unique(COLORS, axis=0)) == len(CLASSES) == len(scenes.COLORS)
