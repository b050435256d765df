"""Every public signature says what it takes and gives, and mypy agrees."""

import ast
import subprocess
import sys

import pytest
from test_names import PACKAGE


def public_functions(tree, public=True):
    """(name, node) of the functions and methods that other modules may call; nested ones are nobody's business."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from public_functions(node, not node.name.startswith("_"))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            dunder = node.name.startswith("__") and node.name.endswith("__")
            if public and (dunder or not node.name.startswith("_")):
                yield node.name, node


def missing(node):
    """What a function's signature leaves open."""
    spec = node.args
    arguments = spec.posonlyargs + spec.args + spec.kwonlyargs + [a for a in (spec.vararg, spec.kwarg) if a]
    found = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
    return found + ([] if node.returns else ["what it returns"])


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_public_signatures_are_annotated(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    open_ones = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {name}: {', '.join(missing(node))}"
        for name, node in public_functions(tree)
        if missing(node)
    ]
    assert not open_ones, "\n".join(open_ones)


def test_mypy_finds_nothing():
    pytest.importorskip("mypy")
    pytest.importorskip("numpy", "2.0", reason="older NumPy has other annotations")
    done = subprocess.run(
        [sys.executable, "-m", "mypy"], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ignores_are_few():
    """A suppressed message is a promise that nobody checks."""
    texts = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    assert sum(text.count("type: ignore") for text in texts) <= 10
    config = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert "ignore_errors" not in config
