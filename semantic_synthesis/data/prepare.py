"""The commands of `python -m semantic_synthesis prepare`: check, describe, instances, celeba, shards, scenes.

Each is a function from its options to an exit code, and COMMANDS lists them with their options.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from .. import storage
from ..config import Config
from ..files import make_folder, read_json, write_text
from ..options import Command, Use, option, options_of, refuse_unused
from ..pictures import write_png
from . import catalogue, instances, layouts, resolving
from .decoding import decode_instance, decode_samples, read_bytes
from .describing import DescribeOptions, describe, description_text
from .errors import DataError
from .geometry import fit_label
from .pairing import find_samples, path_of
from .places import find_places, has_root
from .resolving import NO_INSTANCES, NO_ROOT
from .scanning import map_files
from .scenes import CLASSES, COLORS, render_scene
from .sharding import ShardsOptions, make_shards
from .tables import ClassTable

CELEBA_PARTS = (
    "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear", "mouth", "u_lip",
    "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip
CELEBA_SIZE = 512


@dataclass(frozen=True)
class CheckOptions:
    """Options of `prepare check`."""

    dataset_mode: str = option(
        "", "Name in datasets/ or path of a .json description; empty: your own folders."
    )
    dataroot: str = option("", "Root folder of a named dataset.")
    image_dir: str = option("", "Folder of photos.")
    label_dir: str = option("", "Folder of label maps.")
    instance_dir: str = option("", "Folder of instance maps.")
    disparity_dir: str = option("", "Folder of disparity maps.")
    semantic_label_path: str = option(
        "", "Text file with the raw label values, comma-separated, or CVAT's labelmap.txt."
    )
    split: str = option("train", "Which split: train, val or test.")
    pairing_check: bool = option(True, "Pair photos and label maps by file stem.")
    crop_size: int = option(None, "Width of the training pictures, if not the dataset's default.", kind=int)
    preprocess_mode: str = option(
        None, "As for training.", options_of(Config)["preprocess_mode"].metadata["choices"], str
    )
    no_instance: bool = option(None, "Do not look at instance maps.", kind=bool)
    instance_none_id: int = option(None, "As for training.", kind=int, least=0)
    report: str = option("", "JSON file for the report; the palette picture is written beside it.")


def check(options: Any) -> int:
    """Reports every problem of a split. Exit code 0 without problems, 1 with."""
    values = {name: getattr(options, name) for name in CheckOptions.__dataclass_fields__}
    report_path, split = values.pop("report"), values.pop("split")
    mode = options.dataset_mode or catalogue.CUSTOM
    description = catalogue.describe(mode)
    config = resolving.fill_options(Config(**{**values, "dataset_mode": mode}), description)
    refuse_unused(
        options,
        [
            Use("dataroot", has_root(options), NO_ROOT),
            Use("instance_dir", not config.no_instance, NO_INSTANCES),
            Use(
                "instance_none_id",
                not config.no_instance,
                "no instance maps are looked at; expected with --instance_dir or --no_instance=false",
            ),
        ],
    )
    early = []
    table = _table_for_check(config, description, split, early.append)
    report = layouts.check_split(config, description, table, split)
    report.add(*early)
    for line in report.lines():
        tqdm.write(line)
    if report_path:
        write_text(report_path, json.dumps(report.to_dict(), indent=1) + "\n")
        write_png(os.path.splitext(report_path)[0] + "_palette.png", layouts.draw_palette(table))
    return 1 if report.problems else 0


def _table_for_check(config, description, split, report):
    """The class table; where the ids have to be found, files that cannot be read are left to the check."""
    samples = []
    if description.table is None and not config.semantic_label_path:
        samples = find_samples(config, description, split, report=lambda message: None)
        channels = [_dimensions(sample.label) for sample in samples]
        if not any(channels):  # no map can be read: the check says so file by file
            return ClassTable.create(description.name, [0])
        samples = [s for s, n in zip(samples, channels, strict=True) if n == 2] or samples
    return resolving.class_table(config, description, samples, report)


def _dimensions(path):
    """2 for a map of ids, 3 for one of colours, 0 for a file that cannot be read."""
    try:
        return decode_samples(read_bytes(path), path)[1].ndim
    except (DataError, FileNotFoundError):
        return 0


@dataclass(frozen=True)
class InstancesOptions:
    """Options of `prepare instances`."""

    dataset_mode: str = option(
        "", "Name in datasets/ or path of a .json description; empty: your own folders."
    )
    dataroot: str = option("", "Root folder of a named dataset.")
    image_dir: str = option("", "Folder of photos (your own dataset).")
    label_dir: str = option("", "Folder of label maps (your own dataset).")
    instance_dir: str = option("", "Folder to write to; a named dataset has one of its own.")
    split: str = option("train", "Which split: train, val or test.")
    annotations: str = option("", "COCO's instances_<split>2017.json.")


def make_instances(options: Any) -> int:
    """Writes an instance map for every label map of a split, by the dataset's rule; it replaces no other map."""
    description = catalogue.describe(options.dataset_mode or catalogue.CUSTOM)
    of_shapes = description.instances == "coco_polygons"
    refuse_unused(
        options,
        [
            Use("dataroot", has_root(options), NO_ROOT),
            Use("annotations", of_shapes, "is for coco, whose shapes it holds; leave it out"),
        ],
    )
    target = options.instance_dir
    if target:
        make_folder(target)
    config = Config(
        dataroot=options.dataroot,
        image_dir=options.image_dir,
        label_dir=options.label_dir,
        instance_dir=target,
        no_instance=True,
    )
    rule = _instance_rule(description, options)
    samples = find_samples(config, description, options.split)
    places, _ = find_places(config, description, options.split)
    if not places["instance"]:
        raise DataError(f"{description.name}: no place for instance maps is described; give --instance_dir")
    root, pattern = places["instance"][0]

    def write(sample):
        _header, label = decode_samples(read_bytes(sample.label), sample.label)
        if label.ndim == 3:
            raise DataError(f"{sample.label}: RGB label map; instance maps are made from one-channel ids")
        path, made = path_of(root, pattern, sample.stem), _smallest(rule(label, sample.stem), sample.label)
        if storage.exists(path) and not np.array_equal(decode_instance(read_bytes(path), path), made):
            raise DataError(
                f"{path}: another instance map is there; remove it, or give another --instance_dir"
            )
        write_png(path, made)

    for _ in map_files(write, samples, "instance maps"):
        pass
    tqdm.write(f"{len(samples)} instance maps like {path_of(root, pattern, samples[0].stem)}")
    return 0


def _instance_rule(description, options):
    """The function (label, stem) -> instance map that a description's `instances` names."""
    if description.instances == "supplied":
        raise DataError(
            f"{description.name} comes with instance maps; nothing to do, reading makes ids consecutive"
        )
    if description.instances == "coco_polygons":
        by_stem = _coco_annotations(options.annotations)

        def rule(label, stem):
            try:
                return instances.coco_polygons(label, by_stem.get(stem.split("/")[-1], []))
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(
                    f"{options.annotations}: the shapes of {stem} cannot be read ({error})"
                ) from None

        return rule
    simple = {"class_ranks": instances.class_ranks, "connected_components": instances.connected_components}
    if description.instances not in simple:
        expected = ", ".join([*simple, "coco_polygons", "supplied"])
        raise DataError(
            f"{description.path}: instances is '{description.instances}'; expected one of {expected}"
        )
    return lambda label, stem: simple[description.instances](label)


def _coco_annotations(path):
    """{file stem: annotations} of a COCO instances file."""
    if not storage.is_file(path):
        raise FileNotFoundError(
            f"--annotations {path or '(not given)'}: expected COCO's instances_train2017.json"
        )
    values = read_json(path, "get COCO's file again", DataError)
    try:
        names = {image["id"]: re.split(r"[/\\]", image["file_name"])[-1] for image in values["images"]}
        stems = {number: os.path.splitext(name)[0] for number, name in names.items()}
        by_stem = {}
        for annotation in values["annotations"]:
            by_stem.setdefault(stems[annotation["image_id"]], []).append(annotation)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a COCO instances file ({error!r})") from None
    return by_stem


def _smallest(instance, source):
    """The map as uint8 if its ids fit, else uint16; source: the label map that it was made from, for messages."""
    if instance.max() > 65535:
        raise DataError(
            f"{source}: ids up to {int(instance.max())} for its instances; expected at most 65535, which fit a PNG: "
            "take it out of the dataset, or remove the specks from it"
        )
    return instance.astype(np.uint8 if instance.max() < 256 else np.uint16)


@dataclass(frozen=True)
class CelebaOptions:
    """Options of `prepare celeba`."""

    dataroot: str = option("", "The CelebAMask-HQ folder with CelebAMask-HQ-mask-anno/.")
    test_count: int = option(2000, "The last N pictures become the test list, unless lists exist.")


def celeba(options: Any) -> int:
    """Merges CelebAMask-HQ's part masks into one 19-class map per picture: CelebAMaskHQ-mask/<id>.png."""
    root, parts = options.dataroot, {}
    for folder, _, names in storage.walk(os.path.join(root, "CelebAMask-HQ-mask-anno")):
        for name in names:
            number, _, part = name.removesuffix(".png").partition("_")
            if name.endswith(".png") and number.isdecimal() and part in CELEBA_PARTS:
                parts.setdefault(int(number), {})[part] = os.path.join(folder, name)
    if not parts:
        raise FileNotFoundError(
            f"--dataroot {options.dataroot}: has no part masks like CelebAMask-HQ-mask-anno/0/00000_skin.png"
        )
    numbers = sorted(parts)
    if not 0 <= options.test_count < len(numbers) and not storage.exists(
        os.path.join(root, "train_list.txt")
    ):
        raise DataError(
            f"--test_count {options.test_count}: {root} has {len(numbers)} pictures; expected less, so that some "
            "are left to train with"
        )
    masks = os.path.join(root, "CelebAMaskHQ-mask")
    make_folder(masks)

    def write(number):
        write_png(os.path.join(masks, f"{number}.png"), merge_parts(parts[number]))

    for _ in map_files(write, numbers, "merging parts"):
        pass
    lists = {
        "train": numbers[: -options.test_count or None],
        "test": numbers[len(numbers) - options.test_count :],
    }
    for split, members in lists.items():
        path = os.path.join(root, f"{split}_list.txt")
        if storage.exists(path):
            tqdm.write(f"{path} is kept as it is; delete it to have it made by --test_count")
        else:
            write_text(path, "".join(f"{number}.jpg\n" for number in members))
    tqdm.write(f"{len(numbers)} label maps in {masks}; train with --dataset_mode celeba")
    return 0


def merge_parts(paths: Mapping[str, str]) -> np.ndarray:
    """{part: mask file} -> uint8 [512, 512]: part i of CELEBA_PARTS is id i + 1; later ones cover."""
    label = np.zeros((CELEBA_SIZE, CELEBA_SIZE), np.uint8)
    for index, part in enumerate(CELEBA_PARTS):
        if part in paths:
            _, mask = decode_samples(read_bytes(paths[part]), paths[part])
            mask = mask if mask.ndim == 2 else mask[..., 0]
            label[fit_label(mask, CELEBA_SIZE, CELEBA_SIZE) != 0] = index + 1
    return label


@dataclass(frozen=True)
class ScenesOptions:
    """Options of `prepare scenes`."""

    count: int = option(100, "Number of landscapes.")
    out: str = option("", "Folder to write to.")
    height: int = option(128, "Height in pixels.")
    width: int = option(128, "Width in pixels.")
    disparity: bool = option(False, "Also write disparities/: how close every pixel is.")
    first_seed: int = option(0, "Seed of the first landscape; 1000000 and up are the test landscapes.")


def write_scenes(options: Any) -> int:
    """Writes landscapes as files: images/, labels/, instances/, disparities/ where asked for, and dataset.json."""
    if not options.out or options.count < 1:
        raise DataError("prepare scenes needs --out FOLDER and a positive --count")
    out = options.out

    def write(seed):
        scene = render_scene(seed, options.height, options.width)
        maps = {"images": scene.image, "labels": scene.label, "instances": scene.instance}
        if options.disparity:
            maps["disparities"] = scene.disparity
        for folder, values in maps.items():
            write_png(os.path.join(out, folder, f"{seed:07d}.png"), values)

    for _ in map_files(write, range(options.first_seed, options.first_seed + options.count), "scenes"):
        pass
    layout = {kind: f"{kind}s/{{stem}}.png" for kind in catalogue.MAPS}
    if options.disparity:
        layout["disparity"] = "disparities/{stem}.png"
    colors = COLORS.tolist()
    description = {
        "name": "scenes_files",
        "classes": [{"id": i, "name": name, "color": colors[i]} for i, name in enumerate(CLASSES)],
        "instance_none_id": 0,
        "options": {
            "preprocess_mode": "fixed",
            "crop_size": options.width,
            "img_width": options.width,
            "img_height": options.height,
            "aspect_ratio": options.width / options.height,
            "no_instance": False,
        },
        "dataroot": ".",
        "splits": {"train": layout, "val": "train", "test": "val"},
    }
    file = os.path.join(out, "dataset.json")
    write_text(file, description_text(description))
    tqdm.write(f"{options.count} landscapes in {out}; train with --dataset_mode {file}")
    return 0


COMMANDS = {
    "check": Command(
        CheckOptions, check, "prepare check --image_dir photos --label_dir labels",
    ),
    "describe": Command(
        DescribeOptions, describe, "prepare describe --image_dir photos --label_dir labels --out mine.json",
    ),
    "instances": Command(
        InstancesOptions, make_instances, "prepare instances --dataset_mode coco --dataroot coco",
    ),
    "celeba": Command(
        CelebaOptions, celeba, "prepare celeba --dataroot CelebAMask-HQ",
    ),
    "shards": Command(
        ShardsOptions, make_shards, "prepare shards --image_dir photos --label_dir labels --out shards",
    ),
    "scenes": Command(
        ScenesOptions, write_scenes, "prepare scenes --out scenes --count 100",
    ),
}  # fmt: skip
