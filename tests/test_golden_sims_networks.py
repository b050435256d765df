"""The networks of SIMS give the numbers of the original ones, whose TensorFlow 1 names the converter translates."""

import functools

import numpy as np
import pytest
import sims_golden as golden
import tensorflow as tf

from semantic_synthesis.layers import Initializer
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.methods.sims import conversion
from semantic_synthesis.methods.sims.losses import (
    composite,
    perceptual_terms,
    semantic_cross_entropy,
    transformation_loss,
)
from semantic_synthesis.methods.sims.networks import Order, Synthesis, Transformation
from semantic_synthesis.methods.sims.warping import round_theta, warp
from semantic_synthesis.networks.vgg import VGG19Features
from semantic_synthesis.originals.rules import Source, apply_rules

ZEROS = Initializer("zeros")
NAMES = {1: "synthesis_256", 2: "synthesis_512", 4: "synthesis_1024"}
COUNTS = {
    "transformation": 14_734_086,
    "order": 15_267_476,
    1: 55_671_319,
    2: 56_138_903,
    4: 56_138_987,
}


class Options:
    def __init__(self, scale=1):
        self.scale = scale


def network(key):
    """An empty network of the original's size: transformation, order, or a synthesis network's scale."""
    if key == "transformation":
        return Transformation(19, (256, 512), init=ZEROS)
    if key == "order":
        return Order(19, legacy=True, init=ZEROS)
    return Synthesis(19, scale=key, init=ZEROS)


def filled(key):
    """A network with the fixture's weights, through the converter's rules."""
    theirs = {"transformation": "transform", "order": "order"}.get(key) or NAMES[key]
    role = key if isinstance(key, str) else "synthesis"
    found = network(key)
    variables = named_variables(found, f"{role}/")
    shapes = {name: tuple(v.shape) for name, v in variables.items()}
    rules = conversion.rules(role, Options(key if role == "synthesis" else 1))
    done, ignored = apply_rules([Source(theirs, golden.weights(theirs), rules)], shapes)
    assert not ignored
    for name, variable in variables.items():
        variable.assign(done[name])
    return found


def near(found, expected, relative):
    """Largest difference as a share of the largest expected value; the share, for -s."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    share = np.abs(found - expected).max() / np.abs(expected).max()
    assert share <= relative, share
    return share


@pytest.mark.parametrize("key", list(COUNTS))
def test_parameter_counts(key):
    assert sum(int(np.prod(v.shape)) for v in named_variables(network(key)).values()) == COUNTS[key]


@pytest.mark.parametrize("key", list(COUNTS))
def test_every_tensor_has_a_place(key):
    """Names and shapes of all variables of the original; arrays of zeros, for speed."""
    theirs = {"transformation": "transform", "order": "order"}.get(key) or NAMES[key]
    role = key if isinstance(key, str) else "synthesis"
    shapes = {n: tuple(v.shape) for n, v in named_variables(network(key), f"{role}/").items()}
    tensors = {name: np.zeros(shape, np.float32) for name, shape in golden.networks()[0][theirs]}
    tensors |= {f"{name}/Adam_1": array for name, array in list(tensors.items())[:2]}
    tensors["beta1_power_1"] = np.zeros((), np.float32)
    source = Source(theirs, tensors, conversion.rules(role, Options(key if role == "synthesis" else 1)))
    done, ignored = apply_rules([source], shapes)
    assert done.keys() == shapes.keys() and len(ignored) == 3


@pytest.mark.parametrize("parity", ["even", "odd"])
def test_spatial_transformer(parity):
    found = golden.arrays("nets")
    image, theta = found[f"stn_{parity}_image"], tf.constant(found[f"stn_{parity}_theta"])
    images = tf.constant(np.repeat(image[None], 6, 0))
    with tf.GradientTape() as tape:
        tape.watch([images, theta])
        out = warp(images, theta, legacy=True)
        total = tf.reduce_sum(out * found[f"stn_{parity}_cotangent"])
    grad_image, grad_theta = tape.gradient(total, [images, theta])
    np.testing.assert_allclose(out, found[f"stn_{parity}_out"], atol=1e-3)  # noise where weights are large
    np.testing.assert_allclose(grad_theta, found[f"stn_{parity}_grad_theta"], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(grad_image, found[f"stn_{parity}_grad_image"], atol=1e-3)


def transformation_inputs():
    found = golden.arrays("nets")
    proposal, mask = np.zeros((10, 512, 1024, 3), np.float32), np.zeros((10, 512, 1024, 1), np.float32)
    for k in range(10):
        r0, r1, c0, c1 = found["transform_box"][k]
        texture = golden.enlarge(found["transform_texture"][k], 16) / np.float32(255)
        proposal[k, r0:r1, c0:c1] = texture[r0:r1, c0:c1]
        r0, r1, c0, c1 = found["transform_mask_box"][k]
        mask[k, r0:r1, c0:c1] = 1
    label = golden.one_hot(golden.enlarge(found["transform_label"], 16))
    seen = np.concatenate([proposal, mask, np.repeat(label[None], 10, 0)], -1)
    return found, tf.constant(seen), tf.constant(proposal), tf.constant(mask)


@pytest.mark.slow
def test_transformation():
    found, seen, proposal, mask = transformation_inputs()
    net = filled("transformation")
    pooled = net.pooled(seen)
    near(pooled, found["transform_pooled"], 1e-4)
    real = golden.enlarge(found["transform_real_bgr"], 16)[None, ..., ::-1].astype(np.float32)
    for suffix in ("", "_init"):
        kernel, bias = tf.constant(net.kernel.value), tf.constant(net.bias.value)
        if suffix:
            kernel, bias = tf.zeros_like(kernel), tf.constant(golden.IDENTITY)
        with tf.GradientTape() as tape:
            tape.watch([kernel, bias])
            theta = tf.matmul(found["transform_pooled"], kernel) + bias
            warped = warp(proposal, theta, legacy=True)
            loss = transformation_loss(real, composite(warped[None], mask[None]), mask[None])
        near(theta, found[f"transform_theta{suffix}"], 1e-4)
        near(loss, found[f"transform_loss{suffix}"], 1e-5)
        grad_kernel, grad_bias = tape.gradient(loss, [kernel, bias])
        near(grad_kernel, found[f"transform_grad_W{suffix}"], 1e-3)
        near(grad_bias, found[f"transform_grad_b{suffix}"], 1e-3)
        if not suffix:
            near(warped[:, ::8, ::8], found["transform_warped_sub"], 1e-4)
            near(composite(warped[None], mask[None])[0, ::4, ::4], found["transform_composite_sub"], 1e-4)
    rounded = round_theta(net(seen))
    np.testing.assert_array_equal(rounded, found["transform_theta_test"])
    moved = warp(proposal, rounded, legacy=True)[:, ::8, ::8] * 255
    np.testing.assert_array_equal(tf.cast(moved, tf.uint8), found["transform_warped_test_u8_sub"])


@pytest.mark.slow
def test_order():
    found, net = golden.arrays("nets"), filled("order")
    palette = np.concatenate([np.zeros((1, 3), np.uint8), golden.arrays("segments")["palette"]])
    layout = palette[golden.enlarge(found["order_label"], 16)] / np.float32(255)
    pairs = palette[golden.enlarge(found["order_pair"], 16, (1, 2))] / np.float32(255)
    seen = np.concatenate([pairs, np.repeat(layout[None], 10, 0)], -1)
    seen[8:] = 0
    logits = net(tf.constant(seen))
    near(logits, found["order_logits"], 1e-4)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(found["order_target"], logits)
    near(tf.reduce_mean(loss), found["order_loss"], 1e-5)
    seen[:, :, -64:] = 0
    near(net(tf.constant(seen)), found["order_logits_right64_blank"], 1e-4)


def synthesis_inputs(scale):
    found, size, key = golden.arrays("nets"), 8 * scale, f"synth{256 * scale}"
    label = golden.one_hot(golden.enlarge(found[f"{key}_label"], size))
    canvas = golden.enlarge(found[f"{key}_canvas"], size)
    known = (canvas.sum(-1, keepdims=True) > 0).astype(np.float32)
    seen = np.concatenate([label, canvas / np.float32(255), known], -1)[None]
    return found, key, tf.constant(seen)


@functools.cache
def features():
    """VGG19 with the fixture's rule. It feeds BGR where RGB belongs, so the first kernel is turned instead."""
    vgg = VGG19Features("random", taps=(2, 2, 2, 2, 2), average=True)
    names = [f"vgg_conv{b + 1}_{i + 1}" for b, n in enumerate((2, 2, 4, 4, 2)) for i in range(n)]
    for i, (name, (kernel, bias)) in enumerate(zip(names, vgg.convs, strict=True)):
        array = golden.weight(f"{name}/weights", tuple(kernel.shape))
        kernel.assign(array[:, :, ::-1] if i == 0 else array)
        bias.assign(golden.weight(f"{name}/biases", tuple(bias.shape)) * np.float32(100))
    vgg.caffe = True
    return vgg


def losses_of(scale, found, key, picture, semantic):
    """The fixture's eight figures for an RGB picture."""
    size = 8 * scale
    real = golden.enlarge(found[f"{key}_real_bgr"], size)[None].astype(np.float32)
    target = (golden.enlarge(found[f"{key}_label_gt"], size)[None].astype(np.int32) - 1) % 20
    terms = perceptual_terms(picture[..., ::-1], tf.constant(real), features(), scale)
    cross_entropy = semantic_cross_entropy(semantic, tf.constant(target))
    return tf.stack([*terms, cross_entropy, tf.add_n(terms) + 10 * cross_entropy])


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_synthesis(scale):
    found, key, seen = synthesis_inputs(scale)
    net = filled(scale)
    gradients = {
        "g_encoder_conv1/g_encoder_conv1_1/weights": net.encoders[0].units[0].conv.kernel,
        "g_encoder_conv4/g_encoder_conv4_2/LayerNorm/gamma": net.encoders[3].units[1].norm.gamma,
        "g_decoder_conv6/g_decoder_conv6_1/LayerNorm/beta": net.decoders[5].units[0].norm.beta,
        "g_256_conv100/weights": net.picture.kernel,
        "g_256_conv100/biases": net.picture.bias,
        "g_semantic_256_conv100/biases": net.semantic.bias,
    }
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        if scale == 1:
            tape.watch([v.value for v in gradients.values()])
        picture, semantic = net(seen)
        figures = losses_of(scale, found, key, picture, semantic)
        total = figures[-1]
    bgr = picture[0, ..., ::-1].numpy()
    step = {1: 8, 2: 16, 4: 32}[scale]
    near(bgr[::step, ::step], found[f"{key}_image_sub"], 1e-4)
    row, every = {1: (131, 1), 2: (259, 2), 4: (515, 4)}[scale]
    near(bgr[row, ::every], found[f"{key}_image_row"], 1e-4)
    stats = found[f"{key}_image_stats"]
    near([np.abs(bgr).mean(), bgr.min(), bgr.max()], stats, 1e-4)
    step = 16 if scale == 1 else 32
    near(semantic[0, ::step, ::step][:16, :32], found[f"{key}_semantic_sub"], 1e-3)
    np.testing.assert_allclose(figures, found[f"{key}_losses"], rtol=1e-4)
    if scale == 1:
        # The gradients of sums of absolute differences jump with the signs of near-zero terms: inputs changed by 1e-7
        # of themselves, a float32's last bit, move the two of layer normalisation by up to 1.2e-3, ours as the fixture.
        for (name, _), g in zip(
            gradients.items(), tape.gradient(total, [v.value for v in gradients.values()]), strict=True
        ):
            g = g.numpy()[..., ::-1] if name.startswith("g_256") else g
            near(g, found[f"synth256_grad:{name}"], 3e-3)
