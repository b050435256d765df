"""SPADE's training step, dense convolutions against label patches, side by side in one process.

python benchmarks/training.py [--full] [--labels FOLDER] [--json FILE]
python benchmarks/training.py --accumulation  # a batch of 4 in 1, 2 and 4 parts: time and peak memory
Full width (64 filters in both networks), 183 classes, hinge loss and feature matching, no VGG, Adam.
"""

import argparse
import json
import sys
import tempfile

import tensorflow as tf
from measuring import COCO, interleaved_medians, label_maps, label_source, peak_memory_mb, report_peak_memory

from semantic_synthesis.methods import make_config
from semantic_synthesis.training import Trainer

CLASSES = 183
PARTS = (1, 2, 4)
VARIANTS = (("dense", "float32"), ("patches", "float32"), ("auto", "float32"), ("patches", "bfloat16"))


class NoFiles:
    """Stands in for a dataset: the batch is given to the step by hand."""

    size = 1000


def step_function(form, precision, label, parts=1):
    """One training step on a fixed batch, as a function without arguments."""
    batch, height, width = label.shape
    config = make_config(
        class_table={"names": ["class"] * CLASSES},
        crop_size=width,
        aspect_ratio=width / height,
        batch_size=batch,
        num_upsampling_layers="normal",
        no_instance=True,
        no_vgg_loss=True,
        modulation=form,
        precision=precision,
        checkpoint_dir=tempfile.mkdtemp(),
        gradient_accumulation=parts,
    )
    trainer = Trainer(config, NoFiles(), tf.distribute.get_strategy())
    image = tf.random.stateless_uniform([batch, height, width, 3], [0, 0], -1, 1)
    example = {"image": image, "label": tf.constant(label), "row": tf.range(batch, dtype=tf.int64)}
    return lambda: float(trainer.train_step(example)["generator"]["GAN"])


def table(rows, resident, labels):
    """The rows as a Markdown table, peak memory below."""
    names = [f"{f} {p}" for f, p in VARIANTS]
    lines = [f"Label maps: {labels}.", ""]
    lines += ["| size | batch | " + " | ".join(names) + " | dense / patches f32 | dense f32 / patches bf16 |"]
    lines.append("|---" * (len(names) + 4) + "|")
    for r in rows:
        cells = " | ".join(f"{r[name]:.2f} s" for name in names)
        ratios = r["dense float32"] / r["patches float32"], r["dense float32"] / r["patches bfloat16"]
        lines.append(f"| {r['size']} | {r['batch']} | {cells} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    memory = ", ".join(f"{name} {value:.0f} MB" for name, value in resident.items())
    return "\n".join([*lines, "", f"Peak memory, 256x256, batch 1: {memory}."])


def accumulation(options):
    """Prints a line per number of parts."""
    common = [__file__, "--labels", options.labels, "--one", "patches", "float32", "--batch", "4", "--parts"]
    memory = {parts: peak_memory_mb([*common, str(parts)], processes=1) for parts in PARTS}
    label = label_maps(options.labels, 256, 256, 4)
    steps = {parts: step_function("patches", "float32", label, parts) for parts in PARTS}
    times = interleaved_medians(steps, options.runs, warm_up=1)
    print(f"Label maps: {label_source(options.labels)}. Patches, float32, 256x256, batch 4.")
    for parts in PARTS:
        print(f"{parts} parts: {times[parts] / times[1]:.2f} of the time, {memory[parts]:.0f} MB at the peak")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="512x256 as well, and batch 2")
    parser.add_argument("--labels", default=str(COCO))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", default="")
    parser.add_argument("--accumulation", action="store_true", help="only a batch of 4 in parts")
    parser.add_argument("--batch", type=int, default=1, help="of --one")
    parser.add_argument("--parts", type=int, default=1, help="of --one")
    parser.add_argument("--one", nargs=2, help="two steps in this form and precision, for the memory figures")
    options = parser.parse_args()
    if options.one:
        step = step_function(*options.one, label_maps(options.labels, 256, 256, options.batch), options.parts)
        step(), step()
        report_peak_memory()
        return
    if options.accumulation:
        return accumulation(options)
    common = [__file__, "--labels", options.labels, "--one"]  # first: these processes need room
    resident = {f"{f} {p}": peak_memory_mb([*common, f, p], processes=1) for f, p in VARIANTS}
    cases = [(256, 256, 1)] + ([(256, 512, 1), (256, 256, 2)] if options.full else [])
    rows = []
    for height, width, batch in cases:
        label = label_maps(options.labels, height, width, batch)
        functions = {f"{f} {p}": step_function(f, p, label) for f, p in VARIANTS}
        rows.append(
            {
                "size": f"{width}x{height}",
                "batch": batch,
                **interleaved_medians(functions, options.runs, warm_up=1),
            }
        )
        sys.stderr.write(f"{rows[-1]}\n")
    source = label_source(options.labels)
    print(table(rows, resident, source))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"labels": source, "rows": rows, "memory_mb": resident}, file, indent=1)


if __name__ == "__main__":
    main()
