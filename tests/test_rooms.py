"""Imports run downward only, as docs/architecture.md says, and every folder of the package is in the wheel."""

import re
from pathlib import Path

import pytest
from test_names import PACKAGE, imports

# Floors from the ground up; a room imports lower floors only, its own files, and what is listed behind it.
FLOORS = (
    {"options", "storage", "foreign_files", "arrays", "bars"},
    {"files"},
    {"safetensors_files", "demo"},
    {"checkpoint_files", "config", "pictures", "pth"},
    {"losses", "styles", "layers"},
    {"data", "normalization"},
    {"networks", "originals"},
    {"discriminators"},
    {"methods"},
    {"runs"},
    {"restyling"},
    {"inference", "training"},
    {"serving", "evaluation", "convert", "one_picture", "publishing", "describing", "recipe_files"},
    {"train"},
    {"command_line"},
    {"__main__"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def room_of(path):
    first = path.relative_to(PACKAGE).parts[0]
    return Path(first).stem


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_downward(path):
    room = room_of(path)
    if room == "__init__":
        return  # public names, imported when they are used
    for other in imports(path):
        below = room_of(other)
        if below in (room, "__init__"):
            continue
        assert FLOOR[below] < FLOOR[room], f"{path.name} imports {other.relative_to(PACKAGE)}"


def test_methods_do_not_know_each_other_but_for_shared_rules():
    """A paper's folder imports the shared rooms and, for conversion, the rules that several originals share."""
    folders = {path.name for path in (PACKAGE / "methods").iterdir() if path.is_dir()}
    for path in (PACKAGE / "methods").rglob("*.py"):
        parts = path.relative_to(PACKAGE / "methods").parts
        if parts[0] not in folders:
            continue
        for other in imports(path):
            there = other.relative_to(PACKAGE).parts
            if there[0] == "methods" and there[1] in folders and there[1] != parts[0]:
                assert path.name == "conversion.py", f"{path} imports {other}"


def test_the_page_draws_these_floors():
    """docs/architecture.md: the drawing has the floors from the top down, the table all rooms from the ground up."""
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawing = re.search(r"```text\n(.*?)```", page, re.S)[1]
    drawn = [
        set(re.findall(r"\w+", re.split(r" {4,}(?=[a-z])", line.strip())[0])) for line in drawing.splitlines()
    ]
    found = [rooms & set(FLOOR) for rooms in drawn if rooms & set(FLOOR)]
    assert found == list(reversed(FLOORS))
    table = re.findall(r"^\| (`.*?) \|", page, re.M)
    order = [FLOOR[room] for line in table for room in re.findall(r"`(\w+)`", line)]
    assert order == sorted(order) and len(order) == len(FLOOR)


def test_every_folder_is_in_the_wheel():
    text = (PACKAGE.parent / "pyproject.toml").read_text()  # Python 3.10 has no tomllib
    listed = re.findall(r'"([^"]+)"', re.search(r"^packages = \[(.*?)\]", text, re.M | re.S)[1])
    found = {".".join(path.parent.relative_to(PACKAGE.parent).parts) for path in PACKAGE.rglob("*.py")} - {
        "semantic_synthesis.__pycache__"
    }
    assert set(listed) == found | {
        f"semantic_synthesis.{folder}" for folder in ("datasets", "checkpoints", "recipes")
    }
