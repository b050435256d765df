"""Every flag file in recipes/ is one that `train` takes today."""

import pytest
from helpers import REPOSITORY

from semantic_synthesis.config import Config, options_for
from semantic_synthesis.options import options_of

RECIPES = sorted((REPOSITORY / "recipes").glob("*.flags"))
OF_THE_COMMAND = {"flagfile", "train_eval", "conv_threads"}


def flags_of(path):
    """{option: text} of a flag file; booleans as "true" or "false"."""
    given = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("--"):
            name, equals, value = line[2:].strip().partition("=")
            given[name] = value if equals else "true"
    return given


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_options_exist_and_allow_the_values(path):
    given = flags_of(path)
    assert given, f"{path} asks for nothing"
    known = options_of(Config.class_for(given.get("method", "spade")))
    typed = {}
    for name, value in given.items():
        off = name not in known and name.startswith("no") and name[2:] in known
        name = name[2:] if off else name
        assert name in known or name in OF_THE_COMMAND, f"{path.name}: --{name} is no option"
        if name in known:
            kind = known[name].metadata["kind"]
            typed[name] = (value == "true") != off if kind is bool else kind(value)
    options_for(given.get("method", "spade"), typed, f"{path.name}: ")
