"""The training loop: strategy, optimisers, schedule, checkpoints, summaries. It knows no method."""

from __future__ import annotations

import itertools
import os
import signal
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from absl import logging

from semantic_synthesis.checkpoint_files import CheckpointWriter, newest_checkpoint, remove_leftovers
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.pictures import to_uint8
from semantic_synthesis.runs import (
    WEIGHTS_FILE,
    build_method,
    checkpoint_variables,
    load_weights,
    settle_averages,
    stored_averages,
)
from semantic_synthesis.training.monitoring import Monitor, not_finite
from semantic_synthesis.training.optimizer import make_optimizer, schedule_epoch, total_steps
from semantic_synthesis.training.recalibration import measure_statistics

if TYPE_CHECKING:
    from semantic_synthesis.config import Config
    from semantic_synthesis.data.pipeline import Dataset

KEPT_CHECKPOINTS = 3
_PREVIEWS = 4


def make_strategy(distribute: str) -> tf.distribute.Strategy:
    """The tf.distribute strategy of --distribute; for multi_worker call it before anything else."""
    if distribute == "multi_worker":
        if "TF_CONFIG" not in os.environ:
            raise ValueError(
                "--distribute multi_worker: TF_CONFIG is not set; expected JSON with cluster and task, "
                "see docs/training.md"
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    if distribute == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        if len(devices) > 1:
            return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes files (always, but for multi_worker)."""
    resolver = strategy.cluster_resolver
    if resolver is None:
        return True
    return resolver.task_id in (None, 0) and resolver.task_type in (None, "chief", "worker")


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
        replicas = strategy.num_replicas_in_sync
        if config.batch_size % replicas:
            raise ValueError(
                f"--batch_size {config.batch_size} does not divide over {replicas} devices; use a multiple"
            )
        self.hooks = hooks
        self.steps_per_epoch = max(dataset.size / config.batch_size, 1e-9)
        self.total = total_steps(config, self.steps_per_epoch)
        with strategy.scope():
            self.method = build_method(config)
            self.objectives = self.method.objectives()
            self.optimizers = {}
            for name, objective in self.objectives.items():
                self.optimizers[name] = make_optimizer(objective, name)
                self.optimizers[name].build(self.method.objective_variables(name))
            self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
            self.ema = self._make_ema()
        self._stop = self._recalibrated = None
        self._functions = {}
        self._open_checkpoints()

    # State

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
        newest = newest_checkpoint(folder)
        if newest:
            try:
                self._restore(newest, state)
            except (AssertionError, IndexError, tf.errors.OpError) as error:  # IndexError: a file cut short
                reason = str(error).splitlines()[0]
                raise ValueError(
                    f"{newest}: does not fit this run ({reason}); damaged file or other options; delete its "
                    "files to use an older one"
                ) from None
            logging.info("resuming %s at step %d", newest, self.steps_done)
        elif os.path.exists(os.path.join(folder, WEIGHTS_FILE)):
            self._start_from(folder)
        elif self.config.init_from:
            self._start_from(self.config.init_from)
        if not self.is_chief:  # every worker takes part in saving; only the chief's files count
            self._scratch = tempfile.TemporaryDirectory(prefix="worker-checkpoints-")
            folder = self._scratch.name
        else:
            os.makedirs(folder, exist_ok=True)
            remove_leftovers(folder)
        self.checkpoints = CheckpointWriter(
            tf.train.Checkpoint(**state, ema=self.ema), folder, KEPT_CHECKPOINTS
        )

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

    @property
    def steps_done(self) -> int:
        """Steps trained so far."""
        return int(self.step.numpy())  # a variable mirrored over devices is no number itself

    @property
    def is_chief(self) -> bool:
        """Whether this process writes files (always, but for multi_worker)."""
        return is_chief(self.strategy)

    def _recalibrate(self, step):
        """Replaces the averages of running statistics by what training batches have under the averaged weights.

        The batches are those of the steps after this one and the old averages do not matter, so that a resumed run
        arrives at the same numbers. The model itself is as before afterwards.
        """
        count = self.config.recalibration_batches
        if not (self.ema and count) or self._recalibrated == step:
            return
        named = named_variables(self.method)
        before = {name: variable.numpy() for name, variable in named.items()}
        for name, average in self.ema.items():
            named[name].assign(average.value())
        settle_averages(self.method, {id(named[name]) for name in self.ema})
        moving = [name for name in self.ema if not named[name].trainable]
        batches = itertools.islice(iter(self.batches()), count)
        measure_statistics([named[name].value for name in moving], self._forward, batches)
        for name in moving:
            self.ema[name].assign(named[name].numpy())
        for name, variable in named.items():
            variable.assign(before[name])
        self._recalibrated = step

    @tf.function(autograph=False)
    def _forward(self, batch):
        """A forward pass for its running statistics alone; what else the losses take is not run."""
        self.strategy.run(self.method.compute_losses, (batch,))

    # One step

    def _replica_step(self, batch, objectives):
        # Symbolic gradients, not a tape: two objectives over one forward pass would need a persistent
        # tape, and under one TensorFlow cannot differentiate tf.cond around a custom gradient.
        replicas = self.strategy.num_replicas_in_sync
        losses = self.method.compute_losses(batch)
        updates = []
        for objective in objectives:
            total = tf.add_n(list(losses[objective].values())) / replicas
            variables = self.method.objective_variables(objective)
            updates.append((tf.gradients(total, [v.value for v in variables]), variables))
        for objective, (gradients, variables) in zip(objectives, updates, strict=True):
            self.optimizers[objective].apply_gradients(zip(gradients, variables, strict=True))
        return losses

    def _step_function(self, objectives):
        """The compiled step that updates the given objectives: distributed batch -> mean losses."""

        @tf.function(autograph=False)
        def step(batch):
            self.method.advance_spectral_norms()
            losses = self.strategy.run(self._replica_step, (batch, objectives))
            self._update_ema()
            self.step.assign_add(1)
            return tf.nest.map_structure(lambda x: self.strategy.reduce("MEAN", x, axis=None), losses)

        return step

    def _update_ema(self):
        named = named_variables(self.method)
        for name, average in self.ema.items():
            average.assign_sub((1 - self.config.ema_decay) * (average - named[name].value))

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, dict[str, tf.Tensor]]:
        """One optimisation step on a distributed batch; {objective: {loss: tensor}}."""
        step = self.steps_done
        objectives = tuple(n for n, o in self.objectives.items() if o.period and step % o.period == 0)
        for objective, rate in self.rates(step).items():
            self.optimizers[objective].learning_rate = rate
        if objectives not in self._functions:
            self._functions[objectives] = self._step_function(objectives)
        return self._functions[objectives](batch)

    def rates(self, step: int) -> dict[str, float]:
        """{objective: learning rate} at a step."""
        epoch = schedule_epoch(self.config, step, self.steps_per_epoch)
        return {name: objective.rate(epoch) for name, objective in self.objectives.items()}

    # The loop

    def batches(self) -> Any:
        """Distributed batches from the current step on."""
        first, size = self.steps_done, self.config.batch_size

        def local(context):
            share = size // context.num_input_pipelines
            start = context.input_pipeline_id * share
            stream = self.dataset.batches(size, first_step=first)
            if context.num_input_pipelines > 1:
                stream = stream.map(lambda batch: {k: v[start : start + share] for k, v in batch.items()})
            per_replica = size // self.strategy.num_replicas_in_sync
            return stream if per_replica == size else stream.rebatch(per_replica, drop_remainder=True)

        return self.strategy.distribute_datasets_from_function(local)

    def fit(self) -> int:
        """Trains to the end; returns 0, or 128 + the signal's number when told to stop (state is saved)."""
        config = self.config
        first = self.steps_done
        if first >= self.total:
            logging.info("%s is trained already (%d steps)", config.checkpoint_dir, first)
            return 0
        monitor = Monitor(config, self.total, first, self.is_chief)
        previous = {s: signal.signal(s, self._on_signal) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            self._loop(monitor, first)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            monitor.close()
        return 128 + self._stop if self._stop else 0

    def _loop(self, monitor, first):
        config, previews = self.config, self._previews()
        batches = iter(self.batches())
        for step in range(first + 1, self.total + 1):
            losses = self.train_step(next(batches))
            monitor.advance()
            last = step == self.total
            if step % config.print_info_freq == 0 or last:
                values = tf.nest.map_structure(float, losses)
                monitor.scalars(step, values, self.rates(step - 1))
            if step % config.save_img_freq == 0 or last:
                monitor.pictures(step, self._render(previews))
            if step % config.save_model_freq == 0 or last or self._stop:
                self._save(step)
            due = [hook for hook in self.hooks if last or hook.is_due(step, self.steps_per_epoch)]
            if due:  # every worker takes part in this; the chief alone looks at the result
                self._recalibrate(step)
            for hook in due if self.is_chief else ():
                monitor.figures(step, hook(step, self.method, self.ema))
            if self._stop:
                return

    def _save(self, step):
        """Writes a checkpoint; never one of broken weights, so the last one stays sound."""
        for name, variable in named_variables(self.method).items():
            if not np.isfinite(variable.numpy()).all():
                raise ValueError(not_finite(step, name, self.config))
        if not self._stop:  # who stops a run waits for its files
            self._recalibrate(step)
        self.checkpoints.save(step)

    def _on_signal(self, number, _frame):
        self._stop = number

    # Pictures

    def _previews(self):
        """The first samples of the dataset, unaugmented: what the sample pictures show at every step."""
        count = min(_PREVIEWS, self.dataset.size)
        return next(iter(self.dataset.batches(count, training=False)))

    def _render(self, batch):
        """{column: uint8 [B,H,W,3]}: label, picture by the current weights, photo."""
        layout = {key: batch[key] for key in ("label", "instance") if key in batch}
        fake = self._render_function(layout, batch["image"], batch["row"])
        label = self.dataset.table.colorize(batch["label"].numpy())
        real = to_uint8(batch["image"])
        return {"input_label": label, "synthesized_image": to_uint8(fake), "real_image": real}

    @tf.function(autograph=False)
    def _render_function(self, layout, image, row):
        return self.method.synthesize(layout, self.method.style_of(layout, row, image))
