"""Averaged weights get batch statistics of their own before they are saved or scored."""

import numpy as np
import pytest
import tensorflow as tf
from helpers import shallow_networks, state_arrays, tiny_config, train_steps

from semantic_synthesis import runs
from semantic_synthesis.data import open_dataset
from semantic_synthesis.layers import BatchNorm
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.methods import instance_maps
from semantic_synthesis.training import Trainer, make_strategy
from semantic_synthesis.training.recalibration import measure_statistics

OPTIONS = {
    "method": "oasis",
    "z_dim": 3,
    "crop_size": 16,
    "ema_decay": 0.9,
    "lr": 0.05,
    "batch_size": 2,
    "modulation": "dense",
}


def trainer(folder, **changes):
    config = tiny_config(folder, **OPTIONS, **changes)
    dataset = open_dataset(config, instance_maps=instance_maps(config))
    with shallow_networks():
        return Trainer(config, dataset, make_strategy("none"))


def test_means_over_batches():
    norm, rng = BatchNorm(3), np.random.default_rng(0)
    norm.moving_mean.assign([7.0, 8.0, 9.0])  # old values do not matter
    batches = [rng.normal(5, 2, (2, 4, 4, 3)).astype(np.float32) for _ in range(5)]
    measure_statistics(
        [norm.moving_mean.value, norm.moving_variance.value],
        lambda x: norm(tf.constant(x), training=True),
        batches,
    )
    flat = np.reshape(batches, [5, -1, 3])
    np.testing.assert_allclose(norm.moving_mean, flat.mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, flat.var(1, ddof=1).mean(0), rtol=1e-5)


def test_trainer_measures_under_the_averaged_weights(tmp_path):
    training = trainer(tmp_path, recalibration_batches=3)
    train_steps(training, 3)
    before = state_arrays(training)
    training._save(3)
    after = state_arrays(training)
    moved = {key for key in before if not np.array_equal(before[key], after[key])}
    assert moved and moved == {k for k in before if k.startswith("ema/") and "moving_" in k}
    # The same by hand for the first normaliser, whose input are the first features
    with shallow_networks():
        model = runs.build_method(training.config)
    for name, variable in named_variables(model).items():
        variable.assign(before.get(f"ema/{name}", before[f"model/{name}"]))
    features = []
    for batch in training.dataset.batches(2, first_step=3).take(3):
        layout = {"label": batch["label"], "instance": tf.zeros_like(batch["label"])}
        coarsest = model.conditions(model.plan(layout), model._draw(layout, batch["row"], 0))[model.stride]
        features.append(model.fc(tf.gather(coarsest.rows, coarsest.plan.tokens)))
    flat = np.reshape(features, [3, -1, features[0].shape[-1]])
    norm = "ema/generator/head_0/norm_0/statistics/moving_"
    np.testing.assert_allclose(after[f"{norm}mean"], flat.mean((0, 1)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after[f"{norm}variance"], flat.var(1, ddof=1).mean(0), rtol=1e-4)


def test_the_last_checkpoint_is_measured_though_the_run_is_told_to_stop(tmp_path):
    """No other follows it: the same command says that the run is trained already."""
    training = trainer(tmp_path, recalibration_batches=1, total_steps=2)
    training._stop = 15
    before = state_arrays(training)
    training._save(1)
    after = state_arrays(training)
    assert all(np.array_equal(before[key], after[key]) for key in before)
    training._save(2)
    after = state_arrays(training)
    moved = {key for key in before if not np.array_equal(before[key], after[key])}
    assert moved and moved == {k for k in before if k.startswith("ema/") and "moving_" in k}


def test_nothing_without_batches(tmp_path):
    training = trainer(tmp_path, recalibration_batches=0)
    before = state_arrays(training)
    training._save(0)
    after = state_arrays(training)
    assert all(np.array_equal(before[key], after[key]) for key in before)


@pytest.mark.slow
def test_a_resumed_run_arrives_at_the_same_state(tmp_path):
    """LabelMix's coins and the statistics of a run that was stopped, saved and resumed."""
    whole = trainer(tmp_path / "whole", recalibration_batches=2)
    losses = train_steps(whole, 4)
    whole._save(4)
    first = trainer(tmp_path / "parts", recalibration_batches=2)
    train_steps(first, 2)
    first._save(2)
    second = trainer(tmp_path / "parts", recalibration_batches=2)
    assert second.steps_done == 2
    resumed = train_steps(second, 2)
    second._save(4)
    for name, values in losses.items():
        np.testing.assert_allclose(resumed[name], values[2:], rtol=1e-5, err_msg=name)
    assert min(losses["D_labelmix"]) > 0
    expected, found = state_arrays(whole), state_arrays(second)
    assert expected.keys() == found.keys()
    for key, array in expected.items():
        np.testing.assert_allclose(found[key], array, rtol=1e-4, atol=1e-5, err_msg=key)
