"""The shipped OASIS run: the noise of one object stays in it."""

from pathlib import Path

import numpy as np
import pytest

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
