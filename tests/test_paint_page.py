"""The painting page in a real browser: python -m pytest -m browser; needs Chromium and Playwright."""

import importlib.util
import json
import re
import time
from pathlib import Path

import exports
import numpy as np
import pytest
from browser import MARKUP, Page, decode
from helpers import tiny_config

from semantic_synthesis import data
from semantic_synthesis.files import shipped
from semantic_synthesis.one_picture import OneOptions, make_pictures

pytest_plugins = ["fixtures_paint"]
pytestmark = pytest.mark.browser
AXE = importlib.util.find_spec("axe_core_python")


def disk(label, x, y, size, value):
    """A round pen by its definition: pixel centres within size / 2, as NumPy sees it."""
    rows, columns = np.indices(label.shape)
    centre = 0.5 if size % 2 == 0 else 0.0
    label[(rows - y + centre) ** 2 + (columns - x + centre) ** 2 <= (size / 2) ** 2] = value


# Painting


def test_brush_line_rectangle_fill_undo_redo(page):
    page.page.click("#start")
    page.page.click("#new-empty")
    states = [page.map()[0]]
    assert (states[0] == 0).all()
    page.draw((20, 20), class_id=7, tool="brush", size=9)
    expected = states[0].copy()
    disk(expected, 20, 20, 9, 7)
    np.testing.assert_array_equal(page.map()[0], expected)
    states.append(expected)
    page.draw((10, 60), (100, 60), class_id=3, tool="line", size=1)
    expected = expected.copy()
    expected[60, 10:101] = 3
    np.testing.assert_array_equal(page.map()[0], expected)
    states.append(expected)
    page.draw((110, 100), (90, 80), class_id=10, tool="rectangle")
    expected = expected.copy()
    expected[80:101, 90:111] = 10
    np.testing.assert_array_equal(page.map()[0], expected)
    states.append(expected)
    page.draw((100, 90), class_id=11, tool="fill")
    expected = expected.copy()
    expected[expected == 10] = 11
    np.testing.assert_array_equal(page.map()[0], expected)
    states.append(expected)
    for state in states[-2::-1]:
        page.page.keyboard.press("Control+z")
        np.testing.assert_array_equal(page.map()[0], state)
    for state in states[1:]:
        page.page.click("#redo")
        np.testing.assert_array_equal(page.map()[0], state)
    page.settle()
    np.testing.assert_array_equal(decode(page.sent("png")[-1]["label_png_bytes"]["b64"]), states[-1])
    np.testing.assert_array_equal(decode(page.save("label")), states[-1])


def test_a_stroke_is_one_step_and_escape_gives_it_up(page):
    before = page.map()[0]
    page.draw((5, 5), (60, 40), (100, 5), class_id=8, tool="brush", size=7)
    assert (page.map()[0] == 8).sum() > (before == 8).sum() + 300
    page.page.keyboard.press("Control+z")
    np.testing.assert_array_equal(page.map()[0], before)
    page.page.mouse.move(*page.at(50, 50))
    page.page.mouse.down()
    page.page.mouse.move(*page.at(90, 90))
    page.page.keyboard.press("Escape")
    np.testing.assert_array_equal(page.map()[0], before)
    page.page.mouse.up()


@pytest.mark.parametrize("scale", [1, 2])
def test_every_id_arrives_exactly(browser, server, scale):
    """A map of all ids 0 to 255, opened, painted pixel by pixel, sent and saved."""
    page = Page(browser, server.url, "all256", scale)
    try:
        ids = np.random.default_rng(0).permutation(1024).reshape(32, 32) % 256
        page.give("#open", "ids.png", exports.png(ids.astype(np.uint8)))
        page.wait("paint.painting.done.length === 1")
        np.testing.assert_array_equal(page.map()[0], ids)
        page.run("document.getElementById('size').value = 1")
        for one in range(256):
            page.run("id => paint.choose(id)", one)
            page.page.mouse.click(*page.at(one % 32, one // 32))
        ids.ravel()[:256] = np.arange(256)
        page.settle()
        np.testing.assert_array_equal(page.map()[0], ids)
        np.testing.assert_array_equal(decode(page.sent("png")[-1]["label_png_bytes"]["b64"]), ids)
        np.testing.assert_array_equal(decode(page.save("label")), ids)
        assert not [line for line in page.said if line.startswith("error")], page.said
    finally:
        page.close()


def test_pictures_come_while_the_pen_is_down_and_never_late(page):
    shown = "performance.getEntriesByName('picture').map(one => one.detail.version)"
    page.run("paint.warmUp.later = () => clearTimeout(paint.warmUp.timer)")  # it asks too, in silence
    page.run("paint.warmUp.later()")
    page.wait("!paint.warmUp.running")
    before = len(page.run(shown))
    page.run(
        "() => { const ask = fetch; let now = 0; globalThis.most = 0; globalThis.fetch = async (...all) => {"
        "globalThis.most = Math.max(most, ++now); try { return await ask(...all); } finally { now--; } }; }"
    )
    page.page.mouse.move(*page.at(5, 100))
    page.page.mouse.down()
    end = time.monotonic() + 2
    while time.monotonic() < end:
        for x in (20, 60, 100, 60):
            page.page.mouse.move(*page.at(x, 100), steps=5)
        page.run("paint.choose((paint.classId + 1) % 14)")
        page.page.mouse.move(*page.at(10, 100))
    during = page.run(shown)[before:]
    page.page.mouse.up()
    page.settle()
    versions = page.run(shown)[before:]
    assert len(during) > 3, "pictures while the pen is down"
    assert versions == sorted(versions) and versions[-1] == page.run("paint.painting.version")
    assert page.run("most") == 1, "one request at a time"


def test_eyedropper_lock_and_search(page):
    label = page.map()[0]
    y, x = np.argwhere(label == 10)[0]
    page.draw((int(x), int(y)), tool="pick")
    assert page.run("paint.classId") == 10
    page.page.keyboard.press("/")
    page.page.keyboard.type("wat")
    assert page.run("[...document.querySelectorAll('.class')].filter(row => !row.hidden).length") == 1
    page.page.keyboard.press("Enter")
    assert page.run("paint.classId") == 7
    page.page.hover("#classes .class:nth-of-type(1)")
    page.page.click('[aria-label^="Lock sky"]')
    page.draw((0, 0), (127, 127), tool="rectangle")
    after = page.map()[0]
    np.testing.assert_array_equal(after == 0, label == 0)
    assert set(np.unique(after)) == {0, 7}


def test_zoom_keeps_painting_exact(page):
    page.page.mouse.move(*page.at(100, 30))
    page.page.mouse.wheel(0, -1200)
    page.draw((100, 30), class_id=2, tool="brush", size=1)
    assert page.map()[0][30, 100] == 2 and page.run("paint.camera.zoom") > 10
    page.page.keyboard.press("0")
    assert page.run("paint.camera.zoom") == 1


# Pictures are the command line's


def test_the_picture_is_the_command_lines(page, tmp_path):
    page.draw((30, 90), (90, 100), class_id=8, tool="brush", size=20)
    page.page.fill("#seed", "7")
    page.page.press("#seed", "Tab")
    page.settle()
    (tmp_path / "map.png").write_bytes(page.save("label"))
    picture = decode(page.save("picture"))
    options = OneOptions(label_filename=str(tmp_path / "map.png"), seed=7, results_dir=str(tmp_path))
    path = make_pictures(options)[0]
    exports.assert_same_pixels(picture, decode(Path(path).read_bytes()))


def test_one_object_is_restyled_and_only_it_changes(page, tmp_path):
    page.choose_model("demo_inade")
    page.page.click("#start")
    page.page.click("#layouts button:has-text('village')")
    page.settle()
    label, instance = page.map()
    ids, counts = np.unique(instance[instance > 0], return_counts=True)
    chosen = int(ids[counts.argmax()])
    y, x = np.median(np.argwhere(instance == chosen), axis=0).astype(int)
    before = decode(page.save("picture")).astype(int)
    page.page.mouse.click(*page.at(int(x), int(y), "picture"))
    assert page.run("paint.object") == instance[y, x] != 0
    chosen = int(instance[y, x])
    page.page.click("#dice")
    page.settle()
    style = page.sent("png_synthesize_style")[-1]
    base = page.sent("png_sample_style")
    rows = [np.array(one["noise"]) for one in (style,)]
    assert base[0]["seed"] == page.run("paint.seed") and len(rows[0]) == len(
        np.unique(data.regions(label, instance))
    )
    after = decode(page.save("picture")).astype(int)
    change = np.abs(after - before).mean(-1)
    inside = instance == chosen
    assert change[inside].mean() > 5 and change[~inside].mean() < change[inside].mean() / 10
    (tmp_path / "map.png").write_bytes(page.save("label"))
    (tmp_path / "objects.png").write_bytes(page.save("objects"))
    seed = page.run("paint.edits[0].source.seed")
    options = OneOptions(
        checkpoint_dir="demo_inade",
        label_filename=str(tmp_path / "map.png"),
        instance_filename=str(tmp_path / "objects.png"),
        seed=page.run("paint.seed"),
        restyle=(f"instance:{chosen}=seed:{seed}",),
        results_dir=str(tmp_path),
    )
    exports.assert_same_pixels(after.astype(np.uint8), decode(Path(make_pictures(options)[0]).read_bytes()))


def test_style_photos_and_their_strength(page, tmp_path):
    """A shipped photo with its map for the whole picture, half way, as --restyle does it."""
    page.choose_model("demo_inade")
    page.page.check('input[name="part"][value="whole"]')
    page.page.click('[aria-label="Style of winter"]')
    page.wait("paint.edits.length === 1")
    page.run(
        "const one = document.querySelector('#edits input'); one.value = 50; one.dispatchEvent(new Event('input'))"
    )
    page.settle()
    picture = decode(page.save("picture"))
    (tmp_path / "map.png").write_bytes(page.save("label"))
    (tmp_path / "objects.png").write_bytes(page.save("objects"))
    photo = [str(shipped("datasets", "scenes", f"style_winter{end}.png")) for end in ("", "_label")]
    options = OneOptions(
        checkpoint_dir="demo_inade",
        label_filename=str(tmp_path / "map.png"),
        instance_filename=str(tmp_path / "objects.png"),
        seed=page.run("paint.seed"),
        restyle=(f"all={','.join(photo)}@0.5",),
        results_dir=str(tmp_path),
    )
    exports.assert_same_pixels(picture, decode(Path(make_pictures(options)[0]).read_bytes()))


def test_new_objects_and_moving_them(page):
    page.begin_objects()
    page.draw((30, 30), class_id=11, tool="brush", size=11)
    page.draw((90, 30), size=11)
    label, instance = page.map()
    assert [instance[30, 30], instance[30, 90], instance[0, 0]] == [1, 2, 0]
    page.draw((30, 30), (30, 90), tool="move")
    label, instance = page.map()
    assert instance[90, 30] == 1 and instance[30, 30] == 0 and label[30, 30] == 0
    page.draw((90, 30), (90, 90), tool="move", modifiers=("Alt",))
    label, instance = page.map()
    assert [instance[30, 90], instance[90, 90]] == [2, 3] and label[90, 90] == 11


# Nothing is lost


def test_save_reload_and_go_on(page, server):
    page.draw((30, 90), (90, 100), class_id=9, tool="brush", size=15)
    page.page.fill("#seed", "5")
    page.page.press("#seed", "Tab")
    page.settle()
    label, picture = page.map()[0], page.save("picture")
    project = page.save("project")
    page.wait("document.getElementById('kept').textContent.includes('kept')")
    time.sleep(1)
    page.open()
    page.settle()
    np.testing.assert_array_equal(page.map()[0], label)
    assert page.run("paint.seed") == 5 and page.save("picture") == picture
    page.page.click("#clear")
    assert (page.map()[0] != label).any()
    page.give("#open", "mine.json", project, "application/json")
    page.wait("paint.painting.done.length === 0")
    np.testing.assert_array_equal(page.map()[0], label)
    page.draw((5, 5), class_id=2)
    assert page.map()[0][5, 5] == 2


def test_a_wrong_file_is_refused_with_the_readers_line(page, tmp_path):
    before = page.map()[0]
    wrong = tmp_path / "wrong.png"
    wrong.write_bytes(exports.png((before + 90).astype(np.uint8)))
    page.give("#open", "holiday.png", wrong.read_bytes())
    page.wait("document.getElementById('notices').textContent !== ''")
    with pytest.raises(ValueError) as error:
        data.read_label(str(wrong), data.ClassTable.from_dict(tiny_config().class_table))
    line = " ".join(str(error.value).split()).replace(str(wrong), "holiday.png")
    assert page.notices() == line
    np.testing.assert_array_equal(page.map()[0], before)
    page.page.click("#notices button")
    page.give("#open", "broken.json", b"{", "application/json")
    page.wait("document.getElementById('notices').textContent.includes('no JSON')")
    page.said.clear()  # the browser reports every 400


def test_the_server_stops_and_comes_back(page, server):
    server.stop()
    page.draw((30, 90), (90, 100), class_id=9, tool="brush", size=15)
    page.wait("document.getElementById('alive').textContent.includes('waiting')")
    page.draw((30, 20), (90, 20), class_id=2, tool="brush", size=15)
    label = page.map()[0]
    time.sleep(1)
    server.start()
    page.settle()
    np.testing.assert_array_equal(page.map()[0], label)
    np.testing.assert_array_equal(decode(page.sent("png")[-1]["label_png_bytes"]["b64"]), label)
    assert page.run("document.getElementById('alive').dataset.state") == "idle"
    page.said.clear()  # the browser reports every refused connection


def test_two_tabs_keep_what_is_theirs(browser, server):
    one = Page(browser, server.url)
    two = Page(browser, server.url)  # another context: another person
    three = Page.__new__(Page)
    three.__dict__.update(one.__dict__)
    three.page = one.context.new_page()
    three.open()
    try:
        one.draw((5, 5), class_id=2, tool="brush")
        three.draw((50, 50), class_id=3, tool="brush")
        time.sleep(1.2)
        for tab, place in ((one, (5, 5)), (three, (50, 50))):
            expected = tab.map()[0]
            tab.open()
            np.testing.assert_array_equal(tab.map()[0], expected)
            assert tab.map()[0][place[1], place[0]] in (2, 3)
    finally:
        one.close()
        two.close()


# Security


def test_the_policy_blocks_scripts_and_fetches(page):
    page.run(
        "const script = document.createElement('script'); script.textContent = 'globalThis.injected = 1';"
        "document.head.append(script);"
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"injected=1\">')"
    )
    time.sleep(0.3)
    assert page.run("typeof injected") == "undefined"
    blocked = page.run("fetch('https://example.org/').then(() => 'through', error => String(error))")
    assert "TypeError" in blocked
    assert any("Content Security Policy" in line for line in page.said)
    page.asked = [one for one in page.asked if "example.org" not in one[0]]
    page.said.clear()


def test_a_class_name_with_markup_stays_text(page):
    page.choose_model("all256")
    assert page.run("document.querySelector('.class .name').textContent") == MARKUP
    page.page.mouse.move(*page.at(3, 3))
    time.sleep(0.2)
    assert MARKUP in page.run("document.getElementById('where').textContent")
    assert page.run("document.querySelectorAll('img[src=x]').length") == 0


# For everybody


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.skipif(AXE is None, reason="no axe-core: pip install axe-core-python")
def test_axe_finds_nothing(browser, server, scheme):
    from axe_core_python.sync_playwright import Axe

    for model, size in (("demo_spade", (1440, 860)), ("demo_inade", (390, 800))):
        page = Page(browser, server.url, model, size=size, color_scheme=scheme, bypass_csp=True)
        try:
            if model == "demo_inade":
                page.page.click("#dice")
                page.page.check('input[name="part"][value="class"]')
                page.page.click("#dice")
                page.settle()
            for button in (None, "#start", "#save", "#pen", "#display", "#variations", "#help"):
                if button:
                    page.page.click(button)
                    time.sleep(0.3)
                found = Axe().run(page.page)["violations"]
                shown = [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found]
                assert not shown, (model, scheme, button, shown)
                if button:
                    page.page.keyboard.press("Escape")
        finally:
            page.close()


def test_everything_is_reached_by_keyboard(page):
    """Tab comes by every control; the map is painted without a pointer."""
    page.choose_model("demo_inade")
    page.page.click("h1")
    seen = set()
    for _ in range(80):
        page.page.keyboard.press("Tab")
        seen.add(
            page.run(
                "document.activeElement.id || document.activeElement.name || document.activeElement.ariaLabel"
            )
        )
    needed = {"model", "start", "open", "save", "help", "size", "pen", "display", "map", "live", "before", "variations",
              "search", "class", "object", "seed", "dice", "part", "Brush", "Style of winter"}  # fmt: skip
    assert needed <= seen, needed - seen
    page.page.focus("#map")
    for key in ("r", "5", "Enter", "Shift+ArrowRight", "Shift+ArrowDown", "Enter"):
        page.page.keyboard.press(key)
    label = page.map()[0]
    assert (label[64:73, 64:73] == 4).all()
    page.page.keyboard.press("b")
    page.page.keyboard.press("ArrowLeft")
    page.page.keyboard.press("2")
    page.page.keyboard.press("Enter")
    assert page.map()[0][72, 71] == 1
    assert re.search(r"71, 72\s+cloud", page.run("document.getElementById('where').textContent"))


@pytest.mark.parametrize("width", [360, 700, 900, 1280, 2560])
def test_no_width_needs_scrolling_sideways(browser, server, width):
    page = Page(browser, server.url, size=(width, 800))
    try:
        assert page.run("document.documentElement.scrollWidth") <= width
        page.page.select_option("#model", "demo_inade")  # which has objects, too
        page.page.wait_for_selector("#object-mode:visible")
        assert page.run("document.documentElement.scrollWidth") <= width
        for pane in ("map", "picture"):
            box = page.page.locator(f"#{pane} .stage").bounding_box()
            assert box["width"] > 200 and box["height"] > 200, box
    finally:
        page.close()


def test_dropping_and_pasting_files(page):
    label = np.full((128, 128), 8, np.uint8)
    drop = """([name, kind, text, type]) => {
        const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], name, { type: kind }));
        const init = type === "paste" ? { clipboardData: data } : { dataTransfer: data };
        const Event = type === "paste" ? ClipboardEvent : DragEvent;
        document.getElementById("map").dispatchEvent(new Event(type, { bubbles: true, cancelable: true, ...init }));
    }"""
    page.run(drop, ["map.png", "image/png", exports.base64_of(exports.png(label)), "drop"])
    page.wait("paint.painting.label[0] === 8")
    label[:] = 9
    page.run(drop, ["image.png", "image/png", exports.base64_of(exports.png(label)), "paste"])
    page.wait("paint.painting.label[0] === 9")
    photo = exports.base64_of(shipped("datasets", "scenes", "style_night.png").read_bytes())
    page.run(drop, ["night.jpg", "image/jpeg", photo, "drop"])
    page.wait("paint.edits.length === 1")
    assert json.loads(page.save("project"))["edits"][0]["source"]["name"] == "night.jpg"
