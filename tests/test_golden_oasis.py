"""Numbers that the original OASIS code gives for the fixture in ../shared/golden; its weights come by conversion."""

import functools
import re

import numpy as np
import pytest
import tensorflow as tf

torch = pytest.importorskip("torch", reason="reading .pth files needs PyTorch (pip install torch)")

from test_conversion import fixture, training_model

from semantic_synthesis import losses, runs
from semantic_synthesis.convert import ConvertOptions, convert
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.methods.method import Method
from semantic_synthesis.methods.oasis import conversion
from semantic_synthesis.originals.rules import Rule

close = functools.partial(np.testing.assert_allclose, rtol=0, atol=5e-5)
FORMS = pytest.mark.parametrize("form", ["dense", "patches"])


def convert_fixture(run_dir, *, discriminator=False, source=None, **changes):
    """(run folder, arrays) of the converted fixture."""
    folder, options, arrays = fixture("oasis_ade")
    path = str(folder / "net_D.pth") if discriminator is True else discriminator
    files = {"discriminator": path} if path else {}
    sizes = {name: options[name] for name in ("crop_size", "aspect_ratio", "z_dim")}
    asked = {"source": str(source or folder / "net_G.pth"), **files, **sizes, **changes}
    return convert(ConvertOptions(method="oasis", checkpoint_dir=str(run_dir), **asked)), arrays


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The fixture's run with its discriminator, and its arrays."""
    return convert_fixture(tmp_path_factory.mktemp("oasis") / "run", discriminator=True)


def layout_of(arrays, regions=None):
    regions = np.zeros_like(arrays["label"]) if regions is None else regions
    return {"label": tf.constant(arrays["label"]), "instance": tf.constant(regions, tf.int32)}


def style_of(z):
    """One vector for all regions."""
    return {"z": tf.constant(z)[:, None]}


@FORMS
def test_generator(form, converted):
    run_dir, arrays = converted
    config, model = runs.open_run(run_dir, modulation=form)
    assert (config.num_classes, config.z_dim, config.num_generator_filters) == (8, 8, 2)
    found = model.synthesize(layout_of(arrays), style_of(arrays["z"]))
    close(found, arrays["image"])


@FORMS
def test_noise_per_region(form, converted):
    run_dir, arrays = converted
    _, model = runs.open_run(run_dir, modulation=form)
    style = {"z": tf.constant(np.stack([arrays["z"], arrays["z_region"]], 1))}  # [2,2,8]
    found = model.synthesize(layout_of(arrays, arrays["region"]), style)
    close(found, arrays["image_region"])
    # Many styles of one layout at once: the same two vectors in every order
    first = {name: values[:1] for name, values in layout_of(arrays, arrays["region"]).items()}
    z = tf.stack([style["z"][0], style["z"][0, ::-1], tf.stack([style["z"][0, 0]] * 2)])
    pictures = model.synthesize(first, {"z": z})
    close(pictures[:1], arrays["image_region"][:1])
    close(pictures[2:], arrays["image"][:1])
    assert np.abs(pictures[1] - pictures[0]).max() > 0.1


# Discriminator, losses and gradients in evaluation mode


@pytest.fixture
def judging(converted, monkeypatch):
    """(training model with the fixture's coins, arrays)."""
    run_dir, arrays = converted
    model = training_model(run_dir, ignored_class="class 0", lambda_labelmix=10.0)
    mask = tf.constant(arrays["labelmix_mask"] == 1)
    monkeypatch.setattr(model.adversary, "mask", lambda label, rows: mask)
    return model, arrays


def shown(model, arrays, fake, real=None):
    real = tf.constant(arrays["real_image"]) if real is None else real
    return model.shown(layout_of(arrays), fake, real)


def test_logits(judging):
    model, arrays = judging
    mask = model.adversary.mask(None, None)
    found = model.adversary.judge(shown(model, arrays, tf.constant(arrays["image"])), mask)
    for logits, name in zip(found, ("fake", "real", "mixed"), strict=True):
        close(logits, arrays[f"d_{name}"], atol=1e-4)


LOSSES = {"D_Fake": "D_fake", "D_real": "D_real", "D_labelmix": "D_labelmix"}


def test_losses(judging, monkeypatch):
    model, arrays = judging
    given = shown(model, arrays, tf.constant(arrays["image"]))
    terms = model.adversary.terms(given)
    close(terms["generator"]["GAN"], arrays["loss_G"])
    assert set(terms["discriminator"]) == set(LOSSES)
    for name, theirs in LOSSES.items():
        close(terms["discriminator"][name], arrays[f"loss_{theirs}"])
    weights = losses.class_weights(layout_of(arrays)["label"], 8, model.adversary.ignored)
    close(weights, arrays["class_weights"], atol=1e-6)
    monkeypatch.setattr(model.adversary, "config", model.config.replace(no_balancing_inloss=True))
    terms = model.adversary.terms(given)
    close(terms["generator"]["GAN"], arrays["loss_G_unbalanced"])
    close(terms["discriminator"]["D_real"], arrays["loss_D_real_unbalanced"])


def expected_arrays(config, arrays, prefix):
    """{variable name: array} of the fixture's arrays `prefix`<G|D>.<tensor>."""
    found = {}
    for role, letter in (("source", "G."), ("discriminator", "D.")):
        of_file = {
            k.removeprefix(prefix + letter): v for k, v in arrays.items() if k.startswith(prefix + letter)
        }
        for rule in conversion.rules(role, config):
            if isinstance(rule, Rule):
                for name, array in of_file.items():
                    if match := re.fullmatch(rule.source, name):
                        found[match.expand(rule.target), rule.part] = rule.to_ours(array)
    return found


def compare(found, expected, relative=0.0):
    """Compares each array, or part of one, at 1e-4 (or `relative` of its largest entry); their number."""
    for (name, (index, count)), array in expected.items():
        part = np.split(np.array(found[name]), count, -1)[index]
        close(part, array, atol=relative * np.abs(array).max() if relative else 1e-4, err_msg=name)
    return len(expected)


def gradients(tape, model, objective, total):
    ids = {id(v) for v in model.objective_variables(objective)}
    variables = {n: v for n, v in named_variables(model).items() if id(v) in ids}
    values = tape.gradient(total, [v.value for v in variables.values()])
    return dict(zip(variables, values, strict=True))


@FORMS
def test_gradients(form, judging, monkeypatch):
    model, arrays = judging
    model.form = form
    layout = layout_of(arrays)
    with tf.GradientTape(persistent=True) as tape:
        fake = model.synthesize_planned(model.plan(layout), style_of(arrays["z"]))
        terms = model.adversary.terms(shown(model, arrays, fake))
        totals = {objective: tf.add_n(list(of.values())) for objective, of in terms.items()}
    found = {}
    for objective, total in totals.items():
        found |= gradients(tape, model, objective, total)
    expected = expected_arrays(model.config, arrays, "grad.")
    assert compare(found, expected, 1e-3) == 16


def state(model):
    return {name: variable.numpy() for name, variable in named_variables(model).items()}


@FORMS
def test_training_passes(form, judging):
    model, arrays = judging
    model.form = form
    adversary, plan = model.adversary, model.plan(layout_of(arrays))
    expected = functools.partial(expected_arrays, model.config, arrays)
    # The G step: one power iteration everywhere
    Method.advance_spectral_norms(model)
    with tf.GradientTape() as tape:
        fake = model.synthesize_planned(plan, style_of(arrays["train_z1"]), training=True)
        loss = adversary.terms(shown(model, arrays, fake))["generator"]["GAN"]
    close(fake, arrays["train_image"])
    close(loss, arrays["train_loss_G"])
    found = gradients(tape, model, "generator", loss)
    kernels = {key: value for key, value in expected("train_grad.").items() if key[0] in found}
    assert compare(found, kernels, 1e-3) == 8
    assert compare(state(model), expected("after1.")) == 128
    # The D step: another one of G, and one of D at each of three calls, where this project makes one call
    of_discriminator = [layer for layer in model.spectral_layers() if layer in spectral(model.discriminator)]
    for layer in model.spectral_layers():
        if layer not in of_discriminator:
            layer.advance()
    fake = model.synthesize_planned(plan, style_of(arrays["train_z2"]), training=True)
    judge = adversary.judge

    def one_by_one(given, from_real):
        mixed = tf.where(from_real[..., None], given.real, given.fake)
        found = []
        for image in (given.fake, given.real, mixed):
            for layer in of_discriminator:
                layer.advance()
            found.append(model.discriminator(image))
        return found

    adversary.judge = one_by_one
    with tf.GradientTape() as tape:
        terms = adversary.terms(shown(model, arrays, fake))["discriminator"]
        total = tf.add_n(list(terms.values()))
    adversary.judge = judge
    for name, theirs in LOSSES.items():
        close(terms[name], arrays[f"train_loss_{theirs}"], atol=1e-4)
    found = gradients(tape, model, "discriminator", total)
    kernels = {key: value for key, value in expected("train_grad.").items() if key[0] in found}
    assert compare(found, kernels, 1e-3) == 8
    assert compare(state(model), expected("after2.")) == 128


def spectral(layer):
    return [one for one in layer._flatten_layers() if getattr(one, "spectral", False)]
