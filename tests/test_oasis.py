"""OASIS: rows [noise ; one-hot] in both forms of the modulation, balanced losses, LabelMix, styles of regions."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from helpers import shallow_networks, tiny_config

from semantic_synthesis import losses
from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.discriminators.segmentation import SegmentationDiscriminator, halvings
from semantic_synthesis.layers import Initializer, LabelModulation, plan_label
from semantic_synthesis.layers.cells import number_cells, sample_numbers
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.methods import make_config
from semantic_synthesis.methods.oasis import OASIS
from semantic_synthesis.runs import build_method

CLASSES, Z, BATCH = 4, 3, 4


@functools.cache
def model(**changes):
    with shallow_networks():
        return build_method(tiny_config(method="oasis", crop_size=16, z_dim=Z, batch_size=BATCH, **changes))


@functools.cache
def batch(first_row=8):
    scenes = [render_scene(seed, 16, 16) for seed in range(40, 40 + BATCH)]
    return {
        "image": tf.constant(np.stack([s.image for s in scenes]) / 127.5 - 1, tf.float32),
        "label": tf.constant(np.stack([s.label for s in scenes]), tf.int32),
        "row": tf.range(first_row, first_row + BATCH, dtype=tf.int64),
    }


# Rows


def modulation_of_rows(height, width, rng):
    """(layer, x, tokens, rows) of random maps with noise that differs between regions."""
    shape = (2, height, width)
    label, region = (tf.constant(rng.integers(0, n, shape), tf.int32) for n in (CLASSES, 2))
    (samples, classes, regions), tokens = number_cells(sample_numbers(label), label, region)
    z = tf.gather_nd(rng.normal(size=(2, 2, Z)).astype(np.float32), tf.stack([samples, regions], -1))
    rows = tf.concat([z, tf.one_hot(classes, CLASSES)], -1)
    layer = LabelModulation(Z + CLASSES, 5, 6, init=Initializer("none", seed=int(rng.integers(99))))
    for bias in (layer.shared_bias, layer.bias):
        bias.assign(rng.normal(size=bias.shape))
    return layer, tf.constant(rng.normal(size=(*shape, 5)), tf.float32), tokens, rows


@pytest.mark.parametrize("height", range(1, 6))
def test_patches_are_the_dense_convolutions(height):
    """Noise is zero beyond the border, so it cannot be a bias that is the same everywhere."""
    rng = np.random.default_rng(height)
    for width in range(1, 6):
        layer, x, tokens, rows = modulation_of_rows(height, width, rng)
        found = {}
        for form in ("dense", "patches"):
            plan = plan_label(tokens, len(rows), form)
            with tf.GradientTape() as tape:
                tape.watch(rows)
                y = layer(x, plan, rows=rows)
                total = tf.reduce_sum(y * y)
            found[form] = y, tape.gradient(total, rows)
        for dense, patches in zip(found["dense"], found["patches"], strict=True):
            scale = max(1.0, np.abs(dense).max())
            np.testing.assert_allclose(patches / scale, dense / scale, rtol=0, atol=1e-5)
        assert np.abs(found["dense"][1]).max(0).min() > 1e-3, "gradients reach noise and classes"


@pytest.mark.parametrize("form", ["dense", "patches"])
def test_gradients_reach_the_noise(form):
    method, given = model(modulation=form), batch()
    layout = {"label": given["label"], "instance": tf.zeros_like(given["label"])}
    z = tf.constant(np.random.default_rng(0).normal(size=(BATCH, 1, Z)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(z)
        pictures = method.synthesize_planned(method.plan(layout), {"z": z})
        total = tf.reduce_sum(pictures[0] ** 2)
    gradient = tape.gradient(total, z).numpy()
    assert np.abs(gradient[0]).min() > 1e-3 and (gradient[1:] == 0).all()


# Styles


def test_a_random_style_is_one_vector_for_all_regions():
    method = model()
    region = tf.constant(np.arange(256).reshape(1, 16, 16) % 5, tf.int32)
    style = method.sample_style({"label": region, "instance": region}, tf.constant([3, 4], tf.int64))
    assert style["z"].shape == (2, 5, Z) and method.style_shapes["z"].shape == (None, Z)
    assert (style["z"] == style["z"][:, :1]).numpy().all() and (style["z"][0] != style["z"][1]).numpy().any()


@pytest.mark.parametrize("form", ["dense", "patches"])
def test_regions_of_equal_noise_look_as_one(form):
    """Regions with the same vector are no boundary, and one region's vector changes its surroundings alone."""
    method, label = model(modulation=form), batch()["label"][:1]
    halves = tf.constant(np.arange(16)[None, None] // 8 + np.zeros((1, 16, 1)), tf.int32)
    z = tf.constant(np.random.default_rng(1).normal(size=(1, 1, Z)), tf.float32)
    whole = method.synthesize({"label": label, "instance": tf.zeros_like(halves)}, {"z": z})
    parts = method.synthesize({"label": label, "instance": halves}, {"z": tf.repeat(z, 2, 1)})
    np.testing.assert_allclose(parts, whole, atol=1e-6)
    edited = tf.concat([z, z + 3.0], 1)
    changed = np.abs(method.synthesize({"label": label, "instance": halves}, {"z": edited}) - whole).max(
        (0, 1, 3)
    )
    # One block: the modulations see 2 pixels, three convolutions (entry, two of the block) and the last 1 each
    assert (changed[:2] == 0).all() and (changed[8:] > 1e-4).all()


def test_without_noise():
    method = model(no_3dnoise=True)
    assert method.style_shapes == {} and OASIS.instance_maps(method.config) is None
    layout = {"label": batch()["label"]}
    assert method.sample_style(layout, tf.constant([1], tf.int64)) == {}
    assert method.synthesize(layout, {}).shape == (BATCH, 16, 16, 3)
    assert method.fc.kernel.shape[2] == method.num_classes
    assert np.isfinite(method.compute_losses(batch())["generator"]["GAN"])


# Losses


def test_class_weights():
    label = tf.constant([[[0, 0, 1, 1], [1, 1, 2, 2]]])  # counts [2,4,2,0]
    np.testing.assert_allclose(losses.class_weights(label, 4, ignored=0), [0, 1, 2, 0])
    np.testing.assert_allclose(losses.class_weights(label, 4), np.array([8 / 6, 8 / 12, 8 / 6, 0]), rtol=1e-6)
    weights = losses.class_weights(label, 4, ignored=0)
    np.testing.assert_allclose(tf.reduce_mean(tf.gather(weights, label)), 1)
    assert (losses.class_weights(tf.zeros_like(label), 4, ignored=0).numpy() == 0).all()


def test_nothing_known_costs_nothing():
    """A batch of unknown pixels alone: no NaN, neither in losses nor in gradients."""
    name = model().config.class_table["names"][0]
    method, given = model(ignored_class=name), dict(batch())
    given["label"] = tf.zeros_like(given["label"])
    kernel = method.discriminator.last.kernel.value
    with tf.GradientTape(persistent=True) as tape:
        terms = method.compute_losses(given)
        total = tf.add_n(list(terms["discriminator"].values()))
    assert float(terms["generator"]["GAN"]) == 0 == float(terms["discriminator"]["D_real"])
    assert float(terms["discriminator"]["D_Fake"]) > 0
    gradient = tape.gradient(total, kernel).numpy()
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_cross_entropy_and_its_gradient():
    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(0, 3, (2, 3, 4, 5)), tf.float32)
    target = tf.constant(rng.integers(0, 5, (2, 3, 4)), tf.int32)
    upstream = rng.normal(size=(2, 3, 4)).astype(np.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        found = losses.cross_entropy(logits, target)
        total = tf.reduce_sum(found * upstream)
    share = tf.nn.softmax(logits).numpy()
    one_hot = np.eye(5)[target]
    np.testing.assert_allclose(found, -np.log((share * one_hot).sum(-1)), rtol=1e-4, atol=1e-5)
    expected = (share - one_hot) * upstream[..., None]
    np.testing.assert_allclose(tape.gradient(total, logits), expected, atol=1e-5)


def test_targets_are_never_one_hot():
    """At ADE20K's size and batch 8 one such tensor takes 0.32 GB."""
    method, given = model(), batch()

    @tf.function(autograph=False)
    def step(batch):
        terms = method.compute_losses(batch)
        total = tf.add_n(list(terms["discriminator"].values()))
        return tf.gradients(total, [v.value for v in method.discriminator.trainable_variables])

    operations = step.get_concrete_function(given).graph.get_operations()
    sizes = [op.outputs[0].shape for op in operations if op.type == "OneHot"]
    assert sizes and all(shape.rank <= 2 for shape in sizes), sizes


# LabelMix


def coins(rows, seed=0, label=None):
    adversary = model(seed=seed).adversary
    label = tf.range(adversary.num_classes)[None, None] if label is None else label
    return adversary.mask(label, tf.constant(rows, tf.int64)).numpy()


def test_coins_depend_on_seed_and_step_alone():
    step = coins([4 * BATCH, 4 * BATCH + 1])
    np.testing.assert_array_equal(coins([4 * BATCH + 2, 4 * BATCH + 3]), step)  # another replica
    assert (coins([5 * BATCH]) != step).any() and (coins([4 * BATCH], seed=1) != step).any()


def test_coins_are_fair_and_independent():
    """Also those of classes 0 and 1, which the authors' code couples."""
    draws = np.array([coins([step * BATCH])[0, 0] for step in range(400)])
    assert np.abs(draws.mean(0) - 0.5).max() < 0.1  # 4 standard deviations
    both = (draws[:, 0] & draws[:, 1]).mean()
    assert abs(both - 0.25) < 0.09


def test_all_pixels_of_a_class_come_from_one_picture():
    method, given = model(), batch()
    mask = method.adversary.mask(given["label"], given["row"]).numpy()
    drawn = coins(given["row"])[0, 0]
    np.testing.assert_array_equal(mask, drawn[given["label"].numpy()])
    assert 0 < mask.mean() < 1
    seen, original = [], method.discriminator.call
    method.discriminator.call = lambda images: seen.append(images.numpy()) or original(images)
    try:
        fake = -given["image"]
        method.adversary.judge(
            method.shown({"label": given["label"]}, fake, given["image"]), tf.constant(mask)
        )
    finally:
        del method.discriminator.call
    np.testing.assert_array_equal(seen[1][BATCH:], np.where(mask[..., None], given["image"], fake))


def test_label_mix():
    rng = np.random.default_rng(0)
    mixed, real, fake = (rng.normal(size=(2, 3, 4, 5)).astype(np.float32) for _ in range(3))
    mask = rng.random((2, 3, 4)) < 0.5
    m = mask[..., None].astype(np.float64)
    expected = ((m * real + (1 - m) * fake - mixed) ** 2).mean()
    np.testing.assert_allclose(losses.label_mix(mixed, real, fake, tf.constant(mask)), expected, rtol=1e-5)


# The networks


def test_parameter_counts():
    """Spec, section 2: trained parameters at ADE20K's width, with 151 classes."""
    layer = SegmentationDiscriminator(151, 64, init=Initializer("zeros"))
    assert sum(int(np.prod(v.shape)) for v in layer.trainable_variables) == 22_258_904
    table = {"name": "x", "names": [str(i) for i in range(151)], "unknown": 0}
    config = make_config("oasis", crop_size=256, aspect_ratio=1.0, class_table=table)
    method = build_method(config, training=False, initial_weights=False)
    assert sum(int(np.prod(v.shape)) for v in method.trainable_variables) == 74_314_691
    start = {name: v.shape for name, v in named_variables(method).items() if name.startswith("fc/")}
    assert start == {"fc/kernel": (3, 3, 64 + 151, 1024), "fc/bias": (1024,)}


def test_initial_values():
    """Spec, section 5.3: Xavier with gain 0.02 reaches the kernels under spectral norms too."""
    init = Initializer("xavier", 0.02, spectral=OASIS.spectral_init)
    assert init((3, 3, 256, 256), spectral=True).std() == pytest.approx(
        0.02 * np.sqrt(2 / (18 * 256)), rel=0.02
    )


def test_power_iterations_per_step():
    method = model()
    for block, count in ((method.generator.blocks[0].conv_0, 2), (method.discriminator.up[0].conv_1, 4)):
        block.u.assign(tf.ones_like(block.u.value) / np.sqrt(block.u.shape[0]))
        expected, matrix = block.u.numpy(), block.kernel.numpy().reshape(-1, block.u.shape[0])
        for _ in range(count):
            expected = matrix.T @ (matrix @ expected)
        method.advance_spectral_norms()
        np.testing.assert_allclose(block.u, expected / np.linalg.norm(expected), atol=1e-5)


def test_halvings():
    assert [halvings(*size) for size in ((256, 256), (256, 512), (64, 64), (32, 32), (96, 64), (16, 80))] == [
        6,
        6,
        6,
        5,
        5,
        4,
    ]


def test_rates():
    objectives = model().objectives()
    config = model().config
    assert config.lr == 2e-4 and config.total_epochs == 200
    for name, rate in (("generator", 1e-4), ("discriminator", 4e-4)):
        assert [objectives[name].rate(epoch) for epoch in (0, 150, 199.9)] == [pytest.approx(rate)] * 3
        assert objectives[name].betas == (0.0, 0.999)


@pytest.mark.parametrize("option, value", [("use_vae", True), ("num_upsampling_layers", "more")])
def test_what_does_not_exist_is_refused(option, value):
    with pytest.raises(ValueError, match=option):
        from semantic_synthesis.config import options_for

        options_for("oasis", {option: value})
        build_method(tiny_config(method="oasis", **{option: value}))


@pytest.mark.parametrize("name", ["spade", "clade", "inade"])
def test_discriminator_of_other_methods(name):
    """--netD segmentation with the generators of others; each objective reaches what it trains."""
    with shallow_networks():
        config = tiny_config(
            method=name,
            netD="segmentation",
            crop_size=16,
            use_vae=name != "clade",
            noise_dim=3,
            encoder_size=8,
            prior_share=0.5,
            batch_size=BATCH,
        )
        method = build_method(config)
    given = dict(batch(), instance=batch()["label"])
    with tf.GradientTape(persistent=True) as tape:
        terms = method.compute_losses(given)
        totals = {objective: tf.add_n(list(of.values())) for objective, of in terms.items()}
    assert {"GAN"} <= set(terms["generator"]) <= {"GAN", "KLD"}
    assert set(terms["discriminator"]) == {"D_Fake", "D_real", "D_labelmix"}
    for objective, layer in (
        ("generator", method.generator.conv_img),
        ("discriminator", method.discriminator.last),
    ):
        assert np.abs(tape.gradient(totals[objective], layer.kernel.value)).max() > 0


def test_multiscale_discriminator():
    """--netD multiscale with OASIS' generator."""
    terms = model(netD="multiscale", num_discriminator_layers=2).compute_losses(batch())
    assert set(terms["discriminator"]) == {"D_Fake", "D_real"} and "GAN_Feat" in terms["generator"]
