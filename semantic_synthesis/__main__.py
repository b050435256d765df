"""semantic-synthesis COMMAND --option value ..., or python -m semantic_synthesis; without a command it lists them."""

import atexit
import contextlib
import difflib
import importlib
import os
import signal
import sys
import textwrap
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn

# Command -> module, the attribute that holds its options.Command (or a dict of them by last word), what it is for.
COMMANDS = {
    "one": ("one_picture", "COMMAND", "pictures from one label map, and a sheet of them"),
    "paint": ("serving.paint", "COMMAND", "a page on which a map becomes a picture under the pen"),
    "train": (
        "train",
        "COMMAND",
        "a run from photos and label maps; goes on with the one in --checkpoint_dir",
    ),
    "describe": ("describing", "COMMAND", "what a run is: sizes, parameters, options, cost"),
    "export": ("serving.export", "COMMAND", "a run as a model for TF Serving"),
    "serve": (
        "serving.server",
        "COMMAND",
        "exported models over TF Serving's REST interface, for development",
    ),
    "convert": ("convert", "COMMAND", "checkpoints of the original programs into runs"),
    "evaluate": ("evaluation", "COMMANDS", "FID, KID, LPIPS and mIoU of a run or a folder of pictures"),
    "generate": (
        "evaluation",
        "COMMANDS",
        "a folder of pictures from a folder of label maps; goes on where it was",
    ),
    "prepare check": ("data.prepare", "COMMANDS", "every problem of a dataset"),
    "prepare describe": ("data.prepare", "COMMANDS", "a dataset's classes into a description"),
    "prepare instances": ("data.prepare", "COMMANDS", "instance maps from label maps"),
    "prepare celeba": ("data.prepare", "COMMANDS", "label maps from CelebAMask-HQ's parts"),
    "prepare shards": ("data.prepare", "COMMANDS", "a dataset as TFRecord files, for storage far away"),
    "prepare bank": (
        "methods.sims.building",
        "COMMAND",
        "the memory of photos that SIMS makes its pictures of",
    ),
    "prepare scenes": (
        "data.prepare",
        "COMMANDS",
        "rendered landscapes as files, with label and instance maps",
    ),
    "recipes": ("recipe_files", "COMMAND", "settings of published trainings: command, cost, expected result"),
    "publish": ("publishing", "COMMAND", "a trained run made small: inference weights alone"),
}
# What needs no method; others import them all, as datasets' descriptions may hold options of any of them.
_WITHOUT_METHODS = ("serve",)


def end_on_interrupt() -> None:
    """Lets Ctrl-C end this process at any instant with one line and exit code 130, without what is half-written.

    An exception would be lost or printed where it hits imports, destructors and threads. Commands that have something
    to save take the signal themselves.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    terminal = os.dup(2)  # 2 itself may be turned away while TensorFlow is imported

    def end(_number, _frame):
        files = sys.modules.get("semantic_synthesis.files")
        if hasattr(files, "drop_parts"):  # not yet where its import is what was interrupted
            files.drop_parts()
        os.write(terminal, b"\ninterrupted\n" if os.isatty(terminal) else b"interrupted\n")
        os._exit(130)

    signal.signal(signal.SIGINT, end)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """`end_on_interrupt` for a while: a notebook that runs commands goes on with its own way."""
    before = signal.getsignal(signal.SIGINT)
    end_on_interrupt()
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is not before:
            signal.signal(signal.SIGINT, before)
            atexit.register(end_on_interrupt)  # for what is left to do in a process of our own


def _print_list(names: Iterable[str]) -> None:
    for name in names:
        print(textwrap.fill(f"{name:<19}{COMMANDS[name][2]}", 80, subsequent_indent=" " * 19))


@interruptible()
def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Finds the command, hands its flags to it; never returns."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] in (["--help"], ["-h"], ["help"]):
        print("semantic-synthesis COMMAND --option value ...; COMMAND --help says more.\n")
        _print_list(COMMANDS)
        sys.exit(0)
    if arguments[:1] == ["--version"]:
        from semantic_synthesis import __version__

        print(__version__)
        sys.exit(0)
    words = [word for word in arguments if not word.startswith("-")][:2]
    name = next((n for n in (" ".join(words), *words[:1]) if n in COMMANDS), None)
    if name is None or arguments[: len(name.split())] != name.split():
        group = [n for n in COMMANDS if words and n.split()[0] == words[0] and " " in n]
        if group and {"--help", "-h"} & set(arguments):
            _print_list(group)
            sys.exit(0)
        asked = f"unknown command {' '.join(words)!r}; " if words else ""
        near = difflib.get_close_matches(" ".join(words), group or COMMANDS, 1)
        asked += f"did you mean {near[0]}? " if near else ""
        sys.stderr.write(f"error: {asked}expected one of: {', '.join(group or COMMANDS)}\n")
        sys.exit(2)
    run(name, arguments[len(name.split()) :])


@interruptible()
def run(name: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one command with flags; ends with SystemExit and leaves sys.argv as it was."""
    before = sys.argv
    sys.argv = [f"semantic-synthesis {name}", *(sys.argv[1:] if arguments is None else arguments)]
    try:
        _run(name)
    finally:
        sys.argv = before


def _run(name: str) -> NoReturn:
    from semantic_synthesis import command_line  # not above: it imports TensorFlow

    if name not in _WITHOUT_METHODS:
        importlib.import_module("semantic_synthesis.methods")
    module, attribute, summary = COMMANDS[name]
    found = getattr(importlib.import_module(f"semantic_synthesis.{module}"), attribute)
    command_line.run(found if attribute == "COMMAND" else found[name.split()[-1]], summary)


if __name__ == "__main__":
    main()
