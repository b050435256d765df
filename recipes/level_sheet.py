"""A sheet that walks through the levels of a style: python recipes/level_sheet.py --checkpoint_dir RUN.

For runs with a style per level (docs/methods/clvae.md); those trained with instance maps read MAP_instance.png beside
MAP_label.png. A column per layout. From top to bottom: the layout, its
picture in a random style, then one level after the other, the coarsest first, taken from a photo as well (--part all,
or class:NAME for one class alone), and at last what belongs to the whole picture, too.
"""

import argparse
from pathlib import Path

import numpy as np

from semantic_synthesis import data
from semantic_synthesis.inference import load_run
from semantic_synthesis.pictures import contact_sheet, write_png
from semantic_synthesis.restyling import apply_edits, parse_edit
from semantic_synthesis.styles import LAYER

SCENES = Path(__file__).resolve().parent.parent / "datasets" / "scenes"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint_dir", required=True)
    parser.add_argument(
        "--layouts", nargs="+", default=[str(SCENES / f"{n}_label.png") for n in ("lake", "coast", "fields")]
    )
    parser.add_argument("--photo", default=str(SCENES / "style_sunset.png"))
    parser.add_argument("--photo_label", default=str(SCENES / "style_sunset_label.png"))
    parser.add_argument("--part", default="all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="levels.png")
    options = parser.parse_args()
    run = load_run(options.checkpoint_dir)
    levels = [spec.shape[spec.axes.index(LAYER)] for spec in run.style_specs.values() if LAYER in spec.axes]
    if not levels:
        parser.error(f"{options.checkpoint_dir}: this run has no style per level")
    source, columns = f"{options.photo},{options.photo_label}", []
    for path in options.layouts:
        label, instance = data.read_label(path, run.table), None
        if run.instance_maps:
            instance = data.read_instance(str(path).replace("_label", "_instance"))
        layout = run.layout(label, instance)
        style = run.sample_style([options.seed], layout)
        pictures = [data.fit_image(run.table.colorize(label), *run.size), run.synthesize(layout, style)[0]]
        edits = [f"{options.part}/{level}={source}" for level in reversed(range(levels[0]))]
        for text in [*edits, f"picture={source}"]:
            style = apply_edits(run, [parse_edit(text, run.table.names)], label, instance, style)
            pictures.append(run.synthesize(layout, style)[0])
        columns.append(np.stack(pictures))
    write_png(options.out, contact_sheet(columns))


if __name__ == "__main__":
    main()
