"""Numbers that the original SPADE code gives for weights and inputs made by a formula.

No PyTorch needed. The formula is `reference_spade.filled`; width 4, 3 classes + unknown + instance
edges, depth `more`, pictures of 256x128. The weights travel through the conversion rules.
"""

import functools

import numpy as np
import pytest
import reference_spade as reference
import tensorflow as tf
from helpers import layers_of

from semantic_synthesis import losses, runs
from semantic_synthesis.convert import convert_tensors
from semantic_synthesis.data import ClassTable
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.methods import make_config
from semantic_synthesis.networks import edge_map

close = functools.partial(np.testing.assert_allclose, rtol=0, atol=2e-5)
POINTS = np.array([(0, 0, 0), (64, 128, 1), (127, 255, 2), (37, 201, 0)])  # y, x, channel
FORMS = pytest.mark.parametrize("form", ["dense", "patches"])


@functools.cache
def arrays(use_vae):
    """The variables of a run with formula weights, converted."""
    vae = (256, 8) if use_vae else None
    shapes = {"source": reference.generator_shapes(4, 5, "more", vae=vae)}
    if use_vae:
        shapes["encoder"] = reference.encoder_shapes(4)
    else:
        shapes["discriminator"] = reference.discriminator_shapes(4, 8)
    files = {role: (role, reference.filled(of_file)) for role, of_file in shapes.items()}
    return convert_tensors(config(use_vae), files)[0]


def config(use_vae=False, form="auto"):
    return make_config(
        crop_size=256,
        aspect_ratio=2.0,
        num_upsampling_layers="more",
        no_instance=False,
        use_vae=use_vae,
        num_generator_filters=4,
        num_encoder_filters=4,
        modulation=form,
        num_discriminator_filters=4,
        no_vgg_loss=True,
        class_table=ClassTable.create("formula", range(4)).to_dict(),
    )


def model(use_vae=False, form="auto"):
    built = runs.build_method(config(use_vae, form), training=not use_vae, initial_weights=False)
    variables = named_variables(built)
    assert set(variables) == set(arrays(use_vae))
    for name, array in arrays(use_vae).items():
        variables[name].assign(array)
    return built


def grid():
    y, x = np.mgrid[:128, :256]
    return y, x


def layout():
    y, x = grid()
    label, instance = (x // 7 + y // 5) % 4, x // 11 + 10 * (y // 13)
    return {
        "label": tf.constant(label[None], tf.int32),
        "instance": tf.constant(instance[None], tf.int32),
    }


def photo():
    y, x = grid()
    return tf.constant(np.sin(0.05 * x[..., None] + 0.11 * y[..., None] + np.arange(3))[None], tf.float32)


def points(image):
    return [image[tuple(point)] for point in POINTS]


@functools.cache
def fake():
    return model().synthesize(layout(), {}).numpy()


@functools.cache
def judged():
    """Discriminator features of the fake and of the photo, inference mode: lists by scale and
    layer."""
    return model_judging(training=False)


def model_judging(training):
    built = model()
    condition = tf.constant(condition_channels())
    if training:
        built.advance_spectral_norms()
    outputs = layers_of(built.discriminator(condition, tf.concat([fake(), photo()], 0), training=training))
    return [[f[:1] for f in scale] for scale in outputs], [[f[1:] for f in scale] for scale in outputs]


def condition_channels():
    edges = edge_map(layout()["instance"]).numpy()
    one_hot = np.eye(4, dtype=np.float32)[layout()["label"].numpy()]
    return np.concatenate([one_hot, edges[..., None].astype(np.float32)], -1)  # [1,128,256,5]


def test_edges():
    assert int(tf.reduce_sum(edge_map(layout()["instance"]))) == 9668


@FORMS
def test_generator(form):
    image = model(form=form).synthesize(layout(), {}).numpy()[0]
    close([image.mean(), image.std()], [-0.011732, 0.601575])
    close(points(image), [0.034865, 0.992083, 0.024757, 0.603196])


@FORMS
def test_generator_with_style_vector(form):
    z = np.sin(0.3 * np.arange(256))[None].astype(np.float32)
    image = model(True, form).synthesize(layout(), {"z": tf.constant(z)}).numpy()[0]
    close([image.mean(), image.std()], [-0.007270, 0.585775])
    close(points(image), [0.046414, 0.993906, 0.000598, 0.539191])


def test_encoder():
    near = functools.partial(
        close, atol=1e-4
    )  # the numbers are sensitive to the rounding of the formula's sines
    mean, log_variance = (output.numpy() for output in model(True).encoder(photo()))
    near([mean.mean(), mean.std()], [0.015392, 0.551060])
    near(mean[0, :4], [0.013366, -0.097169, 0.173222, 0.171515])
    near([log_variance.mean(), log_variance.std()], [0.022256, 0.552038])
    near(log_variance[0, :4], [0.007499, -0.085114, 0.171105, 0.295455])
    near(0.05 * losses.kl_divergence(mean, log_variance), 3.069412, rtol=1e-4)


def test_discriminator():
    expected_fakes = [
        [0.173777, 0.317619, 0.309461, 0.313112, 0.032136],
        [0.138544, 0.327127, 0.318685, 0.332000, -0.060757],
    ]
    expected_reals = [
        [0.107682, 0.307816, 0.318423, 0.316894, 0.034882],
        [0.136498, 0.303804, 0.312311, 0.315575, -0.056423],
    ]
    for outputs, expected in zip(judged(), [expected_fakes, expected_reals], strict=True):
        close([[np.mean(feature) for feature in scale] for scale in outputs], expected)


def test_losses():
    fakes, reals = judged()
    last_fakes, last_reals = [f[-1] for f in fakes], [r[-1] for r in reals]
    close(losses.adversarial(last_fakes, True, "hinge", for_generator=True), 0.014310)
    close(losses.adversarial(last_fakes, False, "hinge"), 0.985690)
    close(losses.adversarial(last_reals, True, "hinge"), 1.010770)
    fakes, reals = ([scale[:-1] for scale in one] for one in (fakes, reals))
    close(10 * losses.feature_matching(fakes, reals), 16.248129, atol=1e-4)


@FORMS
def test_generator_in_training(form):
    built = model(form=form)
    pair = {key: tf.concat([value, value[:, :, ::-1]], 0) for key, value in layout().items()}
    built.advance_spectral_norms()
    images = built.synthesize_planned(built.plan(pair), {}, training=True).numpy()
    close([images.mean(), images.std()], [0.032644, 0.257279])
    found = [
        images[0, 0, 0, 0],
        images[1, 64, 128, 1],
        images[1, 127, 255, 2],
        images[0, 37, 201, 0],
    ]
    close(found, [-0.010343, 0.031032, 0.130215, 0.294969])
    moved = {name: variable.numpy() for name, variable in named_variables(built).items()}
    statistics = "generator/up_3/norm_s/statistics/moving_"
    close(moved[f"{statistics}mean"][:4], [0.094647, 0.107604, 0.021021, -0.099361])
    close(moved[f"{statistics}variance"][:4], [0.767694, 1.318752, 1.114074, 1.107509])
    close(moved["generator/head_0/conv_0/u"][:3], [0.205727, 0.099951, 0.188713])


def test_discriminator_in_training():
    fakes, reals = model_judging(training=True)
    means = [(np.mean(f[-1]) + np.mean(r[-1])) / 2 for f, r in zip(fakes, reals, strict=True)]
    close(means, [0.033509, -0.058591])
