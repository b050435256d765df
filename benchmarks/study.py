"""Methods by discriminators at equal cost on rendered scenes: quality, diversity and time per picture. Linux.

python benchmarks/study.py [--minutes 24] [--cells spade:multiscale oasis:segmentation ...] [--seeds 1] [--folder study]
A cell trains with train.py at a constant rate until its minutes are over and is then told to save and stop. Minutes are
of processor time (24 are 12 on the clock of two cores with nothing else to do), so that other work on the machine
makes a study longer and its figures hardly worse. They count from the first step in the log, a minute in, and are kept
in FOLDER/study.json: a study that was interrupted goes on where it stood, one with more --minutes goes on training.
Then the judge of benchmarks/scenes.py scores every cell; the table is printed and kept in FOLDER/study.json, the
chart in FOLDER/study.png. Without --cells: every method that reads scenes by every discriminator.
Time per picture is measured for all cells at the end, one after the other; it alone is changed by other work.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import tensorflow as tf
from scenes import RealScores, milliseconds, score_run

from semantic_synthesis.evaluation import judge as judging
from semantic_synthesis.evaluation.tables import table
from semantic_synthesis.files import write_json
from semantic_synthesis.inference import load_run

REPOSITORY = Path(__file__).resolve().parent.parent
COMMON = [
    "--dataset_mode=scenes",
    "--scenes_count=4000",
    "--crop_size=128",
    "--no_instance=false",
    "--num_generator_filters=12",
    "--num_discriminator_filters=24",
    "--no_vgg_loss",
    "--batch_size=8",
    "--total_steps=1000000",
    "--ema_decay=0.999",
    "--precision=bfloat16",
    "--print_info_freq=10",
    "--save_img_freq=500",
    "--save_model_freq=250",
    "--recalibration_batches=50",
]
ENCODER = [
    "--use_vae",
    "--encoder_size=128",
    "--z_dim=32",
    "--num_encoder_filters=12",
    "--lr=0.0003",
    "--prior_factors=8",
]
METHODS = {
    "spade": [*ENCODER, "--num_hidden_filters=32", "--lambda_kld=0.1"],
    "clade": [*ENCODER, "--lambda_kld=0.1"],
    "inade": [*ENCODER, "--noise_dim=8", "--feature_layers=all", "--norm_E=spectralnone", "--lambda_kld=0.06",
              "--prior_share=0.25", "--init_variance=0.8"],
    "clvae": [*ENCODER, "--z_dim=4", "--num_hidden_filters=32", "--norm_E=spectralnone", "--lambda_kld=0.05",
              "--lambda_kld_classes=0.002", "--prior_share=0.15"],
    "scgan": [*ENCODER, "--num_hidden_filters=32", "--num_routing_filters=8", "--num_entry_filters=12",
              "--lambda_kld=0.1"],
    "oasis": ["--num_hidden_filters=32", "--z_dim=32", "--init_variance=1.0", "--lr=0.0004"],
}  # fmt: skip
DISCRIMINATORS = ("multiscale", "fpse", "segmentation")
CELLS = [f"{method}:{netD}" for netD in DISCRIMINATORS for method in METHODS]
SHOWN = (
    "mIoU ratio",
    "distance",
    "mIoU ratio, photo",
    "distance, photo",
    "diversity",
    "diversity in instances",
    "ms per image",
)


def flags_of(cell, seed, folder):
    """The options of train.py for one cell."""
    method, netD = cell.split(":")
    # Nothing ties a picture to its photo without feature matching, so an encoder would learn nothing.
    unpaired = ["--prior_share=1"] if netD == "segmentation" and method != "oasis" else []
    return [
        *COMMON,
        *METHODS[method],
        f"--method={method}",
        f"--netD={netD}",
        *unpaired,
        f"--seed={seed}",
        f"--checkpoint_dir={folder}",
    ]


def train(cell, seed, folder, state, minutes, keep):
    """Trains one cell until `minutes` of steps are over; keep() stores state after every few seconds."""
    mine = state.setdefault(folder.name, {"processor_seconds": 0.0, "step": 0, "finished": 0.0})
    folder.mkdir(parents=True, exist_ok=True)
    if mine["processor_seconds"] < 60 * minutes:
        go_on(cell, seed, folder, mine, minutes, keep)
    if mine["finished"] != mine["processor_seconds"]:
        finish(cell, seed, folder)
        mine.update(finished=mine["processor_seconds"], step=last_step(folder))
        keep()


def go_on(cell, seed, folder, mine, minutes, keep):
    """Trains until the minutes are over."""
    known = last_step(folder)
    with open(folder / "log.txt", "a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "train.py", *flags_of(cell, seed, folder)],
            cwd=REPOSITORY,
            stderr=log,
            stdout=log,
        )
        try:
            began = None
            while process.poll() is None:
                time.sleep(1)
                if began is None:  # what an earlier part logged ends before this process began
                    began = processor_seconds(process.pid) if last_step(folder) > known else None
                    continue
                now = processor_seconds(process.pid)
                mine["processor_seconds"] += now - began
                began = now
                mine["step"] = last_step(folder)
                keep()
                if mine["processor_seconds"] >= 60 * minutes:
                    process.send_signal(signal.SIGTERM)
                    process.wait()
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait()
    if process.returncode not in (0, 128 + signal.SIGTERM):
        sys.exit(f"{folder.name}: train.py ended with {process.returncode}; see {folder / 'log.txt'}")
    keep()


def finish(cell, seed, folder):
    """One more step and the end: who is told to stop does not measure statistics and fit priors first."""
    done = int(tf.train.latest_checkpoint(folder).rpartition("-")[2])
    flags = [*flags_of(cell, seed, folder), f"--total_steps={done + 1}"]
    with open(folder / "log.txt", "a", encoding="utf-8") as log:
        subprocess.run(
            [sys.executable, "train.py", *flags], cwd=REPOSITORY, stderr=log, stdout=log, check=True
        )


def processor_seconds(pid):
    """Seconds that all threads of a process computed, as the kernel counts them."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime


def last_step(folder):
    """The step of the last line of progress in a cell's log, 0 before the first."""
    if not (folder / "log.txt").exists():
        return 0
    lines = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    steps = [line.partition("] step ")[2] for line in lines if "] step " in line]
    return int(steps[-1].split("/")[0]) if steps else 0


def score(folder, judge, reals, count):
    """The row of one cell."""
    run = load_run(folder)
    if run.size not in reals:
        reals[run.size] = RealScores(judge, count, run.size)
    return score_run(run, judge, reals[run.size], count, samples=4, diverse=min(count, 50))


def chart(rows, path):
    """Quality against diversity, a point per cell, as large as its time per picture; needs matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return print("no chart: python -m pip install matplotlib", file=sys.stderr)
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), dpi=110)
    for name, row in rows.items():
        axes.scatter(row["diversity"], row["mIoU ratio"], 6 * row["ms per image"], alpha=0.6)
        axes.annotate(name, (row["diversity"], row["mIoU ratio"]), fontsize=7)
    axes.set_xlabel("diversity of random styles")
    axes.set_ylabel("mIoU ratio")
    axes.set_title("Areas: time per picture")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=24.0, help="of processor time per cell")
    parser.add_argument("--cells", nargs="+", default=CELLS, choices=CELLS, metavar="METHOD:DISCRIMINATOR")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--count", type=int, default=300, help="held-out layouts")
    parser.add_argument("--folder", default="study")
    options = parser.parse_args()
    whole = Path(options.folder).resolve()
    whole.mkdir(parents=True, exist_ok=True)
    path = whole / "study.json"
    state = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"cells": {}, "rows": {}}
    judge, reals = judging.load_judge(judging.FOLDER), {}
    for seed in range(options.seeds):
        for cell in options.cells:
            folder = whole / f"{cell.replace(':', '_')}_{seed}"
            train(cell, seed, folder, state["cells"], options.minutes, lambda: write_json(path, state))
            trained = state["cells"][folder.name]
            if state["rows"].get(folder.name, {}).get("finished") != trained["finished"]:
                state["rows"][folder.name] = trained | score(folder, judge, reals, options.count)
                write_json(path, state)
    rows = state["rows"]
    for name, row in rows.items():
        row["ms per image"] = milliseconds(load_run(whole / name))
    write_json(path, state)
    shown = [
        {"cell": name, "steps": row["step"], **{c: row.get(c, "") for c in SHOWN}}
        for name, row in rows.items()
    ]
    print(table(shown))
    chart(rows, whole / "study.png")


if __name__ == "__main__":
    main()
