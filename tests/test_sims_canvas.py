"""Pasting pieces: who hides whom, what stays empty, what is left to the network."""

import numpy as np
import pytest
import tensorflow as tf

from semantic_synthesis.data import ClassTable
from semantic_synthesis.methods.sims import canvas as canvases
from semantic_synthesis.methods.sims import ordering
from semantic_synthesis.methods.sims.groups import ClassGroups

NO_RIMS = canvases.Rims(0, 0, 0, 0, 0, 0.125)
TEXT = (
    "order: sky, road, car, tree; object: car; context: sky, road; ground: road; caster: car; trimmed: tree"
)
GROUPS = ClassGroups.of(ClassTable.create("street", range(5), ["sky", "road", "car", "tree", "other"]), TEXT)
SKY, ROAD, CAR, TREE, VOID = range(5)


def box(top, left, bottom, right, size=(20, 30)):
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return tf.constant(mask)


def piece(kind, place, colour, white=False, casters=None):
    picture = tf.where(place[..., None], tf.constant(colour, tf.float32), 0.0)
    nothing = tf.zeros_like(place)
    return canvases.Piece(
        tf.constant(kind),
        place,
        place,
        picture,
        picture,
        nothing if casters is None else casters,
        tf.ones_like(place) if white else nothing,
    )


def layout(kind=SKY):
    return tf.fill([20, 30], kind)


def test_a_verdict_hides_exactly_the_overlap():
    places = [box(2, 2, 12, 14), box(6, 8, 18, 24)]
    pieces = [piece(CAR, places[0], [0.2, 0.4, 0.6]), piece(TREE, places[1], [0.9, 0.1, 0.3])]
    found = {}
    for strength in (1.0, -1.0):
        order = ordering.resolve(2, tf.range(2), tf.constant([[0, 1]]), tf.constant([strength]))
        canvas = canvases.Canvas.empty(layout())
        for number in np.argsort(order):
            canvas = canvases.paste(canvas, pieces[number], int(number), NO_RIMS, GROUPS)
        found[strength] = canvas
    overlap = (places[0] & places[1]).numpy()
    changed = found[1.0].owner.numpy() != found[-1.0].owner.numpy()
    np.testing.assert_array_equal(changed, overlap)
    np.testing.assert_array_equal(
        (found[1.0].picture.numpy() != found[-1.0].picture.numpy()).any(-1), overlap
    )
    assert (found[-1.0].owner.numpy()[overlap] == 0).all() and (found[1.0].owner.numpy()[overlap] == 1).all()


def test_a_segment_without_candidate_has_a_label_and_no_colour():
    canvas = canvases.paste(
        canvases.Canvas.empty(layout()), piece(SKY, box(0, 0, 20, 30), [1, 1, 1]), 0, NO_RIMS, GROUPS
    )
    place = box(3, 3, 9, 9)
    canvas = canvases.clear(canvas, CAR, place)
    np.testing.assert_array_equal(canvas.label == CAR, place)
    np.testing.assert_array_equal(~canvas.picture.numpy().any(-1), place)
    np.testing.assert_array_equal(canvases.known_mask(canvas.picture)[..., 0], ~place.numpy())


def test_a_share_of_the_rim_is_left_to_the_network():
    rims = NO_RIMS._replace(inner=3)
    whole = piece(CAR, box(4, 4, 16, 26), [0.5, 0.5, 0.5])
    noise = tf.constant(np.random.default_rng(0).random((20, 30)) < 0.5)
    made = canvases.paste(canvases.Canvas.empty(layout()), whole._replace(white=noise), 0, rims, GROUPS)
    white = (made.picture.numpy() == 1).all(-1)
    inside = np.zeros((20, 30), bool)
    inside[4:16, 4:26] = True
    core = np.zeros_like(inside)
    core[6:14, 6:24] = True
    assert white.any() and not white[~inside].any() and not white[core].any()
    np.testing.assert_array_equal(white[inside & ~core] <= noise.numpy()[inside & ~core], True)


def test_shadows_and_rims_of_trees_go():
    rims = NO_RIMS._replace(shadow=3, trimmed=3)
    road = piece(ROAD, box(10, 0, 20, 30), [0.5, 0.5, 0.5], casters=box(12, 10, 16, 20))
    made = canvases.paste(canvases.Canvas.empty(layout()), road, 0, rims, GROUPS).picture.numpy().any(-1)
    assert not made[15:17, 10:20].any() and made[18:, :].all() and made[12:, :8].all()
    tree = piece(TREE, box(4, 4, 16, 16), [0.1, 0.5, 0.1])
    made = canvases.paste(canvases.Canvas.empty(layout()), tree, 0, rims, GROUPS).picture.numpy().any(-1)
    assert made[7:13, 7:13].all() and not made[4].any() and not made[:, 4].any()


def test_holes_of_context_are_filled_and_others_stay():
    original = np.full((20, 30), SKY, np.int32)
    original[10:, 15:] = CAR
    canvas = canvases.Canvas(tf.zeros([20, 30, 3]), tf.fill([20, 30], VOID), tf.fill([20, 30], -1))
    done = canvases.finished(canvas, tf.constant(original), NO_RIMS, GROUPS)
    np.testing.assert_array_equal(done.label, np.where(original == CAR, VOID, SKY))


@pytest.mark.parametrize("legacy", [False, True])
def test_the_ground_around_objects_is_left_to_the_network(legacy):
    label = np.full((40, 60), ROAD)
    label[10:14, 20:36] = CAR  # 4 high, 16 wide: 2 pixels to the sides, half a pixel down
    rims = NO_RIMS._replace(outer=7)
    lost = canvases.around_objects(
        tf.constant(label), tf.constant(label == ROAD), rims, GROUPS, legacy
    ).numpy()
    rows, columns = np.nonzero(lost)
    assert (rows.min(), rows.max()) == (10, 14) and columns.min() == 18
    assert columns.max() == (36 if legacy else 37), "the original goes by the height on the right"
    assert not lost[label == CAR].any()


def test_the_nearer_of_two_places_is_taken():
    place = box(5, 5, 10, 15)
    still = piece(CAR, place, [0.5, 0.5, 0.5])
    away = tf.where(box(0, 20, 4, 29)[..., None], tf.constant([0.5, 0.5, 0.5]), 0.0)
    np.testing.assert_array_equal(canvases.nearer(still._replace(moved=away)), still.still)
    np.testing.assert_array_equal(canvases.nearer(still._replace(still=away)), still.moved)
