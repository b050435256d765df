"""Pictures with what is equal in several pixels computed once per pair of cell and value (layers/pairs.py), over those
without: python benchmarks/pairs.py [--labels FOLDER] [--methods spade ...] [--runs N]

Full width, 183 classes, random weights, both forms in turn in one process; medians. "pairs": distinct pairs over pixels
at the strides 4, 2 and 1 of the first map.
"""

import argparse
import importlib

import numpy as np
import tensorflow as tf
from inference import CLASSES, generator
from measuring import COCO, interleaved_medians, label_maps, label_source

from semantic_synthesis.layers import pairs

PLACES = ((256, 256, 1), (256, 256, 4), (256, 512, 1), (512, 512, 1))


def picture(method, name, label, paired):
    """A function that plans and makes the pictures of label maps, traced with or without pairs."""
    module = importlib.import_module(f"semantic_synthesis.methods.{name}")
    module.has_pairs = pairs.has_pairs if paired else lambda stride, strides: False
    layout = {"label": tf.constant(label), "instance": tf.constant(label % 7)}
    style = method.sample_style(layout, tf.range(len(label), dtype=tf.int64))
    plan, render = tf.function(method.plan), tf.function(method.synthesize_planned)
    ready = plan(layout)
    render(ready, style)
    return {
        "picture": lambda: render(ready, style).numpy(),
        "with plan": lambda: render(plan(layout), style).numpy(),
    }


def shares(label):
    """Distinct pairs over pixels at strides 4, 2 and 1 of one label map."""
    from semantic_synthesis.layers import plan_label

    found = []
    for stride in (4, 2, 1):
        plan = plan_label(tf.constant(label[:1, ::stride, ::stride]), CLASSES, paired=True)
        found.append(f"{plan.pairs.index.shape[0] / np.prod(plan.tokens.shape):.2f}")
    return ", ".join(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", default=COCO)
    parser.add_argument("--methods", nargs="*", default=["spade"])
    parser.add_argument("--runs", type=int, default=11)
    options = parser.parse_args()
    print(f"Label maps: {label_source(options.labels)}.\n")
    print(
        "| method | precision | size | batch | pairs | pictures | with the plan |\n|---|---|---|---|---|---|---|"
    )
    for name in options.methods:
        for precision in ("float32", "bfloat16"):
            for height, width, batch in PLACES:
                label = label_maps(options.labels, height, width, batch)
                method = generator("auto", precision, height, width, method=name)
                forms = {paired: picture(method, name, label, paired) for paired in (False, True)}
                row = [name, precision, f"{width}x{height}", str(batch), shares(label)]
                for what in ("picture", "with plan"):
                    runs = {form: functions[what] for form, functions in forms.items()}
                    medians = interleaved_medians(runs, options.runs)
                    row.append(f"{medians[True] / medians[False]:.2f}")
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
