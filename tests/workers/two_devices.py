"""Trains every case of tests/test_distribution.py on one and on two logical devices; writes one .npz.

A process of its own, because logical devices must be made before anything else touches TensorFlow.
Arguments: the file to write, names of cases.
"""

import sys
import tempfile
from pathlib import Path

import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

# Seconds of rewriting each traced step would not come back in three steps.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

import contextlib

import helpers
import numpy as np

from semantic_synthesis.data import open_dataset
from semantic_synthesis.methods import instance_maps
from semantic_synthesis.training import Trainer, make_strategy

STEPS = 3
# Biases that a normalisation cancels have gradient 0 up to rounding noise of 1e-8, which Adam's own epsilon
# of 1e-8 turns into full steps of random sign; and a scaled gradient shows only against a larger one.
EPSILON = 1e-3


def train(options, strategy, networks):
    """{name: array}: losses of every step and the state before the first and after the last."""
    with tempfile.TemporaryDirectory() as folder, networks:
        config = helpers.tiny_config(folder, **options)
        dataset = open_dataset(config, instance_maps=instance_maps(config))
        trainer = Trainer(config, dataset, strategy)
        for optimizer in trainer.optimizers.values():
            optimizer.epsilon = EPSILON
        found = {f"before/{name}": array for name, array in helpers.state_arrays(trainer).items()}
        found |= {f"loss/{name}": values for name, values in helpers.train_steps(trainer, STEPS).items()}
    return found | {f"after/{name}": array for name, array in helpers.state_arrays(trainer).items()}


def main(path, cases):
    """Runs the cases one after another."""
    found = {}
    # One strategy for all: a second one would count the keys of its collective operations from the start.
    strategies = {distribute: make_strategy(distribute) for distribute in ("none", "mirrored")}
    assert [s.num_replicas_in_sync for s in strategies.values()] == [1, 2]
    for name in cases:
        if name in helpers.DISTRIBUTION_CASES:
            options = dict(helpers.DISTRIBUTION_CASES[name])
        else:  # a method's name: the conformance suite's own tiny run of it
            options = helpers.conformance_options(name)
        whole = options.pop("whole", False)
        for distribute, strategy in strategies.items():
            networks = contextlib.nullcontext() if whole else helpers.shallow_networks()
            for key, array in train(options, strategy, networks).items():
                found[f"{name}/{distribute}/{key}"] = array
    np.savez(path, **found)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
