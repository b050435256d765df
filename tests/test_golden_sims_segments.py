"""Segments of the original scripts: slices, numbers, areas, boxes and pole masks, on their toy street scenes."""

import numpy as np
import pytest
import sims_golden as golden
import tensorflow as tf

from semantic_synthesis.methods.sims.segments import find_segments

THIN = np.isin(np.arange(20), [5, 6, 7])


def kinds(label):
    """Ids of the fixtures -> known classes; 0 (black) and 20 (no palette colour) are unlabelled."""
    label = label.astype(np.int32)
    return np.where((label > 0) & (label < 20), label - 1, 19).astype(np.int32)


@pytest.mark.parametrize("split", ["train", "test"])
def test_segments(split):
    found = golden.arrays("segments")
    label = kinds(found[f"{split}_label"])[:3]
    segments = find_segments(tf.constant(label), tf.constant(label), THIN)
    table, bits = found["components"], found["pole_bits"]
    chosen = (table[:, 0] == (split == "test")) & (table[:, 1] < 3) & (table[:, 4] > 0)
    table = table[chosen]
    poles = np.unpackbits(bits[chosen], axis=1).reshape(-1, 256, 512).astype(bool)
    np.testing.assert_array_equal(segments.sample, table[:, 1])
    np.testing.assert_array_equal(segments.kind, table[:, 2] - 1)
    # slice 1 of poles, lights and signs is the empty background
    shift = np.isin(table[:, 2], [6, 7, 8])
    np.testing.assert_array_equal(segments.number, table[:, 3] - shift)
    np.testing.assert_array_equal(segments.area, table[:, 4])
    np.testing.assert_array_equal(segments.box, table[:, 5:9] + [0, 0, 1, 1])
    rows = tf.range(len(table))
    np.testing.assert_array_equal(segments.poles(rows), poles)
    owner = found[f"segment_{split}"][:3].astype(int)
    expected = np.where(owner > 0, owner - np.isin(label, [5, 6, 7]), 0)
    numbers = np.concatenate([segments.number.numpy(), [0]])[segments.map]
    np.testing.assert_array_equal(numbers, expected)
