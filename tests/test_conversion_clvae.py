"""clVAE's original tensors (spec, section 10) for every dataset and depth; files that do not fit."""

import functools

import numpy as np
import pytest
import reference_clvae
import reference_spade as reference
import tensorflow as tf
from helpers import layout_map

torch = pytest.importorskip("torch", reason="reading .pth files needs PyTorch (pip install torch)")

from semantic_synthesis import runs
from semantic_synthesis.config import Config
from semantic_synthesis.convert import ConvertOptions, convert
from semantic_synthesis.layers.naming import named_variables

BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "weight_u", "weight_v")
# Classes, length of latents, width, depth, height and width of the pictures; parameters of G, E and D.
DATASETS = {
    "ade20k": (151, 151, 64, "normal", (256, 256), (111_965_396, 10_909_478, 5_836_930)),
    "deepfashion": (16, 16, 160, "more", (256, 256), (490_976_099, 49_776_512, 5_560_450)),
    "gta5": (20, 20, 64, "more", (256, 512), (100_805_203, 10_522_504, 5_568_642)),
}
LEVELS = {
    "head_0": 4,
    "G_middle_0": 3,
    "G_middle_1": 3,
    "up_0": 2,
    "up_1": 1,
    "up_2": 0,
    "up_3": None,
    "up_4": None,
}


def cells(depth, height, width):
    return (height >> reference.HALVED[depth]) * (width >> reference.HALVED[depth])


def generator_shapes(width, classes, latent, depth, size, z=256, hidden=128):
    """A SPADE generator whose label convolutions see latents in all blocks but the last."""
    vae = (z, cells(depth, *size))
    found = reference.generator_shapes(width, classes, depth, vae=vae, hidden=hidden)
    for name, shape in found.items():
        if name.endswith("mlp_shared.0.weight") and LEVELS[name.split(".")[0]] is not None:
            found[name] = (shape[0], latent, *shape[2:])
    return {"embedding.weight": (classes, latent)} | found


def encoder_shapes(width, latent):
    found = reference.encoder_shapes(width)
    for level, share in enumerate((1, 2, 4, 8, 8), 1):
        for head in ("fc_mu", "fc_var"):
            found[f"{head}{level}.weight"], found[f"{head}{level}.bias"] = (latent, share * width), (latent,)
    return found


def parameters(shapes):
    return sum(int(np.prod(shape)) for name, shape in shapes.items() if not name.endswith(BUFFERS))


@pytest.mark.parametrize("mode", DATASETS)
def test_counts_of_the_specification(mode):
    classes, latent, width, depth, size, counts = DATASETS[mode]
    shapes = (
        generator_shapes(width, classes, latent, depth, size),
        encoder_shapes(width, latent),
        reference.discriminator_shapes(64, classes + 3),
    )
    assert tuple(map(parameters, shapes)) == counts
    assert tuple(map(len, shapes)) == (235, 42, 26)


def save(folder, **files):
    """Saves state dicts of these shapes; {role: path} and {role: tensors}."""
    tensors = {role: reference.filled(shapes) for role, shapes in files.items()}
    for role, of_file in tensors.items():
        for name in of_file:  # the sines would drive features and rounding high
            if "mlp_" in name:
                of_file[name] = of_file[name] * 0.5
        torch.save({name: torch.tensor(array) for name, array in of_file.items()}, folder / f"{role}.pth")
    return {role: str(folder / f"{role}.pth") for role in tensors}, tensors


@pytest.mark.parametrize("mode", DATASETS)
def test_named_datasets_need_no_flags(mode, tmp_path):
    """Narrow networks with latents of another length; all options are read off the files and the dataset."""
    classes, _, _, depth, size, _ = DATASETS[mode]
    files, _ = save(
        tmp_path,
        source=generator_shapes(1, classes, 3, depth, size, z=4, hidden=2),
        encoder=encoder_shapes(2, 3)
        | {
            f"{head}.{part}": shape
            for head in ("fc_mu", "fc_var")
            for part, shape in (("weight", (4, 256)), ("bias", (4,)))
        },
        discriminator=reference.discriminator_shapes(4, classes + 3),
    )
    run_dir = tmp_path / "run"
    convert(ConvertOptions(method="clvae", dataset_mode=mode, checkpoint_dir=str(run_dir), **files))
    config = Config.load(run_dir)
    assert (config.num_classes, config.latent_dim, config.z_dim) == (classes, 3, 4)
    assert (config.num_generator_filters, config.num_encoder_filters, config.encoder_size) == (1, 2, 256)
    assert (config.num_upsampling_layers, (config.crop_height, config.crop_size)) == (depth, size)
    assert config.use_vae and config.no_instance


@pytest.mark.parametrize("depth, size", [("more", (64, 128)), ("most", (128, 128))])
def test_generator(depth, size, tmp_path):
    """Against float64 NumPy where the fixtures show nothing: other depths, pictures that are not square."""
    files, tensors = save(tmp_path, source=generator_shapes(2, 5, 3, depth, size, z=4, hidden=8))
    run_dir = tmp_path / "run"
    convert(
        ConvertOptions(
            method="clvae",
            checkpoint_dir=str(run_dir),
            num_upsampling_layers=depth,
            crop_size=size[1],
            aspect_ratio=size[1] / size[0],
            **files,
        )
    )
    config = Config.load(run_dir)
    model = runs.build_method(config, training=False)
    runs.load_weights(model, run_dir)
    arrays = {name: v.numpy().astype(float) for name, v in named_variables(model).items()}
    label = (np.stack([layout_map(*size), layout_map(*size, 3)]) % 5).astype(np.int32)
    rng = np.random.default_rng(0)
    style = {"class_latents": rng.normal(size=(2, 5, 5, 3)), "z": rng.normal(size=(2, 4))}
    source = tensors["source"]
    first = style["z"] @ source["fc.weight"].T + source["fc.bias"]
    first = first.reshape(2, -1, size[0] >> reference.HALVED[depth], size[1] >> reference.HALVED[depth])
    floats = {name: tf.constant(x, tf.float32) for name, x in style.items()}
    np.testing.assert_allclose(model.enter(floats["z"]), first.transpose(0, 2, 3, 1), atol=1e-5)
    blocks = [(name, stride, LEVELS[name]) for name, stride in zip(LEVELS, model.strides, strict=False)]
    expected = reference_clvae.generator(arrays, blocks, label, *style.values(), training=False)
    assert 0.05 < expected.std() < 0.95
    for form in ("dense", "patches"):
        model.form = form
        found = model.synthesize({"label": tf.constant(label)}, floats)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4, err_msg=form)


def test_files_and_flags_that_do_not_fit(tmp_path):
    small = functools.partial(generator_shapes, 1, 4, 3, "normal", (64, 64), z=4, hidden=2)
    (tmp_path / "other").mkdir()
    files, _ = save(tmp_path, source=small(), encoder=encoder_shapes(1, 3))
    others, _ = save(
        tmp_path / "other",
        source=reference.generator_shapes(1, 4, vae=(4, 4), hidden=2),
        encoder=encoder_shapes(1, 5),
    )
    flags = {"method": "clvae", "num_upsampling_layers": "normal", "crop_size": 64, "aspect_ratio": 1.0}
    for words, changes in (
        (
            ("source.pth", "looks like spade (--source): take --method spade"),
            {"source": others["source"]},
        ),
        (
            ("source.pth", "looks like clvae: take --method clvae"),
            {"source": files["source"], "method": "spade"},
        ),
        (("encoder.pth", "given as --source"), {"source": files["encoder"]}),
        (("latent_dim is 3", "and 5 in"), {**files, "encoder": others["encoder"]}),
        (("latent_dim is 3", "--latent_dim asks for 8"), {"source": files["source"], "latent_dim": 8}),
        (("no_instance is True", "asks for False"), {"source": files["source"], "no_instance": False}),
        (("4 semantic channels", "expected 20"), {"source": files["source"], "dataset_mode": "gta5"}),
        (("4 cells", "--crop_size"), {"source": files["source"], "crop_size": 128}),
    ):
        with pytest.raises(ValueError) as caught:
            convert(ConvertOptions(**{**flags, "checkpoint_dir": str(tmp_path / "run"), **changes}))
        message = str(caught.value)
        assert "\n" not in message and all(word in message for word in words), message
    assert not (tmp_path / "run").exists()
