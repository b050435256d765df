"""Layers against slow NumPy loops, PyTorch's formulas and finite differences."""

import math
import sys

import numpy as np
import pytest
import tensorflow as tf

from semantic_synthesis.discriminators import pool_by_two
from semantic_synthesis.layers import BatchNorm, Conv, Dense, Initializer, InstanceNorm, convolve
from semantic_synthesis.layers.residual import leaky_relu
from semantic_synthesis.methods.method import row_normal
from semantic_synthesis.networks import edge_map, parse_norm
from semantic_synthesis.normalization import parse_norm_G


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(actual, expected, tolerance=1e-5):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=tolerance, atol=tolerance)


# Spectral norm


@pytest.mark.parametrize("shape", [(3, 3, 5, 7), (1, 1, 9, 4), (12, 6)])
def test_sigma_converges_to_the_largest_singular_value(shape):
    layer = spectral_layer(shape)
    raw = layer.kernel.numpy()
    largest = np.linalg.svd(raw.reshape(-1, shape[-1]), compute_uv=False)[0]
    for _ in range(200):
        layer.advance()
    # Float32 power iteration; the gap of random matrices makes 200 iterations plenty.
    close(layer.effective_kernel(), raw / largest, 1e-4)
    assert np.array_equal(layer.kernel.numpy(), raw)  # never overwritten
    close(np.linalg.norm(layer.u.numpy()), 1.0)
    close(np.linalg.norm(layer.v.numpy()), 1.0)


def spectral_layer(shape, seed=3):
    init = Initializer("none", 0.02, seed)
    if len(shape) == 2:
        return Dense(*shape, spectral=True, init=init)
    return Conv(shape[2], shape[3], shape[0], padding=shape[0] // 2, spectral=True, init=init)


def test_one_power_iteration_is_pytorchs():
    layer = spectral_layer((3, 3, 4, 6))
    matrix, u = layer.kernel.numpy().reshape(-1, 6), layer.u.numpy()
    layer.advance()
    v = matrix @ u / np.linalg.norm(matrix @ u)
    close(layer.v.numpy(), v, 1e-6)
    u = matrix.T @ v / np.linalg.norm(matrix.T @ v)
    close(layer.u.numpy(), u, 1e-6)
    close(layer.effective_kernel(), layer.kernel.numpy() / (v @ matrix @ u), 1e-6)


def test_gradient_flows_through_sigma():
    layer = spectral_layer((3, 3, 2, 3))
    layer.advance()
    weight = normal((3, 3, 2, 3), 5)
    kernel, u, v = (w.numpy().astype(np.float64) for w in (layer.kernel, layer.u, layer.v))

    def value(kernel):  # u and v held constant
        return (weight * kernel / (v @ kernel.reshape(-1, 3) @ u)).sum()

    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(weight * layer.effective_kernel())
    gradient = tape.gradient(loss, layer.kernel.value)
    for index in np.ndindex(kernel.shape):
        step = np.zeros_like(kernel)
        step[index] = 1e-5
        expected = (value(kernel + step) - value(kernel - step)) / 2e-5
        assert abs(gradient[index] - expected) < 1e-4 * max(1, abs(expected))


@pytest.mark.parametrize("strides, size", [(1, (3, 2)), (2, (5, 4))])
def test_large_kernels_divide_their_outputs(strides, size, monkeypatch):
    """Outputs and all gradients are those of the divided kernel; no quotient has the kernel's size then."""
    init = Initializer("none", 0.02, 3)
    layer = Conv(5, 4, 3, strides=strides, padding=1, spectral=True, init=init)
    layer.advance()
    layer.bias.assign(normal((4,), 7))
    x = tf.constant(normal((2, *size, 5)))

    def results():
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(y * normal(y.shape, 2))
        return [y, *tape.gradient(loss, [x, layer.kernel.value, layer.bias.value])]

    def quotients():
        graph = tf.function(layer).get_concrete_function(tf.TensorSpec(x.shape)).graph
        return {tuple(o.outputs[0].shape) for o in graph.get_operations() if o.type == "RealDiv"}

    assert quotients() == {tuple(layer(x).shape)}
    found = results()
    monkeypatch.setattr(Conv, "_outweighs", lambda self, x: False)
    assert quotients() == {(3, 3, 5, 4)}
    for one, other in zip(found, results(), strict=True):
        close(one, other, 1e-5)


@pytest.mark.parametrize("shape", [(3, 3, 4, 6), (8, 5)])
def test_fold_keeps_the_outputs(shape):
    layer = spectral_layer(shape)
    layer.advance()
    x = normal((2, 6, 5, 4) if len(shape) == 4 else (3, 8))
    before, raw = layer(x), layer.kernel.numpy()
    layer.fold()
    assert not np.allclose(layer.kernel.numpy(), raw)
    close(layer(x), before, 1e-6)
    once = layer.kernel.numpy()
    layer.fold()  # folding again changes nothing
    assert np.array_equal(layer.kernel.numpy(), once)


# Leaky ReLU


def test_leaky_relu_from_its_result():
    x = tf.constant([-2.0, -0.5, 0.0, 0.5, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = leaky_relu(x, training=True)
    np.testing.assert_array_equal(y, leaky_relu(x))
    close(y, [-0.4, -0.1, 0.0, 0.5, 2.0])
    close(tape.gradient(y, x, output_gradients=tf.constant([1.0, 2, 3, 4, 5])), [0.2, 0.4, 0.6, 4, 5])


# Convolution


@pytest.mark.parametrize(
    "size, kernel, strides, padding", [(8, 3, 1, 1), (7, 3, 2, 1), (8, 4, 2, 2), (9, 4, 1, 2), (5, 1, 1, 0)]
)
def test_convolution_with_explicit_padding(size, kernel, strides, padding):
    x, weights = normal((2, size, size + 1, 3)), normal((kernel, kernel, 3, 4), 1)
    padded = np.pad(x, ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)))
    height, width = ((n + 2 * padding - kernel) // strides + 1 for n in x.shape[1:3])
    expected = np.zeros((2, height, width, 4), np.float32)
    for i, j in np.ndindex(height, width):
        window = padded[:, i * strides :, j * strides :][:, :kernel, :kernel]
        expected[:, i, j] = np.einsum("bhwi,hwio->bo", window, weights)
    close(convolve(x, weights, strides, padding), expected, 1e-4)


def test_wide_kernels_on_small_maps_are_the_same_convolution(monkeypatch):
    """The product of windows against conv2d, gradients included; larger maps and unknown sizes keep conv2d."""
    module = sys.modules[Conv.__module__]
    x, kernel = tf.constant(normal((2, 4, 6, 5))), tf.constant(normal((3, 3, 5, 7), 1))

    def results():
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = convolve(x, kernel, 1, 1)
            loss = tf.reduce_sum(y * normal(y.shape, 2))
        return [y, *tape.gradient(loss, [x, kernel])]

    def products(shape):
        """How many matrix products a convolution of this shape is traced to."""
        graph = (
            tf.function(lambda x: convolve(x, kernel, 1, 1)).get_concrete_function(tf.TensorSpec(shape)).graph
        )
        return sum(operation.type == "MatMul" for operation in graph.get_operations())

    assert products((2, 4, 6, 5)) == 0
    expected = results()
    monkeypatch.setattr(module, "WIDE_CHANNELS", 35)
    assert [products(s) for s in ((2, 4, 6, 5), (2, 32, 16, 5), (2, 32, 17, 5), (None, 4, 6, 5))] == [
        1,
        1,
        0,
        0,
    ]
    for found, known in zip(results(), expected, strict=True):
        close(found, known, 1e-5)


# Statistics


def test_batch_norm_statistics_are_pytorchs():
    layer, x = BatchNorm(4), normal((3, 5, 2, 4)) * 3 + 1
    out = layer(x, training=True)
    rows = x.reshape(-1, 4).astype(np.float64)
    mean, biased, unbiased = rows.mean(0), rows.var(0), rows.var(0, ddof=1)
    close(out, (x - mean) / np.sqrt(biased + 1e-5))
    close(layer.moving_mean.numpy(), 0.1 * mean)
    close(layer.moving_variance.numpy(), 0.9 + 0.1 * unbiased)
    layer(x, training=True)
    close(layer.moving_mean.numpy(), 0.19 * mean)
    close(layer.moving_variance.numpy(), 0.81 + 0.19 * unbiased)
    still = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    close(layer(x), (x - still[0]) / np.sqrt(still[1] + 1e-5))
    assert np.array_equal(layer.moving_mean.numpy(), still[0])  # inference moves nothing
    assert not layer.trainable_variables


def test_batch_norm_with_affine():
    layer, x = BatchNorm(4, trainable_affine=True, init=Initializer("xavier", 0.02, 1)), normal((2, 3, 3, 4))
    layer.beta.assign(normal((4,), 2))
    rows = x.reshape(-1, 4)
    normalised = (x - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5)
    assert 0.001 < np.abs(layer.gamma.numpy() - 1).max() < 0.1
    close(layer(x, training=True), normalised * layer.gamma.numpy() + layer.beta.numpy())
    assert len(layer.trainable_variables) == 2


def test_instance_norm():
    layer, x = InstanceNorm(4), normal((3, 6, 5, 4)) * 2 - 1
    mean, variance = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    for training in (False, True):
        close(layer(x, training=training), (x - mean) / np.sqrt(variance + 1e-5))
    assert not layer.variables


def test_norms_keep_bfloat16_but_count_in_float32():
    x = tf.cast(normal((2, 16, 16, 3)) + 100, tf.bfloat16)  # 100 +- 1: bfloat16 sums would be useless
    exact = tf.cast(x, tf.float32).numpy()
    for layer in (BatchNorm(3), InstanceNorm(3)):
        axes = (0, 1, 2) if isinstance(layer, BatchNorm) else (1, 2)
        expected = exact - exact.mean(axes, keepdims=True)
        expected /= np.sqrt(exact.var(axes, keepdims=True) + 1e-5)
        out = layer(x, training=True)
        assert out.dtype == tf.bfloat16
        np.testing.assert_allclose(tf.cast(out, tf.float32), expected, atol=0.02)  # one rounding of about 3


# Maps and pooling


@pytest.mark.parametrize("height, width", [(8, 6), (7, 9), (8, 5), (1, 4), (1, 1), (2, 3)])
def test_pool_by_two_counts_real_cells_only(height, width):
    x = normal((2, height, width, 3))
    expected = np.empty((2, (height - 1) // 2 + 1, (width - 1) // 2 + 1, 3), np.float32)
    for i, j in np.ndindex(expected.shape[1:3]):
        top, left = max(2 * i - 1, 0), max(2 * j - 1, 0)
        expected[:, i, j] = x[:, top : 2 * i + 2, left : 2 * j + 2].mean((1, 2))
    close(pool_by_two(x), expected)


@pytest.mark.parametrize("shape", [(2, 7, 9), (1, 1, 6), (3, 5, 1)])
def test_edge_map(shape):
    instance = np.random.default_rng(1).integers(0, 3, shape).astype(np.int32)
    expected = np.zeros(shape, np.int32)
    for b, i, j in np.ndindex(shape):
        for di, dj in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            k, m = i + di, j + dj
            if 0 <= k < shape[1] and 0 <= m < shape[2] and instance[b, k, m] != instance[b, i, j]:
                expected[b, i, j] = 1
    assert 0 < expected.mean() < 1
    assert np.array_equal(edge_map(tf.constant(instance)), expected)


# Initial weights

SHAPE = (3, 3, 40, 60)
FAN_IN, FAN_OUT = 9 * 40, 9 * 60


@pytest.mark.parametrize(
    "kind, deviation, bound",
    [
        ("normal", 0.02, None),
        ("xavier", 0.02 * math.sqrt(2 / (FAN_IN + FAN_OUT)), None),
        ("xavier_uniform", math.sqrt(2 / (FAN_IN + FAN_OUT)), math.sqrt(6 / (FAN_IN + FAN_OUT))),
        ("kaiming", math.sqrt(2 / FAN_IN), None),
        ("none", math.sqrt(1 / (3 * FAN_IN)), 1 / math.sqrt(FAN_IN)),
    ],
)
def test_initial_kernels(kind, deviation, bound):
    kernel = Initializer(kind, 0.02, seed=4)(SHAPE)
    assert kernel.dtype == np.float32 and kernel.shape == SHAPE
    assert abs(kernel.std() / deviation - 1) < 0.02  # 21600 draws: standard error 0.5 %
    assert abs(kernel.mean()) < 4 * deviation / math.sqrt(kernel.size)
    furthest = np.abs(kernel).max()
    assert furthest > 3.5 * deviation if bound is None else 0.99 * bound < furthest <= bound
    assert np.array_equal(kernel, Initializer(kind, 0.02, seed=4)(SHAPE))
    assert not np.array_equal(kernel, Initializer(kind, 0.02, seed=5)(SHAPE))


def test_other_initial_kernels():
    for shape in [(3, 3, 4, 7), (2, 2, 3, 40)]:
        matrix = Initializer("orthogonal", 0.5)(shape).reshape(-1, shape[-1]) / 0.5
        gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
        close(gram, np.eye(len(gram)))
    assert not Initializer("zeros")(SHAPE).any()
    spectral = Initializer("xavier", 0.02)(SHAPE, spectral=True)  # PyTorch's default whatever the type
    assert np.abs(spectral).max() > 0.9 / math.sqrt(FAN_IN)
    with pytest.raises(ValueError, match=r"xaver.*expected one of normal, xavier"):
        Initializer("xaver")


# Small grammars and noise


def test_norm_grammars():
    assert parse_norm_G("spectralspadesyncbatch3x3") == (True, "syncbatch", 3)
    assert parse_norm_G("spadeinstance5x5") == (False, "instance", 5)
    assert parse_norm_G("spectralspadebatch1x1") == (True, "batch", 1)
    wrong = ("", "spade", "spadelayer3x3", "spadebatch3", "spadebatch4x4", "syncbatch3x3", "spadebatch3x5",
             "spadespectralbatch3x3", "spectralspectralspadebatch3x3")  # fmt: skip
    for text in wrong:
        with pytest.raises(ValueError, match=f"norm_G is '{text}'"):
            parse_norm_G(text)
    kinds = [
        parse_norm(f"spectral{kind}", "norm_D") for kind in ("", "none", "batch", "sync_batch", "instance")
    ]
    assert kinds == ["none", "none", "batch", "sync_batch", "instance"]
    for text in ("instance", "spectrallayer", ""):
        with pytest.raises(ValueError, match=f"norm_D is '{text}'"):
            parse_norm(text, "norm_D")


def test_row_normal_depends_on_seed_and_row_alone():
    rows = [5, 2**40, 0, 5]
    batch = row_normal(rows, 6, seed=1).numpy()
    for row, noise in zip(rows, batch, strict=True):
        assert np.array_equal(row_normal([row], 6, seed=1).numpy()[0], noise)
    assert np.array_equal(batch[0], batch[3])
    assert not np.isclose(batch[:3], row_normal(rows[:3], 6, seed=2)).any()
    many = tf.function(row_normal)(tf.range(2000, dtype=tf.int64), 6).numpy()
    assert len(np.unique(many)) > 11_990
    assert abs(many.mean()) < 0.04 and abs(many.std() - 1) < 0.03  # 12000 draws: standard error 0.009, 0.006
