"""The shipped demo run: does what the README shows."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "checkpoints" / "demo_spade"
sys.path.insert(0, str(ROOT / "benchmarks"))

pytestmark = pytest.mark.skipif(not DEMO.exists(), reason="the shipped run is not in this checkout")


def test_one_without_flags_makes_the_demo_picture(tmp_path):
    command = [sys.executable, str(ROOT / "test_one.py"), "--results_dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=240)
    assert done.returncode == 0, done.stderr
    written = [Path(line) for line in done.stdout.split()]
    assert [path.name for path in written] == ["lake_label_synthesized.png", "lake_label_sheet.png"]
    picture = cv2.imread(str(written[0]))
    assert picture.shape == (256, 256, 3)
    assert picture.std() > 20  # a picture, not one colour


@pytest.fixture(scope="module")
def followed():
    from styles import follow_styles

    from semantic_synthesis.inference import load_run

    return follow_styles(load_run(str(DEMO)), count=10)


@pytest.mark.parametrize("look", ["day", "sunset", "night"])
@pytest.mark.parametrize("region", ["sky", "ground"])
def test_mean_colour_follows_the_style_picture(followed, look, region):
    from styles import nearest

    rows = followed[look][region]
    right = sum(nearest(color, truths) == look for color, truths in rows)
    assert right >= 0.8 * len(rows), f"{right} of {len(rows)}"


def test_looks_differ_in_brightness_and_warmth(followed):
    sky = {
        look: np.mean([color for color, _ in followed[look]["sky"]], 0) for look in ("day", "sunset", "night")
    }
    assert sky["night"].mean() < 0.6 * sky["day"].mean()
    warmth = {look: color[0] - color[2] for look, color in sky.items()}  # red minus blue
    assert warmth["sunset"] > warmth["day"] + 40
