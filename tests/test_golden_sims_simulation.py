"""Training canvases of the original scripts, given their random choices; colour transfer; disturbed segments."""

import numpy as np
import pytest
import sims_golden as golden
import tensorflow as tf
from test_golden_sims_canvas import original_labels, unpacked
from test_golden_sims_order import cityscapes
from test_golden_sims_segments import THIN, kinds

from semantic_synthesis.methods.sims import simulation
from semantic_synthesis.methods.sims.segments import box_masks, find_segments
from semantic_synthesis.methods.sims.warping import warp


@pytest.mark.parametrize("case", [1, 2, 3, 4])
def test_colour_transfer(case):
    found = golden.arrays("canvas")
    source, reference = (tf.constant(found[f"mkl{case}_{n}"]) for n in ("source", "reference"))
    whole = [tf.ones(x.shape[:2], tf.bool) for x in (source, reference)]
    made = simulation.transfer_colors(source, reference, *whole)
    np.testing.assert_allclose(made, found[f"mkl{case}_out"], atol=1e-7)


def test_colours_get_mean_and_covariance():
    rng = np.random.default_rng(0)
    source = tf.constant(rng.random((9, 8, 3)), tf.float64)
    reference = tf.constant(rng.random((7, 5, 3)) ** 2 @ rng.random((3, 3)), tf.float64)
    masks = [tf.constant(rng.random(x.shape[:2]) > 0.3) for x in (source, reference)]
    made = simulation.transfer_colors(source, reference, *masks)
    got, wanted = (np.asarray(x)[np.asarray(m)] for x, m in ((made, masks[0]), (reference, masks[1])))
    np.testing.assert_allclose(got.mean(0), wanted.mean(0), atol=1e-9)
    np.testing.assert_allclose(np.cov(got.T), np.cov(wanted.T), atol=1e-9)
    same = simulation.transfer_colors(source, source, masks[0], masks[0])
    np.testing.assert_allclose(same, source, atol=1e-7)


def slices(image):
    label = golden.arrays("canvas")["train_label"][image]
    return find_segments(*[tf.constant(kinds(label)[None])] * 2, THIN)


def mask(segments, kind, slice_):
    number = slice_ - np.isin(kind, [6, 7, 8])
    row = np.flatnonzero((segments.kind == kind - 1) & (segments.number == number))
    return tf.constant(segments.map[0].numpy() == (row[0] if len(row) else -2))


def simulated(image, variant):
    given, key, groups = golden.arrays("canvas"), f"s{image}_{variant}", cityscapes()
    mine, others = slices(image), {}
    photos = tf.constant(given["train_rgb"].astype(np.float32) / np.float32(255))
    picture = tf.zeros([256, 512, 3])
    label = tf.constant(original_labels(given["train_label"][image]))
    order = np.lexsort((mine.number, groups.rank[mine.kind.numpy()]))
    stencil, i = tf.zeros([256, 512], tf.bool), 0
    table = given[f"{key}_segments"]
    for row in order:
        kind, place = int(mine.kind[row]), tf.constant(mine.map[0].numpy() == row)
        nothing = tf.zeros_like(place)
        if mine.area[row] <= 1000:
            label = simulation.add_noise(label, kind, place, nothing, nothing, 19)
            continue
        assert table[i, 0] == kind + 1 and table[i, 1] == mine.number[row] + (kind in (5, 6, 7))
        match, other = table[i, 2] - 1, table[i, 3]
        if other:
            if match not in others:
                others[match] = slices(match)
            stencil = mask(others[match], kind + 1, other)
            values = given[f"{key}_values"][i]
            np.testing.assert_allclose(
                np.sum(stencil & place) / np.sum(stencil | place), values[0], atol=1e-7
            )
            segment = simulation.stencilled(
                photos[image],
                place,
                stencil,
                photos[match],
                box_masks(mine.box[row][None], 256, 512)[0],
                tf.constant(values[1] > 0.8),
                legacy=True,
            )
            white = tf.constant(unpacked(given[f"{key}_white_bits"][i], 256))
            picture = simulation.add_to_canvas(picture, segment, white, 12)
        jitter = tf.constant(unpacked(given[f"{key}_jitter_bits"][i], 256))
        label = simulation.add_noise(label, kind, place, jitter, stencil, 19)
        i += 1
    assert i == len(table)
    expected = given[f"{key}_label"].astype(int)
    np.testing.assert_array_equal(label, np.where(expected == 20, 20, (expected - 1) % 20))
    difference = np.abs(np.floor(picture.numpy() * 255 + 0.5) - given[f"{key}_canvas"])
    assert difference.max() <= 1 and (difference > 0).mean() < 0.005, (
        difference.max(),
        (difference > 0).mean(),
    )


@pytest.mark.slow
@pytest.mark.parametrize(("image", "variant"), [(0, 1), (0, 2), (1, 1), (1, 2)])
def test_training_canvas(image, variant):
    simulated(image, variant)


def test_disturbed_segments_stay_near():
    box = tf.constant([[-10.0, -20.0, 10.0, 20.0]])
    still = simulation.disturbance(box, tf.constant([[0.5, 0.5, 0.5, 0.5]]))
    np.testing.assert_allclose(still, [[1, 0, 0, 0, 1, 0]], atol=1e-6)
    image = np.zeros((1, 64, 96, 1), np.float32)
    image[0, 22:42, 28:68] = 1
    moved = simulation.disturbance(box, tf.constant([[0.5, 1.0, 0.0, 0.5]]))
    rows, columns = np.nonzero(warp(tf.constant(image), moved).numpy()[0, ..., 0] > 0.5)
    assert (rows.min(), rows.max() + 1) == (22 - 1, 42 - 1), "a 32nd of the height upwards"
    assert (columns.min(), columns.max() + 1) == (28 + 1, 68 + 1)
    larger = simulation.disturbance(box, tf.constant([[1.0, 0.5, 0.5, 0.5]]))
    area = (warp(tf.constant(image), larger).numpy() > 0.5).sum() / image.sum()
    assert 1.15 < area < 1.27, "1.1 in both directions"
    turned = simulation.disturbance(box, tf.constant([[0.5, 0.5, 0.5, 1.0]]))
    assert abs(float(turned[0, 1])) == pytest.approx(np.sin(np.pi / 72), abs=1e-6)
    unturned = simulation.disturbance(box, tf.constant([[0.5, 0.5, 0.5, 1.0]]), rotate=False)
    np.testing.assert_allclose(unturned, [[1, 0, 0, 0, 1, 0]], atol=1e-6)
    kept = simulation.moved_masks(tf.constant(image[..., 0] > 0), still)
    np.testing.assert_array_equal(kept, image[..., 0] > 0)
