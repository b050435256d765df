"""Which files `generate` makes pictures of: folders, or a split of the dataset that a run knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from semantic_synthesis.data import catalogue
from semantic_synthesis.data.pairing import find_samples
from semantic_synthesis.data.places import has_root
from semantic_synthesis.data.shards import index_path
from semantic_synthesis.evaluation.pictures import files_beside, list_pictures, match_stems, say_left_out


@dataclass(frozen=True)
class LayoutFiles:
    """{stem: path} of label maps, and of their instance maps and photos where these are known (else {})."""

    labels: Mapping[str, str]
    instances: Mapping[str, str] = field(default_factory=dict)
    photos: Mapping[str, str] = field(default_factory=dict)


def layout_files(options: Any, config: Any) -> LayoutFiles:
    """The LayoutFiles of GenerateOptions: of --label_dir and --instance_dir, or of --split.

    config: of the run. FileNotFoundError or ValueError, one line, for files that are missing.
    """
    if options.split:
        return _of_split(options, config)
    labels = list_pictures(options.label_dir, "label_dir")
    beside = files_beside(options.label_dir, labels)
    say_left_out(f"--label_dir {options.label_dir}", "they are no pictures or hidden", beside)
    if not options.instance_dir:
        return LayoutFiles(labels)
    found = list_pictures(options.instance_dir, "instance_dir")
    return LayoutFiles(labels, dict(zip(labels, match_stems(labels, found, "instance map"), strict=True)))


def _of_split(options, config):
    description = catalogue.describe(config.dataset_mode)
    if description.name == catalogue.SCENES:
        raise ValueError(
            "--split: the scenes of this run are rendered; write some with prepare scenes and give their folder as "
            "--label_dir"
        )
    if options.dataroot and not has_root(config):
        raise ValueError(
            f"--dataroot {options.dataroot}: this run's dataset is folders; leave it out, or give --label_dir"
        )
    config = config.replace(max_dataset_size=0, dataroot=options.dataroot or config.dataroot)
    if index_path(config, description, options.split):
        raise ValueError(
            f"--split {options.split}: a set of shards; expected a dataset of files, or --label_dir"
        )
    samples = find_samples(config, description, options.split)
    return LayoutFiles(
        {sample.stem: sample.label for sample in samples},
        {sample.stem: sample.instance for sample in samples if sample.instance},
        {sample.stem: sample.image for sample in samples},
    )
