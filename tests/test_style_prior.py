"""Priors fitted to photos: known components come back, random styles have looks of photos, training fits them."""

import numpy as np
import pytest
import tensorflow as tf
from conformance import make_trainer, networks
from helpers import conformance_options, tiny_config

from semantic_synthesis import runs
from semantic_synthesis.inference import load_run
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.methods.style_prior import StylePrior, fitted

D, K = 12, 2
METHODS = ["clvae", "inade", "scgan"]


def samples(count, rest, seed=0):
    """(common part [M,D], samples [M,D]): K factors of unit variance, a rest and a mean of 3."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(count, K)) @ rng.normal(size=(K, D))
    return common, 3.0 + common + rest * rng.normal(size=(count, D))


def test_known_components_come_back():
    common, means = samples(1000, 0.2)
    variances = np.full_like(means, 0.15)
    mean, axes, looks, rest = fitted(means, variances, np.ones(means.shape, bool), K)
    np.testing.assert_allclose(mean, 3.0, atol=0.2)
    np.testing.assert_allclose(axes @ axes.T, np.eye(K), atol=1e-6)
    assert np.abs(mean - 3.0 + looks @ axes - common).mean() < 0.12
    # What is left, and each photo's own doubt.
    np.testing.assert_allclose(rest, np.sqrt(0.2**2 + 0.15), atol=0.04)


def test_what_photos_do_not_show_is_filled_in():
    common, means = samples(1000, 0.05)
    present = np.random.default_rng(1).random(means.shape) < 0.6
    present[:, -1] = False
    hidden = np.where(present, means, 1e6)  # must not matter
    mean, axes, looks, rest = fitted(hidden, np.zeros_like(means), present, K)
    error = (mean - 3.0 + looks @ axes - common)[:, :-1]
    assert np.abs(error).mean() < 0.1 * np.abs(common).mean()
    assert (mean[-1], rest[-1]) == (0, 1) and not axes[:, -1].any()  # no photo decides it: standard normal


def test_more_latents_than_photos_and_fewer_photos_than_factors():
    rng = np.random.default_rng(0)
    means = rng.normal(size=(6, 40))
    mean, axes, looks, rest = fitted(means, np.zeros_like(means), np.ones(means.shape, bool), 5)
    np.testing.assert_allclose(mean + looks @ axes, means, atol=1e-6)  # six photos have five differences
    np.testing.assert_allclose(rest, 0.0, atol=1e-6)
    mean, axes, looks, rest = fitted(np.ones((1, 3)), np.zeros((1, 3)), np.ones((1, 3), bool), K)
    assert mean.tolist() == [1, 1, 1] and not axes.any() and not looks.any() and not rest.any()


def test_styles_have_the_looks_of_photos():
    """Without a rest every style is a photo's, all occur, and items of a class share it."""
    prior, means = StylePrior(6, 5), np.random.default_rng(0).normal(size=(5, 6))
    prior.fit(means, np.zeros_like(means), np.ones(means.shape, bool))
    seeds = tf.range(300, dtype=tf.int64)
    styles = prior(tf.random.normal([300, 6]), seeds).numpy()
    nearest = np.abs(styles[:, None] - means[None]).max(-1)
    assert nearest.min(1).max() < 1e-5 and len(np.unique(nearest.argmin(1))) == 5
    of = tf.tile([[0, 2, 2, 1]], [300, 1])
    items = prior(tf.random.normal([300, 4, 2]), seeds, of).numpy()
    np.testing.assert_allclose(items, styles.reshape(300, 3, 2)[:, [0, 2, 2, 1]], atol=1e-5)
    np.testing.assert_array_equal(
        prior(tf.zeros([2, 6]), seeds[7:9]).numpy(), prior(tf.zeros([9, 6]), seeds[:9])[7:]
    )


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("inade", "clvae", "scgan")]


@pytest.fixture(scope="module", params=["clade", *SLOW])
def trainer(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prior") / "run"
    options = {"prior_factors": 3, "total_steps": 2, "save_model_freq": 2, "recalibration_batches": 1}
    made = make_trainer(request.param, folder, **options)
    made.fit()
    made.config.save(folder)
    return made


def test_training_fits_and_saves_it(trainer):
    """The saved run's prior is that of the photos' styles, and its random styles follow it."""
    with networks():
        run = load_run(trainer.config.checkpoint_dir)
    prior = run.method.prior
    assert abs(prior.mean.numpy()).max() > 0 and np.linalg.norm(prior.looks.numpy()) > 0
    batch = next(iter(trainer.dataset.batches(1, training=False)))
    layout = run.layout(*(batch[key].numpy()[0] for key in ("label", "instance") if key in batch))
    for seeds in (range(1), range(1), range(3000)):  # the third call is a graph, where many rows take no time
        style = run.sample_style(seeds, layout)
    # Of all classes at the coarsest level, of the last region, or of the picture; and which part of the prior that is.
    if "class_latents" in style:
        one, of = np.asarray(style["class_latents"])[:, -1], 4
    elif "noise" in style:
        one = np.asarray(style["noise"])[:, -1]
        of = int(layout["label"][layout["instance"] == layout["instance"].max()][0])
    else:
        one, of = np.asarray(style["z"]), 0
    where = slice(of * one[0].size, (of + 1) * one[0].size)
    common = prior.mean.numpy() + prior.looks.numpy() @ prior.axes.numpy()
    expected = np.sqrt(common[:, where].var(0) + prior.rest.numpy()[where] ** 2)
    np.testing.assert_allclose(one.reshape(3000, -1).mean(0), common[:, where].mean(0), atol=0.1)
    np.testing.assert_allclose(one.reshape(3000, -1).std(0), expected, rtol=0.08, atol=0.01)


def test_the_rest_of_the_model_is_as_before(trainer):
    before = {n: v.numpy() for n, v in named_variables(trainer.method).items() if not n.startswith("prior/")}
    trainer._recalibrated = None
    trainer._recalibrate(2)
    for name, value in before.items():
        np.testing.assert_array_equal(named_variables(trainer.method)[name].numpy(), value, err_msg=name)


@pytest.mark.parametrize("method", ["clade", *SLOW])
def test_without_factors_nothing_changes(method):
    """No variables, and the standard normal of the paper."""
    built = runs.build_method(tiny_config("", **conformance_options(method)), training=False)
    assert built.prior is None and not any(n.startswith("prior/") for n in named_variables(built))
    maps = {"label": tf.zeros([1, 8, 8], tf.int32), "instance": tf.zeros([1, 8, 8], tf.int32)}
    for values in built.sample_style(maps, tf.range(2000, dtype=tf.int64)).values():
        assert abs(np.std(values) - 1) < 0.05 and abs(np.mean(values)) < 0.05


def test_refused_where_photos_give_no_styles():
    with pytest.raises(ValueError, match="--prior_factors: oasis reads no styles"):
        runs.build_method(tiny_config("", **conformance_options("oasis", prior_factors=4)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "changes, text",
    [
        ({"prior_factors": -1}, "-1"),
        ({"prior_factors": 10**9}, "at most"),
        ({"use_vae": False}, "an encoder"),
    ],
)
def test_refused(method, changes, text):
    options = conformance_options(method, **{"prior_factors": 4, **changes})
    with pytest.raises(ValueError, match=f"--prior_factors .*{text}"):
        runs.build_method(tiny_config("", **options))
