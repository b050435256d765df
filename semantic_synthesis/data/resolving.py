"""Fills the options a user left open from the dataset's description, and checks what is cheap to check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..config import Config, known_options
from ..options import Use, check_type, options_of, refuse_unused
from . import catalogue
from .class_lists import read_class_list
from .errors import DataError
from .pairing import Sample, find_samples, stop
from .places import has_root
from .rarity import EPOCH
from .scanning import scan_classes
from .shards import ShardSamples, index_path
from .tables import ClassTable

if TYPE_CHECKING:
    from semantic_synthesis.data.catalogue import Description

AnyConfig = TypeVar("AnyConfig", bound=Config)
MAX_SIZE = 16384
LOAD_SHARE = 286 / 256
NO_ROOT = "is for a named dataset (--dataset_mode), and this one is --image_dir and --label_dir; leave it out"
NO_INSTANCES = "--no_instance leaves instance maps out; give one of the two"


def resolve(config: AnyConfig) -> AnyConfig:
    """A config without open questions about the data.

    Fills dataset_mode, class_table, img_height, img_width and every option with a fallback where they are open.
    Resolving twice changes nothing.
    Errors: ValueError or FileNotFoundError with one line for missing folders, files without partner, an
    unreadable description, or options that contradict each other.
    """
    custom = config.image_dir or config.label_dir
    mode = config.dataset_mode or (catalogue.CUSTOM if custom else catalogue.SCENES)
    config = config.replace(dataset_mode=mode)
    if config.rarity_dir and config.prob_dataset != 1:
        raise DataError(
            f"--prob_dataset {config.prob_dataset} with --rarity_dir, which draws {EPOCH} samples an epoch by their "
            "own rarity; leave one of them out"
        )
    description = catalogue.describe(mode)
    _check_places(config, description)
    config = fill_options(config, description)
    if description.name == catalogue.SCENES:
        samples = []
    elif index_path(config, description, "train"):
        samples = []
        ShardSamples(config, description, "train")
    else:
        samples = find_samples(config, description, "train")
    table = class_table(config, description, samples)
    return config.replace(class_table=table.to_dict())


def _check_places(config, description):
    """Refuses what the dataset has no use for: most often another one is meant."""
    scenes = description.name == catalogue.SCENES
    rendered = (
        "the scenes, which are the default, are rendered, not read; expected --dataset_mode of another dataset, or "
        "--image_dir with --label_dir"
    )
    refuse_unused(
        config,
        [
            Use(
                "dataroot image_dir label_dir instance_dir disparity_dir semantic_label_path",
                not scenes,
                rendered,
            ),
            Use("dataroot", has_root(config), NO_ROOT),
        ],
    )


def fill_options(config: AnyConfig, description: Description) -> AnyConfig:
    """The config with sizes and whatever else is open from the description's options, else the fallbacks.

    The description may hold any option of any method (those of others have no effect here). The load size
    keeps its share to the crop where only the crop is given (286 for 256).
    """
    own = options_of(config)
    _check_description(description, own)
    fallbacks = {n: o.metadata["fallback"] for n, o in own.items() if o.metadata["fallback"] is not None}
    defaults = {**fallbacks, "instance_none_id": description.instance_none_id, **description.options}
    size = config.replace(crop_size=defaults["crop_size"], aspect_ratio=defaults["aspect_ratio"])
    _check_crop(size)
    size = size.replace(
        img_width=description.options.get("img_width", round(size.crop_size * LOAD_SHARE)),
        img_height=description.options.get("img_height", round(size.crop_height * LOAD_SHARE)),
    )
    if config.instance_dir:
        defaults["no_instance"] = False
    config = config.filled({name: defaults.pop(name) for name in ("crop_size", "aspect_ratio")})
    _check_crop(config)
    defaults["img_width"] = round(config.crop_size * size.img_width / size.crop_size)
    defaults["img_height"] = round(config.crop_height * size.img_height / size.crop_height)
    config = config.filled(defaults)
    _check_numbers(config)
    return config


def _check_description(description, own):
    """Refuses options that no method has, and values that this one cannot take."""
    known = set(known_options()) | set(own)
    if set(description.options) - known:
        wrong = ", ".join(sorted(set(description.options) - known))
        raise DataError(f"{description.path}: options {wrong}; expected {', '.join(sorted(own))}")
    for name, value in description.options.items():
        if name in own:
            check_type(own[name], value, description.path)


def class_table(
    config: Config, description: Description, samples: Sequence[Sample], report: Callable[[str], Any] = stop
) -> ClassTable:
    """The dataset's ClassTable: the run's own, else by semantic_label_path, the description, or a scan."""
    if config.class_table is not None:
        return ClassTable.from_dict(config.class_table, "class_table of the run")
    if config.semantic_label_path:
        return read_class_list(config.semantic_label_path, description.name)
    if description.table is not None:
        return description.table
    return scan_classes([sample.label for sample in samples], description.name, report)


def check_sizes(config: Config) -> None:
    """Refuses sizes and shares of a complete config that no picture can have."""
    _check_crop(config)
    _check_numbers(config)


def _check_crop(config):
    """Refuses a crop that no picture can have."""
    if not 1 <= config.crop_size <= MAX_SIZE:
        raise DataError(f"--crop_size is {config.crop_size}; expected 1 to {MAX_SIZE} pixels")
    if not 0.05 <= config.aspect_ratio <= 20 or config.crop_height < 1:
        raise DataError(f"--aspect_ratio is {config.aspect_ratio}; expected width / height, from 0.05 to 20")


def _check_numbers(config):
    """Refuses other sizes and shares that no sample can have."""
    for name in ("img_height", "img_width"):
        if not 1 <= (getattr(config, name) or 0) <= MAX_SIZE:
            raise DataError(f"--{name} is {getattr(config, name)}; expected 1 to {MAX_SIZE} pixels")
    for name in ("scenes_count", "batch_size"):
        if getattr(config, name) < 1:
            raise DataError(f"--{name} is {getattr(config, name)}; expected a positive number")
    if config.max_dataset_size < 0:
        raise DataError(f"--max_dataset_size is {config.max_dataset_size}; expected 0 (all) or more")
    if not 0 < config.prob_dataset <= 1:
        raise DataError(f"--prob_dataset is {config.prob_dataset}; expected a share above 0 and up to 1")
    if config.preprocess_mode == "resize_and_crop" and (
        config.img_height < config.crop_height or config.img_width < config.crop_size
    ):
        raise DataError(
            f"--img_width x --img_height {config.img_width}x{config.img_height} is smaller than the crop of"
            f" {config.crop_size}x{config.crop_height}; enlarge them or choose a smaller --crop_size"
        )
