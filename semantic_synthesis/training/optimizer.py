"""Adam in PyTorch's form and the place of a step in a run's schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

if TYPE_CHECKING:
    from semantic_synthesis.config import Config
    from semantic_synthesis.methods.method import Objective


class Adam(keras.optimizers.Adam):
    """Adam with epsilon added after bias correction: lr * m_hat / (sqrt(v_hat) + 1e-8).

    Keras adds epsilon before the correction, which makes early steps smaller. Gradients of replicas are
    summed, so losses are divided by the number of replicas beforehand.
    """

    def __init__(self, beta1: float, beta2: float, name: str) -> None:
        super().__init__(learning_rate=0.0, beta_1=beta1, beta_2=beta2, epsilon=1e-8, name=name)

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        """One fused operation; a scaled epsilon turns its form of Adam into PyTorch's."""
        step = tf.cast(self.iterations + 1, tf.float32)
        index = self._get_variable_index(variable)
        beta2_power = tf.pow(self.beta_2, step)
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=_handle(self._momentums[index]),
            v=_handle(self._velocities[index]),
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=beta2_power,
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon * tf.sqrt(1 - beta2_power),
            grad=tf.convert_to_tensor(gradient),
        )

    def named_state(self, names: Sequence[str]) -> dict[str, tf.Variable]:
        """{name: tf.Variable} of the step counter and both moments, for checkpoints.

        names: those of the variables built for, in their order (Keras' own names of moments repeat).
        """
        state = {"iterations": self.iterations.value}
        for name, momentum, velocity in zip(names, self._momentums, self._velocities, strict=True):
            state |= {f"{name}/momentum": momentum.value, f"{name}/velocity": velocity.value}
        return state


def _handle(variable):
    """The resource of a Keras or TensorFlow variable, of the current replica where it is mirrored."""
    return getattr(variable, "value", variable).handle if hasattr(variable, "path") else variable.handle


def make_optimizer(objective: Objective, name: str) -> Adam:
    """The Adam of a methods.method.Objective; its learning rate is set at every step."""
    return Adam(objective.betas[0], objective.betas[1], f"adam_{name}")


def total_steps(config: Config, steps_per_epoch: float) -> int:
    """Training length in steps."""
    return config.total_steps or max(1, round(config.total_epochs * steps_per_epoch))


def schedule_epoch(config: Config, step: int, steps_per_epoch: float) -> float:
    """The epoch (float) whose learning rate holds at a step: total_epochs at the last step.

    With total_steps the schedule is stretched or pressed to that length.
    """
    return step / total_steps(config, steps_per_epoch) * max(config.total_epochs, 1)
