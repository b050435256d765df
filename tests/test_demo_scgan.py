"""The shipped SCGAN run: pictures show what the map says, photos give their look, gates follow the classes."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from semantic_synthesis import data
from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.evaluation.judge import load_judge
from semantic_synthesis.evaluation.segmentation import Confusion, score_batch
from semantic_synthesis.inference import load_run

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "checkpoints" / "demo_scgan"
SCENES = ROOT / "datasets" / "scenes"

pytestmark = pytest.mark.skipif(not DEMO.exists(), reason="the shipped run is not in this checkout")


@pytest.fixture(scope="module")
def run():
    return load_run(str(DEMO))


def test_the_judge_finds_what_the_map_says(run):
    """As much of it as in real pictures of the same layouts, less a sixth: 12 layouts are few."""
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
    assert found["made"] > found["real"] - 0.16, found


def test_photos_give_their_look(run):
    """In the style of one look of a scene, the picture's colours are nearer to that look than to the others."""
    right = total = 0
    for seed in range(1_000_200, 1_000_206):
        scenes = {look: render_scene(seed, *run.size, look=look) for look in ("day", "sunset", "night")}
        layout = run.layout(scenes["day"].label, scenes["day"].instance)
        for look, scene in scenes.items():
            picture = run.synthesize(layout, run.encode_style(scene.image, layout))[0].astype(float)
            distances = {other: np.abs(picture - s.image).mean() for other, s in scenes.items()}
            right += min(distances, key=distances.get) == look
            total += 1
    assert right >= total - 1, f"{right} of {total}"


def test_gates_follow_the_classes(run):
    """At the finest level the experts' shares differ between classes, and pictures need what differs anywhere."""
    label = data.read_label(SCENES / "village_label.png", run.table)
    layout = run.layout(label, data.read_instance(SCENES / "village_instance.png"))
    plan, style = run.method.plan(layout), run.sample_style([2], layout)
    gates = plan[1].conv_gates[0].numpy()  # [H,W,E]
    shares = np.stack([gates[label == k].mean(0) for k in np.unique(label)])  # [classes,E]
    assert np.ptp(shares, 0).max() > 0.05
    even = {
        stride: at._replace(
            conv_gates=tf.ones_like(at.conv_gates) * tf.reduce_mean(at.conv_gates, [1, 2], keepdims=True),
            norm_gates=tf.ones_like(at.norm_gates) * tf.reduce_mean(at.norm_gates, [1, 2], keepdims=True),
        )
        for stride, at in plan.items()
    }
    pictures = [(run.method.synthesize_planned(p, style).numpy()[0] + 1) * 127.5 for p in (plan, even)]
    assert np.abs(pictures[0] - pictures[1]).mean() > 10


def test_shipped_run_is_small():
    assert sum(path.stat().st_size for path in DEMO.iterdir()) < 5_000_000
