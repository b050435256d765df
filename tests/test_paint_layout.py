"""What the painting page shows and says, and where: python -m pytest -m browser."""

import time

import pytest
from browser import Page

from semantic_synthesis.files import shipped

pytest_plugins = ["fixtures_paint"]
pytestmark = pytest.mark.browser


def box(page, selector):
    found = page.page.locator(selector).bounding_box()
    return found["x"], found["y"], found["x"] + found["width"], found["y"] + found["height"]


def apart(a, b):
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


@pytest.mark.parametrize("size", [(1280, 720), (1440, 860)])
def test_all_classes_and_the_style_panel_fit(browser, server, size):
    page = Page(browser, server.url, "demo_inade", size=size)
    try:
        for _ in range(2):
            _, top, _, bottom = box(page, "#classes")
            for row in range(14):
                _, first, _, last = box(page, f"#classes .class:nth-of-type({row + 1})")
                assert first >= top - 1 and last <= bottom + 1, (row, first, last, bottom)
            assert box(page, "#style-panel")[3] <= size[1]
            assert (
                page.run("(one => one.scrollHeight - one.clientHeight)(document.querySelector('aside'))") <= 0
            )
            page.page.click('[aria-label="Style of winter"]')
    finally:
        page.close()


def test_a_photo_of_ones_own_has_a_thumbnail_and_its_button_is_whole(page):
    page.choose_model("demo_inade")
    photo = shipped("datasets", "scenes", "style_night.png").read_bytes()
    page.give('[aria-label="Style of a photo of your own"]', "night.jpg", photo, "image/jpeg")
    page.page.wait_for_selector("#edits .extra")
    assert page.run("(one => one.scrollWidth <= one.clientWidth)(document.querySelector('#edits .extra'))")
    assert page.run("document.querySelector('#edits img').naturalWidth") == 128
    pressed = "[...document.querySelectorAll('#photos [aria-pressed=true]')].map(one => one.ariaLabel)"
    assert page.run(pressed) == []
    page.page.click('[aria-label="Style of winter"]')
    page.wait("paint.edits[0].source.name === 'winter'")
    assert page.run(pressed) == ["Style of winter"]
    page.page.check('input[name="part"][value="class"]')
    assert page.run(pressed) == []


@pytest.mark.parametrize("size", [(1440, 860), (1280, 720), (390, 844)])
def test_pen_and_view_leave_the_map_free(browser, server, size):
    page = Page(browser, server.url, size=size)
    try:
        for name in ("pen", "display"):
            page.page.click(f"#{name}")
            page.page.wait_for_selector(f"#{name}-dialog", state="visible")
            assert apart(box(page, f"#{name}-dialog"), box(page, "#map")), name
            assert (
                page.run(
                    f"getComputedStyle(document.getElementById('{name}-dialog'), '::backdrop').backgroundColor"
                )
                == "rgba(0, 0, 0, 0)"
            )
            page.page.keyboard.press("Escape")
            page.page.wait_for_selector(f"#{name}-dialog", state="hidden")
        assert page.page.locator("#clear").is_visible()
    finally:
        page.close()


def test_objects_models_and_keys_are_explained(page):
    page.choose_model("demo_inade")
    notes = []
    for text in ("New each", "None"):
        page.page.click(f"text={text}")
        notes.append(page.page.locator("#object-note").inner_text())
    assert all(notes) and notes[0] != notes[1]
    assert page.page.locator("#model-note").inner_text() == "14 classes, 128 x 128, style per object"
    page.choose_model("demo_spade")
    assert page.page.locator("#model-note").inner_text() == "14 classes, 128 x 128, one style"
    page.page.click("#help")
    text = page.page.locator("#help-dialog").inner_text()
    assert "Arrow keys" in text and "Enter" in text and "right" not in text


def test_messages_are_few_and_escape_closes_them(page):
    for n in range(4):
        page.give("#open", f"wrong{n}.json", b"{", "application/json")
        page.wait(f"document.getElementById('notices').textContent.includes('wrong{n}')")
    assert page.run("document.querySelectorAll('.notice').length") <= 2
    page.page.click("h1")
    page.page.keyboard.press("Escape")
    assert page.notices() == ""


def test_the_first_use_of_a_style_says_so_over_the_picture(page):
    page.run(
        "() => { const ask = fetch; globalThis.fetch = async (...all) => {"
        "if (String(all[0]).includes('predict')) await new Promise((done) => setTimeout(done, 900));"
        "return ask(...all); }; }"
    )
    page.page.click('[aria-label="Style of sunset"]')
    page.page.wait_for_selector("#wait", state="visible")
    assert "First use of this style" in page.page.locator("#wait").inner_text()
    assert not apart(box(page, "#wait"), box(page, "#picture"))
    page.settle()
    assert page.page.locator("#wait").is_hidden()
    page.page.click('[aria-label="Style of winter"]')
    time.sleep(1)
    assert page.page.locator("#wait").is_hidden(), "only the first time"
    page.settle()


def test_styles_are_made_ready_while_nobody_paints(page):
    page.choose_model("demo_inade")
    count = "paint.renderer.used.size"
    page.page.mouse.move(*page.at(30, 30))
    page.page.mouse.down()
    before = page.run(count)
    time.sleep(3.5)
    assert page.run(count) == before, "not during a stroke"
    page.page.mouse.up()
    page.settle()
    for signature in (
        "png_sample_style",
        "png_synthesize_style",
        "png_encode_style",
        "png_encode_style_label",
    ):
        page.wait(f"paint.renderer.used.has('demo_inade {signature}')")
    assert page.run("[paint.edits.length, paint.live.running]") == [0, False]


def test_the_pill_is_red_only_while_the_server_is_away(page):
    page.run(
        "() => { paint.screen.tell({ state: 'lost', text: '' }); paint.screen.tell({ state: 'busy', text: '' }); }"
    )
    time.sleep(0.6)
    assert page.run("document.getElementById('alive').dataset.state") == "busy"
