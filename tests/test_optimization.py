"""Adam against PyTorch's form in NumPy, and known learning rates."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from semantic_synthesis.methods import make_config
from semantic_synthesis.methods.conditional_gan import ConditionalGAN
from semantic_synthesis.methods.method import Objective
from semantic_synthesis.training.optimizer import Adam, make_optimizer, schedule_epoch, total_steps


def pytorch_adam(value, gradients, rates, beta1, beta2, epsilon=1e-8):
    """torch.optim.Adam (its documentation's algorithm, no weight decay), float64."""
    m, v, value = 0.0, 0.0, value.astype(np.float64)
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        gradient = gradient.astype(np.float64)
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        value = value - rate * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + epsilon)
    return value


@pytest.mark.parametrize("beta1, beta2", [(0.0, 0.9), (0.5, 0.999)])
@pytest.mark.parametrize("traced", [False, True])
def test_adam_is_pytorchs(beta1, beta2, traced):
    rng = np.random.default_rng(1)
    rates = [0.1, 0.1, 0.05, 0.2, 0.01]
    # Gradients near epsilon tell where it is added, and a zero one that nothing divides by zero.
    scales = [np.array([1, 1e-3, 1e-7, 1e-8, 0]), np.array([[2e-8, 5.0]])]
    starts = [rng.normal(size=scale.shape).astype(np.float32) for scale in scales]
    gradients = [[np.float32(rng.normal(size=scale.shape) * scale) for _ in rates] for scale in scales]
    variables = [keras.Variable(start) for start in starts]
    optimizer = Adam(beta1, beta2, "adam")
    optimizer.build(variables)

    def step(*given):
        optimizer.apply_gradients(zip(given, variables, strict=True))

    step = tf.function(step) if traced else step
    for rate, *given in zip(rates, *gradients, strict=True):
        optimizer.learning_rate = rate
        step(*(tf.constant(gradient) for gradient in given))
    for variable, start, given in zip(variables, starts, gradients, strict=True):
        expected = pytorch_adam(start, given, rates, beta1, beta2)
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, atol=1e-6)
        assert np.abs(expected - start)[scales[0] > 0 if start.ndim == 1 else ...].min() > 1e-3


def test_state_for_checkpoints_is_whole():
    """Two variables of one Keras name keep two pairs of moments."""
    variables = [keras.Variable(np.zeros(n, np.float32), name="kernel") for n in (2, 3)]
    optimizer = Adam(0.0, 0.9, "adam")
    optimizer.build(variables)
    optimizer.apply_gradients([(tf.ones(2), variables[0]), (tf.fill([3], 2.0), variables[1])])
    state = {
        name: variable.numpy() for name, variable in optimizer.named_state(["a/kernel", "b/kernel"]).items()
    }
    assert state.pop("iterations") == 1
    expected = {"a/kernel/momentum": [1, 1], "a/kernel/velocity": [0.1, 0.1]}
    expected |= {"b/kernel/momentum": [2, 2, 2], "b/kernel/velocity": [0.4, 0.4, 0.4]}
    assert state.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(state[name], values, rtol=1e-6)


def test_betas():
    def betas(**options):
        optimizer = make_optimizer(objectives(make_config(**options))["generator"], "generator")
        return optimizer.beta_1, optimizer.beta_2

    assert betas() == (0.0, 0.9)
    assert betas(no_TTUR=True) == (0.5, 0.999)
    assert betas(beta1=0.3) == (0.3, 0.9)
    assert betas(no_TTUR=True, beta1=0.0, beta2=0.99) == (0.0, 0.99)


def objectives(config):
    """Those of SPADE's family, without its networks."""
    parts = SimpleNamespace(config=config, fc=None, generator=None, encoder=None, discriminator=None)
    found = ConditionalGAN.objectives(parts)
    assert all(isinstance(one, Objective) for one in found.values())
    return found


def rates(config, steps, steps_per_epoch=4):
    return [
        [objective.rate(schedule_epoch(config, step, steps_per_epoch)) for step in steps]
        for objective in objectives(config).values()
    ]


def test_rates_by_epochs():
    config = make_config(total_epochs=10, decay_epoch=5, lr=0.4)
    assert total_steps(config, 4) == 40
    generator, discriminator = rates(config, [0, 19, 20, 30, 35, 39, 40])
    np.testing.assert_allclose(generator, [0.2, 0.2, 0.2, 0.1, 0.05, 0.01, 0], atol=1e-15)
    np.testing.assert_allclose(discriminator, [0.8, 0.8, 0.8, 0.4, 0.2, 0.04, 0], atol=1e-15)
    same = rates(config.replace(no_TTUR=True), [0, 30])
    np.testing.assert_allclose(same, [[0.4, 0.2], [0.4, 0.2]])


def test_rates_by_steps():
    config = make_config(total_epochs=200, decay_epoch=100, total_steps=100, lr=0.4)
    assert total_steps(config, 4) == 100
    np.testing.assert_allclose(rates(config, [0, 50, 75, 99])[0], [0.2, 0.2, 0.1, 0.004])
    never = config.replace(decay_epoch=300)
    np.testing.assert_allclose(rates(never, [0, 99])[0], [0.2, 0.2])
    at_once = config.replace(decay_epoch=0)
    np.testing.assert_allclose(rates(at_once, [0, 50])[0], [0.2, 0.1])


def test_lengths():
    assert total_steps(make_config(total_epochs=3), 2.5) == 8  # 7.5 rounds to even
    assert total_steps(make_config(total_epochs=1), 0.1) == 1
