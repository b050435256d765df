"""Exported and restyled runs of OASIS: one row of noise per region."""

import json
import re

import exports
import numpy as np
import pytest
from test_exporting import call
from test_serving import ask, start_server

from semantic_synthesis.restyling import apply_edits, list_regions, parse_edit


def test_signatures():
    found = {
        name: {key: spec.shape.as_list() for key, spec in function.structured_input_signature[1].items()}
        for name, function in exports.loaded("noise").items()
    }
    maps = {"label": [None, None, None], "instance": [None, None, None]}
    assert found["synthesize_style"] == maps | {"z": [None, None, 3]}
    assert found["sample_style"] == found["serving_default"] == maps | {"seed": [None]}
    assert set(found) == {
        "serving_default",
        "png",
        "synthesize_style",
        "sample_style",
        "regions",
        "picture",
        "png_synthesize_style",
        "png_sample_style",
        "png_regions",
    }


def test_pixels_are_those_in_process():
    label, instance = exports.layouts(3)
    expected = exports.in_process("noise", label, [1, 2, 3], instance)
    found = call("noise", "serving_default", label=label, instance=instance, seed=[1, 2, 3])["image"]
    exports.assert_same_pixels(found, expected)
    other = call("noise", "serving_default", label=label[:1], instance=instance[:1], seed=[9])["image"]
    assert (found[0] != other).any()


def test_one_row_of_a_style_can_be_replaced():
    label, instance = exports.layouts(2)
    maps = {"label": label, "instance": instance}
    regions = call("noise", "regions", **maps)["region"]
    style = call("noise", "sample_style", **maps, seed=[4, 5])
    assert style["z"].shape == (2, regions.max() + 1, 3)
    whole = call("noise", "serving_default", **maps, seed=[4, 5])["image"]
    np.testing.assert_array_equal(call("noise", "synthesize_style", **maps, **style)["image"], whole)
    style["z"][0, regions[0, 0, 0]] = 3.0
    edited = call("noise", "synthesize_style", **maps, **style)["image"]
    assert (edited[0] != whole[0]).any() and (edited[1] == whole[1]).all()


@pytest.mark.parametrize("kind", ["class", "instance"])
def test_restyling_changes_the_rows_of_its_part_alone(kind):
    run = exports.synthesizer("noise")
    label, instance = (maps[0] for maps in exports.layouts(1))
    layout, regions = run.layout(label, instance), list_regions(run, label, instance)
    chosen = next(r for r in regions if (r.instance if kind == "instance" else not r.instance))
    name = chosen.instance if kind == "instance" else run.table.names[chosen.class_id]
    edits = [parse_edit(f"{kind}:{name}=seed:7")]
    before = run.sample_style([1], layout)
    after = apply_edits(run, edits, label, instance, before)
    changed = np.unique(np.nonzero(np.array(before["z"] != after["z"]))[1]).tolist()
    same = [r.row for r in regions if (r == chosen if kind == "instance" else r.class_id == chosen.class_id)]
    assert changed == same and len(changed) < len(regions)
    np.testing.assert_array_equal(after["z"][:, chosen.row], run.sample_style([7], layout)["z"][:, 0])
    pictures = [run.synthesize(layout, style)[0].astype(int) for style in (before, after)]
    difference = np.abs(pictures[1] - pictures[0]).max(-1)
    inside = layout["instance"][0] == chosen.row
    assert difference[inside].mean() > 2


def test_photos_decide_nothing():
    run = exports.synthesizer("noise")
    with pytest.raises(ValueError, match="no encoder of photos"):
        run.read_photos(np.zeros((32, 32, 3), np.uint8))


def test_objects_where_none_were_trained_with():
    """Regions come from an instance map also where the run was trained without any."""
    run = exports.synthesizer("noise")
    label, instance = exports.layouts(1)
    with_objects, without = run.layout(label[0], instance[0]), run.layout(label[0])
    assert with_objects["instance"].max() > without["instance"].max() == len(np.unique(label)) - 1
    style = run.sample_style([1], with_objects)
    both = [run.synthesize(layout, run.sample_style([1], layout)) for layout in (with_objects, without)]
    exports.assert_same_pixels(*both)  # one vector for all regions
    assert style["z"].shape[1] == with_objects["instance"].max() + 1


@pytest.mark.slow
def test_noise_travels_as_json(tmp_path):
    """Over REST: sample a style, replace one region's row, render."""
    folder = exports.export_run("noise", export_dir=str(tmp_path)).parent.parent
    label, instance = exports.layouts(1)
    maps = {"label": label[0].tolist(), "instance": instance[0].tolist()}
    process = start_server(folder)
    try:
        port = int(re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())[1])

        def predict(signature, **row):
            request = json.dumps({"signature_name": signature, "instances": [maps | row]})
            status, answer = ask(port, "POST", "/v1/models/noise:predict", request)
            assert status == 200, answer
            return np.array(answer["predictions"][0])

        z, region = predict("sample_style", seed=5), predict("regions")
        assert z.shape == (region.max() + 1, 3)
        plain = predict("synthesize_style", z=z.tolist())
        np.testing.assert_array_equal(plain, predict("serving_default", seed=5))
        z[region[0, 0]] = 3.0
        assert (predict("synthesize_style", z=z.tolist()) != plain).any()
    finally:
        process.kill()
        process.communicate()
