"""Numbers that the original clVAE code gives; the fixtures lie in ../shared/golden (weights travel through convert)."""

import functools

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("torch", reason="reading .pth files needs PyTorch (pip install torch)")

from test_conversion import FORMS, converted, training_model

from semantic_synthesis import runs
from semantic_synthesis.styles import merge_style

close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def ade(tmp_path_factory):
    """(run folder, arrays) of the fixture without an encoder."""
    return converted("clvae_ade", tmp_path_factory.mktemp("ade") / "run", method="clvae")


@pytest.fixture(scope="module")
def style(tmp_path_factory):
    """(run folder, arrays) of the fixture with an encoder."""
    return converted("clvae_style", tmp_path_factory.mktemp("style") / "run", method="clvae")


def style_of(arrays):
    z = arrays.get("z_global", arrays.get("enc_mu_global"))
    return {"class_latents": tf.constant(arrays["z_local"]), "z": tf.constant(z)}


@FORMS
def test_pictures(ade, form):
    run_dir, arrays = ade
    config, model = runs.open_run(run_dir, modulation=form)
    assert (config.latent_dim, config.num_classes, config.z_dim, config.use_vae) == (4, 7, 16, False)
    layout = {"label": tf.constant(arrays["label"])}
    close(model.synthesize(layout, style_of(arrays)), arrays["image"])
    # Many styles of one layout at once, the second that of the second sample
    first = model.synthesize({"label": layout["label"][:1]}, style_of(arrays)).numpy()
    close(first[:1], arrays["image"][:1])
    assert np.abs(first[1] - arrays["image"][0]).max() > 0.01
    alone = {name: values[1:] for name, values in style_of(arrays).items()}
    close(first[1:], model.synthesize({"label": layout["label"][:1]}, alone))


def test_discriminator(ade):
    run_dir, arrays = ade
    model = training_model(run_dir)
    semantics = model.semantics(tf.constant(arrays["label"]))
    found = model.discriminator(semantics, tf.constant(arrays["real_image"]))
    for scale in range(2):
        close(found.judgements[scale], arrays[f"d_pred_{scale}"])


def test_encoder(style):
    run_dir, arrays = style
    config, model = runs.open_run(run_dir)
    assert (config.latent_dim, config.encoder_size, config.num_encoder_filters) == (5, 256, 2)
    found = model.encoder(tf.constant(arrays["style_image"]), tf.constant(arrays["style_label"]))
    np.testing.assert_array_equal(found.present, arrays["enc_present"])
    assert not arrays["enc_present"].all(1).all() and arrays["enc_present"].any()
    close(found.mean, arrays["enc_mu"])
    close(found.log_variance, arrays["enc_logvar"])
    close(found.z_mean, arrays["enc_mu_global"])
    close(found.z_log_variance, arrays["enc_logvar_global"])


@FORMS
def test_style_of_another_picture(style, form):
    """What the original's test script does with --style_id."""
    run_dir, arrays = style
    _, model = runs.open_run(run_dir, modulation=form)
    encoded = model.encode_style(
        tf.constant(arrays["style_image"]), {"label": tf.constant(arrays["style_label"])}
    )
    fill = {"class_latents": tf.constant(arrays["z_fill"]), "z": tf.zeros([1, 16])}
    merged = merge_style(fill, encoded)
    close(merged["class_latents"], arrays["z_local"])
    close(model.synthesize({"label": tf.constant(arrays["label"])}, merged), arrays["image"])
