"""Fixtures of the original SIMS scripts and networks, shared by the tests of SIMS; see data/golden/README.md."""

import functools
import json
import zlib
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).resolve().parent / "data" / "golden"
IDENTITY = np.array([1, 0, 0, 0, 1, 0], np.float32)


@functools.cache
def _loaded(name):
    with np.load(GOLDEN / name / "io.npz") as file:
        return {key: file[key] for key in file.files}


def arrays(name):
    """The arrays of fixture sims_<name>."""
    return _loaded(f"sims_{name}")


def networks():
    """{network: [[variable of the original, shape]]}, {network: number of parameters}."""
    found = json.loads((GOLDEN / "sims_nets" / "options.json").read_text())["networks"]
    return {n: d["variables"] for n, d in found.items()}, {n: d["parameters"] for n, d in found.items()}


def normal(name, shape):
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)


def weight(name, shape):
    """The fixture's rule for the variable of that name."""
    n = normal(name, shape)
    kind = name.rsplit("/", 1)[-1]
    if name == "g_transform_param":
        n = n * [0.002, 0.002, 0.2, 0.002, 0.002, 0.2]
    elif name == "g_b_fc1":
        n = IDENTITY + n * [0.02, 0.02, 3, 0.02, 0.02, 3]
    elif kind == "weights":
        n = n * np.sqrt(2.0 / np.prod(shape[:-1]))
    elif kind == "gamma":
        n = 1 + 0.1 * n
    else:
        n = 0.1 * n
    return n.astype(np.float32)


def weights(network):
    """{variable of the original: array} of one network."""
    return {name: weight(name, shape) for name, shape in networks()[0][network]}


def enlarge(blocks, size, axes=(0, 1)):
    """Pixel repetition."""
    for axis in axes:
        blocks = np.repeat(blocks, size, axis)
    return blocks


def one_hot(label):
    """Ids [..] (0 = unlabelled, else class) -> float32 [..,20], unlabelled last."""
    return np.eye(20, dtype=np.float32)[(label.astype(int) - 1) % 20]
