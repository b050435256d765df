"""--profile_steps: which operations take how long, for TensorBoard's profiler."""

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf
from absl import logging


class Profiler:
    """Records the steps "A-B" of a training of `total` steps into a folder; "" records nothing.

    Errors: ValueError for other texts, and for steps beyond the end.
    """

    def __init__(self, steps: str, folder: str, total: int) -> None:
        match = re.fullmatch(r"(\d+)-(\d+)", steps)
        if steps and (match is None or not 0 < int(match[1]) <= int(match[2])):
            raise ValueError(
                f"--profile_steps {steps}; expected the first and the last step, for example 100-105"
            )
        if match and int(match[1]) > total:
            raise ValueError(
                f"--profile_steps {steps}: this training ends at step {total}; expected steps up to there, or "
                "--profile_steps= for no profile"
            )
        self.folder = folder
        self.first, self.last = (int(match[1]), int(match[2])) if match else (0, 0)
        self._running = False

    def missed(self, done: int) -> str | None:
        """The line about steps that were trained before this start; None where some are still to come."""
        if not 0 < self.last <= done:
            return None
        return (
            f"--profile_steps {self.first}-{self.last}: this start goes on behind step {done} and records nothing; "
            "give later steps"
        )

    @contextlib.contextmanager
    def around(self, step: int) -> Iterator[None]:
        """What runs inside is one recorded step, if it is one of those asked for."""
        if not self.first <= step <= self.last:
            yield
            return
        if not self._running:
            tf.profiler.experimental.start(self.folder)
            self._running = True
        with tf.profiler.experimental.Trace("train", step_num=step, _r=1):
            yield
        if step == self.last:
            self.close()

    def close(self) -> None:
        """Writes what was recorded."""
        if self._running:
            self._running = False
            tf.profiler.experimental.stop()
            logging.info("profile of the steps up to %d in %s/plugins/profile", self.last, self.folder)
