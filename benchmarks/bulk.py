"""`generate` on one machine: pictures per second, from label map files to picture files, over the network's own rate.

    python benchmarks/bulk.py --full [--labels FOLDER] [--count 64] [--formats png,jpg,webp] [--json FILE]

In one process, by turns, over the same layouts in the same batches: the network alone (layouts read and planned
before), network and planning, and all of `generate` behind loading the run, once for each format. Medians of the
rounds. Random weights; FOLDER holds one-channel maps of up to 183 classes (255: unlabelled), else scenes are rendered.
--full: SPADE's full width at 256x256; without it a small network, for which the files count more.
"""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
from measuring import COCO, label_maps, label_source

from semantic_synthesis.data import ClassTable
from semantic_synthesis.evaluation import GenerateOptions, generating, jobs
from semantic_synthesis.evaluation.manifest import Manifest
from semantic_synthesis.evaluation.pictures import list_pictures
from semantic_synthesis.inference import Synthesizer
from semantic_synthesis.methods import make_config
from semantic_synthesis.runs import build_method

CLASSES = 183


def network(full, precision):
    """A Synthesizer with random weights."""
    size = {"crop_size": 256} if full else {"crop_size": 64, "num_generator_filters": 8}
    config = make_config(
        class_table=ClassTable.create("bulk", list(range(CLASSES))).to_dict(),
        aspect_ratio=1.0,
        no_instance=True,
        precision=precision,
        num_upsampling_layers="normal",
        **size,
    )
    method = build_method(config, training=False, policy=precision)
    method.fold()
    return Synthesizer(config, method)


def write_maps(folder, source, size, count):
    """Label maps of the pictures' size as PNG files."""
    folder.mkdir()
    for number, label in enumerate(label_maps(source, size, size, count)):
        cv2.imwrite(str(folder / f"{number:05d}.png"), label.astype(np.uint8))


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def prepared(run, pending, batch_size):
    """[(layout, style, plan)] of the batches, and the plan's function."""
    found = []
    for start in range(0, len(pending), batch_size):
        batch = pending[start : start + batch_size]
        read = [generating._read(run, None, item)[1] for item in batch]
        layout = generating._joined(read)
        found.append((layout, run.sample_style([out.seed for _, out in batch], layout)))
    return found


def forget_plans(run):
    run._plans.clear()


def paint(run, batches, planned):
    """The network over all batches; planned: plans are made before the clock starts, batch by batch."""
    elapsed = 0.0
    for layout, style in batches:
        forget_plans(run)
        if planned:
            run.plan(layout)
        elapsed += seconds(lambda layout=layout, style=style: run.synthesize(layout, style))
    return elapsed


def bulk(run, options, folder):
    """(seconds, bytes per picture) of writing all pictures into a new folder."""
    options = dataclasses.replace(options, results_dir=folder)
    pending = [(job, out) for job in jobs.jobs_of(options, layouts(options), "0" * 64) for out in job.outputs]
    forget_plans(run)
    os.mkdir(folder)
    manifest = Manifest(folder, jobs.settings(options, ""))
    elapsed = seconds(
        lambda: generating.write_all(
            run, pending, options.batch_size, jobs.encoding_of(options), manifest, lambda n: None
        )
    )
    sizes = [path.stat().st_size for path in Path(folder).iterdir() if path.suffix != ".jsonl"]
    assert len(sizes) == len(pending)
    return elapsed, sum(sizes) / len(sizes)


def layouts(options):
    return list_pictures(options.label_dir, "label_dir")


def measure(run, options, formats, rounds, folder):
    """{what: [seconds of each round]}, {format: bytes per picture}."""
    pending = [(job, out) for job in jobs.jobs_of(options, layouts(options), "0" * 64) for out in job.outputs]
    batches = prepared(run, pending, options.batch_size)
    paint(run, batches, planned=False)  # traces
    times, sizes = {}, {}
    for number in range(rounds):
        times.setdefault("network", []).append(paint(run, batches, planned=True))
        times.setdefault("network and planning", []).append(paint(run, batches, planned=False))
        for name in formats:
            out = os.path.join(folder, f"{name}-{number}")
            elapsed, sizes[name] = bulk(run, dataclasses.replace(options, format=name), out)
            times.setdefault(f"generate, {name}", []).append(elapsed)
    return times, sizes


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--labels", default=str(COCO) if COCO.is_dir() else "", help="folder of label maps")
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--formats", default="png,jpg,webp")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="file for the figures")
    given = parser.parse_args()
    run = network(given.full, given.precision)
    with tempfile.TemporaryDirectory() as folder:
        write_maps(Path(folder, "maps"), given.labels, run.size[0], given.count)
        options = GenerateOptions(label_dir=f"{folder}/maps", batch_size=given.batch_size)
        times, sizes = measure(run, options, given.formats.split(","), given.rounds, folder)
    rates = {name: given.count / float(np.median(values)) for name, values in times.items()}
    print(
        f"{run.size[1]}x{run.size[0]}, "
        f"{'full width' if given.full else 'small network'}, {given.precision}, batches of "
        f"{given.batch_size}; {given.count} maps: {label_source(given.labels)} (nearest neighbour), the rest rendered; "
        f"{len(os.sched_getaffinity(0))} cores; {given.rounds} rounds"
    )
    for name, rate in rates.items():
        print(f"{name:<22}{rate:8.3f} pictures/s{rate / rates['network']:8.3f} of the network's own rate")
    for name, size in sizes.items():
        print(f"{name:<6}{size / 1024:8.1f} KiB per picture (random weights: noisier than a trained run's)")
    if given.json:
        found = {"rates": rates, "seconds": times, "bytes": sizes, "options": vars(given)}
        Path(given.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
