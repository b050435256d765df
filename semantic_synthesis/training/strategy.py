"""Devices: the tf.distribute strategy of --distribute, who writes files, and what TensorFlow does to graphs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf


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


@contextmanager
def without_remapper() -> Iterator[None]:
    """TensorFlow's graph optimiser "remapper" off: it fails on gradients, says so as an error, and changes nothing."""
    before = tf.config.optimizer.get_experimental_options().get("remapping", True)
    tf.config.optimizer.set_experimental_options({"remapping": False})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"remapping": before})


def lost_worker(error: tf.errors.OpError) -> bool:
    """Whether an error of a step says that another worker of the training ended or cannot be reached."""
    gone = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    )
    return isinstance(error, gone) or "Collective ops is aborted" in (error.message or "")


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes files (always, but for multi_worker)."""
    resolver = strategy.cluster_resolver
    if resolver is None:
        return True
    return resolver.task_id in (None, 0) and resolver.task_type in (None, "chief", "worker")
