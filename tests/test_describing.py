"""`describe RUN`: the page of every shipped run, and its figures against what is counted by hand."""

import re

import numpy as np
import pytest
from helpers import REPOSITORY, conformance_options, shallow_networks, tiny_config

from semantic_synthesis import load, runs
from semantic_synthesis.describing import COMMAND, DescribeOptions, count_flops, describe, example_map, page
from semantic_synthesis.inference import Synthesizer
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.methods import METHODS

RUNS = sorted(path.parent.name for path in (REPOSITORY / "checkpoints").glob("*/config.json"))


QUICK = ("demo_clade", "demo_inade", "demo_spade")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in RUNS]
)
def test_page_of_a_shipped_run(name, capsys):
    assert describe(DescribeOptions(name)) == 0
    text, run = capsys.readouterr().out, load(name)
    variables = named_variables(run.method).values()
    total = sum(v.value.numpy().size for v in variables if v.trainable)
    assert f"{total:,}" in re.search(r"^all .*$", text, re.M)[0]
    height, width = run.size
    assert f"{width}x{height}" in text and f"{run.table.num_classes} of 'scenes'" in text
    for style in run.style_specs:
        assert f"style '{style}'" in text
    assert f"--crop_size={width}" in text and f"--lr={run.config.lr}" in text
    assert all(0.1 < float(cost) < 20 for cost in re.findall(r"([\d.]+) GFLOP", text))
    lines = [line for line in text.splitlines() if not line.lstrip(" '").startswith("--")]
    assert all(line.isprintable() and len(line) <= 120 for line in lines)  # options stay whole, to be copied


def test_dense_cost_is_that_of_the_kernels():
    """Every kernel of the generator, times the cells of its level: nothing depends on the map."""
    config = runs.load_config(runs.find_run("demo_spade")).replace(modulation="dense")
    model = runs.build_method(config, training=False, initial_weights=False)
    run = Synthesizer(config, model)
    layout = run.layout(example_map(run))
    model.fold()
    sides = {"head_0": 4, "G_middle_0": 8, "G_middle_1": 8, "up_0": 16, "up_1": 32, "up_2": 64, "up_3": 128}
    expected = 0
    for name, variable in named_variables(model).items():
        part = name.split("/")[1]
        if name.endswith("kernel") and name.startswith(("generator/", "fc/")):
            expected += 2 * np.prod(variable.shape) * {**sides, "conv_img": 128}.get(part, 1) ** 2
    assert count_flops(model, layout, run.sample_style([0])) == expected


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_cost_of_any_method(method):
    with shallow_networks():
        config = tiny_config("", **conformance_options(method))
        bare = METHODS[method].without_features(config)
        model = runs.build_method(bare, training=False, initial_weights=False)
    run = Synthesizer(config, model)
    label = example_map(run)
    layout = run.layout(label, np.zeros_like(label) if run.instance_maps == "objects" else None)
    assert count_flops(model, layout, run.sample_style([0], layout)) > 1e5


def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(ValueError, match="describe RUN"):
        describe(DescribeOptions())
    with pytest.raises(FileNotFoundError, match=r"scenes_judge: no config\.json here"):
        list(page("scenes_judge"))
    assert COMMAND.argument == "checkpoint_dir"
