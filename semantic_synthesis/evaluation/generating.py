"""`generate`: a folder of layouts to a folder of pictures, in parts and resumable.

Threads read and plan the next layouts and encode and write the last pictures while the networks compute; of each at
most two batches are in memory.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from absl import logging

from semantic_synthesis import data
from semantic_synthesis.bars import progress_bar
from semantic_synthesis.data.errors import first_of
from semantic_synthesis.evaluation.jobs import (
    GenerateOptions,
    Job,
    Output,
    check_styles,
    checked,
    encoding_of,
    found_anywhere,
    jobs_of,
    settings,
)
from semantic_synthesis.evaluation.layout_files import layout_files
from semantic_synthesis.evaluation.manifest import Manifest
from semantic_synthesis.evaluation.overlap import Behind, ahead
from semantic_synthesis.files import write_bytes
from semantic_synthesis.inference import Layout, Synthesizer, load_run
from semantic_synthesis.methods import method_class
from semantic_synthesis.pictures import Encoding
from semantic_synthesis.restyling import read_photo_layout
from semantic_synthesis.runs import asked_size, find_run, load_config, run_sha256


def generate(options: GenerateOptions) -> int:
    """Makes the pictures that are not there yet; the exit code.

    Pictures have the run's size; where it paints any, that of --output_width and --output_height, or of their maps.
    They are whole, as files are renamed into place. Those there already stay, if they are of the same run, maps, styles
    and seed (`manifest`); ValueError where they are not.
    """
    index, count = checked(options)
    options = found_anywhere(options) if options.engine == "beam" else options
    config = load_config(find_run(options.checkpoint_dir))
    files, weights = layout_files(options, config), run_sha256(options.checkpoint_dir)
    jobs = jobs_of(options, files, weights, method_class(config).usual_seed)[index::count]
    manifest = Manifest(
        options.results_dir, settings(options, weights), options.overwrite, options.skip_existing
    )
    write_elsewhere = _engine(options)
    run = load_run(options.checkpoint_dir, options.precision)
    size = asked_size(options, run.config)
    if not files.instances and run.instance_maps == "objects":
        raise ValueError("this run was trained with instance maps; give --instance_dir")
    if options.instance_dir and not run.instance_maps:
        raise ValueError(
            f"--instance_dir {options.instance_dir}: this run reads no instance maps; leave it out"
        )
    check_styles(run, jobs)
    pending, there = _sorted_out(jobs, manifest)
    manifest.begin()
    total = sum(len(job.outputs) for job in jobs)
    if write_elsewhere and (pending or options.save_fake_stats):
        write_elsewhere(options, settings(options, weights), pending, there)
        logging.info("%s: %d pictures, %d of them new", options.results_dir, total, len(pending))
        return 0
    with progress_bar(total=total, initial=total - len(pending), unit="picture") as bar:
        bad = write_all(run, pending, options.batch_size, encoding_of(options), manifest, bar.update, size)
    missing = sum(len(job.outputs) for job in jobs if job.label in bad)
    logging.info(
        "%s: %d pictures, %d of them new", options.results_dir, total - missing, len(pending) - missing
    )
    if bad:
        raise ValueError(
            f"{len(bad)} of {len(jobs)} layouts have no pictures, all others have: {first_of(list(bad.values()))}"
        )
    return 0


def _sorted_out(jobs, manifest):
    """([(job, output)] whose pictures are to be made, names of the files that are there)."""
    pending, there = [], []
    for job in jobs:
        for out in job.outputs:
            if manifest.is_made(out.file, partial(job.facts, out)):
                there.append(out.file)
            else:
                pending.append((job, out))
    return pending, there


def _engine(options):
    """The function that makes the pictures by --engine, None for this process."""
    if options.engine != "beam":
        return None
    from semantic_synthesis.evaluation.beam import measuring_network, write_all_with_beam

    if options.save_fake_stats:  # mistakes in its file are told before any work
        measuring_network(options.inception_weights, options.eval_dims)
    return write_all_with_beam


def write_all(
    run: Synthesizer,
    pending: Sequence[tuple[Job, Output]],
    batch_size: int,
    encoding: Encoding,
    manifest: Manifest,
    done: Callable[[int], Any],
    size: tuple[int, int] | None = None,
) -> dict[str, str]:
    """Makes and writes the pictures of [(job, output)]; done(1) is called for each that is written.

    size: as for `paint_all`.

    Returns {label map: message} of the layouts whose files cannot be used; their pictures are left out.
    """
    lock, bad = threading.Lock(), {}

    def write(job, out, picture):
        write_picture(manifest, encoding, job, out, picture)
        with lock:
            done(1)

    try:
        with Behind(2 * batch_size) as behind:
            for batch, pictures in paint_all(run, pending, batch_size, bad, size):
                for (job, out), picture in zip(batch, pictures, strict=True):
                    behind.do(write, job, out, picture)
    finally:
        manifest.close()
    return bad


def write_picture(
    manifest: Manifest, encoding: Encoding, job: Job, output: Output, picture: np.ndarray
) -> None:
    """A picture, uint8 [H,W,3], to its file, behind its line in the manifest."""
    content = encoding.encode(picture)
    manifest.append(output.file, content, job.facts(output))
    write_bytes(os.path.join(manifest.folder, output.file), content)


def paint_all(
    run: Synthesizer,
    pending: Iterable[tuple[Job, Output]],
    batch_size: int,
    bad: dict[str, str] | None = None,
    size: tuple[int, int] | None = None,
) -> Iterator[tuple[list[tuple[Job, Output]], np.ndarray]]:
    """Yields ([(job, output)], their pictures uint8 [N,H,W,3]), at most batch_size of one size at once.

    bad: takes {label map: message} of layouts whose files cannot be used; None: the first of them ends it all.
    size: (height, width) of the pictures where the run paints any size; None: that of the maps.
    """
    read = ahead(partial(_read if bad is None else partial(_tried, bad), run, size), pending, 2 * batch_size)
    planned = ahead(partial(_planned, run), _batches(read, batch_size), 1, threads=1)
    for groups in planned:
        for batch, layout, photos, shown in groups:
            yield batch, run.synthesize(layout, _styles(run, batch, layout, photos, shown))


def _read(run, size, item):
    """((job, output), its layout, its style photo or None, the layout that shows or None)."""
    job = item[0]
    maps = data.read_layout(job.label, run.table, job.instance, run.config.instance_none_id)
    try:
        layout = run.layout(*(maps if size is None else run.at_size(size, *maps)))
    except ValueError as error:  # of sizes, which the map's file is to be named with
        raise data.DataError(f"{job.label}: {error}") from None
    if not job.style:
        return item, layout, None, None
    photo = data.read_image(job.style)
    shown = read_photo_layout(run, job.style_label, job.style, photo) if job.style_label else None
    fitted = data.fit_image(photo, *(layout.size if run.method.encoder_sees_layout else run.size))
    return item, layout, fitted, shown


def _tried(bad, run, size, item):
    """As _read; None, and its message in `bad`, where a file of the layout cannot be used."""
    try:
        return _read(run, size, item)
    except (data.DataError, FileNotFoundError) as error:
        bad[item[0].label] = str(error)
        return None


def _batches(items, size):
    """Lists of `size` items, the last one maybe shorter; None is passed by."""
    batch = []
    for item in items:
        batch.extend([] if item is None else [item])
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _planned(run, batch):
    """Read items -> [(items, layouts as one, photos or None, their layouts or None)], by size, planned."""
    groups = []
    for size in dict.fromkeys(layout.size for _, layout, _, _ in batch):
        items, layouts, photos, shown = zip(*(read for read in batch if read[1].size == size), strict=True)
        layout = _joined(layouts)
        run.plan(layout)
        photos = None if photos[0] is None else np.stack(photos)
        groups.append((list(items), layout, photos, None if shown[0] is None else _joined(shown)))
    return groups


def _styles(run, batch, layout, photos, shown):
    seeds = [out.seed for _, out in batch]
    if photos is None:
        return run.sample_style(seeds, layout)
    return run.encode_style(photos, layout, seeds, shown)


def _joined(parts):
    """Layouts of one size as one."""
    found = Layout({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    found.size = parts[0].size
    return found
