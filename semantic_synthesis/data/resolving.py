"""Fills the options a user left open from the dataset's description, and checks what is cheap to check."""

import dataclasses
import os

from . import catalogue
from .errors import DataError
from .scanning import scan_classes
from .tables import ClassTable

_FALLBACK = {
    "preprocess_mode": "resize_and_crop",
    "img_height": 286,
    "img_width": 286,
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
    _check_numbers(config)
    if description.name == catalogue.SCENES:
        samples = []
    else:
        samples = catalogue.find_samples(config, description, "train")
    table = class_table(config, description, samples)
    return config.replace(class_table=table.to_dict())


def fill_options(config, description):
    """The config with sizes, depth and instance use from the description's options."""
    known = {f.name for f in dataclasses.fields(config)}
    defaults = {**_FALLBACK, **description.options}
    if set(defaults) - set(_FALLBACK):
        wrong = sorted(set(defaults) - set(_FALLBACK))
        raise DataError(f"{description.path}: options {', '.join(wrong)}; expected {', '.join(_FALLBACK)}")
    if config.instance_dir:
        defaults["no_instance"] = False
    crop_width = config.crop_size or defaults["crop_size"]
    aspect_ratio = config.aspect_ratio or defaults["aspect_ratio"]
    crop_height = round(crop_width / aspect_ratio)
    default_height = round(defaults["crop_size"] / defaults["aspect_ratio"])
    defaults["img_width"] = round(crop_width * defaults["img_width"] / defaults["crop_size"])
    defaults["img_height"] = round(crop_height * defaults["img_height"] / default_height)
    changes = {
        name: value for name, value in defaults.items() if name in known and getattr(config, name) is None
    }
    return config.replace(**changes)


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
        raise FileNotFoundError(f"--semantic_label_path {path}: no such file; expected comma-separated label values")
    with open(path, encoding="utf-8", errors="replace") as file:
        words = file.read().strip().strip("[]()").replace(",", " ").split()
    values = []
    for word in words:
        try:
            value = float(word)
            if value != int(value):
                raise ValueError
        except (ValueError, OverflowError):
            raise DataError(f"--semantic_label_path {path}: {word!r}; expected integers with commas between") from None
        values.append(int(value))
    return values


def _check_numbers(config):
    """Refuses sizes and shares that no sample can have."""
    for name in ("img_height", "img_width", "crop_size", "scenes_count", "batch_size"):
        if getattr(config, name) < 1:
            raise DataError(f"--{name} is {getattr(config, name)}; expected a positive number")
    if not 0.05 <= config.aspect_ratio <= 20:
        raise DataError(f"--aspect_ratio is {config.aspect_ratio}; expected width / height, from 0.05 to 20")
    if not 0 < config.prob_dataset <= 1:
        raise DataError(f"--prob_dataset is {config.prob_dataset}; expected a share above 0 and up to 1")
    if config.preprocess_mode == "resize_and_crop" and (
        config.img_height < config.crop_height or config.img_width < config.crop_size
    ):
        raise DataError(
            f"--img_width x --img_height {config.img_width}x{config.img_height} is smaller than the crop of"
            f" {config.crop_size}x{config.crop_height}; enlarge them or choose a smaller --crop_size"
        )
