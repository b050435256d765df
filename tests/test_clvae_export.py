"""An exported clVAE of ADE20K's size: a style per class and level goes out, is edited and comes in, REST included."""

import functools
import json

import exports
import numpy as np
from test_exporting import call

from semantic_synthesis.serving import rest_protocol

CLASSES = 151
CHECKED = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)


def photos(count):
    coarse = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)


def test_signatures():
    found = {
        name: {key: spec.shape.as_list() for key, spec in function.structured_input_signature[1].items()}
        for name, function in exports.loaded("levels").items()
    }
    maps = {"label": [None, 32, 32]}
    assert found["synthesize_style"] == maps | {"class_latents": [None, 5, CLASSES, CLASSES], "z": [None, 4]}
    assert found["encode_style"] == maps | {"image": [None, 32, 32, 3]}
    assert found["sample_style"] == {"seed": [None]}
    files = {"label_png_bytes": [None], "style_image_bytes": [None]}
    assert found["png_style_label"] == files | {"style_label_png_bytes": [None]}
    assert "regions" not in found


def test_pixels_are_those_in_process():
    label, _ = exports.layouts(2)
    found = call("levels", "serving_default", label=label, seed=[1, 2])["image"]
    exports.assert_same_pixels(found, exports.in_process("levels", label, [1, 2]))


def test_encode_style_says_what_is_present():
    label, _ = exports.layouts(2)
    found = call("levels", "encode_style", image=photos(2), label=label)
    assert set(found) == {"class_latents", "class_latents_present", "z"}
    for i in range(2):
        shown = np.isin(np.arange(CLASSES), label[i])
        np.testing.assert_array_equal(found["class_latents_present"][i], np.tile(shown, (5, 1)))
        run = exports.synthesizer("levels")
        encoded = run.read_photos(photos(2)[i], run.layout(label[i]))
        CHECKED(found["class_latents"][i], encoded.values["class_latents"][0])
        CHECKED(found["z"][i], encoded.values["z"][0])
        assert np.abs(found["class_latents"][i][:, shown]).max() > 0


def test_styles_of_photos_of_other_layouts():
    label, _ = exports.layouts(2)
    run, layouts = exports.synthesizer("levels"), [exports.png(x) for x in label]
    photo = photos(1)[0]
    files = {"label_png_bytes": layouts[:1], "style_image_bytes": [exports.png(photo)]}
    for signature, shown in (("png_style", 0), ("png_style_label", 1)):
        own = {"style_label_png_bytes": layouts[1:]} if shown else {}
        found = exports.unpacked(call("levels", signature, **files, **own)["image_png_bytes"])
        layout = run.layout(label[0])
        style = run.encode_style(photo, layout, 0, run.layout(label[shown]))
        exports.assert_same_pixels(found, run.synthesize(layout, style))


def ask(signature, inputs):
    """Outputs of a request as JSON and back, as a client of TF Serving sees them."""
    signatures = rest_protocol.read_signatures(exports.exported("levels"))
    body = json.dumps({"signature_name": signature, "inputs": inputs}).encode()
    request = rest_protocol.parse_request(body, signatures)
    outputs = call("levels", request.signature, **request.inputs)
    answer = json.loads(rest_protocol.encode_answer(outputs, request.by_rows))["outputs"]
    return answer if len(outputs) > 1 else {next(iter(outputs)): answer}


def test_a_style_goes_through_rest_and_back():
    """114,005 numbers, bit for bit; then one class at one level is replaced."""
    label, _ = exports.layouts(1)
    style = ask("sample_style", {"seed": [3]})
    latents = np.array(style["class_latents"], np.float32)
    assert latents[0].size == 114_005
    sampled = call("levels", "sample_style", seed=[3])
    np.testing.assert_array_equal(latents, sampled["class_latents"])
    whole = call("levels", "serving_default", label=label, seed=[3])["image"]
    again = ask("synthesize_style", {"label": label.tolist(), **style})["image"]
    np.testing.assert_array_equal(again, whole)
    there, absent = int(label[0, 0, 0]), CLASSES - 1
    assert absent not in label
    for class_id, level, changes in ((there, 4, True), (there, 0, False), (absent, 4, False)):
        edited = latents.copy()
        edited[0, level, class_id] += 3.0  # the tiny generator's only block with latents reads level 4
        image = call("levels", "synthesize_style", label=label, class_latents=edited, z=style["z"])["image"]
        assert (image != whole).any() == changes
