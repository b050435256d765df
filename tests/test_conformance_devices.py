"""Two devices must train every method as one does, see test_conformance.py.

Slow, as a part of the default run. The conformance suite as a whole:
python -m pytest -n 2 --dist loadfile -m "slow or not slow" tests/test_conformance*.py
"""

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conformance import (
    folder,
    methods,
)

from semantic_synthesis.methods import METHODS


@functools.cache
def on_devices():
    """{method: {"none" or "mirrored": {key: array}}}, trained in two processes, each with two logical devices."""
    worker, names = Path(__file__).parent / "workers" / "two_devices.py", list(METHODS)
    paths = [folder() / f"devices_{part}.npz" for part in range(2)]
    processes = [
        subprocess.Popen([sys.executable, worker, path, *names[part::2]], stderr=subprocess.PIPE, text=True)
        for part, path in enumerate(paths)
    ]
    for process in processes:
        error = process.communicate(timeout=900)[1]
        assert process.returncode == 0, error[-3000:]
    found = {}
    for path in paths:
        for key, values in np.load(path).items():
            method, distribute, rest = key.split("/", 2)
            found.setdefault(method, {}).setdefault(distribute, {})[rest] = values
    return found


@pytest.mark.slow
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
