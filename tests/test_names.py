"""No room above the methods knows a name that belongs to one: objectives, styles, losses and options.

Names are collected from METHODS. A module may use them where it is one of the methods' own or lies below these, that is
where a method imports it.
"""

import ast
import functools
import re
from pathlib import Path

import pytest
from helpers import conformance_options, shallow_networks, tiny_config

import semantic_synthesis
from semantic_synthesis import data, runs
from semantic_synthesis.config import method_options
from semantic_synthesis.methods import METHODS, instance_maps

PACKAGE = Path(semantic_synthesis.__file__).parent
SCRIPTS = [PACKAGE.parent / name for name in ("train.py", "test_one.py", "export.py")]


def module_path(name):
    """File of a module of this package, None for others."""
    path = PACKAGE.parent.joinpath(*name.split("."))
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def imports(path):
    """Files of this package that a file imports, anywhere in it."""
    package = path.relative_to(PACKAGE.parent).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(
                [*package[: len(package) - node.level + 1], node.module or ""]
                if node.level
                else [node.module]
            )
            names = [base.strip("."), *[f"{base.strip('.')}.{alias.name}" for alias in node.names]]
        found |= {module_path(name) for name in names} - {None}
    return found - {PACKAGE / "__init__.py"}  # public names, imported when they are used


def below(paths):
    """The files and all they import, directly or not."""
    found, waiting = set(), list(paths)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(imports(path))
    return found


@functools.cache
def upper_rooms():
    """Files that no method imports, the scripts among them."""
    rooms = below((PACKAGE / "methods").rglob("*.py"))
    return sorted({*PACKAGE.rglob("*.py"), *SCRIPTS} - rooms)


@functools.cache
def own_names():
    """{name: what it is} of everything that belongs to methods."""
    found = {}
    for name, method in METHODS.items():
        found |= {option: f"option of {name}" for option in method_options(method.config_class)}
        config = tiny_config("", **conformance_options(name))
        with shallow_networks():
            model = runs.build_method(method.without_features(config))
        dataset = data.open_dataset(config, instance_maps=instance_maps(config))
        losses = model.compute_losses(next(iter(dataset.batches(2))))
        found |= {objective: f"objective of {name}" for objective in losses}
        found |= {loss: f"loss of {name}" for terms in losses.values() for loss in terms}
        found |= {style: f"style of {name}" for style in model.style_shapes}
    return found


def root(node):
    """The first name of a.b.c."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return getattr(node, "id", "")


def used_names(path, names):
    """(line, name) of each string that is one of the names or asks for an option, attribute and keyword."""
    tree = ast.parse(path.read_text())
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    foreign = {
        id(keyword)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and root(node.func) == "tf"
        for keyword in node.keywords
    }  # TensorFlow's own argument names
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            asked = re.findall(r"--(\w+)", node.value)
            for name in names:
                if node.value == name or name in asked:
                    yield node.lineno, name
        elif (
            isinstance(node, ast.Attribute) and node.attr in names and root(node) != "rng"
        ):  # NumPy's generators
            yield node.lineno, node.attr
        elif isinstance(node, ast.keyword) and node.arg in names and id(node) not in foreign:
            yield node.value.lineno, node.arg


def test_names_are_collected():
    """The collection sees what the methods have, and the rooms above them are those one would think."""
    names = own_names()
    assert {
        "generator",
        "discriminator",
        "strokes",
        "noise",
        "paints",
        "KLD",
        "L1",
        "use_vae",
        "noise_dim",
    } <= set(names)
    rooms = {str(path.relative_to(PACKAGE.parent)) for path in upper_rooms()}
    for room in (
        "training/trainer",
        "runs",
        "inference",
        "restyling",
        "serving/export",
        "serving/graph",
        "convert",
    ):
        assert f"semantic_synthesis/{room}.py" in rooms, room
    assert "semantic_synthesis/train.py" in rooms and not any("methods" in room for room in rooms)


@pytest.mark.parametrize("path", upper_rooms(), ids=lambda path: path.name)
def test_no_room_knows_a_methods_names(path):
    names = own_names()
    found = [f"{path.name}:{line}: {name} ({names[name]})" for line, name in used_names(path, names)]
    assert not found


@pytest.mark.parametrize("path", upper_rooms(), ids=lambda path: path.name)
def test_no_branch_on_a_method(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            compared = {side.value for side in sides if isinstance(side, ast.Constant)}
            assert not compared & set(METHODS), f"{path.name}:{node.lineno}"


def test_a_forbidden_name_would_be_seen(tmp_path):
    path = tmp_path / "room.py"
    path.write_text(
        '"""noise"""\nx = {"noise": 1}\nprint(config.use_vae, z_dim)\nraise ValueError("give --noise_dim")\n'
    )
    found = set(used_names(path, own_names()))
    assert found == {(2, "noise"), (3, "use_vae"), (4, "noise_dim")}
