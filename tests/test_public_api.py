"""`import semantic_synthesis as ss`: quick, complete, and as the README shows it."""

import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
from helpers import REPOSITORY

import semantic_synthesis as ss

SCENES = REPOSITORY / "datasets" / "scenes"


def test_importing_is_quick():
    """Of what is not Python's own it imports itself alone: no TensorFlow, no NumPy, until something needs them.

    `python -X importtime -c "import semantic_synthesis"` measures it.
    """
    code = (
        "import sys; before = set(sys.modules); import semantic_synthesis;"
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['semantic_synthesis']"


def test_every_public_name_is_there():
    for name in ss.__all__:
        assert getattr(ss, name) is not None
    assert set(ss.METHODS) >= {"spade", "clade", "inade", "clvae", "scgan", "oasis", "sims"}
    with pytest.raises(AttributeError, match="no attribute 'paint'"):
        ss.paint  # noqa: B018


def test_the_readmes_lines(tmp_path):
    (block,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.S)
    code = block.replace("datasets/", f"{REPOSITORY}/datasets/")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    evening, red_sky = (cv2.imread(str(tmp_path / name)) for name in ("evening.png", "red_sky.png"))
    assert evening.shape == red_sky.shape == (128, 128, 3) and evening.std() > 20 and red_sky.std() > 20
    sky = evening[:20].mean((0, 1))
    assert sky[2] > sky[0]  # BGR: a sunset is redder than blue


def test_painting():
    run = ss.load("demo_spade")
    label = ss.read_label(str(SCENES / "lake_label.png"), run.table)
    picture = run.paint(label, seed=3)
    style = run.sample_style([3])
    np.testing.assert_array_equal(picture, run.synthesize(run.layout(label), style)[0])
    assert run.paint(label, seed=3, size=(64, 96)).shape == (64, 96, 3)
    assert (run.paint(label, seed=4) != picture).any()
    np.testing.assert_array_equal(run.paint(label, seed=4, restyle=["picture=seed:3"]), picture)
    with pytest.raises(ValueError, match=r"label ids .* unknown; expected 0 to 13"):
        run.paint(np.full((8, 8), 99))
