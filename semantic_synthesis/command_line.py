"""How the scripts start and end: quiet TensorFlow, parsed flags, one line per user error, exit 2."""

from __future__ import annotations

import contextlib
import difflib
import logging as stdlib_logging
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags, logging

from semantic_synthesis.options import Command, asked_before_parsing, define_flags

_TRUTHS = ("true", "false")


@contextlib.contextmanager
def _quiet_native_code():
    """Sends file descriptor 2 to nowhere: what TensorFlow's C++ prints on import has no other switch."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")  # what is wrong with a file is said once, by us
with _quiet_native_code():
    import tensorflow as tf

    tf.config.list_physical_devices()


def run(command: Command, summary: str) -> NoReturn:
    """Runs an options.Command with the flags of sys.argv; never returns. summary: what it is for."""
    define_flags(command.options, defaults=not isinstance(command.options, dict))
    if command.argument and sys.argv[1:] and not sys.argv[1].startswith("-"):
        sys.argv[1:2] = [f"--{command.argument}", sys.argv[1]]
    start(lambda: command.run(command.parsed()), lambda: command.help_text(summary))


def start(main: Callable[[], int], help_text: Callable[[], str] | None = None) -> NoReturn:
    """Runs main() (no arguments, returns an exit code) under absl; never returns.

    help_text() -> what --help prints.

    A user's mistake (ValueError, OSError, or one inside the input pipeline) ends as one line on standard
    error and exit code 2. What the encoding of standard output lacks is printed as \\u6e56.
    """
    if hasattr(sys.stdout, "reconfigure"):  # notebooks have other streams
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(_not_a_librarys_chatter)
    if sys.stderr.isatty():  # a file of log lines keeps their times
        logging.get_absl_handler().setFormatter(_ScreenFormatter())
    if help_text is not None and {"--help", "-h", "-help", "--helpfull", "--helpshort"} & set(sys.argv[1:]):
        sys.exit(_print_help(help_text))
    app.run(lambda argv: _guarded(main, argv), flags_parser=_parse)


class _ScreenFormatter(stdlib_logging.Formatter):
    """The message alone, without time, thread and line of code; warnings and errors say that they are ones."""

    def format(self, record):
        text = super().format(record)
        if record.levelno < stdlib_logging.WARNING:
            return text
        return f"{'warning' if record.levelno < stdlib_logging.ERROR else 'error'}: {text}"


def _not_a_librarys_chatter(record):
    """False for what TensorFlow and Keras say below warnings, such as how long they took to split a checkpoint."""
    theirs = any(f"{os.sep}{name}{os.sep}" in record.pathname for name in ("tensorflow", "keras"))
    return record.levelno >= logging.converter.STANDARD_WARNING or not theirs


def _print_help(help_text):
    try:
        print(help_text())
    except ValueError as error:
        _fail(one_line(error))
    return 0


def _parse(argv):
    try:
        return flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
        return _fail(_foreign_options(argv) or _elsewhere(error.flagname) or _unknown(error))
    except flags.Error as error:
        return _fail(str(error).replace("\n", " "))


def _unknown(error):
    """The line for a flag that is nowhere."""
    near = difflib.get_close_matches(error.flagname, list(flags.FLAGS), 1)
    meant = f"; did you mean --{near[0]}?" if near else ";"
    return f"--{error.flagname}: no such flag{meant} --help lists those there are"


def _elsewhere(name):
    """The remedy for a flag that another command has, or other servers; "" for none."""
    if name == "port" and "rest_api_port" in flags.FLAGS:
        return "--port is called --rest_api_port here"
    if name == "checkpoint_dir" and "export_dir" in flags.FLAGS:
        return (
            "--checkpoint_dir: this command takes exported models (--export_dir); make one with "
            "`export --checkpoint_dir RUN`, or open the run itself with `paint --checkpoint_dir RUN`"
        )
    return ""


def _foreign_options(argv):
    """What the unknown flags of a command line are called here, where they are of the original programs; else ""."""
    from semantic_synthesis.methods import METHODS

    asked = METHODS.get(asked_before_parsing("method", "spade"))
    converters = [method.converter() for method in (asked, *METHODS.values()) if method is not None]
    answers = {}
    for word in argv[1:]:
        name = word.lstrip("-").partition("=")[0]
        if not word.startswith("-") or name in flags.FLAGS or name in answers:
            continue
        for converter in converters:
            if name in getattr(converter, "FLAGS", {}):
                answers[name] = f"--{name} ({converter.ORIGIN}) is here: {converter.FLAGS[name]}"
                break
    return "; ".join([*answers.values(), "all names: docs/coming-from-other-repos.md"]) if answers else ""


def _guarded(main, argv):
    if len(argv) > 1:
        how = (
            f"a yes or no is --name or --name={argv[1].lower()}"
            if argv[1].lower() in _TRUTHS
            else "see --help"
        )
        return _fail(f"unexpected argument {argv[1]!r}; options are given as --name value, {how}")
    try:
        return main()
    except BrokenPipeError:  # who read standard output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except (ValueError, OSError) as error:
        return _fail(one_line(error))
    except Exception as error:
        from semantic_synthesis.data import user_error

        line = user_error(error)
        if line is None:
            raise
        return _fail(line)


def one_line(error: BaseException) -> str:
    """The error's message on one line."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def _fail(line):
    sys.stderr.write(f"error: {line}\n")
    sys.exit(2)
