"""Runs that earlier versions began: they load and go on as if nothing had changed.

tests/data/ema_run was trained for three steps by the version whose config.json held the options of all methods and
whose averages left running statistics out; ema_run_at_7.npz is what that version made of it in four more steps.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import shallow_networks, state_arrays, train_steps

from semantic_synthesis import runs
from semantic_synthesis.config import Config
from semantic_synthesis.data import open_dataset
from semantic_synthesis.methods import METHODS
from semantic_synthesis.training import Trainer, make_strategy

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """(trainer after four more steps, its losses, the state it began with)."""
    folder = tmp_path_factory.mktemp("older") / "run"
    shutil.copytree(DATA / "ema_run", folder)
    config = Config.load(folder)
    with shallow_networks((2, 1)):
        trainer = Trainer(config, open_dataset(config), make_strategy("none"))
        before = state_arrays(trainer)
        return trainer, train_steps(trainer, 4), before


def test_a_run_with_averages_continues(resumed):
    """Equal up to the order of sums. A batch norm takes off what the bias before it adds, so that bias' gradient is
    nothing but rounding, which Adam makes steps of full length of; it and the mean it moves are compared loosely."""
    trainer, losses, _ = resumed
    expected = dict(np.load(DATA / "ema_run_at_7.npz"))
    found = {**state_arrays(trainer), **{f"loss/{name}": np.array(values) for name, values in losses.items()}}
    assert trainer.steps_done == 7 and len([key for key in expected if key.startswith("ema/")]) > 20
    for key, values in expected.items():
        loose = key.endswith(("conv_0/bias", "norm_1/statistics/moving_mean"))
        np.testing.assert_allclose(found[key], values, rtol=2e-5, atol=1e-3 if loose else 1e-6, err_msg=key)


def test_averages_of_statistics_begin_with_the_models(resumed):
    _, _, before = resumed
    late = [key for key in before if key.startswith("ema/") and "/statistics/" in key]
    assert len(late) == 10
    for key in late:
        np.testing.assert_array_equal(before[key], before[key.replace("ema/", "model/", 1)])
    moving = [key for key in before if key.startswith("model/") and key.endswith("moving_mean")]
    assert any(np.abs(before[key]).max() > 0 for key in moving)


def test_options_of_other_methods_are_dropped():
    stored = json.loads((DATA / "ema_run" / "config.json").read_text())
    assert "noise_dim" in stored and len(stored) > 60
    config = Config.load(DATA / "ema_run")
    assert type(config) is METHODS["spade"].config_class and not hasattr(config, "noise_dim")
    assert config.num_hidden_filters == stored["num_hidden_filters"] == 4
    with pytest.raises(ValueError, match="unknown options nose_dim; made by another version"):
        Config.class_for("spade").from_dict({**stored, "nose_dim": 3})


def test_flags_of_the_run_are_known_to_it(tmp_path):
    shutil.copytree(DATA / "ema_run", tmp_path / "run")
    given = {"checkpoint_dir": str(tmp_path / "run"), "total_steps": 30, "train_eval": True, "log_dir": "x"}
    config = runs.training_config(given, None)
    assert (config.total_steps, config.train_eval, config.log_dir, config.z_dim) == (30, True, "x", 2)
    for name, value in (("z_dim", 3), ("batch_size", 4), ("method", "inade")):
        with pytest.raises(ValueError, match=f"started with --{name} .*, asked for now: {value}"):
            runs.training_config({"checkpoint_dir": str(tmp_path / "run"), name: value}, None)
    with pytest.raises(ValueError, match=r"--noise_dim: an option of INADE"):
        runs.training_config({"checkpoint_dir": str(tmp_path / "run"), "noise_dim": 3}, None)
