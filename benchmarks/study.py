"""Methods by discriminators at equal cost on rendered scenes: quality, diversity and time per picture.

python benchmarks/study.py [--minutes 12] [--size 128] [--cells spade:multiscale oasis:segmentation ...] [--seeds 1]
First the training steps of all cells are timed in turn in one process, on a batch of scenes, which wants a machine with
nothing else to do; they are kept in FOLDER/study.json. A cell then trains with train.py, at a constant rate, for as
many steps as fit into its minutes at that time, however long other work makes it last: a study may run beside
something, be interrupted and go on where it stood, and one with more --minutes goes on training.
The judge of benchmarks/scenes.py scores every cell; at the end the time per picture is measured for all, one after the
other, the table is printed and kept in FOLDER/study.json, the chart in FOLDER/study.png.
Without --cells: every method that reads scenes by every discriminator, and SIMS, which has none. Its memory of 200
photos is made first and does not count as training.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import tensorflow as tf
from measuring import interleaved_medians
from scenes import RealScores, milliseconds, score_run

from semantic_synthesis import data
from semantic_synthesis.evaluation import judge as judging
from semantic_synthesis.evaluation.tables import table
from semantic_synthesis.files import write_json
from semantic_synthesis.inference import load_run
from semantic_synthesis.methods import extra_maps, instance_maps
from semantic_synthesis.runs import training_config
from semantic_synthesis.training import Trainer

REPOSITORY = Path(__file__).resolve().parent.parent
COMMON = {
    "dataset_mode": "scenes",
    "scenes_count": 4000,
    "no_instance": False,
    "num_generator_filters": 12,
    "num_discriminator_filters": 24,
    "no_vgg_loss": True,
    "batch_size": 8,
    "ema_decay": 0.99,  # of 0.999 a short training would keep a third of what it began with
    "precision": "bfloat16",
    "print_info_freq": 10,
    "save_img_freq": 500,
    "save_model_freq": 1000,
    "recalibration_batches": 50,
}
ENCODER = {
    "use_vae": True,
    "encoder_size": 128,
    "z_dim": 32,
    "num_encoder_filters": 12,
    "lr": 0.0003,
    "prior_factors": 8,
    "lambda_kld": 0.1,
}
METHODS = {
    "spade": ENCODER | {"num_hidden_filters": 32},
    "clade": ENCODER,
    "inade": ENCODER
    | {
        "noise_dim": 8,
        "feature_layers": "all",
        "norm_E": "spectralnone",
        "lambda_kld": 0.06,
        "prior_share": 0.25,
    }
    | {"init_variance": 0.8},
    "clvae": ENCODER
    | {"z_dim": 4, "num_hidden_filters": 32, "norm_E": "spectralnone", "lambda_kld": 0.05}
    | {"lambda_kld_classes": 0.002, "prior_share": 0.15},
    "scgan": ENCODER | {"num_hidden_filters": 32, "num_routing_filters": 8, "num_entry_filters": 12},
    "oasis": {"num_hidden_filters": 32, "z_dim": 32, "init_variance": 1.0, "lr": 0.0004},
}
SIMS = {
    "dataset_mode": "scenes",
    "scenes_count": 2000,
    "use_transformation": False,
    "use_order": True,
    "num_filters": 10,
    "no_vgg_loss": True,
    "batch_size": 4,
    "total_epochs": 1,  # the paper's rates rise with the epoch, from a hundredth
    "lr": 0.1,
    **{
        n: COMMON[n]
        for n in ("ema_decay", "precision", "print_info_freq", "save_img_freq", "save_model_freq")
    },
}
BANK = "bank"
DISCRIMINATORS = ("multiscale", "fpse", "segmentation")
CELLS = [f"{method}:{netD}" for netD in DISCRIMINATORS for method in METHODS] + ["sims:none"]
SHOWN = (
    "mIoU ratio",
    "distance",
    "mIoU ratio, photo",
    "distance, photo",
    "diversity",
    "diversity in instances",
    "ms per image",
)


def options_of(cell, size, seed, folder, steps, whole):
    """{option of train.py: value} for one cell; whole: the study's folder, which holds SIMS' memory."""
    method, netD = cell.split(":")
    own = {
        "method": method,
        "seed": seed,
        "checkpoint_dir": str(folder),
        "total_steps": steps,
        "crop_size": size,
    }
    if netD == "none":
        return SIMS | {"bank_dir": str(whole / BANK)} | own
    # Nothing ties a picture to its photo without feature matching, so an encoder would learn nothing.
    unpaired = {"prior_share": 1.0} if netD == "segmentation" and method != "oasis" else {}
    return COMMON | METHODS[method] | unpaired | {"netD": netD} | own


def make_bank(folder, size):
    """SIMS' memory, once."""
    if not folder.exists():
        flags = ["--dataset_mode=scenes", "--scenes_count=200", f"--crop_size={size}", f"--out={folder}"]
        subprocess.run(
            [sys.executable, "-m", "semantic_synthesis", "prepare", "bank", *flags],
            cwd=REPOSITORY,
            check=True,
        )


def step_of(cell, size, whole):
    """One training step on a fixed batch of the dataset, as a function without arguments."""
    config = training_config(options_of(cell, size, 0, tempfile.mkdtemp(), 1, whole), data.resolve)
    dataset = data.open_dataset(config, instance_maps=instance_maps(config), extra_maps=extra_maps(config))
    trainer = Trainer(config, dataset, tf.distribute.get_strategy())
    batch = next(iter(trainer.batches()))
    print(f"{cell}: its step is built", file=sys.stderr)
    return lambda: tf.nest.map_structure(float, trainer.train_step(batch))


def train(cell, size, seed, folder, steps):
    """Trains one cell to a number of steps."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = [
        f"--{name}={value}"
        for name, value in options_of(cell, size, seed, folder, steps, folder.parent).items()
    ]
    with open(folder / "log.txt", "a", encoding="utf-8") as log:
        command = [sys.executable, "train.py", *flags]
        done = subprocess.run(command, cwd=REPOSITORY, stderr=log, stdout=log, check=False)
    if done.returncode:
        sys.exit(f"{folder.name}: train.py ended with {done.returncode}; see {folder / 'log.txt'}")


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
    for netD, color in zip(
        (*DISCRIMINATORS, "none"), ("#1f77b4", "#2ca02c", "#d62728", "#7f7f7f"), strict=True
    ):
        mine = {name.split("_")[0]: row for name, row in rows.items() if name.split("_")[1] == netD}
        if mine:
            x, y, time = (
                [row[of] for row in mine.values()] for of in ("diversity", "mIoU ratio", "ms per image")
            )
            areas = [6 * one for one in time]
            axes.scatter(x, y, areas, c=color, alpha=0.6, linewidths=0, label=netD)
        for number, (method, row) in enumerate(sorted(mine.items(), key=lambda item: item[1]["diversity"])):
            beside = 4 + (6 * row["ms per image"]) ** 0.5 / 2  # of the point's middle
            side = (
                {"ha": "left", "xytext": (beside, -3)}
                if number % 2 or netD == "none"
                else {"ha": "right", "xytext": (-beside, -3)}
            )
            if netD == "fpse":
                side = {"ha": "center", "xytext": (0, 9)}
            at = (row["diversity"], row["mIoU ratio"])
            axes.annotate(method, at, textcoords="offset points", fontsize=8, color=color, **side)
    axes.set_xlabel("diversity of random styles")
    axes.set_ylabel("mIoU ratio")
    axes.set_title("Methods by discriminators at equal cost; areas: time per picture", fontsize=10)
    axes.legend(title="discriminator", fontsize=8, title_fontsize=8, markerscale=0.6, frameon=False)
    axes.margins(0.1)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=12.0, help="of training steps per cell")
    parser.add_argument("--size", type=int, default=128, help="of the pictures; one size per folder")
    parser.add_argument("--cells", nargs="+", default=CELLS, choices=CELLS, metavar="METHOD:DISCRIMINATOR")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--count", type=int, default=300, help="held-out layouts")
    parser.add_argument("--folder", default="study")
    options = parser.parse_args()
    whole = Path(options.folder).resolve()
    whole.mkdir(parents=True, exist_ok=True)
    path = whole / "study.json"
    state = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"seconds": {}, "rows": {}}
    if "sims:none" in options.cells:
        make_bank(whole / BANK, options.size)
    if set(options.cells) - set(state["seconds"]):
        state["seconds"] = interleaved_medians(
            {cell: step_of(cell, options.size, whole) for cell in options.cells}, runs=9
        )
        write_json(path, state)
        tf.keras.backend.clear_session()
    judge, reals = judging.load_judge(judging.FOLDER), {}
    for seed in range(options.seeds):
        for cell in options.cells:
            folder, second = whole / f"{cell.replace(':', '_')}_{seed}", state["seconds"][cell]
            steps = round(60 * options.minutes / second)
            if state["rows"].get(folder.name, {}).get("steps", 0) < steps:
                train(cell, options.size, seed, folder, steps)
                found = score(folder, judge, reals, options.count)
                state["rows"][folder.name] = {"ms per step": 1000 * second, "steps": steps} | found
                write_json(path, state)
    rows = state["rows"]
    for name, row in rows.items():
        row["ms per image"] = milliseconds(load_run(whole / name))
    write_json(path, state)
    columns = ("ms per step", "steps", *SHOWN)
    print(table([{"cell": name, **{c: row.get(c, "") for c in columns}} for name, row in rows.items()]))
    chart(rows, whole / "study.png")


if __name__ == "__main__":
    main()
