"""Converted CLADE, INADE and OASIS at depths, shapes and norms that no fixture has paint as plain modules do."""

import functools

import numpy as np
import pytest
import reference_spade
import tensorflow as tf
from helpers import layout_map
from scipy import ndimage

torch = pytest.importorskip("torch", reason="writing .pth files needs PyTorch (pip install torch)")

import reference_modules as reference

from semantic_synthesis import runs
from semantic_synthesis.convert import ConvertOptions, convert

CLASSES, INSTANCES = 4, 5
close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-4)


def converted(tmp_path, method, module, size, **options):
    """(config, method) of the run that a module's state dict becomes."""
    torch.save(module.state_dict(), tmp_path / "net_G.pth")
    options |= {"source": str(tmp_path / "net_G.pth"), "checkpoint_dir": str(tmp_path / "run")}
    return runs.open_run(
        convert(ConvertOptions(method=method, crop_size=size[1], aspect_ratio=size[1] / size[0], **options))
    )


def maps(size):
    """Label and instance map int [2,H,W]; the last instance is in the first sample alone."""
    label = np.stack([layout_map(*size), layout_map(*size, 3)]) % CLASSES
    instance = (label + np.arange(size[1]) // 24) % INSTANCES
    instance[1] = np.minimum(instance[1], INSTANCES - 2)
    return label, instance


def layout(label, instance):
    return {"label": tf.constant(label, tf.int32), "instance": tf.constant(instance, tf.int32)}


def painted(module, *inputs):
    with torch.no_grad():
        picture = module(*inputs).permute(0, 2, 3, 1).numpy()
    assert 0.05 < picture.std() < 0.95
    return picture


def places(label):
    """float [N,2,H,W]: rows and columns from the centroid of each 8-connected region, over the largest there."""
    found = np.zeros((len(label), 2, *label.shape[1:]), np.float32)
    for sample, number in ((b, c) for b in range(len(label)) for c in range(1, CLASSES)):
        regions, count = ndimage.label(label[sample] == number, np.ones((3, 3)))
        for region in range(1, count + 1):
            inside = np.nonzero(regions == region)
            for axis, place in enumerate(inside):
                offset = place - place.mean()
                found[sample, axis][inside] = offset / (np.abs(offset).max() + 1e-5)
    return found


@pytest.mark.parametrize(
    "depth, size, edges, positions, z_dim, kind",
    [
        ("normal", (32, 64), False, True, None, "syncbatch"),
        ("more", (64, 128), True, False, None, "syncbatch"),
        ("normal", (64, 32), True, True, 3, "syncbatch"),
        ("normal", (64, 64), True, True, None, "instance"),
    ],
)
def test_clade(depth, size, edges, positions, z_dim, kind, tmp_path):
    def norm(channels):
        return reference.CLADE(channels, CLASSES, kind, edges, positions)

    inputs = CLASSES + edges
    module = reference.filled(reference.Generator(2, norm, inputs, size, depth, z_dim, extra=int(edges)))
    label, instance = maps(size)
    seg = reference_spade.semantics(label, instance if edges else None, CLASSES)
    condition = {"seg": torch.tensor(seg), "places": torch.tensor(places(label))}
    z = torch.randn(2, z_dim, generator=torch.Generator().manual_seed(1)) if z_dim else None
    _, model = converted(tmp_path, "clade", module, size, num_upsampling_layers=depth)
    style = {} if z is None else {"z": tf.constant(z.numpy())}
    close(model.synthesize(layout(label, instance), style), painted(module, condition, z))


@pytest.mark.parametrize(
    "depth, size, kind",
    [
        ("more", (64, 128), "syncbatch"),
        ("normal", (96, 64), "instance"),
    ],
)
def test_inade(depth, size, kind, tmp_path):
    def norm(channels):
        return reference.INADE(channels, CLASSES, 3, kind)

    module = reference.filled(reference.Generator(2, norm, CLASSES + 1, size, depth, z_dim=6))
    label, instance = maps(size)
    random = np.random.default_rng(0)
    noise, z = (random.normal(size=shape).astype(np.float32) for shape in ((2, INSTANCES, 2, 3), (2, 6)))
    condition = {
        "seg": torch.tensor(reference_spade.semantics(label, instance, CLASSES)),
        "instances": torch.tensor(reference_spade.semantics(instance, None, INSTANCES)),
        "noise": torch.tensor(noise),
    }
    _, model = converted(tmp_path, "inade", module, size, num_upsampling_layers=depth)
    found = model.synthesize(layout(label, instance), {"noise": tf.constant(noise), "z": tf.constant(z)})
    close(found, painted(module, condition, torch.tensor(z)))


@pytest.mark.parametrize(
    "size, kind, kernel, spectral, noise",
    [
        ((32, 64), "syncbatch", 3, True, 5),
        ((64, 32), "instance", 3, True, 5),
        ((32, 64), "syncbatch", 5, False, 0),
        ((32, 32), "batch", 1, True, 5),
    ],
)
def test_oasis(size, kind, kernel, spectral, noise, tmp_path):
    module = reference.filled(reference.OASIS(2, noise + CLASSES, size, kind, kernel, spectral))
    label, _ = maps(size)
    z = np.random.default_rng(0).normal(size=(2, noise)).astype(np.float32)
    everywhere = np.broadcast_to(z[:, :, None, None], (2, noise, *size))
    seg = np.concatenate([everywhere, reference_spade.semantics(label, None, CLASSES)], 1)
    norm = f"{'spectral' if spectral else ''}spade{kind}{kernel}x{kernel}"
    asked = {"z_dim": noise} if noise else {"no_3dnoise": True}
    config, model = converted(tmp_path, "oasis", module, size, norm_G=norm, **asked)
    assert (config.norm_G, config.num_classes) == (norm, CLASSES)
    style = {"z": tf.constant(z)[:, None]} if noise else {}
    found = model.synthesize(layout(label, np.zeros_like(label)), style)
    close(found, painted(module, torch.tensor(seg)))
