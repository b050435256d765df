"""docs/quickstart.ipynb: stored with its outputs, and still true."""

import ast
import json
import os
import re
import sys

import pytest
from helpers import REPOSITORY

NOTEBOOK = REPOSITORY / "docs" / "quickstart.ipynb"


def cells(notebook, kind="code"):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def kinds(notebook):
    """Per cell of code the kinds of its outputs, standard error left out."""
    return [
        [output["output_type"] for output in cell["outputs"] if output.get("name") != "stderr"]
        for cell in cells(notebook)
    ]


def texts(notebook):
    """What the cells print, a list of lines."""
    found = (output.get("text", "") for cell in cells(notebook) for output in cell["outputs"])
    return [line for text in found for line in "".join(text).splitlines()]


def test_stored_outputs():
    """Small, in order, without errors, and without anything of the machine it ran on."""
    assert NOTEBOOK.stat().st_size < 1_000_000
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert [cell["execution_count"] for cell in cells(notebook)] == list(range(1, len(cells(notebook)) + 1))
    outputs = [kind for found in kinds(notebook) for kind in found]
    assert "error" not in outputs and outputs.count("display_data") == 6 and "exit code 0 " in texts(notebook)
    for cell in cells(notebook):
        ast.parse("".join(cell["source"]))
        assert all(output.get("name") != "stderr" for output in cell["outputs"])
    assert not [line for line in texts(notebook) if re.search(r"/(tmp|home|root|Users)/", line)]


def test_links_lead_somewhere():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    text = "".join("".join(cell["source"]) for cell in cells(notebook, "markdown"))
    targets = re.findall(r"\]\(([\w.-]+)\)", text)
    assert targets and all((NOTEBOOK.parent / target).is_file() for target in targets)


@pytest.mark.slow
def test_it_runs_and_says_what_it_said(monkeypatch):
    """Executed anew: the same words, pictures in the same places."""
    nbformat = pytest.importorskip("nbformat", reason='pip install -e ".[notebook]"')
    client = pytest.importorskip("nbclient", reason='pip install -e ".[notebook]"')
    pytest.importorskip("matplotlib", reason='pip install -e ".[notebook]"')
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), *sys.path]))
    stored = nbformat.read(NOTEBOOK, 4)
    made = nbformat.read(NOTEBOOK, 4)
    client.NotebookClient(made, timeout=900, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    assert kinds(made) == kinds(stored)
    said = [line for line in texts(made) if line in texts(stored)]
    assert said == texts(stored)
