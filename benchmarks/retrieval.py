"""SIMS' search in memories of 10^4, 10^5 and 10^6 segments: time, memory, recall against brute force.

python benchmarks/retrieval.py [--sizes 10000 100000 1000000] [--scenes 700] [--queries 40]
The segments are those of rendered scenes at 128x128, mirrored and moved by whole cells of the low-resolution masks
until there are enough: synthetic, but of true shapes and surroundings. Queries come from other scenes. Recall: of the
ten best by brute force (every segment of the class compared exactly), the share that the search returns, by scores.
"""

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from measuring import interleaved_medians

from semantic_synthesis import data
from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.methods.sims import SIMSConfig, retrieval
from semantic_synthesis.methods.sims.bank import Bank, BankArrays
from semantic_synthesis.methods.sims.building import part_of
from semantic_synthesis.methods.sims.groups import ClassGroups
from semantic_synthesis.methods.sims.segments import find_segments

SIZE, TEN = 128, 10
CELL = (8, 4)  # pixels of a cell of the low-resolution masks; cells of the contexts' grid are 4x4
GRID = 4


def real_segments(count, config, groups):
    """BankArrays of `count` rendered scenes."""
    parts = []
    for seed in range(count):
        scene = render_scene(seed, SIZE, SIZE)
        parts.append(part_of(scene.label, data.regions(scene.label), groups, config))
    return BankArrays.merged(parts)


def moved(whole, flip, down, right):
    """The same photos mirrored (flip) and moved by cells, without segments that lose half of themselves."""
    dy, dx = down * CELL[0], right * CELL[1]
    runs = whole.runs.astype(np.int64)
    if flip:
        runs = np.stack([runs[:, 0], SIZE - runs[:, 2], SIZE - runs[:, 1]], 1)
    runs = np.stack(
        [runs[:, 0] + dy, np.clip(runs[:, 1] + dx, 0, SIZE), np.clip(runs[:, 2] + dx, 0, SIZE)], 1
    )
    inside = (runs[:, 0] >= 0) & (runs[:, 0] < SIZE) & (runs[:, 2] > runs[:, 1])
    item = np.repeat(np.arange(len(whole.kind)), np.diff(whole.run_first))[inside]
    runs = runs[inside].astype(np.int32)
    area = np.bincount(item, runs[:, 2] - runs[:, 1], len(whole.kind)).astype(np.int32)
    box = np.zeros_like(whole.box)
    for column, values, best in (
        (0, runs[:, 0], np.minimum),
        (1, runs[:, 1], np.minimum),
        (2, runs[:, 0] + 1, np.maximum),
        (3, runs[:, 2], np.maximum),
    ):
        found = np.full(len(whole.kind), SIZE if best is np.minimum else 0)
        best.at(found, item, values)
        box[:, column] = found
    shape, grid = whole.shape.reshape(-1, 16, 32), whole.grid
    if flip:
        shape, grid = shape[:, :, ::-1], grid[:, :, ::-1]
    found = BankArrays(
        shifted(grid, dy // GRID, dx // GRID, "edge"),
        whole.kind,
        whole.photo,
        whole.number,
        area,
        box,
        runs,
        np.concatenate([[0], np.cumsum(np.bincount(item, minlength=len(whole.kind)))]),
        np.zeros((0, 3), np.int32),
        np.zeros(len(whole.kind) + 1, np.int64),
        shifted(shape, down, right, "constant").reshape(-1, 512),
    )
    return found.rows(np.flatnonzero(2 * area > whole.area))


def shifted(maps, down, right, mode):
    """[N,h,w] moved by cells, filled by the border or by 0."""
    height, width = maps.shape[1:]
    padded = np.pad(maps, [(0, 0), (abs(down),) * 2, (abs(right),) * 2], mode=mode)
    top, left = abs(down) - down, abs(right) - right
    return padded[:, top : top + height, left : left + width]


def memory_of(whole, size):
    """BankArrays of about `size` segments."""
    parts, there = [], 0
    for down, right, flip in itertools.product((0, 1, -1, 2, -2, 3, -3), range(-8, 9), (False, True)):
        parts.append(moved(whole, flip, down, right))
        there += len(parts[-1].kind)
        if there >= size:
            break
    merged = BankArrays.merged(parts)
    return merged.rows(np.sort(np.random.default_rng(0).permutation(len(merged.kind))[:size]))


def brute_force(bank, queries, weight, portion=20000):
    """float32 [R,10]: the scores of the ten best of each query, all compared exactly."""
    exact = tf.function(retrieval.exact, reduce_retracing=True)
    scores = []
    for r in range(len(queries.kind)):
        one = retrieval.Queries(*(x[r : r + 1] for x in queries))
        low, high = bank.first_of_kind[int(one.kind[0]) : int(one.kind[0]) + 2]
        found = [np.zeros(TEN, np.float32)]
        for start in range(low, high, portion):
            rows = tf.range(start, min(start + portion, high))[None]
            shape, context = exact(bank, one, rows)
            found.append(np.where(shape[0] > 0, shape[0] + weight * context[0], 0.0))
        scores.append(np.sort(np.concatenate(found))[::-1][:TEN])
    return np.stack(scores)


def queries_of(bank, count, groups, first_seed=10**6):
    """Queries of `count` segments of scenes that are not in the memory."""
    scenes = [render_scene(first_seed + i, SIZE, SIZE) for i in range(count)]
    kind = tf.constant(np.stack([groups.known[s.label] for s in scenes]).astype(np.int32))
    region = tf.constant(np.stack([data.regions(s.label) for s in scenes]).astype(np.int32))
    segments = find_segments(kind, region, groups.members["thin"])
    large = np.flatnonzero(segments.area.numpy() > 0.002 * SIZE * SIZE)
    rows = tf.constant(np.random.default_rng(1).choice(large, count, replace=False).astype(np.int32))
    return retrieval.Queries.of(segments, rows, kind, retrieval.all_photos(bank, count))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**4, 10**5, 10**6])
    parser.add_argument("--scenes", type=int, default=700, help="rendered scenes whose segments are used")
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    config = data.resolve(SIMSConfig(dataset_mode="scenes", crop_size=SIZE))
    groups = ClassGroups.of(data.ClassTable.from_dict(config.class_table), config.class_groups)
    whole = real_segments(options.scenes, config, groups)
    print(
        f"{len(whole.kind)} segments of {options.scenes} rendered scenes; {options.queries} queries at once, "
        f"shortlist {config.shortlist}, context weight {config.context_weight}\n"
    )
    print(
        "| segments | memory | opened in | search | brute force | recall in the top ten | peak of the process |"
    )
    print("|---|---|---|---|---|---|---|")
    for size in options.sizes:
        measure(memory_of(whole, size), config, groups, options)


def measure(arrays, config, groups, options):
    """One row of the table."""
    start = time.perf_counter()
    photos = [f"{i}.png" for i in range(len(arrays.grid))]
    bank = Bank(arrays, photos, (SIZE, SIZE), (SIZE, SIZE), groups.count)
    opened = time.perf_counter() - start
    queries = queries_of(bank, options.queries, groups)
    weight = config.context_weight

    @tf.function
    def search(queries):
        return retrieval.search(
            bank, queries, candidates=TEN, shortlist=config.shortlist, context_weight=weight
        ).score

    seconds = interleaved_medians({"search": lambda: search(queries).numpy()}, options.runs)["search"]
    start = time.perf_counter()
    best = brute_force(bank, queries, weight)
    brute = time.perf_counter() - start
    found = np.sort(search(queries).numpy(), 1)[:, ::-1]
    there = best > 0
    recall = (found >= best - 1e-6)[there].mean()
    peak = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    print(
        f"| {len(arrays.kind)} | {bank.bytes / 1e6:.0f} MB | {opened:.1f} s | {seconds:.3f} s | {brute:.1f} s "
        f"| {recall:.4f} | {int(peak.split()[1]) / 1024:.0f} MB |",
        flush=True,
    )


if __name__ == "__main__":
    main()
