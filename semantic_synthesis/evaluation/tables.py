"""How figures are printed."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any


def show(value: object) -> str:
    """A figure or a word as short text."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def fitted_table(rows: Sequence[Mapping[str, Any]], *always: str, width: int = 80) -> str:
    """`table` for terminals: what all rows share, but for the columns `always`, stands below it in lines."""
    shared = {
        key: value
        for key, value in rows[0].items()
        if key not in always and all(row.get(key) == value for row in rows)
    }
    own = [{key: value for key, value in row.items() if key not in shared} for row in rows]
    text = "; ".join(f"{key}: {show(value)}" for key, value in shared.items())
    return "\n".join(
        [table(own), *([""] if text else []), *textwrap.wrap(text, width, break_on_hyphens=False)]
    )


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown table of dicts; the columns are the keys in the order of their first appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(show(row.get(column, "")) for column in columns) + " |" for row in rows]
    return "\n".join(lines)
