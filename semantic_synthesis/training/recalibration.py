"""Batch statistics of averaged weights, measured instead of averaged.

Weights that are averages of many steps see other activations than those whose running statistics were averaged
along. Here the batch normalisations of a model get the plain means over some batches of what training would normalise
by (as Schönfeld et al., ICLR 2021, do before they look at averaged weights, there with running values).
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from semantic_synthesis.layers.statistics import MOMENTUM


def measure_statistics(statistics: Sequence[tf.Variable], run: Callable, batches: Any) -> None:
    """Gives running statistics the means over batches of the statistics of each batch.

    statistics: tf.Variables that a forward pass in training moves by MOMENTUM of the way to the batch's;
    run(batch): that forward pass; batches: iterable.
    """
    sums, count = [0.0] * len(statistics), 0
    for batch in batches:
        for variable in statistics:
            variable.assign(tf.zeros_like(variable))
        run(batch)
        sums = [s + v.numpy() / MOMENTUM for s, v in zip(sums, statistics, strict=True)]
        count += 1
    for variable, total in zip(statistics, sums, strict=True):
        variable.assign(total / count)
