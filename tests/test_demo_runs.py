"""Asked of several shipped runs: their size, that pictures show what the map says, that photos give their look."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.evaluation.judge import load_judge
from semantic_synthesis.evaluation.segmentation import Confusion, score_batch
from semantic_synthesis.inference import load_run

CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"
MEGABYTES = {"clade": 8, "clvae": 8, "inade": 8, "oasis": 6, "scgan": 5, "sims": 10, "spade": 10}
MISSED = {
    "clade": 0.1,
    "oasis": 0.1,
    "scgan": 0.16,
}  # of the judge's mIoU of real pictures: 12 layouts are few
LOOKING = ("clade", "clvae", "scgan")

pytestmark = pytest.mark.skipif(
    not (CHECKPOINTS / "demo_spade").exists(), reason="the shipped runs are not in this checkout"
)


@cache
def shipped(name):
    return load_run(str(CHECKPOINTS / f"demo_{name}"))


@pytest.mark.parametrize("name", MEGABYTES)
def test_is_small(name):
    files = [path for path in (CHECKPOINTS / f"demo_{name}").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MEGABYTES[name] * 1e6


def test_all_are_small_together():
    assert sum(path.stat().st_size for path in CHECKPOINTS.glob("demo_*/**/*") if path.is_file()) <= 45e6


@pytest.mark.parametrize("name", MISSED)
def test_the_judge_finds_what_the_map_says(name):
    found = judged(shipped(name))
    assert found["made"] > found["real"] - MISSED[name], found


@pytest.mark.parametrize("name", LOOKING)
def test_photos_give_their_look(name):
    """In the style of one look of a scene, the picture's colours are nearer to that look than to the others."""
    right, total = right_looks(shipped(name))
    assert right >= total - 1, f"{right} of {total}"


def judged(run):
    """{"real", "made": the judge's mIoU} of 12 held-out scenes and of a run's pictures of their layouts."""
    judge, found = load_judge(), {}
    scenes = [render_scene(seed, *run.size) for seed in range(1_000_300, 1_000_312)]
    labels = np.stack([scene.label for scene in scenes]).astype(np.int32)
    layout = run.layout(labels, np.stack([scene.instance for scene in scenes]).astype(np.int32))
    pictures = {
        "real": np.stack([scene.image for scene in scenes]),
        "made": run.synthesize(layout, run.sample_style(list(range(12)), layout)),
    }
    for name, images in pictures.items():
        confusion = Confusion(run.table.num_classes)
        score_batch(confusion, judge, images, labels)
        found[name] = confusion.mean_iou
    return found


def right_looks(run):
    """(how many, of how many) pictures in the style of one look of a scene have colours nearer to that look than to the
    scene's others."""
    right = total = 0
    for seed in range(1_000_200, 1_000_204):
        scenes = {look: render_scene(seed, *run.size, look=look) for look in ("day", "sunset", "night")}
        layout = run.layout(scenes["day"].label, scenes["day"].instance)
        for look, scene in scenes.items():
            picture = run.synthesize(layout, run.encode_style(scene.image, layout))[0].astype(float)
            distances = {other: np.abs(picture - s.image).mean() for other, s in scenes.items()}
            right += min(distances, key=distances.get) == look
            total += 1
    return right, total
