"""`evaluate`: figures with their protocol, of a folder of pictures or of a run.

Three kinds of input: --fake_dir with --real_dir (or --real_stats); a run with the split of its own dataset
(rendered held-out scenes for the scenes runs); a run with --image_dir and --label_dir.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from absl import logging

from semantic_synthesis import storage
from semantic_synthesis.data import ClassTable
from semantic_synthesis.evaluation import statistics
from semantic_synthesis.evaluation.inception import DIMS, InceptionFeatures
from semantic_synthesis.evaluation.judge import load_judge
from semantic_synthesis.evaluation.lpips import LPIPS
from semantic_synthesis.evaluation.metrics import DiversityMetric, FeatureMetric, SegmentationMetric
from semantic_synthesis.evaluation.parts import PartDiversity
from semantic_synthesis.evaluation.segmentation import SCENES, open_segmenter
from semantic_synthesis.evaluation.streams import FolderStream, RunStream
from semantic_synthesis.evaluation.tables import fitted_table, table
from semantic_synthesis.files import write_json, write_text
from semantic_synthesis.options import Use, option, refuse_unused

_OF_PARTS = ("class_diversity", "region_diversity")
VARYING = ("lpips", *_OF_PARTS)  # these compare random styles of one layout
METRICS = ("fid", "kid", *VARYING, "miou", "judge")
_SHOWN = (
    "metric", "value", "deviation", "images", "real images", "size", "split", "network", "sha256", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of `evaluate`."""

    metrics: str = option(
        "",
        "Comma-separated: fid, kid, lpips (diversity), class_diversity and region_diversity (of a run: one class "
        "or region varied alone), miou (and pixel accuracy), judge (Frechet distance in features of the judge for "
        "scenes). Default: miou,judge for scenes runs, else fid,kid.",
    )
    fake_dir: str = option("", "Folder of synthesised pictures.")
    fake_stats: str = option("", "Statistics (.npz) instead of --fake_dir; several, with commas, are merged.")
    real_dir: str = option("", "Folder of real pictures.")
    real_stats: str = option(
        "",
        "Statistics of real pictures, .npz with mu and sigma (several are merged) or INADE's m.npy beside s.npy.",
    )
    save_real_stats: str = option("", "Write the statistics of the real pictures to this .npz.")
    save_fake_stats: str = option("", "Write the statistics of the synthesised pictures to this .npz.")
    checkpoint_dir: str = option("", "Run folder: its pictures are made on the fly.")
    split: str = option("val", "Split of the run's dataset; scenes: held-out ones, unless train.")
    dataroot: str = option("", "Root folder of the run's dataset, where it has moved.")
    image_dir: str = option("", "With a run: folder of real photos instead of the run's dataset.")
    label_dir: str = option("", "Folder of label maps: with a run its layouts, with --fake_dir for miou.")
    instance_dir: str = option("", "Folder of instance maps, for runs trained with them.")
    dataset_mode: str = option("", "Class table for miou of --fake_dir: a name in datasets/ or a .json file.")
    style: str = option(
        "random", "Styles of a run's pictures: random, or of the real photo.", choices=("random", "real")
    )
    num_samples: int = option(
        4, "Samples per layout for lpips, per part of it for class_diversity and region_diversity."
    )
    max_images: int = option(500, "Use at most this many of a run's layouts; 0: all.", least=0)
    eval_size: str = option("", "WxH: resize all pictures first; empty: as they are, which must be one size.")
    eval_dims: str = option("2048", "Features of the Inception network.", choices=tuple(map(str, DIMS)))
    inception_weights: str = option(
        "", "pt_inception-2015-12-05-6726825d.pth; empty: PyTorch's cache, or download; or random."
    )
    lpips_net: str = option("alex", "Network of LPIPS.", choices=("alex", "vgg"))
    lpips_weights: str = option("", "torchvision's alexnet or vgg16 .pth; empty: cache, download; or random.")
    lpips_linear: str = option(
        "", "LPIPS' linear weights v0.1; empty: the lpips package's, or download; or random."
    )
    miou_classes: str = option(
        "", "For miou: comma list of the classes that count, by name; empty: all but the unknown one."
    )
    segmenter: str = option("", "For miou: scenes, a SavedModel folder or .onnx file; scenes runs: scenes.")
    shard: str = option(
        "",
        "i/n: score every n-th picture (of a run: every n-th batch) from the i-th on, with --save_*_stats, to merge.",
    )
    batch_size: int = option(16, "Pictures per batch.")
    precision: str = option("float32", "Arithmetic of the run.", choices=("float32", "bfloat16"))
    seed: int = option(0, "Seed of the styles and of KID's subsets.", least=0)
    report: str = option(
        "",
        "JSON file for figures and protocol, with a .md table beside it; default evaluation.json in the "
        "run folder (of a shipped run: <name>_evaluation.json here), or <fake_dir>_evaluation.json.",
    )


def evaluate(options: EvaluateOptions) -> int:
    """Scores, prints the table, stores it; the exit code."""
    path = options.report or _default_report(options)
    beside = os.path.splitext(path)[0] + ".md"
    if beside == path:
        raise ValueError(
            f"--report {path}: there the table goes; expected a name for the JSON file, such as {path[:-3]}.json"
        )
    figures = score(options)
    if not figures:  # statistics alone were asked for
        if options.report:
            logging.warning("--report %s: not written, as one side has no figures", options.report)
        return 0
    write_json(path, {"figures": figures})
    text = table([_row(figure) for figure in figures])
    write_text(beside, text + "\n")
    print(fitted_table([_row(figure) for figure in figures], "metric", "value"))
    logging.info("stored in %s", path)
    return 0


def score(options: EvaluateOptions) -> list[dict[str, Any]]:
    """The figures: dicts with metric, value and protocol."""
    if options.batch_size < 1:
        raise ValueError(f"--batch_size {options.batch_size}; expected 1 or more")
    _asked_metrics(options)
    _check_sides(options)
    _check_sources(options)
    if options.checkpoint_dir:
        stream: RunStream | FolderStream = RunStream(options)
    elif options.fake_dir or options.fake_stats or options.save_real_stats:
        stream = FolderStream(options)
    else:
        raise ValueError(
            "nothing to score; give --checkpoint_dir, or --fake_dir with --real_dir or --real_stats"
        )
    _check_metrics(options, stream.is_scenes)
    metrics = make_metrics(options, stream.is_scenes, stream.table)
    stream.feed(metrics)
    _save_statistics(options, metrics)
    figures = [figure for metric in metrics for figure in metric.figures()]
    return [{**figure, **stream.protocol(), "seed": options.seed} for figure in figures]


def _check_sides(options):
    """Refuses two sources of one side, and statistics to be written of pictures that are not there."""
    for side in ("real", "fake"):
        folder, read, written = (
            getattr(options, n) for n in (f"{side}_dir", f"{side}_stats", f"save_{side}_stats")
        )
        pictures = f"--{side}_dir" if folder else options.checkpoint_dir and "--checkpoint_dir"
        if read and (folder or (side == "fake" and pictures)):
            raise ValueError(f"{pictures} and --{side}_stats: both give the {side} side; leave one out")
        if written and (read or not pictures):
            raise ValueError(
                f"--save_{side}_stats {written}: written of pictures alone; expected --{side}_dir"
                + (
                    f" in place of --{side}_stats, which merges several files wherever it is given"
                    if read
                    else ""
                )
            )


def _check_sources(options):
    """Refuses what has no effect on pictures from there."""
    run, own = options.checkpoint_dir, options.image_dir or options.label_dir
    pictures = run or options.fake_dir or options.real_dir
    of_runs = "expected with --checkpoint_dir, leave it out for folders"
    refuse_unused(
        options,
        [
            Use("max_images", run, f"counts a run's layouts; {of_runs}"),
            Use("style num_samples precision", run, f"says how a run makes its pictures; {of_runs}"),
            Use("split dataroot", run, f"is for a run's own dataset; {of_runs}"),
            Use("image_dir instance_dir", run, f"holds what a run makes pictures of; {of_runs}"),
            Use(
                "dataset_mode",
                not run,
                "is for --fake_dir; a run knows its classes and dataset: leave it out",
            ),
            Use("split dataroot", not own, "is for the run's own dataset; leave it, or the folders, out"),
            Use(
                "eval_size shard",
                pictures,
                "is for pictures, and statistics files are all there is; leave it out",
            ),
        ],
    )


def _check_metrics(options, is_scenes):
    """Refuses what has no effect on the metrics."""
    names = _metric_names(options, is_scenes)
    run, compared = options.checkpoint_dir, {"fid", "kid", "judge"} & set(names)
    varying, parts = set(VARYING) & set(names), set(_OF_PARTS) & set(names)
    any_varying = f"{', '.join(VARYING[:-1])} or {VARYING[-1]}"

    def use(flags, holds, metrics):
        why = (
            f"is for {metrics}, and the metrics are {', '.join(names)}; add it to --metrics, or leave it out"
        )
        return Use(flags, holds, why)

    refuse_unused(
        options,
        [
            use("inception_weights eval_dims", compared - {"judge"}, "fid or kid"),
            use("real_stats fake_stats", compared, "fid or judge"),
            Use(
                "metrics",
                run or not parts,
                "single classes or regions are varied by a run; expected --checkpoint_dir",
            ),
            Use(
                "eval_size",
                not parts,
                "single classes and regions are compared at the run's own size; leave it out",
            ),
            Use(
                "fake_stats",
                not {"miou", "lpips"} & set(names),
                "statistics hold no pictures, which miou and lpips need; expected --fake_dir, or other --metrics",
            ),
            use("save_real_stats save_fake_stats", compared, "fid, kid or judge"),
            use("real_dir", compared or "miou" in names, "fid, kid, judge or miou"),
            use("num_samples lpips_net lpips_weights lpips_linear", varying, any_varying),
            use("segmenter miou_classes", "miou" in names, "miou"),
            use("label_dir dataset_mode", run or "miou" in names, "miou of folders"),
            Use(
                "dataset_mode",
                run or options.label_dir,
                "says what the ids of label maps are; expected with --label_dir",
            ),
            use("seed", run or "kid" in names, "kid of folders, whose subsets it draws"),
            Use("style", set(names) - varying, f"{names[0]} compares random styles; leave it out"),
        ],
    )
    if varying and run and options.num_samples < 2:
        raise ValueError(f"--num_samples {options.num_samples}: {any_varying} needs at least 2 to compare")


def _default_report(options):
    if options.checkpoint_dir and not storage.is_folder(options.checkpoint_dir):  # a shipped run's name
        return f"{options.checkpoint_dir}_evaluation.json"
    if options.checkpoint_dir:
        return os.path.join(options.checkpoint_dir, "evaluation.json")
    return f"{storage.normal(options.fake_dir)}_evaluation.json" if options.fake_dir else "evaluation.json"


def _row(figure):
    short = {**figure, "sha256": figure["network sha256"][:12]}
    return {name: short[name] for name in _SHOWN if name in short}


def make_metrics(options: EvaluateOptions, is_scenes: bool, classes: ClassTable | None) -> list[Any]:
    """The metrics that the options ask for, in their order; classes: of the layouts.

    fid and kid are one, with its figures in that order.
    """
    names = _metric_names(options, is_scenes)
    metrics: dict[str, Any] = {}
    if {"fid", "kid"} & set(names):
        network = InceptionFeatures(options.inception_weights, int(options.eval_dims))
        kinds: dict[str, Any] = {"frechet": "fid" in names, "kernel": "kid" in names}
        kinds["kernel_first"] = next(name for name in names if name in ("fid", "kid")) == "kid"
        metric = FeatureMetric(network, **kinds, **_given(options, network), seed=options.seed)
        metrics |= {name: metric for name in ("fid", "kid")}
    if "judge" in names:
        judge = load_judge()
        given = _given(options, judge)
        metrics["judge"] = FeatureMetric(judge, name="frechet distance (judge)", **given)
    metrics |= _varying(options, names, is_scenes)
    if "miou" in names:
        segmenter = options.segmenter or (SCENES if is_scenes else "")
        if not segmenter or classes is None:
            needs = {
                "--segmenter FILE (a SavedModel folder or .onnx file of your classes)": segmenter,
                "layouts: --checkpoint_dir, or --label_dir with --dataset_mode": classes is not None,
            }
            missing = [what for what, there in needs.items() if not there]
            raise ValueError(f"--metrics miou needs {' and '.join(missing)}; without, leave miou out")
        counted = [name.strip() for name in options.miou_classes.split(",") if name.strip()]
        metrics["miou"] = SegmentationMetric(open_segmenter(segmenter, classes.num_classes), classes, counted)
    return list(dict.fromkeys(metrics[name] for name in names))


def _varying(options, names, is_scenes):
    """{name: metric} of VARYING. Single classes and regions of scenes are compared by their judge, unless files of
    LPIPS are given."""
    lpips, found = (options.lpips_net, options.lpips_weights, options.lpips_linear), {}
    if not set(VARYING) & set(names):
        return {}
    judged = is_scenes and "lpips" not in names and not any(lpips[1:])
    network = load_judge() if judged else LPIPS(*lpips)
    if "lpips" in names:
        found["lpips"] = DiversityMetric(network)
    for name in set(_OF_PARTS) & set(names):
        found[name] = PartDiversity(network, name.removesuffix("_diversity"))
    return found


def _metric_names(options, is_scenes):
    """Those of METRICS that are scored, in their order."""
    return _asked_metrics(options) or (["miou", "judge"] if is_scenes else ["fid", "kid"])


def _asked_metrics(options):
    """Those of METRICS that the option names."""
    names = [name for name in options.metrics.split(",") if name]
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ValueError(f"--metrics {unknown[0]}: unknown; expected some of {', '.join(METRICS)}")
    return names


def _given(options, network):
    """Statistics read instead of computed: {"real": Gaussian or None, "fake": ...}."""
    paths = {"real": options.real_stats, "fake": options.fake_stats}
    return {
        side: statistics.load_statistics(path, network.name) if path else None for side, path in paths.items()
    }


def _save_statistics(options, metrics):
    wanted = {"real": options.save_real_stats, "fake": options.save_fake_stats}
    found = [metric for metric in metrics if isinstance(metric, FeatureMetric)]
    for side, path in wanted.items():
        if path:
            statistics.save_statistics(path, found[0].moments[side], found[0].network.name)
