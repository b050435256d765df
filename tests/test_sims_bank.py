"""Class groups, segments and the memory of SIMS: making, resuming, refusing, and masks that come back whole."""

import json

import numpy as np
import pytest
import tensorflow as tf
from fixtures_data import write_folders

from semantic_synthesis import data
from semantic_synthesis.data import catalogue
from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.files import locked
from semantic_synthesis.methods.sims import building, retrieval
from semantic_synthesis.methods.sims.bank import Bank, BankArrays, read_index
from semantic_synthesis.methods.sims.config import SIMSConfig
from semantic_synthesis.methods.sims.features import context_boxes, low_resolution, runs_of
from semantic_synthesis.methods.sims.groups import ClassGroups, coarse_order, parse_groups
from semantic_synthesis.methods.sims.segments import find_segments

NO_THIN = np.zeros(4, bool)


def segments_of(rows, thin=NO_THIN, regions=None):
    kind = np.array([[int(c) for c in row] for row in rows], np.int32)[None]
    region = kind if regions is None else np.array(regions, np.int32)[None]
    return find_segments(tf.constant(kind), tf.constant(region), np.asarray(thin))


def test_diagonal_neighbours_are_one_segment():
    found = segments_of(["0133", "1033", "3331"])
    assert found.kind.numpy().tolist() == [0, 1, 1] and found.area.numpy().tolist() == [2, 2, 1]
    np.testing.assert_array_equal(found.map[0], [[0, 1, -1, -1], [1, 0, -1, -1], [-1, -1, -1, 2]])
    assert found.number.numpy().tolist() == [1, 1, 2]
    assert found.box.numpy().tolist() == [[0, 0, 2, 2], [0, 0, 2, 2], [2, 3, 3, 4]]


def test_a_pole_does_not_split_what_is_behind():
    found = segments_of(["00100", "00100", "33133"], [False, True, False, False])
    assert found.kind.numpy().tolist() == [0, 1]
    np.testing.assert_array_equal(found.map[0, :2], [[0, 0, 1, 0, 0]] * 2)
    pole = found.poles(tf.constant([0, 1])).numpy()
    assert pole[0, :2].all() and not pole[0, 2].any(), "whole, within the segment's box"
    assert pole[1].sum() == 3
    # more thin pixels than own ones: no segment
    assert segments_of(["0111"], [False, True, False, False]).kind.numpy().tolist() == [1]


def test_touching_objects_are_segments_of_their_own():
    regions = [[0, 0, 1, 1], [0, 0, 1, 1]]
    assert segments_of(["0000", "0000"], regions=regions).area.numpy().tolist() == [4, 4]
    assert segments_of(["0000", "0000"]).area.numpy().tolist() == [8]


def test_batches_are_numbered_by_sample():
    kind = tf.constant([[[0, 1]], [[1, 0]]])
    found = find_segments(kind, kind, NO_THIN)
    assert found.sample.numpy().tolist() == [0, 0, 1, 1] and found.kind.numpy().tolist() == [0, 1, 0, 1]
    np.testing.assert_array_equal(found.map, [[[0, 1]], [[3, 2]]])


# Groups


def test_cityscapes_is_as_published():
    description = catalogue.describe("cityscapes")
    groups = ClassGroups.of(description.table, description.options["class_groups"])
    assert groups.count == 19 and not groups.derived
    published = [11, 3, 10, 4, 2, 1, 5, 9, 18, 19, 15, 14, 16, 17, 12, 6, 13, 8, 7]
    assert (np.argsort(groups.rank[:19]) + 1).tolist() == published
    assert np.flatnonzero(groups.members["thin"]).tolist() == [5, 6, 7]
    assert (np.flatnonzero(groups.members["object"]) + 1).tolist() == [3, 6, 7, 8, *range(12, 20)]
    assert (np.flatnonzero(groups.members["context"]) + 1).tolist() == [1, 2, 4, 5, 9, 10, 11]
    assert groups.known[[0, 7, 33, 34]].tolist() == [19, 0, 18, 19], "by raw id"
    assert groups.colors[0].tolist() == [128, 64, 128] and groups.colors[19].tolist() == [0, 0, 0]


def test_scenes_know_all_classes():
    description = catalogue.describe("scenes")
    groups = ClassGroups.of(description.table, description.options["class_groups"])
    assert groups.count == 14 and groups.rank[0] == 0


def test_groups_without_a_text_follow_the_data():
    table = data.ClassTable.create("two", [0, 1, 2, 255], unknown=3)
    groups = ClassGroups.of(table, "", [0.01, np.nan, 0.5])
    assert groups.derived and groups.count == 3 and groups.known.tolist() == [0, 1, 2, 3]
    assert np.argsort(groups.rank).tolist() == [1, 2, 0, 3]
    assert groups.members["object"].tolist() == [True, False, False, False]
    assert groups.members["context"].tolist() == [False, True, True, False]


def test_mistakes_in_groups():
    with pytest.raises(ValueError, match="order has no class 'moon'"):
        parse_groups("order: sky, moon", ["sky"])
    with pytest.raises(ValueError, match="'colour: sky'; expected"):
        parse_groups("colour: sky", ["sky"])


def test_coarse_order():
    order, share = coarse_order([[0, 3, 0], [1, 0, 0], [0, 0, 0]])
    assert order.tolist() == [2, 0, 1] and np.isnan(share[0]) and share[1:].tolist() == [0.75, 0.25]


# Memory


def config(folder="", count=3, **changes):
    return data.resolve(
        SIMSConfig(dataset_mode="scenes", scenes_count=count, crop_size=64, bank_dir=str(folder), **changes)
    )


def loaded(folder, index):
    arrays = BankArrays.load(folder / "segments.npz")
    photos = [folder / path for path in index["photos"]]
    return arrays, Bank(arrays, photos, index["size"], index["base"], len(index["classes"]))


def test_a_bank_holds_the_segments_of_its_photos(tmp_path):
    settings = config()
    index = building.build_bank(settings, str(tmp_path))
    assert index == read_index(tmp_path) and len(index["photos"]) == 3 and index["size"] == [64, 64]
    arrays, bank = loaded(tmp_path, index)
    assert (np.diff(arrays.kind) >= 0).all() and len(arrays.kind) == index["segments"] > 10
    dataset = data.open_dataset(settings, "train", "regions")
    for photo, batch in enumerate(dataset.batches(1, training=False)):
        label = batch["label"].numpy()
        picture = (batch["image"][0].numpy() + 1) / 2
        np.testing.assert_allclose(bank.picture(photo + 1), picture, atol=1e-6)
        segments = find_segments(tf.constant(label), tf.constant(label), np.zeros(15, bool))
        large = np.flatnonzero(segments.area.numpy() > 0.25 * settings.segment_area * 64 * 64)
        mine = np.flatnonzero(arrays.photo == photo)
        np.testing.assert_array_equal(arrays.kind[mine], segments.kind.numpy()[large])
        np.testing.assert_array_equal(bank.masks(tf.constant(mine + 1)), segments.masks(large))
        np.testing.assert_array_equal(arrays.area[mine], segments.area.numpy()[large])
    assert not bank.masks(tf.constant([0])).numpy().any() and not bank.picture(0).numpy().any()


@pytest.mark.parametrize("context_weight", [0.0, 1.0])
def test_retrieval_is_brute_force_but_faster(tmp_path, context_weight):
    """Held-out scenes ask a memory of 24: the short list of 24 holds the ten best, whose shapes NumPy confirms."""
    index = building.build_bank(config(count=24), str(tmp_path))
    _, bank = loaded(tmp_path, index)
    label = tf.constant(
        np.stack([render_scene(1_000_000 + i, 64, 64).label for i in range(6)]).astype(np.int32)
    )
    segments = find_segments(label, label, np.zeros(15, bool))
    rows = tf.constant(np.flatnonzero(segments.area.numpy() > 31).astype(np.int32))
    asked = retrieval.Queries.of(segments, rows, label, retrieval.all_photos(bank, 6))
    options = {"candidates": 10, "context_weight": context_weight}
    quick = retrieval.search(bank, asked, shortlist=24, **options)
    whole = retrieval.search_everything(bank, asked, **options)
    assert len(rows) > 40 and (whole.score.numpy() > 0).mean() > 0.5
    assert np.isclose(quick.score, whole.score, atol=1e-6).mean() > 0.99
    masks = bank.masks(whole.row[:, 0]).numpy()
    mine = asked.mask.numpy()
    shape = (masks & mine).sum((1, 2)) / (masks | mine).sum((1, 2))
    np.testing.assert_allclose(shape, whole.shape[:, 0], atol=1e-6)
    kinds = tf.gather(bank["kind"], whole.row[:, 0]).numpy()
    assert (kinds == asked.kind.numpy())[whole.row[:, 0].numpy() > 0].all()


def test_a_memory_does_not_answer_with_the_layouts_own_photo(tmp_path):
    index = building.build_bank(config(count=6), str(tmp_path))
    _, bank = loaded(tmp_path, index)
    for photo in (0, 4):
        for label in (render_scene(photo, 64, 64).label, render_scene(photo, 64, 64).label[:, ::-1]):
            kind = tf.constant(label[None].astype(np.int32))
            allowed = retrieval.other_photos(bank, kind)[0].numpy()
            assert not allowed[photo + 1] and allowed.sum() >= 5


def test_resuming_and_extending(tmp_path, monkeypatch):
    calls = []
    whole = building._write_part

    def failing(folder, row, image, part):
        calls.append(row)
        if len(calls) == 2:
            raise OSError("stopped")
        whole(folder, row, image, part)

    monkeypatch.setattr(building, "_write_part", failing)
    with pytest.raises(OSError, match="stopped"):
        building.build_bank(config(), str(tmp_path))
    first = building.build_bank(config(), str(tmp_path))
    assert sorted(set(calls)) == [0, 1, 2] and len(first["photos"]) == 3
    before, done = (tmp_path / "segments.npz").read_bytes(), len(calls)
    more = building.build_bank(config(count=4), str(tmp_path))
    assert len(calls) == done + 1 and more["photos"][:3] == first["photos"] and len(more["photos"]) == 4
    assert more["sha256"] != first["sha256"]
    (tmp_path / "parts" / "00000003.npz").unlink()
    again = building.build_bank(config(), str(tmp_path))
    assert again["sha256"] == first["sha256"] and (tmp_path / "segments.npz").read_bytes() == before
    with pytest.raises(ValueError, match=r"made for other size .*\[64, 64\]"):
        building.build_bank(config().replace(crop_size=32), str(tmp_path))


def own_config(root, **changes):
    images, labels = str(root / "images"), str(root / "labels")
    return data.resolve(SIMSConfig(image_dir=images, label_dir=labels, crop_size=32, **changes))


def test_a_bank_grows_by_photos_of_its_own_dataset_alone(tmp_path):
    write_folders(tmp_path / "mine", count=2, height=32)
    building.build_bank(own_config(tmp_path / "mine"), tmp_path / "bank")
    write_folders(tmp_path / "mine", count=3, height=32)
    assert len(building.build_bank(own_config(tmp_path / "mine"), tmp_path / "bank")["photos"]) == 3
    files = {path: path.read_bytes() for path in (tmp_path / "bank").rglob("*") if path.is_file()}
    write_folders(tmp_path / "other", count=5, height=32, photos="png")
    (tmp_path / "mine" / "images" / "3.jpg").write_bytes(
        (tmp_path / "mine" / "images" / "2.jpg").read_bytes()
    )
    (tmp_path / "mine" / "labels" / "3.png").write_bytes(
        (tmp_path / "mine" / "labels" / "2.png").read_bytes()
    )
    for kind in ("images/0.jpg", "labels/0.png"):  # now 1 is the first
        (tmp_path / "mine" / kind).unlink()
    for root, name in (("other", "0"), ("mine", "1")):
        wrong = rf"bank: 3 of 3 parts were made of other samples .*, first 00000000.npz, now {name} \d+ \d+; choose"
        with pytest.raises(ValueError, match=wrong):
            building.build_bank(own_config(tmp_path / root), tmp_path / "bank")
    assert files == {path: path.read_bytes() for path in (tmp_path / "bank").rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"class_groups": "thin: tree"}, r"thin classes \(\[\], asked for \['tree'\]\)"),
        ({"no_instance": False}, r"instance maps \(none, asked for used\)"),
    ],
)
def test_parts_of_other_options_are_refused(changes, what, tmp_path):
    order = "order: sky, water, tree"
    building.build_bank(config(count=2, class_groups=order), tmp_path)
    building.build_bank(
        config(count=2, class_groups=f"{order}; object: tree"), tmp_path
    )  # no matter of parts
    if "class_groups" in changes:
        changes = {"class_groups": f"{order}; {changes['class_groups']}"}
    with pytest.raises(ValueError, match=rf"made for other {what}; choose another folder or the options"):
        building.build_bank(config(**{"count": 3, "class_groups": order, **changes}), tmp_path)


def test_banks_from_before_parts_were_marked(tmp_path):
    building.build_bank(config(count=2), tmp_path)
    (tmp_path / "made_of.json").unlink()
    assert len(building.build_bank(config(count=2), tmp_path)["photos"]) == 2
    assert not (tmp_path / "made_of.json").exists(), "what they were made of, nobody knows"
    assert len(building.build_bank(config(count=3), tmp_path)["photos"]) == 3
    samples = json.loads((tmp_path / "made_of.json").read_text())["samples"]
    assert samples[:2] == [None, None] and len(samples[2]) == 16
    (tmp_path / "made_of.json").write_text("[]")
    with pytest.raises(ValueError, match=r"made_of\.json: does not say what .*; delete it"):
        building.build_bank(config(count=3), tmp_path)


def test_two_programs_do_not_make_one_bank(tmp_path):
    busy = rf"^{tmp_path}: another prepare bank is at work here \(process .*; wait for it or stop it, or choose another"
    with locked(tmp_path, "a test"):
        with pytest.raises(OSError, match=busy):
            building.build_bank(config(), tmp_path)
        assert not (tmp_path / "parts").exists()
    assert building.build_bank(config(), tmp_path)["segments"]


def test_near_duplicates_are_dropped(tmp_path):
    building.build_bank(config(), str(tmp_path))
    for kind in ("photos/0000000{}.png", "parts/0000000{}.npz"):
        (tmp_path / kind.format(5)).write_bytes((tmp_path / kind.format(1)).read_bytes())
    index = building.build_bank(config(), str(tmp_path))
    assert index["photos"] == [f"photos/0000000{i}.png" for i in range(3)] and index["dropped"] == 1


def test_damaged_banks(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no index\.json here"):
        read_index(tmp_path)
    (tmp_path / "index.json").write_text(json.dumps({"classes": []}))
    with pytest.raises(ValueError, match="no base"):
        read_index(tmp_path)
    (tmp_path / "segments.npz").write_bytes(b"PK\3\4 no")
    with pytest.raises(ValueError, match="damaged"):
        BankArrays.load(tmp_path / "segments.npz")


def test_runs_and_low_resolution():
    masks = np.random.default_rng(0).random((3, 32, 64)) > 0.5
    runs, first = runs_of(masks)
    again = np.zeros_like(masks)
    for i in range(3):
        for row, start, end in runs[first[i] : first[i + 1]]:
            again[i, row, start:end] = True
    np.testing.assert_array_equal(again, masks)
    means = masks.reshape(3, 16, 2, 32, 2).mean((2, 4)).reshape(3, 512)
    np.testing.assert_allclose(low_resolution(masks) / 255, means, atol=0.01)
    assert low_resolution(np.ones((1, 5, 70), bool)).min() == 255


def test_context_boxes_are_wider_than_segments():
    box = np.array([[16, 16, 48, 32], [0, 0, 64, 64]])
    expected = [[6, 7, 26, 17], [0, 0, 32, 32]]
    np.testing.assert_array_equal(context_boxes(box, (64, 64), (32, 32)), expected)
    np.testing.assert_array_equal(context_boxes(tf.constant(box), (64, 64), (32, 32)), expected)
