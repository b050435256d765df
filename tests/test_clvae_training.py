"""A training step of clVAE against float64 NumPy: losses, and the gradient of every variable by differences."""

import functools
from unittest import mock

import numpy as np
import pytest
import reference_clvae as reference
import tensorflow as tf
from helpers import random_arrays, shallow_networks, tiny_config, train_steps

from semantic_synthesis.data import ClassTable, open_dataset
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.networks import Block
from semantic_synthesis.runs import build_method
from semantic_synthesis.training import Trainer, make_strategy

CLASSES, SIZE, LAYERS = 4, 128, 3
# A coarse block, the middle one of two that share a level, the finest with latents, and the one-hot one.
LAYOUT = [
    Block("head_0", 8, 8, 8),
    Block("G_middle_1", 8, 4, 4),
    Block("up_2", 4, 4, 2),
    Block("up_3", 4, 2, 1),
]
BLOCKS = list(zip([b.name for b in LAYOUT], [b.stride for b in LAYOUT], (4, 3, 0, None), strict=True))
STEP = 1e-6


@functools.cache
def step(form):
    """(variables, batch, noise, losses, gradients by objective) of one step of a model of random weights."""
    table = ClassTable.create("formula", range(CLASSES)).to_dict()
    config = tiny_config(
        method="clvae", class_table=table, crop_size=32, aspect_ratio=2.0, encoder_size=SIZE, latent_dim=3,
        num_encoder_filters=2, num_discriminator_layers=LAYERS, modulation=form, lambda_kld=0.2, z_dim=4,
    )  # fmt: skip
    with mock.patch("semantic_synthesis.methods.conditional_gan.spade_layout", lambda *_: LAYOUT):
        model = build_method(config)
    for name, array in random_arrays(model).items():
        named_variables(model)[name].assign(array / 16 if "log_variance" in name else array)
    rng = np.random.default_rng(0)
    label = rng.integers(0, CLASSES, (2, 4, 8)).repeat(4, 1).repeat(4, 2).astype(np.int32)
    label[1][label[1] == 2] = 0  # unequal mixes
    image = rng.uniform(-1, 1, (2, 16, 32, 3)).astype(np.float32)
    batch = {"label": tf.constant(label), "image": tf.constant(image), "row": tf.range(2, dtype=tf.int64)}
    model.advance_spectral_norms()
    arrays = {name: v.numpy().astype(float) for name, v in named_variables(model).items()}
    noise = {n: x.numpy().astype(float) for n, x in model._draw(batch["row"], config.seed).items()}
    with tf.GradientTape(persistent=True) as tape:
        terms = model.compute_losses(batch)
        totals = {objective: tf.add_n(list(of.values())) for objective, of in terms.items()}
    gradients = {}
    for objective, total in totals.items():
        moved = {id(v) for v in model.objective_variables(objective)}
        variables = {n: v for n, v in named_variables(model).items() if id(v) in moved}
        values = tape.gradient(total, [v.value for v in variables.values()])
        gradients[objective] = {n: g.numpy() for n, g in zip(variables, values, strict=True)}
    given = {"label": label, "image": image.astype(float)}
    return arrays, given, noise, terms, gradients


def formula(arrays, batch, noise, **known):
    options = {"size": SIZE, "layers": LAYERS, "lambda_kld": 0.2}
    return reference.losses(arrays, batch, noise, BLOCKS, **options, **known)


@pytest.mark.parametrize("form", ["dense", "patches"])
def test_losses(form):
    arrays, batch, noise, terms, _ = step(form)
    expected, _ = formula(arrays, batch, noise)
    for objective, of_objective in expected.items():
        assert of_objective.keys() == terms[objective].keys()
        for name, value in of_objective.items():
            np.testing.assert_allclose(terms[objective][name], value, rtol=1e-4, err_msg=name)


def test_gradients():
    """Along the gradient and a random direction together, for every variable of both objectives."""
    arrays, batch, noise, _, gradients = step("patches")
    encoded = reference.encoder(arrays, batch["image"], batch["label"], SIZE)
    _, fake = formula(arrays, batch, noise, encoded=encoded)
    rng, compared = np.random.default_rng(1), 0
    largest = {o: max(np.linalg.norm(g) for g in of.values()) for o, of in gradients.items()}
    for objective, of_objective in gradients.items():
        for name, gradient in of_objective.items():
            known = {"fake": fake} if objective == "discriminator" else {}
            if not name.startswith("encoder/"):
                known["encoded"] = encoded
            size = np.linalg.norm(gradient)
            if size < 1e-5 * largest[objective]:  # zero but for rounding: a bias in front of a norm
                continue
            other = rng.normal(size=gradient.shape)
            direction = gradient / size + other / np.linalg.norm(other)
            sums = []
            for sign in (1, -1):
                moved = arrays | {name: arrays[name] + sign * STEP * direction}
                terms, _ = formula(moved, batch, noise, **known)
                sums.append(sum(terms[objective].values()))
            difference = (sums[0] - sums[1]) / (2 * STEP)
            assert abs(difference - (gradient * direction).sum()) < 1e-3 * size, name
            compared += 1
    assert compared > 0.8 * sum(len(of) for of in gradients.values())


def test_gradients_of_both_forms_are_equal():
    one, two = step("patches")[-1], step("dense")[-1]
    for objective in one:
        largest = max(np.abs(gradient).max() for gradient in one[objective].values())
        for name, gradient in one[objective].items():
            tolerance = 1e-4 * np.abs(gradient).max() + 1e-6 * largest
            np.testing.assert_allclose(two[objective][name], gradient, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.slow
def test_a_resumed_run_continues_as_if_nothing_had_been(tmp_path):
    def trainer(folder):
        options = {
            "method": "clvae",
            "encoder_size": 128,
            "latent_dim": 3,
            "modulation": "dense",
            "ema_decay": 0.9,
        }
        config = tiny_config(tmp_path / folder, **options)
        with shallow_networks((2, 1)):
            return Trainer(config, open_dataset(config), make_strategy("none"))

    whole, first = train_steps(trainer("whole"), 4), trainer("broken")
    train_steps(first, 2)
    first._save(2)
    second = trainer("broken")
    assert second.steps_done == 2
    for name, values in train_steps(second, 2).items():
        assert len(set(whole[name])) == 4  # no two steps alike, so a shift would show
        np.testing.assert_allclose(values, whole[name][2:], rtol=1e-5, err_msg=name)
