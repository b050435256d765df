"""A few training steps on the real samples of every dataset that is at hand, through its dataset mode."""

import numpy as np
import pytest
from helpers import REPOSITORY

from semantic_synthesis import data
from semantic_synthesis.methods import make_config
from semantic_synthesis.training.trainer import Trainer, make_strategy

SAMPLES = REPOSITORY.parent / "shared" / "data"
MODES = {"coco": "coco_stuff", "ade20k": "ade20k", "gta5": "gta5", "deepfashion": "deepfashion"}


@pytest.mark.skipif(not SAMPLES.exists(), reason="the real samples (../shared/data) are not here")
@pytest.mark.parametrize(
    "mode", [mode if mode == "coco" else pytest.param(mode, marks=pytest.mark.slow) for mode in MODES]
)
def test_training_steps_on_real_samples(mode, tmp_path):
    asked = make_config(
        dataset_mode=mode, dataroot=str(SAMPLES / MODES[mode]), num_upsampling_layers="normal", no_vgg_loss=True,
        crop_size=64, num_generator_filters=2, num_discriminator_filters=4, num_hidden_filters=8, batch_size=2,
        checkpoint_dir=str(tmp_path),
    )  # fmt: skip
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
