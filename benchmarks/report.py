"""Draws docs/images/performance.png, the chart of docs/performance.md, from stored measurements (needs matplotlib).

python benchmarks/inference.py --full --json docs/performance_inference.json
python benchmarks/report.py
The tables of docs/performance.md are what the commands named there print.
"""

import json
from pathlib import Path

import matplotlib

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
    """Reads the JSON file and draws."""
    ours = json.loads((DOCS / "performance_inference.json").read_text(encoding="utf-8"))
    chart(ours["rows"], DOCS / "images" / "performance.png")


if __name__ == "__main__":
    main()
