"""Where the time of SPADE's generator on label patches goes: python benchmarks/parts.py [--labels FOLDER]

256x256, batch 1, full width, 183 classes. Each part runs alone, on constants of the shapes it meets in the
generator: the convolutions, and the patch values (tables, matrix products on distinct patches). What is left of
the whole is normalisation, activation, enlargement and the spreading of scale and shift over the pixels. "By
conv2d" is the whole without the matrix products that take the place of wide convolutions. Beside each, the time
that its operations would take at the matrix peak.
"""

import argparse

import tensorflow as tf
from inference import (
    calls,
    convolution_operations,
    convolutions,
    generator,
    modulations,
    patch_operations,
    remaining_operations,
)
from measuring import COCO, interleaved_medians, label_maps, matrix_peak

from semantic_synthesis.layers import convolution


def convolve_all(method, label, dtype):
    """A function that runs every convolution of the generator."""
    jobs = []
    for conv, stride in convolutions(method):
        size = (label.shape[1] // stride, label.shape[2] // stride, conv.kernel.shape[2])
        jobs.append((conv, tf.cast(tf.random.normal([1, *size]), dtype)))
    run = tf.function(lambda: [conv(x)[0, 0, 0, 0] for conv, x in jobs])
    return lambda: run()[-1].numpy()


def evaluate_patches(method, label):
    """A function that evaluates every normaliser on the distinct patches."""
    jobs = modulations(method, label)
    run = tf.function(lambda: [modulation.patch_values(plan)[0, 0] for modulation, plan in jobs])
    return lambda: run()[-1].numpy()


def whole(method, label):
    """A function that makes a picture from a ready plan."""
    call, _ = calls(method, label)
    call()  # traced here, under the present WIDE_CHANNELS
    return call


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
        functions = {
            "convolutions": convolve_all(method, label, precision),
            "patch values": evaluate_patches(method, label),
            "whole": whole(method, label),
        }
        products, convolution.WIDE_CHANNELS = convolution.WIDE_CHANNELS, float("inf")
        functions["whole, all convolutions by conv2d"] = whole(method, label)
        convolution.WIDE_CHANNELS = products
        times = interleaved_medians(functions, 9)
        times["the rest"] = times["whole"] - times["convolutions"] - times["patch values"]
        operations = {
            "convolutions": convolution_operations(method, label),
            "patch values": patch_operations(method, label),
            "the rest": 0,
        }
        for part, seconds in times.items():
            least = operations.get(part, remaining_operations(method, label)) / peak
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
