"""What a training run shows: TensorBoard scalars and pictures, PNG samples, a progress bar."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tqdm import tqdm

from semantic_synthesis.checkpoint_files import as_os_errors
from semantic_synthesis.pictures import contact_sheet, write_png

if TYPE_CHECKING:
    import numpy as np

    from semantic_synthesis.config import Config


class Monitor:
    """Writes summaries; every value's step is the global step.

    active=False (workers other than the chief) shows and writes nothing.
    """

    def __init__(self, config: Config, total: int, first: int, active: bool = True) -> None:
        self.config, self.active = config, active
        self._since, self._count = time.monotonic(), 0
        self.bar = tqdm(total=total, initial=first, unit="step", dynamic_ncols=True, disable=not active)
        self.writer = None
        if active:
            for folder in (config.results_folder, config.log_folder):
                os.makedirs(folder, exist_ok=True)
            with as_os_errors(config.log_folder):
                self.writer = tf.summary.create_file_writer(config.log_folder)
                _start_session(self.writer, first + 1)

    def scalars(
        self, step: int, losses: Mapping[str, Mapping[str, float]], rates: Mapping[str, float]
    ) -> None:
        """losses {objective: {name: float}}, rates {objective: float}; ValueError on NaN or infinity."""
        flat = {name: value for terms in losses.values() for name, value in terms.items()}
        broken = [name for name, value in flat.items() if not math.isfinite(value)]
        if broken:
            raise ValueError(not_finite(step, f"loss {', '.join(broken)}", self.config))
        if not self.active:
            return
        speed = self._count * self.config.batch_size / max(time.monotonic() - self._since, 1e-9)
        self._since, self._count = time.monotonic(), 0
        with self._writing(step):
            for name, value in flat.items():
                tf.summary.scalar(name, value)
            for objective, rate in rates.items():
                tf.summary.scalar(f"learning_rate/{objective}", rate)
            tf.summary.scalar("images_per_second", speed)
        shown = {name: f"{value:.3f}" for name, value in flat.items()}
        self.bar.set_postfix(**shown, images_per_s=f"{speed:.1f}", refresh=False)

    def pictures(self, step: int, columns: dict[str, np.ndarray]) -> None:
        """columns {name: uint8 [B,H,W,3]}: one PNG, rows of samples, and TensorBoard images."""
        if not self.active:
            return
        sheet = contact_sheet(list(columns.values()))
        path = os.path.join(self.config.results_folder, f"step_{step:07d}.png")
        write_png(path, sheet)
        with self._writing(step):
            for name, images in columns.items():
                tf.summary.image(name, images, max_outputs=4)

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        """values {name: float} of an evaluation, as eval/<name>."""
        if not self.active:
            return
        with self._writing(step):
            for name, value in values.items():
                tf.summary.scalar(f"eval/{name}", value)

    @contextlib.contextmanager
    def _writing(self, step):
        with as_os_errors(self.config.log_folder), self.writer.as_default(step=step):
            yield

    def advance(self) -> None:
        """One step done."""
        self._count += 1
        self.bar.update(1)

    def close(self) -> None:
        """Flushes everything to disk."""
        self.bar.close()
        if self.writer:
            with as_os_errors(self.config.log_folder):
                self.writer.close()


def _start_session(writer, step):
    """Tells TensorBoard that steps from this one on begin anew: what a killed run wrote of them is not shown."""
    event = Event(
        session_log=SessionLog(status=SessionLog.START), step=step, wall_time=time.time()
    ).SerializeToString()
    # TensorFlow has no public way to give a writer a whole event; a file of its own might be read after the writer's.
    tf.raw_ops.ImportEvent(writer=writer._resource, event=event)
    writer.flush()


def not_finite(step: int, what: str, config: Config) -> str:
    """The error line for a loss or a weight that is NaN or infinite."""
    return (
        f"step {step}: {what} is not finite; lower --lr, or use --precision float32; "
        f"the last checkpoint in {config.checkpoint_dir} is sound"
    )
