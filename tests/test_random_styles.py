"""--prior_share: some samples train with random styles and match no photo."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from helpers import shallow_networks, tiny_config

from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.methods.conditional_gan import random_rows
from semantic_synthesis.runs import build_method

BATCH = 4
OPTIONS = {
    "spade": {"use_vae": True, "encoder_size": 8, "no_vgg_loss": False, "vgg_weights": "random"},
    "inade": {"use_vae": True, "method": "inade", "noise_dim": 3, "no_instance": False},
    "clvae": {"use_vae": True, "method": "clvae", "encoder_size": 128, "latent_dim": 3},
}


@functools.cache
def model(name, share):
    with shallow_networks():
        return build_method(tiny_config(**OPTIONS[name], prior_share=share))


@functools.cache
def batch():
    scenes = [render_scene(seed, 32, 32) for seed in range(BATCH)]
    return {
        "image": tf.constant(np.stack([s.image for s in scenes]) / 127.5 - 1, tf.float32),
        "label": tf.constant(np.stack([s.label for s in scenes]), tf.int32),
        "instance": tf.constant(np.stack([s.instance for s in scenes]), tf.int32),
        "row": tf.range(8, 8 + BATCH, dtype=tf.int64),
    }


@pytest.mark.parametrize("share, count", [(0.25, 25), (0.5, 50), (1.0, 100), (0.1, 10), (0.33, 33)])
def test_share_of_rows(share, count):
    assert int(tf.reduce_sum(tf.cast(random_rows(tf.range(100, dtype=tf.int64), share), tf.int32))) == count
    together = random_rows(tf.range(6, dtype=tf.int64), share).numpy()
    halves = [random_rows(tf.range(s, s + 3, dtype=tf.int64), share).numpy() for s in (0, 3)]
    np.testing.assert_array_equal(together, np.concatenate(halves))


@pytest.mark.parametrize("name", ["spade", "inade"])
def test_unpaired_fakes_match_nothing(name):
    method = model(name, 0.5)
    given = batch()
    layout = {key: given[key] for key in ("label", "instance")}
    fake = tf.constant(np.random.default_rng(0).uniform(-1, 1, given["image"].shape), tf.float32)
    terms = {}
    for key, mask in {"all": None, "none": [1, 1, 1, 1], "first": [0, 1, 1, 1]}.items():
        unpaired = None if mask is None else tf.constant(np.array(mask, bool))
        with tf.GradientTape() as tape:
            tape.watch(fake)
            found = method.adversarial_terms(layout, fake, given["image"], unpaired)["generator"]
            matching = found["GAN_Feat"] + found.get("VGG", 0.0)
        terms[key] = found, tape.gradient(matching, fake)
    for name in {"GAN_Feat", "VGG"} & set(terms["all"][0]):
        assert terms["all"][0][name] > 0 and terms["none"][0][name] == 0
        assert 0 < terms["first"][0][name] < terms["all"][0][name]
    assert np.abs(terms["first"][1][0]).max() > 0 and (terms["first"][1][1:].numpy() == 0).all()
    np.testing.assert_allclose(terms["first"][1][0], terms["all"][1][0], rtol=1e-4, atol=1e-9)
    assert terms["first"][0]["GAN"] == terms["all"][0]["GAN"]


@pytest.mark.parametrize("name", ["spade", "inade", "clvae"])
def test_random_rows_do_not_see_their_photo(name):
    method, given = model(name, 0.5), batch()
    random = random_rows(given["row"], 0.5).numpy()
    assert random.sum() == BATCH / 2
    pictures, synthesize = [], type(method).synthesize_planned

    def recording(plan, style, training=False):
        pictures.append({key: value.numpy() for key, value in style.items()})
        return synthesize(method, plan, style, training=training)

    method.synthesize_planned = recording
    try:
        for image in (given["image"], -given["image"]):
            method.compute_losses(given | {"image": image})
    finally:
        del method.synthesize_planned
    for key in {"spade": ["z"], "inade": ["noise"], "clvae": ["class_latents", "z"]}[name]:
        changed = np.abs(pictures[0][key] - pictures[1][key]).reshape(BATCH, -1).max(1) > 1e-6
        np.testing.assert_array_equal(changed, ~random, err_msg=key)
