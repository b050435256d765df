"""How near a run comes to its training photos: python recipes/coco_sheet.py RUN DATAROOT [OUT.png].

Writes a sheet (label map, picture, photo; two samples per row) and prints the mean absolute difference between
picture and photo, beside that of another sample's photo as the yardstick. The photos are not ours to
publish, so the sheet is not part of the repository.
"""

import sys
from pathlib import Path

import numpy as np

from semantic_synthesis import data
from semantic_synthesis.inference import load_run
from semantic_synthesis.pictures import contact_sheet, write_png


def main():
    run = load_run(sys.argv[1])
    config = run.config.replace(dataroot=sys.argv[2])
    dataset = data.open_dataset(config)
    batch = next(iter(dataset.batches(dataset.size, training=False)))
    label, instance = batch["label"].numpy(), batch["instance"].numpy()
    pictures = run.synthesize(run.layout(label, instance), {})
    photos = ((batch["image"].numpy() + 1) * 127.5).astype(np.uint8)
    even = len(photos) // 2 * 2
    columns = [column[:even] for column in (run.table.colorize(label), pictures, photos)]
    out = Path(sys.argv[3] if len(sys.argv) > 3 else "results/coco_13.png")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_png(str(out), contact_sheet([c[::2] for c in columns] + [c[1::2] for c in columns]))
    own = np.abs(pictures.astype(float) - photos).mean()
    other = np.abs(pictures.astype(float) - np.roll(photos, 1, 0)).mean()
    print(
        f"{len(photos)} samples, mean absolute difference of 255: own photo {own:.1f}, another photo {other:.1f}"
    )
    print(out)


if __name__ == "__main__":
    main()
