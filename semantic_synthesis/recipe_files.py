"""`recipes`: the flag files of published and measured trainings, what they cost and what to expect of them.

A recipe is a file of flags (`train --flagfile`) whose head comments say, each at the beginning of a line: what it is,
the command, `Cost:`, `Expected:` and, where needed, `Note:`.
"""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from semantic_synthesis.config import Config, options_for
from semantic_synthesis.data import catalogue
from semantic_synthesis.data.resolving import fill_options
from semantic_synthesis.files import shipped
from semantic_synthesis.options import Command, Use, option, options_of, refuse_unused

FOLDER = "recipes"
_OF_TRAIN = ("conv_threads", "flagfile")  # flags that are no options of a run
_PARAGRAPH = re.compile(r"(Cost|Expected|Note)([^:.]*): *")


class Recipe(NamedTuple):
    """One flag file.

    path; title: its first line; commands: how it is trained; cost, expected, note: what its head says, "" where it says
    nothing; methods: whom it trains; config: the options it asks for, with the dataset's sizes.
    """

    path: Path
    title: str
    commands: list[str]
    cost: str
    expected: str
    note: str
    methods: list[str]
    config: Config

    @property
    def size(self) -> str:
        """Width x height of the pictures."""
        return f"{self.config.crop_size}x{self.config.crop_height}"


@dataclass(frozen=True)
class RecipesOptions:
    """Options of `python -m semantic_synthesis recipes`."""

    name: str = option("", "Recipe to show whole, with the command for this machine.")
    method: str = option("", "List the recipes of this method alone.")


def recipe_paths() -> list[Path]:
    """The flag files that ship with the package, by name; FileNotFoundError where the folder is missing."""
    paths = sorted(shipped(FOLDER).glob("*.flags"))
    if not paths:
        raise FileNotFoundError(
            f"{shipped(FOLDER)}: no recipes here; expected *.flags, which come with the wheel and with a clone: "
            "install the package again"
        )
    return paths


def read_recipe(path: str | Path) -> Recipe:
    """A parsed and checked flag file; no dataset is needed. ValueError, one line, for flags that `train` refuses."""
    path = Path(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    head = [line[1:].strip() for line in itertools.takewhile(lambda line: line.startswith("#"), lines)]
    flags = _flags([line for line in lines if line.startswith("--")])
    commands = [line for line in head if line.startswith("python ")]
    named = re.findall(r"--method[= ](\w+)", "\n".join(commands))
    methods = [flags["method"]] if "method" in flags else list(dict.fromkeys(named)) or ["spade"]
    config = _config(methods[0], flags, path)
    said = _paragraphs(head)
    return Recipe(
        path,
        head[0] if head else "",
        commands,
        said.get("Cost", ""),
        said.get("Expected", ""),
        said.get("Note", ""),
        methods,
        config,
    )


def _paragraphs(head):
    """{"Cost": text, ...}; a paragraph ends at the next one and at commands."""
    found, key = {}, None
    for line in head:
        begins = _PARAGRAPH.match(line)
        if begins:
            key, more = begins[1], begins[2].strip()
            line = f"{more}: {line[begins.end() :]}" if more else line[begins.end() :]
        elif line.startswith("python "):
            key = None
        if key:
            found[key] = f"{found.get(key, '')} {line}".strip()
    return found


def _flags(lines):
    """{option: text} of lines of flags; booleans as "true" or "false"."""
    given = {}
    for line in lines:
        name, equals, value = line[2:].strip().partition("=")
        given[name] = value if equals else "true"
    return given


def _config(method, flags, path):
    """The checked Config of {option: text}."""
    known, typed = options_of(Config.class_for(method, f"{path}: --method")), {}
    for flag, text in flags.items():
        off = flag not in known and flag.startswith("no") and flag[2:] in known
        name = flag[2:] if off else flag
        if name in _OF_TRAIN:
            continue
        if name not in known:
            raise ValueError(f"{path}: --{flag} is no option of {method}; see train --method {method} --help")
        typed[name] = _typed(known[name].metadata["kind"], text, off, f"{path}: --{flag}")
    config = options_for(method, typed, f"{path}: ")(**typed)
    return fill_options(config, catalogue.describe(config.dataset_mode or catalogue.SCENES))


def _typed(kind, text, off, source):
    if kind is bool:
        if text not in ("true", "false"):
            raise ValueError(f"{source}={text}: expected true or false")
        return (text == "true") != off
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{source}={text}: expected {kind.__name__}") from None


def recipes(options: Any) -> int:
    """Prints all recipes, or one whole; exit code 0. ValueError for names that are none."""
    refuse_unused(
        options, [Use("method", not options.name, "lists recipes; leave it or the recipe's name out")]
    )
    if options.name:
        print(whole(options.name))
        return 0
    found = [read_recipe(path) for path in recipe_paths()]
    methods = sorted({name for one in found for name in one.methods})
    if options.method and options.method not in methods:
        raise ValueError(f"--method {options.method}: no recipe; expected one of {', '.join(methods)}")
    print(listing(one for one in found if not options.method or options.method in one.methods))
    return 0


def listing(found: Iterable[Recipe], width: int = 110) -> str:
    """A block of lines per recipe: name, methods, dataset, size; cost; expected result."""
    lines = []
    for one in found:
        about = (", ".join(one.methods), one.config.dataset_mode, one.size)
        lines.append(f"{one.path.stem:<22}{'  '.join(about)}")
        for key, text in (("cost", one.cost), ("expected", one.expected)):
            indent = " " * 22
            lines += textwrap.wrap(
                f"{key}: {text}", width, initial_indent=indent, subsequent_indent=f"{indent}  "
            )
    return "\n".join([*lines, "", "semantic-synthesis recipes NAME shows one whole, with its command."])


def whole(name: str) -> str:
    """A recipe's head and flags, its commands as they work on this machine; ValueError that lists the names."""
    paths = {path.stem: path for path in recipe_paths()}
    stem = Path(name).name.removesuffix(".flags")
    if stem not in paths:
        raise ValueError(f"--name {name}: no such recipe; expected one of {', '.join(paths)}")
    path = paths[stem]
    text = path.read_text(encoding="utf-8").rstrip()
    here = path.parent.as_posix()
    if path.parent != Path.cwd() / FOLDER:
        text = text.replace("python train.py", "semantic-synthesis train")
        text = text.replace("python -m semantic_synthesis ", "semantic-synthesis ")
        text = text.replace(f"--flagfile={FOLDER}/", f"--flagfile={here}/")
    return f"{path}\n\n{text}"


COMMAND = Command(RecipesOptions, recipes, "recipes spade_ade20k", argument="name")
