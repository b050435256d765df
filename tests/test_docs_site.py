"""The documents as a site: every option has its line, and mkdocs builds all of it without a warning."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from helpers import REPOSITORY

from semantic_synthesis.__main__ import COMMANDS
from semantic_synthesis.config import Config
from semantic_synthesis.options import options_of

sys.path.insert(0, str(REPOSITORY / "docs" / "site"))

import options_reference


def rows(text):
    """{option: cells of its line}; no line may have another number of cells than its table's head."""
    found = {}
    for line in text.splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if cells[0] == "option":
                count = len(cells)
            assert len(cells) == count, line
            if cells[0].startswith("`--"):
                found.setdefault(cells[0].strip("`-"), cells)
    return found


def test_every_option_of_every_method_has_a_line():
    pages = options_reference.pages()
    assert set(rows(pages["run.md"])) == set(options_of(Config))
    for name, method in options_reference.METHODS.items():
        listed, base = rows(pages[f"{name}.md"]), options_of(Config)
        own = options_of(method.config_class)
        changed = {key for key in base if own[key].default != base[key].default} - {"method"}
        assert set(listed) == set(own) - set(base) | changed, name
    line = rows(pages["oasis.md"])["z_dim"]
    assert line[1:4] == ["integer", "`64`", "network"] and line[4].startswith("Length of the style vector")
    assert rows(pages["run.md"])["lr"][3] == "training, or on resuming"


def test_every_option_of_every_command_has_a_line():
    page = options_reference.commands()
    for name in COMMANDS:
        section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", page, re.M | re.S)[1]
        options = options_reference.command(name).options
        expected = options if isinstance(options, dict) else options_of(options)
        assert name == "train" or set(rows(section)) == set(expected), name
    assert str(REPOSITORY) not in page  # nothing of this machine


def build(folder, out):
    """The finished `mkdocs build --strict` of a copy of the repository's documents."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    path = os.pathsep.join([str(folder), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_the_site_builds_and_a_dead_link_stops_it(tmp_path):
    for name in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(name, reason='pip install -e ".[docs]"')
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("docs", "semantic_synthesis", "datasets"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [REPOSITORY / "mkdocs.yml", *REPOSITORY.glob("*.md")]:
        shutil.copy(path, folder)
    done = build(folder, tmp_path / "site")
    assert done.returncode == 0 and "WARNING -" not in done.stderr, done.stderr[-3000:]
    first = (tmp_path / "site" / "index.html").read_text()
    assert 'href="paint.html"' in first and not re.search(r'(href|src)="docs/', first)
    assert "num_experts_conv" in (tmp_path / "site" / "reference" / "scgan.html").read_text()
    assert "Synthesizer" in (tmp_path / "site" / "reference" / "python.html").read_text()
    with open(folder / "docs" / "paint.md", "a") as page:
        page.write("\n[nothing](nowhere.md)\n")
    done = build(folder, tmp_path / "other")
    assert done.returncode != 0 and "nowhere.md" in done.stderr
