"""Pictures and training steps at full width on an accelerator: milliseconds and peak device memory.

python benchmarks/accelerator.py [picture|step ...] [--methods SPADE OASIS ...] [--batches 1 16] [--workers 4]
                                 [--labels FOLDER] [--json FILE]
64 filters, 183 classes, 256x256, both forms of the label convolutions (patches, dense). float32 is TensorFlow's default
on such machines (TF32 products), "exact" the same without TF32, "compiled" has XLA compile the picture. Every case is a
process of its own: they prepare side by side, and one at a time measures. Without an accelerator it measures the CPU.
"""

import argparse
import fcntl
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
from measuring import COCO, label_source
from methods import METHODS, has_forms, inference_model, layout_of, print_table, step_function

PICTURES = (
    ("float32", "patches"),
    ("float32", "dense"),
    ("exact", "dense"),
    ("bfloat16", "patches"),
    ("bfloat16", "dense"),
    ("bfloat16", "compiled"),
)
STEPS = (("float32", "dense"), ("bfloat16", "patches"), ("bfloat16", "dense"))


def cases(jobs, names, batches):
    """[(job, method, precision, form, batch)]."""
    table = {"picture": PICTURES, "step": STEPS}
    return [
        (job, name, precision, form, batch)
        for job in jobs
        for name in names
        for precision, form in table[job]
        for batch in batches
        if form != "patches" or has_forms(name)
    ]


def function_of(job, name, precision, form, batch, labels):
    """The work of a case as a function without arguments that returns when it is done."""
    kind = "float32" if precision == "exact" else precision
    if job == "step":
        return step_function(name, form, labels, batch, kind)
    layout = layout_of(labels, batch)
    method = inference_model(name, "dense" if form == "compiled" else form, kind)
    style = method.sample_style(layout, tf.range(batch, dtype=tf.int64))
    render = tf.function(method.synthesize, jit_compile=form == "compiled")
    return lambda: render(layout, style).numpy()


def measure(case, labels, runs, lock):
    """{ms, memory_mb} of a case: the median of `runs` calls, while no other process measures."""
    tf.config.experimental.enable_tensor_float_32_execution(case[2] != "exact")
    function = function_of(*case, labels)
    function()
    with open(lock, "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        seconds = []
        for _ in range(runs + 3):
            start = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - start)
    gpus = tf.config.list_logical_devices("GPU")
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20 if gpus else None
    return {"ms": 1000 * float(np.median(seconds[3:])), "memory_mb": peak}


def run_case(case, options, lock):
    """The row of a case, measured by a process of its own; "error" in place of figures where it failed."""
    arguments = [
        "--one",
        *map(str, case),
        "--labels",
        options.labels,
        "--runs",
        str(options.runs),
        "--lock",
        lock,
    ]
    try:
        done = subprocess.run(
            [sys.executable, __file__, *arguments], capture_output=True, text=True, timeout=options.limit
        )
        found = (
            json.loads(done.stdout.splitlines()[-1])
            if done.returncode == 0
            else {"error": done.stderr[-1500:]}
        )
    except subprocess.TimeoutExpired:
        found = {"error": f"not done after {options.limit} s"}
    row = dict(zip(("job", "method", "precision", "form", "batch"), case, strict=True)) | found
    sys.stderr.write(f"{row}\n")
    return row


def show(rows):
    """The rows as a Markdown table."""
    print_table(
        ["work", "method", "batch", "precision", "form", "ms per picture", "device MB"],
        [[r["job"], r["method"], str(r["batch"]), r["precision"], r["form"],
          f"{r['ms'] / int(r['batch']):.1f}" if "ms" in r else "failed",
          f"{r['memory_mb']:.0f}" if r.get("memory_mb") else ""] for r in rows],
    )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("jobs", nargs="*", metavar="picture|step")
    parser.add_argument("--methods", nargs="+", default=["SPADE", "OASIS"], choices=METHODS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare at the same time")
    parser.add_argument("--labels", default=str(COCO), help="folder of index PNGs")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--limit", type=int, default=600, help="seconds a case may take")
    parser.add_argument("--json", default="", help="where the rows are kept as they come")
    parser.add_argument(
        "--one", nargs=5, help="one case in this process: job, method, precision, form, batch"
    )
    parser.add_argument("--lock", default="")
    options = parser.parse_args()
    if options.one:
        *case, batch = options.one
        print(json.dumps(measure((*case, int(batch)), options.labels, options.runs, options.lock)))
        return
    rows = []

    def keep(row):
        rows.append(row)
        if options.json:
            with open(options.json, "w", encoding="utf-8") as file:
                json.dump({"labels": label_source(options.labels), "rows": rows}, file, indent=1)

    with tempfile.NamedTemporaryFile() as lock, ThreadPoolExecutor(options.workers) as pool:
        wanted = cases(options.jobs or ["picture", "step"], options.methods, options.batches)
        for row in pool.map(lambda case: run_case(case, options, lock.name), wanted):
            keep(row)
    names = [gpu.name for gpu in tf.config.list_physical_devices("GPU")]
    print(f"Label maps: {label_source(options.labels)}. Devices: {', '.join(names) or 'CPU'}.\n")
    show(rows)


if __name__ == "__main__":
    main()
