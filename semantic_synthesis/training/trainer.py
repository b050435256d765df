"""The training loop: strategy, optimisers, schedule, checkpoints, summaries. It knows no method."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.runs import settle_averages
from semantic_synthesis.training.monitoring import Monitor, not_finite
from semantic_synthesis.training.optimizer import schedule_epoch, total_steps
from semantic_synthesis.training.previews import Previews
from semantic_synthesis.training.profiling import Profiler
from semantic_synthesis.training.recalibration import measure_statistics
from semantic_synthesis.training.state import RunState, young_averages
from semantic_synthesis.training.strategy import is_chief, without_remapper

if TYPE_CHECKING:
    from semantic_synthesis.config import Config
    from semantic_synthesis.data.pipeline import Dataset

FITTED_BATCHES = 50  # of which a method measures what it does not learn


class Trainer:
    """Trains one run. Built whole (variables, optimisers) before the first step is traced.

    config: resolved Config; dataset: data.Dataset; strategy: from make_strategy; hooks: objects with
    is_due(step, steps_per_epoch) and (step, method, averaged weights) -> {figure: value}, for example
    evaluation.during_training.TrainEval; their figures go to TensorBoard.
    """

    def __init__(
        self, config: Config, dataset: Dataset, strategy: tf.distribute.Strategy, hooks: Sequence[Any] = ()
    ) -> None:
        self.config, self.dataset, self.strategy = config, dataset, strategy
        replicas, parts = strategy.num_replicas_in_sync, config.gradient_accumulation
        if config.batch_size % (replicas * parts):
            of_parts = f" in {parts} parts (--gradient_accumulation)" if parts > 1 else ""
            raise ValueError(
                f"--batch_size {config.batch_size} does not divide over {replicas} devices{of_parts}; "
                f"use a multiple of {replicas * parts}"
            )
        if not 0 <= config.ema_decay < 1:
            raise ValueError(f"--ema_decay {config.ema_decay}; expected 0 (no averages) or more, below 1")
        self.hooks = hooks
        self.steps_per_epoch = max(dataset.size / config.batch_size, 1e-9)
        self.total = total_steps(config, self.steps_per_epoch)
        # Before there is a folder: it may refuse its steps.
        self._profiler = Profiler(config.profile_steps, config.log_folder, self.total)
        self._state = state = RunState(config, strategy)
        self.method, self.objectives, self.optimizers = state.method, state.objectives, state.optimizers
        self.step, self.ema, self.checkpoints = state.step, state.ema, state.checkpoints
        self._stop = self._recalibrated = None
        self._functions, self._ran = {}, set()
        self.gradient_norms = {}  # {objective: tensor} of the last step that moved it
        if state.resumed:
            rates = ", ".join(f"{name} {rate:.3g}" for name, rate in self.rates(self.steps_done).items())
            logging.info("resuming %s at step %d; learning rate: %s", state.resumed, self.steps_done, rates)

    @property
    def steps_done(self) -> int:
        """Steps trained so far."""
        return int(self.step.numpy())  # a variable mirrored over devices is no number itself

    @property
    def is_chief(self) -> bool:
        """Whether this process writes files (always, but for multi_worker)."""
        return is_chief(self.strategy)

    def _recalibrate(self, step):
        """Measures what belongs to the weights that pictures are made with, the averages if there are any.

        That is the statistics of training batches, in place of averaged running statistics, and what the method fits
        itself. The batches are those of the steps after this one or the first of the dataset, and the old values do not
        matter, so that a resumed run arrives at the same numbers. The rest of the model is as before afterwards.
        """
        count, layers = self.config.recalibration_batches if self.ema else 0, self.method.fitted_layers()
        if not (count or layers) or self._recalibrated == step:
            return
        parts, named = self.config.gradient_accumulation, named_variables(self.method)
        fitted = {id(variable) for layer in layers for variable in layer.variables}
        before = {name: v.numpy() for name, v in named.items() if id(v) not in fitted}
        for name, average in self.ema.items():
            named[name].assign(average.value())
        settle_averages(self.method, {id(named[name]) for name in self.ema})
        if count:
            moving = [name for name in self.ema if not named[name].trainable]
            batches = itertools.islice(iter(self.batches()), count)
            each = ((batch, tf.constant(part)) for batch in batches for part in range(parts))
            measure_statistics(
                [named[name].value for name in moving], lambda item: self._forward(*item), each
            )
            for name in moving:
                self.ema[name].assign(named[name].numpy())
        if layers:
            size = max(1, min(self.config.batch_size, self.dataset.size) // parts)
            photos = self.dataset.batches(size, training=False)
            self.method.fit(itertools.islice(photos, FITTED_BATCHES * parts))
        for name, value in before.items():
            named[name].assign(value)
        self._recalibrated = step

    @tf.function(autograph=False)
    def _forward(self, batch, number):
        """A forward pass of a part of a batch for its running statistics; what else the losses take is not run."""
        count = self.config.gradient_accumulation
        self.strategy.run(lambda rows: self.method.compute_losses(_part(rows, number, count)), (batch,))

    # One step

    def _replica_step(self, batch, objectives):
        # Symbolic gradients, not a tape: two objectives over one forward pass would need a persistent
        # tape, and under one TensorFlow cannot differentiate tf.cond around a custom gradient.
        count = self.config.gradient_accumulation
        total = self._gradients(_part(batch, 0, count), objectives)
        for number in range(1, count):
            # One part at a time is in memory. Of one operation: each constant of a part would wait for hundreds.
            done = tf.group(*(value for value in tf.nest.flatten(total) if value is not None))
            with tf.control_dependencies([done]):
                part = self._gradients(_part(batch, number, count), objectives)
                total = tf.nest.map_structure(_sum, total, part)
        losses, gradients = total
        losses = tf.nest.map_structure(lambda loss: loss / count, losses)
        norms = {}
        for objective in objectives:
            variables = self.method.objective_variables(objective)
            of_all = tf.linalg.global_norm(gradients[objective])
            norms[objective] = of_all * self.strategy.num_replicas_in_sync
            self.optimizers[objective].apply_gradients(zip(gradients[objective], variables, strict=True))
        return losses, norms

    def _gradients(self, batch, objectives):
        """(losses, {objective: its share of the whole batch's gradients}) of this replica's part of a batch."""
        shares = self.strategy.num_replicas_in_sync * self.config.gradient_accumulation
        losses, found = self.method.compute_losses(batch), {}
        for objective in objectives:
            total = tf.add_n(list(losses[objective].values())) / shares
            variables = [v.value for v in self.method.objective_variables(objective)]
            found[objective] = tf.gradients(total, variables)
        return losses, found

    def _step_function(self, objectives):
        """The compiled step that updates the given objectives: distributed batch -> mean losses, gradient norms."""

        @tf.function(autograph=False)
        def step(batch):
            self.method.advance_spectral_norms()
            found = self.strategy.run(self._replica_step, (batch, objectives))
            self._update_ema()
            self.step.assign_add(1)
            return tf.nest.map_structure(lambda x: self.strategy.reduce("MEAN", x, axis=None), found)

        return step

    def _update_ema(self):
        named = named_variables(self.method)
        for name, average in self.ema.items():
            average.assign_sub((1 - self.config.ema_decay) * (average - named[name].value))

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, dict[str, tf.Tensor]]:
        """One optimisation step on a distributed batch; {objective: {loss: tensor}}."""
        step = self.steps_done
        for objective, rate in self.rates(step).items():
            self.optimizers[objective].learning_rate = rate
        losses, norms = self._step_for(step)(batch)
        self.gradient_norms |= norms
        return losses

    def _step_for(self, step):
        """The compiled step for the objectives that are due."""
        objectives = self._moved(step)
        if objectives not in self._functions:
            self._functions[objectives] = self._step_function(objectives)
        return self._functions[objectives]

    def _moved(self, step):
        """Names of the objectives that a step moves."""
        return tuple(n for n, o in self.objectives.items() if o.period and step % o.period == 0)

    def rates(self, step: int) -> dict[str, float]:
        """{objective: learning rate} at a step."""
        epoch = schedule_epoch(self.config, step, self.steps_per_epoch)
        return {name: objective.rate(epoch) for name, objective in self.objectives.items()}

    def check(self) -> None:
        """Traces the next step: what no batch of this shape can be computed for ends here, before any file is there."""
        filtering = keras.config.is_traceback_filtering_enabled()
        keras.config.disable_traceback_filtering()  # which would put all arguments of a layer into the message
        try:
            self._step_for(self.steps_done).get_concrete_function(self.batches().element_spec)
        finally:
            if filtering:
                keras.config.enable_traceback_filtering()

    # The loop

    def batches(self) -> Any:
        """Distributed batches from the current step on."""
        first, size = self.steps_done, self.config.batch_size

        def local(context):
            share = (context.input_pipeline_id, context.num_input_pipelines)
            shared = {"share": share} if share[1] > 1 else {}  # each worker reads its own rows only
            stream = self.dataset.batches(size, first_step=first, **shared)
            per_replica = size // self.strategy.num_replicas_in_sync
            return (
                stream if per_replica * share[1] == size else stream.rebatch(per_replica, drop_remainder=True)
            )

        return self.strategy.distribute_datasets_from_function(local)

    def fit(self) -> int:
        """Trains to the end; returns 0, or 128 + the signal's number when told to stop (state is saved)."""
        config = self.config
        first = self.steps_done
        if first >= self.total:
            logging.info(
                "%s is trained already (%d steps); --total_steps N goes on", config.checkpoint_dir, first
            )
            return 0
        for line in (young_averages(config.ema_decay, self.total), self._profiler.missed(first)):
            if line:
                logging.warning("%s", line)
        monitor = Monitor(config, self.total, first, self.is_chief, self.method.loss_texts)
        monitor.describe_run()
        previous = {s: signal.signal(s, self._on_signal) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            with without_remapper():
                self._loop(monitor, first)
        finally:
            self._profiler.close()
            for number, handler in previous.items():
                signal.signal(number, handler)
            monitor.close()
        if self._stop:
            logging.info("stopped at step %d of %d; the same command goes on", self.steps_done, self.total)
        return 128 + self._stop if self._stop else 0

    def _loop(self, monitor, first):
        config, previews = self.config, Previews(self.method, self.dataset)
        batches = iter(self.batches())
        for step in range(first + 1, self.total + 1):
            losses = self._shown_step(step, batches, monitor)
            monitor.advance()
            last = step == self.total
            if step % config.print_info_freq == 0 or last:
                values = tf.nest.map_structure(float, losses)
                norms = tf.nest.map_structure(float, self.gradient_norms)
                monitor.scalars(step, values, self.rates(step - 1), norms)
            if step % config.save_img_freq == 0 or last:
                monitor.pictures(step, previews(), previews.diagrams)
            saved = step % config.save_model_freq == 0 or last or bool(self._stop)
            if saved:
                with monitor.progress.waiting("saving a checkpoint"):
                    self._save(step)
            due = [hook for hook in self.hooks if last or hook.is_due(step, self.steps_per_epoch)]
            if due:  # every worker takes part in this; the chief alone looks at the result
                self._recalibrate(step)
            for hook in due if self.is_chief else ():
                with monitor.progress.waiting("scoring held-out pictures"):
                    monitor.figures(step, hook(step, self.method, self.ema))
            if self._stop:
                if not saved:  # the signal came after that, perhaps during minutes of scoring
                    self._save(step)
                return

    def _shown_step(self, step, batches, monitor):
        """train_step on the next batch, profiled if asked for; a first one says why it takes long."""
        moved = self._moved(step - 1)
        new = moved not in self._ran
        self._ran.add(moved)
        text = "preparing networks (up to a minute)" if new else ""
        with self._profiler.around(step), monitor.progress.waiting(text) if new else nullcontext():
            return self.train_step(next(batches))

    def _save(self, step):
        """Writes a checkpoint; never one of broken weights, so the last one stays sound."""
        for name, variable in named_variables(self.method).items():
            if not np.isfinite(variable.numpy()).all():
                raise ValueError(not_finite(step, name, self.config))
        if (
            not self._stop or step >= self.total
        ):  # who stops a run waits for its files; a later start makes up for it
            self._recalibrate(step)
        self.checkpoints.save(step)

    def _on_signal(self, number, _frame):
        self._stop = number
        if self.is_chief:  # written at once: the step and its checkpoint may take some seconds
            text = (
                f"\nstopping: this step ends and its checkpoint is written to {self.config.checkpoint_dir}\n"
            )
            os.write(2, os.fsencode(text))


def _part(batch, number, count):
    """Part `number` (int or scalar tensor) of `count` of a batch; the batch itself where it is the only one."""
    if count == 1:
        return batch
    return tf.nest.map_structure(lambda rows: tf.stack(tf.split(rows, count))[number], batch)


def _sum(first, second):
    """Of two losses or gradients; None for variables that no loss depends on."""
    return None if first is None else tf.add_n([first, second])
