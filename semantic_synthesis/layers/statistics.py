"""Parameter-free (and optionally affine) batch and instance normalisation.

Both answer two questions: `affine(x)` gives the pair (a, b) with normalised = x * a + b, so that a
normaliser can fold them into its own scale and shift; calling the layer applies them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from semantic_synthesis.layers.convolution import add_array

if TYPE_CHECKING:
    from semantic_synthesis.layers.initialization import Initializer

EPSILON = 1e-5
MOMENTUM = 0.1  # PyTorch's sense: share of the new value


class InstanceNorm(keras.layers.Layer):
    """(x - mean) / sqrt(var + 1e-5) per sample and channel, biased variance, no statistics kept.

    Call: x [B,H,W,F] -> same shape and dtype; statistics in float32.
    """

    per_sample = True

    def __init__(self, channels: int | None, name: str | None = None) -> None:
        super().__init__(name=name, autocast=False)
        self.built = True

    def affine(self, x: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """float32 (a, b), each [B,1,1,F]."""
        mean, variance = self._statistics(x)
        a = tf.math.rsqrt(variance + EPSILON)
        return a, -mean * a

    @staticmethod
    def _statistics(x):
        return tf.nn.moments(tf.cast(x, tf.float32), [1, 2], keepdims=True)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        # Not x * a + b: that loses digits where the mean is large against the spread.
        mean, variance = self._statistics(x)
        return tf.cast((tf.cast(x, tf.float32) - mean) * tf.math.rsqrt(variance + EPSILON), x.dtype)


class BatchNorm(keras.layers.Layer):
    """(x - mean) / sqrt(var + 1e-5) over batch, height and width of all replicas.

    Training uses the batch's biased variance and moves the running mean and the running (unbiased)
    variance by a tenth; inference uses the running values. `trainable_affine` adds a scale and a
    shift per channel, `synchronized=False` keeps statistics to one replica.
    Call: x [B,H,W,F] -> same shape and dtype; statistics in float32.
    """

    per_sample = False

    def __init__(
        self,
        channels: int,
        trainable_affine: bool = False,
        synchronized: bool = True,
        init: Initializer | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, autocast=False, dtype="float32")
        self.synchronized = synchronized
        self.moving_mean = add_array(self, "moving_mean", np.zeros(channels, np.float32), False)
        self.moving_variance = add_array(self, "moving_variance", np.ones(channels, np.float32), False)
        self.gamma: Any = None
        self.beta: Any = None
        if trainable_affine:
            init = init or Initializer()
            self.gamma = add_array(self, "gamma", 1 + init.normal((channels,), 0.02))
            self.beta = add_array(self, "beta", np.zeros(channels, np.float32))
        self.built = True

    def affine(self, x: tf.Tensor | None, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """float32 (a, b), each [F]."""
        if training:
            mean, variance = self._batch_statistics(tf.cast(x, tf.float32))
        else:
            mean, variance = self.moving_mean.value, self.moving_variance.value
        a = tf.math.rsqrt(variance + EPSILON)
        b = -mean * a
        if self.gamma is not None:
            a, b = a * self.gamma.value, b * self.gamma.value + self.beta.value
        return a, b

    def _batch_statistics(self, x):
        """Mean and biased variance [F] over all replicas; moves the running values."""
        count = tf.cast(tf.size(x) // x.shape[-1], tf.float32)
        mean, variance = tf.nn.moments(x, [0, 1, 2])
        replica = tf.distribute.get_replica_context()
        replicas = replica.num_replicas_in_sync if replica and self.synchronized else 1
        if x.shape.is_fully_defined() and math.prod(x.shape[:-1]) * replicas < 2:
            raise ValueError(
                "batch norm over one value per channel (one sample, features of 1x1 cells) would leave "
                "nothing of it; expected more: a larger --batch_size or --crop_size, less --gradient_accumulation, or "
                "another norm"
            )
        if replicas > 1:  # replicas hold equally many values, so means of means are exact
            local = mean
            mean = replica.all_reduce(tf.distribute.ReduceOp.SUM, local) / replicas
            spread = variance + tf.square(local - mean)
            variance = replica.all_reduce(tf.distribute.ReduceOp.SUM, spread) / replicas
        unbiased = variance * (count * replicas / (count * replicas - 1.0))
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, unbiased)
        return mean, variance

    @staticmethod
    def _move(variable, value):
        value = tf.stop_gradient(value)
        variable.assign(variable.value * (1 - MOMENTUM) + value * MOMENTUM)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        a, b = self.affine(x, training)
        return tf.cast(tf.cast(x, tf.float32) * a + b, x.dtype)
