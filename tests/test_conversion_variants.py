"""Converted models equal a slow plain reference where the fixtures show nothing.

That is: norms, depths, non-square pictures, numbers of scales, files of old PyTorch.
"""

import functools
import itertools

import numpy as np
import pytest
import reference_spade as reference
import tensorflow as tf
from helpers import layers_of

torch = pytest.importorskip("torch", reason="reading .pth files needs PyTorch (pip install torch)")

from semantic_synthesis import runs
from semantic_synthesis.config import Config
from semantic_synthesis.convert import ConvertOptions, convert
from semantic_synthesis.originals.spectral import complete_spectral_norms

close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-4)
CLASSES = 3
torch.set_num_threads(1)  # the pictures are small; more threads only get in TensorFlow's way


def save(path, tensors, **options):
    torch.save({name: torch.tensor(array) for name, array in tensors.items()}, path, **options)
    return str(path)


def make_run(folder, generator, encoder=None, discriminator=None, **flags):
    """Saves state dicts as .pth files and converts them; returns the run folder."""
    files = {"source": generator, "encoder": encoder, "discriminator": discriminator}
    paths = {role: save(folder / f"{role}.pth", of) for role, of in files.items() if of}
    given = {"no_instance": True, "num_upsampling_layers": "normal", "crop_size": 64, **flags}
    return convert(ConvertOptions(**paths, checkpoint_dir=str(folder / "run"), **given))


def random_maps(height, width, classes=CLASSES, seed=0):
    """Label and instance map of blocks: int32 [2,H,W] each."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, [[[[classes]]], [[[4]]]], (2, 2, -(-height // 8), -(-width // 8)))
    label, instance = coarse.repeat(8, 2).repeat(8, 3)[:, :, :height, :width].astype(np.int32)
    label[:, ::7, ::5] = 0
    return label, instance


VARIANTS = {
    "instance norm": ("spectralspadeinstance3x3", "normal", (32, 64), False),
    "batch norm": ("spectralspadebatch3x3", "normal", (64, 32), True),
    "no spectral norm": ("spadesyncbatch3x3", "more", (64, 64), False),
    "plain instance norm": ("spadeinstance3x3", "normal", (32, 32), True),
    "most": ("spectralspadesyncbatch3x3", "most", (128, 128), True),
    "1x1 modulation": ("spectralspadesyncbatch1x1", "normal", (32, 64), True),
    "5x5 modulation": ("spectralspadesyncbatch5x5", "normal", (32, 64), True),
}


@pytest.mark.parametrize("norm, depth, size, edges", VARIANTS.values(), ids=VARIANTS)
def test_generator(norm, depth, size, edges, tmp_path):
    shapes = reference.generator_shapes(4, CLASSES + edges, depth, norm, hidden=16)
    tensors = reference.filled(shapes)
    for name in tensors:  # without spectral norm the sines would drive features and rounding high
        if ".conv_" in name and name.endswith(".weight"):
            tensors[name] *= 0.4
    flags = {"no_instance": not edges, "num_upsampling_layers": depth, "crop_size": size[1]}
    run_dir = make_run(tmp_path, tensors, norm_G=norm, aspect_ratio=size[1] / size[0], **flags)
    config, model = runs.open_run(run_dir)
    assert (config.norm_G, config.num_hidden_filters, config.num_generator_filters) == (norm, 16, 4)
    label, instance = random_maps(*size)
    seg = reference.semantics(label, instance if edges else None, CLASSES)
    expected = reference.generator(tensors, seg, depth).transpose(0, 2, 3, 1)
    assert 0.05 < expected.std() < 0.95
    for form in ("dense", "patches") if "3x3" in norm else ("dense",):
        model.form = form
        layout = {"label": tf.constant(label), "instance": tf.constant(instance)}
        close(model.synthesize(layout, {}), expected, err_msg=form)


def test_norm_is_read_off_the_tensors(tmp_path):
    for norm, expected in {
        "spectralspadeinstance3x3": "spectralspadeinstance3x3",
        "spadebatch5x5": "spadesyncbatch5x5",
    }.items():
        folder = tmp_path / norm
        folder.mkdir()
        tensors = reference.filled(reference.generator_shapes(2, 3, "most", norm, hidden=4))
        run_dir = make_run(folder, tensors, num_upsampling_layers=None, crop_size=128)
        assert Config.load(run_dir).norm_G == expected
        assert Config.load(run_dir).num_upsampling_layers == "most"


@pytest.mark.parametrize("norm", ["spectralnone", "spectralsync_batch", "spectral"])
def test_style_vector_and_encoder(norm, tmp_path):
    """A flat picture of 128x64, so that rows, columns and channels of `fc` cannot be mistaken for
    another."""
    generator = reference.filled(reference.generator_shapes(2, CLASSES, "normal", vae=(256, 8), hidden=8))
    encoder = reference.filled(reference.encoder_shapes(2, norm))
    run_dir = make_run(tmp_path, generator, encoder, crop_size=128, aspect_ratio=2.0, norm_E=norm)
    config, model = runs.open_run(run_dir)
    assert (config.use_vae, config.z_dim, config.num_encoder_filters) == (True, 256, 2)
    rng = np.random.default_rng(1)
    photo = rng.uniform(-1, 1, (2, 64, 128, 3)).astype(np.float32)
    expected = reference.encoder(encoder, photo.transpose(0, 3, 1, 2))
    for found, wanted in zip(model.encoder(tf.constant(photo)), expected, strict=True):
        close(found, wanted)
    label, _ = random_maps(64, 128)
    image = model.synthesize({"label": tf.constant(label)}, {"z": tf.constant(expected[0])})
    seg = reference.semantics(label, None, CLASSES)
    close(image, reference.generator(generator, seg, "normal", expected[0]).transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    "scales, layers, norm",
    [
        (3, 4, "spectralinstance"),
        (1, 3, "spectralbatch"),
        (2, 5, "spectralsync_batch"),
        (2, 2, "spectralnone"),
    ],
)
def test_discriminator(scales, layers, norm, tmp_path):
    generator = reference.filled(reference.generator_shapes(2, CLASSES, hidden=4))
    tensors = reference.filled(reference.discriminator_shapes(4, CLASSES + 3, scales, layers, norm))
    run_dir = make_run(tmp_path, generator, discriminator=tensors)
    config = Config.load(run_dir)
    assert (config.num_discriminators, config.num_discriminator_layers) == (scales, layers)
    model = runs.build_method(config.replace(no_vgg_loss=True), initial_weights=False)
    runs.load_weights(model, run_dir)
    label, _ = random_maps(50, 37)  # odd sizes too
    photo = np.random.default_rng(2).uniform(-1, 1, (2, 50, 37, 3)).astype(np.float32)
    outputs = layers_of(model.discriminator(tf.one_hot(label, CLASSES), tf.constant(photo)))
    seg = reference.semantics(label, None, CLASSES)
    expected = reference.discriminator(
        tensors, np.concatenate([seg, photo.transpose(0, 3, 1, 2)], 1), scales, layers
    )
    assert [len(scale) for scale in outputs] == [layers + 1] * scales
    for found, wanted in zip(itertools.chain(*outputs), itertools.chain(*expected), strict=True):
        close(found, wanted.transpose(0, 2, 3, 1))


def test_files_of_old_pytorch(tmp_path):
    """Before 1.0.1: `weight` is stored divided by sigma, and weight_v is missing."""
    tensors = reference.filled(reference.generator_shapes(2, CLASSES, hidden=8))
    old = {}
    for name, array in tensors.items():
        if name.endswith("weight_orig"):
            stem = name.removesuffix("_orig")
            u, v = tensors[f"{stem}_u"], tensors[f"{stem}_v"]
            old[stem] = array / (u @ (array.reshape(len(u), -1) @ v))
        if not name.endswith("weight_v"):
            old[name] = array
    run_dir = make_run(tmp_path, old)
    _, model = runs.open_run(run_dir)
    label, _ = random_maps(64, 64)
    image = model.synthesize({"label": tf.constant(label)}, {})
    seg = reference.semantics(label, None, CLASSES)
    close(image, reference.generator(tensors, seg, "normal").transpose(0, 2, 3, 1))
    completed, dropped = complete_spectral_norms(old, "old.pth")
    assert set(completed) == set(tensors)
    assert len(dropped) == sum(name.endswith("weight_orig") for name in tensors)


def test_files_of_the_younger_spectral_norm(tmp_path):
    """torch.nn.utils.parametrizations.spectral_norm: the same tensors under other names."""
    names = {"_orig": ".original", "_u": ".0._u", "_v": ".0._v"}
    tensors = reference.filled(reference.generator_shapes(1, CLASSES, hidden=2))
    renamed = {}
    for name, array in tensors.items():
        stem, weight, end = name.rpartition(".weight")
        renamed[f"{stem}.parametrizations.weight{names[end]}" if weight and end else name] = array
    completed, dropped = complete_spectral_norms(renamed, "net_G.pth")
    assert not dropped and set(completed) == set(tensors)
    assert all(completed[name] is tensors[name] for name in tensors)
    assert Config.load(make_run(tmp_path, renamed)).norm_G == "spectralspadesyncbatch3x3"


@pytest.mark.parametrize(
    "mode, classes, edges, depth, size",
    [
        ("ade20k", 151, False, "normal", (256, 256)),
        ("cityscapes", 35, True, "more", (256, 512)),
        ("coco", 183, True, "normal", (256, 256)),
        ("facades", 13, False, "normal", (256, 256)),
    ],
)
def test_named_datasets_need_no_flags(mode, classes, edges, depth, size, tmp_path):
    path = save(
        tmp_path / "net_G.pth",
        reference.filled(reference.generator_shapes(1, classes + edges, hidden=2)),
    )
    run_dir = convert(ConvertOptions(source=path, dataset_mode=mode, checkpoint_dir=str(tmp_path / "run")))
    config = Config.load(run_dir)
    assert (config.num_classes, config.no_instance) == (classes, not edges)
    assert (config.num_upsampling_layers, config.crop_height, config.crop_size) == (depth, *size)
    assert config.dataset_mode == mode


@pytest.mark.parametrize("change", ["module prefix", "old format", "float16", "bfloat16"])
def test_ways_of_saving(change, tmp_path):
    tensors = reference.filled(reference.generator_shapes(1, CLASSES, hidden=2))
    expected = tensors["conv_img.weight"].transpose(2, 3, 1, 0)
    state = {name: torch.tensor(array) for name, array in tensors.items()}
    if change == "module prefix":
        state = {f"module.{name}": tensor for name, tensor in state.items()}
    if "16" in change:
        kind = getattr(torch, change)
        state = {n: t.to(kind) if t.is_floating_point() else t for n, t in state.items()}
        expected = torch.tensor(expected).to(kind).float().numpy()
    path = tmp_path / "net_G.pth"
    torch.save(state, path, _use_new_zipfile_serialization=change != "old format")
    flags = {"no_instance": True, "num_upsampling_layers": "more", "contain_dontcare_label": True}
    run_dir = convert(ConvertOptions(source=str(path), checkpoint_dir=str(tmp_path / "run"), **flags))
    with np.load(f"{run_dir}/weights.npz") as arrays:
        np.testing.assert_array_equal(arrays["generator/conv_img/kernel"], expected)
        assert all(arrays[name].dtype == np.float32 for name in arrays.files)
    table = Config.load(run_dir).class_table
    assert (table["raw_ids"], table["unknown"]) == ([0, 1, 255], 2)
