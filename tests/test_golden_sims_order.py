"""Order pairs of the original scripts: which, their depths, labels and pictures; and orders from verdicts."""

import zlib

import numpy as np
import pytest
import sims_golden as golden
import tensorflow as tf
from test_golden_sims_segments import THIN, kinds

from semantic_synthesis.data import catalogue
from semantic_synthesis.methods.sims import ordering
from semantic_synthesis.methods.sims.groups import ClassGroups, coarse_order
from semantic_synthesis.methods.sims.morphology import dilate, edges
from semantic_synthesis.methods.sims.segments import find_segments


def cityscapes():
    description = catalogue.describe("cityscapes")
    return ClassGroups.of(description.table, description.options["class_groups"])


def large(label):
    segments = find_segments(tf.constant(kinds(label)[None]), tf.constant(kinds(label)[None]), THIN)
    return segments, tf.constant(np.flatnonzero(segments.area.numpy() > 1000).astype(np.int32))


def slices(segments, found):
    """[j, k, c, c2] of pairs as the original writes them."""
    kind = tf.gather(segments.kind, found).numpy()
    number = tf.gather(segments.number, found).numpy() + np.isin(kind, [5, 6, 7])
    return np.concatenate([number, kind + 1], 1)


def crc(picture):
    return zlib.crc32(np.round(picture.numpy() * 255).astype(np.uint8).tobytes())


@pytest.mark.slow
def test_pairs_for_training():
    given, groups = golden.arrays("order"), cityscapes()
    frequency = np.zeros(19, int)
    for image in range(4):
        segments, rows = large(given["train_label"][image])
        found = ordering.pairs(segments, rows, groups.rank)
        expected = given["train_pairs"][given["train_pairs"][:, 0] == image + 1]
        np.testing.assert_array_equal(slices(segments, found), expected[:, [2, 4, 1, 3]])
        disparity = tf.constant(given["train_disparity"][image : image + 1], tf.float32)
        medians = ordering.depths(segments, found, disparity)
        theirs = given["train_medians"][given["train_pairs"][:, 0] == image + 1]
        np.testing.assert_array_equal(medians, theirs)
        both = tf.gather(segments.kind, found)
        front, known, rule = ordering.front_class(both, medians, groups)
        np.testing.assert_array_equal(np.where(known, front.numpy() + 1, 0), expected[:, 6])
        plain = np.where(medians[:, 0] <= medians[:, 1], both[:, 0], both[:, 1])[known]  # behind
        np.add.at(frequency, plain, 1)
        np.add.at(frequency, both.numpy()[:, 0][rule], 1)
        pictures = ordering.pair_pictures(segments, found[:6], groups.colors)
        sums = given["train_picture_crc32"][given["train_pairs"][:, 0] == image + 1][:6]
        assert [crc(p) for p, k in zip(pictures, known, strict=False) if k] == [s for s in sums if s]
    np.testing.assert_array_equal(frequency, given["frequency"])


@pytest.mark.parametrize(
    "image", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
def test_pairs_at_test(image):
    given, groups = golden.arrays("order"), cityscapes()
    segments, rows = large(given["test_label"][image])
    found = ordering.pairs(segments, rows, groups.rank, neighbours=False)
    np.testing.assert_array_equal(slices(segments, found), given[f"test_pairs{image}"])
    pictures = ordering.pair_pictures(segments, found[-3:], groups.colors)
    assert [crc(p) for p in pictures] == given[f"test_picture_crc32_{image}"][-3:].tolist()


def test_coarse_order():
    given = golden.arrays("order")
    order, share = coarse_order(given["coarse_frequency"])
    np.testing.assert_array_equal(order + 1, given["coarse_order"])
    np.testing.assert_allclose(share, given["coarse_value"])
    np.testing.assert_array_equal(np.argsort(cityscapes().rank[:19]) + 1, given["city_order"])


# Orders from verdicts


def resolved(count, pairs, strength, key=None):
    key = range(count) if key is None else key
    return (
        ordering.resolve(
            count,
            tf.constant(list(key)),
            tf.constant(pairs, tf.int32, [len(pairs), 2]),
            tf.constant(strength, tf.float32),
        )
        .numpy()
        .tolist()
    )


def test_without_verdicts_the_coarse_order_stands():
    assert resolved(4, [], [], key=[3, 1, 0, 2]) == [3, 1, 0, 2]


def test_a_verdict_changes_what_it_must_alone():
    assert resolved(4, [[0, 1]], [2.0]) == [0, 1, 2, 3]
    assert resolved(4, [[0, 1]], [-2.0]) == [1, 0, 2, 3]
    assert resolved(4, [[0, 3]], [-2.0]) == [3, 0, 1, 2], "0 waits for 3"


def test_a_cycle_breaks_at_its_weakest_verdict():
    # 0 behind 1 behind 2 behind 0; the weakest is the second
    pairs, strength = [[0, 1], [1, 2], [0, 2]], [3.0, 1.0, -2.0]
    assert resolved(3, pairs, strength) == [1, 2, 0]
    for order in ([2, 1, 0], [1, 0, 2]):
        assert resolved(3, [pairs[i] for i in order], [strength[i] for i in order]) == [1, 2, 0]
    # all equally weak: the first ones listed stand, each time
    assert {tuple(resolved(3, pairs, [1.0, 1.0, -1.0])) for _ in range(3)} == {(0, 1, 2)}


def test_long_cycles():
    pairs = [[0, 1], [1, 2], [2, 3], [3, 4], [0, 4]]
    assert resolved(5, pairs, [5, 4, 3, 2, -9]) == [1, 2, 3, 4, 0]  # 4 behind 0 is strongest, 3-4 falls
    places = resolved(5, pairs, [5, 4, 3, 2, -1])
    assert places == [0, 1, 2, 3, 4]


# Morphology


def test_edges_of_a_rectangle():
    mask = np.zeros((1, 8, 9), bool)
    mask[0, 2:5, 3:6] = True
    found = edges(tf.constant(mask)).numpy()[0]
    assert found[3, 3] and found[3, 6] and not found[3, 2] and not found[3, 5], "left inside, right outside"
    assert found[2, 4] and found[5, 4] and not found[1, 4] and not found[4, 4]
    assert not edges(tf.zeros([1, 4, 4], tf.bool)).numpy().any()


@pytest.mark.parametrize(("size", "low", "high"), [(3, -1, 1), (8, -3, 4), (20, -9, 10)])
def test_dilation_reaches_as_far_as_matlabs(size, low, high):
    mask = np.zeros((1, 41, 41), bool)
    mask[0, 20, 20] = True
    rows, columns = np.nonzero(dilate(tf.constant(mask), size).numpy()[0])
    assert (rows.min() - 20, rows.max() - 20) == (low, high) == (columns.min() - 20, columns.max() - 20)
    assert len(rows) == size**2
