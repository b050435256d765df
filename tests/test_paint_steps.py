"""What the painting page takes back, and what a seed changes: python -m pytest -m browser."""

import json

import exports
import numpy as np
import pytest

pytest_plugins = ["fixtures_paint"]
pytestmark = pytest.mark.browser
EDITS = "paint.edits.map(one => one.source.name ?? one.source.seed ?? `as ${one.source.like}`)"


def take(page, name):
    """Takes a shipped photo as the style, and waits for its picture."""
    page.page.click(f'[aria-label="Style of {name}"]')
    page.wait(f"{EDITS}.includes({json.dumps(name)})")
    page.settle()


def state(page):
    return page.run(f"[paint.seed, {EDITS}, paint.edits.map(one => one.share)]")


def undo(page):
    page.page.keyboard.press("Control+z")
    page.settle()


@pytest.mark.parametrize("way", ["dice", "seed"])
def test_a_seed_takes_the_place_of_a_photo_of_the_whole_picture(page, way):
    take(page, "sunset")
    before, picture = state(page), page.save("picture")
    if way == "dice":
        page.page.click("#dice")
    else:
        page.page.fill("#seed", "77")
        page.page.press("#seed", "Tab")
    page.settle()
    assert page.save("picture") != picture
    assert page.run("paint.seed") != before[0] and page.run("paint.edits.length") == 0
    assert "sunset" in page.notices()
    page.page.click("#undo")
    page.settle()
    assert state(page) == before and page.save("picture") == picture


def test_variations_differ_under_a_photo_of_the_whole_picture(page):
    take(page, "sunset")
    before = state(page)
    page.page.click("#variations")
    count = "document.querySelectorAll('#variation-grid button').length"
    page.wait(f"{count} === 8 && !document.getElementById('more').disabled")
    pictures = {json.dumps(row) for row in page.sent("png")[-8:]}
    assert len(pictures) == 8
    assert "sunset" in page.page.locator("#variation-note").inner_text()
    page.page.click("#variation-grid button:nth-of-type(4)")
    page.settle()
    assert state(page)[:2] == [before[0] + 3, []]
    undo(page)
    assert state(page) == before


def test_variations_say_where_nothing_is_left_to_a_seed(page):
    page.run("() => { const { bytes } = paint.picture; paint.renderer.picture = async () => bytes.slice(); }")
    page.page.click("#variations")
    page.wait("!document.getElementById('more').disabled")
    assert page.run("document.querySelectorAll('#variation-grid button').length") == 1
    assert "decide the whole picture" in page.page.locator("#variation-note").inner_text()


def test_steps_of_styles_and_strokes_go_back_in_their_order(page):
    found = [(page.map()[0], *state(page))]

    def step(act):
        act()
        page.settle()
        found.append((page.map()[0], *state(page)))

    step(lambda: page.draw((20, 20), class_id=7, tool="brush", size=20))
    step(lambda: page.page.click("#dice"))
    step(lambda: take(page, "winter"))
    step(lambda: page.draw((90, 90), class_id=3, size=30))
    step(lambda: page.page.locator("#edits input").press("ArrowLeft"))
    step(lambda: page.page.click('#edits [aria-label^="Remove"]'))
    for keys, way in (("Control+z", found[-2::-1]), ("Control+Shift+z", found[1:])):
        for label, *look in way:
            page.page.keyboard.press(keys)
            page.settle()
            np.testing.assert_array_equal(page.map()[0], label)
            assert state(page) == look
    assert page.page.locator("#redo").is_disabled()


def test_a_drag_of_the_strength_is_one_step(page):
    take(page, "winter")
    box = page.page.locator("#edits input").bounding_box()
    y = box["y"] + box["height"] / 2
    page.page.mouse.move(box["x"] + box["width"] - 8, y)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + box["width"] / 2, y, steps=6)
    page.page.mouse.up()
    assert 0.3 < page.run("paint.edits[0].share") < 0.7
    undo(page)
    assert page.run("paint.edits[0].share") == 1


def test_before_shows_the_earlier_style(page):
    shown = "[...paint.picture.context.getImageData(0, 0, 128, 128).data].filter((_, at) => at % 97 === 0)"
    first = page.run(shown)
    page.page.click("#dice")
    page.settle()
    second = page.run(shown)
    page.page.keyboard.down("p")
    page.run("new Promise((done) => setTimeout(done, 200))")
    assert page.run(shown) == first != second
    page.page.keyboard.up("p")
    page.run("new Promise((done) => setTimeout(done, 200))")
    assert page.run(shown) == second


def test_a_project_and_a_model_are_taken_back(page):
    project = json.loads(page.save("project"))
    page.draw((30, 90), (90, 100), class_id=9, tool="brush", size=15)
    page.page.click("#dice")
    page.settle()
    label, look = page.map()[0], state(page)
    project["seed"] = 1234
    page.give("#open", "old.json", json.dumps(project).encode(), "application/json")
    page.wait("paint.seed === 1234")
    assert (page.map()[0] != label).any() and "Undo" in page.notices()
    page.choose_model("demo_inade")
    undo(page)
    assert page.run("paint.model.name") == page.run("document.getElementById('model').value") == "demo_spade"
    undo(page)
    np.testing.assert_array_equal(page.map()[0], label)
    assert state(page) == look
    undo(page)
    undo(page)
    assert (page.map()[0] != label).any(), "the earlier strokes have kept their steps"


def test_objects_styles_and_the_target_go_with_another_map(page):
    page.begin_objects()
    page.draw((30, 30), class_id=11, tool="brush", size=21)
    page.page.check('input[name="part"][value="object"]')
    page.page.click("#dice")
    page.settle()
    before = state(page)
    page.give("#open", "other.png", exports.png(np.full((128, 128), 6, np.uint8)))
    page.wait("paint.painting.label[0] === 6")
    assert page.run("[paint.edits.length, paint.object]") == [0, 0]
    assert page.page.locator("#object-shown").inner_text() == ""
    undo(page)
    assert state(page) == before and page.map()[1][30, 30] == 1


def test_a_copy_looks_like_its_original_and_is_picked(page):
    page.begin_objects()
    page.draw((30, 30), class_id=11, tool="brush", size=21)
    page.draw((90, 30), class_id=12, size=21)
    page.page.mouse.click(*page.at(30, 30, "picture"))
    page.page.click("#dice")
    page.settle()
    page.draw((30, 30), (30, 90), tool="move", modifiers=("Alt",))
    page.settle()
    assert page.run("[paint.object, paint.edits.at(-1).part.object]") == [3, 3]
    rows = page.sent("png_synthesize_style")[-1]["noise"]
    assert rows[3] == rows[1] != rows[2]  # background, then objects 1 to 3
    project = json.loads(page.save("project"))
    undo(page)
    assert page.map()[1].max() == 2 and page.run("paint.edits.length") == 1
    page.give("#open", "mine.json", json.dumps(project).encode(), "application/json")
    page.wait("paint.edits.length === 2")
    page.settle()
    assert page.sent("png_synthesize_style")[-1]["noise"] == rows
    page.page.mouse.click(*page.at(30, 90, "picture"))
    page.page.click("#dice")
    page.settle()
    assert page.run(f"{EDITS}.includes('as 1')") is False
