"""Winograd's convolution against the plain one, side by side in one process.

python benchmarks/winograd.py [--labels FOLDER] [--runs 9]
First single convolutions of SPADE's generator at 256x256 (random inputs), below and above what the rule of
`layers/winograd.py` asks for: forward with the transformed kernel kept, forward, and forward with both gradients. Then
the whole at full width, 183 classes, label maps of the folder: a picture, its difference and a training step, with
--convolutions auto against direct, and the peak memory of processes of their own.
"""

import argparse
import tempfile

import numpy as np
import tensorflow as tf
from inference import calls, generator
from measuring import (
    COCO,
    interleaved_medians,
    label_maps,
    label_source,
    peak_memory_mb,
    report_peak_memory,
)
from training import CLASSES, NoFiles

from semantic_synthesis.layers import convolve, winograd
from semantic_synthesis.methods import make_config
from semantic_synthesis.training import Trainer

FORMS = ("direct", "auto")
# Side, channels in and out, batch.
CONVOLUTIONS = [
    (16, 1024, 1024, 1), (16, 1024, 1024, 4), (32, 1024, 512, 1), (32, 512, 512, 1), (32, 512, 512, 4),
    (64, 512, 256, 1), (64, 256, 256, 1), (64, 256, 256, 4), (64, 256, 128, 1), (128, 256, 128, 1), (128, 128, 128, 1),
]  # fmt: skip


def functions_of(size, channels, filters, batch):
    """{name: call without arguments} of one convolution."""
    x = tf.random.normal([batch, size, size, channels])
    kernel = tf.random.normal([3, 3, channels, filters]) / np.sqrt(9 * channels)
    kept = winograd.transform_kernel(kernel)
    forms = {
        "direct": lambda x, k: convolve(x, k, 1, 1, direct=True),
        "kept": lambda x, k: winograd.convolve_transformed(x, kept)[0],
        "made": winograd.convolve,
    }

    def forward(form):
        run = tf.function(lambda x, k: form(x, k)[0, 0, 0, 0], autograph=False)
        return lambda: run(x, kernel).numpy()

    def backward(form):
        def both(x, k):
            with tf.GradientTape() as tape:
                tape.watch([x, k])
                loss = tf.reduce_sum(form(x, k) ** 2)
            dx, dk = tape.gradient(loss, [x, k])
            return dx[0, 0, 0, 0] + dk[0, 0, 0, 0]

        run = tf.function(both, autograph=False)
        return lambda: run(x, kernel).numpy()

    found = {name: forward(form) for name, form in forms.items()}
    return found | {f"{name}, gradients": backward(forms[name]) for name in ("direct", "made")}


def convolution_table(runs):
    """Markdown: a line for every convolution."""
    lines = ["| map | channels | batch | direct | kept | made | with gradients | rule |", "|---" * 8 + "|"]
    for size, channels, filters, batch in CONVOLUTIONS:
        found = interleaved_medians(functions_of(size, channels, filters, batch), runs)
        shape, kernel = (
            tf.TensorShape([batch, size, size, channels]),
            tf.TensorShape([3, 3, channels, filters]),
        )
        ratios = [found[n] / found["direct"] for n in ("kept", "made")]
        ratios.append(found["made, gradients"] / found["direct, gradients"])
        taken = "kept" if winograd.keeps(shape, kernel, tf.float32) else "made"
        lines.append(
            f"| {size}x{size} | {channels} to {filters} | {batch} | {found['direct'] * 1e3:.1f} ms | "
            + " | ".join(f"{ratio:.2f}" for ratio in ratios)
            + f" | {taken if winograd.pays(shape, kernel, tf.float32) else 'direct'} |"
        )
    return "\n".join(lines)


def picture_ratio(label, runs):
    """auto's time of a picture over direct's."""
    pictures = {
        form: calls(generator("patches", "float32", *label.shape[1:], convolutions=form), label)[0]
        for form in FORMS
    }
    found = interleaved_medians(pictures, runs)
    return found["auto"] / found["direct"]


def difference(label):
    """Largest difference of the two pictures, in [-1,1]; with instance norm, as random networks have no statistics."""
    pictures = [
        calls(
            generator(
                "patches", "float32", *label.shape[1:], convolutions=form, norm_G="spectralspadeinstance3x3"
            ),
            label,
        )[0]()
        for form in FORMS
    ]
    return float(np.abs(pictures[0] - pictures[1]).max()), float(pictures[0].std())


def step_config(form, height, width):
    """The Config of a training of SPADE at full width, batch 1, without VGG."""
    return make_config(
        class_table={"names": ["class"] * CLASSES},
        crop_size=width,
        aspect_ratio=width / height,
        batch_size=1,
        num_upsampling_layers="normal",
        no_instance=True,
        no_vgg_loss=True,
        modulation="patches",
        convolutions=form,
        checkpoint_dir=tempfile.mkdtemp(),
    )


def step_ratio(label, runs):
    """auto's time of a training step, float32, over direct's."""
    steps = {form: training_step(step_config(form, *label.shape[1:]), label) for form in FORMS}
    times = interleaved_medians(steps, runs, warm_up=1)
    return times["auto"] / times["direct"]


def training_step(config, label):
    trainer = Trainer(config, NoFiles(), tf.distribute.get_strategy())
    image = tf.random.stateless_uniform([*label.shape, 3], [0, 0], -1, 1)
    example = {
        "image": image,
        "label": tf.constant(label),
        "row": tf.range(label.shape[0], dtype=tf.int64),
    }
    return lambda: float(trainer.train_step(example)["generator"]["GAN"])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--labels", default=str(COCO), help="folder of index PNGs; scenes where it has too few"
    )
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--one", help="one picture with these convolutions, for the memory figures")
    parser.add_argument("--one_step", help="two training steps with these convolutions, likewise")
    options = parser.parse_args()
    if options.one:
        label = label_maps(options.labels, 256, 256, 1)
        calls(generator("patches", "float32", 256, 256, convolutions=options.one), label)[0]()
        report_peak_memory()
        return
    if options.one_step:
        step = training_step(step_config(options.one_step, 256, 256), label_maps(options.labels, 256, 256, 1))
        step(), step()
        report_peak_memory()
        return
    print(convolution_table(options.runs))
    print(f"\nLabel maps: {label_source(options.labels)}. Times of auto / direct, float32:")
    for batch in (1, 4):
        ratio = picture_ratio(label_maps(options.labels, 256, 256, batch), options.runs)
        print(f"picture 256x256, batch {batch}: {ratio:.2f}")
    for height, width in ((256, 512), (512, 512)):
        ratio = picture_ratio(label_maps(options.labels, height, width, 1), 5)
        print(f"picture {width}x{height}, batch 1: {ratio:.2f}")
    largest, spread = difference(label_maps(options.labels, 256, 256, 1))
    print(f"largest difference of two pictures {largest:.1e}, their spread {spread:.2f}")
    step = step_ratio(label_maps(options.labels, 256, 256, 1), options.runs)
    print(f"training step 256x256, batch 1: {step:.2f}")
    for what, flag, processes in (("picture", "--one", 3), ("training step", "--one_step", 1)):
        common = [__file__, "--labels", options.labels, flag]
        resident = [f"{form} {peak_memory_mb([*common, form], processes):.0f} MB" for form in FORMS]
        print(f"Peak memory, one {what}: {', '.join(resident)}")


if __name__ == "__main__":
    main()
