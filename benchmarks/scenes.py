"""The scenes benchmark: runs on the same held-out rendered landscapes, read by the judge for scenes.

python benchmarks/scenes.py [RUN ...] [--count 500] [--train_judge]
Without RUN: every run below checkpoints/ whose dataset is scenes. Prints the table and writes
docs/scenes_benchmark.json and docs/scenes_benchmark.png (a layout per row: label map, real picture, then one
picture per run). Layouts are the scenes 1,000,000, 1,000,001, ... which no generator and no judge trained on.

Columns: mIoU ratio = the judge's mIoU on the run's pictures / on real pictures of the same layouts.
Distance = Frechet distance to the real pictures in the judge's features; the row "real" is the distance of
the real pictures to those of as many other layouts, the floor at this number of images; "random looks":
to those of the same layouts, each in the look of another layout, which is all that a random style can be. "photo": the
same with the styles that the run's encoder reads from the layouts' real pictures, instead of random ones.
Diversity = mean over pairs of styles of the squared difference of the judge's unit-length features, mean
over its four maps: over the picture, and averaged within each instance first (every object counts alike, large
or small, and every class without objects). It is no LPIPS. Own colour = standard deviation over styles, in
1/255, of an object's mean colour less that of all objects of its class in the picture: how far single
objects vary by themselves. In the row "real" these three are those of real scenes in the looks of others, their
objects' own colours kept. Edit inside, edit outside (methods with a style per instance): the same feature
difference when the style of one object alone is drawn anew, in the object and elsewhere.
ms per image: a new layout and a new style, batch 1, median of 20.
"""

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from semantic_synthesis import data
from semantic_synthesis.config import Config
from semantic_synthesis.data.pipeline import HELD_OUT_SEED
from semantic_synthesis.data.scenes import CLASSES, render_scene
from semantic_synthesis.evaluation import judge as judging
from semantic_synthesis.evaluation.segmentation import Confusion, score_batch
from semantic_synthesis.evaluation.statistics import Gaussian, Moments, frechet_distance
from semantic_synthesis.evaluation.tables import table
from semantic_synthesis.files import write_json
from semantic_synthesis.inference import load_run
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.pictures import contact_sheet, write_png
from semantic_synthesis.restyling import mix_style, style_masks
from semantic_synthesis.runs import find_run, run_sha256
from semantic_synthesis.styles import REGION, Encoded, needs_regions

REPOSITORY = Path(__file__).resolve().parent.parent
BATCH, TIMED, SHEET_ROWS = 10, 20, 6


def scene_batches(count, size, first=0):
    """Batches of (row numbers, uint8 [B,H,W,3], int32 [B,H,W], int32 [B,H,W]) of held-out scenes."""
    for start in range(first, first + count, BATCH):
        rows = np.arange(start, min(start + BATCH, first + count))
        scenes = [render_scene(HELD_OUT_SEED + int(row), *size) for row in rows]
        maps = ([getattr(scene, name) for scene in scenes] for name in ("image", "label", "instance"))
        images, labels, instances = map(np.stack, maps)
        yield rows, images, labels.astype(np.int32), instances.astype(np.int32)


class Scores:
    """What the judge reads in the pictures of one way of choosing styles."""

    def __init__(self, judge):
        self.judge, self.confusion, self.moments = judge, Confusion(len(CLASSES)), Moments(judge.dims)

    def add(self, pictures, labels):
        score_batch(self.confusion, self.judge, pictures, labels)
        self.moments.update(self.judge.features(pictures))

    def distance(self, real):
        return frechet_distance(Gaussian.of(self.moments), Gaussian.of(real.moments))


class RealScores(Scores):
    """mIoU, features, floor and diversity of the real pictures of one size."""

    def __init__(self, judge, count, size, samples=4, diverse=0):
        super().__init__(judge)
        self.styles = mean_figures(
            [relit_figures(judge, row, count, size, samples) for row in range(diverse)]
        )
        for _, images, labels, _ in scene_batches(count, size):
            self.add(images, labels)
        others = Moments(judge.dims)
        for _, images, _, _ in scene_batches(count, size, first=count):
            others.update(judge.features(images))
        self.floor = frechet_distance(Gaussian.of(self.moments), Gaussian.of(others))
        relit = Moments(judge.dims)
        for rows, *_ in scene_batches(count, size):
            looks = [render_scene(HELD_OUT_SEED + count + int(row), 16, 16).look for row in rows]
            scenes = [
                render_scene(HELD_OUT_SEED + int(r), *size, look) for r, look in zip(rows, looks, strict=True)
            ]
            relit.update(judge.features(np.stack([scene.image for scene in scenes])))
        self.relit = frechet_distance(Gaussian.of(self.moments), Gaussian.of(relit))

    def row(self, size, count):
        return {
            "run": "real",
            "method": "-",
            "size": f"{size[1]}x{size[0]}",
            "layouts": count,
            "mIoU": self.confusion.mean_iou,
            "mIoU ratio": 1.0,
            "pixel accuracy": self.confusion.pixel_accuracy,
            "distance": self.floor,
            "distance, random looks": self.relit,
            **self.styles,
        }


def score_run(run, judge, real, count, samples, diverse):
    """The table row of a run."""
    diversities, scores = [], {"random": Scores(judge)}
    if run.encoded:
        scores["photo"] = Scores(judge)
    for rows, images, labels, instances in scene_batches(count, run.size):
        layout = layout_of(run, labels, instances)
        scores["random"].add(run.synthesize(layout, run.sample_style(rows, layout)), labels)
        if "photo" in scores:
            style = run.encode_style(images, layout)
            scores["photo"].add(run.synthesize(layout, style), labels)
        for i, row in enumerate(rows) if run.style_specs else ():
            if len(diversities) < diverse:
                one = {name: values[i : i + 1] for name, values in layout.items()}
                seeds = np.arange(samples) + int(row) * samples
                diversities.append(style_figures(run, judge, one, seeds, labels[i], instances[i]))
    styles = mean_figures(diversities)
    confusion = scores["random"].confusion
    found = {
        "run": os.path.basename(os.path.normpath(run.config.checkpoint_dir)),
        "method": run.config.method,
        "size": f"{run.size[1]}x{run.size[0]}",
        "layouts": count,
        "mIoU": confusion.mean_iou,
        "mIoU ratio": confusion.mean_iou / real.confusion.mean_iou,
        "pixel accuracy": confusion.pixel_accuracy,
        "distance": scores["random"].distance(real),
        **styles,
        "ms per image": milliseconds(run),
        "parameters": generator_parameters(run),
        "weights sha256": run_sha256(run.config.checkpoint_dir)[:12],
    }
    if "photo" in scores:
        found["mIoU ratio, photo"] = scores["photo"].confusion.mean_iou / real.confusion.mean_iou
        found["distance, photo"] = scores["photo"].distance(real)
    return found


def layout_of(run, labels, instances):
    return run.layout(labels, None if run.config.no_instance else instances)


def relit_figures(judge, row, count, size, samples):
    """`picture_figures` of a real layout in the looks of `samples` other scenes."""
    others = range(HELD_OUT_SEED + count + samples * row, HELD_OUT_SEED + count + samples * (row + 1))
    looks = [render_scene(seed, 16, 16).look for seed in others]
    scenes = [render_scene(HELD_OUT_SEED + row, *size, look) for look in looks]
    pictures = np.stack([scene.image for scene in scenes])
    return picture_figures(
        judge, pictures, scenes[0].label.astype(np.int32), scenes[0].instance.astype(np.int32)
    )


def mean_figures(rows):
    """{column: mean} of [{column: figure}], objects' colours of layouts without objects left out."""
    return {name: float(np.nanmean([row[name] for row in rows])) for name in (rows[0] if rows else ())}


def picture_figures(judge, pictures, label, instance):
    """{column: figure} of uint8 [S,H,W,3] pictures of one layout."""
    field = judge.field(pictures)
    return {
        "diversity": field.mean(),
        "diversity in instances": by_region(field, data.regions(label, instance)).mean(),
        "own colour": own_color(pictures, label, instance),
    }


def style_figures(run, judge, layout, seeds, label, instance):
    """{column: figure} of one layout in the styles of some seeds."""
    style = run.sample_style(seeds, layout)
    found = picture_figures(judge, run.synthesize(layout, style), label, instance)
    objects = [i for i in np.unique(instance) if i and (instance == i).sum() > 50]
    if needs_regions(run.style_specs) and objects:
        chosen = instance == objects[int(seeds[0]) % len(objects)]
        row = int(np.bincount(layout["instance"][0][chosen]).argmax())
        one = {name: np.repeat(np.asarray(x)[:1], len(seeds), 0) for name, x in style.items()}
        masks = style_masks(run, layout, {REGION: [row]})
        edited = run.synthesize(layout, mix_style(one, Encoded(style), masks))
        field = judge.field(edited)
        found |= {"edit inside": field[chosen].mean(), "edit outside": field[~chosen].mean()}
    return found


def by_region(field, regions):
    """Means of float [H,W] over the regions int [H,W]."""
    return np.bincount(regions.ravel(), field.ravel()) / np.bincount(regions.ravel())


def own_color(pictures, label, instance):
    """See the module's docstring; nan for layouts without two larger objects of one class."""
    ids = [i for i in np.unique(instance) if i and (instance == i).sum() > 50]
    classes = np.array([np.bincount(label[instance == i]).argmax() for i in ids])
    colors = np.array([[p[instance == i].mean(0) for i in ids] for p in pictures])  # [S,I,3]
    found = []
    for value in np.unique(classes):
        group = colors[:, classes == value]
        if group.shape[1] > 1:
            found.append((group - group.mean(1, keepdims=True)).std(0).mean())
    return float(np.mean(found)) if found else float("nan")


def milliseconds(run):
    """Median time from a new layout and style to a picture."""
    times = []
    for rows, _, labels, instances in scene_batches(TIMED + 3, run.size):
        for i, row in enumerate(rows):
            start = time.perf_counter()
            layout = layout_of(run, labels[i : i + 1], instances[i : i + 1])
            run.synthesize(layout, run.sample_style([int(row)], layout))
            times.append(time.perf_counter() - start)
    return float(np.median(times[3:]) * 1e3)


def generator_parameters(run):
    """Parameters in thousands that a picture from a random style needs: all but the encoder's."""
    sizes = {n: int(np.prod(v.shape)) for n, v in named_variables(run.method).items()}
    return f"{sum(size for name, size in sizes.items() if not name.startswith('encoder/')) / 1e3:.0f}k"


def picture_sheet(runs, size):
    """uint8 sheet: a row per layout; label map, real picture, one picture per run."""
    _, images, labels, _ = next(scene_batches(SHEET_ROWS, size))
    columns = [next(iter(runs)).table.colorize(labels), images]
    for run in runs:
        rows, _, labels, instances = next(scene_batches(SHEET_ROWS, run.size))
        layout = layout_of(run, labels, instances)
        pictures = run.synthesize(layout, run.sample_style(rows, layout))
        columns.append(np.stack([data.fit_image(picture, *size) for picture in pictures]))
    return contact_sheet(columns)


def open_run(folder, standard_normal):
    """The Synthesizer of a run folder, without its prior of styles if asked for."""
    has_prior = getattr(Config.load(find_run(folder)), "prior_factors", 0) > 0
    return load_run(folder, **({"prior_factors": 0} if standard_normal and has_prior else {}))


def scene_runs():
    """Run folders below checkpoints/ whose dataset is scenes and that hold weights."""
    found = []
    for path in sorted((REPOSITORY / "checkpoints").glob("*/config.json")):
        trained = (path.parent / "weights.npz").exists() or any(path.parent.glob("ckpt-*.index"))
        if trained and Config.load(str(path.parent)).dataset_mode == "scenes":
            found.append(str(path.parent))
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", metavar="RUN")
    parser.add_argument("--count", type=int, default=500, help="held-out layouts")
    parser.add_argument("--samples", type=int, default=4, help="styles per layout for diversity")
    parser.add_argument("--diverse", type=int, default=50, help="layouts for diversity")
    parser.add_argument(
        "--standard_normal",
        action="store_true",
        help="random styles as in the papers, without a fitted prior",
    )
    parser.add_argument("--out", default=str(REPOSITORY / "docs" / "scenes_benchmark"), help="without ending")
    parser.add_argument("--train_judge", action="store_true", help="train the judge first")
    parser.add_argument("--judge_steps", type=int, default=1100)
    parser.add_argument("--judge_dir", default=judging.FOLDER)
    options = parser.parse_args()
    if options.train_judge:
        trained = judging.train_judge(options.judge_steps, report=lambda text: print(text, file=sys.stderr))
        judging.save_judge(trained.network, options.judge_dir)
    folders = options.runs or scene_runs()
    if not folders:
        sys.exit("no scenes runs below checkpoints/; name a run folder")
    judge = judging.load_judge(options.judge_dir)
    runs, reals, rows = [open_run(folder, options.standard_normal) for folder in folders], {}, []
    for run in runs:
        if run.size not in reals:
            reals[run.size] = RealScores(judge, options.count, run.size, options.samples, options.diverse)
            rows.append(reals[run.size].row(run.size, options.count))
        rows.append(score_run(run, judge, reals[run.size], options.count, options.samples, options.diverse))
    print(table(rows))
    protocol = {
        "layouts": f"scenes {HELD_OUT_SEED} to {HELD_OUT_SEED + options.count - 1}",
        "floor": f"scenes {HELD_OUT_SEED + options.count} to {HELD_OUT_SEED + 2 * options.count - 1}",
        "styles": "random, seed = row; diversity: samples * row + 0, 1, ...",
        "samples": options.samples,
        "layouts for diversity": options.diverse,
        "judge sha256": judge.sha256,
        "judge resize": judge.resize,
        "precision": "float32",
    }
    write_json(f"{options.out}.json", {"protocol": protocol, "rows": rows})
    write_png(f"{options.out}.png", picture_sheet(runs, runs[0].size))


if __name__ == "__main__":
    main()
