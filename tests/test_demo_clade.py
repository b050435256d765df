"""The shipped CLADE run: pictures show what the map says, photos give their look."""

from pathlib import Path

import pytest
from shipped_checks import judged, right_looks

from semantic_synthesis.inference import load_run

DEMO = Path(__file__).resolve().parent.parent / "checkpoints" / "demo_clade"

pytestmark = pytest.mark.skipif(not DEMO.exists(), reason="the shipped run is not in this checkout")


@pytest.fixture(scope="module")
def run():
    return load_run(str(DEMO))


def test_the_judge_finds_what_the_map_says(run):
    """As much of it as in real pictures of the same layouts, less a tenth: 12 layouts are few."""
    found = judged(run)
    assert found["made"] > found["real"] - 0.1, found


def test_photos_give_their_look(run):
    """In the style of one look of a scene, the picture's colours are nearer to that look than to the others."""
    right, total = right_looks(run)
    assert right >= total - 1, f"{right} of {total}"


def test_shipped_run_is_small():
    assert sum(path.stat().st_size for path in DEMO.iterdir()) < 8e6
