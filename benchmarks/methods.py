"""Every method at full width on the same label maps, in turn in one process: pictures, encoders, training steps.

python benchmarks/methods.py [pictures|encoders|steps|memory|parts|parameters ...] [--methods NAME ...]
    [--labels FOLDER]
64 filters, 183 classes, 256x256, every class of a map a region. Medians of interleaved runs. pictures: plan
included, dense against patches, batch 1 and 8. parts: what SCGAN's and clVAE's picture is made of. memory: peak of a
process that makes one picture, or two training steps without VGG. parameters: of what makes pictures of random styles,
statistics included. Without an argument: pictures.
"""

import argparse
import sys
import tempfile

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

from semantic_synthesis import data
from semantic_synthesis.config import Config
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.methods import make_config
from semantic_synthesis.options import options_of
from semantic_synthesis.runs import build_method
from semantic_synthesis.training import Trainer

CLASSES, SIZE = 183, 256
METHODS = {
    "SPADE": {"method": "spade"},
    "CLADE": {"method": "clade"},
    "CLADE-ICPE": {"method": "clade", "class_positions": True},
    "INADE": {"method": "inade"},
    "clVAE": {"method": "clvae"},
    "SCGAN": {"method": "scgan", "num_generator_filters": 32},  # the published widths
    "OASIS": {"method": "oasis"},
}
ENCODERS = ("SPADE", "INADE", "clVAE", "SCGAN")
FORMS = ("patches", "dense")


def config_of(name, form, precision, **changes):
    """The resolved options of a method at full width."""
    options = {
        "class_table": {"names": [f"class {i}" for i in range(CLASSES)], "unknown": None},
        "crop_size": SIZE,
        "aspect_ratio": 1.0,
        "num_generator_filters": 64,
        "num_upsampling_layers": "normal",
        "no_instance": True,
        "precision": precision,
        "no_vgg_loss": True,
        "checkpoint_dir": tempfile.gettempdir(),
        **METHODS[name],
        **changes,
    }
    own = {*options_of(Config.class_for(options["method"])), "class_table"}
    if "modulation" in own:
        options["modulation"] = form
    return make_config(**{key: value for key, value in options.items() if key in own})


def has_forms(name):
    """Whether a method's label convolutions come in two forms."""
    return "modulation" in options_of(Config.class_for(METHODS[name]["method"]))


def inference_model(name, form="patches", precision="float32", **changes):
    """Random weights, folded for inference."""
    method = build_method(config_of(name, form, precision, **changes), training=False, policy=precision)
    method.fold()
    return method


def layout_of(labels, count):
    """Label maps and a region per class."""
    label = label_maps(labels, SIZE, SIZE, count)
    return {
        "label": tf.constant(label),
        "instance": tf.constant(np.stack([data.regions(one) for one in label])),
    }


def painter(method, layout):
    """A picture of the layout, plan included, as a function without arguments."""
    style = method.sample_style(layout, tf.range(layout["label"].shape[0], dtype=tf.int64))
    render = tf.function(method.synthesize)
    return lambda: render(layout, style).numpy()


def pictures(names, labels, runs):
    """Rows of seconds: each method in both forms and precisions at batch 1, on patches at batch 8."""
    for batch in (1, 8):
        layout, functions = layout_of(labels, batch), {}
        for name in names:
            functions[f"{name} patches float32"] = painter(inference_model(name), layout)
            if batch == 1:
                functions[f"{name} patches bfloat16"] = painter(
                    inference_model(name, precision="bfloat16"), layout
                )
                if has_forms(name):
                    functions[f"{name} dense float32"] = painter(inference_model(name, "dense"), layout)
        seconds = interleaved_medians(functions, runs if batch == 1 else 3, warm_up=2 if batch == 1 else 1)
        spade = {p: seconds.get(f"{names[0]} patches {p}", np.nan) for p in ("float32", "bfloat16")}
        print(f"\nPictures of {SIZE}x{SIZE}, batch {batch}; ratios to {names[0]}:\n")
        head = ["method", "float32", "ratio", "bfloat16", "ratio", "dense float32", "dense / patches"]
        print_table(
            head if batch == 1 else head[:3], [picture_row(name, seconds, spade, batch) for name in names]
        )


def picture_row(name, seconds, spade, batch):
    """Cells of one method."""
    cells = [name]
    for precision in ("float32", "bfloat16") if batch == 1 else ("float32",):
        value = seconds[f"{name} patches {precision}"]
        cells += [f"{value:.3f} s", f"{value / spade[precision]:.2f}"]
    if batch == 1:
        dense = seconds.get(f"{name} dense float32")
        cells += (
            [f"{dense:.3f} s", f"{dense / seconds[f'{name} patches float32']:.2f}"] if dense else ["", ""]
        )
    return cells


def encoders(names, labels, runs):
    """Seconds of reading one photo."""
    layout, functions = layout_of(labels, 1), {}
    image = tf.random.stateless_uniform([1, SIZE, SIZE, 3], [0, 0], -1, 1)
    for name in names:
        if name in ENCODERS:
            method = inference_model(name, use_vae=True)
            read = tf.function(lambda image, layout, m=method: m.encode_style(image, layout).values)
            functions[name] = lambda read=read: [x.numpy() for x in read(image, layout).values()]
    seconds = interleaved_medians(functions, runs)
    first = next(iter(seconds.values()))
    print(f"\nEncoder, one photo of {SIZE}x{SIZE}, float32:\n")
    print_table(
        ["method", "seconds", "ratio"], [[n, f"{s:.3f}", f"{s / first:.2f}"] for n, s in seconds.items()]
    )


def step_function(name, form, labels, batch, precision="float32"):
    """One training step on a fixed batch, without VGG, as a function without arguments."""
    config = config_of(name, form, precision, batch_size=batch, checkpoint_dir=tempfile.mkdtemp())
    trainer = Trainer(config, _NoFiles(), tf.distribute.get_strategy())
    image = tf.random.stateless_uniform([batch, SIZE, SIZE, 3], [0, 0], -1, 1)
    example = {**layout_of(labels, batch), "image": image, "row": tf.range(batch, dtype=tf.int64)}
    return lambda: [float(x) for terms in trainer.train_step(example).values() for x in terms.values()]


class _NoFiles:
    """Stands in for a dataset: the batch is given to the step by hand."""

    size = 1000


def steps(names, labels, runs):
    """Seconds of a training step; two methods at a time, the first of all is the measure (memory of all is large)."""
    rows = []
    for name in names:
        pair = {names[0]: step_function(names[0], "patches", labels, 1)}
        pair |= {name: step_function(name, "patches", labels, 1)}
        seconds = interleaved_medians(pair, runs, warm_up=1)
        rows.append([name, f"{seconds[name]:.2f}", f"{seconds[name] / seconds[names[0]]:.2f}"])
        sys.stderr.write(f"{rows[-1]}\n")
    print(f"\nTraining step at {SIZE}x{SIZE}, batch 1, float32, without VGG:\n")
    print_table(["method", "seconds", f"to {names[0]}"], rows)


def memory(names, labels):
    """Peak memory of one picture in both forms and of training steps."""
    common, rows = [__file__, "--labels", str(labels), "--one"], []
    for name in names:
        cells = [
            f"{peak_memory_mb([*common, name, form, 'picture'], processes=1):.0f}"
            if form == "patches" or has_forms(name)
            else ""
            for form in FORMS
        ]
        for batch in (1, 8):
            try:
                cells.append(
                    f"{peak_memory_mb([*common, name, 'patches', f'step {batch}'], processes=1):.0f}"
                )
            except Exception as error:  # killed for its memory
                cells.append(f"did not fit ({type(error).__name__})")
        rows.append([name, *cells])
        sys.stderr.write(f"{rows[-1]}\n")
    print("\nPeak memory in MB, 256x256, float32:\n")
    print_table(["method", "picture, patches", "picture, dense", "step, batch 1", "step, batch 8"], rows)


def parts(names, labels, runs):
    """Where the time of SCGAN's picture goes: plan (vectors and gates) in both forms, the rest, its convolutions."""
    layout, functions = layout_of(labels, 1), {}
    for form in FORMS:
        method = inference_model("SCGAN", form)
        plan, render = tf.function(method.plan), tf.function(method.synthesize_planned)
        ready, style = plan(layout), method.sample_style(layout, tf.zeros([1], tf.int64))
        functions[f"{form}: vectors and gates"] = lambda plan=plan: plan(layout)[1].conv_gates.numpy()
        functions[f"{form}: the rest"] = lambda r=render, p=ready, s=style: r(p, s).numpy()
    operations = composed_operations(method)
    functions["composed convolutions alone"] = composed_convolutions(method)
    seconds = interleaved_medians(functions, runs)
    print(
        f"\nSCGAN's picture by parts ({operations / 1e9:.0f} GFLOP in composed convolutions, "
        f"{operations / matrix_peak('float32'):.3f} s at the matrix peak):\n"
    )
    print_table(["part", "seconds"], [[part, f"{value:.3f}"] for part, value in seconds.items()])


def parameters(names):
    """Millions of numbers that a folded model holds; encoders of photos are not among them, but for clVAE's."""
    rows = []
    for name in names:
        method = build_method(config_of(name, "patches", "float32"), training=False, initial_weights=False)
        method.fold()
        count = sum(int(np.prod(variable.shape)) for variable in named_variables(method).values())
        rows.append([name, f"{count / 1e6:.1f}"])
    print(f"\nParameters in millions, {CLASSES} classes:\n")
    print_table(["method", "parameters"], rows)


def _composed(method):
    """[(convolution, stride)]."""
    blocks = zip(method.generator.blocks, method.strides, strict=True)
    return [(conv, stride) for block, stride in blocks for conv in (block.conv_0, block.conv_1)]


def composed_operations(method):
    """FLOPs of SCGAN's composed convolutions."""
    return sum(2 * (SIZE // s) ** 2 * int(np.prod(c.kernel.shape)) for c, s in _composed(method))


def composed_convolutions(method):
    """All composed convolutions on random features, one after another, as a function without arguments."""
    jobs = []
    for conv, stride in _composed(method):
        side = SIZE // stride
        x = tf.random.normal([1, side, side, conv.kernel.shape[2]])
        gates = tf.random.uniform([1, side, side, conv.experts])
        jobs.append((tf.function(conv), x, gates))
    return lambda: [function(x, gates)[0, 0, 0, 0].numpy() for function, x, gates in jobs]


def print_table(head, rows):
    """A Markdown table."""
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def one(name, form, job, labels):
    """What a process of its own does for the memory figures."""
    if job == "picture":
        painter(inference_model(name, form), layout_of(labels, 1))()
    else:
        step = step_function(name, form, labels, int(job.split()[1]))
        step(), step()
    report_peak_memory()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tables = {"pictures": pictures, "encoders": encoders, "steps": steps, "parts": parts}
    tables |= {"memory": memory, "parameters": parameters}
    parser.add_argument("tables", nargs="*", metavar="|".join(tables))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--labels", default=str(COCO), help="folder of index PNGs")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--one", nargs=3, help="method, form, job: for the memory figures")
    options = parser.parse_args()
    if options.one:
        one(*options.one, options.labels)
        return
    if unknown := set(options.tables) - set(tables):
        parser.error(f"no table {', '.join(sorted(unknown))}; expected {', '.join(tables)}")
    if options.tables != ["parameters"]:
        print(f"Label maps: {label_source(options.labels)}.")
    arguments = {"memory": [options.labels], "parameters": []}
    for name in options.tables or ["pictures"]:
        tables[name](options.methods, *arguments.get(name, [options.labels, options.runs]))


if __name__ == "__main__":
    main()
