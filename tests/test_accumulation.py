"""--gradient_accumulation: a batch in parts trains as the whole one, one part at a time."""

import numpy as np
import pytest
from helpers import shallow_networks, state_arrays, train_steps
from test_training import make_trainer

from semantic_synthesis import runs
from semantic_synthesis.data import open_dataset
from semantic_synthesis.training import Trainer, make_strategy


@pytest.mark.parametrize("parts", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_gradients_of_parts_are_those_of_the_batch(parts, tmp_path):
    """Norms that see one sample alone: losses, gradients (Adam's first moments) and their norms do not change."""
    found = {}
    for count in (1, parts):
        alone = {
            "norm_G": "spectralspadeinstance3x3",
            "norm_D": "spectralinstance",
            "norm_E": "spectralinstance",
        }
        trainer = make_trainer(tmp_path / str(count), batch_size=4, gradient_accumulation=count, **alone)
        losses = train_steps(trainer, 1)
        norms = {f"norm {name}": float(norm) for name, norm in trainer.gradient_norms.items()}
        arrays = {name: array for name, array in state_arrays(trainer).items() if name.endswith("momentum")}
        assert len(arrays) == 31 and all(np.abs(array).max() > 0 for array in arrays.values())
        found[count] = losses | norms | arrays
    for name, whole in found[1].items():
        np.testing.assert_allclose(
            found[parts][name], whole, rtol=1e-4, atol=1e-5 * (1 + np.abs(whole).max())
        )


def test_parts_are_computed_one_after_the_other(tmp_path):
    """All convolutions of the second wait for all gradients of the first, through one operation and not hundreds."""
    trainer = make_trainer(tmp_path, batch_size=2, gradient_accumulation=2)
    graph = trainer._step_for(0).get_concrete_function(trainer.batches().element_spec).graph
    operations = graph.get_operations()
    barriers = [op for op in operations if op.type == "NoOp" and len(op._control_outputs) > 20]
    assert len(barriers) == 1

    def inputs(op):
        return [x.op for x in op.inputs] + op.control_inputs

    def consumers(op):
        return [c for x in op.outputs for c in x.consumers()] + op._control_outputs

    used = _found_from([x.op for x in graph.outputs] + graph.control_outputs, inputs)
    convolutions = {op for op in used if op.type.startswith("Conv2D")}
    before, after = _found_from(barriers, inputs), _found_from(barriers, consumers)
    assert len(convolutions & before) == len(convolutions & after) > 20
    assert convolutions <= before | after
    # The function's own end collects what has effects; nothing else waits for more than a few.
    assert sorted(len(op.control_inputs) for op in after)[-3] < 20


def _found_from(start, neighbours):
    """The operations and all that are found from them."""
    found, new = set(start), list(start)
    while new:
        new = [other for op in new for other in neighbours(op) if other not in found]
        found |= set(new)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_run_resumes_with_another_number_of_parts(before, after, tmp_path):
    """With norms that see one sample alone it goes on as if nothing had changed: losses, moments, steps."""
    alone = {
        "norm_G": "spectralspadeinstance3x3",
        "norm_D": "spectralinstance",
        "norm_E": "spectralinstance",
        "batch_size": 4,
        "D_steps_per_G": 1,
    }
    first = make_trainer(tmp_path, **alone, gradient_accumulation=before)
    first.config.save(tmp_path)
    train_steps(first, 2)
    first._save(2)
    saved, losses = state_arrays(first), train_steps(first, 2)
    config = runs.training_config({"checkpoint_dir": str(tmp_path), "gradient_accumulation": after}, None)
    assert config == first.config.replace(gradient_accumulation=after)
    with shallow_networks():
        resumed = Trainer(config, open_dataset(config), make_strategy("none"))
    found = state_arrays(resumed)
    assert resumed.steps_done == 2 and found.keys() == saved.keys()
    for name, values in saved.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    again = train_steps(resumed, 2)
    for name, values in losses.items():
        np.testing.assert_allclose(again[name], values, rtol=1e-3, atol=1e-4, err_msg=name)
    whole, found = state_arrays(first), state_arrays(resumed)
    for name in whole:  # a bias in front of such a norm has no gradient but rounding, which Adam makes large
        if name == "step" or name.endswith(("iterations", "momentum")):
            values = whole[name]
            np.testing.assert_allclose(
                found[name], values, rtol=1e-2, atol=1e-4 * (1 + np.abs(values).max()), err_msg=name
            )


def test_parts_divide_the_batch(tmp_path):
    with pytest.raises(
        ValueError, match=r"over 1 devices in 3 parts .--gradient_accumulation.; use a multiple of 3"
    ):
        make_trainer(tmp_path, batch_size=4, gradient_accumulation=3)
    assert not list(tmp_path.iterdir())
