"""SCGAN beside a second formulation in PyTorch (reference_scgan.py): pictures of all variants, losses, gradients."""

import numpy as np
import pytest
import tensorflow as tf

torch = pytest.importorskip("torch", reason="the second formulation needs PyTorch (pip install torch)")

import reference_scgan as reference
import reference_spade

from semantic_synthesis import runs
from semantic_synthesis.convert import convert_tensors
from semantic_synthesis.data import ClassTable
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.methods import make_config

WIDTH, ROUTING, ENTRY, CLASSES, D_WIDTH = 2, 6, 3, 4, 3
PLAIN = {"kind": "none", "levels": 4, "size": 7, "sigma": 1.5, "iterations": 1, "relative": False}


def make(
    depth="normal",
    size=(64, 64),
    edges=False,
    experts=(3, 4),
    gate=None,
    blur=None,
    form="patches",
    **changes,
):
    """(config, arrays of their generator, arguments of the reference's)."""
    gate = {"kind": "softmax", "temperature": 2.0, "detach": False, **(gate or {})}
    blur = {**PLAIN, **(blur or {})}
    config = make_config(
        method="scgan", crop_size=size[1], aspect_ratio=size[1] / size[0], num_upsampling_layers=depth,
        no_instance=not edges, num_generator_filters=WIDTH, num_routing_filters=ROUTING, num_entry_filters=ENTRY,
        num_discriminator_filters=D_WIDTH, num_hidden_filters=8, num_experts_conv=experts[0],
        num_experts_norm=experts[1], weight_type=gate["kind"], temperature=gate["temperature"],
        routing_detach=gate["detach"], label_blur=blur["kind"], blur_levels=blur["levels"], blur_size=blur["size"],
        blur_sigma=blur["sigma"], blur_iterations=blur["iterations"], blur_relative=blur["relative"],
        modulation=form, no_vgg_loss=True, class_table=ClassTable.create("test", range(CLASSES)).to_dict(), **changes,
    )  # fmt: skip
    spectral = changes.get("spectral_routing", True)
    shapes = reference.generator_shapes(
        WIDTH, ROUTING, ENTRY, CLASSES + edges, depth, experts, spectral, hidden=8
    )
    asked = {"depth": depth, "experts": experts, "gate": gate, "edges": edges, "blur": blur}
    tensors = reference.random_tensors(shapes)
    tensors["conv_img.weight"] *= 0.1  # most pixels stay off the clamp
    return config, tensors, asked


def layouts(size, edges, count=2):
    """(layout, one-hot array (N,S,H,W)) of blobs."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, CLASSES, (count, size[0] // 4, size[1] // 4))
    label = np.kron(coarse, np.ones((1, 4, 4), int))
    layout = {"label": tf.constant(label, tf.int32)}
    instance = np.kron(rng.integers(0, 3, (count, size[0] // 8, size[1] // 8)), np.ones((1, 8, 8), int))
    if edges:
        layout["instance"] = tf.constant(instance, tf.int32)
    return layout, reference_spade.semantics(label, instance if edges else None, CLASSES)


def filled(config, files, training):
    """The method with converted arrays."""
    built = runs.build_method(config, training=training, initial_weights=False)
    arrays = convert_tensors(config, {role: (role, tensors) for role, tensors in files.items()})[0]
    named = named_variables(built)
    assert set(named) == set(arrays)
    for name, variable in named.items():
        variable.assign(arrays[name])
    return built


VARIANTS = {
    "edges": {"edges": True, "depth": "more", "size": (64, 128), "form": "auto"},
    "most": {"depth": "most", "size": (128, 128), "gate": {"kind": "sigmoid"}, "experts": (1, 2)},
    "pyramid with edges": {
        "edges": True,
        "gate": {"kind": "none", "temperature": 0.003},
        "blur": {"kind": "pyramid", "levels": 3, "iterations": 2, "relative": True, "size": 5, "sigma": 0.8},
    },
    "full": {
        "edges": True,
        "blur": {"kind": "full", "iterations": 2},
        "gate": {"kind": "hardtanh", "temperature": 0.01},
    },
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in ("most", "full") else []) for n in VARIANTS]
)
def test_pictures(name):
    """Every kind of gate and of blur, edges, depths beyond the published models."""
    options = VARIANTS[name]
    size = options.get("size", (64, 64))
    config, tensors, asked = make(**options, spectral_routing=name != "full")
    layout, seg = layouts(size, asked["edges"], count=1)
    found = filled(config, {"source": tensors}, training=False)
    expected, _ = reference.generator(
        reference.Network(tensors, False), torch.tensor(np.float64(seg)), **asked
    )
    picture = found.synthesize(layout, {}).numpy()
    assert picture.std() > 0.1 and (np.abs(picture) < 1).mean() > 0.3
    np.testing.assert_allclose(picture, expected.numpy().transpose(0, 2, 3, 1), atol=1e-4)
    found.fold()
    np.testing.assert_allclose(found.synthesize(layout, {}), picture, atol=1e-5)


TRAINED = {
    "published": {},
    "detached": {
        "edges": True,
        "gate": {"kind": "sigmoid", "detach": True},
        "form": "dense",
        "blur": {"kind": "full"},
    },
}


@pytest.mark.parametrize("name", ["published", pytest.param("detached", marks=pytest.mark.slow)])
def test_training_step(name):
    """Losses and the gradients of every variable, in float64 there and float32 here."""
    config, tensors, asked = make(**TRAINED[name])
    judge = reference.random_tensors(reference.pyramid_shapes(D_WIDTH, CLASSES + asked["edges"]), seed=1)
    layout, seg = layouts((64, 64), asked["edges"])
    real = np.random.default_rng(5).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    expected, gradients = _reference_step(tensors, judge, asked, seg, real)

    method = filled(config, {"source": tensors, "discriminator": judge}, training=True)
    batch = {**layout, "image": tf.constant(real), "row": tf.range(2, dtype=tf.int64)}
    method.advance_spectral_norms()
    with tf.GradientTape(persistent=True) as tape:
        terms = method.compute_losses(batch)
        totals = {objective: tf.add_n(list(of.values())) for objective, of in terms.items()}
    assert {o: set(of) for o, of in terms.items()} == {o: set(of) for o, of in expected.items()}
    for objective, of in expected.items():
        for loss, value in of.items():
            np.testing.assert_allclose(terms[objective][loss], value, rtol=1e-4, err_msg=loss)
    wanted = convert_tensors(config, {r: (r, a) for r, a in gradients.items()})[0]
    names = {id(v): n for n, v in named_variables(method).items()}
    compared = 0
    for objective, total in totals.items():
        variables = method.objective_variables(objective)
        for variable, gradient in zip(
            variables, tape.gradient(total, [v.value for v in variables]), strict=True
        ):
            expected_one = wanted[names[id(variable)]]
            scale = np.abs(expected_one).max()
            np.testing.assert_allclose(
                gradient, expected_one, atol=1e-3 * scale + 1e-6, err_msg=names[id(variable)]
            )
            compared += scale > 1e-4
    assert compared > 90, "nearly all variables are trained"


def _reference_step(tensors, judge, asked, seg, real):
    """({objective: {loss: float}}, {role: {tensor name: gradient, zeros where not trained}})."""
    g, d = reference.Network(tensors, True), reference.Network(judge, True)
    seg, real = torch.tensor(np.float64(seg)), torch.tensor(np.float64(real.transpose(0, 3, 1, 2)))
    fake, picture = reference.generator(g, seg, **asked)
    views = reference.pyramid(d, torch.cat([seg, seg]), torch.cat([fake, real]))
    fakes, reals = ([[x[half] for x in group] for group in views] for half in (slice(0, 2), slice(2, 4)))
    terms = reference.losses(fakes, reals, picture, real)
    gradients = {}
    for role, net, of in (("source", g, terms[0]), ("discriminator", d, terms[1])):
        trained = [net.tensors[name] for name in net.trained]
        values = torch.autograd.grad(sum(of.values()), trained, retain_graph=True, allow_unused=True)
        found = {
            name: np.zeros_like(array) for name, array in (tensors if role == "source" else judge).items()
        }
        for name, value in zip(net.trained, values, strict=True):
            if value is not None:
                found[name] = value.numpy().astype(np.float32)
        gradients[role] = found
    named = zip(("generator", "discriminator"), terms, strict=True)
    return {o: {name: value.item() for name, value in of.items()} for o, of in named}, gradients


def test_parameter_counts():
    """Spec, section 14: the generators of ADE20K and CelebAMask-HQ, and fpse of ADE20K."""

    def count(shapes):
        buffers = (*reference.BUFFERS, "num_batches_tracked")
        return sum(int(np.prod(shape)) for name, shape in shapes.items() if not name.endswith(buffers))

    assert count(reference.generator_shapes(32, 32, 32, 151, "normal", (3, 4))) == 60_854_662
    celeba = reference.generator_shapes(48, 32, 32, 19, "normal", (3, 3), False, vae=(256, 256))
    assert count(celeba) == 147_570_054
    assert count(reference.pyramid_shapes(64, 151)) == 5_190_593
