"""Writes docs/performance.md and its chart from stored measurements (needs matplotlib).

python benchmarks/inference.py --json docs/performance_inference.json
python benchmarks/training.py --json docs/performance_training.json
python benchmarks/parts.py --out docs/performance_parts.txt
python benchmarks/report.py
"""

import json
from pathlib import Path

import inference
import matplotlib
import training

matplotlib.use("Agg")
from matplotlib import pyplot

DOCS = Path(__file__).resolve().parent.parent / "docs"
NAMES = ("dense float32", "patches float32", "dense bfloat16", "patches bfloat16")


def chart(rows, path):
    """Bars of seconds per picture, one group per size and batch."""
    figure, axes = pyplot.subplots(figsize=(9, 3.6), dpi=110)
    for i, name in enumerate(NAMES):
        heights = [row[name] / row["batch"] for row in rows]
        axes.bar([g + 0.2 * i for g in range(len(rows))], heights, 0.18, label=name)
    axes.set_xticks([g + 0.3 for g in range(len(rows))], [f"{r['size']}\nbatch {r['batch']}" for r in rows])
    axes.set_ylabel("seconds per picture")
    axes.set_title("SPADE generator, 64 filters, 183 classes, COCO-Stuff label maps, 2 CPU cores")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)


def main():
    """Reads the two JSON files and writes the document."""
    ours = json.loads((DOCS / "performance_inference.json").read_text(encoding="utf-8"))
    steps = json.loads((DOCS / "performance_training.json").read_text(encoding="utf-8"))
    (DOCS / "images").mkdir(exist_ok=True)
    chart(ours["rows"], DOCS / "images" / "performance.png")
    noise = ours["noise"]["auto"] / ours["noise"]["dense"]
    memory = ", ".join(f"{name} {value:.0f} MB" for name, value in ours["memory_mb"].items())
    text = (DOCS / "performance_head.txt").read_text(encoding="utf-8")
    text = text.replace("INFERENCE", inference.table(ours["rows"], ours["peaks"], ours["labels"]))
    text = text.replace("METHODS", inference.methods_table(ours["methods"]))
    text = text.replace("NOISE", f"{noise:.2f}").replace("MEMORY_OF_ONE", memory)
    text = text.replace("PARTS", (DOCS / "performance_parts.txt").read_text(encoding="utf-8").strip())
    text = text.replace("TRAINING", training.table(steps["rows"], steps["memory_mb"], steps["labels"]))
    (DOCS / "performance.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
