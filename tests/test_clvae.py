"""clVAE: its encoder by loops, which level each block sees, its KL term, styles and edits."""

import functools

import cv2
import numpy as np
import pytest
import tensorflow as tf
from helpers import shallow_networks, tiny_config, write_run

from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.evaluation.generating import GenerateOptions, generate
from semantic_synthesis.evaluation.manifest import style_seed
from semantic_synthesis.inference import load_run
from semantic_synthesis.layers import Initializer
from semantic_synthesis.methods.clvae import class_divergence
from semantic_synthesis.methods.clvae.encoder import ClassEncoder, PhotoStyle
from semantic_synthesis.methods.conditional_gan import random_rows
from semantic_synthesis.normalization import LabelRows
from semantic_synthesis.restyling import apply_edits, parse_edit
from semantic_synthesis.runs import build_method

CLASSES, LATENT = 6, 3
OPTIONS = {"method": "clvae", "encoder_size": 128, "latent_dim": 5}


def random_maps(height, width, classes=CLASSES, seed=0):
    """Label maps int32 [2,H,W] of blocks and scattered pixels; photos float32 [2,H,W,3]."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes - 1, (2, height // 16, width // 16)).repeat(16, 1).repeat(16, 2)
    label[rng.uniform(size=label.shape) < 0.01] = 1
    return label.astype(np.int32), rng.uniform(-1, 1, (2, height, width, 3)).astype(np.float32)


@functools.cache
def encoder():
    return ClassEncoder(2, 4, CLASSES, LATENT, size=128, init=Initializer("xavier", 1.0))


def test_encoder_takes_the_largest_value_of_each_class():
    """Loops over images, classes and levels, on the features of the encoder's own convolutions."""
    label, image = random_maps(128, 128)
    label[0, 5, 7] = CLASSES - 1  # on no grid: odd place
    found = encoder()(tf.constant(image), tf.constant(label))
    x = image
    for level, conv in enumerate(encoder().convs):
        features = conv(x).numpy()
        small = label[:, :: 2 ** (level + 1), :: 2 ** (level + 1)]
        assert features.shape[1:3] == small.shape[1:]
        for b in range(2):
            for c in range(CLASSES):
                inside = small[b] == c
                assert found.present[b, level, c].numpy() == inside.any()
                if not inside.any():
                    assert (found.mean[b, level, c].numpy() == 0).all()
                    assert (found.log_variance[b, level, c].numpy() == 0).all()
                    continue
                largest = features[b][inside].max(0)
                largest = np.where(largest < 0, 0.2 * largest, largest)
                for heads, values in (
                    (encoder().means, found.mean),
                    (encoder().log_variances, found.log_variance),
                ):
                    head = heads[level]
                    expected = largest @ head.kernel.numpy() + head.bias.numpy()
                    np.testing.assert_allclose(values[b, level, c], expected, atol=1e-5)
        x = tf.nn.leaky_relu(features, 0.2)
    np.testing.assert_array_equal(
        found.seen, [[(label[b] == c).any() for c in range(CLASSES)] for b in range(2)]
    )
    assert np.abs(found.mean).max() > 0.1


def test_encoder_squashes_wide_photos():
    """A 2:1 photo: every second column of the label map, pixel pairs of the photo averaged."""
    label, image = random_maps(128, 256, seed=1)
    found = encoder()(tf.constant(image), tf.constant(label))
    squashed = image.reshape(2, 128, 128, 2, 3).mean(3)
    expected = encoder()(tf.constant(squashed), tf.constant(label[:, :, ::2]))
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(value.numpy().astype(float), wanted.numpy().astype(float), atol=1e-5)


def test_small_encoders_are_refused():
    with pytest.raises(ValueError, match="encoder_size is 64; expected a power of two of 128 or more"):
        ClassEncoder(2, 4, CLASSES, LATENT, size=64, init=Initializer())


@pytest.mark.parametrize("depth", ["normal", "more", "most"])
def test_levels_go_by_block(depth):
    """What each block sees: embedding + latent of levels 4, 3, 3, 2, 1, 0, then the one-hot map."""
    config = tiny_config(
        **OPTIONS, num_upsampling_layers=depth, crop_size=128, modulation="dense", use_vae=False
    )
    model = build_method(config, training=False)
    label = render_scene(3, 128, 128).label[None].astype(np.int32)
    style = model.sample_style(None, tf.constant([1, 2], tf.int64))
    seen = []
    model.generator = lambda initial, conditions, training: seen.extend(conditions)
    model.synthesize({"label": tf.constant(label)}, style)
    embedding = model.embedding.weight.numpy()
    for condition, stride, level in zip(seen, model.strides, (4, 3, 3, 2, 1, 0, None, None), strict=False):
        small = label[0, ::stride, ::stride]
        if level is None:
            assert not isinstance(condition, LabelRows)
            np.testing.assert_array_equal(condition.tokens[0], small)
            continue
        for sample in range(2):
            expected = embedding[small] + style["class_latents"].numpy()[sample, level][small]
            found = condition.rows.numpy()[condition.plan.tokens.numpy()[sample]]
            np.testing.assert_allclose(found, expected, atol=1e-6)
    assert len(seen) == len(model.strides) == (8 if depth == "most" else 7)


def photo_style(seed, batch):
    rng = np.random.default_rng(seed)
    present = rng.uniform(size=(batch, 5, CLASSES)) < 0.5
    present[..., 0] = True
    mean, log_variance = rng.normal(0, 1, (2, batch, 5, CLASSES, LATENT)) * present[..., None]
    z_mean, z_log_variance = rng.normal(0, 1, (2, batch, 4))
    floats = [tf.constant(x, tf.float32) for x in (mean, log_variance, z_mean, z_log_variance)]
    return PhotoStyle(*floats[:2], tf.constant(present), tf.constant(present.any(1)), *floats[2:])


def test_divergence_is_a_mean_over_the_classes_present():
    found, total = photo_style(0, 4), 0.0

    def divergence(mean, log_variance):
        mean, log_variance = np.asarray(mean, float), np.asarray(log_variance, float)
        return -0.5 * (1 + log_variance - mean**2 - np.exp(log_variance)).sum()

    for b in range(4):
        total += divergence(found.z_mean[b], found.z_log_variance[b])
        for level in range(5):
            classes = np.flatnonzero(found.present[b, level])
            terms = [divergence(found.mean[b, level, c], found.log_variance[b, level, c]) for c in classes]
            total += np.mean(terms)
    np.testing.assert_allclose(class_divergence(found), total / 4, rtol=1e-6)
    picture = sum(divergence(found.z_mean[b], found.z_log_variance[b]) for b in range(4)) / 4
    np.testing.assert_allclose(
        class_divergence(found, 0.5, 0.1), 0.5 * picture + 0.1 * (total / 4 - picture), rtol=1e-6
    )
    # Devices with half a batch each and unequal mixes of classes: the mean of theirs is that of all.
    halves = [class_divergence(PhotoStyle(*(x[i : i + 2] for x in found))) for i in (0, 2)]
    assert abs(halves[0] - halves[1]) > 0.01
    np.testing.assert_allclose(np.mean(halves), total / 4, rtol=1e-6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of 64x64 pictures, maps and photos of two scenes, of which the second lacks classes of the first."""
    path = tmp_path_factory.mktemp("clvae")
    with shallow_networks((2, 1)):
        write_run(path / "run", **OPTIONS, crop_size=64, aspect_ratio=1.0)
    for kind in ("maps", "photos"):
        (path / kind).mkdir()
    for name, seed in (("a", 5), ("b", 11)):
        found = render_scene(seed, 64, 64)
        cv2.imwrite(str(path / "maps" / f"{name}.png"), found.label)
        cv2.imwrite(str(path / "photos" / f"{name}.png"), found.image[..., ::-1])
    return path


@pytest.fixture(scope="module")
def run(folder):
    with shallow_networks((2, 1)):
        return load_run(str(folder / "run"))


def classes_of(folder, name):
    return set(np.unique(cv2.imread(str(folder / "maps" / f"{name}.png"), 0)).tolist())


def restyled(run, folder, *texts):
    """(style of seed 1, after edits of layout a)."""
    label = cv2.imread(str(folder / "maps" / "a.png"), 0)
    style = run.sample_style([1], run.layout(label))
    edits = [parse_edit(text, run.table.names) for text in texts]
    return style, apply_edits(run, edits, label, None, style)


def encoded_alone(run, folder, name):
    label, photo = (cv2.imread(str(folder / kind / f"{name}.png")) for kind in ("maps", "photos"))
    return run.read_photos(photo[..., ::-1], run.layout(label[..., 0]))


def test_edits_of_one_class_at_some_levels(run, folder):
    sky = run.table.names.index("sky")
    for text, levels in (
        ("class:sky/3-4", slice(3, 5)),
        ("class:sky/0", slice(0, 1)),
        ("class:sky", slice(0, 5)),
    ):
        before, after = restyled(run, folder, f"{text}=seed:9")
        changed = (before["class_latents"].numpy() != after["class_latents"].numpy()).any(-1)[0]
        expected = np.zeros_like(changed)
        expected[levels, sky] = True
        np.testing.assert_array_equal(changed, expected)
        np.testing.assert_array_equal(before["z"], after["z"])
        other = run.sample_style([9])["class_latents"].numpy()
        np.testing.assert_array_equal(after["class_latents"].numpy()[0, expected], other[0, expected])
    _, half = restyled(run, folder, "class:sky/3-4=seed:9@0.5")
    middle = (before["class_latents"].numpy() + other) / 2
    np.testing.assert_allclose(half["class_latents"][:, 3:, sky], middle[:, 3:, sky], atol=1e-6)


def test_edits_of_the_whole_picture(run, folder):
    before, after = restyled(run, folder, "picture=seed:9")
    np.testing.assert_array_equal(before["class_latents"], after["class_latents"])
    np.testing.assert_array_equal(after["z"], run.sample_style([9])["z"])
    source = f"{folder / 'photos' / 'b.png'},{folder / 'maps' / 'b.png'}"
    _, after = restyled(run, folder, f"picture={source}")
    np.testing.assert_allclose(after["z"], encoded_alone(run, folder, "b").values["z"], atol=1e-5)


def test_photos_decide_the_classes_they_show(run, folder):
    """Levels at which a small class of the photo has no pixel are 0; classes it lacks keep the seed's rows."""
    source = f"{folder / 'photos' / 'b.png'},{folder / 'maps' / 'b.png'}"
    before, after = restyled(run, folder, f"all={source}")
    theirs = encoded_alone(run, folder, "b").values["class_latents"].numpy()
    shown = sorted(classes_of(folder, "b"))
    hidden = sorted(set(range(run.table.num_classes)) - set(shown))
    assert classes_of(folder, "a") & set(hidden), "a class of the layout that the photo lacks"
    before, after = before["class_latents"].numpy(), after["class_latents"].numpy()
    np.testing.assert_array_equal(after[:, :, hidden], before[:, :, hidden])
    np.testing.assert_allclose(after[:, :, shown], theirs[:, :, shown], atol=1e-5)


def test_a_class_without_coarse_cells_gives_zeros(run, folder):
    photo = cv2.imread(str(folder / "photos" / "a.png"))
    label = np.zeros((64, 64), np.uint8)
    label[33, 33] = 7  # rows and columns 66 and 67 of the encoder's 128: on the grid of level 0 alone
    style = run.encode_style(photo, run.layout(label), seed=4)["class_latents"].numpy()[0]
    seeded = run.sample_style([4])["class_latents"].numpy()[0]
    assert (style[1:, 7] == 0).all() and (style[0, 7] != 0).any() and (style[:, 0] != 0).any()
    absent = [c for c in range(run.table.num_classes) if c not in (0, 7)]
    np.testing.assert_array_equal(style[:, absent], seeded[:, absent])


def test_generate_with_the_style_of_another_item(run, folder, tmp_path):
    """Every layout in the style of item b, as the original's --style_id; open rows by the layout's own seed."""
    (tmp_path / "style").mkdir()
    (tmp_path / "style" / "b.png").write_bytes((folder / "photos" / "b.png").read_bytes())
    options = GenerateOptions(
        str(folder / "run"),
        str(folder / "maps"),
        style_dir=str(tmp_path / "style"),
        style_label_dir=str(folder / "maps"),
        results_dir=str(tmp_path / "out"),
        seed=6,
    )
    with shallow_networks((2, 1)):
        generate(options)
        with pytest.raises(ValueError, match=r"one style photo for 2 layouts.*--style_label_dir"):
            generate(GenerateOptions(**{**vars(options), "style_label_dir": "", "results_dir": "x"}))
    label, photo = (cv2.imread(str(folder / kind / "b.png")) for kind in ("maps", "photos"))
    for name in "ab":
        layout = run.layout(cv2.imread(str(folder / "maps" / f"{name}.png"), 0))
        style = run.encode_style(photo[..., ::-1], layout, style_seed(6, name, 0), run.layout(label[..., 0]))
        expected = run.synthesize(layout, style)[0].astype(int)
        found = cv2.imread(str(tmp_path / "out" / f"{name}.png"))[..., ::-1]
        assert np.abs(found - expected).max() <= 1 and expected.std() > 5


def test_defaults_of_the_paper():
    from semantic_synthesis.methods import make_config

    config = tiny_config(method="clvae", encoder_size=128, latent_dim=None, num_encoder_filters=None)
    assert (config.lambda_kld, config.total_epochs, config.decay_epoch, config.use_vae) == (0.2, 50, 50, True)
    with shallow_networks():
        model = build_method(config)
    assert model.latent_dim == config.num_classes == 14
    assert model.encoder.convs[0].conv.kernel.shape[-1] == config.num_generator_filters
    rate = model.objectives()["generator"].rate
    assert rate(49.9) == config.lr / 2 and id(model.embedding.weight) in {
        id(v) for v in model.objective_variables("generator")
    }
    with shallow_networks(), pytest.raises(ValueError, match="--latent_dim 0; expected 1 or more"):
        build_method(config.replace(latent_dim=0))
    from semantic_synthesis.data import catalogue
    from semantic_synthesis.data.resolving import fill_options

    for mode, width, depth in (("deepfashion", 160, "more"), ("gta5", 64, "more"), ("ade20k", 64, "normal")):
        filled = fill_options(make_config("clvae"), catalogue.describe(mode))
        assert (filled.num_generator_filters, filled.num_upsampling_layers) == (width, depth)
        assert fill_options(make_config("spade"), catalogue.describe(mode)).num_generator_filters == 64


def test_training_without_an_encoder_is_all_random():
    with shallow_networks():
        model = build_method(tiny_config(**OPTIONS, use_vae=False))
    label, image = random_maps(32, 32)
    batch = {"label": tf.constant(label), "image": tf.constant(image), "row": tf.range(2, dtype=tf.int64)}
    terms = model.compute_losses(batch)
    assert set(terms["generator"]) == {"GAN", "GAN_Feat"} and not random_rows(batch["row"], 0.0).numpy().any()
    assert not model.encode_style(batch["image"], {"label": batch["label"]}).values
