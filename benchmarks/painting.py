"""How soon a stroke on the painting page is a picture: python benchmarks/painting.py [--full].

A real Chromium (Playwright) draws on the page of a real paint server. Printed: from the pen's going up to the drawn
picture of the whole stroke (median, 95th percentile, largest), pictures per second while the pen is down,
and whether any picture was older than one shown before. --full: a 256x256 run of the paper's width in bfloat16 with
random weights instead of the shipped 128x128 one. Browser and server share the machine.
"""

import argparse
import itertools
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from browser import Page, PaintServer, chromium

WARM_UP, MOVES = 5, 40


def full_run(folder):
    """A run of the paper's width at 256x256, random weights."""
    from helpers import random_arrays

    from semantic_synthesis import data
    from semantic_synthesis.methods import make_config
    from semantic_synthesis.runs import build_method, write_run

    asked = {"dataset_mode": "scenes", "crop_size": 256, "no_vgg_loss": True, "checkpoint_dir": folder}
    config = data.resolve(make_config(**asked))
    write_run(folder, config, random_arrays(build_method(config, training=False)))
    return folder


def stroke(page, number, rng, pause):
    """One stroke; milliseconds and version of every picture since it began, and of the pen's going up."""
    height, width = page.run("[paint.painting.height, paint.painting.width]")
    start = page.run("performance.now()")
    page.run("id => paint.choose(id % paint.model.classes.length)", number)
    x, y = rng.uniform(0.1, 0.9, 2) * (width, height)
    step = rng.uniform(-0.012, 0.012, 2) * (width, height)
    page.page.mouse.move(*page.at(x, y))
    page.page.mouse.down()
    for _ in range(MOVES):
        x, y = np.clip([x + step[0], y + step[1]], 2, [width - 3, height - 3])
        page.page.mouse.move(*page.at(x, y))
        time.sleep(pause)
    page.page.mouse.up()
    page.settle()
    return page.run(
        "start => ({ up: performance.getEntriesByName('pen up').at(-1).startTime,"
        "version: paint.painting.version, pictures: performance.getEntriesByName('picture')"
        ".filter(one => one.startTime + one.duration >= start)"
        ".map(one => [one.startTime + one.duration, one.detail.version]) })",
        start,
    ) | {"start": start}


def measure(page, strokes, pause):
    """Prints the figures of one run."""
    rng, waits, rates, versions = np.random.default_rng(0), [], [], []
    for number in range(WARM_UP + strokes):
        found = stroke(page, number, rng, pause)
        versions += [version for _, version in found["pictures"]]
        if number < WARM_UP:
            continue
        last = [end for end, version in found["pictures"] if version == found["version"]]
        if not last:
            continue  # the stroke changed nothing
        waits.append(max(last[0] - found["up"], 0.0))
        during = sum(end < found["up"] for end, _ in found["pictures"])
        rates.append(1000 * during / (found["up"] - found["start"]))
    median, late = np.percentile(waits, [50, 95])
    print(f"pen up to picture, ms: median {median:.0f}, p95 {late:.0f}, max {max(waits):.0f}")
    print(f"pictures per second while the pen is down: median {np.median(rates):.1f}")
    stale = sum(after < before for before, after in itertools.pairwise(versions))
    print(f"{len(versions)} pictures of {strokes + WARM_UP} strokes, {stale} older than one shown before")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--checkpoint_dir", default="demo_spade")
    parser.add_argument("--strokes", type=int, default=30)
    parser.add_argument("--pause", type=float, default=0.012, help="seconds between two moves of the mouse")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        run_dir = full_run(f"{folder}/full") if options.full else options.checkpoint_dir
        server = PaintServer(run_dir, flags=["--precision=bfloat16"] if options.full else []).start()
        try:
            print(f"{run_dir}{' (random weights, bfloat16, 256x256)' if options.full else ''}")
            measure(Page(browser, server.url), options.strokes, options.pause)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
