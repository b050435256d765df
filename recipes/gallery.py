"""The README's gallery: python recipes/gallery.py [RUN ...]. The same layouts and seeds by every shipped run.

Default: all runs in checkpoints/ that ship. First column: the label map; then a column per run, named on top. Pictures
of larger runs are made of larger maps and brought to the others' size.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from semantic_synthesis import data
from semantic_synthesis.demo import demo_layouts
from semantic_synthesis.inference import load_run
from semantic_synthesis.pictures import contact_sheet, write_png

ROOT = Path(__file__).resolve().parent.parent
LAYOUTS, SEEDS = ("village", "lake", "mountains"), (2, 7)
TITLE, SIDE = 22, 128  # pixels: height of the titles, side of a picture


def column(run):
    """uint8 [R,H,W,3]: a picture per layout and seed, the layout's object map given where the run reads one."""
    found, layouts = [], demo_layouts(run.size)
    for name in LAYOUTS:
        label, instance = layouts[name]
        label, instance = data.read_label(label, run.table), data.read_instance(instance)
        layout = run.layout(label, None if run.config.no_instance else instance)
        found += list(run.synthesize(layout, run.sample_style(SEEDS, layout)))
    return np.stack(
        [cv2.resize(np.asarray(one), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for one in found]
    )


def titled(sheet, titles):
    """The sheet with a title over each of its columns of equal width."""
    bar = np.full((TITLE, sheet.shape[1], 3), 255, np.uint8)
    step = sheet.shape[1] / len(titles)
    for i, text in enumerate(titles):
        where = (int(i * step) + 6, TITLE - 7)
        cv2.putText(bar, text, where, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)
    return np.concatenate([bar, sheet])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    shipped = sorted(path.parent.name for path in (ROOT / "checkpoints").glob("demo_*/weights.npz"))
    parser.add_argument("runs", nargs="*", default=shipped, metavar="RUN")
    parser.add_argument("--out", default=str(ROOT / "docs" / "images" / "gallery.png"))
    options = parser.parse_args()
    runs = [load_run(name) for name in options.runs]
    layouts = demo_layouts((SIDE, SIDE))
    maps = [data.read_label(layouts[name][0], runs[0].table) for name in LAYOUTS for _ in SEEDS]
    columns = [runs[0].table.colorize(np.stack(maps)), *map(column, runs)]
    titles = ["label map", *(Path(run.config.checkpoint_dir).name.removeprefix("demo_") for run in runs)]
    write_png(options.out, titled(contact_sheet(columns), titles))


if __name__ == "__main__":
    main()
