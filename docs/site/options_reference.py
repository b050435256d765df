"""The options of methods and commands as Markdown: python docs/site/options_reference.py METHOD|COMMAND.

Made from the same declarations as flags, help and config.json, so nothing can be missing.
"""

import importlib
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow, which methods import

from semantic_synthesis.__main__ import COMMANDS
from semantic_synthesis.config import Config
from semantic_synthesis.files import shipped
from semantic_synthesis.methods import METHODS as ALL
from semantic_synthesis.options import options_of

# Those of this package; others may be installed.
METHODS = {
    name: method for name, method in ALL.items() if method.__module__.startswith("semantic_synthesis.")
}
SHIPPED = shipped("datasets").parent
_KINDS = {int: "integer", float: "number", str: "text", tuple: "text, may be repeated", bool: "switch"}
_ROLES = {"network": "network", "training": "training", "run": "free"}
ABOUT = """
**May change** says when: an option of the *network* never once a run has weights, one of the *training* not once
training has begun (with "or on resuming": when it is resumed, too), a *free* one at any time. A switch is `--name`, and
`--noname` or `--name=false` turns it off.
"""


def cell(text):
    """Text for a cell of a table."""
    return str(text).replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def default_of(one):
    """The default as people read it."""
    if one.default is None:
        fallback = one.metadata["fallback"]
        return "" if fallback is None else f"the dataset's, else {fallback}"
    if one.default in ("", (), False):
        return "off" if one.default is False else ""
    shown = str(one.default).replace(f"{SHIPPED}/", "")  # a path of this machine is no default of theirs
    return "on" if one.default is True else f"`{shown}`"


def row(name, one):
    """One line of a table."""
    kind, choices = one.metadata["kind"], one.metadata["choices"]
    values = ", ".join(f"`{choice}`" for choice in choices) if choices else _KINDS[kind]
    role = _ROLES[one.metadata["role"]]
    if role == "training" and one.metadata["resume"]:
        role += ", or on resuming"
    cells = [f"`--{name}`", values, default_of(one), role, one.metadata["help"]]
    return "| " + " | ".join(map(cell, cells)) + " |"


def tables(known, level=2):
    """Tables of {name: field}, one for each group of options."""
    groups = {}
    for name, one in known.items():
        groups.setdefault(one.metadata["group"] or "Options", []).append(row(name, one))
    parts = []
    for group, rows in groups.items():
        parts += [f"{'#' * level} {group}", ""] if len(groups) > 1 else []
        parts += [
            "| option | values | default | may change | what it does |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    return "\n".join(parts)


def of_every_run():
    """The page of the options that all methods have."""
    return f"# Options of every run\n\nWhat `train` takes for every method.\n{ABOUT}\n{tables(options_of(Config))}"


def of_method(name):
    """The page of one method: what it adds, and which defaults of every run it changes."""
    known, base = options_of(METHODS[name].config_class), options_of(Config)
    own = {key: one for key, one in known.items() if key not in base}
    other = {key: one for key, one in known.items() if key in base and one.default != base[key].default}
    other.pop("method")
    text = f"# Options of `--method {name}`\n\nBesides those [of every run](run.md).\n{ABOUT}\n{tables(own)}"
    return f"{text}\n## Other defaults\n\n{tables(other, 3)}" if other else text


def command(name):
    """The options.Command of a command's name."""
    module, attribute, _ = COMMANDS[name]
    found = getattr(importlib.import_module(f"semantic_synthesis.{module}"), attribute)
    return found[name.split()[-1]] if attribute == "COMMANDS" else found


def of_command(name):
    """The section of one command."""
    summary, its = COMMANDS[name][2], command(name)
    text = f"## {name}\n\n{summary[:1].upper()}{summary[1:]}.\n\n```bash\nsemantic-synthesis {its.example}\n```\n\n"
    if name == "train":
        return f"{text}Options: those [of every run](run.md) and those of its method, {of_methods()}.\n"
    known = its.options if isinstance(its.options, dict) else options_of(its.options)
    rows = [row(key, one) for key, one in known.items()]
    simple = ["| option | values | default | what it does |", "|---|---|---|---|"]
    for line in rows:  # commands change nothing, so that "may change" says nothing
        cells = line.strip("| ").split(" | ")
        simple.append("| " + " | ".join([*cells[:3], *cells[4:]]) + " |")
    return text + "\n".join(simple) + "\n"


def of_methods():
    """Links to the pages of all methods."""
    return ", ".join(f"[{name}]({name}.md)" for name in METHODS)


def commands():
    """The page of all commands."""
    text = (
        "# Commands\n\n`semantic-synthesis COMMAND`, or `python -m semantic_synthesis COMMAND`; in a clone "
    )
    text += "`train.py`, `test_one.py` and `export.py` are `train`, `one` and `export`.\n"
    return "\n".join([text, *map(of_command, COMMANDS)])


def pages():
    """{file: Markdown} of the whole reference of options."""
    found = {"commands.md": commands(), "run.md": of_every_run()}
    return found | {f"{name}.md": of_method(name) for name in METHODS}


if __name__ == "__main__":
    asked = " ".join(sys.argv[1:])
    if asked in METHODS:
        print(of_method(asked))
    elif asked in COMMANDS:
        print(of_command(asked))
    else:
        sys.exit(f"error: {asked!r}: expected one of {', '.join([*METHODS, *COMMANDS])}")
