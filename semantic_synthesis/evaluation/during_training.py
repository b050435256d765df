"""Evaluation during training: held-out layouts, averaged weights, the best run kept apart.

The pictures come from a second model for inference that takes the trained weights' values, averaged ones
where training keeps them. Held-out samples are never augmented (`training=False`), and styles depend on the
sample alone, so the same weights give the same figures at any step and after any resume.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from absl import logging

from semantic_synthesis import data, runs, storage
from semantic_synthesis.data import catalogue
from semantic_synthesis.evaluation.evaluating import VARYING, EvaluateOptions, make_metrics
from semantic_synthesis.evaluation.metrics import FeatureMetric
from semantic_synthesis.evaluation.streams import float_to_uint8, say_if_training
from semantic_synthesis.files import file_sha256, read_json, write_json
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.methods import instance_maps
from semantic_synthesis.pictures import to_uint8

if TYPE_CHECKING:
    from semantic_synthesis.config import Config
    from semantic_synthesis.methods.method import Method

BEST_FOLDER = "best"
RECORD = "best.json"
_REMEDY = "delete it to keep the best from now on"
_LARGER_IS_BETTER = ("miou", "pixel accuracy", "miou / miou of real", "lpips diversity")


class TrainEval:
    """Scores a method in training; an object to call after a step.

    config: resolved Config of the run; options: EvaluateOptions, of which metrics, split, max_images,
    batch_size, the networks' files and seed count; every: epochs between evaluations.
    """

    def __init__(self, config: Config, options: EvaluateOptions | None = None, every: int = 10) -> None:
        self.config, self.options, self.every = config, options or EvaluateOptions(), every
        if every < 1:
            raise ValueError(f"--eval_epoch_freq {every}; expected 1 or more")
        table, is_scenes = (
            data.ClassTable.from_dict(config.class_table),
            catalogue.describe(config.dataset_mode).name == catalogue.SCENES,
        )
        self._best_is_whole = False  # looked at once: after that, this process alone writes it
        self.metrics, self._real_seen = make_metrics(self.options, is_scenes, table), False
        if not all(hasattr(metric, "add_fake") for metric in self.metrics):
            raise ValueError(
                f"--eval_metrics: {', '.join(VARYING)} are not scored during training; expected fid, kid, miou, judge"
            )
        changes = {"prob_dataset": 1.0, "max_dataset_size": self.options.max_images}
        if is_scenes and self.options.max_images:
            changes["scenes_count"] = self.options.max_images
        self.dataset = data.open_dataset(config.replace(**changes), self.options.split, instance_maps(config))
        compared = [metric.name for metric in self.metrics if isinstance(metric, FeatureMetric)]
        if compared and self.dataset.size < 2:
            raise ValueError(
                f"--eval_metrics: {compared[0]} compares distributions and needs at least 2 held-out layouts, found "
                f"{self.dataset.size} (--eval_images {self.options.max_images})"
            )
        say_if_training(config, self.options.split)
        self.method = runs.build_method(config, training=False, initial_weights=False)
        self._render = tf.function(lambda layout, rows: self._pictures(layout, rows), reduce_retracing=True)

    def is_due(self, step: int, steps_per_epoch: int) -> bool:
        """Whether an evaluation falls into this step: at the end of every `every`-th epoch."""
        length = self.every * steps_per_epoch
        return int(step / length + 1e-9) > int((step - 1) / length + 1e-9)

    def __call__(
        self, step: int, method: Method, averages: Mapping[str, tf.Variable] | None = None
    ) -> dict[str, float]:
        """{metric: value} of a method's weights; where they are the best so far, best/ is written.

        averages: {variable name: tf.Variable} that replace the method's own (EMA), or None.
        """
        trained, averages = named_variables(method), averages or {}
        ours = named_variables(self.method)
        for name, variable in ours.items():
            variable.assign(averages[name] if name in averages else trained[name].value)
        runs.settle_averages(self.method, {id(ours[name]) for name in averages if name in ours})
        for metric in self.metrics:
            metric.clear("fake")
        for batch in self.dataset.batches(self.options.batch_size, training=False):
            layout = {name: batch[name] for name in ("label", "instance") if name in batch}
            fake, label = to_uint8(self._render(layout, batch["row"])), batch["label"].numpy()
            for metric in self.metrics:
                if not self._real_seen:
                    metric.add_real(float_to_uint8(batch["image"]), int(batch["row"][0]), label)
                metric.add_fake(fake, int(batch["row"][0]), label)
        self._real_seen = True
        found = [figure for metric in self.metrics for figure in metric.figures()]
        figures = {figure["metric"]: figure["value"] for figure in found}
        self._keep_best(step, figures)
        return figures

    def _pictures(self, layout, rows):
        seeds = self.method.seeds_of(rows, self.options.seed)
        return self.method.synthesize(layout, self.method.sample_style(layout, seeds))

    def _keep_best(self, step, figures):
        """Writes best/ (a run folder) if the first metric is better than the one recorded there."""
        name, value = next(iter(figures.items()))
        folder = os.path.join(self.config.checkpoint_dir, BEST_FOLDER)
        path, weights = os.path.join(folder, RECORD), os.path.join(folder, runs.WEIGHTS_FILE)
        found = self._best(path, weights)
        if found is not None:
            sign = -1 if name in _LARGER_IS_BETTER else 1
            known = found["metric"] == name and math.isfinite(found["value"])
            if known and not sign * value < sign * found["value"]:
                return
        self.config.save(folder)
        runs.save_weights(folder, {n: np.array(v) for n, v in named_variables(self.method).items()})
        record = {"step": step, "metric": name, "value": value, "figures": figures}
        write_json(path, {**record, "sha256": file_sha256(weights)})
        self._best_is_whole = True
        logging.info("step %d: best %s so far, %.4g; kept in %s", step, name, value, folder)

    def _best(self, path, weights):
        """The record of best/; None without one, or where the weights beside it are others, as after a kill between
        the two: of them no figure is known."""
        if not storage.exists(path):
            return None
        found = read_json(path, _REMEDY)
        if not isinstance(found, dict) or not {"metric", "value"} <= set(found):
            raise ValueError(f"{path}: no record of a best run; {_REMEDY}")
        if self._best_is_whole or "sha256" not in found:  # older versions wrote no checksum
            return found
        self._best_is_whole = storage.is_file(weights) and file_sha256(weights) == found["sha256"]
        if not self._best_is_whole:
            logging.warning("%s: of other weights than those beside it; the best is kept from now on", path)
        return found if self._best_is_whole else None
