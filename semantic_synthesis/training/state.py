"""What a training keeps and finds again: method, optimisers, step and averages, in checkpoints of the run folder."""

from __future__ import annotations

import math
import tempfile
from typing import TYPE_CHECKING

import tensorflow as tf
from absl import logging

from semantic_synthesis.checkpoint_files import (
    CheckpointWriter,
    checkpoint_number,
    checkpoint_prefix,
    newest_checkpoint,
    remove_leftovers,
)
from semantic_synthesis.files import make_folder
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.runs import (
    build_method,
    checkpoint_variables,
    find_run,
    load_weights,
    stored_averages,
    weights_file,
)
from semantic_synthesis.training.optimizer import make_optimizer
from semantic_synthesis.training.strategy import is_chief

if TYPE_CHECKING:
    from semantic_synthesis.config import Config

KEPT_CHECKPOINTS = 3


class RunState:
    """All variables of a training, created in the strategy's scope and filled from the newest checkpoint, else from
    weights in the run folder, else from those of --init_from.

    method; objectives {name: Objective}; optimizers {objective: Adam}; step: tf.Variable; ema {path: tf.Variable}:
    averages of trained variables and running statistics, {} without --ema_decay; checkpoints: CheckpointWriter;
    resumed: the prefix of the checkpoint that it goes on from, "" at a start.
    Errors: ValueError where a checkpoint does not fit.
    """

    def __init__(self, config: Config, strategy: tf.distribute.Strategy) -> None:
        self.config, self.strategy, self.resumed = config, strategy, ""
        with strategy.scope():
            self.method = build_method(config)
            self.objectives = self.method.objectives()
            self.optimizers = {}
            for name, objective in self.objectives.items():
                self.optimizers[name] = make_optimizer(objective, name)
                self.optimizers[name].build(self.method.objective_variables(name))
            self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
            self.ema = self._make_ema()
        self._open_checkpoints()

    def _make_ema(self):
        """{path: tf.Variable}: averages of trained variables and running statistics, {} without --ema_decay."""
        if not self.config.ema_decay:
            return {}
        names = self.method.averaged_variables()
        return {name: tf.Variable(v.value, trainable=False, name="ema") for name, v in names.items()}

    def _open_checkpoints(self):
        names = {id(variable): name for name, variable in named_variables(self.method).items()}
        optimizers = {}
        for objective, optimizer in self.optimizers.items():
            trained = self.method.objective_variables(objective)
            optimizers[objective] = optimizer.named_state([names[id(variable)] for variable in trained])
        state = {"model": checkpoint_variables(self.method), "optimizers": optimizers, "step": self.step}
        folder = self.config.checkpoint_dir
        newest = self._agreed(newest_checkpoint(folder))
        if newest:
            try:
                self._restore(newest, state)
            # IndexError: a file cut short; ValueError: other shapes.
            except (AssertionError, IndexError, ValueError, tf.errors.OpError) as error:
                reason = str(error).splitlines()[0]
                raise ValueError(
                    f"{newest}: does not fit this run ({reason}); damaged file or other options; delete its "
                    "files to use an older one"
                ) from None
            self.resumed = newest
        elif weights_file(folder):
            self._start_from(folder)
        elif self.config.init_from:
            self._start_from(find_run(self.config.init_from))
        if not is_chief(self.strategy):  # every worker takes part in saving; only the chief's files count
            self._scratch = tempfile.TemporaryDirectory(prefix="worker-checkpoints-")
            folder = self._scratch.name
        else:
            make_folder(folder)
            remove_leftovers(folder)
        self.checkpoints = CheckpointWriter(
            tf.train.Checkpoint(**state, ema=self.ema), folder, KEPT_CHECKPOINTS
        )

    def _agreed(self, newest):
        """The checkpoint that the chief found: another worker, started at another instant, may see an older one."""
        if self.config.distribute != "multi_worker":
            return newest
        found = checkpoint_number(newest) if newest and is_chief(self.strategy) else 0

        @tf.function(autograph=False)
        def ask():
            first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
            return tf.where(first, tf.constant(found, tf.int64), 0)

        number = int(self.strategy.reduce("SUM", self.strategy.run(ask), axis=None))
        return checkpoint_prefix(self.config.checkpoint_dir, number) if number else None

    def _start_from(self, folder):
        missing = load_weights(self.method, folder, partial=True)
        self._reset_ema()
        logging.info("starting from the weights of %s (%d arrays start fresh)", folder, len(missing))

    def _restore(self, prefix, state):
        """Fills all state; averages that older checkpoints lack (of running statistics) start from the model's."""
        stored = stored_averages(prefix, self.ema)
        known = {name: average for name, average in self.ema.items() if name in stored}
        tf.train.Checkpoint(**state, ema=known).read(prefix).assert_existing_objects_matched()
        named = named_variables(self.method)
        for name in self.ema.keys() - stored:
            self.ema[name].assign(named[name].value)

    def _reset_ema(self):
        named = named_variables(self.method)
        for name, average in self.ema.items():
            average.assign(named[name].value)


def young_averages(decay: float, steps: int) -> str | None:
    """A warning where the averages after so many steps hold much of what training began with, as the originals' would;
    else None."""
    start = decay**steps
    if start < 0.05:
        return None
    unit = 10.0 ** math.floor(math.log10(5 / steps))
    enough = max(0.0, 1 - unit * math.ceil(5 / steps / unit))
    return (
        f"--ema_decay {decay:g}: {start:.0%} of the averaged weights, which pictures are made with, will be what "
        f"training began with, as it has {steps} steps; --ema_decay {enough:g} leaves less than 1%"
    )
