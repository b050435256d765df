"""--rarity_dir: samples drawn by rarity, masks that follow their samples, and the VGG loss under them."""

import numpy as np
import pytest
import tensorflow as tf
from fixtures_data import write_folders

from semantic_synthesis.data import DataError, open_dataset, resolve
from semantic_synthesis.data.pipeline import _numbers
from semantic_synthesis.data.rarity import EPOCH, ITEMS, Rarity
from semantic_synthesis.methods import make_config, method_class
from semantic_synthesis.networks.vgg import TAP_WEIGHTS, VGG19Features

COUNT = 5
# Shares of the samples for two classes; sample 2 is never drawn, sample 0 by the second class alone.
SHARES = {0: [0.0, 0.5, 0.0, 0.25, 0.25], 10: [0.5, 0.0, 0.0, 0.5, 0.0]}


def write_rarity(folder, shares, masks):
    folder.mkdir()
    for class_id, share in shares.items():
        np.save(folder / f"kdecolor_rarity_bin_{class_id}.npy", np.cumsum(share))
    np.save(folder / "GTA_weightedrarity_mask.npy", masks)
    return str(folder)


@pytest.fixture
def config(tmp_path):
    """Five samples whose rarity at a pixel is (class + 1) / 4."""
    images, labels = write_folders(tmp_path, count=COUNT)
    plain = resolve(make_config(image_dir=images, label_dir=labels, crop_size=16))
    masks = [(open_dataset(plain).source.load(i)[1] + 1) / 4 for i in range(COUNT)]
    folder = write_rarity(tmp_path / "rarity", SHARES, np.stack(masks)[..., None].astype(np.float32))
    return plain.replace(rarity_dir=folder, preprocess_mode="resize_and_crop", img_height=20, img_width=24)


def test_masks_are_cropped_and_mirrored_with_their_samples(config):
    dataset = open_dataset(config)
    for batch in dataset.batches(4).take(5):
        assert batch["rarity"].dtype == tf.float32
        np.testing.assert_array_equal(batch["rarity"], (batch["label"] + 1) / 4)
    assert len(np.unique(batch["rarity"])) == 3
    again = next(iter(dataset.batches(4, first_step=4)))
    for name, values in batch.items():
        np.testing.assert_array_equal(again[name], values)


def test_samples_are_drawn_by_rarity(config):
    dataset = open_dataset(config)
    assert dataset.size == EPOCH
    rows = [dataset.drawn(row) for row in range(4000)]
    shares = np.bincount(rows, minlength=COUNT) / len(rows)
    expected = np.mean(list(SHARES.values()), 0)
    # 400 items: each share is known to 4 * sqrt(0.25 / 400)
    np.testing.assert_allclose(shares, expected, atol=0.1)
    assert shares[2] == 0
    items = Rarity(config.rarity_dir, COUNT, lambda *key: _numbers(0, *key))._draw_items(0)
    assert len(items) == ITEMS and set(items[::2]) == {1, 3, 4} and set(items[1::2]) == {0, 3}


def test_every_epoch_has_its_own_items(tmp_path):
    """All samples of an epoch are among its 400 items, which are others in the next."""
    folder = write_rarity(
        tmp_path / "rarity", {0: np.full(5000, 1 / 5000)}, np.ones((5000, 1, 1), np.float32)
    )
    rarity = Rarity(folder, 5000, lambda *key: _numbers(0, *key))
    drawn = [{rarity.drawn(row) for row in range(start, start + EPOCH)} for start in (0, EPOCH)]
    assert all(
        ITEMS * 0.9 < len(epoch) <= ITEMS for epoch in drawn
    )  # of 400 draws out of 5000 some are equal
    assert len(drawn[0] & drawn[1]) < 0.2 * ITEMS


def test_only_training_reads_the_files(config):
    missing = config.replace(rarity_dir="/nowhere")
    assert open_dataset(missing, "val").size == COUNT
    with pytest.raises(FileNotFoundError, match="--rarity_dir /nowhere: no such folder"):
        open_dataset(missing)
    (batch,) = open_dataset(config).batches(COUNT, training=False)
    assert "rarity" not in batch and batch["label"].shape[0] == COUNT
    assert any(config.rarity_dir in text for text in method_class(config).sources(config)), (
        "the model card says it"
    )


def test_one_of_two_ways_to_draw(config):
    with pytest.raises(DataError, match=r"--prob_dataset 0.5 with --rarity_dir, which draws 10000 samples"):
        resolve(config.replace(prob_dataset=0.5))


@pytest.mark.parametrize(
    "shares, size, message",
    [
        ({0: [0.5, 0.5]}, COUNT, r"bin_0.npy: float64 \(2,\); expected \(5,\)"),
        ({0: [0.5] * COUNT}, COUNT, "expected cumulated shares"),
        ({}, COUNT, r"0 files \*rarity_bin_<class>.npy and 1"),
        (SHARES, 4, r"mask.npy: shape \(4, 24, 32\); expected \(5, height"),
    ],
)
def test_files_that_do_not_fit(shares, size, message, tmp_path):
    folder = write_rarity(tmp_path / "rarity", shares, np.ones((size, 24, 32), np.float32))
    with pytest.raises((DataError, FileNotFoundError), match=message):
        Rarity(folder, COUNT, None)


def test_vgg_loss_with_weights_of_pixels():
    """Means over all elements of the weighted differences; weights are reduced to each tap by every n-th pixel."""
    vgg, rng = VGG19Features("random"), np.random.default_rng(0)
    fake, real = tf.constant(rng.uniform(-1, 1, (2, 2, 16, 32, 3)), tf.float32)
    pixels = rng.uniform(0, 1, (2, 16, 32)).astype(np.float32)
    terms = []
    for level, (f, r) in enumerate(zip(vgg(fake), vgg(real), strict=True)):
        share = pixels[:, :: 2**level, :: 2**level, None]
        terms.append(np.abs((np.asarray(f, float) - np.asarray(r, float)) * share).mean())
    found = vgg.loss(fake, real, pixels=tf.constant(pixels))
    np.testing.assert_allclose(found, np.dot(terms, TAP_WEIGHTS["all"]), rtol=1e-5)
    ones = vgg.loss(fake, real, pixels=tf.ones_like(pixels))
    np.testing.assert_allclose(ones, vgg.loss(fake, real), rtol=1e-6)
