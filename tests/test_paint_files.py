"""Files on the painting page in a real browser: what Open takes, what is saved; python -m pytest -m browser."""

import io

import exports
import numpy as np
import pytest

from semantic_synthesis import data
from semantic_synthesis.data import catalogue
from semantic_synthesis.data.graph_decoding import decode_label_png
from semantic_synthesis.files import shipped

pytest_plugins = ["fixtures_paint"]
pytestmark = pytest.mark.browser


@pytest.mark.parametrize(("name", "kind"), [("night.jpg", "image/jpeg"), ("night.png", "image/png")])
def test_open_takes_a_photo_as_style(page, name, kind):
    before = page.map()[0]
    photo = shipped("datasets", "scenes", "style_night.png").read_bytes()
    page.give("#open", name, photo, kind)
    page.wait("paint.edits.length === 1")
    assert page.run("[paint.edits[0].source.name, paint.edits[0].part.kind]") == [name, "whole"]
    page.wait(f"document.getElementById('notices').textContent.includes('{name}')", 4)
    page.settle()
    np.testing.assert_array_equal(page.map()[0], before)
    page.page.keyboard.press("Control+z")
    assert page.run("paint.edits.length") == 0


def wide(page):
    """Opens a map of 256x128 pixels with a stripe for each third, on a page of 128x128."""
    ids = np.repeat(np.array([[2] * 80 + [7] * 96 + [9] * 80], np.uint8), 128, axis=0)
    page.give("#open", "wide.png", exports.png(ids))
    page.page.wait_for_selector("#fit-dialog[open]")
    assert "256x128" in page.page.locator("#fit-text").inner_text()
    return ids


def test_a_map_of_another_shape_is_asked_about(page):
    before = page.map()[0]
    ids = wide(page)
    np.testing.assert_array_equal(page.map()[0], before)
    page.page.keyboard.press("Escape")
    page.page.wait_for_selector("#fit-dialog", state="hidden")
    np.testing.assert_array_equal(page.map()[0], before)
    for way, expected in (("crop", ids[:, 64:192]), ("squeeze", ids[:, ::2])):
        wide(page)
        page.page.click(f'#fit-dialog [value="{way}"]')
        page.wait(f"paint.history.done.length === {1 if way == 'crop' else 2}")
        np.testing.assert_array_equal(page.map()[0], expected)
    page.page.keyboard.press("Control+z")
    page.page.keyboard.press("Control+z")
    np.testing.assert_array_equal(page.map()[0], before)


def named_downloads(page, *kinds):
    """{kind: (suggested name, bytes)} of what the Save dialog downloads."""
    found = {}
    for kind in kinds:
        page.page.click("#save")
        with page.page.expect_download() as download:
            page.page.click(f'[data-save="{kind}"]')
        with open(download.value.path(), "rb") as file:
            found[kind] = download.value.suggested_filename, file.read()
    return found


def test_files_carry_the_models_or_the_projects_name(page):
    kinds = ("picture", "label", "project")
    found = named_downloads(page, *kinds)
    assert [found[kind][0] for kind in kinds] == [
        f"demo_spade_{end}" for end in ("picture.png", "map.png", "painting.json")
    ]
    page.give("#open", "my bay_painting.json", found["project"][1], "application/json")
    page.wait("paint.title === 'my bay'")
    assert named_downloads(page, "label")["label"][0] == "my bay_map.png"


def test_a_saved_map_shows_its_colours_and_every_reader_has_its_ids(page, tmp_path):
    """Pillow and both of this package's readers see the ids, exactly."""
    from PIL import Image

    label = page.map()[0]
    content = page.save("label")
    picture = Image.open(io.BytesIO(content))
    assert picture.mode == "P"
    np.testing.assert_array_equal(np.asarray(picture), label)
    table = catalogue.describe("scenes").table
    (tmp_path / "map.png").write_bytes(content)
    np.testing.assert_array_equal(data.read_label(str(tmp_path / "map.png"), table), label)
    np.testing.assert_array_equal(decode_label_png(content, table, "map.png"), label)
    colors = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(colors, np.asarray(table.colors)[label])
    page.give("#open", "again.png", content)
    page.wait("paint.history.done.length === 1 || document.getElementById('notices').textContent")
    assert page.notices() == ""
    np.testing.assert_array_equal(page.map()[0], label)
