"""From folders to batches: pairs, sizes and ids of every dataset mode, alignment, determinism, errors."""

import cv2
import numpy as np
import pytest
import tensorflow as tf
from fixtures_data import SHARED, label_map, photo, write_folders, write_json, write_picture

from semantic_synthesis.data import (
    ClassTable,
    DataError,
    fit_image,
    fit_label,
    graph_decoding,
    open_dataset,
    read_layout,
    resolve,
    user_error,
)
from semantic_synthesis.data.catalogue import describe
from semantic_synthesis.data.geometry import Geometry
from semantic_synthesis.data.instances import compact, file_objects, regions
from semantic_synthesis.data.layouts import check_split
from semantic_synthesis.data.pipeline import SCENES_CACHE_BYTES
from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.methods import make_config

TREES = {
    "ade20k": [
        ("images/training/ADE_train_0000000{}.jpg", "annotations/training/ADE_train_0000000{}.png", None),
        ("images/validation/ADE_val_0000000{}.jpg", "annotations/validation/ADE_val_0000000{}.png", None),
    ],
    "coco": [
        ("train_img/00000000{}.jpg", "train_label/00000000{}.png", "train_inst/00000000{}.png"),
        ("val_img/00000000{}.jpg", "val_label/00000000{}.png", "val_inst/00000000{}.png"),
    ],
    "cityscapes": [
        tuple(
            pattern.replace("SPLIT", split)
            for pattern in (
                "leftImg8bit/SPLIT/ulm/ulm_00000{}_000019_leftImg8bit.png",
                "gtFine/SPLIT/ulm/ulm_00000{}_000019_gtFine_labelIds.png",
                "gtFine/SPLIT/ulm/ulm_00000{}_000019_gtFine_instanceIds.png",
            )
        )
        for split in ("train", "val")
    ],
    "celeba": [
        ("train/images/{}.jpg", "train/labels/{}.png", None),
        ("test/images/{}.jpg", "test/labels/{}.png", None),
    ],
    "celeba_scgan": [
        ("CelebA-HQ-img/{}.jpg", "CelebAMaskHQ-mask/{}.png", None),
        ("CelebA-HQ-img/1{}.jpg", "CelebAMaskHQ-mask/1{}.png", None),
    ],
    "deepfashion": [
        ("train/id_{}_front.jpg", "train/id_{}_front_label.png", None),
        ("test/id_{}_front.jpg", "test/id_{}_front_label.png", None),
    ],
    "deepfashion_inade": [
        ("train_img/{}.jpg", "train_label/{}.png", "train_inst/{}.png"),
        ("test_img/{}.jpg", "test_label/{}.png", "test_inst/{}.png"),
    ],
    "gta5": [
        ("RGB256Full/train/0000000{}.png", "LabelgrayFull20/train/0000000{}.png", None),
        ("RGB256Full/test/0010000{}.png", "LabelgrayFull20/test/0010000{}.png", None),
    ],
    "facades": [
        ("train_img/{}.jpg", "train_label/{}.png", None),
        ("val_img/{}.jpg", "val_label/{}.png", None),
    ],
}
SIZES = {  # height, width, largest raw id
    "ade20k": (256, 256, 150),
    "coco": (256, 256, 255),
    "cityscapes": (256, 512, 33),
    "celeba": (256, 256, 18),
    "celeba_scgan": (512, 512, 18),
    "deepfashion": (256, 256, 15),
    "deepfashion_inade": (256, 256, 7),
    "gta5": (256, 512, 19),
    "facades": (256, 256, 12),
}


def make_tree(root, mode):
    """Two samples per split in the mode's true layout; label map n holds n and the largest id."""
    for split in TREES[mode]:
        for n, (image, label, instance) in ((n, split) for n in (1, 2)):
            write_picture(root / image.format(n), photo(seed=n))
            write_picture(root / label.format(n), label_map([n, SIZES[mode][2]], seed=n))
            if instance:
                ids = np.array([[0, 7 * n], [24000 * n, 3]], np.uint16).repeat(12, 0).repeat(16, 1)
                write_picture(root / instance.format(n), ids)
    if mode == "celeba_scgan":
        (root / "train_list.txt").write_text("1.jpg\n2.jpg\n")
        (root / "test_list.txt").write_text("11.jpg 0 1\n12.jpg 0 1\n")
    (root / "Thumbs.db").write_bytes(b"x")


@pytest.mark.parametrize("mode", TREES)
def test_every_mode_loads_its_tree(mode, tmp_path):
    make_tree(tmp_path, mode)
    config = resolve(make_config(dataset_mode=mode, dataroot=str(tmp_path)))
    for split, (image, label, instance) in zip(("train", "val"), TREES[mode], strict=True):
        dataset = open_dataset(config, split)
        files = [(s.image, s.label) for s in dataset.source.samples]
        assert files == [(str(tmp_path / image.format(n)), str(tmp_path / label.format(n))) for n in (1, 2)]
        assert dataset.has_instances == (instance is not None) == (not config.no_instance)
        (batch,) = dataset.batches(2, training=False)
        height, width, largest = SIZES[mode]
        assert batch["image"].shape == (2, height, width, 3) and batch["label"].shape == (2, height, width)
        for n in (1, 2):
            classes = set(np.unique(batch["label"][n - 1]).tolist())
            assert classes == set(dataset.table.class_of_id[[n, largest]].tolist())
        if instance:
            assert set(np.unique(batch["instance"])) == {1, 2, 3, 4}


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")
@pytest.mark.parametrize(
    ("mode", "folder", "count"),
    [
        ("ade20k", "ade20k", 4),
        ("coco", "coco_stuff", 13),
        ("gta5", "gta5", 4),
        ("deepfashion", "deepfashion", 4),
    ],
)
def test_real_samples(mode, folder, count):
    config = resolve(make_config(dataset_mode=mode, dataroot=str(SHARED / folder)))
    dataset = open_dataset(config)
    assert dataset.size == count
    batch = next(iter(dataset.batches(4)))
    assert batch["image"].shape == (4, config.crop_height, config.crop_size, 3)
    assert len(np.unique(batch["label"])) > 4 and batch["label"].numpy().max() < dataset.table.num_classes
    assert np.abs(batch["image"]).max() <= 1.0 and np.std(batch["image"]) > 0.1


def test_coco_portraits_are_added_in_training(tmp_path):
    make_tree(tmp_path, "coco")
    for kind, suffix in (("img", "jpg"), ("label", "png"), ("inst", "png")):
        picture = photo() if kind == "img" else label_map([0, 1])
        write_picture(tmp_path / f"train_{kind}_portrait" / f"9.{suffix}", picture)
    config = resolve(make_config(dataset_mode="coco", dataroot=str(tmp_path)))
    assert open_dataset(config).size == 3 and open_dataset(config, "val").size == 2


def custom(tmp_path, **options):
    images, labels = write_folders(tmp_path, count=5)
    return resolve(make_config(image_dir=images, label_dir=labels, crop_size=16, **options))


def test_batches_resume_and_repeat(tmp_path):
    dataset = open_dataset(custom(tmp_path, seed=3))
    first = list(dataset.batches(2).take(7))
    for resumed, batch in zip(dataset.batches(2, first_step=3), first[3:], strict=False):
        for key in batch:
            np.testing.assert_array_equal(resumed[key], batch[key])
    assert [r for b in first for r in b["row"].numpy()] == list(range(14))
    single = list(dataset.batches(1).take(6))
    for row, batch in enumerate(single):
        np.testing.assert_array_equal(batch["image"][0], first[row // 2]["image"][row % 2])
    other = next(iter(open_dataset(custom(tmp_path / "b", seed=4)).batches(2)))
    assert not np.array_equal(other["image"], first[0]["image"])


def drawn(dataset, epochs):
    """The samples each epoch draws."""
    order = [dataset.drawn(row) for row in range(epochs * dataset.size)]
    return np.array(order).reshape(epochs, dataset.size)


def test_every_epoch_is_a_permutation(tmp_path):
    order = drawn(open_dataset(custom(tmp_path)), 6)
    assert all(sorted(epoch) == list(range(5)) for epoch in order.tolist())
    assert len({tuple(epoch) for epoch in order.tolist()}) > 3


def test_prob_dataset_draws_a_share_of_all(tmp_path):
    dataset = open_dataset(custom(tmp_path, prob_dataset=0.4))
    order = drawn(dataset, 30)
    assert dataset.size == 2 and set(order.ravel().tolist()) == set(range(5))


def test_testing_reads_all_once_in_order(tmp_path):
    dataset = open_dataset(custom(tmp_path))
    batches = list(dataset.batches(2, training=False))
    assert [len(b["row"]) for b in batches] == [2, 2, 1]
    expected = fit_label(label_map((0, 1, 2), seed=4), 16, 16)
    np.testing.assert_array_equal(batches[2]["label"][0], expected)


@pytest.mark.parametrize(
    "mode", ["resize_and_crop", "crop", "scale_width_and_crop", "scale_shortside_and_crop", "fixed"]
)
def test_photo_and_maps_stay_aligned(mode, tmp_path):
    """The photo is the label map in colours: after any crop and flip it still is, away from edges."""
    table = ClassTable.create("t", [0, 1, 2, 3])
    for n in range(4):
        ids = label_map([0, 1, 2, 3], 64, 96, seed=n)
        write_picture(tmp_path / "images" / f"{n}.png", table.colorize(ids))
        write_picture(tmp_path / "labels" / f"{n}.png", ids)
        write_picture(tmp_path / "instances" / f"{n}.png", (ids + 1).astype(np.uint16) * 500)
    config = resolve(
        make_config(
            image_dir=str(tmp_path / "images"),
            label_dir=str(tmp_path / "labels"),
            instance_dir=str(tmp_path / "instances"),
            crop_size=40,
            aspect_ratio=1.25,
            img_width=48,
            img_height=44,
            preprocess_mode=mode,
        )
    )
    seen = set()
    for batch in open_dataset(config).batches(4).take(8):
        image, label = (batch["image"].numpy() + 1) * 127.5, batch["label"].numpy()
        assert image.shape == (4, 32, 40, 3)
        wrong = np.abs(table.colorize(label) - image).max(-1) > 1
        edge = np.stack([fit_edges(one) for one in label])
        assert not (wrong & ~edge).any()
        for one, instance in zip(label, batch["instance"].numpy(), strict=True):
            present = np.unique(one)
            np.testing.assert_array_equal(instance, np.searchsorted(present, one) + 1)
        seen |= {one.tobytes() for one in label}
    assert len(seen) > (6 if mode == "fixed" else 16)


def fit_edges(label):
    """Pixels within two of another class, bool [H, W]."""
    label, around = label.astype(np.uint8), np.ones((5, 5), np.uint8)
    edge = cv2.dilate(label, around) != cv2.erode(label, around)
    edge[:2], edge[-2:], edge[:, :2], edge[:, -2:] = True, True, True, True
    return edge


def test_flip_share(tmp_path):
    config = custom(tmp_path, preprocess_mode="fixed")
    counts = [
        len({open_dataset(c)._load(0, [0, 0, d])[1].tobytes() for d in (0.1, 0.9)})
        for c in (config, config.replace(no_flip=True))
    ]
    assert counts == [2, 1]


def test_crop_box_known_answers():
    geometry = Geometry("resize_and_crop", 286, 286, 256, 256)
    box = geometry.box(286, 286, [0.0, 0.999, 0.7], "a")
    assert (box.top, box.left, box.old_height, box.old_width, box.flip) == (0, 30, 256, 256, False)
    assert geometry.box(286, 286, [0.5, 0.5, 0.2], "a").flip
    whole = geometry.box(300, 500, None, "a")
    assert (whole.old_height, whole.old_width, whole.top, whole.left) == (300, 500, 0, 0)
    scaled = Geometry("scale_shortside_and_crop", 286, 286, 256, 256).box(572, 1144, [0, 0.5, 1], "a")
    assert (scaled.old_height, scaled.old_width) == (512, 512)
    with pytest.raises(DataError, match=r"a\.png: 100x90 pixels is smaller than the crop of 256x256"):
        Geometry("crop", 1, 1, 256, 256).box(90, 100, [0, 0, 0], "a.png")


def test_resizing_known_answers():
    label = np.arange(6)[None].repeat(2, 0)
    np.testing.assert_array_equal(fit_label(label, 1, 3), [[1, 3, 5]])
    np.testing.assert_array_equal(fit_label(label[:, :2], 2, 4), [[0, 0, 1, 1]] * 2)
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2, :2] = [[[40], [80]], [[120], [160]]]
    np.testing.assert_array_equal(fit_image(image, 2, 2)[..., 0], [[100, 0], [0, 0]])
    assert fit_image(image, 8, 2).shape == (8, 2, 3) and fit_image(image, 3, 9).shape == (3, 9, 3)


def test_compact():
    ids = np.array([[0, 500], [7, 500]])
    assert compact(ids).tolist() == [[1, 3], [2, 3]]
    assert compact(ids, 0).tolist() == [[0, 2], [1, 2]]
    assert compact(ids * 1000, 0).tolist() == [[0, 2], [1, 2]]
    assert compact(ids, 3).tolist() == [[1, 3], [2, 3]]


def test_errors_reach_the_reader_of_batches(tmp_path):
    config = custom(tmp_path)
    write_picture(tmp_path / "labels" / "2.png", label_map([0, 9]))
    with pytest.raises(tf.errors.OpError) as caught:
        list(open_dataset(config).batches(2).take(6))
    assert user_error(caught.value).startswith(f"{tmp_path}/labels/2.png: label ids 9 are not in class table")
    (tmp_path / "labels" / "2.png").unlink()
    with pytest.raises(ValueError, match=r"2\.jpg: no label map has its stem '2'"):
        open_dataset(config)


def test_own_dataset_as_one_json(tmp_path):
    write_folders(tmp_path, ids=(3, 8, 200))
    splits = {"train": {"image": "images/{stem}.*", "label": "labels/{stem}.*"}, "val": "train"}
    values = {
        "name": "mine",
        "classes": [{"id": 3}, {"id": 8, "name": "b"}],
        "unknown_id": 200,
        "dataroot": ".",
        "options": {"crop_size": 32},
        "splits": splits,
    }
    path = write_json(tmp_path / "mine.json", values)
    config = resolve(make_config(dataset_mode=path))
    dataset = open_dataset(config, "val")
    assert dataset.table.names == ("class 3", "b", "unknown") and dataset.table.unknown == 2
    assert (config.crop_size, config.img_width) == (32, 36)
    assert set(np.unique(next(iter(dataset.batches(3)))["label"])) == {0, 1, 2}


def described(root, **values):
    """A description of root/{images,labels,instances}, three classes, resolved at 32x24."""
    kinds = {"image": "images", "label": "labels", "instance": "instances"}
    layout = {k: f"{folder}/{{stem}}.*" for k, folder in kinds.items() if (root / folder).is_dir()}
    options = {"crop_size": 32, "aspect_ratio": 4 / 3, "preprocess_mode": "fixed"}
    options["no_instance"] = "instance" not in layout
    classes = [{"id": i} for i in range(3)]
    values = {"classes": classes, "dataroot": ".", "splits": {"train": layout}, "options": options, **values}
    return resolve(make_config(dataset_mode=write_json(root / "mine.json", values)))


@pytest.mark.parametrize("none", [0, 255])
def test_pixels_of_no_object_are_of_their_class(none, tmp_path):
    write_folders(tmp_path, count=1)
    objects = np.full((24, 32), none, np.uint8)
    objects[:5, :5] = 7
    write_picture(tmp_path / "instances" / "0.png", objects)
    config = described(tmp_path, instance_none_id=none)
    label, found = (open_dataset(config, "train", kind)._load(0, None)[1:] for kind in ("regions", "objects"))
    np.testing.assert_array_equal(found[1], objects == 7)
    np.testing.assert_array_equal(label[1], regions(label[0], (objects == 7).astype(int)))
    assert label[1].max() == len(np.unique(label[0][objects == none]))


def test_the_value_of_no_object_belongs_to_the_run(tmp_path):
    """A background of 255 lies over all classes: no object for the check and for test_one.py."""
    folders = write_folders(tmp_path, count=1)
    objects = np.full((24, 32), 255, np.uint8)
    objects[:5, :5] = 7
    path = tmp_path / "instances" / "0.png"
    write_picture(path, objects)
    assert described(tmp_path, instance_none_id=255).instance_none_id == 255
    own = dict(zip(("image_dir", "label_dir"), folders, strict=True))
    asked = make_config(**own, instance_dir=str(path.parent), crop_size=16, instance_none_id=255)
    config = resolve(asked.replace(dataset_mode="custom"))
    assert resolve(asked.replace(dataset_mode="custom", instance_none_id=None)).instance_none_id == 0
    np.testing.assert_array_equal(np.unique(open_dataset(config)._load(0, None)[2]), [0, 1])
    dataset = open_dataset(config)
    assert check_split(config, describe("custom"), dataset.table, "train").problems == []
    labels = tmp_path / "labels" / "0.png"
    found = read_layout(labels, dataset.table, path, config.instance_none_id)[1]
    np.testing.assert_array_equal(found, np.where(objects == 255, 0, objects))
    with pytest.raises(DataError, match=r"only \d+% of the objects' pixels have their object's class"):
        read_layout(labels, dataset.table, path)


@pytest.mark.parametrize("values", [(0, 7), (0, 255, 7), (255, 7)])
def test_objects_of_raw_id_0(values, tmp_path):
    """Beside a background of 255, pixels of 0 are an object wherever the dataset's files are read."""
    labels = write_folders(tmp_path, count=1)[1]
    objects = np.full((24, 32), values[1], np.uint8)
    objects[:6, :6], objects[9:, 9:] = values[0], values[-1]
    path = tmp_path / "instances" / "0.png"
    write_picture(path, objects)
    write_picture(tmp_path / "labels" / "0.png", np.where(objects == 7, 1, 0).astype(np.uint8))
    config = described(tmp_path, instance_none_id=255)
    dataset = open_dataset(config)
    painted = read_layout(f"{labels}/0.png", dataset.table, path, 255)[1]
    in_graph = graph_decoding.decode_instance_png(tf.constant(path.read_bytes()), "x", none_id=255)
    np.testing.assert_array_equal(in_graph, painted)
    is_object = (objects != 255) & ((objects != 0) | (255 in values))
    np.testing.assert_array_equal(painted > 0, is_object)
    if 255 in values:
        trained = dataset._load(0, None)[2]
        for number in np.unique(trained):
            assert len(np.unique(painted[trained == number])) == 1
        np.testing.assert_array_equal(trained > 0, painted > 0)
        assert len(np.unique(trained)) == len(np.unique(painted))
    np.testing.assert_array_equal(file_objects(painted, 255), painted)  # twice is once


@pytest.mark.parametrize(
    "size, fits", [((12, 16), True), ((13, 17), True), ((24, 24), False), ((32, 24), False)]
)
def test_smaller_maps_have_the_shape_of_their_photo(size, fits, tmp_path):
    write_folders(tmp_path, count=1)
    write_picture(tmp_path / "labels" / "0.png", label_map([0, 1, 2], *size))
    config = described(tmp_path, resize_maps=True)
    source = open_dataset(config, "train").source
    problems = check_split(config, describe(config.dataset_mode), source.table, "train").problems
    if fits:
        assert source.load(0)[1].shape == (24, 32) and problems == []
        return
    with pytest.raises(
        DataError, match=r"0\.png: .* expected equal shapes: check that they are a pair"
    ) as caught:
        source.load(0)
    assert [problem["message"] for problem in problems] == [str(caught.value)]


def test_scenes_are_kept_up_to_their_share_of_memory():
    scene = render_scene(0, 16, 16)
    bytes_each = sum(array.nbytes for array in (scene.image, scene.label, scene.instance, scene.disparity))
    source = open_dataset(resolve(make_config(crop_size=64))).source
    assert source._room == SCENES_CACHE_BYTES // (bytes_each * source.height * source.width // 256)


def test_ids_of_own_folders_are_found(tmp_path, monkeypatch):
    lines = []  # absl's own function: what its logger passes on depends on who configured it first
    monkeypatch.setattr("absl.logging.info", lambda text, *values: lines.append(text % values))
    images, labels = write_folders(tmp_path, ids=(0, 2, 255))
    table = ClassTable.from_dict(resolve(make_config(image_dir=images, label_dir=labels)).class_table)
    assert table.raw_ids == (0, 1, 2, 255) and table.unknown == 3
    assert "255 counts as unlabelled, not as a class (where it is one: list all ids in" in lines[0]
    assert "occur nowhere" not in lines[0]
    sparse = write_folders(tmp_path / "sparse", ids=(0, 9, 255))
    resolve(make_config(image_dir=sparse[0], label_dir=sparse[1]))
    assert "11 classes from the label ids 0, 9, 255; 255 counts" in lines[1]
    assert (
        "; 8 of the classes occur nowhere, and cost time and memory; for the others alone draft" in lines[1]
    )
    (tmp_path / "ids.txt").write_text("255, 2,0\n")
    config = make_config(image_dir=images, label_dir=labels, semantic_label_path=str(tmp_path / "ids.txt"))
    assert ClassTable.from_dict(resolve(config).class_table).raw_ids == (255, 2, 0)


def test_scenes():
    config = resolve(make_config(crop_size=32, scenes_count=6, no_instance=False))
    train, test = open_dataset(config), open_dataset(config, "test")
    assert train.size == 6 and train.has_instances
    pictures = [next(iter(d.batches(6, training=False)))["image"].numpy() for d in (train, test)]
    assert pictures[0].shape == (6, 32, 32, 3) and not np.allclose(pictures[0], pictures[1])
