"""A real browser in front of a real paint server, for tests and benchmarks/painting.py."""

import base64
import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import cv2
import numpy as np
from helpers import REPOSITORY
from PIL import Image

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
MARKUP = "<img src=x onerror=alert(1)>"  # the name of a class
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class PaintServer:
    """The command in its own process, that can be stopped and started again on its port."""

    def __init__(self, *run_dirs, flags=()):
        self.port, self.flags = free_port(), [*(f"--checkpoint_dir={path}" for path in run_dirs), *flags]
        self.url, self.process = f"http://127.0.0.1:{self.port}", None

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "semantic_synthesis", "paint", f"--rest_api_port={self.port}", "--noopen_browser",
             *self.flags],
            cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        line = self.process.stdout.readline()
        assert self.url in line, line
        return self

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)


@contextlib.contextmanager
def chromium():
    """A browser of Playwright's over the system's Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Page:
    """One tab on the page, with what it asked for and said."""

    def __init__(self, browser, url, model=None, scale=1, size=(1440, 860), **context):
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            device_scale_factor=scale,
            accept_downloads=True,
            **context,
        )
        self.page, self.url, self.asked, self.said = self.context.new_page(), url, [], []
        self.page.on("request", lambda request: self.asked.append((request.url, request.post_data)))
        self.page.on(
            "response", lambda answer: answer.status >= 400 and self.said.append(f"error: {answer.text()}")
        )
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.open(model)

    def open(self, model=None):
        """Loads the page, or loads it again, and waits for a picture."""
        self.page.goto(self.url)
        self.wait("paint.picture.bytes !== null && !paint.live.running")
        if model:
            self.choose_model(model)

    def choose_model(self, name):
        self.page.select_option("#model", name)
        self.wait(f"paint.model.name === {json.dumps(name)}")
        self.settle()

    def wait(self, condition, seconds=90):
        """Polls: the page's policy allows no wait_for_function."""
        end = time.monotonic() + seconds
        while not self.run(f"typeof paint !== 'undefined' && Boolean({condition})"):
            assert time.monotonic() < end, (condition, self.said, self.notices())
            time.sleep(0.05)

    def run(self, script, *values):
        return self.page.evaluate(script, *values)

    def begin_objects(self):
        """An empty map of a run with objects; every stroke is a new one."""
        self.choose_model("demo_inade")
        self.page.click("#start")
        self.page.click("#new-empty")
        self.page.click("text=New each")

    def settle(self):
        """Waits until the last change is in the picture."""
        self.run("paint.live.settled()")

    def notices(self):
        return self.run("document.getElementById('notices').textContent")

    def map(self):
        """(label, instance) of the painting, [H,W]."""
        height, width, *ids = self.run(
            "[paint.painting.height, paint.painting.width, [...paint.painting.label], [...paint.painting.instance]]"
        )
        return [np.array(one).reshape(height, width) for one in ids]

    def at(self, x, y, pane="map"):
        """The middle of a pixel of the map on the screen."""
        left, top, scale = self.run(
            "pane => { const box = document.querySelector(`#${pane} .stage`).getBoundingClientRect();"
            "return [box.left, box.top, box.width / paint.painting.width]; }",
            pane,
        )
        return left + (x + 0.5) * scale, top + (y + 0.5) * scale

    def draw(self, *points, tool=None, class_id=None, size=None, modifiers=()):
        """Drags the mouse over pixels of the map."""
        if class_id is not None:
            self.page.click(f"#classes .class:nth-of-type({class_id + 1}) .name")
        if tool:
            self.page.click(f'#tools [data-tool="{tool}"]')
        if size:
            self.run(
                "size => { const one = document.getElementById('size'); one.value = size;"
                "one.dispatchEvent(new Event('input')); }",
                size,
            )
        for key in modifiers:
            self.page.keyboard.down(key)
        self.page.mouse.move(*self.at(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point), steps=4)
        self.page.mouse.up()
        for key in modifiers:
            self.page.keyboard.up(key)

    def sent(self, signature=None):
        """Rows of predict requests so far, of one signature, the newest last."""
        found = []
        for url, body in self.asked:
            if url.endswith(":predict"):
                request = json.loads(body)
                if signature in (None, request["signature_name"]):
                    found += request["instances"]
        return found

    def save(self, what):
        """The bytes of what the Save dialog downloads."""
        self.page.click("#save")
        with self.page.expect_download() as found:
            self.page.click(f'[data-save="{what}"]')
        with open(found.value.path(), "rb") as file:
            return file.read()

    def give(self, button, name, content, kind="image/png"):
        """Chooses a file after a click on a button."""
        with self.page.expect_file_chooser() as found:
            self.page.click(button)
        found.value.set_files({"name": name, "mimeType": kind, "buffer": content})

    def close(self):
        self.context.close()


def decode(content):
    """PNG bytes or base64 of them -> array; RGB for pictures, the indices of palette files."""
    content = base64.b64decode(content) if isinstance(content, str) else content
    if content[25] == 3:  # OpenCV would give the colours
        return np.asarray(Image.open(io.BytesIO(content)))
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    return found if found.ndim == 2 else found[..., ::-1]
