"""What a training run shows: TensorBoard scalars, texts and pictures, PNG samples, a progress line."""

from __future__ import annotations

import contextlib
import math
import os
import time
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.plugins.hparams import api as hparams

from semantic_synthesis import storage
from semantic_synthesis.checkpoint_files import as_os_errors
from semantic_synthesis.files import make_folder
from semantic_synthesis.options import options_of
from semantic_synthesis.pictures import contact_sheet, write_png
from semantic_synthesis.training.progress import Progress

BESIDE = "beside_each_other"
PICTURES = {
    "input_label": "The label maps, in the colours of the class table.",
    "synthesized_image": "Pictures of these label maps by the current weights; where an encoder is trained, in the "
    "styles of the photos, so that they should look like these.",
    "random_style": "Pictures of the same label maps in random styles, which stay the same during the training.",
    "real_image": "The photos of these label maps.",
}

if TYPE_CHECKING:
    import numpy as np

    from semantic_synthesis.config import Config


class Monitor:
    """Writes summaries; every value's step is the global step.

    Tags: loss/<objective>/<term>, optimizer/learning_rate/<objective>, optimizer/gradient_norm/<objective>,
    throughput/images_per_second, evaluation/<metric>, pictures/<column>, run/options.
    loss_texts {term: what it is}; active=False (workers other than the chief) shows and writes nothing.
    """

    def __init__(
        self,
        config: Config,
        total: int,
        first: int,
        active: bool = True,
        loss_texts: Mapping[str, str] | None = None,
    ) -> None:
        self.config, self.active, self.first = config, active, first
        self._loss_texts = loss_texts or {}
        self._since, self._count = time.monotonic(), 0
        self.progress = Progress(total, first, active)
        self.writer = None
        if active:
            for folder in (config.results_folder, config.log_folder):
                make_folder(folder)
            with as_os_errors(config.log_folder):
                self.writer = tf.summary.create_file_writer(config.log_folder)
                _start_session(self.writer, first + 1)

    def describe_run(self) -> None:
        """Writes the options: all as text, those that decide what is learned as HParams."""
        if not self.active:
            return
        with self._writing(self.first):
            tf.summary.text("run/options", options_table(self.config), description="All options of this run.")
            where = storage.absolute(self.config.checkpoint_dir)
            trial = f"{os.path.basename(where)}-{zlib.crc32(os.fsencode(where)):08x}"  # the same when it is resumed
            hparams.hparams(compared_options(self.config), trial_id=trial)

    def scalars(
        self,
        step: int,
        losses: Mapping[str, Mapping[str, float]],
        rates: Mapping[str, float],
        norms: Mapping[str, float] | None = None,
    ) -> None:
        """losses {objective: {name: float}}, rates and norms {objective: float}; ValueError on NaN or infinity."""
        broken = [
            name for terms in losses.values() for name, value in terms.items() if not math.isfinite(value)
        ]
        if broken:
            raise ValueError(not_finite(step, f"loss {', '.join(broken)}", self.config))
        if not self.active:
            return
        speed = self._count * self.config.batch_size / max(time.monotonic() - self._since, 1e-9)
        self._since, self._count = time.monotonic(), 0
        with self._writing(step):
            for objective, terms in losses.items():
                for name, value in terms.items():
                    text = self._loss_texts.get(
                        name, f"The term {name} of what {objective} minimises, weighted."
                    )
                    tf.summary.scalar(f"loss/{objective}/{name}", value, description=text)
            for objective, rate in rates.items():
                text = f"Learning rate of {objective} in this step."
                tf.summary.scalar(f"optimizer/learning_rate/{objective}", rate, description=text)
            for objective, norm in (norms or {}).items():
                text = (
                    f"Length of the gradient of all weights of {objective} in its last step; with several devices "
                    "the mean of theirs, each for its share of the batch."
                )
                tf.summary.scalar(f"optimizer/gradient_norm/{objective}", norm, description=text)
            text = "Training pictures per second since the value before, all devices together."
            tf.summary.scalar("throughput/images_per_second", speed, description=text)
        totals = {objective: f"{sum(terms.values()):.4g}" for objective, terms in losses.items()}
        self.progress.show(step, {"pictures/s": f"{speed:.1f}", **totals})

    def pictures(
        self, step: int, columns: dict[str, np.ndarray], diagrams: dict[str, np.ndarray] | None = None
    ) -> None:
        """columns {name: uint8 [B,H,W,3]}: one PNG, rows of samples, and TensorBoard images.

        diagrams {"KIND/COLUMN": uint8 [B,H,W,3]}: a sheet per kind, in TensorBoard alone.
        """
        if not self.active:
            return
        sheet = contact_sheet(list(columns.values()), names=list(columns))
        path = os.path.join(self.config.results_folder, f"step_{step:07d}.png")
        write_png(path, sheet)
        with self._writing(step):
            text = f"A sample in each row; from left to right: {', '.join(columns)}."
            tf.summary.image(f"pictures/{BESIDE}", sheet[None], description=text)
            for name, images in columns.items():
                tf.summary.image(f"pictures/{name}", images, max_outputs=4, description=PICTURES.get(name))
            kinds: dict[str, dict[str, np.ndarray]] = {}
            for name, images in (diagrams or {}).items():
                kind, column = name.split("/")
                kinds.setdefault(kind, {})[column] = images
            for kind, parts in kinds.items():
                text = f"A sample in each row; from left to right: {', '.join(parts)}."
                tf.summary.image(
                    f"diagrams/{kind}",
                    contact_sheet(list(parts.values()), names=list(parts))[None],
                    description=text,
                )

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        """values {name: float} of an evaluation, as evaluation/<name>."""
        if not self.active:
            return
        with self._writing(step):
            for name, value in values.items():
                text = "Score of pictures of held-out label maps, as the command evaluate gives it."
                tf.summary.scalar(f"evaluation/{name}", value, description=text)

    @contextlib.contextmanager
    def _writing(self, step):
        with as_os_errors(self.config.log_folder), self.writer.as_default(step=step):
            yield

    def advance(self) -> None:
        """One step done."""
        self._count += 1
        self.progress.advance()

    def close(self) -> None:
        """Flushes everything to disk."""
        self.progress.close()
        if self.writer:
            with as_os_errors(self.config.log_folder):
                self.writer.close()


def options_table(config: Config) -> str:
    """All options of a run as a Markdown table, those that differ from the defaults first."""
    rows = {True: [], False: []}
    for name, one in options_of(config).items():
        value = getattr(config, name)
        changed = value != one.default
        texts = [str(text).replace("|", "\\|") for text in (value, one.default)]
        rows[changed].append(f"| {f'**{name}**' if changed else name} | {texts[0]} | {texts[1]} |")
    return "\n".join(["| option | value | default |", "|---|---|---|", *rows[True], *rows[False]])


def compared_options(config: Config) -> dict[str, bool | int | float | str]:
    """{option: value} of what decides what is learned, for TensorBoard's HParams."""
    found = {}
    for name, one in options_of(config).items():
        value = getattr(config, name)
        if one.metadata["role"] != "run" and value not in (None, ""):
            found[name] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return found


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
