"""Original SPADE checkpoints give the same numbers here as in the original code.

The fixtures in ../shared/golden hold random weights and what NVlabs/SPADE computed with them.
"""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from helpers import layers_of

torch = pytest.importorskip("torch", reason="reading .pth files needs PyTorch (pip install torch)")

from semantic_synthesis import runs
from semantic_synthesis.config import Config
from semantic_synthesis.convert import ConvertOptions, convert, convert_tensors
from semantic_synthesis.inference import load_run
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.losses import kl_divergence
from semantic_synthesis.methods import global_style
from semantic_synthesis.networks import edge_map
from semantic_synthesis.pth import read_pth

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
FORMS = pytest.mark.parametrize("form", ["dense", "patches"])
NETWORKS = {"source": "net_G.pth", "encoder": "net_E.pth", "discriminator": "net_D.pth"}
UNKNOWN = np.finfo(np.float32).max  # in arrays of which only some parts are known
close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-4)


def fixture(name):
    folder = GOLDEN / name
    if not folder.is_dir():
        pytest.skip(
            f"{folder}: not here, its weights are not ours to publish; see tests/data/golden/README.md"
        )
    options = json.loads((folder / "options.json").read_text())
    return folder, options.get("options", options), dict(np.load(folder / "io.npz"))


def converted(name, run_dir, **changes):
    """Converts a fixture with the flags its training had; returns (run folder, inputs and
    outputs)."""
    folder, options, arrays = fixture(name)
    files = {role: str(folder / file) for role, file in NETWORKS.items() if (folder / file).exists()}
    flags = (
        "contain_dontcare_label",
        "no_instance",
        "num_upsampling_layers",
        "crop_size",
        "aspect_ratio",
    )
    values = {
        **files,
        **{flag: options[flag] for flag in flags},
        "checkpoint_dir": str(run_dir),
        **changes,
    }
    return convert(ConvertOptions(**values)), arrays


def layout_of(arrays):
    return {key: tf.constant(arrays[key]) for key in ("label", "instance") if key in arrays}


def training_model(run_dir, **changes):
    config = Config.load(run_dir).replace(no_vgg_loss=True, **changes)
    model = runs.build_method(config, training=True, initial_weights=False)
    runs.load_weights(model, run_dir)
    return model


@FORMS
@pytest.mark.parametrize("name", ["spade_plain", "spade_vae"])
def test_generator(name, form, tmp_path):
    run_dir, arrays = converted(name, tmp_path / "run")
    _, model = runs.open_run(run_dir, modulation=form)
    style = {"z": tf.constant(arrays["z"])} if "z" in arrays else {}
    close(model.synthesize(layout_of(arrays), style), arrays["image"])


def test_generator_with_a_style_and_without_its_encoder(tmp_path, monkeypatch):
    """Random styles as of the whole run; photos decide nothing, and training is refused."""
    lines = []  # absl's own function: what its logger passes on depends on who configured it first
    monkeypatch.setattr("absl.logging.warning", lambda text, *values: lines.append(text % values))
    run_dir, arrays = converted("spade_vae", tmp_path / "run", encoder="")
    assert "styles are random alone; for those of photos convert with its encoder" in lines[-1]
    run = load_run(run_dir)
    close(run.method.synthesize(layout_of(arrays), {"z": tf.constant(arrays["z"])}), arrays["image"])
    assert run.encoded == () and len(lines) == 1
    whole = load_run(converted("spade_vae", tmp_path / "whole")[0])
    assert len(lines) == 1 and whole.encoded == ("z",)
    layout = run.layout(arrays["label"], arrays["instance"])
    pictures = [one.synthesize(layout, one.sample_style([3])) for one in (run, whole)]
    np.testing.assert_array_equal(*pictures)
    with pytest.raises(ValueError, match="this run has no encoder of photos"):
        run.encode_style(pictures[0][0], layout)
    with pytest.raises(ValueError, match="a style vector and no encoder to train it with; give --num"):
        run.method.training_style({})


def test_encoder(tmp_path):
    run_dir, arrays = converted("spade_vae", tmp_path / "run")
    _, model = runs.open_run(run_dir)
    mean, log_variance = model.encoder(tf.constant(arrays["real_image"]))
    close(mean, arrays["mu"])
    close(log_variance, arrays["logvar"])
    close(mean + tf.exp(0.5 * log_variance) * arrays["eps"], arrays["z_from_eps"])
    close(0.05 * kl_divergence(mean, log_variance), arrays["kld_loss"])  # one sample: mean = sum


@pytest.mark.parametrize("file", ["net_D.pth", "net_D_legacy.pth"])
def test_discriminator(file, tmp_path):
    folder, _, _ = fixture("spade_vae")
    run_dir, arrays = converted("spade_vae", tmp_path / "run", discriminator=str(folder / file))
    model = training_model(run_dir)
    edges = edge_map(tf.constant(arrays["instance"]))
    np.testing.assert_array_equal(edges[..., None], arrays["edge"])
    condition = tf.concat([tf.one_hot(arrays["label"], 9), tf.cast(edges, tf.float32)[..., None]], -1)
    top, bottom, left, right = arrays["d_crop"]
    images = np.concatenate([arrays["image"], arrays["real_image"]])[:, top:bottom, left:right]
    outputs = layers_of(model.discriminator(condition[:, top:bottom, left:right], tf.constant(images)))
    for scale in range(2):
        for layer in range(5):
            close(outputs[scale][layer], arrays[f"d{scale}_{layer}"])


def stored_names(arrays, prefix):
    """{role: {tensor name: array}} of the stored statistics or gradients under a prefix."""
    found = {role: {} for role in NETWORKS}
    for key, array in arrays.items():
        if key.startswith(prefix):
            letter, name = key.removeprefix(prefix).split(".", 1)
            found[{"G": "source", "E": "encoder", "D": "discriminator"}[letter]][name] = array
    return found


def in_our_terms(config, tensors):
    """{variable name: array} of some original tensors; parts not given are UNKNOWN."""
    files = {}
    folder, _, _ = fixture("spade_train")
    for role, file in NETWORKS.items():
        every = read_pth(folder / file)
        assert set(tensors[role]) <= set(every)
        blank = {name: np.full_like(array, UNKNOWN, np.float32) for name, array in every.items()}
        files[role] = file, {**blank, **tensors[role]}
    return convert_tensors(config, files)[0]


def compare_known(found, expected, tolerance=1e-4):
    """Compares where expected is known; returns how many arrays had something to compare.

    tolerance: of the absolute difference, or a function of the expected array.
    """
    compared = 0
    for name, array in expected.items():
        known = array != UNKNOWN
        if known.any():
            found_known, array_known = np.where(known, found[name], 0), np.where(known, array, 0)
            atol = tolerance(array_known) if callable(tolerance) else tolerance
            close(found_known, array_known, atol=atol, err_msg=name)
            compared += 1
    return compared


@pytest.fixture
def noise(monkeypatch):
    """Lets a test choose the noise of the reparameterisation: noise(array)."""

    def choose(array):
        monkeypatch.setattr(global_style, "row_normal", lambda rows, size, seed=0: tf.constant(array))

    return choose


def of_gradient(expected):
    """Tolerance of a gradient: 1e-4 of its largest entry; some are zero but for rounding (biases
    before a norm)."""
    return 1e-4 * np.abs(expected).max() + 2e-6


def one_pass(model, batch):
    """One training step's forward pass: losses, pictures, gradients by objective."""
    pictures, synthesize = [], type(model).synthesize_planned

    def recording(*arguments, **options):
        pictures.append(synthesize(model, *arguments, **options))
        return pictures[-1]

    model.synthesize_planned = recording
    model.advance_spectral_norms()
    with tf.GradientTape(persistent=True) as tape:
        terms = model.compute_losses(batch)
        totals = {objective: tf.add_n(list(of.values())) for objective, of in terms.items()}
    gradients = {}
    for objective, total in totals.items():
        moved = {id(variable) for variable in model.objective_variables(objective)}
        variables = {n: v for n, v in named_variables(model).items() if id(v) in moved}
        values = tape.gradient(total, [variable.value for variable in variables.values()])
        gradients[objective] = dict(zip(variables, values, strict=True))
    (picture,) = pictures
    return terms, picture, gradients


@pytest.mark.parametrize("form", ["patches", pytest.param("dense", marks=pytest.mark.slow)])
def test_training_passes(form, tmp_path, noise):
    run_dir, arrays = converted("spade_train", tmp_path / "run")
    model = training_model(run_dir, modulation=form, lambda_kld=2 * 0.05)  # theirs sums over the batch of 2
    batch = {
        **layout_of(arrays),
        "image": tf.constant(arrays["real_image"]),
        "row": tf.range(2, dtype=tf.int64),
    }
    noise(arrays["eps1"])
    terms, image, gradients = one_pass(model, batch)
    close(image, arrays["image"])
    for name in ("KLD", "GAN", "GAN_Feat"):
        close(terms["generator"][name], arrays[f"loss_{name}"], rtol=1e-5)
    for name in ("D_Fake", "D_real"):
        close(terms["discriminator"][name], arrays[f"step1_{name}"])
    statistics = {n: v.numpy() for n, v in named_variables(model).items()}
    assert compare_known(statistics, in_our_terms(model.config, stored_names(arrays, "after1."))) > 60
    expected = in_our_terms(model.config, stored_names(arrays, "grad."))
    assert compare_known(gradients["generator"], expected, of_gradient) == 15

    noise(arrays["eps2"])
    terms, _, gradients = one_pass(model, batch)
    for name in ("D_Fake", "D_real"):
        close(terms["discriminator"][name], arrays[f"loss_{name}"])
    statistics = {n: v.numpy() for n, v in named_variables(model).items()}
    assert compare_known(statistics, in_our_terms(model.config, stored_names(arrays, "after2."))) > 60
    of_discriminator = {f"grad_D.D.{k[7:]}": v for k, v in arrays.items() if k.startswith("grad_D.")}
    expected = in_our_terms(model.config, stored_names(of_discriminator, "grad_D."))
    assert compare_known(gradients["discriminator"], expected, of_gradient) == 4


def test_training_discriminator_features(tmp_path, noise):
    run_dir, arrays = converted("spade_train", tmp_path / "run")
    model = training_model(run_dir)
    model.advance_spectral_norms()
    given = model.shown(layout_of(arrays), tf.constant(arrays["image"]), tf.constant(arrays["real_image"]))
    fakes, reals = (layers_of(judged) for judged in model.adversary.judge(given))
    for scale in range(2):
        for layer in (2, 3, 4):
            both = np.concatenate([fakes[scale][layer], reals[scale][layer]])
            close(both, arrays[f"d{scale}_{layer}"])
