"""Pictures with what is equal in several pixels computed once per pair of cell and value (layers/pairs.py), and with
Winograd's convolutions, over the plain form: python benchmarks/pairs.py [--labels FOLDER] [--methods spade ...]

Full width, 183 classes, random weights, all forms in turn in one process; medians of the ratios of a turn. "distinct":
pairs over pixels at the strides 4, 2 and 1 of the first map; "plain": label patches alone; "plan": of a layout, without
and with pairs.
"""

import argparse
import importlib
import itertools

import numpy as np
import tensorflow as tf
from inference import CLASSES, generator
from measuring import COCO, interleaved_medians, interleaved_times, label_maps, label_source

from semantic_synthesis.layers import pairs, plan_label

PLACES = ((256, 256, 1), (256, 256, 4), (256, 512, 1), (512, 512, 1))
FORMS = {
    "plain": ("direct", False),
    "winograd": ("auto", False),
    "pairs": ("direct", True),
    "both": ("auto", True),
}


def functions(name, precision, label, form):
    """(picture from a ready plan, plan alone) as functions without arguments, traced in a form."""
    convolutions, paired = FORMS[form]
    module = importlib.import_module(f"semantic_synthesis.methods.{name}")
    module.has_pairs = pairs.has_pairs if paired else lambda stride, strides: False
    method = generator("auto", precision, *label.shape[1:], method=name, convolutions=convolutions)
    layout = {"label": tf.constant(label), "instance": tf.constant(label % 7)}
    style = method.sample_style(layout, tf.range(len(label), dtype=tf.int64))
    plan, render = tf.function(method.plan), tf.function(method.synthesize_planned)
    ready = plan(layout)
    render(ready, style)
    return lambda: render(ready, style).numpy(), lambda: tf.nest.map_structure(np.asarray, plan(layout))


def shares(label):
    """Distinct pairs over pixels at strides 4, 2 and 1 of one label map."""
    found = []
    for stride in (4, 2, 1):
        plan = plan_label(tf.constant(label[:1, ::stride, ::stride]), CLASSES, paired=True)
        found.append(f"{plan.pairs.index.shape[0] / np.prod(plan.tokens.shape):.2f}")
    return ", ".join(found)


def measured(name, precision, label, runs):
    """The cells of a row."""
    made = {form: functions(name, precision, label, form) for form in FORMS}
    found = interleaved_times({form: render for form, (render, _) in made.items()}, runs)
    plans = interleaved_medians({form: made[form][1] for form in ("plain", "pairs")}, runs)
    plain = found.pop("plain")
    ratios = [f"{np.median(times / plain):.2f}" for times in found.values()]
    return [
        *[shares(label), f"{np.median(plain):.3f} s", *ratios],
        f"{1000 * plans['plain']:.0f}, {1000 * plans['pairs']:.0f} ms",
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", default=COCO)
    parser.add_argument("--methods", nargs="*", default=["spade"])
    parser.add_argument("--precisions", nargs="*", default=["float32", "bfloat16"])
    parser.add_argument("--places", type=int, default=len(PLACES), help="how many of the sizes")
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    print(f"Label maps: {label_source(options.labels)}.\n")
    print("| method | precision | size | batch | distinct | plain | Winograd | pairs | both | plan |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, precision, (height, width, batch) in itertools.product(
        options.methods, options.precisions, PLACES[: options.places]
    ):
        label = label_maps(options.labels, height, width, batch)
        row = [
            name,
            precision,
            f"{width}x{height}",
            str(batch),
            *measured(name, precision, label, options.runs),
        ]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
