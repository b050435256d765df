"""Edits of config.json and odd numbers on the command line: one line that names the file or the flag."""

import json
import shutil
import subprocess
import sys

import pytest
from helpers import REPOSITORY, layout_map, shallow_networks, write_run

from semantic_synthesis import one_picture, runs
from semantic_synthesis.config import CONFIG_FILE, Config
from semantic_synthesis.evaluation.generating import GenerateOptions, generate
from semantic_synthesis.options import options_of
from semantic_synthesis.pictures import write_png

ODD = [None, "", "x", "\ud800", "../x", -1, 0, 3, 10**7, 2**31, 10**30, 1e308, float("nan"), float("inf"),
       True, [], {}]  # fmt: skip


@pytest.fixture(autouse=True)
def little_memory(monkeypatch):
    """A third of a machine's memory would be too much for a test."""
    monkeypatch.setattr("semantic_synthesis.layers.initialization.memory_for_weights", lambda: 10**8)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("edited"))
    shutil.copy(folder / CONFIG_FILE, folder / "before.json")
    return folder


def opened(run_dir, path, value):
    """What becomes of the run whose config.json has `value` at a path of keys; the message, None where it opens."""
    values = json.loads((run_dir / "before.json").read_text())
    place = values
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (run_dir / CONFIG_FILE).write_text(json.dumps(values))
    try:
        config = runs.load_config(run_dir)
        if path[0] != "class_table":
            with shallow_networks():
                runs.build_method(config, training=False, initial_weights=False)
    except (ValueError, OSError) as error:  # what ends as one line
        return str(error)
    return None


def network_options():
    own = options_of(Config.class_for("spade"))
    return [name for name, one in own.items() if one.metadata["role"] == "network"]


@pytest.mark.parametrize("name", [*network_options(), "seed", "lr", "precision"])
def test_every_option(run_dir, name):
    for value in ODD:
        message = opened(run_dir, [name], value)
        assert message is None or (str(run_dir) in message and "\n" not in message), (value, message)


@pytest.mark.parametrize(
    "path",
    [
        [],
        ["name"],
        ["names"],
        ["colors"],
        ["raw_ids"],
        ["unknown"],
        ["names", 0],
        ["colors", 0],
        ["raw_ids", 0],
    ],
)
def test_the_class_table(run_dir, path):
    for value in ODD:
        message = opened(run_dir, ["class_table", *path], value)
        assert message is None or (str(run_dir) in message and "\n" not in message), (value, message)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("num_generator_filters", 10_000_000, "too much memory"),
        ("num_generator_filters", -1, "num_generator_filters is -1; expected 0 or more"),
        ("z_dim", 10**30, "z_dim is 1000000000000000000000000000000; expected an integer of 64 bits"),
        ("aspect_ratio", 0.0, "aspect_ratio is 0.0; expected width / height"),
        ("aspect_ratio", float("nan"), "aspect_ratio is nan; expected a finite number"),
        ("crop_size", None, "crop_size is null"),
        ("class_table", "", "class_table: expected a JSON object, found str"),
        ("norm_G", "x", "norm_G is 'x'; expected"),
    ],
)
def test_the_line_says_what(run_dir, name, value, words):
    message = opened(run_dir, [name], value)
    assert message.startswith(str(run_dir / CONFIG_FILE)) and words in message


# Odd numbers as flags


def test_odd_sizes_and_seeds(tmp_path):
    write_png(tmp_path / "map.png", layout_map(16, 16))

    def make(**options):
        one_picture.make_pictures(
            one_picture.OneOptions(
                label_filename=str(tmp_path / "map.png"), results_dir=str(tmp_path / "r"), **options
            )
        )

    with pytest.raises(
        ValueError, match=r"output of 67108864x1 pixels; expected positive sizes, sides up to 16384"
    ):
        make(output_width=67108864, output_height=1)
    with pytest.raises(ValueError, match=r"--seed 9223372036854775807: expected integers of 64 bits"):
        make(seed=2**63 - 1, num_samples=2)
    with pytest.raises(ValueError, match=r"--seed 9223372036854775808: expected integers of 64 bits"):
        generate(GenerateOptions(label_dir=str(tmp_path), seed=2**63, results_dir=str(tmp_path / "r")))
    assert not (tmp_path / "r").exists()


def test_a_seed_that_no_generator_takes():
    code = (
        "import sys; from semantic_synthesis import options, __main__; import importlib;"
        "module, name, _ = __main__.COMMANDS[sys.argv[1]];"
        "found = getattr(importlib.import_module('semantic_synthesis.' + module), name);"
        "from absl import flags;"
        "options.define_flags((found if name == 'COMMAND' else found[sys.argv[1]]).options);"
        "flags.FLAGS(['x', sys.argv[2]])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "one", f"--seed={2**63}"], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert "flag --seed=" in result.stderr.splitlines()[-1] and result.returncode == 1
