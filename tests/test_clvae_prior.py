"""clVAE's fitted prior: known Gaussians come back, random styles have their moments, training fits it before saving."""

import numpy as np
import pytest
import tensorflow as tf
from conformance import make_trainer, networks
from helpers import conformance_options, tiny_config

from semantic_synthesis import runs
from semantic_synthesis.inference import load_run
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.methods.clvae.prior import fitted

D, K = 12, 2


def samples(count, rest, seed=0):
    """(factors [K,D], samples [M,D]) of a known Gaussian."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(K, D))
    return factors, 3.0 + rng.normal(size=(count, K)) @ factors + rest * rng.normal(size=(count, D))


def test_a_known_gaussian_comes_back():
    factors, means = samples(4000, 0.3)
    variances = np.full_like(means, 0.16)
    mean, found, rest = fitted(means, variances, np.ones(means.shape, bool), K)
    np.testing.assert_allclose(mean, 3.0, atol=0.1)
    np.testing.assert_allclose(found.T @ found, factors.T @ factors, atol=0.35)
    np.testing.assert_allclose(
        rest, np.sqrt(0.3**2 + 0.4**2), atol=0.06
    )  # what is left, and each photo's own doubt


def test_what_photos_do_not_show_is_filled_in_from_the_rest():
    factors, means = samples(2000, 0.05)
    present = np.random.default_rng(1).random(means.shape) < 0.6
    present[:, -1] = False
    hidden = np.where(present, means, 1e6)  # must not matter
    mean, found, rest = fitted(hidden, np.zeros_like(means), present, K)
    expected = factors.T @ factors
    np.testing.assert_allclose(
        (found.T @ found)[:-1, :-1], expected[:-1, :-1], atol=0.15 * abs(expected).max()
    )
    assert (mean[-1], rest[-1]) == (0, 1) and not found[:, -1].any()  # no photo decides it: standard normal


def test_fewer_photos_than_factors():
    mean, found, rest = fitted(np.ones((1, 3)), np.zeros((1, 3)), np.ones((1, 3), bool), K)
    assert mean.tolist() == [1, 1, 1] and not found.any() and not rest.any()


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prior") / "run"
    options = {"prior_factors": 3, "total_steps": 2, "save_model_freq": 2, "recalibration_batches": 1}
    made = make_trainer("clvae", folder, **options)
    made.fit()
    made.config.save(folder)
    return made


def test_training_fits_and_saves_it(trainer):
    """The run's random styles have the moments of the photos' styles under the averaged weights."""
    with networks():
        run = load_run(trainer.config.checkpoint_dir)
    prior = run.method.prior
    assert prior.rest.numpy().min() < 0.9999 and abs(prior.mean.numpy()).max() > 0
    style = run.sample_style(range(4000))
    expected_mean = prior.mean.numpy()[-4:]
    expected = np.sqrt((prior.factors.numpy()[:, -4:] ** 2).sum(0) + prior.rest.numpy()[-4:] ** 2)
    np.testing.assert_allclose(np.mean(style["z"], 0), expected_mean, atol=0.08)
    np.testing.assert_allclose(np.std(style["z"], 0), expected, rtol=0.06)


def test_the_rest_of_the_model_is_as_before(trainer):
    before = {n: v.numpy() for n, v in named_variables(trainer.method).items() if not n.startswith("prior/")}
    trainer._recalibrated = None
    trainer._recalibrate(2)
    for name, value in before.items():
        np.testing.assert_array_equal(named_variables(trainer.method)[name].numpy(), value, err_msg=name)


def test_without_factors_nothing_changes():
    """No variables, and the standard normal of the paper."""
    method = runs.build_method(tiny_config("", **conformance_options("clvae")), training=False)
    assert method.prior is None and not any(n.startswith("prior/") for n in named_variables(method))
    style = method.sample_style({}, tf.range(2000, dtype=tf.int64))
    assert abs(np.std(style["z"]) - 1) < 0.05 and abs(np.mean(style["class_latents"])) < 0.01


@pytest.mark.parametrize("changes, text", [({"prior_factors": -1}, "-1"), ({"use_vae": False}, "an encoder")])
def test_refused(changes, text):
    options = conformance_options("clvae", **{"prior_factors": 4, **changes})
    with pytest.raises(ValueError, match=f"--prior_factors .*{text}"):
        runs.build_method(tiny_config("", **options))
