"""The shipped clVAE run: levels of a class change that class, random styles are of a piece."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from semantic_synthesis import data
from semantic_synthesis.inference import load_run
from semantic_synthesis.restyling import apply_edits, parse_edit

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "checkpoints" / "demo_clvae"
SCENES = ROOT / "datasets" / "scenes"

pytestmark = pytest.mark.skipif(not DEMO.exists(), reason="the shipped run is not in this checkout")


@pytest.fixture(scope="module")
def run():
    return load_run(str(DEMO))


def maps(run, name):
    label = data.read_label(SCENES / f"{name}_label.png", run.table)
    return label, data.read_instance(SCENES / f"{name}_instance.png")


ENCODE = """
import sys
import tensorflow as tf
from semantic_synthesis import data
from semantic_synthesis.data import ClassTable
from semantic_synthesis.serving.live_run import LiveRun
demo, scenes = sys.argv[1:]
served = LiveRun("demo", demo).open()
photo = data.read_image(f"{scenes}/style_sunset.png")[None]
label = data.read_label(f"{scenes}/village_label.png", ClassTable.from_dict(served.config.class_table))[None]
instance = data.read_instance(f"{scenes}/village_instance.png")[None]
style = served.function("encode_style")(
    image=tf.constant(photo), label=tf.constant(label, tf.uint8), instance=tf.constant(instance)
)
print(bool(tf.reduce_all(tf.math.is_finite(style["z"]))))
"""


def test_the_graph_optimisers_have_no_complaint():
    """One that fails leaves a whole function as it was and writes an error into the server's terminal."""
    done = subprocess.run([sys.executable, "-c", ENCODE, DEMO, SCENES], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
    assert "meta_optimizer" not in done.stderr


@pytest.mark.parametrize("name, label", [("tree", "village"), ("house", "village"), ("water", "lake")])
def test_coarse_levels_of_a_class_change_the_class(run, name, label):
    """From another photo: its own pixels much more than those of others."""
    label, instance = maps(run, label)
    layout = run.layout(label, instance)
    style = run.sample_style([2], layout)
    source = f"{SCENES / 'style_sunset.png'},{SCENES / 'style_sunset_label.png'}"
    edit = parse_edit(f"class:{name}/2-4={source}", run.table.names)
    before, after = (
        run.synthesize(layout, s)[0].astype(float)
        for s in (style, apply_edits(run, [edit], label, instance, style))
    )
    inside, change = label == run.table.names.index(name), np.abs(after - before).mean(-1)
    assert change[inside].mean() > 2 * change[~inside].mean()
    assert change[inside].mean() > 3


def test_random_styles_are_those_of_photos(run):
    """The shipped prior is a fitted one: classes vary together."""
    prior = run.method.prior
    assert np.linalg.norm(prior.looks.numpy()) > 5
    styles = run.sample_style(range(500))["class_latents"].numpy()  # [N,5,C,Z]
    sky, water = (styles[:, 3, run.table.names.index(name)] for name in ("sky", "water"))
    correlation = np.corrcoef(sky.T, water.T)[: sky.shape[1], sky.shape[1] :]
    assert np.abs(correlation).max() > 0.5
