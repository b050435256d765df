"""One label map to one or several pictures: what test_one.py does."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semantic_synthesis import data
from semantic_synthesis.arrays import MOST_PIXELS_WRITTEN
from semantic_synthesis.demo import demo_layouts, demo_objects
from semantic_synthesis.files import make_folder, write_json
from semantic_synthesis.inference import load_run
from semantic_synthesis.options import Command, check_seeds, option
from semantic_synthesis.pictures import contact_sheet, write_png
from semantic_synthesis.restyling import apply_edits, parse_edit, read_photo_layout, split_photo

_LONGEST = 2**14
_AT_ONCE = 8  # pictures that are computed together


@dataclass(frozen=True)
class OneOptions:
    """Options of test_one.py; the run knows all others."""

    checkpoint_dir: str = option(
        "",
        "Run folder, or the name of a shipped run; empty: demo_clade for demo layouts and maps with an instance map, "
        "demo_spade for all others.",
    )
    label_filename: str = option("", "Label map: index, palette or RGB PNG; empty: a demo layout.")
    instance_filename: str = option(
        "", "Instance map, for runs trained with one; the demo layouts have their own."
    )
    style_filename: str = option(
        "",
        "Photo whose style the picture takes; PHOTO,LABELMAP where the run reads styles by class or region and "
        "the photo shows another layout; empty: random styles.",
    )
    restyle: tuple = option(
        (),
        "PART=SOURCE[@SHARE], may be repeated: all, class:NAME, instance:ID or picture takes its style from "
        "seed:N, PHOTO or PHOTO,LABELMAP; @0.5 goes half the way; class:NAME/3-4 means layers 3 and 4 alone.",
    )
    provenance: bool = option(
        False, "Also write <map>_provenance.png and .json: which photos the parts of the picture come from."
    )
    results_dir: str = option("results", "Where the pictures go.")
    seed: int = option(0, "Seed of the first random style.")
    num_samples: int = option(1, "Number of random styles, seeds seed, seed + 1, ...")
    output_height: int = option(0, "Height of the picture in pixels; 0: that of the label map.")
    output_width: int = option(0, "Width of the picture in pixels; 0: that of the label map.")
    precision: str = option("float32", "Arithmetic of the network.", choices=("float32", "bfloat16"))


def make_pictures(options: Any) -> Any:
    """Reads the map, makes the pictures, writes them and a side-by-side sheet; the paths written.

    options: OneOptions. Files: <map>_synthesized.png, or <map>_synthesized_<seed>.png for several
    samples, and <map>_sheet.png (label colours, style photo where given, pictures); with provenance
    <map>_provenance.png (label colours, steps, picture) and .json per picture.
    Errors: ValueError or OSError, one line, before anything is written.
    """
    if options.num_samples < 1:
        raise ValueError(f"--num_samples {options.num_samples}; expected 1 or more")
    check_seeds(options.seed, options.num_samples)
    if options.style_filename and options.num_samples > 1:
        raise ValueError(
            f"--num_samples {options.num_samples} with --style_filename: a photo gives one style; leave one out"
        )
    for text in options.restyle:
        parse_edit(text)  # before anything slow
    run = load_run(options.checkpoint_dir or _demo_run(options), options.precision)
    if options.instance_filename and not run.instance_maps:
        raise ValueError(
            f"--instance_filename {options.instance_filename}: this run reads no instance maps; leave it out"
        )
    edits = [parse_edit(text, run.table.names) for text in options.restyle]
    first = options.label_filename or str(demo_layouts(run.size)["lake"][0])
    options = dataclasses.replace(options, label_filename=first)
    objects = options.instance_filename
    if run.instance_maps == "objects":
        objects = objects or demo_objects(first)
    label, instance = data.read_layout(
        options.label_filename, run.table, objects, run.config.instance_none_id
    )
    height, width = _output_size(options, label)
    label, instance = run.at_size((height, width), label, instance)
    layout = run.layout(label, instance)
    style, seeds, photo = _styles(options, run, layout)
    style = apply_edits(run, edits, label, instance, style)
    pictures = [data.fit_image(p, height, width) for p in _painted(run, layout, style, len(seeds))]
    sheet = [run.table.colorize(label)] + ([photo] if photo is not None else []) + pictures
    sheet = [
        np.asarray(data.fit_image(p, height, width) if p.shape[:2] != (height, width) else p) for p in sheet
    ]
    origins = (run.provenance(layout, style) if options.provenance else None) or []
    paths = _write(options, pictures, seeds, contact_sheet([picture[None] for picture in sheet]))
    for origin, picture, seed in zip(origins, pictures, seeds, strict=bool(origins)):
        paths += _write_origin(options, origin, sheet[0], picture, "" if len(seeds) == 1 else f"_{seed}")
    return paths


def _painted(run, layout, style, count):
    """Yields the pictures uint8 [H,W,3] of `count` styles of a layout, of which a few at a time are in the networks."""
    for start in range(0, count, _AT_ONCE):
        yield from run.synthesize(layout, {name: x[start : start + _AT_ONCE] for name, x in style.items()})


def _demo_run(options):
    """The shipped run for a map where none was asked for: the best one reads objects, too."""
    label = options.label_filename
    return "demo_clade" if not label or options.instance_filename or demo_objects(label) else "demo_spade"


def _write_origin(options, origin, label, picture, suffix):
    """Writes the sheet and the table of one picture's Provenance."""
    start = os.path.join(options.results_dir, f"{Path(options.label_filename).stem}_provenance{suffix}")
    steps = [np.asarray(data.fit_image(step, *picture.shape[:2])) for step in origin.pictures.values()]
    write_png(f"{start}.png", contact_sheet([step[None] for step in (label, *steps, np.asarray(picture))]))
    write_json(f"{start}.json", {"segments": origin.segments})
    return [f"{start}.png", f"{start}.json"]


def _output_size(options, label):
    height = options.output_height or label.shape[0]
    width = options.output_width or label.shape[1]
    if not (1 <= height <= _LONGEST and 1 <= width <= _LONGEST and height * width <= MOST_PIXELS_WRITTEN):
        raise ValueError(
            f"output of {width}x{height} pixels; expected positive sizes, sides up to {_LONGEST} and at most "
            f"{MOST_PIXELS_WRITTEN} pixels (--output_width, --output_height)"
        )
    return height, width


def _styles(options, run, layout):
    """(style, seeds of the pictures or [None], style photo or None)."""
    if options.style_filename:
        path, label = split_photo(options.style_filename)
        if label and run.encoded and not run.method.encoder_sees_layout:
            raise ValueError(
                f"--style_filename {options.style_filename}: this run reads one style off the whole photo; leave the "
                "label map out"
            )
        photo = data.read_image(path)
        shown = read_photo_layout(run, label, path, photo) if label else None
        return run.encode_style(photo, layout, options.seed, shown), [None], photo
    if options.num_samples > 1 and not run.style_specs:
        raise ValueError(
            f"--num_samples {options.num_samples}: this run has no styles, its pictures would be equal; leave it out"
        )
    seeds = list(range(options.seed, options.seed + options.num_samples))
    style = run.sample_style(seeds, layout)
    return style, (seeds if style else [None]), None


def _write(options, pictures, seeds, sheet):
    make_folder(options.results_dir)
    stem = Path(options.label_filename).stem
    paths = []
    for picture, seed in zip(pictures, seeds, strict=True):
        suffix = "" if len(seeds) == 1 else f"_{seed}"
        paths.append(os.path.join(options.results_dir, f"{stem}_synthesized{suffix}.png"))
        write_png(paths[-1], picture)
    paths.append(os.path.join(options.results_dir, f"{stem}_sheet.png"))
    write_png(paths[-1], sheet)
    return paths


def _run(options):
    for path in make_pictures(options):
        print(path)
    return 0


COMMAND = Command(
    OneOptions,
    _run,
    "one --checkpoint_dir demo_spade --label_filename map.png\n      --style_filename photo.jpg",
)
