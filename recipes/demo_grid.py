"""The README's picture: python recipes/demo_grid.py [--checkpoint_dir RUN]. Layouts below, styles across."""

import argparse
from pathlib import Path

import numpy as np

from semantic_synthesis import data
from semantic_synthesis.inference import load_run
from semantic_synthesis.pictures import contact_sheet, write_png

ROOT = Path(__file__).resolve().parent.parent
SCENES = ROOT / "datasets" / "scenes"
LAYOUTS = ("lake", "village", "river", "coast", "fields", "mountains")
LOOKS = ("day", "sunset", "night", "winter", "overcast")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint_dir", default=str(ROOT / "checkpoints" / "demo_spade"))
    parser.add_argument("--out", default=str(ROOT / "docs" / "images" / "demo_grid.png"))
    options = parser.parse_args()
    run = load_run(options.checkpoint_dir)
    photos = [data.read_image(SCENES / f"style_{look}.png") for look in LOOKS]
    styles = run.encode_style(np.stack(photos))
    columns = [[np.full((*run.size, 3), 255, np.uint8)], *([photo] for photo in photos)]
    for name in LAYOUTS:
        label = data.read_label(SCENES / f"{name}_label.png", run.table)
        columns[0].append(run.table.colorize(label))
        pictures = run.synthesize(run.layout(label), styles)
        for column, picture in zip(columns[1:], pictures, strict=True):
            column.append(picture)
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    write_png(options.out, contact_sheet([np.stack(column) for column in columns]))


if __name__ == "__main__":
    main()
