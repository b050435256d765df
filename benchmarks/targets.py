"""File sizes and times of one run in every form that export.py writes: a Markdown table.

    python benchmarks/targets.py --checkpoint_dir demo_spade --repeats 20

Time: median of one picture, after two warm-up calls. TensorFlow Lite runs on one thread unless told otherwise, ONNX
Runtime on as many as there are cores. The SavedModel's rows: serving_default (label patches, checks, seed) and picture.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from semantic_synthesis.inference import load_run
from semantic_synthesis.serving import targets
from semantic_synthesis.serving.export import ExportOptions, export

FORMS = [
    ("lite", "float32"),
    ("lite", "float16"),
    ("lite", "int8"),
    ("onnx", "float32"),
    ("onnx", "float16"),
    ("xla", "float32"),
]


def megabytes(path):
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files if file.suffix not in (".md", ".json")) / 1e6


def timed(call, repeats):
    """Median milliseconds."""
    for _ in range(2):
        call()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        found.append(1000 * (time.perf_counter() - start))
    return statistics.median(found)


def row(name, path, call, right, repeats):
    difference = np.abs(call().astype(int) - right)
    print(
        f"| {name} | {megabytes(path):.1f} | {timed(call, repeats):.1f} | {difference.max()} | "
        f"{difference.mean():.3f} |",
        flush=True,
    )


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint_dir", default="demo_spade")
    parser.add_argument("--repeats", type=int, default=20)
    asked = parser.parse_args()
    run = load_run(asked.checkpoint_dir)
    print(
        "| form | MB | ms per picture | largest difference of 255 | mean |\n| --- | --- | --- | --- | --- |"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(export(ExportOptions(checkpoint_dir=asked.checkpoint_dir, export_dir=folder)))
        model = tf.saved_model.load(str(path))
        specs = model.signatures["picture"].structured_input_signature[1]
        inputs, right = targets.example(run, run.size, specs)
        fed = {name: tf.constant(values) for name, values in inputs.items()}
        seeded = {"label": fed["label"], "seed": tf.zeros([1], tf.int64)}
        for name in model.signatures["serving_default"].structured_input_signature[1].keys() - seeded.keys():
            objects = fed.get(name, 1 + tf.cast(fed["label"], tf.int32))  # those of the example
            seeded[name] = tf.cast(objects, tf.int32)
        calls = {"serving_default": seeded, "picture": fed}
        for name, values in calls.items():
            function = model.signatures[name]
            call = lambda f=function, v=values: f(**v)["image"].numpy()  # noqa: E731
            row(f"SavedModel, `{name}`", path, call, right, asked.repeats)
        for target, weights in FORMS:
            options = ExportOptions(
                checkpoint_dir=asked.checkpoint_dir, export_dir=folder, target=target, weights=weights
            )
            made = Path(export(options))
            (file,) = (
                [made] if target == "xla" else [p for p in made.iterdir() if p.suffix in (".tflite", ".onnx")]
            )
            call = targets.CALLS[target](file)
            row(f"{target}, {weights}", file, lambda c=call: c(inputs), right, asked.repeats)


if __name__ == "__main__":
    main()
