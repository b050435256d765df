"""The shipped OASIS run: pictures show what the map says, and the noise of one object stays in it."""

from pathlib import Path

import numpy as np
import pytest
from shipped_checks import judged

from semantic_synthesis import data
from semantic_synthesis.inference import load_run
from semantic_synthesis.restyling import apply_edits, parse_edit

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "checkpoints" / "demo_oasis"
SCENES = ROOT / "datasets" / "scenes"

pytestmark = pytest.mark.skipif(not DEMO.exists(), reason="the shipped run is not in this checkout")


@pytest.fixture(scope="module")
def run():
    return load_run(str(DEMO))


def test_the_judge_finds_what_the_map_says(run):
    """As much of it as in real pictures of the same layouts, less a tenth: 12 layouts are few."""
    found = judged(run)
    assert found["made"] > found["real"] - 0.1, found


def test_the_noise_of_one_house_stays_in_it(run):
    label = data.read_label(SCENES / "village_label.png", run.table)
    instance = data.read_instance(SCENES / "village_instance.png")
    layout = run.layout(label, instance)
    style = run.sample_style([2], layout)
    edit = parse_edit("instance:25=seed:7", run.table.names)
    before, after = (
        run.synthesize(layout, s)[0].astype(float)
        for s in (style, apply_edits(run, [edit], label, instance, style))
    )
    inside, change = instance == 25, np.abs(after - before).mean(-1)
    assert inside.any() and change[inside].mean() > 4 * change[~inside].mean() > 0


def test_shipped_run_is_small():
    assert sum(path.stat().st_size for path in DEMO.iterdir()) < 6_000_000
