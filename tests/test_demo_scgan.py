"""The shipped SCGAN run: pictures show what the map says, photos give their look, gates follow the classes."""

from pathlib import Path

import numpy as np
import pytest
from shipped_checks import judged, right_looks

from semantic_synthesis import data
from semantic_synthesis.inference import load_run
from semantic_synthesis.methods.scgan.gate_pictures import with_mean_gates

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "checkpoints" / "demo_scgan"
SCENES = ROOT / "datasets" / "scenes"

pytestmark = pytest.mark.skipif(not DEMO.exists(), reason="the shipped run is not in this checkout")


@pytest.fixture(scope="module")
def run():
    return load_run(str(DEMO))


def test_the_judge_finds_what_the_map_says(run):
    """As much of it as in real pictures of the same layouts, less a sixth: 12 layouts are few."""
    found = judged(run)
    assert found["made"] > found["real"] - 0.16, found


def test_photos_give_their_look(run):
    """In the style of one look of a scene, the picture's colours are nearer to that look than to the others."""
    right, total = right_looks(run)
    assert right >= total - 1, f"{right} of {total}"


def test_gates_follow_the_classes(run):
    """At the finest level the experts' shares differ between classes, and pictures need what differs anywhere."""
    label = data.read_label(SCENES / "village_label.png", run.table)
    layout = run.layout(label, data.read_instance(SCENES / "village_instance.png"))
    plan, style = run.method.plan(layout), run.sample_style([2], layout)
    gates = plan[1].conv_gates[0].numpy()  # [H,W,E]
    shares = np.stack([gates[label == k].mean(0) for k in np.unique(label)])  # [classes,E]
    assert np.ptp(shares, 0).max() > 0.05
    pictures = [
        (run.method.synthesize_planned(p, style).numpy()[0] + 1) * 127.5
        for p in (plan, with_mean_gates(plan))
    ]
    assert np.abs(pictures[0] - pictures[1]).mean() > 10


def test_shipped_run_is_small():
    assert sum(path.stat().st_size for path in DEMO.iterdir()) < 5_000_000
