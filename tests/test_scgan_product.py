"""SCGAN where a developer would fall, and as users meet it: precision, plans, exports, conversion, options."""

from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from helpers import (
    layout_map,
    random_arrays,
    read_events,
    shallow_networks,
    tiny_config,
    train_steps,
    write_run,
)

from semantic_synthesis import data, runs
from semantic_synthesis.inference import load_run
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.methods.scgan.composition import (
    ComposedConv,
    expert_bins,
    expert_logits,
    parse_norm_G,
)
from semantic_synthesis.methods.scgan.gate_pictures import draw_gates, expert_colors
from semantic_synthesis.methods.scgan.label_pyramid import Blur, blur_within, label_pyramid
from semantic_synthesis.methods.scgan.semantic_vectors import SemanticVectors
from semantic_synthesis.pictures import contact_sheet
from semantic_synthesis.training.monitoring import Monitor

SMALL = {"method": "scgan", "num_routing_filters": 4, "num_entry_filters": 3, "netD": "multiscale"}


def model(training=False, **changes):
    """A tiny method of random weights, and a layout for it."""
    config = tiny_config(**{**SMALL, **changes})
    built = runs.build_method(config, training=training)
    for name, array in random_arrays(built).items():
        named_variables(built)[name].assign(array)
    label = np.stack([layout_map(config.crop_height, config.crop_size, shift) for shift in range(2)])
    return built, {"label": tf.constant(label, tf.int32)}


# Gates and labels


def test_bins_of_experts():
    assert expert_bins(32, 3) == [(0, 11), (10, 22), (21, 32)]
    assert expert_bins(32, 4) == [(0, 8), (8, 16), (16, 24), (24, 32)]
    vectors = tf.eye(32)[None, None]  # pixel i has a 1 in channel i alone
    logits = expert_logits(vectors, 3)[0, 0].numpy()
    np.testing.assert_allclose(logits[10], [1 / 11, 1 / 12, 0], rtol=1e-6)
    np.testing.assert_allclose(logits[31], [0, 0, 1 / 11], rtol=1e-6)


def test_blurred_labels_reach_2542_unclipped():
    """Away from all borders, by the published CelebAMask-HQ settings: the window's sum, and its third power."""
    pyramid = tf.function(label_pyramid, autograph=False)
    levels = pyramid(tf.zeros([1, 128, 128], tf.int32), 6, 3, False, Blur("pyramid"))
    centres = [level[0, level.shape[1] // 2, level.shape[2] // 2].numpy() for level in levels]
    np.testing.assert_allclose([c[0] for c in centres[-2:]], 13.6484, rtol=1e-5)
    np.testing.assert_allclose([c[0] for c in centres[:4]], 13.6484**3, rtol=1e-4)
    assert 2542 < centres[0][0] < 2543 and all((c[1:] == 0).all() for c in centres)


def test_blur_adds_up_the_own_class_alone():
    label = np.zeros((1, 9, 9), np.int32)
    label[0, :, 5:] = 1
    found = blur_within(tf.constant(label), tf.ones([1, 9, 9]), Blur("full", size=3, sigma=1.0)).numpy()[0]
    near, corner = np.exp(-0.5), np.exp(-1)
    np.testing.assert_allclose(found[4, 2], 1 + 4 * near + 4 * corner, rtol=1e-6)
    np.testing.assert_allclose(found[4, 4:6], 1 + 3 * near + 2 * corner, rtol=1e-6)  # beside the other class
    np.testing.assert_allclose(found[0, 0], 1 + 2 * near + corner, rtol=1e-6)


def test_vectors_stay_float32_under_bfloat16():
    full, layout = model()
    half, _ = model(precision="bfloat16")
    plans = full.plan(layout), half.plan(layout)
    for stride in plans[0]:
        for ours, theirs in zip(plans[0][stride][:2], plans[1][stride][:2], strict=True):
            assert theirs.dtype == tf.float32
            np.testing.assert_array_equal(ours, theirs)
    assert half.generator.blocks[0].conv_0.compute_dtype == "bfloat16"
    difference = np.abs(half.synthesize(layout, {}) - full.synthesize(layout, {}))
    assert difference.max() > 0 and difference.mean() < 0.05


def test_vectors_stay_float32_in_runs_that_hold_bfloat16(tmp_path):
    run_dir = write_run(str(tmp_path / "run"), **SMALL)
    _, method = runs.open_run(run_dir, "bfloat16")
    assert all(v.dtype == "float32" for v in method.vectors.variables)
    assert method.generator.blocks[0].conv_0.kernel.dtype == "bfloat16"


def test_power_iterations_of_every_expert():
    layer = ComposedConv(3, 5, 2, spectral=True, init=_init(), name="conv")
    layer.kernel.assign(np.random.default_rng(0).normal(size=(3, 3, 3, 10)).astype(np.float32))
    for _ in range(60):
        layer.advance()
    kernels = np.split(layer.effective_kernel().numpy(), 2, -1)
    norms = [np.linalg.svd(kernel.reshape(27, 5), compute_uv=False)[0] for kernel in kernels]
    np.testing.assert_allclose(norms, 1.0, rtol=1e-4)


def _init():
    from semantic_synthesis.layers import Initializer

    return Initializer("xavier", 1.0, 0, "same")


def test_initial_kernels():
    """The generator's kernels are drawn as asked, the discriminator's raw spectral ones are not (spec, section 4)."""
    built = runs.build_method(tiny_config(**{**SMALL, "init_variance": 1e-6}))
    named = named_variables(built)
    assert np.abs(named["generator/head_0/conv_0/kernel"].numpy()).max() < 1e-5
    assert np.abs(named["vectors/in_2/kernel"].numpy()).max() < 1e-5
    assert np.abs(named["discriminator/discriminator_0/model1/conv/kernel"].numpy()).max() > 1e-2
    assert (named["generator/head_0/norm_0/table"].numpy() == 0).all()


# Plans, pictures of gates


def test_eight_styles_of_one_layout_run_the_vectors_once(tmp_path):
    with shallow_networks((2, 1)):
        run = load_run(write_run(str(tmp_path / "run"), **SMALL))
    calls, compute = [], SemanticVectors.call

    def counted(self, tokens, plan):
        tf.py_function(lambda: calls.append(1), [], [])
        return compute(self, tokens, plan)

    with mock.patch.object(SemanticVectors, "call", counted):
        layout = run.layout(layout_map(32, 64))
        pictures = run.synthesize(layout, run.sample_style(range(8)))
        run.synthesize(layout, run.sample_style([9]))
        assert len(calls) == 1
        run.synthesize(run.layout(layout_map(32, 64, 1)), run.sample_style([9]))
        assert len(calls) == 2
    assert pictures.shape == (8, 32, 64, 3) and (pictures[0] != pictures[1:]).any((1, 2, 3)).all()


def test_pictures_of_gates():
    gates = np.zeros((1, 2, 2, 3))
    gates[0, 0, 0], gates[0, 0, 1], gates[0, 1, 0] = [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.4, 0.3, 0.3]
    colors = expert_colors(3)
    picture = draw_gates(gates)[0]
    assert len({tuple(color) for color in colors}) == 3
    np.testing.assert_array_equal(picture[0], colors[[0, 2]])
    np.testing.assert_array_equal(picture[1, 0], np.round(colors[0] * (2 / 3)))
    np.testing.assert_array_equal(picture[1, 1], np.round(colors[0] * (1 / 3)))
    method, layout = model()
    found = method.diagrams(method.plan(layout), {})
    kernels = {name for name in found if name.startswith("gates_of_kernels")}
    assert kernels == {f"gates_of_kernels/{2**i}" for i in range(6)}
    assert all(p.shape == (2, 32, 32, 3) and p.dtype == tf.uint8 for p in found.values())
    assert len(np.unique(found["gates_of_scales/1"].numpy().reshape(-1, 3), axis=0)) > 3


def test_gates_in_tensorboard(tmp_path):
    method, layout = model()
    found = {name: picture.numpy() for name, picture in method.diagrams(method.plan(layout), {}).items()}
    monitor = Monitor(tiny_config(tmp_path, **SMALL), total=1, first=0)
    monitor.pictures(1, {"input_label": np.zeros((2, 32, 32, 3), np.uint8)}, found)
    monitor.close()
    events = read_events(monitor.config.log_folder)
    strides = [str(2**i) for i in range(6)]
    sheet = contact_sheet([found[f"gates_of_scales/{stride}"] for stride in strides], names=strides)
    np.testing.assert_array_equal(events["diagrams/gates_of_scales"][1][0], sheet)
    assert "diagrams/gates_of_kernels" in events


# Options


def test_small_pictures_are_refused_by_the_pyramid():
    with pytest.raises(
        ValueError, match=r"^--netD fpse: pictures of 32x32 are too small .* expected 64 or more"
    ):
        runs.build_method(tiny_config(**{**SMALL, "netD": "fpse"}))
    wide = {**SMALL, "netD": "fpse", "crop_size": 64, "aspect_ratio": 2.0}
    with pytest.raises(ValueError, match="64x32"):
        runs.build_method(tiny_config(**wide))
    runs.build_method(tiny_config(**wide), training=False)  # no discriminator, nothing to refuse


@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        ("blur_size", 0, "1 or more"),
        ("blur_sigma", 0.0, "more than 0"),
        ("blur_sigma", -1.5, "more than 0"),
        ("blur_sigma", 1e-200, "more than 0"),
    ],
)
def test_windows_that_blur_nothing(flag, value, expected):
    with pytest.raises(
        ValueError, match=f"^--{flag} {value} with --label_blur full; expected {expected} pixels$"
    ):
        model(label_blur="full", **{flag: value})
    model(**{flag: value})  # where nothing is blurred, the window is none


def test_options_that_make_no_sense():
    with pytest.raises(ValueError, match="num_experts_conv is 0; expected 1 or more"):
        model(num_experts_conv=0)
    with pytest.raises(ValueError, match=r"norm_G is 'spectralspadesyncbatch3x3'; expected \[spectral\]scc"):
        parse_norm_G("spectralspadesyncbatch3x3")


def test_gradients_of_kernels_gates_can_be_stopped():
    """With routing_detach the vectors learn from the gates of norms alone."""
    gradients = {}
    for detached in (False, True):
        with shallow_networks((2, 1)):
            built, layout = model(routing_detach=detached, num_experts_norm=1)  # softmax of one: a constant
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(built.synthesize(layout, {}) ** 2)
        gradients[detached] = tape.gradient(loss, built.vectors.exits[0].kernel.value)
    assert np.abs(gradients[False]).max() > 1e-8
    assert gradients[True] is None or np.abs(gradients[True]).max() == 0


def test_averages_hold_running_statistics_and_no_power_iterations():
    built, _ = model(training=True)
    averaged = set(built.averaged_variables())
    assert {"vectors/out_1/kernel", "generator/up_3/norm_1/table"} < averaged
    assert "generator/up_3/norm_1/statistics/moving_mean" in averaged
    assert not any(name.endswith(("/u", "/v")) for name in averaged)


# Training


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_saved(tmp_path):
    from semantic_synthesis.training import Trainer, make_strategy

    config = tiny_config(
        tmp_path,
        **SMALL,
        use_vae=True,
        ema_decay=0.9,
        crop_size=16,
        encoder_size=8,
        num_discriminators=1,
        num_discriminator_layers=2,
    )

    def trainer():
        return Trainer(config, data.open_dataset(config), make_strategy("none"))

    config.save(tmp_path)
    with shallow_networks((2, 1)):
        first = trainer()
        train_steps(first, 2)
        first.checkpoints.save(2)
        undisturbed = train_steps(first, 2)
        resumed = train_steps(trainer(), 2)
        assert set(undisturbed) == {"GAN", "GAN_Feat", "KLD", "W_Recon", "D_Fake", "D_real"}
        for name, values in undisturbed.items():
            np.testing.assert_allclose(resumed[name], values, rtol=1e-5, err_msg=name)
            assert values[0] != values[1]
        averaged = runs.open_run(str(tmp_path))[1]
    named = named_variables(averaged)
    table = "generator/head_0/norm_1/table"
    np.testing.assert_allclose(named[table], tf.train.load_variable(*_average(tmp_path, table)))
    assert np.abs(named[table].numpy()).max() > 0
    kernel = named["generator/head_0/conv_0/kernel"].numpy()  # folded: 20 iterations on the averaged kernel
    norms = [
        np.linalg.svd(part.reshape(-1, part.shape[-1]), compute_uv=False)[0]
        for part in np.split(kernel, 3, -1)
    ]
    np.testing.assert_allclose(norms, 1.0, rtol=5e-2)


def _average(folder, name):
    return str(folder / "ckpt-2"), f"ema/{name.replace('/', '.S')}/.ATTRIBUTES/VARIABLE_VALUE"
