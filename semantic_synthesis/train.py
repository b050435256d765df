"""`train`: what the command line asks of training."""

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import tensorflow as tf

from semantic_synthesis import data
from semantic_synthesis.config import Config
from semantic_synthesis.files import locked
from semantic_synthesis.methods import METHODS, extra_maps, instance_maps, method_class
from semantic_synthesis.options import Command, asked_before_parsing, union
from semantic_synthesis.runs import training_config, warn_unused
from semantic_synthesis.training.strategy import is_chief, lost_worker, make_strategy
from semantic_synthesis.training.trainer import Trainer

WORKER_LOST = 75  # the exit code: try again later
OPTIONS = union(method.config_class for method in METHODS.values())


def train(given: Mapping[str, Any]) -> int:
    """Resolves the options, trains (or resumes), returns the exit code. given: {name: value} of the flags given."""
    config = training_config(given, data.resolve)
    method_class(config).check_files(config)  # not after reading the data, or making a memory of them
    strategy = make_strategy(config.distribute)  # before any other use of TensorFlow
    with locked(config.checkpoint_dir, "another training") if is_chief(strategy) else nullcontext():
        try:
            return _train(config, strategy, given)
        except tf.errors.OpError as error:
            if config.distribute != "multi_worker" or not lost_worker(error):
                raise
            sys.stderr.write(
                f"error: {config.checkpoint_dir}: another worker of this training is gone; start all that have ended "
                "again, and they go on from the newest checkpoint (docs/scale.md)\n"
            )
            return WORKER_LOST


def _train(config, strategy, given):
    dataset = data.open_dataset(config, instance_maps=instance_maps(config), extra_maps=extra_maps(config))
    trainer = Trainer(config, dataset, strategy, _evaluations(config))
    if trainer.steps_done == 0:
        trainer.check()
    if trainer.is_chief:
        config.save(config.checkpoint_dir)
        warn_unused(config, given)
    return trainer.fit()


def _evaluations(config):
    """The hooks that --train_eval asks for."""
    if not config.train_eval:
        return []
    from semantic_synthesis.evaluation.during_training import TrainEval
    from semantic_synthesis.evaluation.evaluating import EvaluateOptions

    options = EvaluateOptions(metrics=config.eval_metrics, max_images=config.eval_images, seed=config.seed)
    return [TrainEval(config, options, config.eval_epoch_freq)]


def _asked_config():
    return Config.class_for(asked_before_parsing("method", "spade"))


COMMAND = Command(
    OPTIONS,
    train,
    "train --image_dir photos --label_dir labels --checkpoint_dir checkpoints/mine",
    _asked_config,
)
