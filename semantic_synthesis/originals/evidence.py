"""Options read off tensor shapes, compared with what flags and dataset ask for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np


class Finding(NamedTuple):
    """One option's value in a file, and how it shows."""

    value: object
    path: str
    how: str


class Evidence:
    """What the files of one original say about its options."""

    def __init__(self) -> None:
        self._findings = {}

    def add(self, option: str, value: Any, path: str, how: str) -> None:
        """Notes a value; a second file must say the same."""
        before = self._findings.setdefault(option, Finding(value, path, how))
        if before.value != value:
            raise ValueError(
                f"{option} is {before.value} in {before.path} ({before.how}) and {value} in "
                f"{path} ({how}); expected files of one and the same training"
            )

    def get(self, option: str) -> Finding | None:
        """The Finding of an option, or None."""
        return self._findings.get(option)

    def value(self, option: str) -> Any:
        """The value of an option, or None."""
        return self._findings[option].value if option in self._findings else None

    def source(self, option: str) -> tuple[str, str]:
        """(path, how) of an option that was found."""
        return self._findings[option][1:]

    def options(self) -> dict[str, Any]:
        """{option: value} of everything found."""
        return {name: finding.value for name, finding in self._findings.items()}

    def check(self, flags: Mapping[str, Any]) -> None:
        """Raises one ValueError that names every flag the files contradict."""
        wrong = [
            f"{name} is {finding.value} in {finding.path} ({finding.how}), but --{name} asks for "
            f"{flags[name]}"
            for name, finding in self._findings.items()
            if flags.get(name) is not None and flags[name] != finding.value
        ]
        if wrong:
            raise ValueError(f"{'; '.join(wrong)}; leave the flag out, or give the files it is true for")


def shape_of(tensors: Mapping[str, np.ndarray], name: str, path: str) -> tuple[int, ...]:
    """Shape of a tensor that the options are read off."""
    if name not in tensors:
        raise ValueError(
            f"{path}: no tensor {name} among its {len(tensors)}; expected another method, or a damaged file?"
        )
    return tensors[name].shape


def tensor_names(tensors: Mapping[str, np.ndarray], pattern: str) -> list[str]:
    """Names that match a regular expression as a whole."""
    return [name for name in tensors if re.fullmatch(pattern, name)]
