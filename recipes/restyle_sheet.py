"""The pictures of docs/restyling.md: python recipes/restyle_sheet.py [--checkpoint_dir RUN].

Left to right: the layout, the picture, then one edit after the other, each on top of those before.
"""

import argparse
from pathlib import Path

import numpy as np

from semantic_synthesis import data
from semantic_synthesis.inference import load_run
from semantic_synthesis.pictures import contact_sheet, write_png
from semantic_synthesis.restyling import apply_edits, parse_edit

ROOT = Path(__file__).resolve().parent.parent
SCENES = ROOT / "datasets" / "scenes"


def photo(look):
    """A style picture and its label map as a SOURCE."""
    return f"{SCENES / f'style_{look}.png'},{SCENES / f'style_{look}_label.png'}"


# Layout, look to begin with, edits.
ROWS = (
    (
        "village",
        "day",
        ("instance:25=seed:7", "instance:20=seed:0", "instance:23=seed:8", f"class:sky={photo('sunset')}"),
    ),
    (
        "river",
        "overcast",
        (
            "instance:27=seed:11",
            "instance:25=seed:3",
            f"class:grass={photo('day')}",
            f"all={photo('winter')}",
        ),
    ),
    (
        "lake",
        "sunset",
        ("instance:11=seed:0", "instance:8=seed:8", f"all={photo('night')}@0.5", f"all={photo('night')}"),
    ),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint_dir", default=str(ROOT / "checkpoints" / "demo_inade"))
    parser.add_argument("--out", default=str(ROOT / "docs" / "images" / "restyling.png"))
    options = parser.parse_args()
    run, columns = load_run(options.checkpoint_dir), []
    for name, look, texts in ROWS:
        label = data.read_label(SCENES / f"{name}_label.png", run.table)
        instance = data.read_instance(SCENES / f"{name}_instance.png")
        layout = run.layout(label, instance)
        row = [data.fit_image(run.table.colorize(label), *run.size)]
        style = run.sample_style([0], layout)
        for text in (f"all={photo(look)}", *texts):
            style = apply_edits(run, [parse_edit(text)], label, instance, style)
            row.append(run.synthesize(layout, style)[0])
        columns.append(row)
    write_png(options.out, contact_sheet([np.stack(c) for c in zip(*columns, strict=True)]))


if __name__ == "__main__":
    main()
