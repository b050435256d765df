"""What training of every method must do, see test_conformance.py."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from conformance import (
    SHARED,
    folder,
    make_trainer,
)
from helpers import state_arrays, train_steps

from semantic_synthesis.methods import METHODS

# Training


@pytest.fixture(autouse=True, scope="module")
def plain_graphs():
    """Steps run as traced: seconds of rewriting each graph would not come back in four steps."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


def some(*quick):
    """All methods, some in the default run."""
    names = [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in METHODS]
    return pytest.mark.parametrize("name", names)


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


@some("painter")  # of SPADE test_training.py asks it
def test_stop_and_resume_equals_no_stop(name):
    half, whole, resumed = trained(name)
    assert whole.keys() == resumed.keys() and any(key.startswith("ema/") for key in whole)
    for key, values in whole.items():
        np.testing.assert_allclose(resumed[key], values, rtol=1e-5, atol=1e-7, err_msg=key)
    moved = [key for key in whole if key.startswith("model/") and (half[key] != whole[key]).any()]
    assert len(moved) > len([key for key in whole if key.startswith("model/")]) / 2


@some()
def test_a_batch_in_parts_trains(name, tmp_path):
    """Every method's batch can be cut; all that is trained moves."""
    trainer = make_trainer(name, tmp_path, gradient_accumulation=2)
    before = state_arrays(trainer)
    losses = train_steps(trainer, 1)
    assert losses and all(np.isfinite(values).all() for values in losses.values())
    after = state_arrays(trainer)
    moved = [key for key in before if key.startswith("model/") and (before[key] != after[key]).any()]
    assert len(moved) > len([key for key in before if key.startswith("model/")]) / 2


@some()
@pytest.mark.skipif(not SHARED.is_dir(), reason="no real samples here (../shared/data)")
def test_three_steps_on_real_samples(name, tmp_path):
    """Photos of COCO-Stuff in bfloat16: finite losses, everything trained stays finite."""
    found = SHARED / "coco_stuff"
    folders = {
        kind: str(next(found.rglob(pattern)))
        for kind, pattern in {"image_dir": "*img", "label_dir": "*label", "instance_dir": "*inst"}.items()
    }
    trainer = make_trainer(
        name,
        tmp_path,
        dataset_mode="custom",
        **folders,
        precision="bfloat16",
        crop_size=32,
        img_height=40,
        img_width=40,
        preprocess_mode="resize_and_crop",
    )
    losses = train_steps(trainer, 3)
    assert losses and all(np.isfinite(values).all() and len(values) == 3 for values in losses.values())
    assert all(np.isfinite(values).all() for values in state_arrays(trainer).values())
