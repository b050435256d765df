"""What the files of the conformance suite share: one tiny run of random weights per method, opened and exported."""

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from helpers import (
    REPOSITORY,
    conformance_options,
    random_arrays,
    shallow_networks,
    tiny_config,
)

from semantic_synthesis import data, runs
from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.inference import load_run
from semantic_synthesis.methods import METHODS, instance_maps
from semantic_synthesis.serving.export import ExportOptions, export
from semantic_synthesis.training import Trainer, make_strategy

SIZE = 32
SHARED = REPOSITORY.parent / "shared" / "data"
methods = pytest.mark.parametrize("name", METHODS)


def slow_for(*names):
    """Asks every method; of those named only with the slow tests, as they take half a minute or more there."""
    return pytest.mark.parametrize(
        "name", [pytest.param(name, marks=pytest.mark.slow) if name in names else name for name in METHODS]
    )


@functools.cache
def folder():
    scratch = tempfile.TemporaryDirectory(prefix="conformance-")
    folder.keep = scratch
    return Path(scratch.name)


def networks():
    return shallow_networks((4, 1))


def make_trainer(name, run_dir, **changes):
    config = tiny_config(run_dir, **conformance_options(name, **changes))
    with networks():
        return Trainer(
            config, data.open_dataset(config, instance_maps=instance_maps(config)), make_strategy("none")
        )


@functools.cache
def run_dir(name):
    """A run of random, lively weights."""
    path = folder() / name
    config = tiny_config(path, **conformance_options(name))
    with networks():
        model = runs.build_method(config, training=False)
    config.save(path)
    runs.save_weights(path, random_arrays(model))
    return str(path)


@functools.cache
def opened(name):
    with networks():
        return load_run(run_dir(name))


@functools.cache
def exported(name):
    with networks():
        return export(ExportOptions(checkpoint_dir=run_dir(name), export_dir=str(folder() / "models")))


@functools.cache
def scene(seed=5):
    return render_scene(seed, SIZE, SIZE)


def layout_of(run, *seeds):
    scenes = [scene(seed) for seed in seeds]
    instance = np.stack([s.instance for s in scenes]) if run.instance_maps else None
    return run.layout(np.stack([s.label for s in scenes]), instance)


def arrays(style):
    return {key: np.asarray(values) for key, values in style.items()}
