"""Fixtures of the tests in a real browser: a server with three runs, Chromium, a tab on the page."""

import browser as chromium
import pytest
from browser import MARKUP, Page, PaintServer
from helpers import random_arrays, tiny_config

from semantic_synthesis import data
from semantic_synthesis.runs import build_method, write_run


def make_run(folder, classes):
    """A tiny run of `classes` classes, one of which has markup for a name."""
    names = [MARKUP, *(f"kind {n}" for n in range(1, classes))]
    table = data.ClassTable.create("tiny", range(classes), names)
    config = tiny_config(folder, class_table=table.to_dict(), use_vae=True)
    write_run(folder, config, random_arrays(build_method(config, training=False)))
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    run_dir = make_run(tmp_path_factory.mktemp("runs") / "all256", 256)
    one = PaintServer("demo_spade", "demo_inade", run_dir).start()
    yield one
    one.stop()


@pytest.fixture(scope="session")
def browser():
    if chromium.CHROMIUM is None:
        pytest.skip("no Chromium on the PATH or in $CHROMIUM")
    pytest.importorskip("playwright", reason="no Playwright: pip install playwright")
    with chromium.chromium() as one:
        yield one


@pytest.fixture
def page(browser, server):
    one = Page(browser, server.url)
    yield one
    one.close()
    outside = [url for url, _ in one.asked if not url.startswith((server.url, "blob:", "data:"))]
    assert not outside, "the page fetches nothing from outside"
    assert not [line for line in one.said if line.startswith("error")], one.said
