"""train.py with the small generator of helpers.shallow_networks; flags as train.py."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from semantic_synthesis import command_line  # noqa: F401  (first: it imports TensorFlow without its messages)
from semantic_synthesis.__main__ import run

import helpers  # isort: skip

if __name__ == "__main__":
    with helpers.shallow_networks():
        run("train")
