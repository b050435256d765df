"""Our SpectralNormalization and InstanceNormalization are tensorflow-addons', which cannot run beside Keras 3.

    python3.11 -m venv addons && addons/bin/python -m pip install -r constraints/addons.txt
    ADDONS_PYTHON=addons/bin/python python -m pytest -m addons -s

Between power iterations tensorflow-addons divides the kernel itself, we divide a copy: the same numbers as long as
no optimiser moves the kernel.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from semantic_synthesis.layers import Conv, Dense, InstanceNorm

pytestmark = pytest.mark.addons

ITERATIONS = (1, 2, 5, 20)
MOST = 1e-5


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """(arrays given to both, what tensorflow-addons made of them)."""
    python = os.environ.get("ADDONS_PYTHON")
    if not python:
        pytest.skip(
            "ADDONS_PYTHON names no Python with tensorflow-addons; how to make one: constraints/addons.txt"
        )
    rng = np.random.default_rng(0)
    given = {
        "x": rng.normal(size=(2, 24, 20, 16)) * rng.uniform(0.2, 3, 16) + rng.normal(size=16),
        "conv": rng.normal(size=(3, 3, 16, 12)) * 0.1,
        "conv_u": rng.normal(size=12),
        "dense": rng.normal(size=(16, 10)) * 0.3,
        "dense_u": rng.normal(size=10),
    }
    given = {name: array.astype(np.float32) for name, array in given.items()}
    folder = tmp_path_factory.mktemp("addons")
    np.savez(folder / "given.npz", **given, iterations=ITERATIONS)
    worker = Path(__file__).parent / "workers" / "addons.py"
    command = [python, str(worker), str(folder / "given.npz"), str(folder / "made.npz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return given, dict(np.load(folder / "made.npz"))


def difference(what, ours, theirs):
    """The largest absolute difference, printed."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype == np.float32
    found = float(np.abs(ours - theirs).max())
    print(f"\n{what}: largest difference {found:.1e}, of values up to {np.abs(theirs).max():.2g}", end="")
    return found


def test_instance_normalization(cases):
    given, made = cases
    assert difference("InstanceNormalization", InstanceNorm(16)(given["x"]).numpy(), made["instance"]) < MOST


@pytest.mark.parametrize("iterations", ITERATIONS)
@pytest.mark.parametrize("kind", ["conv", "dense"])
def test_spectral_normalization(cases, kind, iterations):
    given, made = cases
    x, kernel = given["x"], given[kind]
    if kind == "conv":
        layer = Conv(16, 12, 3, padding=1, use_bias=False, spectral=True)
    else:
        layer, x = Dense(16, 10, spectral=True), x[:, 0, 0]
    layer.kernel.assign(kernel)
    layer.u.assign(given[f"{kind}_u"])
    for _ in range(iterations):
        layer.advance()
    ours = {"output": layer(x), "kernel": layer.effective_kernel(), "u": layer.u.value}
    for what, array in ours.items():
        name = f"{kind}_{iterations}_{what}"
        assert difference(f"SpectralNormalization {name}", array.numpy(), made[name]) < MOST
