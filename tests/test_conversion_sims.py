"""Checkpoints of the original SIMS, written by TensorFlow 1's saver, become runs that give the same numbers."""

import numpy as np
import pytest
import sims_golden as golden
import tensorflow as tf

from semantic_synthesis import runs
from semantic_synthesis.config import Config
from semantic_synthesis.convert import ConvertOptions, convert
from semantic_synthesis.methods.sims import conversion
from semantic_synthesis.methods.sims.networks import resize

WIDTH = 2  # of the first stack, 64 in the original


def narrow(network):
    """{variable of the original: array by the fixture's rule} at a thirty-second of the width."""
    found = {}
    for name, shape in golden.networks()[0][network]:
        seen = {24: 24, 6: 6}.get(shape[-2] if len(shape) > 1 else 0)
        shape = [*shape[:-2], *(_narrow(size, seen) for size in shape[-2:])]
        found[name] = golden.weight(name, tuple(shape))
    return found


def _narrow(size, seen):
    """24 and 6 input channels, 3, 20 and 6 outputs stay; an input may be the 24 channels and features."""
    if size in (3, 6, 20, 24, 27):
        return size
    extra = 24 if size % 64 == 24 else 0
    return (size - extra) * WIDTH // 64 + extra


def write(folder, network):
    """Prefix of a TensorFlow 1 checkpoint with optimiser state."""
    values = narrow(network)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, value in values.items():
            tf.compat.v1.get_variable(name, initializer=value, use_resource=False)
            tf.compat.v1.get_variable(f"{name}/Adam", initializer=np.zeros_like(value), use_resource=False)
        tf.compat.v1.get_variable("beta1_power", initializer=np.float32(0.9), use_resource=False)
        session.run(tf.compat.v1.global_variables_initializer())
        return tf.compat.v1.train.Saver().save(session, str(folder / network / "model.ckpt"))


def converted(tmp_path, synthesis, *others, **flags):
    roles = {"transform": "transformation", "order": "order"}
    files = {roles[name]: write(tmp_path, name) for name in others}
    options = ConvertOptions(
        method="sims",
        dataset_mode="cityscapes",
        synthesis=write(tmp_path, synthesis),
        **files,
        **flags,
        checkpoint_dir=str(tmp_path / "run"),
    )
    return convert(options)


def test_all_three_networks(tmp_path):
    run_dir = converted(tmp_path, "synthesis_256", "transform", "order")
    config, method = runs.open_run(run_dir)
    assert (config.scale, config.crop_size, config.crop_height, config.num_filters) == (1, 512, 256, WIDTH)
    assert config.bank_dir == "none" and config.use_order and config.use_transformation
    assert config.no_instance  # the original has no instances
    assert config.order_pooling == "windows" and config.num_classes == 35 and method.groups.count == 19
    theirs = narrow("synthesis_256")
    np.testing.assert_array_equal(
        method.synthesis.encoders[3].units[2].conv.kernel, theirs["g_encoder_conv4/g_encoder_conv4_3/weights"]
    )
    np.testing.assert_array_equal(method.synthesis.picture.bias, theirs["g_256_conv100/biases"][::-1])
    np.testing.assert_array_equal(method.transformation.bias, narrow("transform")["g_b_fc1"])
    np.testing.assert_array_equal(
        method.order.hidden.norm.gamma, narrow("order")["g_selection_conv6/LayerNorm/gamma"]
    )
    layout = {key: tf.fill([1, 256, 512], 7) for key in ("label", "instance")}
    picture = method.synthesize(layout, {"choice": tf.zeros([1, 8])})
    assert picture.shape == (1, 256, 512, 3) and np.isfinite(picture).all()


@pytest.mark.parametrize(("network", "scale"), [("synthesis_512", 2), ("synthesis_1024", 4)])
def test_larger_pictures(network, scale, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("absl.logging.info", lambda text, *values: said.append(text % values))
    run_dir = converted(tmp_path, network)
    config = Config.load(run_dir)
    assert (config.scale, config.crop_size, config.crop_height) == (scale, 512 * scale, 256 * scale)
    assert not config.use_order and not config.use_transformation
    assert any("no --order" in line for line in said) and any("no --transformation" in line for line in said)
    model = runs.build_method(config, training=False, initial_weights=False)
    runs.load_weights(model, run_dir)
    if scale == 4:  # the last convolution sees 24 channels and a picture, whose order of colours turns
        kernel = narrow(network)["g_1024_conv100/weights"]
        np.testing.assert_array_equal(model.synthesis.finish.kernel[:, :, :24], kernel[:, :, :24, ::-1])
        np.testing.assert_array_equal(model.synthesis.finish.kernel[:, :, 24], kernel[:, :, 26, ::-1])


def test_ways_to_name_a_checkpoint(tmp_path):
    prefix = write(tmp_path, "order")
    moved = tmp_path / "moved"
    (tmp_path / "order").rename(moved)  # its file `checkpoint` names the old place
    name = str(moved / prefix.rpartition("/")[2])
    expected = conversion.read(name)
    assert expected
    for path in (moved, f"{name}.index", f"{name}.meta", f"{name}.data-00000-of-00001"):
        assert conversion.read(path).keys() == expected.keys()
    (moved / "checkpoint").unlink()
    assert conversion.read(moved).keys() == expected.keys()
    (moved / "other.index").touch()
    with pytest.raises(FileNotFoundError, match="no TensorFlow checkpoint"):
        conversion.read(moved)


def test_contradictions(tmp_path):
    with pytest.raises(ValueError, match=r"scale is 2 .* but --scale asks for 1"):
        converted(tmp_path, "synthesis_512", scale=1)
    prefix = str(tmp_path / "synthesis_512" / "model.ckpt")
    options = {"method": "sims", "dataset_mode": "cityscapes", "checkpoint_dir": str(tmp_path / "other")}
    with pytest.raises(ValueError, match=r"given as --order, the order network, but it holds the synthesis"):
        convert(ConvertOptions(synthesis=prefix, order=prefix, **options))
    with pytest.raises(FileNotFoundError, match="no TensorFlow checkpoint"):
        convert(ConvertOptions(synthesis=str(tmp_path / "nothing"), **options))
    with pytest.raises(ValueError, match="tensors and model do not match"):
        convert(ConvertOptions(synthesis=prefix, **{**options, "dataset_mode": "scenes"}))


def test_resize_puts_corners_on_corners():
    x = tf.reshape(tf.range(5, dtype=tf.float32), [1, 1, 5, 1])
    np.testing.assert_allclose(resize(x, (1, 3))[0, 0, :, 0], [0, 2, 4])
    np.testing.assert_allclose(resize(x, (1, 9))[0, 0, :, 0], np.arange(9) / 2)
