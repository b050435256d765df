"""`generate`: a folder of layouts to a folder of pictures, in parts and resumable."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial

import numpy as np
from absl import logging
from tqdm import tqdm

from semantic_synthesis import data
from semantic_synthesis.evaluation.manifest import Manifest, checksum, style_seed
from semantic_synthesis.evaluation.pictures import (
    files_beside,
    list_pictures,
    match_stems,
    parse_shard,
    say_left_out,
)
from semantic_synthesis.inference import Layout, load_run
from semantic_synthesis.options import check_seeds, option
from semantic_synthesis.pictures import write_png
from semantic_synthesis.restyling import read_photo_layout
from semantic_synthesis.runs import run_sha256

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
        "Seed: the styles of a layout follow from it and from the layout's name; with photos, what these leave open.",
    )
    overwrite: bool = option(False, "Make pictures anew that are there already.")
    skip_existing: bool = option(False, "Leave pictures that are there already, whatever made them.")
    shard: str = option("", "i/n: make only every n-th layout from the i-th on, i from 0; empty: all.")
    batch_size: int = option(4, "Pictures computed at once.")
    precision: str = option("float32", "Arithmetic of the network.", choices=("float32", "bfloat16"))


def generate(options: GenerateOptions) -> int:
    """Makes the pictures that are not there yet; the exit code.

    Pictures have the run's size, or that of their maps where the run paints any size, and are whole, as files are
    renamed into place. Those there already stay, if they are of the same run, maps, styles and seed (`manifest`);
    ValueError where they are not.
    """
    index, count = _checked(options)
    layouts = list_pictures(options.label_dir, "label_dir")
    beside = files_beside(options.label_dir, layouts)
    say_left_out(f"--label_dir {options.label_dir}", "they are no pictures or hidden", beside)
    weights = run_sha256(options.checkpoint_dir)
    jobs = _jobs(options, layouts, weights)[index::count]
    manifest = Manifest(
        options.results_dir, _settings(options, weights), options.overwrite, options.skip_existing
    )
    run = load_run(options.checkpoint_dir, options.precision)
    if options.instance_dir == "" and run.instance_maps == "objects":
        raise ValueError("this run was trained with instance maps; give --instance_dir")
    _check_styles(run, jobs)
    pending = [
        (job, out)
        for job in jobs
        for out in job.outputs
        if not manifest.is_made(out.file, partial(job.facts, out))
    ]
    manifest.begin()
    total = sum(len(job.outputs) for job in jobs)
    with tqdm(total=total, initial=total - len(pending), unit="picture", dynamic_ncols=True) as bar:
        for start in range(0, len(pending), options.batch_size):
            batch = pending[start : start + options.batch_size]
            found = [_layout(run, job) for job, _ in batch]
            sizes = [layout.size for layout in found]
            for size in dict.fromkeys(sizes):  # those of one size together
                chosen = [i for i, other in enumerate(sizes) if other == size]
                _make(run, [batch[i] for i in chosen], _joined([found[i] for i in chosen]), manifest)
            bar.update(len(batch))
    logging.info("%s: %d pictures, %d of them new", options.results_dir, total, len(pending))
    return 0


def _checked(options):
    """The shard as (index, count), after what options alone can be wrong about."""
    check_seeds(options.seed, 0)
    for name in ("num_samples", "batch_size"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} {getattr(options, name)}; expected 1 or more")
    if options.overwrite and options.skip_existing:
        raise ValueError("--overwrite and --skip_existing contradict each other; leave one out")
    if options.style_dir and options.num_samples > 1:
        raise ValueError("--num_samples needs random styles; leave --style_dir or --num_samples out")
    if options.style_label_dir and not options.style_dir:
        raise ValueError(
            "--style_label_dir without --style_dir; expected the photos of these label maps, too"
        )
    return parse_shard(options.shard)


def _settings(options, weights):
    """What the pictures of one folder have in common; folders are for the reader, as they may move."""
    folders = ("checkpoint_dir", "label_dir", "instance_dir", "style_dir", "style_label_dir")
    found = {name: getattr(options, name) for name in folders}
    return {
        **{name: os.path.abspath(folder) if folder else "" for name, folder in found.items()},
        "weights_sha256": weights, "num_samples": options.num_samples,
        "seed": options.seed, "precision": options.precision,
    }  # fmt: skip


@dataclass(frozen=True)
class _Output:
    file: str
    seed: int


@dataclass(frozen=True)
class _Job:
    label: str
    instance: str
    style: str
    style_label: str
    outputs: tuple
    weights: str

    def facts(self, output):
        """What the manifest says of a picture: seed, name of the style photo, checksums of all it is made of."""
        return {
            "seed": output.seed,
            "style": os.path.basename(self.style),
            "label_map": checksum(self.label),
            "instance_map": checksum(self.instance),
            "style_photo": checksum(self.style),
            "style_label_map": checksum(self.style_label),
            "run": self.weights,
        }


def _jobs(options, layouts, weights):
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
        outputs = tuple(
            _Output(stem + ending + _SUFFIX, style_seed(options.seed, stem, s))
            for s, ending in enumerate(endings)
        )
        jobs.append(_Job(label, instances[number], photos[number], maps[number], outputs, weights[:16]))
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


def _make(run, pending, layout, manifest):
    jobs, seeds = [job for job, _ in pending], [out.seed for _, out in pending]
    if jobs[0].style:
        size = layout.size if run.method.encoder_sees_layout else run.size
        photos = np.stack([data.fit_image(data.read_image(job.style), *size) for job in jobs])
        shown = _photo_layouts(run, jobs) if jobs[0].style_label else None
        style = run.encode_style(photos, layout, seeds, shown)
    else:
        style = run.sample_style(seeds, layout)
    pictures = run.synthesize(layout, style)
    manifest.append({out.file: job.facts(out) for job, out in pending})
    for (_, out), picture in zip(pending, pictures, strict=True):
        write_png(os.path.join(manifest.folder, out.file), picture)


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
