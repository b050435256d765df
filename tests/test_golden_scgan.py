"""Numbers that the original SCGAN code gave: fixtures in ../shared/golden, weights through the conversion rules."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from semantic_synthesis import runs
from semantic_synthesis.config import Config

pytest.importorskip("torch", reason="reading .pth files needs PyTorch (pip install torch)")
from test_conversion import NETWORKS, fixture, layout_of, training_model

from semantic_synthesis.convert import ConvertOptions, convert

close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-5)
GIVEN = {
    "scgan_ade": {"temperature": 8.0, "label_blur": "none"},
    "scgan_vae": {"temperature": 0.05, "label_blur": "pyramid", "blur_levels": 4},
}


def fixture_run(name, run_dir):
    """(run folder, inputs and outputs) of a converted fixture."""
    folder, about, arrays = fixture(name)
    asked = about
    files = {role: str(folder / file) for role, file in NETWORKS.items() if (folder / file).exists()}
    flags = {
        flag: asked[flag] for flag in ("contain_dontcare_label", "no_instance", "crop_size", "aspect_ratio")
    }
    given = {"weight_type": "softmax", **GIVEN[name]}
    return convert(
        ConvertOptions(method="scgan", checkpoint_dir=str(run_dir), **files, **flags, **given)
    ), arrays


@pytest.mark.parametrize(
    "name, form",
    [
        ("scgan_ade", "dense"),
        ("scgan_ade", "patches"),
        ("scgan_vae", "patches"),
        pytest.param("scgan_vae", "dense", marks=pytest.mark.slow),
    ],
)
def test_generator(name, form, tmp_path):
    run_dir, arrays = fixture_run(name, tmp_path / "run")
    _, method = runs.open_run(run_dir, modulation=form)
    layout = layout_of(arrays)
    style = {"z": tf.constant(arrays["z"])} if "z" in arrays else {}
    close(method.synthesize(layout, style), arrays["image"])
    labels = method._label_plans(layout)
    vectors = method.vectors(labels[1].tokens, labels[1])
    close(method.vectors.picture(vectors[-1]), arrays["aux_image"])
    logits = [name for name in arrays if name.startswith("conv_logits_")]
    assert len(logits) >= 3
    for (
        name
    ) in logits:  # of blurred labels, whose logits are large and rounded accordingly (README of the fixture)
        close(method.logits(vectors[int(name[-1])])[0], arrays[name], atol=1e-4)


def test_encoder(tmp_path):
    run_dir, arrays = fixture_run("scgan_vae", tmp_path / "run")
    config, method = runs.open_run(run_dir)
    assert (config.z_dim, config.num_encoder_filters, config.spectral_routing) == (12, 3, False)
    mean, log_variance = method.encoder(tf.constant(arrays["real_image"]))
    close(mean, arrays["enc_mu"])
    close(log_variance, arrays["enc_logvar"])


@pytest.mark.parametrize("name", ["scgan_ade", "scgan_vae"])
def test_discriminator(name, tmp_path):
    run_dir, arrays = fixture_run(name, tmp_path / "run")
    method = training_model(run_dir)
    assert Config.load(run_dir).netD == {"scgan_ade": "fpse", "scgan_vae": "multiscale"}[name]
    condition = method.semantics(method.tokens(layout_of(arrays)))
    real = tf.constant(arrays["real_image"])
    judged = method.discriminator(condition, tf.concat([tf.zeros_like(real), real], 0)).split(2)[1]
    for i, judgement in enumerate(judged.judgements):
        close(judgement, arrays[f"d_pred_{i}"], atol=2e-5)
    if name == "scgan_ade":
        assert len(judged.judgements) == 3 and len(judged.features) == 4
        for i, (feature,) in enumerate(judged.features):
            close(feature, arrays[f"d_feat_{i}"])
