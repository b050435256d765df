"""Winograd's convolution against the plain one: values, gradients, when it is taken, and what is exported."""

import numpy as np
import pytest
import tensorflow as tf

from semantic_synthesis import runs
from semantic_synthesis.layers import Conv, Initializer, convolve, winograd
from semantic_synthesis.methods.scgan.composition import ComposedConv
from semantic_synthesis.serving.bare import picture_function

SIZES = [(1, 4, 4), (2, 9, 14), (1, 5, 24), (3, 32, 30), (1, 17, 3)]


def arrays(shape, channels, filters, seed=0):
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(3, 3, channels, filters)) / np.sqrt(9 * channels)
    return rng.normal(size=(*shape, channels)).astype("f4"), kernel.astype("f4")


def close(found, expected):
    """Equal to 2e-5 of the largest value."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("shape", SIZES)
def test_values_and_gradients_are_those_of_the_plain_convolution(shape):
    """Sides that are no multiples of the tile, batches, maps smaller than a window."""
    x, kernel = map(tf.constant, arrays(shape, 7, 5))
    found = []
    for function in (lambda x, k: tf.nn.conv2d(x, k, 1, "SAME"), winograd.convolve):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = function(x, kernel)
            weights = tf.reshape(tf.sin(tf.range(tf.size(y).numpy(), dtype=tf.float32)), y.shape)
            loss = tf.reduce_sum(y * weights)
        found.append([y, *tape.gradient(loss, [x, kernel])])
    for plain, ours in zip(*found, strict=True):
        close(ours, plain)


def test_several_kernels_share_the_windows():
    x, first = arrays((2, 8, 12), 3, 4)
    second = arrays((1, 1, 1), 3, 6, seed=1)[1]
    both = winograd.convolve_transformed(
        tf.constant(x), *(winograd.transform_kernel(tf.constant(k)) for k in (first, second))
    )
    for kernel, y in zip((first, second), both, strict=True):
        close(y, tf.nn.conv2d(x, kernel, 1, "SAME"))


CASES = {
    "wide": ((1, 32, 32, 512), (3, 3, 512, 512), True),
    "any batch": ((None, 32, 32, 256), (3, 3, 256, 256), True),
    "a batch of small maps": ((4, 16, 16, 1024), (3, 3, 1024, 1024), True),
    "one small map": ((1, 16, 16, 1024), (3, 3, 1024, 1024), False),
    "narrow": ((1, 64, 64, 128), (3, 3, 128, 128), False),
    "large map": ((1, 128, 128, 256), (3, 3, 256, 256), False),
    "size unknown": ((1, None, None, 512), (3, 3, 512, 512), False),
    "1x1": ((1, 32, 32, 512), (1, 1, 512, 512), False),
}


@pytest.mark.parametrize("case", CASES)
def test_the_rule(case):
    shape, kernel, expected = CASES[case]
    expected = expected and not tf.config.list_physical_devices("GPU")
    shape, kernel = tf.TensorShape(shape), tf.TensorShape(kernel)
    assert winograd.pays(shape, kernel, tf.float32) is expected
    assert not winograd.pays(shape, kernel, tf.bfloat16)
    with winograd.direct_convolutions():
        assert not winograd.pays(shape, kernel, tf.float32)


@pytest.fixture
def everywhere(monkeypatch):
    """The algorithm for layers of every width, so that small ones show it."""
    monkeypatch.setattr(winograd, "LEAST_CHANNELS", 1)


def operations(function, *inputs):
    """Names of the operations in a function's graph."""
    graph = tf.function(function, autograph=False).get_concrete_function(*inputs).graph
    return {op.type for op in graph.get_operations()}


def test_layers_take_it_folded_or_not(everywhere):
    x = tf.constant(arrays((1, 32, 32), 6, 4)[0])
    conv = Conv(6, 4, 3, padding=1, spectral=True, init=Initializer())
    plain = Conv(6, 4, 3, padding=1, spectral=True, init=Initializer(), direct=True)
    for mine, other in zip(conv.variables, plain.variables, strict=True):
        other.assign(mine)
    expected = plain(x)
    assert "Conv2D" in operations(plain, x) and "Conv2D" not in operations(conv, x)
    close(conv(x), expected)
    conv.fold()
    close(conv(x), expected)
    assert "Conv2D" not in operations(conv, x)
    assert len(conv.variables) == len(plain.variables)  # the transformed kernel is nobody's weight


def test_composed_convolutions_take_it_folded_or_not(everywhere):
    x, gates = tf.constant(arrays((1, 32, 32), 6, 4)[0]), tf.constant(arrays((1, 32, 32), 3, 1)[0])
    layer = ComposedConv(6, 4, 3, spectral=True, init=Initializer(), name="composed")
    layer.direct = True
    expected = layer(x, gates)
    layer.direct = False
    assert "Conv2D" not in operations(layer, x, gates)
    close(layer(x, gates), expected)
    layer.fold()
    close(layer(x, gates), expected)


def test_a_saved_model_holds_the_transformed_kernel(everywhere, tmp_path):
    """Traced first, so that the kernel is made while a graph is built; batches of any number of rows."""
    module = tf.Module()
    module.conv = conv = Conv(6, 4, 3, padding=1, init=Initializer())
    conv.fold()
    module.call = tf.function(conv, input_signature=[tf.TensorSpec([None, 24, 32, 6])], autograph=False)
    x = arrays((2, 24, 32), 6, 4)[0]
    expected = convolve(tf.constant(x), conv.kernel.value, 1, 1, direct=True)
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    close(loaded.call(x), expected)


def test_runs_take_it_by_option_and_never_in_the_bare_signature(everywhere, monkeypatch):
    calls, real = [], winograd.convolve_transformed
    monkeypatch.setattr(winograd, "convolve_transformed", lambda *args: calls.append(1) or real(*args))
    config, method = runs.open_run("demo_spade")
    layout = {"label": tf.zeros([1, config.crop_height, config.crop_size], tf.int32)}
    style = method.sample_style(layout, tf.constant([0], tf.int64))
    picture, specs = picture_function(config, method, (config.crop_height, config.crop_size), tf.int32)
    picture.get_concrete_function(specs)
    assert not calls
    _, direct = runs.open_run("demo_spade", convolutions="direct")
    expected = direct.synthesize(layout, style)
    assert not calls
    np.testing.assert_allclose(method.synthesize(layout, style), expected, atol=1e-4)
    assert calls
