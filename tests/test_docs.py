"""The documents: links lead somewhere, commands are ones that the program takes, every block is run or says why not."""

import ast
import json
import re

import pytest
from docs_code import PAGES, anchors, blocks, check_flags, commands, links, ours, spans
from helpers import REPOSITORY

LANGUAGES = {"bash", "python", "json", "toml", "text"}
OTHER_PAGES = [REPOSITORY / name for name in ("CHANGELOG.md", "SECURITY.md", "datasets/README.md")]
SOURCES = [
    *(REPOSITORY / "semantic_synthesis").rglob("*.py"),
    *(REPOSITORY / "recipes").iterdir(),
    *OTHER_PAGES,
    *PAGES,
    *(REPOSITORY / "tests").glob("*.py"),
    *(REPOSITORY / "benchmarks").rglob("*.py"),
]
HARMLESS = (
    "pip",
    "python -m pip",
    "python -m pytest",
    "ruff",
    "mypy",
    "git",
    "python -X",
    "tensorboard",
    "CHROMIUM",
)


def name_of(path):
    return str(path.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", [*PAGES, *OTHER_PAGES], ids=name_of)
def test_links_lead_somewhere(page):
    for link in links(page):
        if re.match(r"https?://|mailto:", link):
            continue
        path, _, part = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        assert not part or target.suffix != ".md" or part in anchors(target), f"{link}: no such heading"


def test_pages_that_code_names_exist():
    for path in SOURCES:
        if path.suffix in (".py", ".flags", ".md") and path.name not in ("CHANGELOG.md", "test_docs.py"):
            for named in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text(encoding="utf-8")):
                assert (REPOSITORY / named).exists(), f"{name_of(path)} names {named}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_are_taken(page, monkeypatch):
    """In blocks and in prose; recipes and benchmarks are files that know the flags."""
    monkeypatch.chdir(REPOSITORY)
    found = [
        words for block in blocks(page) if block.language in ("bash", "") for words in commands(block.text)
    ]
    for words in [*found, *spans(page)]:
        mine = ours(words)
        if mine:
            check_flags(*mine)
        elif words[0] == "python" and words[1].endswith(".py") and not words[1].startswith("client"):
            text = (REPOSITORY / words[1]).read_text(encoding="utf-8")
            for word in words[2:]:
                assert not word.startswith("--") or word.partition("=")[0] in text, " ".join(words)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_run_or_says_why_not(page):
    """Python and what other programs do; commands of this one are checked above and run in test_docs_commands.py."""
    for block in blocks(page):
        unnamed = page.parent == REPOSITORY and block.language == ""
        assert block.language in LANGUAGES or unnamed, f"{block}: language {block.language!r}"
        if block.mark.startswith("run by "):
            runner, *otherwise = block.mark.removeprefix("run by ").split()
            text = (REPOSITORY / runner).read_text(encoding="utf-8")
            assert otherwise or page.name in text, f"{block}: {runner} does not name the page"
        if block.language == "json":
            json.loads(block.text)
        elif block.language == "python":
            ast.parse(block.text)
            assert block.mark or page.name == "README.md", f"{block}: neither run nor marked"
        elif block.language in ("bash", ""):
            for words in commands(block.text):
                known = ours(words) or " ".join(words).startswith(HARMLESS) or words[1:2][0].endswith(".py")
                assert known or block.mark or unnamed, f"{block}: {' '.join(words)} is neither run nor marked"


def test_a_wrong_command_would_be_seen(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    for line, said in {
        "python train.py --no_such_flag": "no_such_flag",
        "python train.py --method oasis --latent_dim 3": "an option of CLVAE",
        "python train.py --netD none": "expected one of",
        "python test_one.py --seed x": "seed",
        "semantic-synthesis paint now": "are no options",
        "python -m semantic_synthesis prepare nothing": "no such command",
        "python train.py --flagfile=recipes/none.flags": "none.flags",
    }.items():
        (words,) = commands(line)
        with pytest.raises(AssertionError, match=said):
            check_flags(*ours(words))
