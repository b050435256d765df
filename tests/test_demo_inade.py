"""The shipped INADE run: an edit of one object changes that object and nothing beyond the convolutions' reach."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from semantic_synthesis import data
from semantic_synthesis.inference import load_run
from semantic_synthesis.restyling import apply_edits, list_regions, parse_edit

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "checkpoints" / "demo_inade"
SCENES = ROOT / "datasets" / "scenes"

pytestmark = pytest.mark.skipif(not DEMO.exists(), reason="the shipped run is not in this checkout")


@pytest.fixture(scope="module")
def run():
    return load_run(str(DEMO))


def maps(run, name):
    label = data.read_label(SCENES / f"{name}_label.png", run.table)
    return label, data.read_instance(SCENES / f"{name}_instance.png")


def reach(run, inside):
    """bool [H,W]: the pixels that a change of scale and shift inside a mask can touch.

    Per block the shortcut's and the first normaliser, a 3x3 convolution, the second normaliser and another
    3x3 convolution; then the last convolution. Batch statistics are constants at inference.
    """
    strides = run.method.strides
    touched = np.zeros_like(inside[:: strides[0], :: strides[0]])
    for stride in strides:
        here = inside[::stride, ::stride]
        factor = here.shape[0] // touched.shape[0]
        touched = touched.repeat(factor, 0).repeat(factor, 1)
        touched = widened(widened(touched | here) | here)
    return widened(touched)


def widened(mask):
    return cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)


@pytest.mark.parametrize("name", ["village", "fields", "river", "lake"])
def test_editing_one_object_stays_near_it(run, name):
    label, instance = maps(run, name)
    objects = [r for r in list_regions(run, label, instance) if r.instance]
    objects = [r for r in objects if run.table.names[r.class_id] in ("house", "tree")]
    assert objects
    layout = run.layout(label, instance)
    style = run.encode_style(data.read_image(SCENES / "style_day.png"), layout)
    plan = run.method.plan(layout)
    before = run.method.synthesize_planned(plan, style).numpy()[0]  # float32 [H,W,3] in [-1,1]
    far_pixels, changes = 0, []
    for region in objects:
        edit = parse_edit(f"instance:{region.instance}=seed:5")
        edited = apply_edits(run, [edit], label, instance, style)
        after = run.method.synthesize_planned(plan, edited).numpy()[0]
        inside = layout["instance"][0] == region.row
        within = reach(run, inside)
        difference = np.abs(after - before).max(-1)
        assert difference[~within].max(initial=0) <= 1e-3
        far_pixels += (~within).sum()
        if inside.sum() > 100:
            changes.append(difference[inside].mean())
            assert changes[-1] > 2 * difference[~inside].mean()
    assert far_pixels > 0, "every object reaches everything: nothing was tested"
    assert np.mean(changes) > 0.05, changes


def test_an_edit_that_keeps_the_style_keeps_every_pixel(run):
    label, instance = maps(run, "village")
    layout = run.layout(label, instance)
    style = run.sample_style([2], layout)
    same = apply_edits(run, [parse_edit("all=seed:2")], label, instance, style)
    np.testing.assert_array_equal(run.synthesize(layout, same), run.synthesize(layout, style))


def test_colours_follow_the_photo_of_the_layout(run):
    """Encoded from a rendered scene, most regions are nearer to its colours than to another look's."""
    from semantic_synthesis.data.scenes import render_scene

    right = total = 0
    for seed in range(1_000_200, 1_000_206):
        scenes = {look: render_scene(seed, *run.size, look=look) for look in ("day", "sunset", "night")}
        label, instance = scenes["day"].label, scenes["day"].instance
        layout = run.layout(label, instance)
        regions = layout["instance"][0]
        means = {}
        for look, scene in scenes.items():
            style = run.encode_style(scene.image, layout)
            means[look] = colors(run.synthesize(layout, style)[0], regions)
        truths = {look: colors(scene.image, regions) for look, scene in scenes.items()}
        for row in np.flatnonzero(np.bincount(regions.ravel()) > 60):
            for look in scenes:
                distances = {other: np.linalg.norm(means[look][row] - truths[other][row]) for other in scenes}
                right += min(distances, key=distances.get) == look
                total += 1
    assert total > 60 and right >= 0.8 * total, f"{right} of {total}"


def colors(picture, regions):
    """Mean RGB of every region: float [R,3]."""
    sizes = np.bincount(regions.ravel())
    return np.stack([np.bincount(regions.ravel(), picture[..., c].ravel()) / sizes for c in range(3)], 1)
