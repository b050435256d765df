"""What the documents hold besides prose: code blocks, commands, links. tests/test_docs*.py ask that all of it is true.

A block may be marked by an HTML comment in the line before it:
`<!-- not run: why -->`, `<!-- run by tests/NAME.py -->`.
"""

import importlib
import re
import shlex
from pathlib import Path
from typing import NamedTuple

from absl import flags
from helpers import REPOSITORY

from semantic_synthesis import options
from semantic_synthesis.__main__ import COMMANDS
from semantic_synthesis.config import options_for

PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]
SCRIPTS = {"train.py": "train", "test_one.py": "one", "export.py": "export"}
_MARK = re.compile(r"<!-- ((?:not run|run by).*?) -->")


class Block(NamedTuple):
    """A fenced block: its page, its line, its language, its text, and its mark or ""."""

    page: Path
    line: int
    language: str
    text: str
    mark: str

    def __str__(self):
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


def blocks(page):
    """The fenced Blocks of a page."""
    lines, found, begun = page.read_text(encoding="utf-8").splitlines(), [], None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if begun is None:
            begun = number
        else:
            before = next((text for text in reversed(lines[:begun]) if text.strip()), "")
            mark = _MARK.fullmatch(before.strip())
            text = "\n".join(lines[begun + 1 : number])
            found.append(Block(page, begun + 1, lines[begun][3:].strip(), text, mark[1] if mark else ""))
            begun = None
    return found


def prose(page):
    """A page's text without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def commands(text):
    """The commands of a block of shell, as lists of words; comments, loops and settings of variables left out."""
    text = re.sub(r"\\\n\s*", " ", text)
    found = []
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        part = []
        for word in [*words, "&&"]:
            if word.rstrip(";") in ("&&", "done", "do") or (word.endswith(";") and part):
                part += [word.rstrip(";")] if word.endswith(";") and word not in ("done;", "do;") else []
                found.append(part)
                part = []
            else:
                part.append(word)
    shell = [[word for word in part if not re.fullmatch(r"[A-Z_]+=.*", word)] for part in found]
    return [part for part in shell if part and part[0] not in ("for", "done", "do")]


def spans(page):
    """Commands of ours in code spans; in tables of migration pages the first column is the other program's."""
    found = []
    for line in prose(page).splitlines():
        if line.startswith("|") and page.parent.name == "migration":
            line = line.split("|", 2)[2]
        for span in re.findall(r"`([^`]+)`", line):
            if span.startswith(("python ", "semantic-synthesis ")):
                found += commands(span.replace("\\|", "|"))
    return found


def ours(words):
    """(command of semantic-synthesis, its flags), None for other programs."""
    if words[0] == "python" and words[1:2] and words[1] in SCRIPTS:
        return SCRIPTS[words[1]], words[2:]
    rest = words[3:] if words[:3] == ["python", "-m", "semantic_synthesis"] else words[1:]
    if (
        words[0] != "semantic-synthesis"
        and rest is not words[3:]
        and words[:3] != ["python", "-m", "semantic_synthesis"]
    ):
        return None
    name = next((name for name in (" ".join(rest[:2]), *rest[:1]) if name in COMMANDS), None)
    assert name or rest[:1] in (["--help"], ["--version"], []), f"{' '.join(words)}: no such command"
    return (name, rest[len(name.split()) :]) if name else None


def check_flags(name, words):
    """AssertionError unless the command takes these flags and values; files need not exist."""
    importlib.import_module("semantic_synthesis.methods")
    module, attribute, _ = COMMANDS[name]
    command = getattr(importlib.import_module(f"semantic_synthesis.{module}"), attribute)
    command = command[name.split()[-1]] if attribute == "COMMANDS" else command
    words = [word.strip("[]") for word in words if word != "..."]
    if "--help" in words:
        return
    if command.argument and words and not words[0].startswith("-"):
        words = [f"--{command.argument}", *words]
    asked = " ".join([name, *words])
    options.define_flags(command.options, defaults=not isinstance(command.options, dict))
    try:
        left = flags.FLAGS([name, *words])[1:]
        assert not left, f"{asked}: {left} are no options"
        if name == "train":
            given = options.given_flags(command.options)
            options_for(given.get("method", "spade"), given)
    except (flags.Error, ValueError) as error:
        raise AssertionError(f"{asked}: {error}") from None
    finally:
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["none"])
        options._forget_flags()


def anchor(heading):
    """The anchor of a heading, as GitHub and mkdocs make it."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", text.strip().lower()))


def anchors(page):
    """All anchors of a page."""
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", prose(page), re.M)}


def links(page):
    """Targets of the links and pictures of a page, code left out."""
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    return re.findall(r"\]\(([^)\s]+)\)", text)
