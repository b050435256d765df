"""CLADE and INADE normalisers and region convolutions against their equations, gradients included."""

import numpy as np
import pytest
import tensorflow as tf

from semantic_synthesis.layers import Initializer
from semantic_synthesis.layers.cells import Cells
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.layers.region_convolutions import Borders, RegionConv, RegionMeans
from semantic_synthesis.methods.inade.encoder import InstanceEncoder
from semantic_synthesis.normalization import CLADE, INADE, LabelCells, RegionCells

EPSILON = 1e-5


def randomised(layer, seed=0):
    """The layer with lively values in every variable; positive ones for variances."""
    rng = np.random.default_rng(seed)
    for name, variable in named_variables(layer).items():
        values = rng.normal(0, 1, variable.shape)
        variable.assign(np.abs(values) + 0.5 if "variance" in name else values)
    return layer


def inputs(batch, channels, seed=1, classes=4, size=(6, 8)):
    rng = np.random.default_rng(seed)
    x = rng.normal(0.3, 2, (batch, *size, channels)).astype(np.float32)
    return tf.constant(x), tf.constant(rng.integers(0, classes, (batch, *size)), tf.int32)


def normalised(layer, x, training):
    """By TensorFlow's moments or the layer's running statistics."""
    if training:
        mean, variance = tf.nn.moments(x, [0, 1, 2])
    else:
        mean, variance = layer.statistics.moving_mean.value, layer.statistics.moving_variance.value
    return (x - mean) / tf.sqrt(variance + EPSILON)


def clade_equation(layer, x, label, edges, offsets, training):
    scale, shift = tf.gather(layer.scale.value, label), tf.gather(layer.shift.value, label)
    if offsets is not None:
        along = [
            tf.linalg.matvec(offsets, kernel.value)[..., None] + bias.value
            for kernel, bias in (
                (layer.scale_position_kernel, layer.scale_position_bias),
                (layer.shift_position_kernel, layer.shift_position_bias),
            )
        ]
        scale, shift = scale * (1 + along[0]), shift * (1 + along[1])
    y = normalised(layer, x, training) * scale + shift
    if edges is None:
        return y
    return tf.concat([y, edges * layer.edge_kernel.value + layer.edge_bias.value], -1)


def compare(layer, computed, expected, x):
    """Outputs, and gradients of x and all trained variables, of two functions without arguments."""
    variables, found = [x, *[v.value for v in layer.trainable_variables]], []
    mixing = None
    for function in (computed, expected):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function()
            if mixing is None:
                mixing = tf.constant(np.random.default_rng(9).normal(size=y.shape), tf.float32)
            total = tf.reduce_sum(tf.sin(y) * mixing)
        gradients = tape.gradient(total, variables)
        found.append([y, *gradients])
    for name, a, b in zip(["y", "x", *(v.name for v in layer.trainable_variables)], *found, strict=True):
        a, b = (tf.convert_to_tensor(t).numpy() for t in (a, b))
        assert np.abs(b).max() > 0, name
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5 * np.abs(b).max(), err_msg=name)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("edges, positions", [(False, False), (True, False), (False, True), (True, True)])
def test_clade(edges, positions, training):
    layer = randomised(CLADE(5, 4, edges=edges, positions=positions, init=Initializer()))
    x, label = inputs(2, 5)
    rng = np.random.default_rng(3)
    rim = tf.constant(rng.integers(0, 2, (*label.shape, 1)), tf.float32) if edges else None
    places = tf.constant(rng.uniform(-1, 1, (*label.shape, 2)), tf.float32) if positions else None
    condition = LabelCells(Cells.of(label), rim, places)
    assert layer.out_channels == 5 + edges
    compare(
        layer,
        lambda: layer(x, condition, training=training),
        lambda: clade_equation(layer, x, label, rim, places, training),
        x,
    )


def test_clade_of_one_layout_for_many_pictures():
    layer = randomised(CLADE(3, 4, edges=True, init=Initializer()))
    x, label = inputs(4, 3)
    one = label[:1]
    rim = tf.cast(one > 1, tf.float32)[..., None]
    found = layer(x, LabelCells(Cells.of(one), rim, None))
    for i in range(4):
        alone = layer(x[i : i + 1], LabelCells(Cells.of(one), rim, None))
        np.testing.assert_allclose(found[i], alone[0], atol=1e-6)


def pairs_of(label, instance, noise):
    """The RegionCells of maps, numbered the simple way: all pairs of ids."""
    classes, count = 4, noise.shape[1]
    index = label * count + instance + classes * count * np.arange(len(label))[:, None, None]
    grid = np.indices((classes, count)).reshape(2, -1)
    return RegionCells(
        tf.constant(grid[0], tf.int32),
        tf.constant(grid[1], tf.int32),
        Cells.of(tf.constant(index, tf.int32)),
        noise,
    )


@pytest.mark.parametrize("training", [False, True])
def test_inade(training):
    layer = randomised(INADE(5, 4, noise_dim=3, init=Initializer()))
    x, label = inputs(2, 5)
    rng = np.random.default_rng(4)
    instance = rng.integers(0, 3, label.shape)
    noise = tf.constant(rng.normal(size=(2, 3, 2, 3)), tf.float32)
    condition = pairs_of(label.numpy(), instance, noise)

    def equation():
        projected = noise @ layer.projection.kernel.value + layer.projection.bias.value  # [B,I,2,F]
        e = tf.gather(projected, instance, axis=1, batch_dims=1)  # [B,h,w,2,F]
        affine = tf.gather(layer.weight.value, label) * e + tf.gather(layer.bias.value, label)
        return normalised(layer, x, training) * affine[..., 0, :] + affine[..., 1, :]

    compare(layer, lambda: layer(x, condition, training=training), equation, x)


# Region convolutions


def masked_sum(conv, x, ids, strides):
    """Spec of INADE, section 6.1: the sum over ids of mask * conv(x * mask), and the bias once."""
    total = 0.0
    for q in np.unique(ids):
        mask = tf.cast(ids == q, tf.float32)[..., None]
        padded = tf.pad(x * mask, [[0, 0], [1, 1], [1, 1], [0, 0]])
        total += tf.nn.conv2d(padded, conv.kernel.value, strides, "VALID") * mask[:, ::strides, ::strides]
    return total + conv.bias.value


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 30])
def test_region_convolution(strides, count):
    conv = randomised(RegionConv(3, 4, strides=strides, init=Initializer(), name="conv"))
    x, ids = inputs(2, 3, classes=count, size=(10, 12))
    borders = Borders.of(ids, strides)
    if count == 1:
        assert borders.pixels.shape == (0, 3)  # nothing to correct
    compare(conv, lambda: conv(x, borders), lambda: masked_sum(conv, x, ids.numpy(), strides), x)


@pytest.mark.parametrize("count", [1, 3, 40])
def test_mean_of_a_region_convolution(count):
    conv = randomised(RegionConv(3, 4, init=Initializer(), name="conv"))
    x, ids = inputs(2, 3, classes=count, size=(7, 6))
    means = RegionMeans.of(ids, count)

    def by_means():
        present = tf.cast(means.counts > 0, tf.float32)[:, None]
        kernel = tf.reshape(conv.kernel.value, [-1, 4])
        return means.neighbourhoods(x) @ kernel + conv.bias.value * present

    def of_convolution():
        y = tf.reshape(masked_sum(conv, x, ids.numpy(), 1), [-1, 4])
        sums = tf.math.unsorted_segment_sum(y, means.segments, 2 * count)
        return sums / tf.maximum(means.counts, 1.0)[:, None]

    compare(conv, by_means, of_convolution, x)


def test_encoder_in_bfloat16_and_absent_instances():
    import keras

    image, instance = inputs(2, 3, classes=3, size=(32, 48))
    instance = tf.where(instance == 1, 2, instance)  # id 1 is in no picture
    exact = InstanceEncoder(4, 5, init=Initializer("xavier", 1.0))(image, instance, tf.constant(4))
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        rough = InstanceEncoder(4, 5, init=Initializer("xavier", 1.0))(image, instance, tf.constant(4))
    finally:
        keras.config.set_dtype_policy(previous)
    for a, b in zip(exact, rough, strict=True):
        assert a.shape == (2, 4, 2, 5) and b.dtype == tf.float32
        assert (a[:, 1].numpy() == 0).all() and (a[:, 3].numpy() == 0).all()
        assert np.abs(a[:, 0]).max() > 0.1
        np.testing.assert_allclose(a, b, atol=0.05 * np.abs(a).max())


@pytest.mark.parametrize("norm, told_apart", [("instance", False), ("none", True)])
def test_encoder_norm_decides_whether_mean_colors_are_seen(norm, told_apart):
    encoder = InstanceEncoder(4, 5, norm=norm, init=Initializer("xavier", 1.0))
    image, instance = inputs(1, 3, classes=1, size=(32, 32))
    # One region; a picture three times as bright. Its borders see zero padding, a trace of the brightness.
    dark, bright = (encoder(image * share, instance, tf.constant(1)).mean.numpy() for share in (0.3, 0.9))
    assert (np.abs(bright - dark).max() > 0.5 * np.abs(bright).max()) == told_apart
