"""Numbers that the original INADE code gives: by a formula (spec of INADE, section 14) and for the fixtures.

The weights travel through the conversion rules; the fixtures lie in ../shared/golden.
"""

import functools

import numpy as np
import pytest
import reference_inade as reference
import tensorflow as tf

from semantic_synthesis import losses, runs
from semantic_synthesis.convert import convert_tensors
from semantic_synthesis.data import ClassTable, catalogue
from semantic_synthesis.layers import Initializer
from semantic_synthesis.layers.cells import Cells
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.layers.region_convolutions import Borders, RegionConv
from semantic_synthesis.methods import make_config
from semantic_synthesis.methods.inade.encoder import InstanceEncoder
from semantic_synthesis.normalization import INADE as INADENorm
from semantic_synthesis.normalization import RegionCells
from semantic_synthesis.originals.rules import convolution

close = functools.partial(np.testing.assert_allclose, rtol=0, atol=2e-6)
ZEROS = Initializer("zeros")


def sine(shape, start):
    """The spec's inputs T: sin(0.1 i + s) in NCHW order, given as NHWC."""
    array = np.sin(0.1 * np.arange(np.prod(shape)) + start).reshape(shape)
    return tf.constant(array.transpose(0, 2, 3, 1) if len(shape) == 4 else array, tf.float32)


def maps():
    """label and instance int32 [1,64,64] of section 14."""
    x = np.broadcast_to(np.arange(64) // 16, (64, 64))
    label, instance = x % 3, (x % 4).copy()
    instance[:20][instance[:20] == 3] = 0
    return {"label": tf.constant(label[None], tf.int32), "instance": tf.constant(instance[None], tf.int32)}


def noise():
    """[1,4,2,2]."""
    return tf.constant(np.sin(0.1 * np.arange(16) + 0.7).reshape(1, 4, 2, 2), tf.float32)


def test_region_convolution():
    weights = reference.filled({"weight": (3, 2, 3, 3), "bias": (3,)})
    layer = RegionConv(2, 3, strides=2, init=ZEROS, name="conv")
    layer.kernel.assign(convolution(weights["weight"]))
    layer.bias.assign(weights["bias"])
    # ids are given at 16x16 and reduced to the input's 8x8
    ids = tf.constant(np.broadcast_to(np.arange(16) // 5, (1, 16, 16))[:, ::2, ::2], tf.int32)
    found = layer(sine((1, 2, 8, 8), 0.3), Borders.of(ids, 2)).numpy()[0]
    close(found[1, 2], [0.0729871, 0.0953024, 0.1047324])
    close(found[3, 3], [0.0981597, 0.1027829, 0.0934711])
    close(found.sum(), 4.6588778, atol=1e-5)


@functools.cache
def config():
    return make_config(
        method="inade", crop_size=64, aspect_ratio=1.0, num_upsampling_layers="normal", no_instance=False,
        use_vae=True, z_dim=4, noise_dim=2, num_generator_filters=4, num_encoder_filters=4,
        no_vgg_loss=True, class_table=ClassTable.create("formula", range(3)).to_dict(),
    )  # fmt: skip


@functools.cache
def model():
    shapes = {
        "source": reference.generator_shapes(4, 3, 2, 4, cells=4),
        "encoder": reference.encoder_shapes(4, 2),
    }
    files = {role: (role, reference.filled(of_file)) for role, of_file in shapes.items()}
    arrays = convert_tensors(config(), files)[0]
    built = runs.build_method(config(), training=False, initial_weights=False)
    for name, variable in named_variables(built).items():
        variable.assign(arrays[name])
    return built


def encoded():
    image = sine((1, 3, 64, 64), 0.5)
    return model().encoder(image, maps()["instance"], tf.constant(4))


def test_instance_encoder():
    mean, log_variance = (tensor.numpy()[0] for tensor in encoded())  # [I,2,N]
    expected = np.array(reference.ENCODED)  # [4 outputs,4 ids,2]
    close(mean[:, 0], expected[0])
    close(log_variance[:, 0], expected[1])
    close(mean[:, 1], expected[2])
    close(log_variance[:, 1], expected[3])
    close(0.05 / 2 * losses.kl_divergence(*encoded()), 0.00666506, atol=1e-8)


def test_normaliser():
    shapes = {
        "weight": (3, 5, 2),
        "bias": (3, 5, 2),
        "running_mean": (5,),
        "running_var": (5,),
        "num_batches_tracked": (),
        "fc_noise.weight": (5, 2),
        "fc_noise.bias": (5,),
    }
    weights = reference.filled(shapes)
    layer = INADENorm(5, 3, noise_dim=2, init=ZEROS, name="norm")
    layer.weight.assign(weights["weight"].transpose(0, 2, 1))
    layer.bias.assign(weights["bias"].transpose(0, 2, 1))
    layer.statistics.moving_mean.assign(weights["running_mean"])
    layer.statistics.moving_variance.assign(weights["running_var"])
    layer.projection.kernel.assign(weights["fc_noise.weight"].T)
    layer.projection.bias.assign(weights["fc_noise.bias"])
    plan = model().plan(maps())
    cells = Cells.of(plan["index"][:, ::4, ::4])
    condition = RegionCells(plan["classes"], plan["instances"], cells, noise())
    found = layer(sine((1, 5, 16, 16), 0.2), condition).numpy()[0]
    close(found[0, 0], [0.1006179, 0.1376864, 0.1113718, -0.0219556, -0.1851856])
    close(found[7, 13], [0.0951135, 0.1312417, 0.1104347, -0.0173504, -0.1870283])
    close(found.sum(), -1.3460200, atol=2e-5)


def test_generator():
    z = tf.constant(np.sin(0.1 * np.arange(4) + 1.1)[None], tf.float32)
    prior = model().synthesize(maps(), {"noise": noise(), "z": z}).numpy()[0]
    close(prior[0, 0], [0.0788855, 0.0449866, 0.0078487])
    close(prior[31, 40], [0.1226252, 0.0528150, -0.0248971])
    close(prior[63, 63], [0.0856645, 0.0604696, 0.0236634])
    close(prior.mean(), 0.0520479)
    style = {"noise": encoded().sample(noise()), "z": z}
    remapped = model().synthesize(maps(), style).numpy()[0]
    close(remapped[0, 0], [0.0788735, 0.0449909, 0.0078671])
    close(remapped[31, 40], [0.1227634, 0.0528936, -0.0249224])
    close(remapped[63, 63], [0.0856264, 0.0604104, 0.0236151])
    close(remapped.mean(), 0.0520308)


def fixture_run(name, run_dir, **changes):
    pytest.importorskip("torch")
    from test_conversion import converted

    return converted(name, run_dir, method="inade", no_instance=None, **changes)


def layout_of(arrays):
    return {key: tf.constant(arrays[key]) for key in ("label", "instance")}


@pytest.mark.parametrize("norm", [None, "spectralspadesyncbatch5x5", "spectralspadebatch3x3"])
def test_fixture_without_encoder(norm, tmp_path):
    """The original has no use for norm_G's kernel size: any one is taken and changes nothing."""
    run_dir, arrays = fixture_run("inade_plain", tmp_path / "run", norm_G=norm)
    config, method = runs.open_run(run_dir)
    assert config.norm_G == (norm or "spectralspadesyncbatch3x3")
    style = {"noise": tf.constant(arrays["noise"]), "z": tf.constant(arrays["noise_ins"])}
    close(method.synthesize(layout_of(arrays), style), arrays["image"], atol=1e-5)


def test_fixture_with_encoder(tmp_path):
    run_dir, arrays = fixture_run("inade_vae", tmp_path / "run")
    config, method = runs.open_run(run_dir)
    assert (config.noise_dim, config.z_dim, config.use_vae, config.no_instance) == (6, 48, True, False)
    layout = layout_of(arrays)
    found = method.encoder(tf.constant(arrays["real_image"]), layout["instance"], tf.constant(5))
    for index, letter in enumerate("sb"):
        close(found.mean[:, :, index], arrays[f"{letter}_mu"], atol=1e-5)
        close(found.log_variance[:, :, index], arrays[f"{letter}_logvar"], atol=1e-5)
    absent = (arrays["s_mu"] == 0).all(-1)
    assert absent.any() and (found.mean.numpy()[absent] == 0).all()
    close(0.05 / 2 * losses.kl_divergence(*found) * 2, arrays["kld_loss"], rtol=1e-5)  # theirs: sum of 2
    remapped = found.sample(tf.constant(arrays["noise"]))
    close(remapped, arrays["noise_remapped"], atol=1e-5)
    z = tf.constant(arrays["noise_ins"])
    close(method.synthesize(layout, {"noise": remapped, "z": z}), arrays["image"], atol=1e-5)
    first = {name: values[:1] for name, values in layout.items()}
    prior = {"noise": tf.constant(arrays["noise"][:1]), "z": z[:1]}
    close(method.synthesize(first, prior), arrays["image_prior_style"], atol=1e-5)
    # Many styles of one layout at once
    both = {"noise": tf.concat([prior["noise"], remapped[:1]], 0), "z": tf.concat([z[:1]] * 2, 0)}
    pictures = method.synthesize(first, both)
    close(pictures[:1], arrays["image_prior_style"], atol=1e-5)
    close(pictures[1:], arrays["image"][:1], atol=1e-5)


def test_fixture_losses(tmp_path):
    folder = "inade_vae"
    from test_conversion import GOLDEN, NETWORKS, training_model

    discriminator = str(GOLDEN / folder / NETWORKS["discriminator"])
    run_dir, arrays = fixture_run(folder, tmp_path / "run", discriminator=discriminator)
    method = training_model(run_dir)
    fake, real = tf.constant(arrays["image"]), tf.constant(arrays["real_image"])
    # Their figures were taken in evaluation mode, where nothing here depends on it.
    terms = method.adversarial_terms(layout_of(arrays), fake, real)
    close(terms["generator"]["GAN"], arrays["loss_GAN"], rtol=1e-5)
    close(terms["generator"]["GAN_Feat"], arrays["loss_GAN_Feat"], rtol=1e-5)
    close(terms["discriminator"]["D_Fake"], arrays["loss_D_Fake"], rtol=1e-5)
    close(terms["discriminator"]["D_real"], arrays["loss_D_real"], rtol=1e-5)
    condition = method.semantics(method.tokens(layout_of(arrays)))
    outputs = method.discriminator(condition, tf.concat([fake, real], 0))
    close(outputs.judgements[0], arrays["d0_4"], atol=1e-5)
    close(outputs.judgements[1], arrays["d1_4"], atol=1e-5)


def test_parameter_counts():
    """Of the original at noise length 64: its encoder's, and ADE20K's generator."""
    encoder = InstanceEncoder(64, 64, init=ZEROS)
    assert sum(int(np.prod(v.shape)) for v in named_variables(encoder).values()) == 3_689_856
    table = catalogue.describe("ade20k").table.to_dict()
    config = make_config(
        method="inade",
        class_table=table,
        crop_size=256,
        aspect_ratio=1.0,
        num_upsampling_layers="normal",
        use_vae=True,
        z_dim=256,
        noise_dim=64,
        no_vgg_loss=True,
    )
    method = runs.build_method(config, initial_weights=False)
    counted = {
        name: int(np.prod(v.shape))
        for name, v in named_variables(method).items()
        if name.split("/")[0] in ("fc", "generator") and name.split("/")[-1] in ("kernel", "bias", "weight")
    }
    assert sum(counted.values()) == 90_893_827
