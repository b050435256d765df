"""The page's modules that know no browser: their own tests under node, and agreement with this package."""

import base64
import json
import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest
import tensorflow as tf
from helpers import REPOSITORY

from semantic_synthesis import data

NODE = shutil.which("node")
PAGE = REPOSITORY / "semantic_synthesis" / "serving" / "page"


def _version():
    if NODE is None:
        return (0, 0)
    found = subprocess.run([NODE, "--version"], capture_output=True, text=True).stdout
    return tuple(int(number) for number in re.findall(r"\d+", found)[:2])


pytestmark = pytest.mark.skipif(_version() < (20, 19), reason="needs node 20.19 or newer on the PATH")


def run_node(script, values):
    """What a module script makes of JSON values, as JSON."""
    code = f"const values = JSON.parse(await new Response(process.stdin).text());\n{script}"
    done = subprocess.run(
        [NODE, "--input-type=module", "-e", code],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        cwd=PAGE,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_modules_own_tests():
    files = sorted(str(path) for path in (REPOSITORY / "tests" / "page").glob("*.test.mjs"))
    done = subprocess.run([NODE, "--test", *files], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-5000:]
    assert int(re.search(r"pass (\d+)", done.stdout)[1]) >= 32


def test_png_files_are_read_as_they_were_written():
    """All ids of 8 and 16 bits, packed and not, by OpenCV and by the graph's decoder."""
    rng = np.random.default_rng(0)
    for most, small in ((256, False), (256, True), (65536, False), (65536, True)):
        ids = rng.integers(0, most, (61, 47))
        ids.ravel()[:256] = np.arange(256)
        text = run_node(
            "import { encodePng, toBase64 } from './png.js';\n"
            "console.log(JSON.stringify(toBase64(await encodePng(47, 61, values.ids, undefined, values))))",
            {"ids": ids.ravel().tolist(), "small": small},
        )
        png = base64.b64decode(text)
        np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED), ids)
        kind = tf.uint8 if most == 256 else tf.uint16
        np.testing.assert_array_equal(tf.io.decode_png(png, dtype=kind)[..., 0], ids)


def test_regions_are_numbered_as_in_this_package():
    rng = np.random.default_rng(1)
    layouts = []
    for _ in range(10):
        label = rng.integers(0, 5, (9, 11))
        instance = np.where(rng.random((9, 11)) < 0.5, 0, rng.choice([3, 7, 300, 65535], (9, 11)))
        layouts.append((label, instance))
    found = run_node(
        "import { regions } from './styles.js';\n"
        "console.log(JSON.stringify(values.map(([label, instance]) => [...regions(label, instance).of])))",
        [[label.ravel().tolist(), instance.ravel().tolist()] for label, instance in layouts],
    )
    for (label, instance), of in zip(layouts, found, strict=True):
        np.testing.assert_array_equal(np.reshape(of, (9, 11)), data.regions(label, instance))
