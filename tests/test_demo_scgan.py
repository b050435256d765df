"""The shipped SCGAN run: gates follow the classes."""

from pathlib import Path

import numpy as np
import pytest

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
