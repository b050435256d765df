"""Styles by class on held-out scenes: how much each class varies, and what exchanging its levels changes.

python benchmarks/class_styles.py RUN [RUN ...] [--count 40] [--levels 2-4]
Per class, in 1/255, means over layouts that show at least 1 % of it:
varies: mean absolute difference of two random styles' pictures within the class;
own: the same of the class's mean colour less the picture's, so how far the class varies by itself;
inside, outside: change of the class's pixels and of all others when its latents at the levels (coarse ones by
default) are taken from the other style (runs with a style per class and layer alone).
"""

import argparse
import re

import numpy as np
from scenes import scene_batches

from semantic_synthesis.inference import load_run
from semantic_synthesis.restyling import apply_edits, parse_edit
from semantic_synthesis.styles import CLASS, LAYER

COLUMNS = ("varies", "own", "inside", "outside")


def figures(run, label, instance, row, levels):
    """{class id: {column: figure}} of one scene."""
    layout = run.layout(label, None if run.config.no_instance else instance)
    styles = [run.sample_style([2 * row + i], layout) for i in range(2)]
    one, two = (run.synthesize(layout, style)[0].astype(float) for style in styles)
    layered = any({LAYER, CLASS} <= set(spec.axes) for spec in run.style_specs.values())
    found = {}
    for value in np.flatnonzero(np.bincount(label.ravel()) > 0.01 * label.size):
        inside, name = label == value, run.table.names[value]
        colors = [p[inside].mean(0) - p.mean((0, 1)) for p in (one, two)]
        found[value] = {
            "varies": np.abs(one - two)[inside].mean(),
            "own": np.abs(colors[0] - colors[1]).mean(),
        }
        if layered:
            edit = parse_edit(f"class:{name}/{levels}=seed:{2 * row + 1}", run.table.names)
            style = apply_edits(run, [edit], label, instance, styles[0])
            change = np.abs(run.synthesize(layout, style)[0] - one)
            found[value] |= {"inside": change[inside].mean(), "outside": change[~inside].mean()}
    return found


def table(run, count, levels):
    """{class name: {column: mean}}, the last "all classes" their mean."""
    by_class = {}
    for rows, _, labels, instances in scene_batches(count, run.size):
        for row, label, instance in zip(rows, labels, instances, strict=True):
            for value, its in figures(run, label, instance, int(row), levels).items():
                by_class.setdefault(run.table.names[value], []).append(its)
    found = {
        name: {c: float(np.mean([x[c] for x in its])) for c in its[0]}
        for name, its in sorted(by_class.items())
    }
    found["all classes"] = {
        c: float(np.mean([its[c] for its in found.values()])) for c in next(iter(found.values()))
    }
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", help="run folders or names of shipped runs")
    parser.add_argument("--count", type=int, default=40, help="held-out scenes")
    parser.add_argument("--levels", default="2-4", help="levels to exchange, 0 the finest")
    options = parser.parse_args()
    if not re.fullmatch(r"\d+(-\d+)?", options.levels):
        parser.error(f"--levels {options.levels}: expected a level or a range, for example 2-4")
    for name in options.runs:
        found = table(load_run(name), options.count, options.levels)
        columns = [c for c in COLUMNS if c in found["all classes"]]
        print(f"\n{name}, {options.count} scenes, levels {options.levels}:\n")
        print("| class | " + " | ".join(columns) + " |\n|---" + "|---" * len(columns) + "|")
        for label, its in found.items():
            print(f"| {label} | " + " | ".join(f"{its[c]:.1f}" for c in columns) + " |")


if __name__ == "__main__":
    main()
