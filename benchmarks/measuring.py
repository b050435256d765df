"""Shared by the benchmarks: medians of interleaved runs, the machine's matrix peak, real label maps."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

COCO = Path(__file__).resolve().parents[2] / "shared" / "data" / "coco_stuff" / "train_label"


def interleaved_times(functions, runs, warm_up=2):
    """Seconds of each function, [runs] per name, run in turn (A B C A B C ...) so that drifts of the machine hit all
    alike."""
    for function in functions.values():
        for _ in range(warm_up):
            function()
    times = {name: [] for name in functions}
    for _ in range(runs):
        for name, function in functions.items():
            times[name].append(_seconds(function))
    return {name: np.array(values) for name, values in times.items()}


def interleaved_medians(functions, runs, warm_up=2):
    """Median seconds per function of `interleaved_times`."""
    return {name: float(np.median(t)) for name, t in interleaved_times(functions, runs, warm_up).items()}


def matrix_peak(dtype, size=4096):
    """FLOP/s of one large matrix product in `dtype`, best of five."""
    a = tf.cast(tf.random.normal([size, size]), dtype)

    @tf.function
    def product():
        return tf.matmul(a, a)

    product()
    best = min(_seconds(lambda: product()[0, 0].numpy()) for _ in range(5))
    return 2 * size**3 / best


def _seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def label_maps(folder, height, width, count):
    """int32 [count,h,w] maps in [0, 183): index PNGs of a folder (255 = 182), else rendered scenes."""
    import cv2

    from semantic_synthesis import data
    from semantic_synthesis.data.scenes import render_scene

    paths = sorted(Path(folder).glob("*.png")) if folder else []
    maps = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths[:count]]
    maps = [data.fit_label(np.where(m == 255, 182, m).astype(np.int32), height, width) for m in maps]
    for seed in range(count - len(maps)):
        maps.append(render_scene(seed, height, width).label)
    return np.stack(maps).astype(np.int32)


def label_source(folder):
    """Where `label_maps` takes its maps from, for the record."""
    count = len(list(Path(folder).glob("*.png"))) if folder else 0
    return f"{count} index PNGs of {'/'.join(Path(folder).parts[-2:])}" if count else "rendered scenes"


def peak_memory_mb(arguments, processes=3):
    """Peak resident megabytes of a fresh Python process that ends by calling report_peak_memory(); a median.

    With one malloc arena: what freed memory glibc keeps per thread varies by 5 % from run to run.
    """
    environment, found = {**os.environ, "MALLOC_ARENA_MAX": "1"}, []
    for _ in range(processes):
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, check=True, env=environment
        )
        found.append(float(done.stdout.split()[-1]))
    return float(np.median(found))


def report_peak_memory():
    """Prints this process' peak resident megabytes (its own: rusage would count its parent's at the start)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    print(int(peak.split()[1]) / 1024)


__all__ = [
    "COCO",
    "interleaved_medians",
    "label_maps",
    "label_source",
    "matrix_peak",
    "peak_memory_mb",
    "report_peak_memory",
]
