"""The trainer in one process: what it writes, how it resumes, averages, and stops."""

import os
import shutil
import signal
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tensorflow as tf
from helpers import TINY, random_arrays, read_events, shallow_networks, state_arrays, tiny_config, train_steps

from semantic_synthesis import runs
from semantic_synthesis.checkpoint_files import newest_checkpoint
from semantic_synthesis.data import ClassTable, open_dataset
from semantic_synthesis.files import locked
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.pictures import contact_sheet, to_uint8
from semantic_synthesis.training import Trainer, make_strategy
from semantic_synthesis.training.state import young_averages

OPTIONS = {
    "crop_size": 16, "encoder_size": 8, "use_vae": True, "modulation": "dense", "ema_decay": 0.75,
    "beta1": 0.5, "num_discriminators": 1, "num_discriminator_layers": 2, "norm_D": "spectralsync_batch",
    "total_steps": 6, "D_steps_per_G": 2, "print_info_freq": 2, "save_img_freq": 4, "save_model_freq": 2,
    "lr": 0.01,
}  # fmt: skip


def make_trainer(run_dir, **changes):
    config = tiny_config(run_dir, **{**OPTIONS, **changes})
    with shallow_networks():
        return Trainer(config, open_dataset(config), make_strategy("none"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A trainer that has done its six steps through fit(), and its run folder."""
    run_dir = tmp_path_factory.mktemp("run")
    trainer = make_trainer(run_dir)
    before = state_arrays(trainer)
    assert trainer.fit() == 0
    assert trainer.fit() == 0  # nothing left to do
    return SimpleNamespace(trainer=trainer, run_dir=run_dir, before=before, after=state_arrays(trainer))


@pytest.fixture(scope="module")
def resumed(finished, tmp_path_factory):
    """A trainer on the finished run without its last checkpoint, before its first step."""
    run_dir = tmp_path_factory.mktemp("resumed") / "run"
    shutil.copytree(finished.run_dir, run_dir)
    for path in run_dir.glob("ckpt-6.*"):
        path.unlink()
    return make_trainer(run_dir)


def test_scalars_in_event_files(finished):
    events = read_events(finished.run_dir / "logs")
    losses = {f"loss/generator/{name}" for name in ("GAN", "GAN_Feat", "KLD")}
    losses |= {f"loss/discriminator/{name}" for name in ("D_Fake", "D_real")}
    rates, norms = (
        {f"optimizer/{kind}/{objective}" for objective in ("generator", "discriminator")}
        for kind in ("learning_rate", "gradient_norm")
    )
    columns = ("input_label", "synthesized_image", "random_style", "real_image")
    pictures = {f"pictures/{name}" for name in ("beside_each_other", *columns)}
    speed = "throughput/images_per_second"
    assert events.keys() == losses | rates | norms | pictures | {speed}
    for tag in losses | rates | norms | {speed}:
        assert sorted(events[tag]) == [2, 4, 6]
        assert np.isfinite(list(events[tag].values())).all()
    # lr 0.01, TTUR, decay from step 3 of 6 on; the rate with which the step was made.
    np.testing.assert_allclose(
        [events["optimizer/learning_rate/generator"][i] for i in (2, 4, 6)], [0.005, 0.005, 0.005 / 3]
    )
    np.testing.assert_allclose(events["optimizer/learning_rate/discriminator"][6], 0.02 / 3)
    assert min(events[speed].values()) > 0
    assert 0.2 < events["loss/discriminator/D_real"][2] < 5 and events["loss/generator/KLD"][2] > 0


def test_pictures_in_event_files_and_samples(finished):
    events = read_events(finished.run_dir / "logs")
    assert {path.name for path in (finished.run_dir / "samples").iterdir()} == {
        "step_0000004.png",
        "step_0000006.png",
    }
    dataset, method = finished.trainer.dataset, finished.trainer.method
    batch = next(iter(dataset.batches(4, training=False)))
    style = method.encode_style(batch["image"]).values
    random = method.sample_style(None, batch["row"])
    columns = {
        "input_label": dataset.table.colorize(batch["label"].numpy()),
        "synthesized_image": to_uint8(method.synthesize({"label": batch["label"]}, style)),
        "random_style": to_uint8(method.synthesize({"label": batch["label"]}, random)),
        "real_image": to_uint8(batch["image"]),
    }
    assert len(np.unique(columns["synthesized_image"])) > 20
    assert (columns["random_style"] != columns["synthesized_image"]).any()
    for tag, expected in columns.items():
        assert sorted(events[f"pictures/{tag}"]) == [4, 6]
        off = np.abs(np.array(events[f"pictures/{tag}"][6], int) - expected)
        assert off.max() <= 1, tag  # a traced and an untraced call may truncate apart
    sheet = cv2.imread(str(finished.run_dir / "samples" / "step_0000006.png"))[..., ::-1].astype(int)
    assert np.abs(sheet - contact_sheet(list(columns.values()), names=list(columns))).max() <= 1
    np.testing.assert_array_equal(events["pictures/beside_each_other"][6][0], sheet)
    assert any(
        (a != b).any()
        for a, b in zip(*(events["pictures/synthesized_image"][i] for i in (4, 6)), strict=True)
    )


def test_checkpoints_on_disk(finished):
    found = sorted(path.name for path in finished.run_dir.glob("ckpt-*.index"))
    assert found == ["ckpt-2.index", "ckpt-4.index", "ckpt-6.index"]
    reader = tf.train.load_checkpoint(str(finished.run_dir / "ckpt-6"))
    # model, EMA, step, iterations and two moments of each trained variable of each objective
    count = sum(len(o.variables) - 1 for o in finished.trainer.optimizers.values())
    stored = [name for name in reader.get_variable_to_shape_map() if name.endswith("VARIABLE_VALUE")]
    optimizer = [name for name in stored if name.startswith("optimizers/")]
    assert len(optimizer) == count
    assert not list(finished.run_dir.glob("*temp*"))


def test_a_checkpoint_of_other_shapes_is_named(finished):
    with pytest.raises(
        ValueError, match=r"ckpt-6: does not fit this run \(.*shape.*; delete its files to use an older"
    ):
        make_trainer(finished.run_dir, num_generator_filters=3)


def test_everything_trained_moves_and_resuming_is_exact(finished, resumed):
    still = [name for name, array in finished.after.items() if np.array_equal(array, finished.before[name])]
    assert not still
    assert resumed.steps_done == 4
    train_steps(resumed, 2)
    resumed._recalibrate(resumed.steps_done)  # as before each checkpoint
    again = state_arrays(resumed)
    assert again.keys() == finished.after.keys()
    for name, array in finished.after.items():
        np.testing.assert_allclose(again[name], array, rtol=1e-6, atol=1e-9, err_msg=name)


def test_average_and_discriminator_steps(resumed):
    """ema = 0.75 ema + 0.25 weights after each step; the generator moves at every second step only."""
    for _ in range(2):
        moves = resumed.steps_done % 2 == 0
        before = state_arrays(resumed)
        train_steps(resumed, 1)
        after = state_arrays(resumed)
        averaged = [name for name in after if name.startswith("ema/")]
        assert len(averaged) == len(resumed.method.averaged_variables())
        assert any(name.endswith("moving_variance") for name in averaged)
        assert not any(name.endswith(("/u", "/v")) for name in averaged)
        for name in averaged:
            weight = name.replace("ema/", "model/", 1)
            expected = 0.75 * before[name] + 0.25 * after[weight]
            np.testing.assert_allclose(after[name], expected, rtol=1e-5, atol=1e-8)
        resting = resumed.rates(resumed.steps_done - 1)["generator"] == 0
        kernels = [
            name for name in after if name.startswith("model/generator") and name.endswith("conv_1/kernel")
        ]
        changed = [not np.array_equal(before[name], after[name]) for name in kernels]
        assert changed == [moves and not resting] * len(kernels)
        slots = [name for name in after if name.startswith("discriminator/") and name.endswith("velocity")]
        assert all(not np.array_equal(before[name], after[name]) for name in slots)


def test_broken_numbers_stop_the_training(resumed):
    run_dir = resumed.config.checkpoint_dir
    kept = newest_checkpoint(run_dir)
    bias = resumed.method.generator.conv_img.bias
    bias.assign(np.full(3, np.nan, np.float32))
    resumed.total = resumed.steps_done + 2
    resumed.config = resumed.config.replace(print_info_freq=1)
    with pytest.raises(ValueError, match=r"step \d+: loss GAN, .*not finite; lower --lr.*last checkpoint"):
        resumed.fit()
    with pytest.raises(ValueError, match=r"step 9: \S+ is not finite; lower --lr"):
        resumed._save(9)
    assert newest_checkpoint(run_dir) == kept
    assert str(run_dir) in kept


def test_starting_from_weights(tmp_path):
    """A converted run holds the generator alone, in half precision; training starts from it."""
    config = tiny_config(tmp_path, **OPTIONS)
    with shallow_networks():
        arrays = random_arrays(runs.build_method(config, training=False))
    runs.save_weights(str(tmp_path), {name: array.astype(np.float16) for name, array in arrays.items()})
    trainer = make_trainer(tmp_path)
    found = state_arrays(trainer)
    assert trainer.steps_done == 0
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[f"model/{name}"], array.astype(np.float16), err_msg=name)
        if f"ema/{name}" in found:
            np.testing.assert_array_equal(found[f"ema/{name}"], found[f"model/{name}"])
    fresh = found["model/discriminator/discriminator_0/model0/kernel"]
    assert 0.01 < fresh.std() < 10 and "discriminator/discriminator_0/model0/kernel" not in arrays


def test_batch_must_divide_over_devices(tmp_path):
    config = tiny_config(tmp_path, **{**OPTIONS, "batch_size": 3})
    with pytest.raises(ValueError, match="--batch_size 3 does not divide over 2 devices; use a multiple"):
        Trainer(config, open_dataset(config), SimpleNamespace(num_replicas_in_sync=2))


def test_inference_takes_the_averages(finished):
    config = finished.trainer.config
    with shallow_networks():
        model = runs.build_method(config, training=False, initial_weights=False)
    assert runs.load_weights(model, config.checkpoint_dir) == []
    averaged = 0
    for name, variable in named_variables(model).items():
        if name.endswith(("/u", "/v")) and f"ema/{name[:-1]}kernel" in finished.after:
            continue  # see test_averaged_kernels_have_their_own_sigma
        averaged += f"ema/{name}" in finished.after
        expected = finished.after.get(f"ema/{name}", finished.after[f"model/{name}"])
        np.testing.assert_array_equal(variable.numpy(), expected, err_msg=name)
    assert averaged == len(finished.trainer.ema) > 20


def test_averaged_kernels_have_their_own_sigma(finished):
    """Loaded averages are divided by their largest singular value, not by that of the last step's kernel."""
    with shallow_networks():
        model = runs.build_method(finished.trainer.config, training=False, initial_weights=False)
    runs.load_weights(model, finished.trainer.config.checkpoint_dir)
    layers = [layer for layer in model.spectral_layers() if hasattr(layer, "strides")]
    assert len(layers) > 3
    for layer in layers:
        kernel = layer.kernel.numpy()
        largest = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
        sigma = np.abs(kernel).max() / np.abs(layer.effective_kernel().numpy()).max()
        np.testing.assert_allclose(sigma, largest, rtol=2e-3)


@pytest.mark.parametrize("part", ["data-00000-of-00001", "index"])
def test_damaged_checkpoint(finished, tmp_path, part):
    run_dir = tmp_path / "run"
    shutil.copytree(finished.run_dir, run_dir)
    path = run_dir / f"ckpt-6.{part}"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"ckpt-6: .*damaged.*delete its files to use an older one"):
        make_trainer(run_dir)
    with pytest.raises(
        ValueError, match=r"ckpt-6: damaged checkpoint .*delete its files to use an older one"
    ):
        runs.load_weights(finished.trainer.method, str(run_dir))


def test_lost_checkpoints(finished, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(finished.run_dir, run_dir)
    for path in run_dir.glob("ckpt-*"):
        path.unlink()
    with pytest.raises(
        ValueError, match=r"checkpoints were written here, but .* not left; restore them, or delete"
    ):
        make_trainer(run_dir)


@pytest.mark.parametrize("how", ["deleted", "zeros"])
def test_a_finished_run_is_never_trained_again(finished, tmp_path, how):
    run_dir = tmp_path / "run"
    shutil.copytree(finished.run_dir, run_dir)
    listed = run_dir / "checkpoint"
    listed.unlink() if how == "deleted" else listed.write_bytes(bytes(listed.stat().st_size))
    before = {path.name: path.read_bytes() for path in run_dir.glob("ckpt-*")}
    trainer = make_trainer(run_dir)
    assert trainer.steps_done == 6
    assert trainer.fit() == 0
    assert {path.name: path.read_bytes() for path in run_dir.glob("ckpt-*")} == before


def test_a_second_training_in_a_folder_is_refused(tmp_path):
    from semantic_synthesis.train import train

    run_dir = tmp_path / "run"
    with (
        locked(run_dir, "another training"),
        pytest.raises(OSError, match=rf"run: another training is at work here \(process {os.getpid()} on "),
    ):
        train({**TINY, "checkpoint_dir": str(run_dir)})
    assert not run_dir.exists()


@pytest.mark.parametrize("method", ["inade", "spade", "clade", "scgan"])
def test_an_encoder_without_filters_is_refused(method, tmp_path):
    """Before the first step, in one line that names the option; no folder stays behind."""
    from semantic_synthesis.train import train

    given = {**TINY, "method": method, "netD": "multiscale", "num_encoder_filters": 0}
    if method in ("inade", "clade"):
        given.pop("num_hidden_filters")
    with pytest.raises(ValueError, match="num_encoder_filters") as caught:
        train({**given, "use_vae": True, "checkpoint_dir": str(tmp_path / "run")})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_batch_norm_of_one_value_is_refused_at_the_start(tmp_path):
    """Batch 1 at features of one cell: no run of NaN, and no run folder that the next try would go on with."""
    from semantic_synthesis.train import train

    given = {**TINY, "batch_size": 1, "checkpoint_dir": str(tmp_path / "run")}
    with pytest.raises(
        ValueError, match=r"^batch norm over one value per channel .*larger --batch_size"
    ) as caught:
        train(given)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_run_of_other_classes_starts_from_the_rest(finished, tmp_path):
    """What reads the classes starts fresh, all else is taken; another width is refused with the remedy."""
    table = ClassTable.create("two", [0, 1]).to_dict()
    start = {"init_from": str(finished.run_dir), "class_table": table}
    other = make_trainer(tmp_path / "other", **start)
    averages = {name: v.numpy() for name, v in finished.trainer.ema.items()}
    mine = {name: v.numpy() for name, v in named_variables(other.method).items()}
    taken = [name for name in averages if mine[name].shape == averages[name].shape]
    assert 0.5 * len(averages) < len(taken) < len(averages)
    for name in taken:
        np.testing.assert_array_equal(mine[name], averages[name], err_msg=name)
    with pytest.raises(ValueError, match=r"arrays have other shapes, .* options of that run"):
        make_trainer(
            tmp_path / "wide",
            init_from=str(finished.run_dir),
            num_generator_filters=TINY["num_generator_filters"] + 2,
        )


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_training_starts_from_the_weights_of_a_file(kind, tmp_path):
    config = tiny_config(tmp_path, **OPTIONS)
    with shallow_networks():
        arrays = random_arrays(runs.build_method(config, training=False))
    runs.write_run(tmp_path / "run", config, arrays, kind)
    trainer = make_trainer(tmp_path / "run")
    mine, averages = named_variables(trainer.method), trainer.ema
    for name, array in arrays.items():
        np.testing.assert_array_equal(mine[name].numpy(), array, err_msg=name)
        if name in averages:
            np.testing.assert_array_equal(averages[name].numpy(), array, err_msg=name)


def test_a_signal_while_pictures_are_scored_saves_the_step(tmp_path):
    """Scoring takes minutes and seldom falls on a step that is saved anyway."""
    trainer = make_trainer(tmp_path, save_model_freq=100, total_steps=5)

    class Scoring:
        def is_due(self, step, _):
            return step == 2

        def __call__(self, *_):
            trainer._on_signal(signal.SIGTERM, None)
            return {}

    trainer.hooks = [Scoring()]
    assert trainer.fit() == 128 + signal.SIGTERM
    assert newest_checkpoint(tmp_path) == str(tmp_path / "ckpt-2")


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("print_info_freq", 0),
        ("save_img_freq", 0),
        ("save_model_freq", 0),
        ("eval_epoch_freq", 0),
        ("eval_images", -1),
        ("total_epochs", -1),
        ("total_steps", -1),
        ("recalibration_batches", -1),
        ("D_steps_per_G", 0),
    ],
)
def test_numbers_that_no_training_can_have(flag, value, tmp_path):
    with pytest.raises(ValueError, match=f"{flag} is {value}; expected ({value + 1}) or more"):
        runs.training_config({**TINY, flag: value, "checkpoint_dir": str(tmp_path)}, lambda config: config)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_shares_of_random_styles_are_shares(share, tmp_path):
    with pytest.raises(ValueError, match=f"^--prior_share {share}; expected a share from 0 to 1$"):
        make_trainer(tmp_path, prior_share=share)


def test_options_of_a_run_that_has_not_begun_are_checked(tmp_path):
    tiny_config(tmp_path, **OPTIONS).save(tmp_path)
    for flag, value in (("batch_size", 0), ("prob_dataset", 7.0), ("max_dataset_size", -1)):
        with pytest.raises(ValueError, match=f"--{flag}"):
            runs.training_config({"checkpoint_dir": str(tmp_path), flag: value}, None)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0])
def test_averages_that_never_move_or_run_away_are_refused(decay, tmp_path):
    with pytest.raises(
        ValueError, match=rf"^--ema_decay {decay}; expected 0 .no averages. or more, below 1$"
    ):
        make_trainer(tmp_path, ema_decay=decay)


def test_averages_of_a_short_training_are_warned_of():
    assert young_averages(0.999, 5000) is young_averages(0.0, 1) is None
    text = young_averages(0.9999, 1000)  # OASIS's default on a few photos
    assert "--ema_decay 0.9999: 90% of the averaged weights" in text and "--ema_decay 0.995 leaves" in text
    for steps in (1, 3, 7, 123, 1000, 4000, 9999, 20_000):
        advised = float(young_averages(0.99999, steps).rpartition("--ema_decay ")[2].split()[0])
        assert 0 <= advised < 1 and advised**steps < 0.01


def test_a_run_that_has_begun_starts_from_nothing_else(finished, tmp_path):
    """The flag would have no effect any more."""
    given = {"checkpoint_dir": str(finished.run_dir), "init_from": str(tmp_path)}
    finished.trainer.config.save(finished.run_dir)
    with pytest.raises(ValueError, match=r"started with --init_from , asked for now: .*leave the flag out"):
        runs.training_config(given, lambda config: config)
    assert runs.training_config({**given, "init_from": ""}, lambda config: config).init_from == ""
