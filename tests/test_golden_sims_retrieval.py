"""Retrieval: the original's ten slots on its toy street scenes, and brute force for ours."""

import functools

import numpy as np
import pytest
import sims_golden as golden
import tensorflow as tf
from test_golden_sims_segments import THIN, kinds

from semantic_synthesis.methods.sims import retrieval
from semantic_synthesis.methods.sims.bank import Bank, BankArrays
from semantic_synthesis.methods.sims.features import grid_step
from semantic_synthesis.methods.sims.segments import find_segments

BASE = (256, 512)


@functools.cache
def segments_of(split, image):
    label = tf.constant(kinds(golden.arrays("retrieval")[f"{split}_label"][image : image + 1]))
    return label, find_segments(label, label, THIN)


@functools.cache
def bank():
    """The fixture's memory of 12 images, every segment in it; no photos."""
    parts = []
    step = grid_step(BASE[0])
    for image in range(12):
        label, segments = segments_of("train", image)
        grid = label[0, ::step, ::step].numpy()
        parts.append(BankArrays.of_segments(grid, segments, range(len(segments.kind)), 0))
    return Bank(BankArrays.merged(parts), [""] * 12, BASE, BASE, 19)


def queries(image, split="test", allowed=None):
    """The large segments of an image, and their Queries."""
    label, segments = segments_of(split, image)
    rows = np.flatnonzero(segments.area.numpy() > 1000).astype(np.int32)
    allowed = retrieval.all_photos(bank(), 1) if allowed is None else allowed
    return segments, rows, retrieval.Queries.of(segments, tf.constant(rows), label, allowed)


@pytest.mark.slow
@pytest.mark.parametrize("image", [0, 1, 2])
def test_the_originals_slots(image):
    found = golden.arrays("retrieval")
    segments, rows, asked = queries(image)
    chosen = (found["query"][:, 0] == image) & (found["query"][:, 3] > 1000)
    table = found["query"][chosen]
    shift = np.isin(table[:, 1], [6, 7, 8])
    np.testing.assert_array_equal(segments.kind.numpy()[rows] + 1, table[:, 1])
    np.testing.assert_array_equal(segments.number.numpy()[rows], table[:, 2] - shift)
    slots, held = retrieval.legacy_slots(bank(), asked, 10)
    np.testing.assert_array_equal(slots, found["iou"][chosen])
    np.testing.assert_array_equal(tf.gather(bank()["photo"], held), found["response_image"][chosen])
    slices = tf.gather(bank()["number"], held).numpy()
    expected = found["response_slice"][chosen].astype(int) - shift[:, None]
    np.testing.assert_array_equal(slices, np.where(held.numpy() > 0, expected, 0))
    # what the original goes on with: the best slot of each
    best = retrieval.legacy_search(bank(), asked, 10)
    used = best.score[:, 0].numpy() > 0
    named = dict(
        zip(
            zip(found[f"t{image}_class"], found[f"t{image}_original_index"], strict=True),
            range(used.sum()),
            strict=True,
        )
    )
    places = [named[key] for key in zip(table[used, 1], table[used, 2], strict=True)]
    np.testing.assert_array_equal(best.score.numpy()[used, 0], found[f"t{image}_proposal_iou"][places])
    photo = tf.gather(bank()["photo"], best.row[:, 0]).numpy()[used]
    np.testing.assert_array_equal(photo, found[f"t{image}_response_image"][places])


def brute_force(asked, context_weight, allowed=None):
    """Sorted scores [R,10] by masks and label maps themselves, in NumPy."""
    labels = kinds(golden.arrays("retrieval")["train_label"])
    step, found = grid_step(BASE[0]), []
    masks = [segments_of("train", i)[1] for i in range(12)]
    for q in range(len(asked.kind)):
        mine, scores = asked.mask[q].numpy(), []
        for image in range(12):
            if allowed is not None and not allowed[image + 1]:
                continue
            table = masks[image]
            for row in np.flatnonzero(table.kind.numpy() == asked.kind[q].numpy()):
                other = table.map[0].numpy() == row
                shape = (mine & other).sum() / (mine | other).sum()
                context = context_iou(
                    asked.grid[q].numpy(),
                    asked.box[q].numpy(),
                    labels[image, ::step, ::step],
                    table.box[row].numpy(),
                )
                scores.append(shape + context_weight * context if shape > 0 else 0)
        found.append((sorted(scores, reverse=True) + [0] * 10)[:10])
    return np.array(found)


def context_iou(grid, box, other_grid, other_box):
    inside = []
    for labels, (top, left, bottom, right) in ((grid, box), (other_grid, other_box)):
        high, wide = (bottom - top) / 8, (right - left) / 8
        y, x = np.mgrid[: labels.shape[0], : labels.shape[1]] * grid_step(BASE[0])
        within = (y >= top - high) & (y < bottom + high) & (x >= left - wide) & (x < right + wide)
        inside.append(within & (labels < 19))
    common = (inside[0] & inside[1] & (grid == other_grid)).sum()
    return common / (inside[0].sum() + inside[1].sum() - common)


@pytest.mark.slow
@pytest.mark.parametrize("context_weight", [0.0, 1.0])
def test_the_ten_best_are_those_of_brute_force(context_weight):
    """About 75 queries; lists of 24 of up to some hundred segments of a class."""
    for image in range(3):
        _, _, asked = queries(image)
        expected = brute_force(asked, context_weight)
        whole = retrieval.search_everything(bank(), asked, candidates=10, context_weight=context_weight)
        np.testing.assert_allclose(whole.score, expected, atol=1e-6)
        quick = retrieval.search(bank(), asked, candidates=10, shortlist=24, context_weight=context_weight)
        recall = np.isclose(quick.score, expected, atol=1e-6).mean()
        print(context_weight, image, len(expected), recall)
        assert recall > 0.99
        assert (tf.gather(bank()["kind"], quick.row).numpy()[quick.score > 0] >= 0).all()


@pytest.mark.slow
def test_a_photo_does_not_answer_its_own_layout():
    for image in (0, 5):
        label, _ = segments_of("train", image)
        allowed = retrieval.other_photos(bank(), label)
        assert not allowed[0, image + 1] and allowed.numpy().sum() > 8
        mirrored = retrieval.other_photos(bank(), label[:, :, ::-1])
        assert not mirrored[0, image + 1]
        _, _, asked = queries(image, "train", allowed)
        found = retrieval.search(bank(), asked, candidates=10, shortlist=24, context_weight=1.0)
        photos = tf.gather(bank()["photo"], found.row).numpy()
        assert (photos != image + 1).all() and (found.score[:, 0].numpy() > 0).any()
        _, _, free = queries(image, "train")
        found = retrieval.search(bank(), free, candidates=10, shortlist=24, context_weight=1.0)
        assert (tf.gather(bank()["photo"], found.row[:, 0]).numpy() == image + 1).all(), "else itself"
        np.testing.assert_allclose(found.score[:, 0], 2.0, atol=1e-6)


def test_an_empty_memory_answers_nothing():
    from semantic_synthesis.methods.sims.bank import empty_arrays

    empty = Bank(empty_arrays(BASE), [], BASE, BASE, 19)
    label, segments = segments_of("test", 0)
    rows = tf.constant([0, 1])
    asked = retrieval.Queries.of(segments, rows, label, retrieval.all_photos(empty, 1))
    found = retrieval.search(empty, asked, candidates=3, shortlist=8, context_weight=1.0)
    assert not found.row.numpy().any() and not found.score.numpy().any() and found.row.shape == (2, 3)


@pytest.mark.slow
@pytest.mark.parametrize("variant", [1, 2])
def test_the_originals_stencils(variant):
    """Training canvases: the best shape among the photos that the original drew, image 0."""
    found = golden.arrays("canvas")
    table, drawn = found[f"s0_{variant}_segments"], found[f"s0_{variant}_draws"]
    label, segments = segments_of("train", 0)
    kind, number = segments.kind.numpy(), segments.number.numpy()
    rows = [
        int(np.flatnonzero((kind == c - 1) & (number == s - np.isin(c, [6, 7, 8])))[0])
        for c, s in table[:, :2]
    ]
    allowed = np.zeros((len(rows), 13), bool)
    for i, photos in enumerate(drawn):
        allowed[i, photos] = True
    asked = retrieval.Queries.of(segments, tf.constant(rows), label, retrieval.all_photos(bank(), 1))
    asked = asked._replace(allowed=tf.constant(allowed))
    best = retrieval.search(bank(), asked, candidates=1, shortlist=64, context_weight=0.0)
    held = best.row[:, 0]
    np.testing.assert_allclose(best.score[:, 0], found[f"s0_{variant}_values"][:, 0], atol=1e-6)
    used = table[:, 3] > 0
    np.testing.assert_array_equal(held.numpy() > 0, used)
    np.testing.assert_array_equal(tf.gather(bank()["photo"], held).numpy()[used], table[used, 2])
