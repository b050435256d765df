"""`generate`: a folder of layouts to a folder of pictures, in parts and resumable."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

import numpy as np
from absl import logging
from tqdm import tqdm

from semantic_synthesis import data
from semantic_synthesis.evaluation.pictures import (
    files_beside,
    list_pictures,
    match_stems,
    parse_shard,
    say_left_out,
)
from semantic_synthesis.files import check_regular, write_json
from semantic_synthesis.inference import Layout, load_run
from semantic_synthesis.options import check_seeds, option
from semantic_synthesis.pictures import write_png
from semantic_synthesis.restyling import read_photo_layout
from semantic_synthesis.runs import run_sha256

RECORD = "generate.json"
_SUFFIX = ".png"


@dataclass(frozen=True)
class GenerateOptions:
    """Options of `generate`; the run knows all others."""

    checkpoint_dir: str = option("demo_spade", "Run folder, or the name of a shipped run.")
    label_dir: str = option("", "Folder of label maps; folders inside are searched too.")
    instance_dir: str = option("", "Folder of instance maps of the same names, for runs trained with them.")
    style_dir: str = option(
        "", "Folder of style photos of the same names, or of a single photo for all; empty: random styles."
    )
    style_label_dir: str = option(
        "", "Folder of the style photos' own label maps, named as these, for runs that read styles by class or region; "
        "empty: each photo shows the layout of its name.",
    )  # fmt: skip
    results_dir: str = option("results", "Where the pictures go, named as the label maps.")
    num_samples: int = option(1, "Random styles per layout; with more than one, files end in _0, _1, ...")
    seed: int = option(
        0,
        "Seed: sample s of the i-th layout has style seed + i * num_samples + s; with photos, what these leave open.",
    )
    shard: str = option("", "i/n: make only every n-th layout from the i-th on, i from 0; empty: all.")
    batch_size: int = option(4, "Pictures computed at once.")
    precision: str = option("float32", "Arithmetic of the network.", choices=("float32", "bfloat16"))


def generate(options: GenerateOptions) -> int:
    """Makes the pictures that are not there yet; the exit code.

    Pictures have the run's size, or that of their maps where the run paints any size.
    A file that exists is finished, as files are renamed into place.
    """
    index, count = parse_shard(options.shard)
    for name in ("num_samples", "batch_size"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} {getattr(options, name)}; expected 1 or more")
    if options.style_dir and options.num_samples > 1:
        raise ValueError("--num_samples needs random styles; leave --style_dir or --num_samples out")
    if options.style_label_dir and not options.style_dir:
        raise ValueError(
            "--style_label_dir without --style_dir; expected the photos of these label maps, too"
        )
    layouts = list_pictures(options.label_dir, "label_dir")
    beside = files_beside(options.label_dir, layouts)
    say_left_out(f"--label_dir {options.label_dir}", "they are no pictures or hidden", beside)
    check_seeds(options.seed, options.num_samples * len(layouts))
    jobs = _jobs(options, layouts)[index::count]
    run = load_run(options.checkpoint_dir, options.precision)
    if options.instance_dir == "" and run.instance_maps == "objects":
        raise ValueError("this run was trained with instance maps; give --instance_dir")
    _check_styles(run, jobs)
    _keep_record(options, len(layouts))
    pending = [(job, out) for job in jobs for out in job.outputs if not os.path.exists(out.path)]
    total = sum(len(job.outputs) for job in jobs)
    with tqdm(total=total, initial=total - len(pending), unit="picture", dynamic_ncols=True) as bar:
        for start in range(0, len(pending), options.batch_size):
            batch = pending[start : start + options.batch_size]
            found = [_layout(run, job) for job, _ in batch]
            sizes = [layout.size for layout in found]
            for size in dict.fromkeys(sizes):  # those of one size together
                chosen = [i for i, other in enumerate(sizes) if other == size]
                _make(run, [batch[i] for i in chosen], _joined([found[i] for i in chosen]))
            bar.update(len(batch))
    logging.info("%s: %d pictures, %d of them new", options.results_dir, total, len(pending))
    return 0


@dataclass(frozen=True)
class _Output:
    path: str
    seed: int


@dataclass(frozen=True)
class _Job:
    label: str
    instance: str
    style: str
    style_label: str
    outputs: tuple


def _jobs(options, layouts):
    """One job per layout, in natural order of the stems."""
    instances = photos = maps = [""] * len(layouts)
    if options.instance_dir:
        found = list_pictures(options.instance_dir, "instance_dir")
        instances = match_stems(layouts, found, "instance map")
    if options.style_dir:
        styles = list_pictures(options.style_dir, "style_dir")
        single = next(iter(styles.values()))
        photos = [single] * len(layouts) if len(styles) == 1 else match_stems(layouts, styles, "style photo")
    if options.style_label_dir:
        found = list_pictures(options.style_label_dir, "style_label_dir")
        of_photo = dict(
            zip(styles.values(), match_stems(styles, found, "label map of the style"), strict=True)
        )
        maps = [of_photo[photo] for photo in photos]
    jobs = []
    for number, (stem, label) in enumerate(layouts.items()):
        endings = [""] if options.num_samples == 1 else [f"_{s}" for s in range(options.num_samples)]
        first = options.seed + number * options.num_samples
        outputs = tuple(
            _Output(os.path.join(options.results_dir, stem + ending + _SUFFIX), first + s)
            for s, ending in enumerate(endings)
        )
        jobs.append(_Job(label, instances[number], photos[number], maps[number], outputs))
    return jobs


def _check_styles(run, jobs):
    """Refuses label maps that no style needs, and a photo that cannot show all the layouts it is for."""
    if not jobs or not jobs[0].style:
        return
    reads = run.method.encoder_sees_layout
    if jobs[0].style_label and not reads:
        raise ValueError("--style_label_dir: this run reads one style off the whole photo; leave it out")
    if reads and not jobs[0].style_label and len({job.style for job in jobs}) < len(jobs):
        raise ValueError(
            f"{jobs[0].style}: one style photo for {len(jobs)} layouts, of which this run reads a style by class or "
            "region; give the photo's own label map with --style_label_dir"
        )


def _make(run, pending, layout):
    jobs, seeds = [job for job, _ in pending], [out.seed for _, out in pending]
    if jobs[0].style:
        size = layout.size if run.method.encoder_sees_layout else run.size
        photos = np.stack([data.fit_image(data.read_image(job.style), *size) for job in jobs])
        shown = _photo_layouts(run, jobs) if jobs[0].style_label else None
        style = run.encode_style(photos, layout, seeds, shown)
    else:
        style = run.sample_style(seeds, layout)
    for (_, out), picture in zip(pending, run.synthesize(layout, style), strict=True):
        os.makedirs(os.path.dirname(out.path), exist_ok=True)
        write_png(out.path, picture)


def _photo_layouts(run, jobs):
    """The layouts that the style photos show, by their own label maps."""
    parts = [read_photo_layout(run, job.style_label, job.style, data.read_image(job.style)) for job in jobs]
    return _joined(parts)


def _layout(run, job):
    """The layout of a job's label map and instance map."""
    return run.layout(*data.read_layout(job.label, run.table, job.instance))


def _joined(parts):
    """Layouts of one size as one."""
    found = Layout({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    found.size = parts[0].size
    return found


def _keep_record(options, count):
    """Writes generate.json, or refuses to mix pictures of two runs or seeds in one folder."""
    values = {
        "checkpoint_dir": os.path.abspath(options.checkpoint_dir),
        "weights_sha256": run_sha256(options.checkpoint_dir),
        "label_dir": os.path.abspath(options.label_dir),
        "layouts": count,
        "style_dir": os.path.abspath(options.style_dir) if options.style_dir else "",
        "style_label_dir": os.path.abspath(options.style_label_dir) if options.style_label_dir else "",
        "num_samples": options.num_samples,
        "seed": options.seed,
        "precision": options.precision,
    }
    path = os.path.join(options.results_dir, RECORD)
    if os.path.exists(path):
        check_regular(path)
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        changed = [name for name, value in values.items() if found.get(name, "") != value]  # "": older files
        if changed:
            raise ValueError(
                f"{path}: the pictures there were made with {changed[0]} {found.get(changed[0])!r}, asked "
                f"for now: {values[changed[0]]!r}; choose another --results_dir or empty this one"
            )
    write_json(path, values)
