"""Options as dataclass fields: declaration, type checks, command-line flags and their help.

A dataclass of options is the only place where an option is written down; flags, help and `config.json`
are made from it. An option says what it is for by its role:
  network   variables or their meaning depend on it: never changed once a run has weights;
  training  decides what is learned: fixed once training has begun, unless `resume` says otherwise;
  run       where files lie, how the work is done or shown: free at any time.
"""

import dataclasses
import math
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field
from typing import Any, NamedTuple, TypeVar

from absl import flags

Options = TypeVar("Options")
ROLES = ("network", "training", "run")
_replaced = {}  # {name of a flag of the command at work: the flag that had the name before, or None}
SMALLEST, LARGEST = -(2**63), 2**63 - 1  # what integers of TensorFlow and NumPy hold


def option(
    default: Any,
    text: str,
    choices: Sequence[Any] | None = None,
    kind: Any = None,
    *,
    role: str = "run",
    resume: Any = None,
    group: str = "",
    fallback: Any = None,
    least: Any = None,
) -> Any:
    """One option: its default, help text, allowed values and type (needed where default is None).

    role: see above; resume: whether a resumed run may change it, default: roles run alone; group: heading in the help;
    fallback: the value where default is None and the dataset's description leaves it open, too; least: the smallest
    allowed number, default: 0 for integers that networks depend on.
    """
    if role not in ROLES:
        raise ValueError(f"role is {role!r}; expected one of {', '.join(ROLES)}")
    kind = kind or type(default)
    least = 0 if least is None and kind is int and role == "network" else least
    about = {
        "help": text,
        "choices": choices,
        "kind": kind,
        "role": role,
        "group": group,
        "least": least,
        "resume": role == "run" if resume is None else resume,
        "fallback": fallback,
    }
    return field(default=default, metadata=about)


def redeclared(base: type, name: str, default: Any) -> Any:
    """The option of a base class with another default, for the class body of a subclass."""
    return field(default=default, metadata=options_of(base)[name].metadata)


def options_of(options: Any) -> dict[str, dataclasses.Field]:
    """{name: field} of the options of a dataclass, without what is never an option."""
    return {f.name: f for f in dataclasses.fields(options) if f.metadata.get("kind")}


def check_type(option: dataclasses.Field, value: Any, source: str) -> None:
    """Raises ValueError unless value suits the option's kind and choices; `source` begins the message."""
    if value is None and option.default is None:
        return
    kind, choices = option.metadata["kind"], option.metadata["choices"]
    right = (
        isinstance(value, bool) if kind is bool else isinstance(value, kind) and not isinstance(value, bool)
    )
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        right = True
    if not right:
        raise ValueError(f"{source}: {option.name} is {value!r}; expected {kind.__name__}")
    if kind is int and not SMALLEST <= value <= LARGEST:
        raise ValueError(f"{source}: {option.name} is {value}; expected an integer of 64 bits")
    if kind is float and not math.isfinite(value):
        raise ValueError(f"{source}: {option.name} is {value}; expected a finite number")
    least = option.metadata["least"]
    if least is not None and value < least:
        raise ValueError(f"{source}: {option.name} is {value}; expected {least} or more")
    if choices and value not in choices:
        raise ValueError(f"{source}: {option.name} is {value!r}; expected one of {', '.join(choices)}")


def check_seeds(first: int, count: int) -> None:
    """Refuses a --seed of which the last of `count` seeds is beyond 64 bits."""
    if not SMALLEST <= first <= LARGEST - count:
        raise ValueError(
            f"--seed {first}: expected integers of 64 bits, also for the {count} seeds from this one on"
        )


class Use(NamedTuple):
    """When options have an effect.

    names: of options, separated by spaces; holds: a truth, whether they have one; why: what they are for and what to
    do, the end of a message.
    """

    names: str
    holds: Any
    why: str


def unused(
    options: Any, uses: Iterable[Use], given: Iterable[str] | None = None
) -> Iterator[tuple[list[str], str]]:
    """(options as on the command line, why) of each Use that does not hold, for those of its options that were given.

    given: their names; default: those that have other values than their defaults.
    """
    known = options_of(options)
    for names, holds, why in uses:
        found = [
            _as_flag(name, getattr(options, name))
            for name in ([] if holds else names.split())
            if (getattr(options, name) != known[name].default if given is None else name in given)
        ]
        if found:
            yield found, why


def refuse_unused(options: Any, uses: Iterable[Use], given: Iterable[str] | None = None) -> None:
    """ValueError for the first option that was given and has no effect beside the others."""
    for found, why in unused(options, uses, given):
        raise ValueError(f"{found[0]}: {why}")


def _as_flag(name, value):
    if isinstance(value, bool):
        return f"--{name}" if value else f"--{name}=false"
    return f"--{name} {value[0] if isinstance(value, tuple) and value else value}"


class Command(NamedTuple):
    """What one command of the command line is.

    options: dataclass, or {name: field}; run: from the filled dataclass (with {name: field}: from {name: value} of the
    flags really given) to the exit code; example: a command line without the program's name, or several, by lines;
    shown: what --help lists instead of `options`, as a function, where that depends on the command line; argument: the
    option that a first word without -- fills.
    """

    options: type | dict
    run: Callable
    example: str
    shown: Callable | None = None
    argument: str = ""

    def help_text(self, summary: str) -> str:
        """What --help prints. summary: what the command is for."""
        options = self.options if self.shown is None else self.shown()
        title = "Examples" if "\n  " in self.example.replace("\n      ", " ") else "Example"
        return f"{summary[:1].upper()}{summary[1:]}.\n\n{title}:\n  {self.example}\n{help_text(options)}"

    def parsed(self) -> Any:
        """What `run` takes, from the parsed command line."""
        return given_flags(self.options) if isinstance(self.options, dict) else from_flags(self.options)


# Flags


def union(classes: Iterable[type]) -> dict[str, dataclasses.Field]:
    """{name: field} of the options of several dataclasses; of equal names the first.

    ValueError where two of one name are of different types: no flag could be both.
    """
    found = {}
    for options in classes:
        for name, one in options_of(options).items():
            before = found.setdefault(name, (one, options))
            if before[0].metadata["kind"] is not one.metadata["kind"]:
                raise ValueError(
                    f"option {name} is {before[0].metadata['kind'].__name__} in {before[1].__name__} and "
                    f"{one.metadata['kind'].__name__} in {options.__name__}; rename one of them"
                )
    return {name: one for name, (one, _) in found.items()}


def define_flags(options: Any, defaults: bool = True) -> None:
    """Defines one absl flag per option: of a dataclass, or {name: field}.

    defaults=False: flags stand at None until given, and values are checked against choices later, because
    methods may differ in both.
    """
    known = options if isinstance(options, dict) else options_of(options)
    _forget_flags()
    for name, one in known.items():
        _replaced[name] = flags.FLAGS[name] if name in flags.FLAGS else None  # noqa: SIM401  (it has no `get`)
        if _replaced[name] is not None:
            delattr(flags.FLAGS, name)  # absl.logging owns a log_dir
        kind, choices, text = (one.metadata[key] for key in ("kind", "choices", "help"))
        default = one.default if defaults else None
        if choices and defaults:
            flags.DEFINE_enum(name, default, choices, text)
        elif kind is bool:
            flags.DEFINE_boolean(name, default, text)
        elif kind is tuple:
            flags.DEFINE_multi_string(name, list(default) if isinstance(default, tuple) else None, text)
        else:
            define = {int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}[kind]
            least = one.metadata["least"]
            limits = {
                int: {"lower_bound": SMALLEST if least is None else least, "upper_bound": LARGEST},
                float: {"lower_bound": least},
            }.get(kind, {})
            define(name, default, text, **limits)


def _forget_flags() -> None:
    """Takes back the flags of the command before: in one process, a notebook, there may be several by turns."""
    for name, before in _replaced.items():
        if name in flags.FLAGS:
            delattr(flags.FLAGS, name)
        if before is not None:
            flags.FLAGS[name] = before
    _replaced.clear()


def given_flags(options: Any) -> dict[str, Any]:
    """{name: value} of the flags of a dataclass, or of {name: field}, that the command line really set."""
    names = options if isinstance(options, dict) else options_of(options)
    return {name: flags.FLAGS[name].value for name in names if flags.FLAGS[name].present}


def from_flags(options: type[Options]) -> Options:
    """The dataclass filled from the parsed command line."""
    return options(**{name: flags.FLAGS[name].value for name in options_of(options)})


def asked_before_parsing(name: str, default: str = "") -> str:
    """The value of --name on the command line, before flags are defined."""
    value = default
    for here, after in zip(sys.argv[1:], [*sys.argv[2:], ""], strict=False):
        if here in (f"--{name}", f"-{name}"):
            value = after
        elif here.startswith((f"--{name}=", f"-{name}=")):
            value = here.partition("=")[2]
    return value


# Help


def help_text(options: Any, width: int = 80) -> str:
    """The options of a dataclass (or {name: field}) by groups: name, type or choices, default, what it does."""
    known = options if isinstance(options, dict) else options_of(options)
    groups = {}
    for name, one in known.items():
        groups.setdefault(one.metadata["group"] or "Options", []).append((name, one))
    lines = []
    for group, members in groups.items():
        lines += ["", f"{group}:"]
        for name, one in members:
            lines += _wrapped_choices(f"  --{name}{_values(one)}", width)
            text = f"{one.metadata['help']}{_default(one)}"
            lines += textwrap.wrap(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


def _wrapped_choices(line, width):
    """A flag and its choices, broken behind a | where it is too long."""
    parts = textwrap.wrap(line.replace("|", "| "), width, subsequent_indent=" " * 8)
    return [part.replace("| ", "|").rstrip() for part in parts]


def _values(one):
    kind, choices = one.metadata["kind"], one.metadata["choices"]
    if kind is bool:
        return ""
    if choices:
        return f"={'|'.join(choices)}"
    return {int: "=N", float: "=X", tuple: "=TEXT (may be repeated)"}.get(kind, "=TEXT")


def _default(one):
    fallback = one.metadata["fallback"]
    if one.default is None:
        return " (default: by the dataset)" if fallback is not None else ""
    if one.default in ("", (), False):
        return ""
    return f" (default: {one.default})"
