"""Label windows: the discriminator's first convolution on distinct windows is the dense one, with its gradients."""

import numpy as np
import pytest
import tensorflow as tf
from helpers import layout_map

from semantic_synthesis.layers import one_hot_semantics
from semantic_synthesis.layers.convolution import convolve
from semantic_synthesis.layers.windows import find_windows, window_convolution

CLASSES = 9


def kernel_of(edges, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=(4, 4, CLASSES + edges, 5)).astype(np.float32))


def tokens_of(height, width, edges):
    label = np.stack([layout_map(height, width, shift) for shift in (0, 4)]).astype(np.int32)
    if not edges:
        return tf.constant(label)
    edge = np.random.default_rng(1).random(label.shape) < 0.02
    return tf.constant(2 * label + edge)


@pytest.mark.parametrize("edges", [False, True])
@pytest.mark.parametrize("height, width", [(32, 32), (31, 46), (7, 5), (2, 1)])
def test_equal_to_the_dense_convolution(height, width, edges):
    tokens, kernel = tokens_of(height, width, edges), kernel_of(edges)
    windows = find_windows(tokens, CLASSES * (1 + edges))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(kernel)
        dense = convolve(one_hot_semantics(tokens, CLASSES, edges, tf.float32), kernel, 2, 2)
        found = window_convolution(windows, kernel, edges)
        weight = np.random.default_rng(2).normal(size=dense.shape).astype(np.float32)
        losses = [tf.reduce_sum(weight * y) for y in (dense, found)]
    assert found.shape == (2, height // 2 + 1, width // 2 + 1, 5)
    np.testing.assert_allclose(found, dense, atol=1e-5)
    expected, gradient = (tape.gradient(loss, kernel) for loss in losses)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4)


def test_every_distinct_window_once():
    """Against windows cut out one by one; the border is a token of its own."""
    tokens = tokens_of(12, 10, False)
    windows = find_windows(tokens, CLASSES)
    padded = np.pad(tokens, ((0, 0), (2, 2), (2, 2)), constant_values=CLASSES)
    cut = np.array(
        [
            [[padded[b, y : y + 4, x : x + 4] for x in range(0, 12, 2)] for y in range(0, 14, 2)]
            for b in range(2)
        ]
    )
    found = windows.rows.numpy()[windows.members.numpy()][windows.index.numpy()]
    np.testing.assert_array_equal(found, cut)
    assert len(windows.members) == len(np.unique(cut.reshape(-1, 16), axis=0))


def test_noise_is_convolved_densely():
    """Where nearly all windows differ the graph takes the other branch: its result equals the dense one bit for bit."""
    tokens = tf.constant(np.random.default_rng(0).integers(0, CLASSES, (1, 16, 16)).astype(np.int32))
    kernel = kernel_of(False)
    dense = convolve(one_hot_semantics(tokens, CLASSES, False, tf.float32), kernel, 2, 2)
    np.testing.assert_array_equal(window_convolution(find_windows(tokens, CLASSES), kernel, False), dense)
