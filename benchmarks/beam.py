"""`generate --engine beam` beside plain `generate`: bytes, statistics for FID, a killed worker, pictures per second.

    python benchmarks/beam.py [--count 10000] [--size 64] [--workers 2]

Layouts are rendered scenes; the run is a narrow SPADE with random weights, so that time goes into what Beam adds.
Needs `pip install "semantic-synthesis[beam]"`. Three folders are made: by `generate` without an engine, by Beam's
DirectRunner with some processes, and by the same where one process is killed (SIGKILL) when a third of the pictures are
there and the command is then given again. Printed: pictures unlike the first folder's, files that the manifest lacks,
the largest difference of the statistics from those of `evaluate` relative to their largest number, and rates.
The exit code is 0 where pictures are equal, in the manifest, and statistics are within 1e-6.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import numpy as np
from helpers import beam_workers, random_arrays, tiny_config

from semantic_synthesis import runs
from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.pictures import write_png

REPOSITORY = Path(__file__).resolve().parent.parent
WEIGHTS = ["--inception_weights=random", "--eval_dims=192"]


def make_inputs(folder, count, size):
    """A run and layouts below a folder."""
    config = tiny_config(folder / "run", use_vae=True, crop_size=size)
    config.save(folder / "run")
    runs.save_weights(str(folder / "run"), random_arrays(runs.build_method(config, training=False)))
    (folder / "maps").mkdir()
    for seed in range(count):
        write_png(folder / "maps" / f"{seed}.png", render_scene(seed, size, size).label)


def started(folder, out, *arguments):
    """A process that makes the pictures of all layouts."""
    given = [f"--checkpoint_dir={folder}/run", f"--label_dir={folder}/maps", f"--results_dir={folder}/{out}"]
    command = [sys.executable, "-m", "semantic_synthesis", "generate", *given, "--batch_size=16", *arguments]
    with open(folder / f"{out}.log", "a", encoding="utf-8") as log:
        return subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)


def seconds(process, what):
    """How long a process still runs; all ends where it fails."""
    begun = time.perf_counter()
    if process.wait():
        sys.exit(f"{what}: exit code {process.returncode}")
    return time.perf_counter() - begun


def killed_in_between(folder, count, beam):
    """Makes folder/killed: a worker is killed, the command is ended where it waits, and given again."""
    process = started(folder, "killed", *beam)
    while process.poll() is None and sum(1 for _ in (folder / "killed").rglob("*.png")) < count // 3:
        time.sleep(0.2)
    workers = beam_workers(process.pid)
    if process.poll() is not None or not workers:
        sys.exit("no worker was killed: the command ended first")
    os.kill(workers[0], signal.SIGKILL)
    print(f"a worker killed at {sum(1 for _ in (folder / 'killed').rglob('*.png'))} pictures", flush=True)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        left = beam_workers(process.pid)
        process.kill()
        process.wait()
        for worker in left:
            with contextlib.suppress(ProcessLookupError):  # ended with its parent
                os.kill(worker, signal.SIGKILL)
    seconds(started(folder, "killed", *beam), "beam after a kill")


def compared(folder, out):
    """(pictures unlike plain's or missing, files that the manifest does not name)."""
    names = [path.name for path in (folder / "plain").glob("*.png")]
    unlike = sum(
        not (folder / out / name).exists()
        or (folder / out / name).read_bytes() != (folder / "plain" / name).read_bytes()
        for name in names
    )
    named = set()
    for line in (folder / out / "manifest.jsonl").read_bytes().splitlines():
        with contextlib.suppress(ValueError):  # what a killed process left of a line, which readers pass by
            named.add(json.loads(line)["file"])
    return unlike, sum(name not in named for name in names)


def difference(first, second):
    """Largest difference of two statistics files, relative to the largest number."""
    with np.load(first) as a, np.load(second) as b:
        if int(a["count"]) != int(b["count"]):
            sys.exit(f"statistics of {a['count']} and {b['count']} pictures")
        return max(float(np.abs(a[name] - b[name]).max() / np.abs(b[name]).max()) for name in ("mu", "sigma"))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    beam = [
        "--engine=beam",
        "--beam_option=--direct_running_mode=multi_processing",
        f"--beam_option=--direct_num_workers={options.workers}",
    ]
    worst = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_inputs(folder, options.count, options.size)
        print(
            f"plain: {options.count / seconds(started(folder, 'plain'), 'plain'):.1f} pictures/s", flush=True
        )
        evaluate = [
            sys.executable,
            "-m",
            "semantic_synthesis",
            "evaluate",
            "--metrics=fid",
            *WEIGHTS,
            f"--fake_dir={folder}/plain",
            f"--save_fake_stats={folder}/plain.npz",
        ]
        subprocess.run(evaluate, cwd=REPOSITORY, check=True, capture_output=True)
        rate = options.count / seconds(started(folder, "beam", *beam), "beam")
        print(f"beam, {options.workers} processes: {rate:.1f} pictures/s", flush=True)
        killed_in_between(folder, options.count, [*beam, *WEIGHTS, f"--save_fake_stats={folder}/killed.npz"])
        for out in ("beam", "killed"):
            unlike, lines = compared(folder, out)
            print(f"{out}: {unlike} of {options.count} pictures unlike plain's, {lines} not in the manifest")
            worst += unlike + lines
        apart = difference(folder / "killed.npz", folder / "plain.npz")
        print(f"statistics: {apart:.1e} from evaluate's")
    return int(worst > 0 or apart > 1e-6)


if __name__ == "__main__":
    sys.exit(main())
