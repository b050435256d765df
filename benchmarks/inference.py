"""SPADE's generator, dense convolutions against label patches, side by side in one process.

python benchmarks/inference.py [--full] [--labels FOLDER] [--json FILE]
Full width (64 filters), 183 classes, no encoder. Medians of interleaved runs; the plan of a layout is
timed apart, since styles and repeated calls share it. "floor" is the time the remaining operations
(convolutions and patch products) would take at the machine's matrix peak. Without --full: 256x256, batch 1.
"""

import argparse
import json
import sys

import numpy as np
import tensorflow as tf
from measuring import (
    COCO,
    interleaved_medians,
    label_maps,
    label_source,
    matrix_peak,
    peak_memory_mb,
    report_peak_memory,
)

from semantic_synthesis.config import Config
from semantic_synthesis.layers import plan_label
from semantic_synthesis.methods import make_config
from semantic_synthesis.options import options_of
from semantic_synthesis.runs import build_method

CLASSES = 183
VARIANTS = (("dense", "float32"), ("patches", "float32"), ("dense", "bfloat16"), ("patches", "bfloat16"))


def generator(form, precision, height, width, **changes):
    """An inference model: full width, random weights, everything folded."""
    options = {
        "class_table": {"names": ["class"] * CLASSES},
        "crop_size": width,
        "aspect_ratio": width / height,
        "num_upsampling_layers": "normal",
        "no_instance": True,
        "precision": precision,
        **changes,
    }
    if "modulation" in options_of(Config.class_for(changes.get("method", "spade"))):
        options["modulation"] = form
    config = make_config(**options)
    method = build_method(config, training=False, policy=precision)
    method.fold()
    return method


def calls(method, label):
    """(picture from a ready plan, plan alone) as functions without arguments."""
    plan, render = tf.function(method.plan), tf.function(method.synthesize_planned)
    layout = {"label": tf.constant(label)}
    ready = plan(layout)
    return lambda: render(ready, {}).numpy(), lambda: plan(layout)[1].tokens.numpy()


def convolutions(method):
    """[(convolution, stride)] of the generator, the first and the last included."""
    blocks = zip(method.generator.blocks, method.strides, strict=True)
    found = [(c, s) for b, s in blocks for c in (b.conv_0, b.conv_1, b.conv_s) if c is not None]
    return [(method.fc, method.strides[0]), *found, (method.generator.conv_img, 1)]


def modulations(method, label):
    """[(LabelModulation, LabelPlan)] of the generator for label maps [B,h,w]."""
    plans = {s: plan_label(tf.constant(label[:, ::s, ::s]), CLASSES) for s in set(method.strides)}
    blocks = zip(method.generator.blocks, method.strides, strict=True)
    return [
        (n.modulation, plans[s]) for b, s in blocks for n in (b.norm_0, b.norm_1, b.norm_s) if n is not None
    ]


def convolution_operations(method, label):
    """FLOPs of all convolutions for label maps [B,h,w]."""
    return sum(2 * label.size // s**2 * int(np.prod(c.kernel.shape)) for c, s in convolutions(method))


def patch_operations(method, label):
    """FLOPs of all matrix products on distinct patches of label maps [B,h,w]."""
    jobs = modulations(method, label)
    return sum(2 * plan.triples.shape[0] * int(np.prod(m.kernel.shape)) for m, plan in jobs)


def remaining_operations(method, label):
    """FLOPs of one call in the patch form: convolutions, and matrix products on distinct patches."""
    return convolution_operations(method, label) + patch_operations(method, label)


def measure(height, width, batch, label, runs, peaks):
    """One row: medians in seconds of all variants, plan time, floors."""
    functions, plans, operations = {}, {}, 0
    for form, precision in VARIANTS:
        method = generator(form, precision, height, width)
        functions[f"{form} {precision}"], plan = calls(method, label)
        if form == "patches":
            plans[f"plan {precision}"] = plan
            operations = remaining_operations(method, label)
    row = {
        "size": f"{width}x{height}",
        "batch": batch,
        **interleaved_medians({**functions, **plans}, runs, warm_up=1 if batch > 1 else 2),
    }
    row |= {f"floor {precision}": operations / peak for precision, peak in peaks.items()}
    return row


def noise(runs):
    """Random label noise, 256x256: seconds of the rule (auto) and of dense, float32."""
    label = np.random.default_rng(0).integers(0, CLASSES, (1, 256, 256)).astype(np.int32)
    functions = {}
    for form in ("dense", "auto"):
        render, plan = calls(generator(form, "float32", 256, 256), label)
        functions[form] = lambda render=render, plan=plan: (plan(), render())
    return interleaved_medians(functions, runs)


def memory(labels):
    """{variant: peak resident MB} of one picture at 256x256, each in a fresh process."""
    common = [__file__, "--labels", str(labels), "--one"]
    return {f"{f} {p}": peak_memory_mb([*common, f, p]) for f, p in VARIANTS}


def table(rows, peaks, labels):
    """The rows as a Markdown table."""
    lines = [
        f"Label maps: {labels}. Matrix peak: "
        + ", ".join(f"{p} {v / 1e9:.0f} GFLOP/s" for p, v in peaks.items()),
        "",
    ]
    lines += [
        "| size | batch | dense f32 | patches f32 | ratio | dense bf16 | patches bf16 | ratio to dense f32 "
        "| plan | f32 / floor | bf16 / floor |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        d, p = r["dense float32"], r["patches float32"] + r["plan float32"]
        b = r["patches bfloat16"] + r["plan bfloat16"]
        lines.append(
            f"| {r['size']} | {r['batch']} | {d:.3f} s | {p:.3f} s | {d / p:.2f} | {r['dense bfloat16']:.3f} s "
            f"| {b:.3f} s | {d / b:.2f} | {r['plan float32'] * 1e3:.0f} ms "
            f"| {r['patches float32'] / r['floor float32']:.2f} | {r['patches bfloat16'] / r['floor bfloat16']:.2f} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="all sizes and batches")
    parser.add_argument(
        "--labels", default=str(COCO), help="folder of index PNGs; scenes where it has too few"
    )
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", default="")
    parser.add_argument(
        "--one", nargs=2, help="one picture in this form and precision, for the memory figures"
    )
    options = parser.parse_args()
    if options.one:
        label = label_maps(options.labels, 256, 256, 1)
        calls(generator(*options.one, 256, 256), label)[0]()
        report_peak_memory()
        return
    peaks = {precision: matrix_peak(precision) for precision in ("float32", "bfloat16")}
    sizes = [(256, 256), (256, 512), (512, 512)] if options.full else [(256, 256)]
    rows = []
    for height, width in sizes:
        large = 8 if height * width < 512 * 512 else 4  # dense at 8 x 512x512 needs more than 24 GB
        for batch in (1, large) if options.full else (1,):
            runs = options.runs if batch == 1 else 2
            rows.append(
                measure(height, width, batch, label_maps(options.labels, height, width, batch), runs, peaks)
            )
            sys.stderr.write(f"{rows[-1]}\n")
    noisy, resident = noise(3), memory(options.labels)
    source = label_source(options.labels)
    print(table(rows, peaks, source))
    print(f"\nRandom label noise 256x256, float32: rule / dense = {noisy['auto'] / noisy['dense']:.2f}")
    print("Peak memory, one picture 256x256: " + ", ".join(f"{k} {v:.0f} MB" for k, v in resident.items()))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            found = {
                "labels": source,
                "rows": rows,
                "peaks": peaks,
                "noise": noisy,
                "memory_mb": resident,
            }
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
