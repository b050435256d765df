"""Exported runs of INADE (a style per region) and CLADE-ICPE (places within regions, in the graph)."""

import exports
import numpy as np
import pytest
import tensorflow as tf
from fixtures_data import with_exif
from tensorflow.core.protobuf import saved_model_pb2
from test_exporting import assert_files_of_two_sizes_are_refused, call

from semantic_synthesis import data
from semantic_synthesis.data.graph_decoding import number_regions
from semantic_synthesis.layers.connected import connected_regions, region_offsets
from semantic_synthesis.methods.sims.segments import find_segments


def test_signatures():
    found = {
        name: {key: spec.shape.as_list() for key, spec in function.structured_input_signature[1].items()}
        for name, function in exports.loaded("regions").items()
    }
    maps = {"label": [None, 32, 32], "instance": [None, 32, 32]}
    assert found["synthesize_style"] == maps | {"noise": [None, None, 2, 3], "z": [None, 4]}
    assert found["encode_style"] == maps | {"image": [None, 32, 32, 3]}
    assert found["sample_style"] == found["serving_default"] == maps | {"seed": [None]}
    assert found["regions"] == maps
    assert set(found) == {"serving_default", "png", "png_style", "synthesize_style", "encode_style",
                          "sample_style", "regions", "png_style_label", "png_synthesize_style",
                          "png_sample_style", "png_encode_style", "png_encode_style_label", "png_regions",
                          "picture"}  # fmt: skip


def test_what_signatures_share_is_stored_once():
    content = (exports.exported("regions") / "saved_model.pb").read_bytes()
    functions = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].graph_def.library.function
    names = [function.signature.name for function in functions]
    operations = [node.op for function in functions for node in function.node_def]
    for shared in ("_pictures", "encode_style", "number_regions"):
        assert sum(f"__inference_{shared}" in name for name in names) == 1, shared
    assert operations.count("DecodeJpeg") == 1  # of five signatures with photos


def test_files_of_maps_must_have_one_size():
    assert_files_of_two_sizes_are_refused("regions")


def test_pixels_are_those_in_process():
    label, instance = exports.layouts(3)
    expected = exports.in_process("regions", label, [1, 2, 3], instance)
    found = call("regions", "serving_default", label=label, instance=instance, seed=[1, 2, 3])["image"]
    exports.assert_same_pixels(found, expected)
    alone = call("regions", "serving_default", label=label[2:], instance=instance[2:], seed=[3])["image"]
    np.testing.assert_array_equal(alone[0], found[2])
    files = {
        "label_png_bytes": [exports.png(x) for x in label],
        "instance_png_bytes": [exports.png(x.astype(np.uint16)) for x in instance],
    }
    found = call("regions", "png", **files, seed=[1, 2, 3])["image_png_bytes"]
    exports.assert_same_pixels(exports.unpacked(found), expected)


def test_the_value_of_no_object_is_kept():
    label, instance = exports.layouts(1)
    theirs = np.where(instance == 0, 65000, instance)
    assert (instance == 0).any() and instance.any()
    expected = exports.in_process("regions", label, [1], instance)
    np.testing.assert_array_equal(exports.in_process("regions", label, [1], theirs), expected)
    found = call("regions", "serving_default", label=label, instance=theirs, seed=[1])["image"]
    exports.assert_same_pixels(found, expected)
    files = {
        "label_png_bytes": [exports.png(label[0])],
        "instance_png_bytes": [exports.png(theirs[0].astype(np.uint16))],
    }
    found = call("regions", "png", **files, seed=[1])["image_png_bytes"]
    exports.assert_same_pixels(exports.unpacked(found), expected)
    assert (
        "0 or 65000 for none" in (exports.exported("regions") / "assets.extra" / "MODEL_CARD.md").read_text()
    )


def test_one_row_of_a_style_can_be_replaced():
    label, instance = exports.layouts(3)
    maps = {"label": label, "instance": instance}
    regions = call("regions", "regions", **maps)["region"]
    for i in range(3):
        np.testing.assert_array_equal(regions[i], data.regions(label[i], instance[i]))
    assert len(set(regions.max((1, 2)))) > 1, "layouts with different numbers of regions"
    style = call("regions", "sample_style", **maps, seed=[4, 5, 6])
    assert style["noise"].shape == (3, regions.max() + 1, 2, 3)
    whole = call("regions", "serving_default", **maps, seed=[4, 5, 6])["image"]
    again = call("regions", "synthesize_style", **maps, **style)["image"]
    np.testing.assert_array_equal(again, whole)
    style["noise"][0, regions[0, 0, 0]] = 3.0
    edited = call("regions", "synthesize_style", **maps, **style)["image"]
    assert (edited[0] != whole[0]).any() and (edited[1:] == whole[1:]).all()


def test_styles_of_photos():
    label, instance = exports.layouts(2)
    photos = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    run = exports.synthesizer("regions")
    found = call("regions", "encode_style", image=photos, label=label, instance=instance)
    assert set(found) == {"noise", "noise_present"}
    for i in range(2):
        layout = run.layout(label[i], instance[i])
        style = run.encode_style(photos[i], layout)
        count = style["noise"].shape[1]
        np.testing.assert_allclose(found["noise"][i, :count], style["noise"][0], rtol=1e-4, atol=1e-5)
        assert (found["noise"][i, count:] == 0).all()
        assert found["noise_present"][i, :count].all() and not found["noise_present"][i, count:].any()
        files = {
            "label_png_bytes": [exports.png(label[i])],
            "instance_png_bytes": [exports.png(instance[i].astype(np.uint16))],
            "style_image_bytes": [exports.png(photos[i])],
        }
        pictures = exports.unpacked(call("regions", "png_style", **files)["image_png_bytes"])
        exports.assert_same_pixels(pictures, run.synthesize(layout, style))


def test_style_signatures_take_files():
    label, instance = exports.layouts(2)
    maps = {"label": label, "instance": instance}
    files = {
        "label_png_bytes": [exports.png(x) for x in label],
        "instance_png_bytes": [exports.png(x.astype(np.uint16)) for x in instance],
    }
    style = call("regions", "sample_style", **maps, seed=[4, 5])
    found = call("regions", "png_sample_style", **files, seed=[4, 5])
    assert set(found) == set(style)
    for name in style:
        np.testing.assert_array_equal(found[name], style[name])
    expected = call("regions", "synthesize_style", **maps, **style)["image"]
    found = call("regions", "png_synthesize_style", **files, **style)["image_png_bytes"]
    exports.assert_same_pixels(exports.unpacked(found), expected)
    photos = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    shown = {"style_image_bytes": [exports.png(photo) for photo in photos]}
    expected = call("regions", "encode_style", **maps, image=photos)
    found = call("regions", "png_encode_style", **files, **shown)
    assert set(found) == {"noise", "noise_present"}
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5)


def test_styles_of_a_photo_of_another_layout():
    """The rows that a photo decides are those of the classes its own map shows, as `png_style_label` uses them."""
    label, instance = exports.layouts(2)
    photo = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    files = {
        "label_png_bytes": [exports.png(label[0])],
        "instance_png_bytes": [exports.png(instance[0].astype(np.uint16))],
    }
    shown = {"style_image_bytes": [exports.png(photo)], "style_label_png_bytes": [exports.png(label[1])]}
    found = call("regions", "png_encode_style_label", **files, **shown)
    run = exports.synthesizer("regions")
    layout, theirs = run.layout(label[0], instance[0]), run.layout(label[1])
    expected = run.read_photos(photo, layout, theirs)
    present = expected.present["noise"].numpy()
    np.testing.assert_array_equal(found["noise_present"], present)
    assert 0 < present.sum() < present.size, "some rows of both kinds"
    np.testing.assert_allclose(
        found["noise"][present], expected.values["noise"][present], rtol=1e-4, atol=1e-5
    )


def test_a_photo_and_its_own_label_map_must_have_one_size():
    label, instance = exports.layouts(1)
    files = {
        "label_png_bytes": [exports.png(label[0])],
        "instance_png_bytes": [exports.png(instance[0].astype(np.uint16))],
    }
    photo = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    sizes = "style_label_png_bytes: 32x32 pixels; style_image_bytes has 64x48; expected the label map of that"
    for content in (exports.png(photo), tf.io.encode_jpeg(photo).numpy()):
        shown = {"style_image_bytes": [content], "style_label_png_bytes": [exports.png(label[0])]}
        for signature in ("png_style_label", "png_encode_style_label"):
            with pytest.raises(tf.errors.InvalidArgumentError, match=sizes):
                call("regions", signature, **files, **shown)
        own = {"style_label_png_bytes": [exports.png(np.zeros((48, 64), np.uint8))]}
        call("regions", "png_style_label", **files, **shown | own)
    turned = {"style_image_bytes": [with_exif(tf.io.encode_jpeg(photo).numpy(), ".jpg", 6, ">")]}
    with pytest.raises(tf.errors.InvalidArgumentError, match="style_image_bytes: EXIF orientation 6 turns"):
        call("regions", "png_style_label", **files, **turned, **own)
    wrong = {"style_image_bytes": [b"x" * 40], "style_label_png_bytes": [exports.png(label[0])]}
    with pytest.raises(tf.errors.InvalidArgumentError, match="style_image_bytes: neither JPEG nor PNG"):
        call("regions", "png_style_label", **files, **wrong)


def test_too_few_rows_are_refused():
    label, instance = exports.layouts(1)
    noise, z = np.zeros((1, 1, 2, 3)), np.zeros((1, 4))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"noise: 1 rows; the layout has [0-9]+ regions"):
        call("regions", "synthesize_style", label=label, instance=instance, noise=noise, z=z)


def test_rows_of_another_shape_are_refused_by_name():
    label, instance = exports.layouts(1)
    noise = np.zeros((1, 30, 2, 5))
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"noise: expected \[N,regions,2,3\], got \[1,30,2,5\]"
    ):
        call("regions", "synthesize_style", label=label, instance=instance, noise=noise, z=np.zeros((1, 4)))


def test_rows_of_files_are_those_of_ids():
    label, instance = exports.layouts(2)
    expected = call("regions", "regions", label=label, instance=instance)["region"]
    files = {
        "label_png_bytes": [exports.png(one) for one in label],
        "instance_png_bytes": [exports.png(one.astype(np.uint16)) for one in instance],
    }
    found = call("regions", "png_regions", **files)["region_png_bytes"]
    rows = np.stack([tf.io.decode_png(one, 1, tf.uint16).numpy()[..., 0] for one in np.asarray(found)])
    np.testing.assert_array_equal(rows, expected)
    assert rows.max() > 3


def test_clade_with_places():
    label, _ = exports.layouts(2)
    expected = exports.in_process("classes", label, [0, 0])
    exports.assert_same_pixels(
        call("classes", "serving_default", label=label, seed=[0, 0])["image"], expected
    )


@pytest.mark.parametrize("seed", range(5))
def test_number_regions(seed):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 5, (9, 7))
    instance = rng.choice([0, 0, 3, 70000, -2, 2**31 - 1], (9, 7)).astype(np.int32)
    found = number_regions(tf.constant(label, tf.int32), tf.constant(instance)).numpy()
    # classes of pixels without an object ascending, then objects ascending
    classes = np.unique(label[instance == 0])
    objects = np.unique(instance[instance != 0])
    expected = np.where(
        instance == 0,
        np.searchsorted(classes, label),
        len(classes) + np.searchsorted(objects, instance),
    )
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(data.regions(label, instance), expected)


@pytest.mark.parametrize("seed", range(6))
def test_connected_regions(seed):
    import cv2

    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2 + seed % 3, (2, 13, 17))
    found = connected_regions(tf.constant(label, tf.int32)).numpy()
    assert not set(found[0].ravel()) & set(found[1].ravel())
    for sample, values in enumerate(label):
        for value in np.unique(values):
            count, expected = cv2.connectedComponents((values == value).astype(np.uint8), connectivity=8)
            pairs = set(zip(expected[values == value], found[sample][values == value], strict=True))
            assert len(pairs) == count - 1 == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_maps_are_not_transposed():
    """Where oneDNN has no transposition of int32 it writes a line about it on the screen."""
    spec = tf.TensorSpec([1, 13, 17], tf.int32)
    numbered = tf.function(connected_regions).get_concrete_function(spec).graph
    thin = np.array([False, True, False])
    found = tf.function(lambda kind, region: find_segments(kind, region, thin)).get_concrete_function(
        spec, spec
    )
    for graph in (numbered, found.graph):
        whole = graph.as_graph_def()
        bodies = [function.node_def for function in whole.library.function]
        operations = {node.op for nodes in (whole.node, *bodies) for node in nodes}
        assert {"StatelessWhile", "UnsortedSegmentMin", "Cumsum"} <= operations
        assert "Transpose" not in operations


def test_connected_regions_of_a_long_path():
    """A path that winds over the whole map is one region, and so is what lies between its windings."""
    label = np.zeros((1, 21, 20), np.int32)
    label[0, ::2] = 1
    label[0, 1::4, -1] = label[0, 3::4, 0] = 1
    found = connected_regions(tf.constant(label)).numpy()
    assert len(set(found[label == 1])) == 1
    assert len(set(found[label == 0])) == 10


def test_region_offsets():
    """A 3x5 block of class 1 in class 0; by the spec, section 12."""
    label = np.zeros((1, 8, 9), np.int32)
    label[0, 2:5, 3:8] = 1
    found = region_offsets(tf.constant(label)).numpy()[0]
    assert (found[label[0] == 0] == 0).all()
    np.testing.assert_allclose(found[2:5, 3:8, 0], np.repeat([[-1], [0], [1]], 5, 1) / (1 + 1e-5), rtol=1e-6)
    np.testing.assert_allclose(
        found[2:5, 3:8, 1], np.repeat([np.arange(-2, 3)], 3, 0) / (2 + 1e-5), rtol=1e-6
    )


def test_region_offsets_of_large_regions():
    """Sums of their coordinates are larger than float32 holds exactly."""
    found = region_offsets(tf.ones([1, 256, 512], tf.int32)).numpy()[0]
    for axis, size in enumerate((256, 512)):
        expected = (np.arange(size) - (size - 1) / 2) / ((size - 1) / 2 + 1e-5)
        np.testing.assert_allclose(found[..., axis].take(0, 1 - axis), expected, atol=1e-6)


@pytest.mark.parametrize("known", [True, False])
def test_region_offsets_of_panoramas(known):
    """Half of a long map: its columns sum up to more than int32 holds."""
    height, width = 256, 8192
    label = np.ones((1, height, width), np.int32)
    label[..., width // 2 :] = 2
    spec = tf.TensorSpec([1, height, width] if known else [None, None, None], tf.int32)
    found = tf.function(region_offsets, [spec], autograph=False)(tf.constant(label)).numpy()[0]
    places = np.arange(width // 2) - (width // 2 - 1) / 2
    np.testing.assert_allclose(found[0, :, 1], np.tile(places / places[-1], 2), atol=1e-4)
