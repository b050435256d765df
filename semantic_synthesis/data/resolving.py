"""Fills the options a user left open from the dataset's description, and checks what is cheap to check."""

import os

from ..config import Config
from . import catalogue
from .errors import DataError
from .pairing import find_samples
from .scanning import scan_classes
from .tables import ClassTable

MAX_SIZE = 16384
LOAD_SHARE = 286 / 256
_FALLBACK = {
    "preprocess_mode": "resize_and_crop",
    "crop_size": 256,
    "aspect_ratio": 1.0,
    "num_upsampling_layers": "normal",
    "no_instance": True,
}


def resolve(config):
    """A config without open questions about the data.

    Fills dataset_mode, class_table, preprocess_mode, img_height, img_width, crop_size, aspect_ratio,
    num_upsampling_layers and no_instance where they are open. Resolving twice changes nothing.
    Errors: ValueError or FileNotFoundError with one line for missing folders, files without partner, an
    unreadable description, or options that contradict each other.
    """
    custom = config.image_dir or config.label_dir
    mode = config.dataset_mode or (catalogue.CUSTOM if custom else catalogue.SCENES)
    config = config.replace(dataset_mode=mode)
    description = catalogue.describe(mode)
    config = fill_options(config, description)
    samples = [] if description.name == catalogue.SCENES else find_samples(config, description, "train")
    table = class_table(config, description, samples)
    return config.replace(class_table=table.to_dict())


def fill_options(config, description):
    """The config with sizes, depth and instance use from the description's options.

    The load size keeps its share to the crop where only the crop is given (286 for 256).
    """
    known = {*_FALLBACK, "img_width", "img_height"}
    if set(description.options) - known:
        wrong = ", ".join(sorted(set(description.options) - known))
        raise DataError(f"{description.path}: options {wrong}; expected {', '.join(sorted(known))}")
    defaults = {**_FALLBACK, **description.options}
    default_config = Config.from_dict(defaults, description.path)
    _check_crop(default_config)
    for name, crop in (("img_width", default_config.crop_size), ("img_height", default_config.crop_height)):
        if name not in description.options:
            default_config = default_config.replace(**{name: round(crop * LOAD_SHARE)})
    if config.instance_dir:
        defaults["no_instance"] = False
    config = _filled(config, {name: defaults.pop(name) for name in ("crop_size", "aspect_ratio")})
    _check_crop(config)
    defaults["img_width"] = round(config.crop_size * default_config.img_width / default_config.crop_size)
    defaults["img_height"] = round(
        config.crop_height * default_config.img_height / default_config.crop_height
    )
    config = _filled(config, defaults)
    _check_numbers(config)
    return config


def _filled(config, values):
    """The config with those of the values whose option is still open."""
    return config.replace(**{k: v for k, v in values.items() if getattr(config, k) is None})


def class_table(config, description, samples):
    """The dataset's ClassTable: the run's own, else by semantic_label_path, the description, or a scan."""
    if config.class_table is not None:
        return ClassTable.from_dict(config.class_table, "class_table of the run")
    if config.semantic_label_path:
        return ClassTable.create(description.name, read_label_values(config.semantic_label_path))
    if description.table is not None:
        return description.table
    return scan_classes([sample.label for sample in samples], description.name)


def read_label_values(path):
    """The comma-separated raw label values in a text file, as integers."""
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"--semantic_label_path {path}: no such file; expected comma-separated label values"
        )
    with open(path, encoding="utf-8", errors="replace") as file:
        words = file.read().strip().strip("[]()").replace(",", " ").split()
    values = []
    for word in words:
        try:
            value = float(word)
            if value != int(value):
                raise ValueError
        except (ValueError, OverflowError):
            raise DataError(
                f"--semantic_label_path {path}: {word!r}; expected integers with commas between"
            ) from None
        values.append(int(value))
    return values


def _check_crop(config):
    """Refuses a crop that no picture can have."""
    if not 1 <= config.crop_size <= MAX_SIZE:
        raise DataError(f"--crop_size is {config.crop_size}; expected 1 to {MAX_SIZE} pixels")
    if not 0.05 <= config.aspect_ratio <= 20 or config.crop_height < 1:
        raise DataError(f"--aspect_ratio is {config.aspect_ratio}; expected width / height, from 0.05 to 20")


def _check_numbers(config):
    """Refuses other sizes and shares that no sample can have."""
    for name in ("img_height", "img_width"):
        if not 1 <= getattr(config, name) <= MAX_SIZE:
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
