"""The networks of SIMS at small sizes, and what their spatial transformer does at borders."""

import numpy as np
import pytest
import tensorflow as tf

from semantic_synthesis.layers import Initializer
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.methods.sims import close_up, conversion
from semantic_synthesis.methods.sims.networks import LayerNorm, Order, Synthesis, Transformation
from semantic_synthesis.methods.sims.warping import round_theta, warp
from semantic_synthesis.networks.vgg import VGG19Features

RNG = np.random.default_rng(0)
INIT = Initializer("xavier_uniform")


def picture(height, width, count=1):
    return tf.constant(RNG.random((count, height, width, 3), np.float32))


def theta(*values):
    return tf.constant([values], tf.float32)


@pytest.mark.parametrize("size", [(6, 8), (7, 9)])
def test_identity_keeps_every_pixel(size):
    image = picture(*size)
    np.testing.assert_allclose(warp(image, theta(1, 0, 0, 0, 1, 0)), image, atol=1e-6)
    legacy = warp(image[:, :6, :8], theta(1, 0, 0, 0, 1, 0), legacy=True).numpy()
    assert not legacy[:, -1].any() and not legacy[:, :, -1].any(), "the original's border"


def test_whole_shift_moves_and_fills_with_zeros():
    image = picture(6, 10)
    found = warp(image, round_theta(theta(1.2, 0.1, 4.4, -0.3, 0.8, -0.7))).numpy()
    np.testing.assert_allclose(found[0, 1:, :6], image[0, :5, 4:], atol=1e-6)
    assert not found[0, 0].any() and not found[0, :, 6:].any()


def test_theta_has_a_gradient_from_the_start():
    net = Transformation(2, (16, 32), filters=2, init=INIT)
    seen = tf.concat([picture(16, 32, 2)] * 2 + [picture(16, 32, 2)[..., :1]], -1)
    with tf.GradientTape() as tape:
        found = net(seen)
        loss = tf.reduce_sum(warp(seen[..., :3], found) * picture(16, 32, 2))
    np.testing.assert_allclose(found, [[1, 0, 0, 0, 1, 0]] * 2)
    assert np.abs(tape.gradient(loss, net.kernel.value)).max() > 0


def test_layer_norm_has_a_scale_per_channel():
    norm, x = LayerNorm(3), picture(4, 5, 2) * 7 + 2
    norm.gamma.assign([1.0, 2.0, 3.0])
    norm.beta.assign([0.0, 0.5, -1.0])
    found = (norm(x).numpy() - [0.0, 0.5, -1.0]) / [1.0, 2.0, 3.0]
    np.testing.assert_allclose(found.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(found.std((1, 2, 3)), 1, atol=1e-4)


def test_order_network_sees_the_right_edge():
    seen = np.zeros((1, 256, 512, 6), np.float32)
    seen[:, :64, :64] = 1
    edited = seen.copy()
    edited[:, 64:, 448:] = RNG.random((1, 192, 64, 6))
    # equal weights: what changes is pooling alone
    nets = [Order(3, filters=1, legacy=legacy, init=Initializer("xavier_uniform")) for legacy in (0, 1)]
    moved = [np.abs(net(tf.constant(edited)) - net(tf.constant(seen))).max() for net in nets]
    assert moved[0] > 0 and moved[0] != moved[1]


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_synthesis_at_any_size(scale):
    net = Synthesis(2, scale=scale, filters=1, init=INIT)
    made, semantic = net(tf.constant(RNG.random((2, 24 * scale, 20 * scale, 7), np.float32)))
    stage = min(scale, 2)
    assert made.shape == (2, 24 * scale, 20 * scale, 3) and semantic.shape == (2, 24 * stage, 20 * stage, 3)


def test_trunks_of_all_scales_have_the_same_names():
    names = [set(named_variables(Synthesis(2, scale=s, filters=1, init=INIT))) for s in (1, 2, 4)]
    heads = [
        {n for n in found if n.split("/")[0][-1] in "24" and n[:6] != "encode" and n[:6] != "decode"}
        for found in names
    ]
    assert names[1] - names[0] == heads[1] and names[2] - names[1] == {"finish4/kernel", "finish4/bias"}
    assert names[0] - names[1] == {n for n in names[0] if n.startswith(("picture1", "semantic1"))}


def test_unknown_scale():
    with pytest.raises(ValueError, match="scale is 3; expected"):
        Synthesis(2, scale=3, init=INIT)


def test_vgg_taps_and_pooling():
    image = picture(32, 32)
    first = VGG19Features("random")(image)
    second = VGG19Features("random", taps=(2, 2, 2, 2, 2))(image)
    assert [f.shape[1:3] for f in second] == [f.shape[1:3] for f in first]
    assert (second[0].numpy() != first[0].numpy()).any()
    averaged = VGG19Features("random", average=True)(image)
    np.testing.assert_array_equal(averaged[0], first[0])
    assert (averaged[1].numpy() != first[1].numpy()).any()
    with pytest.raises(FileNotFoundError, match="no such file"):
        VGG19Features("nowhere.h5")


def test_reading_tensorflow_checkpoints(tmp_path):
    values = {"g_a/weights": RNG.random((2, 3), np.float32), "g_b": RNG.random(4, np.float32)}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, value in values.items():
            tf.compat.v1.get_variable(name, initializer=value, use_resource=False)
        session.run(tf.compat.v1.global_variables_initializer())
        prefix = tf.compat.v1.train.Saver().save(session, str(tmp_path / "model"))
    for path in (prefix, prefix + ".index", str(tmp_path)):
        found = conversion.read(path)
        assert found.keys() == values.keys()
        np.testing.assert_array_equal(found["g_a/weights"], values["g_a/weights"])
    with pytest.raises(FileNotFoundError, match="no TensorFlow checkpoint"):
        conversion.read(str(tmp_path / "other"))
    (tmp_path / "model.index").write_bytes(b"broken")
    with pytest.raises(ValueError, match="not readable"):
        conversion.read(prefix)


def mask_of(top, left, bottom, right, size=(24, 32)):
    mask = np.zeros((1, *size), bool)
    mask[:, top:bottom, left:right] = True
    return mask


def test_boxes_are_about_the_pictures_centre():
    masks = np.concatenate([mask_of(2, 5, 13, 26), mask_of(0, 0, 0, 0), mask_of(20, 3, 21, 4)])
    middle, half = close_up.boxes(tf.constant(masks))
    np.testing.assert_allclose(middle, [[15 - 16, 7 - 12], [-0.5, -0.5], [3 - 16, 20 - 12]])
    np.testing.assert_allclose(
        half, [[10.5, 5.5], [16, 12], [4, 4]]
    )  # the whole picture for none; never tiny


def test_a_glimpse_shows_the_box_and_some_pixels_around():
    x = tf.constant(picture(24, 32))
    middle, half = tf.constant([[-1.0, -5.0]]), tf.constant([[10.0, 5.0]]) / close_up.MARGIN
    found = close_up.glimpses(x, middle, half, (11, 21))  # one pixel per pixel
    np.testing.assert_allclose(found, x[:, 2:13, 5:26], atol=1e-5)


def test_maps_about_boxes_and_pictures_are_the_same_maps():
    """A change of size about a box leaves its middle where it is; shifts are in halves of the box."""
    middle, half = tf.constant([[7.0, -3.0]]), tf.constant([[10.0, 5.0]])
    a, b, c, d, e, f = close_up.about_picture(theta(1.2, 0.5, 0.1, -0.4, 0.8, -0.2), middle, half).numpy()[0]
    for u, v in ((0, 0), (1, -1), (-1, 0.5)):  # a point in halves of the box
        x, y = 7 + 10 * u, -3 + 5 * v
        np.testing.assert_allclose(a * x + b * y + c, 7 + 10 * (1.2 * u + 0.5 * v + 0.1), atol=1e-5)
        np.testing.assert_allclose(d * x + e * y + f, -3 + 5 * (-0.4 * u + 0.8 * v - 0.2), atol=1e-5)


def test_whole_pixels_of_a_box_are_the_move_of_its_middle():
    place = tf.constant(mask_of(2, 5, 13, 26))  # middle (-1, -5)
    found = close_up.whole_pixels(theta(1.1, 0, 2.5, 0, 0.9, -1.9), place, "box")
    np.testing.assert_allclose(found, [[1, 0, 2, 0, 1, -1]])  # -1.1 + 2.5 + 1 = 2.4, -4.5 - 1.9 + 5 = -1.4
    rounded = close_up.whole_pixels(theta(1.1, 0, 2.5, 0, 0.9, -1.9), place, "picture")
    np.testing.assert_allclose(rounded, [[1, 0, 2, 0, 1, -2]])


def test_the_corner_loss_is_zero_where_the_disturbance_is_undone():
    place = tf.constant(np.concatenate([mask_of(2, 5, 13, 26), mask_of(0, 0, 0, 0)]))
    moved = tf.repeat(theta(1.1, 0.05, 3, -0.02, 0.95, 1), 2, axis=0)
    whole = np.vstack([np.reshape(moved[0], (2, 3)), [0, 0, 1]])
    back = tf.cast(tf.reshape(np.linalg.inv(whole)[:2], [1, 6]), tf.float32)
    lost = tf.concat([back, theta(9, 9, 9, 9, 9, 9)], 0)  # an empty mask does not count
    np.testing.assert_allclose(close_up.corner_loss(lost, moved, place), 0, atol=1e-5)
    shifted = lost + theta(0, 0, 2.1, 0, 0, 1.1)  # a fifth of the halves 10.5 and 5.5
    np.testing.assert_allclose(close_up.corner_loss(shifted, moved, place), 0.2, atol=1e-5)
