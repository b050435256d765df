"""Label patches: the numbering against brute force, and the patch form against the dense convolutions."""

import numpy as np
import pytest
import tensorflow as tf

from semantic_synthesis.layers import (
    Initializer,
    LabelModulation,
    label_tokens,
    one_hot_semantics,
    plan_label,
)
from semantic_synthesis.layers.patches import MOST_DISTINCT, modulation_form
from semantic_synthesis.normalization import SPADE

CLASSES = 5


def stripes(height, width):
    """Stripes of one pixel, every class in turn."""
    return np.broadcast_to(np.arange(width) % CLASSES, (height, width))


def checkerboard(height, width):
    y, x = np.mgrid[:height, :width]
    return (y + x) % 2 * 3


def noise(height, width):
    return np.random.default_rng(height * width).integers(0, CLASSES, (height, width))


def blobs(height, width):
    """A few regions, as in real maps."""
    y, x = np.mgrid[:height, :width]
    return np.where(y < height / 2 + 2 * np.sin(x / 3), 0, np.where((x - 6) ** 2 + (y - 9) ** 2 < 16, 4, 2))


def batch_of(*maps):
    return np.stack([np.asarray(m, np.int32) for m in maps])


MAPS = {
    "noise": batch_of(noise(9, 7)),
    "one class": batch_of(np.full((8, 6), 3)),
    "stripes": batch_of(stripes(6, 11), stripes(6, 11)[:, ::-1]),
    "checkerboard": batch_of(checkerboard(7, 8), noise(7, 8), np.full((7, 8), 4)),
    "blobs": batch_of(blobs(24, 16), blobs(24, 16)[::-1]),
    "one row": batch_of(noise(1, 13)),
    "one column": batch_of(noise(10, 1), stripes(1, 10).T),
    "one pixel": batch_of([[2]]),
    "two by two": batch_of([[0, 4], [4, 0]]),
}


def tokens_of(name, edges):
    label = MAPS[name]
    edge = np.random.default_rng(7).integers(0, 2, label.shape) if edges else None
    return label_tokens(tf.constant(label), edge).numpy()


def neighbourhoods(ids, radius, outside):
    """[B,h,w,k*k]: what lies around each pixel, by a slow loop."""
    padded = np.pad(ids, ((0, 0), (radius,) * 2, (radius,) * 2), constant_values=outside)
    side = 2 * radius + 1
    found = np.empty((*ids.shape, side * side), ids.dtype)
    for b, i, j in np.ndindex(ids.shape):
        found[b, i, j] = padded[b, i : i + side, j : j + side].ravel()
    return found


def surroundings(plan):
    """[Q,9]: the 3x3 patches in and around the middle of each 5x5 patch, row-major; P outside the map."""
    return plan.triples.numpy()[plan.columns.numpy()].reshape(-1, 9)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("edges", [False, True])
def test_numbering_is_exact(name, edges):
    tokens = tokens_of(name, edges)
    outside = CLASSES * (2 if edges else 1)
    plan = plan_label(tokens, outside, "patches")
    patches, inner, index = plan.patches.numpy(), surroundings(plan), plan.index.numpy()
    # As many numbers as distinct neighbourhoods, 3x3 and 5x5, each used.
    small, large = neighbourhoods(tokens, 1, outside), neighbourhoods(tokens, 2, outside)
    assert len(patches) == len(np.unique(small.reshape(-1, 9), axis=0)) == len(np.unique(patches, axis=0))
    assert len(inner) == len(np.unique(large.reshape(-1, 25), axis=0))
    assert np.array_equal(np.unique(index), np.arange(len(inner)))
    # The middle 3x3 patch of each pixel's 5x5 patch holds that pixel's surroundings...
    assert np.array_equal(patches[inner[index][..., 4]], small)
    # ...and the nine together hold the 5x5 ones, `P` exactly where a patch lies outside the map.
    around = neighbourhoods(inner[index][..., 4], 1, len(patches))
    assert np.array_equal(inner[index], around)
    # Runs restore the index in reading order and never repeat.
    runs, run_index = plan.runs.numpy(), plan.run_index.numpy()
    assert np.array_equal(run_index[runs], index.ravel())
    assert (run_index[1:] != run_index[:-1]).all() and runs[-1] + 1 == len(run_index)


def modulation(edges, dtype="float32"):
    """A LabelModulation with lively weights, biases included."""
    layer = LabelModulation(CLASSES, 6, 10, edges=edges, init=Initializer("none", seed=2), name="modulation")
    rng = np.random.default_rng(3)
    layer.shared_bias.assign(rng.normal(0, 0.3, 10))
    layer.bias.assign(rng.normal(0, 0.3, 12))
    return layer


def results(layer, x, tokens, form, fold, traced=False):
    """Output, and gradients of x and of every variable, of one form; traced: as training does it."""
    x = tf.constant(x)
    weight = np.random.default_rng(4).normal(size=x.shape).astype(np.float32)
    sources = [x] + [variable.value for variable in layer.trainable_variables]

    def output():
        plan = plan_label(tokens, CLASSES * (2 if layer.edges else 1), form)
        return layer(x, plan, fold=fold)

    @tf.function
    def symbolic():
        y = output()
        return [y] + tf.gradients(tf.reduce_sum(y * weight), sources)

    def eager():
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = output()
            loss = tf.reduce_sum(y * weight)
        return [y, *tape.gradient(loss, sources)]

    return [np.asarray(array) for array in (symbolic if traced else eager)()]


def assert_relatively_close(actual, expected, tolerance):
    for got, want in zip(actual, expected, strict=True):
        assert got.shape == want.shape
        assert np.abs(got - want).max() <= tolerance * np.abs(want).max() + 1e-30


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("edges", [False, True])
def test_patches_equal_dense_convolutions(name, edges):
    tokens, layer = tokens_of(name, edges), modulation(edges)
    rng = np.random.default_rng(5)
    for copies in (1, 2) if len(tokens) == 1 else (1,):  # a layout of batch 1 serves any number of x
        x = rng.normal(size=(copies * len(tokens), *tokens.shape[1:], 6)).astype(np.float32)
        patches, dense = (
            results(layer, x, tokens, form, lambda scale, shift: (1 + scale, shift))
            for form in ("patches", "dense")
        )
        assert len(patches) == 6 and all(np.abs(array).max() > 1e-3 for array in dense)
        # Float32: sums of some hundred products in another order.
        assert_relatively_close(patches, dense, 1e-4)


@pytest.mark.parametrize("name", ["noise", "blobs"])  # auto takes dense, patches
def test_traced_forms_agree(name):
    tokens, layer = tokens_of(name, False), modulation(False)
    x = np.random.default_rng(5).normal(size=(*tokens.shape, 6)).astype(np.float32)
    found = [results(layer, x, tokens, form, None, traced=True) for form in ("patches", "dense", "auto")]
    assert_relatively_close(found[0], found[1], 1e-4)
    assert_relatively_close(found[2], found[1], 1e-4)


def test_patches_equal_the_definition():
    """conv(relu(conv(one-hot))) with zero padding of labels and of the hidden layer, by slow loops."""
    tokens, layer = tokens_of("checkerboard", True), modulation(True)
    semantics = one_hot_semantics(tokens, CLASSES, True, tf.float32).numpy()
    assert np.array_equal(semantics[..., :CLASSES].argmax(-1), tokens // 2)
    assert np.array_equal(semantics[..., CLASSES], tokens % 2)

    def convolved(x, kernel, bias):
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        out = np.empty((*x.shape[:3], kernel.shape[-1]), np.float32)
        for i, j in np.ndindex(x.shape[1:3]):
            out[:, i, j] = np.einsum("bhwi,hwio->bo", padded[:, i : i + 3, j : j + 3], kernel) + bias
        return out

    hidden = np.maximum(convolved(semantics, layer.shared_kernel.numpy(), layer.shared_bias.numpy()), 0)
    values = convolved(hidden, layer.kernel.numpy(), layer.bias.numpy())
    x = np.random.default_rng(6).normal(size=(*tokens.shape, 6)).astype(np.float32)
    expected = x * (1 + values[..., :6]) + values[..., 6:]
    for form in ("patches", "dense"):
        y = layer(x, plan_label(tokens, 2 * CLASSES, form), fold=lambda scale, shift: (1 + scale, shift))
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def normaliser(statistics):
    return SPADE(6, CLASSES, hidden=8, statistics=statistics, init=Initializer("none", seed=1), name="norm")


@pytest.mark.parametrize("statistics", ["syncbatch", "instance"])
def test_normaliser_forms_agree(statistics):
    """The whole SPADE normaliser in training, statistics folded in, gradients through them included."""
    tokens, x = tokens_of("blobs", False), np.random.default_rng(8).normal(1, 2, (2, 24, 16, 6))
    axes = (0, 1, 2) if statistics == "syncbatch" else (1, 2)
    standard = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    found = {}
    for form in ("patches", "dense"):
        norm = normaliser(statistics)
        plan, inputs = plan_label(tokens, CLASSES, form), tf.constant(x, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y = norm(inputs, plan, training=True)
            loss = tf.reduce_sum(tf.sin(y))
        variables = [variable.value for variable in norm.trainable_variables]
        arrays = [y, *tape.gradient(loss, [inputs, *variables]), *norm.non_trainable_variables]
        found[form] = [np.asarray(array) for array in arrays]
        modulated = norm.modulation(standard.astype(np.float32), plan, fold=lambda g, s: (1 + g, s))
        np.testing.assert_allclose(y, modulated, rtol=1e-4, atol=1e-5)
    assert_relatively_close(found["patches"], found["dense"], 1e-4)


@pytest.mark.parametrize("statistics", ["syncbatch", "instance"])
@pytest.mark.parametrize("form", ["patches", "dense"])
def test_folded_normaliser_gives_the_same(statistics, form):
    tokens, norm = tokens_of("blobs", False), normaliser(statistics)
    x = np.random.default_rng(9).normal(1, 2, (2, 24, 16, 6)).astype(np.float32)
    plan = plan_label(tokens, CLASSES, form)
    norm(x, plan, training=True)  # moves the running statistics away from 0 and 1
    before = norm(x, plan)
    norm.fold()
    norm.fold()  # once is enough, twice changes nothing
    np.testing.assert_allclose(norm(x, plan), before, rtol=1e-4, atol=1e-5)


def test_auto_takes_patches_on_real_maps_and_dense_on_noise():
    real, noisy = batch_of(blobs(64, 64)), batch_of(noise(64, 64))
    for tokens, expected in ((real, True), (noisy, False)):
        plan = plan_label(tokens, CLASSES)
        share = len(plan.columns) / tokens.size
        assert bool(plan.use_patches) is expected is (share <= MOST_DISTINCT)
    assert len(plan.columns) > 4000  # the noise: nearly every pixel another neighbourhood
    assert plan_label(real, CLASSES, "patches").use_patches is None
    assert plan_label(real, CLASSES, "dense").patches is None
    # The choice is one per batch, inside one traced function.
    layer, traces = modulation(False), []

    @tf.function(input_signature=[tf.TensorSpec([None, None, None], tf.int32)])
    def run(tokens):
        traces.append(1)
        plan = plan_label(tokens, CLASSES)
        x = tf.ones([tf.shape(tokens)[0], tf.shape(tokens)[1], tf.shape(tokens)[2], 6])
        return layer(x, plan)

    for tokens in (real, noisy):
        dense = layer(np.ones((*tokens.shape, 6), np.float32), plan_label(tokens, CLASSES, "dense"))
        np.testing.assert_allclose(run(tokens), dense, rtol=1e-4, atol=1e-5)
    assert len(traces) == 1


def test_more_ids_than_can_be_packed():
    """Beyond 2^21 ids the numbering would not be exact: what was to be patches is dense."""
    tokens = np.array([[[0, 2**21 + 5], [7, 2**21]]], np.int32)
    for form in ("auto", "patches"):
        plan = plan_label(tokens, 2**21 + 6, form)
        assert plan.use_patches is not None and not plan.use_patches


def test_form_of_a_run(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    forms = [modulation_form(asked, 3) for asked in ("auto", "patches", "dense")]
    assert forms == ["auto", "patches", "dense"]
    assert modulation_form("auto", 5) == modulation_form("dense", 5) == "dense"
    with pytest.raises(ValueError, match="--modulation patches with 5x5 kernels in norm_G; expected 3x3"):
        modulation_form("patches", 5)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    assert modulation_form("auto", 3) == "dense"


# Rows: tokens that stand for vectors


def row_case(height, width, samples=2, classes=4, length=3, seed=0):
    """(tokens [N,h,w] with the sample in them, rows [T,D], features [N,h,w,F], a modulation of such rows)."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, (samples, height, width))
    tokens = tf.constant(label + classes * np.arange(samples)[:, None, None], tf.int32)
    rows = tf.Variable(rng.normal(size=(samples * classes, length)), dtype=tf.float32)
    x = tf.constant(rng.normal(size=(samples, height, width, 5)), tf.float32)
    layer = LabelModulation(length, 5, 6, init=Initializer("normal", 0.5, seed), name="modulation")
    layer.shared_bias.assign(rng.normal(size=6).astype(np.float32))
    layer.bias.assign(rng.normal(size=10).astype(np.float32))
    return tokens, rows, x, layer


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (2, 2), (3, 5), (5, 5), (9, 7)])
def test_rows_by_patches_equal_rows_by_convolutions(size):
    """Beyond the border there is no vector at all, not the vector of some token."""
    tokens, rows, x, layer = row_case(*size)
    found, gradients = {}, {}
    for form in ("patches", "dense"):
        plan = plan_label(tokens, 8, form)
        with tf.GradientTape() as tape:
            found[form] = layer(x, plan, rows=rows)
            value = tf.reduce_sum(tf.sin(found[form]))
        gradients[form] = tape.gradient(value, [rows, layer.shared_kernel.value, layer.kernel.value])
    np.testing.assert_allclose(found["patches"], found["dense"], atol=1e-5)
    assert np.abs(gradients["dense"][0]).max() > 0.01
    for ours, theirs in zip(gradients["patches"], gradients["dense"], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_one_hot_rows_are_the_classes():
    tokens, _, x, _ = row_case(6, 7, samples=1)
    layer = LabelModulation(4, 5, 6, init=Initializer("normal", 0.5), name="modulation")
    plan = plan_label(tokens, 4, "patches")
    np.testing.assert_allclose(layer(x, plan, rows=tf.eye(4)), layer(x, plan), atol=1e-6)


@pytest.mark.parametrize("form", ["patches", "dense", "auto"])
def test_a_repeated_plan_gives_each_copy_its_rows(form):
    tokens, rows, x, layer = row_case(6, 7, samples=3)
    plan = plan_label(tokens[:1], 4, form).repeated(3, 4)
    found = layer(x, plan, rows=rows)
    for i in range(3):
        alone = layer(x[i : i + 1], plan_label(tokens[:1], 4, form), rows=rows[4 * i : 4 * i + 4])
        np.testing.assert_allclose(found[i], alone[0], atol=1e-5)


def test_more_patches_than_can_be_numbered():
    """Noise of some megapixels: its triples of neighbours are too many for three of them in 64 bits."""
    classes = 30_000
    label = np.random.default_rng(0).integers(0, classes, (1, 1450, 1450)).astype(np.int32)
    for form in ("auto", "patches"):
        plan = plan_label(tf.constant(label), classes, form)
        assert plan.use_patches is not None and not plan.use_patches


def test_patches_of_an_unknown_size_can_be_too_many():
    """Then they are painted densely, in the same graph."""
    few, many = np.zeros((1, 6, 6), np.int32), np.array([[[0, 2**21 + 5], [7, 2**21]]], np.int32)
    tokens, rows, x, layer = row_case(2, 2, samples=1, length=2)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None], tf.int32), tf.TensorSpec([], tf.int32)])
    def run(tokens, count):
        return plan_label(tokens, count, "patches").use_patches

    assert run(few, 1) and not run(many, 2**21 + 6)
    fits = plan_label(tokens, tf.constant(4), "patches")  # a number that the graph alone knows
    dense = layer(x, plan_label(tokens, 4, "dense"), rows=rows)
    for plan in (fits, fits._replace(use_patches=tf.constant(False))):
        np.testing.assert_allclose(layer(x, plan, rows=rows), dense, atol=1e-5)
