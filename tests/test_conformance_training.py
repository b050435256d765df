"""What training of every method must do, see test_conformance.py."""

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conformance import (
    SHARED,
    folder,
    make_trainer,
    methods,
)
from helpers import (
    state_arrays,
    train_steps,
)

from semantic_synthesis.methods import METHODS

# Training


@functools.cache
def trained(name):
    """(state after two steps, after four, a trainer that resumed at two and went to four)."""
    path = folder() / f"{name}-trained"
    first = make_trainer(name, path)
    train_steps(first, 2)
    first._save(2)
    half = state_arrays(first)
    train_steps(first, 2)
    resumed = make_trainer(name, path)
    assert resumed.steps_done == 2
    train_steps(resumed, 2)
    return half, state_arrays(first), state_arrays(resumed)


@methods
def test_stop_and_resume_equals_no_stop(name):
    half, whole, resumed = trained(name)
    assert whole.keys() == resumed.keys() and any(key.startswith("ema/") for key in whole)
    for key, values in whole.items():
        np.testing.assert_allclose(resumed[key], values, rtol=1e-5, atol=1e-7, err_msg=key)
    moved = [key for key in whole if key.startswith("model/") and (half[key] != whole[key]).any()]
    assert len(moved) > len([key for key in whole if key.startswith("model/")]) / 2


@functools.cache
def on_devices():
    """{method: {"none" or "mirrored": {key: array}}}, trained in a process with two logical devices."""
    path = folder() / "devices.npz"
    worker = Path(__file__).parent / "workers" / "two_devices.py"
    done = subprocess.run(
        [sys.executable, worker, path, *METHODS], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = {}
    for key, values in np.load(path).items():
        method, distribute, rest = key.split("/", 2)
        found.setdefault(method, {}).setdefault(distribute, {})[rest] = values
    return found


@methods
def test_two_devices_train_as_one(name):
    one, two = on_devices()[name]["none"], on_devices()[name]["mirrored"]
    assert one.keys() == two.keys()
    for key in one:
        if key.startswith("loss/"):
            np.testing.assert_allclose(two[key], one[key], rtol=1e-5, atol=1e-6, err_msg=key)
        if key.startswith("after/"):
            movement = np.abs(one[key].astype(float) - one[key.replace("after/", "before/", 1)])
            difference = np.abs(two[key].astype(float) - one[key])
            assert difference.max() <= 5e-4 * movement.max() + 3e-6, key


@methods
@pytest.mark.skipif(not SHARED.is_dir(), reason="no real samples here (../shared/data)")
def test_three_steps_on_real_samples(name, tmp_path):
    """Photos of COCO-Stuff in bfloat16: finite losses, everything trained stays finite."""
    found = SHARED / "coco_stuff"
    folders = {kind: str(next(found.rglob(pattern))) for kind, pattern in
               {"image_dir": "*img", "label_dir": "*label", "instance_dir": "*inst"}.items()}  # fmt: skip
    trainer = make_trainer(
        name, tmp_path, dataset_mode="custom", **folders, precision="bfloat16", crop_size=32, img_height=40,
        img_width=40, preprocess_mode="resize_and_crop",
    )  # fmt: skip
    losses = train_steps(trainer, 3)
    assert losses and all(np.isfinite(values).all() and len(values) == 3 for values in losses.values())
    assert all(np.isfinite(values).all() for values in state_arrays(trainer).values())
