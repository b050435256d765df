"""Text files that say which label values are which class: numbers, or the lists that labelling tools write."""

import re

from .. import storage
from .errors import DataError
from .tables import ClassTable

EXPECTED = (
    "expected integers with commas between, CVAT's labelmap.txt (name:red,green,blue:parts:actions), or lines like "
    "'red green blue name'"
)
_CVAT = re.compile(r"(?P<name>[^:]+):(?P<color>\d+,\d+,\d+)?(?::[^:]*){0,2}")
_COLORS_FIRST = re.compile(r"(?P<color>\d+[ \t,]+\d+[ \t,]+\d+)[ \t,]+(?P<name>[^\d\s,].*)")


def read_class_list(path: str, name: str) -> ClassTable:
    """The ClassTable of a text file; `name` is the dataset's. Errors: FileNotFoundError, DataError."""
    source = f"--semantic_label_path {path}"
    if not storage.is_file(path):
        raise FileNotFoundError(f"{source}: no such file; {EXPECTED}")
    text = "\n".join(storage.read(path).decode("utf-8-sig", "replace").splitlines())
    named = _named_classes(text, source)
    if named is None:
        return ClassTable.create(name, _label_values(text, source))
    names, colors = named
    return ClassTable.create(name, range(len(names)), names, colors)


def _named_classes(text, source):
    """(names, colours) of a labelling tool's list, in the order of its lines, which the ids follow; else None."""
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1)]
    lines = [(n, line) for n, line in lines if line and not line.startswith("#")]
    for rule in (_CVAT, _COLORS_FIRST):
        if not lines or not rule.fullmatch(lines[0][1]):
            continue
        names, colors = [], []
        for number, line in lines:
            match = rule.fullmatch(line)
            if match is None:
                raise DataError(f"{source}: line {number} is {line!r}; the lines before are of another form")
            names.append(match["name"].strip())
            color = match["color"]
            colors.append(None if color is None else [int(part) for part in re.findall(r"\d+", color)])
        return names, colors
    return None


def _label_values(text, source):
    """The comma-separated raw label values as integers."""
    values = []
    for word in text.strip().strip("[]()").replace(",", " ").split():
        try:
            value = float(word)
            if value != int(value):
                raise ValueError
        except (ValueError, OverflowError):
            raise DataError(f"{source}: {word!r}; {EXPECTED}") from None
        values.append(int(value))
    return values
