"""Where scored pictures come from: folders, or a run beside the real pictures of its layouts."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import logging

from semantic_synthesis import data
from semantic_synthesis.bars import progress_bar
from semantic_synthesis.data import catalogue
from semantic_synthesis.data.places import has_root
from semantic_synthesis.evaluation import pictures
from semantic_synthesis.evaluation.manifest import LINES, PIECES, RECORD
from semantic_synthesis.evaluation.metrics import DiversityMetric
from semantic_synthesis.evaluation.parts import PartDiversity
from semantic_synthesis.inference import load_run
from semantic_synthesis.options import Use, refuse_unused
from semantic_synthesis.runs import run_sha256

if TYPE_CHECKING:
    import tensorflow as tf

    from semantic_synthesis.config import Config


class FolderStream:
    """Pictures from folders; layouts, for miou, by equal names (a sample's ending _0, _1, ... left out)."""

    is_scenes = False

    def __init__(self, options: Any) -> None:
        self.options, self.size = options, pictures.parse_size(options.eval_size)
        self.index, self.count = pictures.parse_shard(options.shard)
        self.fakes = pictures.list_pictures(options.fake_dir, "fake_dir") if options.fake_dir else {}
        self.reals = pictures.list_pictures(options.real_dir, "real_dir") if options.real_dir else {}
        alone = options.save_fake_stats or options.save_real_stats
        if _comparing(options) and not (alone or self.reals or options.real_stats):
            raise ValueError("the real side is missing; give --real_dir or --real_stats")
        self.table: Any = catalogue.describe(options.dataset_mode).table if options.dataset_mode else None
        self.labels = pictures.list_pictures(options.label_dir, "label_dir") if options.label_dir else {}
        self._seen: Any = None
        self._left_out: dict[str, list[str]] = {}
        self._check_counts()
        self._groups = self._sample_groups() if "lpips" in (options.metrics or "").split(",") else []
        self._look_beside()

    def _check_counts(self):
        """Refuses, before anything is read, folders of which no distribution can be told."""
        alone = self.options.save_fake_stats or self.options.save_real_stats
        names = _comparing(self.options)
        for flag, found in (("fake_dir", self.fakes), ("real_dir", self.reals)):
            if len(found) == 1 and names and not alone:
                raise ValueError(
                    f"--{flag} {getattr(self.options, flag)}: holds 1 picture, {next(iter(found.values()))}; "
                    f"{', '.join(sorted(names))} compare distributions and need at least 2 of each side"
                )

    def _look_beside(self):
        """Names what lies in the folders without being scored."""
        folders = {"fake_dir": self.fakes, "real_dir": self.reals, "label_dir": self.labels}
        for flag, found in folders.items():
            beside = pictures.files_beside(folder, found) if (folder := getattr(self.options, flag)) else []
            self._leave_out(
                flag,
                "they are no pictures or hidden",
                [name for name in beside if name not in (RECORD, LINES) and not PIECES.fullmatch(name)],
            )
        used = set(map(_layout_of, self.fakes)) | set(self.fakes)
        unused = [path for stem, path in self.labels.items() if stem not in used] if self.fakes else []
        self._leave_out("label_dir", "no picture has their names", unused)

    def _leave_out(self, flag, why, names):
        pictures.say_left_out(f"--{flag} {getattr(self.options, flag)}", why, names)
        if names:
            self._left_out[f"{flag}: {why}"] = names

    def feed(self, metrics: Sequence[Any]) -> None:
        """Runs all pictures through the metrics."""
        diverse, _, paired = split_kinds(metrics)
        for side, found in (("real", self.reals), ("fake", self.fakes)):
            stems = list(found)[self.index :: self.count]
            labels = self._labels_of(found, stems, side)
            paths = [found[stem] for stem in stems]
            with progress_bar(total=len(paths), desc=side, unit="picture") as bar:
                for start, batch in pictures.picture_batches(paths, self.options.batch_size, self.size):
                    self._seen = batch.shape[1:3]
                    maps = None
                    if labels:
                        of_batch = labels[start : start + len(batch)]
                        maps = pictures.read_labels(of_batch, self.table, batch.shape[1:3])
                    for metric in paired:
                        add = metric.add_real if side == "real" else metric.add_fake
                        add(batch, self.index + start * self.count, maps)
                    bar.update(len(batch))
        self._feed_samples(diverse)

    def _labels_of(self, found, stems, side):
        """Label map paths of pictures; None without layouts (real pictures may lack them)."""
        if not self.labels or self.table is None:
            return None
        keys = [stem if stem in self.labels else _layout_of(stem) for stem in stems]
        named = {key: found[stem] for key, stem in zip(keys, stems, strict=True)}
        if side == "real" and not set(named) <= set(self.labels):
            alone = [path for key, path in named.items() if key not in self.labels]
            self._leave_out(
                "real_dir", "these have no label map, so that no real picture is segmented", alone
            )
            return None
        pictures.match_stems(named, self.labels, "label map")
        return [self.labels[key] for key in keys]

    def _sample_groups(self):
        """[paths of the samples of one layout], each layout's as `generate` numbers them, from 0 on without a gap."""
        groups: dict[str, dict[str, str]] = {}
        for stem, path in self.fakes.items():
            groups.setdefault(_layout_of(stem), {})[stem] = path
        for layout, found in groups.items():
            if set(found) != {f"{layout}_{number}" for number in range(len(found))}:
                raise ValueError(
                    f"lpips: {next(iter(found.values()))} is not one of several pictures of a layout; expected files "
                    f"that end in _0, _1, ..., as generate --num_samples writes them"
                )
        return [list(found.values()) for found in groups.values()]

    def _feed_samples(self, metrics):
        for paths in self._groups[self.index :: self.count] if metrics else []:
            samples = np.concatenate([b for _, b in pictures.picture_batches(paths, len(paths), self.size)])
            for metric in metrics:
                metric.add_samples(samples)

    def protocol(self) -> dict[str, Any]:
        """What the figures of this stream depend on."""
        size = self._seen or self.size
        return {
            "pictures": self.options.fake_dir or self.options.fake_stats,
            "real": self.options.real_dir or self.options.real_stats,
            "size": f"{size[1]}x{size[0]}" if size else "not told by the file",
            "resize": _resize_text(self.size),
            "split": "as in the folders",
            "shard": self.options.shard or "all",
            **({"left out": self._left_out} if self._left_out else {}),
        }


class RunStream:
    """A run's pictures beside the real ones, layout by layout; never augmented."""

    def __init__(self, options: Any) -> None:
        self.options, self.size = options, pictures.parse_size(options.eval_size)
        if options.fake_dir or options.real_dir:
            raise ValueError("--checkpoint_dir makes its own pictures; leave --fake_dir and --real_dir out")
        self.run = load_run(options.checkpoint_dir, options.precision)
        self.table, config = self.run.table, self.run.config
        # The description of a published run may be on another machine; folders need none.
        own = bool(options.image_dir)
        self.is_scenes = not own and catalogue.describe(config.dataset_mode).name == catalogue.SCENES
        folders = ("dataroot", "image_dir", "label_dir", "instance_dir")
        changes = {name: getattr(options, name) for name in folders if getattr(options, name)}
        if self.is_scenes and changes:
            raise ValueError(
                f"--{next(iter(changes))}: the scenes of this run are rendered; expected --image_dir and --label_dir "
                "for pictures of your own, or none of these"
            )
        if options.image_dir:
            changes["dataset_mode"] = catalogue.CUSTOM
        self._check_folders(config.replace(**changes))
        changes |= {"max_dataset_size": options.max_images, "prob_dataset": 1.0}
        if self.is_scenes and options.max_images:
            changes["scenes_count"] = options.max_images
        config = config.replace(**changes)
        if not any(getattr(options, name) for name in ("dataroot", "image_dir", "label_dir")):
            say_if_training(config, options.split)
        self.dataset = data.open_dataset(config, options.split, self.run.instance_maps)
        self._left_out = self._beyond(config) if options.max_images and not self.is_scenes else []
        self.index, self.count = pictures.parse_shard(options.shard)

    def _check_folders(self, config):
        """Refuses folders that the run does not look into."""
        read = self.run.instance_maps and not config.no_instance
        refuse_unused(
            self.options,
            [
                Use(
                    "dataroot",
                    has_root(config),
                    "this run's dataset is folders; expected --image_dir and --label_dir",
                ),
                Use("instance_dir", read, "this run was trained without instance maps; leave it out"),
            ],
        )

    def _beyond(self, config):
        """Names the layouts of the split that --max_images does not count."""
        whole = data.open_dataset(
            config.replace(max_dataset_size=0), self.options.split, self.run.instance_maps
        )
        samples = whole.source.samples
        names = [samples[i].label for i in range(self.dataset.count, len(samples))]
        pictures.say_left_out(f"--max_images {self.options.max_images}", "there are more layouts", names)
        return names

    def feed(self, metrics: Sequence[Any]) -> None:
        """Runs all layouts through the metrics."""
        diverse, parts, paired = split_kinds(metrics)
        if (diverse or parts) and not self.run.method.style_shapes:
            raise ValueError(
                "this run takes no style, so its samples are all alike; leave lpips and diversities out"
            )
        for metric in parts:
            metric.check(self.run)
        batches = self.dataset.batches(self.options.batch_size, training=False)
        with progress_bar(total=self.dataset.count, unit="picture") as bar:
            for number, batch in enumerate(batches):
                batch = {name: tensor.numpy() for name, tensor in batch.items()}
                bar.update(len(batch["row"]))
                if number % self.count != self.index:
                    continue
                layout = {name: batch[name] for name in ("label", "instance") if name in batch}
                if paired:
                    self._feed_pairs(paired, layout, batch)
                for metric in diverse:
                    self._feed_samples(metric, layout, batch["row"])
                for metric in parts:
                    self._feed_parts(metric, layout, batch["row"])

    def _feed_pairs(self, metrics, layout, batch):
        first, real = int(batch["row"][0]), float_to_uint8(batch["image"])
        fake = self.run.synthesize(layout, self._style(batch, real, layout))
        for metric in metrics:
            metric.add_real(self._sized(real), first, batch["label"])
            metric.add_fake(self._sized(fake), first, batch["label"])

    def _style(self, batch, real, layout):
        if self.options.style == "real":
            return self.run.encode_style(real, layout)
        return self.run.sample_style(self.run.method.seeds_of(batch["row"], self.options.seed), layout)

    def _layouts(self, layout, rows, count):
        """Of each layout of a batch: itself, and the seeds of its samples."""
        for i, row in enumerate(rows):
            one = {name: values[i : i + 1] for name, values in layout.items()}
            yield one, self.options.seed + int(row) * count + np.arange(count)

    def _feed_parts(self, metric, layout, rows):
        for one, seeds in self._layouts(layout, rows, self.options.num_samples + 1):
            metric.add_layout(self.run, one, seeds)

    def _feed_samples(self, metric, layout, rows):
        for one, seeds in self._layouts(layout, rows, self.options.num_samples):
            samples = self.run.synthesize(one, self.run.sample_style(seeds, one))
            metric.add_samples(self._sized(samples))

    def _sized(self, batch):
        return batch if self.size is None else np.stack([data.fit_image(p, *self.size) for p in batch])

    def protocol(self) -> dict[str, Any]:
        """What the figures of this stream depend on."""
        size = self.size or self.run.size
        return {
            "pictures": f"made by {os.path.basename(os.path.normpath(self.options.checkpoint_dir))}",
            "run sha256": run_sha256(self.options.checkpoint_dir),
            "size": f"{size[1]}x{size[0]}",
            "resize": _resize_text(self.size),
            "split": f"{self.options.split} of {self.run.config.dataset_mode}"
            if not self.options.image_dir
            else self.options.image_dir,
            "style": self.options.style,
            "precision": self.options.precision,
            "shard": self.options.shard or "all",
            **({"left out": self._left_out} if self._left_out else {}),
        }


def say_if_training(config: Config, split: str) -> None:
    """Warns where the split's files are those of the training: figures of them say nothing of new layouts."""
    description = catalogue.describe(config.dataset_mode)
    if split == "train" or description.name == catalogue.SCENES:
        return
    folders = (
        config.image_dir or config.label_dir or description.name == catalogue.CUSTOM
    )  # one for all splits
    if folders or (description.splits and description.layouts(split) == description.layouts("train")):
        logging.warning(
            "split %s of %s is the training set: figures of it say nothing of other photos; give a description with a "
            "split of its own (--dataset_mode FILE.json), or evaluate with --image_dir and --label_dir",
            split,
            config.dataset_mode,
        )


def _comparing(options):
    """Those of the metrics of folders that compare real and synthesised pictures."""
    return set((options.metrics or "fid,kid").split(",")) & {"fid", "kid", "judge"}


def _layout_of(stem):
    """The stem of a picture's layout: without the number of its sample."""
    return re.sub(r"_\d+$", "", stem)


def float_to_uint8(images: np.ndarray | tf.Tensor) -> np.ndarray:
    """The stored values of pictures float [-1,1] that came from uint8."""
    return np.rint((np.asarray(images) + 1) * 127.5).astype(np.uint8)


def split_kinds(metrics: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """(metrics of several samples per layout, of parts varied alone, of real and synthesised pictures)."""
    diverse = [metric for metric in metrics if isinstance(metric, DiversityMetric)]
    parts = [metric for metric in metrics if isinstance(metric, PartDiversity)]
    return diverse, parts, [metric for metric in metrics if metric not in diverse and metric not in parts]


def _resize_text(size):
    return "none before the network's own" if size is None else "area averaging or cubic"
