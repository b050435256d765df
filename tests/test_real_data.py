"""A few training steps on the real samples of every dataset that is at hand, through its dataset mode."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf
from helpers import REPOSITORY, shallow_networks, train_steps

from semantic_synthesis import data
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.methods import make_config
from semantic_synthesis.training import Trainer, make_strategy

SAMPLES = REPOSITORY.parent / "shared" / "data"
MODES = {"coco": "coco_stuff", "ade20k": "ade20k", "gta5": "gta5", "deepfashion": "deepfashion"}


@pytest.mark.skipif(not SAMPLES.exists(), reason="the real samples (../shared/data) are not here")
@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_training_steps_on_real_samples(mode, tmp_path):
    asked = make_config(
        dataset_mode=mode,
        dataroot=str(SAMPLES / MODES[mode]),
        num_upsampling_layers="normal",
        no_vgg_loss=True,
        crop_size=64,
        num_generator_filters=2,
        num_discriminator_filters=4,
        num_hidden_filters=8,
        batch_size=2,
        checkpoint_dir=str(tmp_path),
    )
    config = data.resolve(asked)
    trainer = Trainer(config, data.open_dataset(config), make_strategy("none"))
    before = trainer.method.generator.conv_img.kernel.numpy()
    batches = iter(trainer.batches())
    for _ in range(3):
        batch = next(batches)
        losses = trainer.train_step(batch)
    assert batch["image"].shape == (2, config.crop_height, 64, 3)
    assert np.asarray(batch["image"]).std() > 0.1 and int(np.max(batch["label"])) < config.num_classes
    assert all(np.isfinite(float(value)) for terms in losses.values() for value in terms.values())
    assert np.abs(trainer.method.generator.conv_img.kernel.numpy() - before).max() > 1e-5


@pytest.mark.skipif(not SAMPLES.exists(), reason="the real samples (../shared/data) are not here")
@pytest.mark.parametrize(
    "mode", ["gta5", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("ade20k", "deepfashion"))]
)
def test_clvae_on_real_samples(mode, tmp_path):
    """A few steps, with GTA5 by rarity (and a generator of two blocks); then pictures in styles of seeds and photos."""
    asked = make_config(
        method="clvae", dataset_mode=mode, dataroot=str(SAMPLES / MODES[mode]), crop_size=64, encoder_size=128,
        no_vgg_loss=mode != "gta5", vgg_weights="random", num_generator_filters=1, num_discriminator_filters=4,
        num_hidden_filters=8, batch_size=2, init_variance=0.5, num_upsampling_layers="normal", modulation="dense",
        num_discriminators=1, checkpoint_dir=str(tmp_path),
        rarity_dir=_rarity(tmp_path, 4) if mode == "gta5" else "",
    )  # fmt: skip
    config = data.resolve(asked)
    with shallow_networks((4, 1)) if mode == "gta5" else contextlib.nullcontext():
        trainer = Trainer(config, data.open_dataset(config), make_strategy("none"))
    before = {name: v.numpy() for name, v in named_variables(trainer.method).items()}
    losses = train_steps(trainer, 3)
    assert {"KLD", "GAN", "GAN_Feat", "D_Fake", "D_real"} | ({"VGG"} if mode == "gta5" else set()) == set(
        losses
    )
    assert np.isfinite(list(losses.values())).all() and min(losses["KLD"]) > 0
    for name in (
        "embedding/weight",
        "encoder/mean_4/kernel",
        "generator/head_0/norm_0/modulation/shared_kernel",
    ):
        assert np.abs(named_variables(trainer.method)[name].numpy() - before[name]).max() > 1e-5, name
    (batch,) = trainer.dataset.batches(2, training=False).take(1)
    layout, seed = {"label": batch["label"]}, tf.range(2, dtype=tf.int64)
    pictures = [
        trainer.method.synthesize(layout, trainer.method.style_of(layout, seed, image)).numpy()
        for image in (None, batch["image"], -batch["image"])
    ]
    assert all(np.isfinite(p).all() and p.std() > 1e-3 for p in pictures)
    assert np.abs(pictures[1] - pictures[2]).max() > 1e-3 < np.abs(pictures[0] - pictures[1]).max()


def _rarity(folder, count):
    """Rarity files of two classes in which the later samples are the rarer ones."""
    shares = np.arange(1.0, count + 1) / np.arange(1, count + 1).sum()
    for class_id in (0, 10):
        np.save(folder / f"kdecolor_rarity_bin_{class_id}.npy", np.cumsum(shares))
    np.save(folder / "GTA_weightedrarity_mask.npy", np.full((count, 256, 512, 1), 0.5, np.float32))
    return str(folder)
