"""Layouts in five styles: python recipes/demo_grid.py [--checkpoint_dir RUN] [--out FILE].

Layouts below, styles across. Default: the README's picture; docs/images/spade_grid.png is that of demo_spade.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from semantic_synthesis import data
from semantic_synthesis.demo import demo_layouts, demo_photos
from semantic_synthesis.inference import load_run
from semantic_synthesis.pictures import contact_sheet

ROOT = Path(__file__).resolve().parent.parent
LAYOUTS = ("lake", "village", "coast", "fields", "mountains")
LOOKS = ("day", "sunset", "night", "winter", "overcast")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint_dir", default=str(ROOT / "checkpoints" / "demo_clade"))
    parser.add_argument("--out", default=str(ROOT / "docs" / "images" / "demo_grid.jpg"))
    options = parser.parse_args()
    run = load_run(options.checkpoint_dir)
    photos = [data.read_image(demo_photos()[look][0]) for look in LOOKS]
    styles = run.encode_style(np.stack(photos))
    shown = [cv2.resize(photo, run.size[::-1], interpolation=cv2.INTER_CUBIC) for photo in photos]
    columns = [[np.full((*run.size, 3), 255, np.uint8)], *([photo] for photo in shown)]
    for name in LAYOUTS:
        label, objects = demo_layouts(run.size)[name]
        label = data.read_label(label, run.table)
        objects = data.read_instance(objects) if run.instance_maps else None
        columns[0].append(run.table.colorize(label))
        pictures = run.synthesize(run.layout(label, objects), styles)
        for column, picture in zip(columns[1:], pictures, strict=True):
            column.append(np.asarray(picture))
    sheet = contact_sheet([np.stack(column) for column in columns])
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(options.out, sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88, cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
