"""Losses against NumPy, VGG features against Keras' and PyTorch's own networks."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from semantic_synthesis import losses
from semantic_synthesis.networks.vgg import _TORCH_INDEX, VGG19Features, _shapes
from semantic_synthesis.safetensors_files import write_safetensors

RNG = np.random.default_rng(0)
JUDGED = [RNG.normal(size=(2, 4, 5, 1)).astype(np.float32), RNG.normal(size=(2, 2, 3, 1)).astype(np.float32)]


def _sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


EXPECTED = {
    ("hinge", True, False): [np.maximum(0, 1 - j).mean() for j in JUDGED],
    ("hinge", False, False): [np.maximum(0, 1 + j).mean() for j in JUDGED],
    ("hinge", True, True): [-j.mean() for j in JUDGED],
    ("ls", True, False): [((j - 1) ** 2).mean() for j in JUDGED],
    ("ls", False, False): [(j**2).mean() for j in JUDGED],
    ("original", True, True): [-np.log(_sigmoid(j)).mean() for j in JUDGED],
    ("original", False, False): [-np.log(1 - _sigmoid(j)).mean() for j in JUDGED],
    ("w", True, False): [-j.mean() for j in JUDGED],
    ("w", False, False): [j.mean() for j in JUDGED],
}


@pytest.mark.parametrize("case", EXPECTED)
def test_adversarial_losses(case):
    mode, real, for_generator = case
    value = losses.adversarial([tf.constant(j) for j in JUDGED], real, mode, for_generator)
    np.testing.assert_allclose(value, np.mean(EXPECTED[case]), rtol=1e-5)


def test_unknown_gan_mode():
    with pytest.raises(ValueError, match="expected hinge, ls, original or w"):
        losses.adversarial([tf.zeros([1, 1, 1, 1])], True, "soft")


def test_feature_matching_sums_layers_averages_groups_and_holds_real_constant():
    fake, real = tf.Variable([[[[1.0, 3.0]]]]), tf.Variable([[[[0.0, 1.0]]]])
    far = tf.constant([[[[100.0]]]])
    deep = losses.feature_matching([[far, fake], [-far, fake]], [[-far, real], [far, real]], "deep")
    np.testing.assert_allclose(deep, 1.5)  # of shallow groups the last layer alone
    deep = losses.feature_matching([[far, far, far, fake, fake]], [[-far, -far, -far, real, real]], "deep")
    np.testing.assert_allclose(deep, 3.0)  # from the fourth layer on
    np.testing.assert_allclose(losses.feature_matching([[fake, far]], [[real, -far]]), 201.5)
    with tf.GradientTape() as tape:
        value = losses.feature_matching([[fake], [fake]], [[real], [real]])
    np.testing.assert_allclose(value, 1.5)  # mean(|1|, |2|) in each of two groups, averaged
    gradients = tape.gradient(value, [fake, real])
    np.testing.assert_allclose(gradients[0], [[[[0.5, 0.5]]]])
    assert gradients[1] is None


def test_kl_divergence_is_a_sum_over_z_and_a_mean_over_the_batch():
    mean, log_variance = np.float32([[1, 2], [0, 0]]), np.float32([[0, 1], [0, 0]])
    closed_form = 0.5 * (np.exp(log_variance) + mean**2 - 1 - log_variance).sum(1).mean()
    np.testing.assert_allclose(
        losses.kl_divergence(tf.constant(mean), tf.constant(log_variance)), closed_form
    )


@pytest.fixture(scope="module")
def image():
    return tf.random.stateless_uniform([1, 32, 48, 3], [1, 2], -1, 1)


def test_vgg_from_a_keras_file(tmp_path, image):
    keras.utils.set_random_seed(0)
    network = keras.applications.VGG19(include_top=False, weights=None)
    network.save_weights(str(tmp_path / "vgg.weights.h5"))
    taps = [network.get_layer(f"block{i}_conv1").output for i in range(1, 6)]
    pixels = keras.applications.vgg19.preprocess_input((np.asarray(image) + 1) * 127.5)
    expected = keras.Model(network.input, taps)(pixels)
    ours = VGG19Features(str(tmp_path / "vgg.weights.h5"))
    assert ours.default_weight == 0.06
    for a, b in zip(ours(image), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * float(tf.reduce_max(tf.abs(b))))


def test_vgg_from_a_torchvision_file(tmp_path, image):
    torch = pytest.importorskip("torch", reason="torchvision files are read by PyTorch")
    torch.manual_seed(0)
    state, layers, tap = {}, [], []
    for index, (_, _, narrow, wide) in zip(_TORCH_INDEX, _shapes(), strict=True):
        conv = torch.nn.Conv2d(narrow, wide, 3, padding=1)
        state |= {f"features.{index}.weight": conv.weight.data, f"features.{index}.bias": conv.bias.data}
        layers.append((index, conv))
    torch.save(state, tmp_path / "vgg19.pth")
    for key in ("state_dict", "model"):
        wrapped = {key: {f"module.{name}": value for name, value in state.items()}, "epoch": 3}
        torch.save({**wrapped, "optimizer": {"state": {}, "param_groups": [{}]}}, tmp_path / f"{key}.pth")
    x = torch.from_numpy(np.asarray(image).transpose(0, 3, 1, 2).copy())
    for index, conv in layers:
        if index in (5, 10, 19, 28):  # torchvision's max-pools stand before these
            x = torch.nn.functional.max_pool2d(x, 2)
        x = torch.relu(conv(x))
        if index in (0, 5, 10, 19, 28):
            tap.append(x.detach().numpy().transpose(0, 2, 3, 1))
    ours = VGG19Features(str(tmp_path / "vgg19.pth"))
    assert ours.default_weight == 10.0
    for a, b in zip(ours(image), tap, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    write_safetensors(tmp_path / "vgg19.safetensors", {n: t.numpy() for n, t in state.items()}, {})
    for file in ("vgg19.safetensors", "state_dict.pth", "model.pth"):
        same = VGG19Features(str(tmp_path / file))
        assert same.default_weight == 10.0
        for a, b in zip(same(image), ours(image), strict=True):
            np.testing.assert_array_equal(a, b)
    torch.save({"a": state, "b": state}, tmp_path / "two.pth")
    with pytest.raises(ValueError, match=r"two\.pth: holds 2 state dicts \(a, b\); save the one"):
        VGG19Features(str(tmp_path / "two.pth"))


def test_class_weights_of_many_pixels():
    """More of one class than float32 can count by ones."""
    label = tf.concat([tf.zeros([1, 4500, 4096], tf.int32), tf.ones([1, 500, 4096], tf.int32)], 1)
    np.testing.assert_allclose(losses.class_weights(label, 3), [5 / 9, 5, 0], rtol=1e-6)


def test_vgg_loss_moves_the_fake_only_and_weighs_the_taps(image):
    vgg = VGG19Features("random")
    fake, real = tf.Variable(image), tf.Variable(-image)
    with tf.GradientTape() as tape:
        value = vgg.loss(fake, real)
    gradients = tape.gradient(value, [fake, real])
    assert float(tf.reduce_max(tf.abs(gradients[0]))) > 0 and gradients[1] is None
    parts = [np.abs(np.asarray(f) - np.asarray(r)).mean() for f, r in zip(vgg(fake), vgg(real), strict=True)]
    np.testing.assert_allclose(value, np.dot(parts, [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1]), rtol=1e-5)
    assert not vgg.trainable_variables


def test_missing_vgg_file_names_the_ways_out():
    with pytest.raises(FileNotFoundError, match=r"imagenet, random, a Keras \.h5 or a torchvision \.pth"):
        VGG19Features("nowhere.h5")
