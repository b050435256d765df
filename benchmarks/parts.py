"""Where the time of SPADE's generator on label patches goes: python benchmarks/parts.py [--labels FOLDER]

256x256, batch 1, full width, 183 classes. Each part runs alone, on constants of the shapes it meets in the
generator: the convolutions, and the patch values (tables, matrix products on distinct patches). What is left of
the whole is normalisation, activation, enlargement and the spreading of scale and shift over the pixels. Beside
each, the time that its operations would take at the matrix peak.
"""

import argparse

import numpy as np
import tensorflow as tf
from inference import CLASSES, generator
from measuring import COCO, interleaved_medians, label_maps, matrix_peak

from semantic_synthesis.layers import plan_label


def convolutions(method, height, width, dtype):
    """(function that runs every 3x3 and 1x1 convolution of the blocks and the last one, their FLOPs)."""
    jobs, operations = [], 0
    for block, stride in zip(method.generator.blocks, method.strides, strict=True):
        for conv in (c for c in (block.conv_0, block.conv_1, block.conv_s) if c is not None):
            jobs.append((conv, stride))
    jobs.append((method.generator.conv_img, 1))
    inputs = []
    for conv, stride in jobs:
        shape = conv.kernel.shape
        x = tf.cast(tf.random.normal([1, height // stride, width // stride, shape[2]]), dtype)
        inputs.append(x)
        operations += 2 * height * width // stride**2 * int(np.prod(shape))

    @tf.function
    def run():
        return [tf.reduce_sum(conv(x)[0, 0, 0]) for (conv, _), x in zip(jobs, inputs, strict=True)]

    return lambda: run()[-1].numpy(), operations


def patch_values(method, label):
    """(function that evaluates every normaliser on the distinct patches, the FLOPs of its products)."""
    plans = {s: plan_label(tf.constant(label[:, ::s, ::s]), CLASSES) for s in set(method.strides)}
    jobs, operations = [], 0
    for block, stride in zip(method.generator.blocks, method.strides, strict=True):
        for norm in (n for n in (block.norm_0, block.norm_1, block.norm_s) if n is not None):
            jobs.append((norm.modulation, plans[stride]))
            operations += 2 * plans[stride].triples.shape[0] * int(np.prod(norm.modulation.kernel.shape))

    @tf.function
    def run():
        return [tf.reduce_sum(m.patch_values(plan)[0]) for m, plan in jobs]

    return lambda: run()[-1].numpy(), operations


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--labels", default=str(COCO), help="folder of index PNGs; scenes where it has too few"
    )
    parser.add_argument("--out", default="", help="also write the table to this file")
    options = parser.parse_args()
    label = label_maps(options.labels, 256, 256, 1)
    lines = ["| precision | part | time | at matrix peak | ratio |", "|---|---|---|---|---|"]
    for precision in ("float32", "bfloat16"):
        peak, method = matrix_peak(precision), generator("patches", precision, 256, 256)
        plan, render = tf.function(method.plan), tf.function(method.synthesize_planned)
        ready = plan({"label": tf.constant(label)})
        convs, conv_operations = convolutions(method, 256, 256, precision)
        values, value_operations = patch_values(method, label)
        functions = {
            "convolutions": convs,
            "patch values": values,
            "whole": lambda render=render, ready=ready: render(ready, {}).numpy(),
        }
        times = interleaved_medians(functions, 9)
        operations = {"convolutions": conv_operations, "patch values": value_operations}
        operations["whole"] = conv_operations + value_operations
        times["the rest"] = times["whole"] - times["convolutions"] - times["patch values"]
        for part, seconds in times.items():
            least = operations.get(part, 0) / peak
            ratio = f"{seconds / least:.2f}" if least else ""
            lines.append(
                f"| {precision} | {part} | {1e3 * seconds:.0f} ms | {1e3 * least:.0f} ms | {ratio} |"
            )
    print("\n".join(lines))
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
