"""Two devices must train every method as one does, see test_conformance.py."""

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
from conformance import (
    folder,
    methods,
)

from semantic_synthesis.methods import METHODS


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
