"""Options of the original programs on a command line are answered with their names here; recipes say what to expect."""

import re

import pytest
from fixtures_data import REPOSITORY
from helpers import assert_user_error, run_here

from semantic_synthesis.config import known_options
from semantic_synthesis.evaluation.evaluating import EvaluateOptions
from semantic_synthesis.methods import METHODS
from semantic_synthesis.options import options_of

CONVERTERS = {
    name: method.converter() for name, method in METHODS.items() if hasattr(method.converter(), "FLAGS")
}
OURS = {*known_options(), *options_of(EvaluateOptions)}


@pytest.mark.parametrize("path", sorted((REPOSITORY / "recipes").glob("*.flags")), ids=lambda path: path.stem)
def test_recipes_state_command_cost_and_result(path):
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    for what in ("python train.py --flagfile", "Cost", r"(?i)expected|paper"):
        assert any(re.search(what, line) for line in head), what


def test_all_originals_with_options_of_their_own_answer():
    assert {"spade", "clade", "inade", "clvae", "scgan", "oasis"} <= set(CONVERTERS)


@pytest.mark.parametrize("name", CONVERTERS)
def test_answers_name_options_that_exist_and_docs_have_them(name):
    converter = CONVERTERS[name]
    text = "".join(path.read_text() for path in (REPOSITORY / "docs").rglob("*.md"))
    for flag, answer in converter.FLAGS.items():
        for ours in re.findall(r"--(\w+)", answer):
            assert ours in OURS or ours.removeprefix("no") in OURS, (flag, ours)
        assert flag not in OURS and f"`{flag}`" in text, flag


@pytest.mark.parametrize(
    "method, flags, said",
    [
        ("spade", ["--niter", "50", "--nThreads=0", "--gpu_ids", "0,1", "--name", "mine", "--no_flip"],
         ["--niter (NVlabs/SPADE) is here: --decay_epoch",
          "--nThreads (NVlabs/SPADE) is here: nothing to give, as photos are read on all cores",
          "--gpu_ids (NVlabs/SPADE) is here: --distribute, and CUDA_VISIBLE_DEVICES=0,1 before the command",
          "--name (NVlabs/SPADE) is here: --checkpoint_dir, the run folder itself"]),
        ("oasis", ["--channels_G", "64", "--batchSize", "4"],
         ["--channels_G (boschresearch/OASIS) is here: --num_generator_filters",
          "--batchSize (NVlabs/SPADE) is here: --batch_size"]),
    ],
)  # fmt: skip
def test_one_line_names_them_all(method, flags, said):
    _, _, err = result = run_here("train", ["--method", method, *flags])
    assert_user_error(result)
    assert err == f"error: {'; '.join([*said, 'all names: docs/coming-from-other-repos.md'])}\n"
