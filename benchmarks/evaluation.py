"""Scoring many pictures: resident memory after 1,000 and at the end, and throughput.

python benchmarks/evaluation.py [--count 10000] [--size 16] [--network colour|inception64] [--json FILE]
Writes `count` small pictures to a temporary folder and scores that folder (FID and KID) against itself, once
through the folder stream that `evaluate` uses. `colour` is a network of 64 numbers per picture that costs
next to nothing, so the figure is that of reading and statistics; `inception64` is the Inception network's
stem with random weights.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np

from semantic_synthesis.evaluation.inception import InceptionFeatures
from semantic_synthesis.evaluation.metrics import FeatureMetric
from semantic_synthesis.evaluation.pictures import list_pictures, picture_batches

BATCH = 50


class Colour:
    """64 numbers per picture: a fixed random projection of it, scaled to 8x8."""

    name, sha256, resize, dims = "random projection", "", "8x8", 64

    def __init__(self):
        self._matrix = np.random.default_rng(0).normal(size=(192, 64)) / 192**0.5

    def __call__(self, pictures):
        small = np.stack([cv2.resize(p, (8, 8), interpolation=cv2.INTER_AREA) for p in pictures])
        return (small.reshape(len(small), -1) / 255.0) @ self._matrix


def write_pictures(folder, count, size):
    rng = np.random.default_rng(0)
    for i in range(count):
        picture = cv2.resize(rng.integers(0, 256, (3, 3, 3), np.uint8), (size, size))
        cv2.imwrite(f"{folder}/{i:06d}.png", picture)


def resident_mb():
    """Resident megabytes of this process now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(folder, network):
    """{pictures scored: resident MB}, and pictures per second."""
    paths = list(list_pictures(folder, "folder").values())
    metric, memory = FeatureMetric(network, kernel=True), {}
    start = time.perf_counter()
    for first, batch in picture_batches(paths, BATCH):
        metric.add_real(batch, first)
        metric.add_fake(batch, first)
        done = first + len(batch)
        if done % 1000 == 0 or done == len(paths):
            memory[done] = resident_mb()
    seconds = time.perf_counter() - start
    return memory, 2 * len(paths) / seconds, metric.figures()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--network", choices=("colour", "inception64"), default="colour")
    parser.add_argument("--json", default="")
    options = parser.parse_args()
    network = Colour() if options.network == "colour" else InceptionFeatures("random", 64)
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(folder, options.count, options.size)
        memory, speed, figures = measure(folder, network)
    for done, megabytes in memory.items():
        print(f"{done:6d} pictures scored: {megabytes:7.1f} MB resident")
    print(f"{speed:.0f} pictures/s ({options.network}, {options.size}x{options.size})")
    print(", ".join(f"{figure['metric']} {figure['value']:.3g}" for figure in figures))
    if options.json:
        Path(options.json).write_text(json.dumps({"resident_mb": memory, "per_second": speed}, indent=1))


if __name__ == "__main__":
    main()
