"""What `generate` is asked for: its options, and one job per layout with all that its pictures are made of."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from semantic_synthesis import storage
from semantic_synthesis.evaluation.inception import DIMS
from semantic_synthesis.evaluation.layout_files import LayoutFiles
from semantic_synthesis.evaluation.manifest import checksum, style_seed
from semantic_synthesis.evaluation.pictures import list_pictures, match_stems, parse_shard
from semantic_synthesis.evaluation.weight_files import RANDOM
from semantic_synthesis.inference import Synthesizer
from semantic_synthesis.options import check_seeds, option
from semantic_synthesis.pictures import FORMATS, Encoding
from semantic_synthesis.runs import find_run


@dataclass(frozen=True)
class GenerateOptions:
    """Options of `generate`; the run knows all others."""

    checkpoint_dir: str = option("demo_spade", "Run folder, or the name of a shipped run.")
    label_dir: str = option("", "Folder of label maps; folders inside are searched too.")
    instance_dir: str = option("", "Folder of instance maps of the same names, for runs trained with them.")
    split: str = option(
        "", "Instead of --label_dir: a split of the run's dataset, such as val, with its instance maps."
    )
    dataroot: str = option(
        "", "With --split: root folder of the dataset, where it is not that of the training."
    )
    style: str = option(
        "random",
        "With --split: random styles, or each of the layout's own photo.",
        choices=("random", "real"),
    )
    style_dir: str = option(
        "", "Folder of style photos of the same names, or of a single photo for all; empty: random styles."
    )
    style_label_dir: str = option(
        "",
        "Folder of the style photos' own label maps, named as these, for runs that read styles by class or region; "
        "empty: each photo shows the layout of its name.",
    )
    results_dir: str = option("results", "Where the pictures go, named as the label maps.")
    num_samples: int = option(1, "Random styles per layout; with more than one, files end in _0, _1, ...")
    seed: int = option(
        0,
        "Seed: the styles of a layout follow from it and from the layout's name; with photos, what these leave open.",
    )
    overwrite: bool = option(False, "Make pictures anew that are there already.")
    skip_existing: bool = option(False, "Leave pictures that are there already, whatever made them.")
    shard: str = option("", "i/n: make only every n-th layout from the i-th on, i from 0; empty: all.")
    batch_size: int = option(4, "Pictures computed at once.")
    engine: str = option(
        "threads",
        "What makes the pictures: this process, or workers of Apache Beam.",
        choices=("threads", "beam"),
    )
    runner: str = option("DirectRunner", "Beam's runner.")
    beam_option: tuple = option((), "A flag of Beam's own, for example --direct_num_workers=4.")
    save_fake_stats: str = option(
        "", "With Beam: write the statistics of all pictures to this .npz, for evaluate --fake_stats."
    )
    inception_weights: str = option("", "With --save_fake_stats: the file, or random; as for evaluate.")
    eval_dims: str = option(
        "2048", "With --save_fake_stats: features of the Inception network.", choices=tuple(map(str, DIMS))
    )
    format: str = option("png", "Format of the pictures; png alone loses nothing.", choices=FORMATS)
    quality: int = option(
        95, "Quality of JPEG and WebP, 1 to 100. JPEG holds colours at half the resolution.", least=1
    )
    png_compression: int = option(
        None,
        "Compression of PNG, 0 (none, fastest) to 9 (smallest, slowest); default: fast.",
        kind=int,
        least=0,
    )
    output_height: int = option(
        0,
        "Height of the pictures in pixels; 0: the run's, or that of each map where the run paints any size.",
    )
    output_width: int = option(
        0, "Width of the pictures in pixels; 0: the run's, or that of each map where the run paints any size."
    )
    precision: str = option("float32", "Arithmetic of the network.", choices=("float32", "bfloat16"))


def checked(options: Any) -> tuple[int, int]:
    """The shard as (index, count), after what options alone can be wrong about (ValueError, one line)."""
    check_seeds(options.seed, 0)
    for name in ("num_samples", "batch_size"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} {getattr(options, name)}; expected 1 or more")
    if options.overwrite and options.skip_existing:
        raise ValueError("--overwrite and --skip_existing contradict each other; leave one out")
    _check_sources(options)
    if options.style_label_dir and not options.style_dir:
        raise ValueError(
            "--style_label_dir without --style_dir; expected the photos of these label maps, too"
        )
    if options.save_fake_stats and options.engine != "beam":
        raise ValueError(
            "--save_fake_stats needs --engine beam; without, evaluate --fake_dir DIR --save_fake_stats FILE writes them"
        )
    if (options.inception_weights or options.eval_dims != str(DIMS[-1])) and not options.save_fake_stats:
        raise ValueError(
            "--inception_weights and --eval_dims are for --save_fake_stats FILE; give it or leave them out"
        )
    if options.engine != "beam" and (options.beam_option or options.runner != "DirectRunner"):
        raise ValueError("--runner and --beam_option are for --engine beam; give it or leave them out")
    if not 1 <= options.quality <= 100:
        raise ValueError(f"--quality {options.quality}; expected 1 to 100")
    if options.png_compression is not None and not 0 <= options.png_compression <= 9:
        raise ValueError(f"--png_compression {options.png_compression}; expected 0 to 9")
    if options.png_compression is not None and options.format != "png":
        raise ValueError(f"--png_compression is for --format png, asked for: {options.format}; leave it out")
    if options.quality != 95 and options.format == "png":
        raise ValueError(
            f"--quality {options.quality} is for --format jpg or webp; png loses nothing: leave it out"
        )
    return parse_shard(options.shard)


def _check_sources(options):
    """Refuses layouts and styles that are given twice, or not at all."""
    if options.split and (options.label_dir or options.instance_dir):
        raise ValueError("--split names the layouts' files; leave --label_dir and --instance_dir out")
    if not options.split and (options.dataroot or options.style == "real"):
        raise ValueError(
            "--dataroot and --style real are for --split; give it, or --label_dir and --style_dir"
        )
    if options.style == "real" and options.style_dir:
        raise ValueError("--style real takes each layout's own photo; leave it or --style_dir out")
    if (options.style_dir or options.style == "real") and options.num_samples > 1:
        raise ValueError("--num_samples needs random styles; leave the photos or --num_samples out")


def found_anywhere(options: GenerateOptions) -> GenerateOptions:
    """The options with whole paths, for processes that start in another folder."""
    names = ["label_dir", "instance_dir", "dataroot", "style_dir", "style_label_dir", "results_dir"]
    names += ["save_fake_stats"]
    names += ["inception_weights"] if options.inception_weights != RANDOM else []
    paths: dict[str, Any] = {
        name: storage.absolute(path) for name in names if (path := getattr(options, name))
    }
    return replace(options, checkpoint_dir=storage.absolute(find_run(options.checkpoint_dir)), **paths)


def encoding_of(options: Any) -> Encoding:
    """How the pictures are written to files."""
    return Encoding(options.format, options.quality, options.png_compression)


def settings(options: Any, weights: str) -> dict[str, Any]:
    """What the pictures of one folder have in common; folders are for the reader, as they may move."""
    folders = ("checkpoint_dir", "label_dir", "instance_dir", "dataroot", "style_dir", "style_label_dir")
    found = {name: getattr(options, name) for name in folders}
    lossy = {} if options.format == "png" else {"quality": options.quality}
    size = (options.output_width, options.output_height)
    split = {"split": options.split, "style": options.style} if options.split else {}
    sized = {"output_size": f"{size[0]}x{size[1]}"} if any(size) else {}
    return {
        **{name: storage.absolute(folder) if folder else "" for name, folder in found.items()},
        "weights_sha256": weights,
        "num_samples": options.num_samples,
        "seed": options.seed,
        "precision": options.precision,
        "format": options.format,
        **lossy,
        **sized,
        **split,
    }


@dataclass(frozen=True)
class Output:
    """A picture to be made: its file below the results folder and the seed of its style."""

    file: str
    seed: int


@dataclass(frozen=True)
class Job:
    """A layout and what becomes of it: paths ("" for none), and the beginning of the weights' checksum."""

    label: str
    instance: str
    style: str
    style_label: str
    outputs: tuple[Output, ...]
    weights: str

    def facts(self, output: Output) -> dict[str, Any]:
        """What the manifest says of a picture: seed, name of the style photo, checksums of all it is made of."""
        return {
            "seed": output.seed,
            "style": os.path.basename(self.style),
            "label_map": checksum(self.label),
            "instance_map": checksum(self.instance),
            "style_photo": checksum(self.style),
            "style_label_map": checksum(self.style_label),
            "run": self.weights,
        }


def jobs_of(options: Any, files: LayoutFiles, weights: str, usual_seed: int | None = None) -> list[Job]:
    """One job per layout, in the order of the label maps. weights: checksum of the run's; usual_seed: its method's,
    which the first sample of each layout has where it is given.
    """
    layouts = files.labels
    instances = [files.instances.get(stem, "") for stem in layouts]
    photos = maps = [""] * len(layouts)
    if options.style == "real":
        photos = [files.photos[stem] for stem in layouts]
    if options.style_dir:
        styles = list_pictures(options.style_dir, "style_dir")
        single = next(iter(styles.values()))
        photos = [single] * len(layouts) if len(styles) == 1 else match_stems(layouts, styles, "style photo")
    if options.style_label_dir:
        found = list_pictures(options.style_label_dir, "style_label_dir")
        of_photo = dict(
            zip(styles.values(), match_stems(styles, found, "label map of the style"), strict=True)
        )
        maps = [of_photo[photo] for photo in photos]
    jobs, suffix = [], encoding_of(options).suffix
    for number, (stem, label) in enumerate(layouts.items()):
        endings = [""] if options.num_samples == 1 else [f"_{s}" for s in range(options.num_samples)]
        outputs = tuple(
            Output(stem + ending + suffix, _seed(options.seed, stem, s, usual_seed))
            for s, ending in enumerate(endings)
        )
        jobs.append(Job(label, instances[number], photos[number], maps[number], outputs, weights[:16]))
    return jobs


def _seed(seed, stem, sample, usual):
    return usual if (seed, sample) == (usual, 0) else style_seed(seed, stem, sample)


def check_styles(run: Synthesizer, jobs: list[Job]) -> None:
    """Refuses label maps that no style needs, a photo that cannot show all the layouts it is for, and equal samples."""
    if jobs and len(jobs[0].outputs) > 1 and not run.style_specs:
        raise ValueError("--num_samples: this run has no styles, its pictures would be equal; leave it out")
    if not jobs or not jobs[0].style:
        return
    reads = run.method.encoder_sees_layout
    if jobs[0].style_label and not reads:
        raise ValueError("--style_label_dir: this run reads one style off the whole photo; leave it out")
    if reads and not jobs[0].style_label and len({job.style for job in jobs}) < len(jobs):
        raise ValueError(
            f"{jobs[0].style}: one style photo for {len(jobs)} layouts, of which this run reads a style by class or "
            "region; give the photo's own label map with --style_label_dir"
        )
