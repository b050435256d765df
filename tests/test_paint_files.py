"""Files on the painting page in a real browser: what Open takes, what is saved; python -m pytest -m browser."""

import exports
import numpy as np
import pytest

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
