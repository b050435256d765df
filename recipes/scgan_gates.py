"""Which expert works where: python recipes/scgan_gates.py --checkpoint_dir RUN --label_filename MAP.png.

From left to right: the layout, a picture, then the gates of kernels and of scales by turns, from stride 1 on. A place
has the colour of its largest gate; the brighter, the larger its lead (methods/scgan/gate_pictures.py). Printed: how far
the gates of kernels differ within the layout at each stride, and how much the picture changes if they did not.
"""

import argparse

import numpy as np

from semantic_synthesis import data
from semantic_synthesis.inference import load_run
from semantic_synthesis.methods.scgan.gate_pictures import gate_pictures, with_mean_gates
from semantic_synthesis.pictures import contact_sheet, write_png


def differences(run, plan):
    """A line of figures about the gates of one layout."""
    spans = {stride: np.ptp(at.conv_gates[0].numpy(), (0, 1)).max() for stride, at in sorted(plan.items())}
    style = run.sample_style([0])
    own, even = (run.method.synthesize_planned(p, style).numpy() for p in (plan, with_mean_gates(plan)))
    change = np.abs(own - even).mean() * 127.5
    shown = ", ".join(f"{span:.2f} at {stride}" for stride, span in spans.items())
    return f"gates differ by {shown}; with mean gates everywhere the picture changes by {change:.1f} of 255"


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
        plan = run.method.plan(layout)
        gates = gate_pictures(plan)
        print(f"{path}: {differences(run, plan)}")
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
