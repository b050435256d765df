"""Input throughput: the tf.data pipeline beside a plain loop of cv2.imread and cv2.resize.

Both read the same 512x683 JPEG photos and PNG label maps. The loop decodes and resizes to 286x286, no
more, once with cv2.resize's default (linear, which aliases when it shrinks) and once with INTER_AREA, the
quality of the pipeline. The pipeline also validates every label, crops to 256x256, flips, converts to
float32 and batches. The same pairs as shards (`prepare shards`) stand beside it; "cold" is the first epoch after the
files left the page cache (posix_fadvise), "warm" is later epochs.

    python benchmarks/data.py [--files FOLDER]

FOLDER holds images/ and labels/ with pairs of your own; without it, rendered landscapes are written to a
temporary folder first. Use `taskset -c 0,1` to measure with two cores.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2

from semantic_synthesis import data
from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.data.sharding import ShardsOptions, make_shards
from semantic_synthesis.methods import make_config

COUNT, BATCH, SECONDS, ROUNDS = 64, 8, 2.0, 5


def write_pairs(folder):
    """COUNT rendered 512x683 pairs with photo-like noise below folder/images and folder/labels."""
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for seed in range(COUNT):
        scene = render_scene(seed, 512, 683)
        noise = cv2.randn(scene.image.astype("int16"), (0, 0, 0), (6, 6, 6))
        photo = cv2.add(scene.image[..., ::-1], noise, dtype=cv2.CV_8U)
        cv2.imwrite(str(folder / "images" / f"{seed}.jpg"), photo, [cv2.IMWRITE_JPEG_QUALITY, 92])
        cv2.imwrite(str(folder / "labels" / f"{seed}.png"), scene.label)


def loop_rate(pairs, interpolation):
    """Images per second of cv2.imread + cv2.resize in a loop."""
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        image, label = pairs[done % len(pairs)]
        cv2.resize(cv2.imread(image), (286, 286), interpolation=interpolation)
        cv2.resize(cv2.imread(label, cv2.IMREAD_UNCHANGED), (286, 286), interpolation=cv2.INTER_NEAREST)
        done += 1
    return done / (time.perf_counter() - start)


def drop_from_cache(paths):
    """Asks the system to forget the files' pages; what is written but not yet on disk goes there first."""
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cold_rate(dataset, paths):
    """Images per second of one epoch of Dataset.batches from files that are not in the page cache."""
    drop_from_cache(paths)
    batches, start = iter(dataset.batches(BATCH)), time.perf_counter()
    for _ in range(max(1, dataset.size // BATCH)):
        next(batches)
    return max(1, dataset.size // BATCH) * BATCH / (time.perf_counter() - start)


def pipeline_rate(dataset):
    """Images per second of Dataset.batches, after the first batches."""
    batches = iter(dataset.batches(BATCH))
    for _ in range(4):
        next(batches)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        next(batches)
        done += BATCH
    return done / (time.perf_counter() - start)


def measure(folder):
    """Prints the table for a folder of pairs; the rounds alternate, the best of each counts."""
    config = data.resolve(make_config(image_dir=f"{folder}/images", label_dir=f"{folder}/labels"))
    dataset = data.open_dataset(config)
    images, labels = (sorted(p for p in (folder / name).rglob("*.*")) for name in ("images", "labels"))
    pairs = list(zip(map(str, images), map(str, labels), strict=True))
    with tempfile.TemporaryDirectory() as out:
        make_shards(ShardsOptions(image_dir=config.image_dir, label_dir=config.label_dir, out=out))
        sharded = data.open_dataset(data.resolve(make_config(dataset_mode=f"{out}/dataset.json")))
        files, records = [path for pair in pairs for path in pair], Path(out).glob("*.tfrecord")
        records = sorted(map(str, records))
        rows = [
            (
                loop_rate(pairs, cv2.INTER_LINEAR),
                loop_rate(pairs, cv2.INTER_AREA),
                cold_rate(dataset, files),
                cold_rate(sharded, records),
                pipeline_rate(dataset),
                pipeline_rate(sharded),
            )
            for _ in range(ROUNDS)
        ]
    linear, area, cold, cold_shards, pipeline, shards = (max(column) for column in zip(*rows, strict=True))
    kilobytes = [sum(p.stat().st_size for p in paths) / len(paths) / 1024 for paths in (images, labels)]
    cores = len(os.sched_getaffinity(0))
    lines = [
        f"{len(pairs)} pairs of {kilobytes[0]:.0f} KiB JPEG and {kilobytes[1]:.0f} KiB PNG; {cores} cores",
        f"loop, cv2.imread + resize, linear  {linear:6.0f} images/s",
        f"loop, cv2.imread + resize, area    {area:6.0f} images/s",
        f"Dataset.batches                    {pipeline:6.0f} images/s",
        f"the same from shards               {shards:6.0f} images/s",
        f"cold, folder and shards            {cold:6.0f} {cold_shards:6.0f} images/s",
        f"ratio                              {pipeline / linear:6.2f} (linear) {pipeline / area:.2f} (area)",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=Path, help="folder with images/ and labels/")
    arguments = parser.parse_args()
    if arguments.files:
        measure(arguments.files)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_pairs(Path(folder))
        measure(Path(folder))


if __name__ == "__main__":
    main()
