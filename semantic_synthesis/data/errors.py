"""Errors about a user's data: one line that says what, in which file, what was expected, what to do."""

import re
from collections.abc import Sequence

import tensorflow as tf

_MARKED = re.compile(r"DataError: (.+?)(?:\\n\]|\n|$)")  # tf.debugging.Assert ends texts with \n]


class DataError(ValueError):
    """A mistake in a dataset or a file; the message is one line for the user, whatever names of files hold."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """Text that every terminal shows on one line: what cannot be printed is escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def first_of(texts: Sequence[str], most: int = 5, separator: str = "; ") -> str:
    """The first texts on one line, and how many more there are."""
    more = f"{separator}and {len(texts) - most} more" if len(texts) > most else ""
    return separator.join(texts[:most]) + more


def user_error(exception: BaseException) -> str | None:
    """The one line to show the user, or None if the exception is not about their data.

    Inside tf.data and in graphs, exceptions arrive wrapped in tf.errors.*, with the original message
    and a traceback in their text; this finds the message again.
    """
    if isinstance(exception, (DataError, FileNotFoundError)):
        return str(exception)
    if isinstance(exception, tf.errors.OpError):
        found = _MARKED.search(exception.message or "")
        return found.group(1).replace(r"\'", "'").strip() if found else None
    if isinstance(exception, ValueError) and "\n" not in str(exception):
        return str(exception)
    return None
