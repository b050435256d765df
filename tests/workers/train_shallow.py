"""train.py with the small generator of helpers.shallow_networks; flags as train.py."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import helpers

import train

if __name__ == "__main__":
    with helpers.shallow_networks():
        train.command_line.start(train.main)
