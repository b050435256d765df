"""The export in other versions of TensorFlow: no code of this project, nothing but a loaded SavedModel.

    export OTHER_TENSORFLOWS=/venvs/tf215/bin/python:/venvs/tf218/bin/python
    python -m pytest -m versions tests/test_export_versions.py

Interpreters with TensorFlow and NumPy alone are enough.
"""

import os
import subprocess

import numpy as np
import pytest

from semantic_synthesis import data
from semantic_synthesis.files import shipped
from semantic_synthesis.inference import load_run
from semantic_synthesis.serving.export import ExportOptions, export

PROGRAM = """
import sys
import numpy as np, tensorflow as tf
folder, inputs, output = sys.argv[1:]
given = dict(np.load(inputs))
model = tf.saved_model.load(folder)
feed = {name: tf.constant(given[name]) for name in ("label", "z")}
found = {
    "picture": model.picture(feed)["image"],
    "compiled": tf.function(lambda x: model.picture(x)["image"], jit_compile=True)(feed),
    "seeded": model.signatures["serving_default"](label=feed["label"], seed=tf.constant([0], tf.int64))["image"],
}
np.savez(output, **found)
print(tf.__version__)
"""


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """(folder of the demo run's export, inputs file, picture that the run makes)."""
    folder = tmp_path_factory.mktemp("versions")
    run = load_run("demo_spade")
    label = data.read_label(str(shipped("datasets", "scenes", "lake_label.png")), run.table)
    layout = run.layout(label)
    style = run.sample_style([0])
    np.savez(folder / "inputs.npz", label=layout["label"].astype(np.uint8), z=style["z"])
    path = export(ExportOptions(checkpoint_dir="demo_spade", export_dir=str(folder)))
    return path, str(folder / "inputs.npz"), run.synthesize(layout, style).astype(int)


@pytest.mark.versions
@pytest.mark.parametrize("python", filter(None, os.environ.get("OTHER_TENSORFLOWS", "").split(os.pathsep)))
def test_another_tensorflow_gives_the_same_pictures_without_warnings(python, case, tmp_path):
    folder, inputs, right = case
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "1"}
    output = str(tmp_path / "found.npz")
    done = subprocess.run(
        [python, "-c", PROGRAM, folder, inputs, output],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "gradient" not in done.stderr.lower() and "WARNING:tensorflow" not in done.stderr
    print(done.stdout.strip())
    for name, picture in np.load(output).items():
        assert np.abs(picture.astype(int) - right).max() <= 1, name
