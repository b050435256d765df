"""semantic-synthesis COMMAND --option value ..., or python -m semantic_synthesis; without a command it lists them."""

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

# Command -> module and the attribute that holds the options.Command (or a dict of them by last word).
COMMANDS = {
    "one": ("one_picture", "COMMAND"),
    "train": ("train", "COMMAND"),
    "export": ("serving.export", "COMMAND"),
    "serve": ("serving.server", "COMMAND"),
    "convert": ("convert", "COMMAND"),
    "evaluate": ("evaluation", "COMMANDS"),
    "generate": ("evaluation", "COMMANDS"),
    "prepare bank": ("methods.sims.building", "COMMAND"),
    "prepare celeba": ("data.prepare", "COMMANDS"),
    "prepare check": ("data.prepare", "COMMANDS"),
    "prepare describe": ("data.prepare", "COMMANDS"),
    "prepare instances": ("data.prepare", "COMMANDS"),
    "prepare scenes": ("data.prepare", "COMMANDS"),
    "publish": ("publishing", "COMMAND"),
}
_SUMMARIES = """\
one                pictures from one label map
train              a run from photos and label maps
export             a run as a model for TF Serving
serve              exported models over REST, for development
convert            checkpoints of the original programs into runs
evaluate           FID, KID, LPIPS and mIoU of a run or a folder
generate           a folder of pictures from a folder of label maps
prepare check      every problem of a dataset
prepare describe   a dataset's classes into a description
prepare instances  instance maps from label maps
prepare celeba     label maps from CelebAMask-HQ's parts
prepare bank       the memory of photos that SIMS makes its pictures of
prepare scenes     rendered landscapes as files
publish            a trained run made small
"""


def end_on_interrupt() -> None:
    """Lets Ctrl-C end this process at any instant with one line and exit code 130, without what is half-written.

    An exception would be lost or printed where it hits imports, destructors and threads. Commands that have something
    to save take the signal themselves.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    terminal = os.dup(2)  # 2 itself may be turned away while TensorFlow is imported

    def end(_number, _frame):
        files = sys.modules.get("semantic_synthesis.files")
        if hasattr(files, "drop_parts"):  # not yet where its import is what was interrupted
            files.drop_parts()
        os.write(terminal, b"\ninterrupted\n" if os.isatty(terminal) else b"interrupted\n")
        os._exit(130)

    signal.signal(signal.SIGINT, end)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Finds the command, hands its flags to it; never returns."""
    end_on_interrupt()
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] in (["--help"], ["-h"], ["help"]):
        print(
            f"semantic-synthesis COMMAND --option value ...; COMMAND --help says more.\n\n{_SUMMARIES}",
            end="",
        )
        sys.exit(0)
    if arguments[:1] == ["--version"]:
        from semantic_synthesis import __version__

        print(__version__)
        sys.exit(0)
    words = [word for word in arguments if not word.startswith("-")][:2]
    name = next((n for n in (" ".join(words), *words[:1]) if n in COMMANDS), None)
    if name is None or arguments[: len(name.split())] != name.split():
        group = [n for n in COMMANDS if words and n.split()[0] == words[0] and " " in n]
        asked = f"unknown command {' '.join(words)!r}; " if words else ""
        sys.stderr.write(f"error: {asked}expected one of: {', '.join(group or COMMANDS)}\n")
        sys.exit(2)
    run(name, arguments[len(name.split()) :])


def run(name: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one command with flags; never returns."""
    end_on_interrupt()
    sys.argv = [f"semantic-synthesis {name}", *(sys.argv[1:] if arguments is None else arguments)]
    from semantic_synthesis import command_line  # not above: it imports TensorFlow

    importlib.import_module("semantic_synthesis.methods")  # descriptions may hold options of any of them
    module, attribute = COMMANDS[name]
    found = getattr(importlib.import_module(f"semantic_synthesis.{module}"), attribute)
    command_line.run(found if attribute == "COMMAND" else found[name.split()[-1]])


if __name__ == "__main__":
    main()
