"""Which expert works where: python recipes/scgan_gates.py --checkpoint_dir RUN --label_filename MAP.png.

From left to right: the layout, a picture, then the gates of kernels and of scales by turns, from stride 1 on. A place
has the colour of its largest gate; the brighter, the larger its lead (methods/scgan/gate_pictures.py).
"""

import argparse

import numpy as np

from semantic_synthesis import data
from semantic_synthesis.inference import load_run
from semantic_synthesis.methods.scgan.gate_pictures import gate_pictures
from semantic_synthesis.pictures import contact_sheet, write_png


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint_dir", required=True)
    parser.add_argument("--label_filename", required=True, nargs="+")
    parser.add_argument("--instance_filename", nargs="*", help="where the run was trained with instance maps")
    parser.add_argument("--out", default="gates.png")
    options = parser.parse_args()
    run, rows = load_run(options.checkpoint_dir), []
    instances = options.instance_filename or [None] * len(options.label_filename)
    for path, of_objects in zip(options.label_filename, instances, strict=True):
        label = data.read_label(path, run.table)
        layout = run.layout(label, None if of_objects is None else data.read_instance(of_objects))
        picture = run.synthesize(layout, run.sample_style([0], layout))
        gates = gate_pictures(run.method.plan(layout))
        rows.append(
            [
                run.table.colorize(layout["label"])[0],
                picture[0],
                *(drawn[0].numpy() for drawn in gates.values()),
            ]
        )
    write_png(options.out, contact_sheet([np.stack(column) for column in zip(*rows, strict=True)]))


if __name__ == "__main__":
    main()
