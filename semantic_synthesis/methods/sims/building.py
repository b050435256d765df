"""Makes the memory of SIMS from a dataset: `python -m semantic_synthesis prepare bank`.

Photos are taken as training takes them, without mirroring and with the crop in the middle. What is there already
stays: a run that was stopped goes on, and a larger dataset adds to the end.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf
from absl import logging

from semantic_synthesis import data, storage
from semantic_synthesis.data import catalogue
from semantic_synthesis.data.scanning import map_files
from semantic_synthesis.files import locked, write_json
from semantic_synthesis.methods.sims.bank import INDEX, SEGMENTS, BankArrays, digest, read_index
from semantic_synthesis.methods.sims.config import SIMSConfig
from semantic_synthesis.methods.sims.features import grid_step
from semantic_synthesis.methods.sims.groups import ClassGroups
from semantic_synthesis.methods.sims.parts import check_same, missing_rows, part_path, rows_there
from semantic_synthesis.methods.sims.segments import find_segments
from semantic_synthesis.options import Command, Use, option, refuse_unused
from semantic_synthesis.pictures import write_png

THUMBNAIL = 16
SAME_LAYOUT, SAME_PHOTO = 0.99, 2.0  # share of equal cells, mean difference of thumbnails: near-duplicates


@dataclass(frozen=True)
class BankOptions:
    """Options of `prepare bank`."""

    dataset_mode: str = option(
        "", "Name in datasets/ or path of a .json description; empty: your own folders."
    )
    dataroot: str = option("", "Root folder of a named dataset.")
    image_dir: str = option("", "Folder of photos (your own dataset).")
    label_dir: str = option("", "Folder of label maps (your own dataset).")
    instance_dir: str = option("", "Folder of instance maps (your own dataset).")
    semantic_label_path: str = option("", "Text file with the raw label values, comma-separated.")
    crop_size: int = option(None, "Width of the pictures, if not the dataset's default.", kind=int)
    scenes_count: int = option(2000, "Number of landscapes (scenes).")
    scale: int = option(1, "Picture over layout: 2 for the networks of 512 rows, 4 for those of 1024.")
    class_groups: str = option(
        None, "Which classes lie behind, are thin, ...; default: the dataset's.", kind=str
    )
    max_dataset_size: int = option(0, "Use only the first N samples; 0 means all.")
    out: str = option("", "The bank folder.")


def prepare_bank(options: BankOptions) -> int:
    """Makes or extends a bank folder; exit code 0."""
    if not options.out:
        raise ValueError("prepare bank needs --out FOLDER")
    given = {name: getattr(options, name) for name in BankOptions.__dataclass_fields__ if name != "out"}
    config = data.resolve(SIMSConfig(**given))
    scenes = catalogue.describe(config.dataset_mode).name == catalogue.SCENES
    refuse_unused(
        options, [Use("scenes_count", scenes, "counts rendered scenes; expected --max_dataset_size")]
    )
    index = build_bank(config, options.out)
    logging.info(
        "%s: %d segments of %d photos; train with --method sims --bank_dir %s",
        options.out,
        index["segments"],
        len(index["photos"]),
        options.out,
    )
    return 0


def description_of(config: Any) -> dict[str, Any]:
    """What a bank must agree on with the networks that use it, as JSON values."""
    groups = ClassGroups.of(data.ClassTable.from_dict(config.class_table), config.class_groups)
    names = np.array(config.class_table["names"])[groups.known < groups.count]
    size = (config.crop_height, config.crop_size)
    return {
        "classes": names.tolist(),
        "size": list(size),
        "base": [side // config.scale for side in size],
    }


def build_bank(config: SIMSConfig, folder: str | Path) -> dict[str, Any]:
    """Makes or extends the bank of a resolved SIMS config from its training set; the index it wrote.

    Errors: ValueError, one line, for a folder whose parts were made of other samples or with other options; OSError
    while another process makes one there.
    """
    wanted = description_of(config)
    if storage.is_file(os.path.join(folder, INDEX)):
        check_same(read_index(folder), wanted, folder)
    # The workers of one training make the same files, whole ones, and none may end because another was first.
    alone = config.distribute != "multi_worker"
    with locked(folder, "another prepare bank") if alone else nullcontext(), storage.returned(folder) as here:
        return _build(config, here, wanted, folder)


def _build(config, folder, wanted, shown):
    for name in ("photos", "parts"):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
    dataset = data.open_dataset(config, "train", "regions")
    groups = ClassGroups.of(dataset.table, config.class_groups)
    rows = missing_rows(
        folder, {**wanted, **_options_of_parts(config, dataset, groups)}, dataset.source, shown
    )

    def add(row):
        image, label, region, _ = _sample(dataset, row)
        _write_part(folder, row, image, part_of(label, region, groups, config))

    for _ in map_files(add, rows, "bank"):
        pass
    return _finish(folder, wanted, groups)


def _options_of_parts(config, dataset, groups):
    """{name for messages: JSON value} of what a part depends on beyond `description_of` and its sample."""
    has_instances = dataset.source.has_instances
    return {
        "thin classes": [groups.names[i] for i in np.flatnonzero(groups.members["thin"])],
        "ids of the classes": config.class_table["raw_ids"],
        "--preprocess_mode": config.preprocess_mode,
        "loading sizes": [config.img_height, config.img_width],
        "instance maps": "used" if has_instances else "none",
        "--instance_none_id": config.instance_none_id if has_instances else None,
        "--segment_area": config.segment_area,
    }


def _sample(dataset, row):
    """One sample as it is tested: image uint8 [H,W,3], label int32 [H,W], regions int32 [H,W], its number."""
    batch = next(iter(dataset.batches(1, first_step=row, training=False)))
    image = tf.cast(tf.round((batch["image"][0] + 1.0) * 127.5), tf.uint8).numpy()
    return image, batch["label"][0].numpy(), batch["instance"][0].numpy(), row


def part_of(
    label: np.ndarray, region: np.ndarray, groups: ClassGroups, config: SIMSConfig, smallest: float = 0.25
) -> BankArrays:
    """The BankArrays of one photo: its segments of a quarter of --segment_area or more."""
    kind = groups.known[label][:: config.scale, :: config.scale]
    region = region[:: config.scale, :: config.scale]
    segments = find_segments(tf.constant(kind[None]), tf.constant(region[None]), groups.members["thin"])
    rows = np.flatnonzero(segments.area.numpy() > smallest * config.segment_area * kind.size)
    step = grid_step(kind.shape[0])
    return BankArrays.of_segments(kind[::step, ::step], segments, rows, 0)


def _photo(row):
    return f"photos/{row:08d}.png"


def _write_part(folder, row, image, part):
    write_png(Path(folder, _photo(row)), image)
    part.save(part_path(folder, row))  # last: what has a part is complete


def _finish(folder, wanted, groups):
    """Writes segments.npz and index.json from all parts."""
    rows = rows_there(folder)
    parts = [BankArrays.load(part_path(folder, row)) for row in rows]
    kept = unlike(folder, rows, [part.grid[0] for part in parts])
    parts, photos = [parts[i] for i in kept], [_photo(rows[i]) for i in kept]
    whole = BankArrays.merged(parts)
    whole.save(os.path.join(folder, SEGMENTS))
    shares = whole.shares(groups.count, wanted["base"])
    index = {
        **wanted,
        "photos": photos,
        "dropped": len(rows) - len(kept),
        "segments": len(whole.kind),
        "shares": [None if np.isnan(share) else float(share) for share in shares],
        "sha256": digest(folder, photos),
    }
    write_json(os.path.join(folder, INDEX), index)
    return index


def unlike(folder: str | Path, rows: Sequence[int], grids: Sequence[np.ndarray]) -> list[int]:
    """Which photos to keep: positions in rows without those that look like an earlier one.

    Alike: nearly the same layout, and nearly the same picture at 16x16 pixels.
    """
    kept, thumbnails, layouts = [], [], []
    for i, (row, grid) in enumerate(zip(rows, grids, strict=True)):
        picture = cv2.imread(os.path.join(folder, _photo(row)))
        if picture is None:
            raise ValueError(
                f"{os.path.join(folder, _photo(row))}: missing or damaged; delete its part in parts/"
            )
        small = cv2.resize(picture, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32)
        if kept:
            same = (np.stack(layouts) == grid).mean((1, 2)) > SAME_LAYOUT
            near = np.abs(np.stack(thumbnails) - small).mean((1, 2, 3)) < SAME_PHOTO
            if (same & near).any():
                continue
        kept.append(i)
        thumbnails.append(small)
        layouts.append(grid)
    return kept


COMMAND = Command(
    BankOptions,
    prepare_bank,
    "prepare bank --dataset_mode scenes --scenes_count 500 --out banks/scenes",
)
