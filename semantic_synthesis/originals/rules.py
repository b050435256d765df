"""Conversion rules as data, and their exact application.

A method's module lists, for each file of the original, which tensor fills which variable and how
its axes move. `apply_rules` uses every tensor of the source exactly once (or drops it for a stated
reason), fills every variable of ours, and raises one error that lists whatever is left over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from semantic_synthesis.data.errors import first_of

_SHOWN = 4


class Rule(NamedTuple):
    r"""One kind of source tensor.

    source: regular expression for the whole name of the tensor.
    target: name of the variable it fills, with groups of `source` as \1, \2, ...
    to_ours: array in the source's axis order -> array in ours.
    part: (i, n): the tensor fills the i-th of n equal parts of the variable's last axis.
    """

    source: str
    target: str
    to_ours: Callable[[np.ndarray], np.ndarray] = lambda array: array
    part: tuple[int, int] = (0, 1)


class Ignored(NamedTuple):
    """A kind of source tensor that is not needed; `reason` says why."""

    source: str
    reason: str


class Source(NamedTuple):
    """One file of the original: path for messages, {name: array}, the rules for it."""

    path: str
    tensors: dict
    rules: list


def convolution(array: np.ndarray) -> np.ndarray:
    """(O,I,kh,kw) -> (kh,kw,I,O); of a transposed convolution (I,O,kh,kw) -> (kh,kw,O,I)."""
    return array.transpose(2, 3, 1, 0)


def linear(array: np.ndarray) -> np.ndarray:
    """(out,in) -> (in,out)."""
    return array.transpose()


def right_vector(size: int) -> Callable[[np.ndarray], np.ndarray]:
    """weight_v of a size x size convolution: (I*kh*kw) -> (kh*kw*I), the rows of our kernel."""

    def to_ours(array):
        return array.reshape(-1, size, size).transpose(1, 2, 0).reshape(-1)

    return to_ours


def spectral_convolution(source: str, target: str, size: int) -> list[Rule | Ignored]:
    """The rules of a convolution with or without spectral norm (old-style PyTorch hook)."""
    return [
        Rule(rf"{source}\.weight(?:_orig)?", rf"{target}/kernel", convolution),
        Rule(rf"{source}\.weight_u", rf"{target}/u"),
        Rule(rf"{source}\.weight_v", rf"{target}/v", right_vector(size)),
        Rule(rf"{source}\.bias", rf"{target}/bias"),
    ]


def apply_rules(
    sources: Sequence[Source], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Converts the tensors of all files of one original.

    sources: list of Source; shapes: {variable name: shape} of the model to fill.
    Returns ({variable name: float32 array}, {source tensor: reason it was ignored}).
    Errors: one ValueError that lists tensors without a place, shapes that differ and variables
    without a value.
    """
    arrays, ignored, problems = {}, {}, []
    filled = {name: set() for name in shapes}
    for path, tensors, rules in sources:
        unknown = []
        for name, tensor in tensors.items():
            rule, target = _find_rule(rules, name)
            if isinstance(rule, Ignored):
                ignored[name] = rule.reason
            elif target not in shapes:
                unknown.append(f"{name} {tensor.shape}")
            else:
                problem = _fill(arrays, filled[target], target, shapes[target], rule, tensor)
                problems.extend([f"{path}: {name} {problem}"] if problem else [])
        if unknown:
            problems.append(f"{path}: no place for {first_of(unknown, _SHOWN, ', ')}")
    missing = [name for name, parts in filled.items() if not _complete(parts)]
    if missing:
        problems.append(f"{sources[0].path}: no tensor for {first_of(missing, _SHOWN, ', ')}")
    if problems:
        raise ValueError(
            f"tensors and model do not match: {first_of(problems, _SHOWN)}; check that the files "
            "belong to --method and that the flags are those of the training"
        )
    return arrays, ignored


def _find_rule(rules, name):
    """(rule, variable name) for a source tensor; (None, None) where no rule speaks of it."""
    found = [(rule, match) for rule in rules if (match := re.fullmatch(rule.source, name))]
    if not found:
        return None, None
    if len(found) > 1:
        raise RuntimeError(f"rules {[rule.source for rule, _ in found]} all match {name}")
    rule, match = found[0]
    return rule, None if isinstance(rule, Ignored) else match.expand(rule.target)


def _fill(arrays, parts, target, shape, rule, tensor):
    """Writes one tensor into its (part of a) variable; returns what is wrong, or None."""
    index, count = rule.part
    expected = (*shape[:-1], shape[-1] // count)
    try:
        array = rule.to_ours(tensor)
    except ValueError:
        array = tensor  # a shape the rule cannot rearrange; reported below
    if rule.part in parts:
        return f"fills {target} a second time"
    parts.add(rule.part)
    if array.shape != expected or not np.issubdtype(array.dtype, np.floating):
        return f"gives {array.dtype} {array.shape} for {target}, which takes {expected}"
    if not np.isfinite(array).all():
        return "holds values that are not finite (damaged file, or a training that diverged)"
    start = index * expected[-1]
    arrays.setdefault(target, np.empty(shape, np.float32))[..., start : start + expected[-1]] = array
    return None


def _complete(parts):
    return bool(parts) and len(parts) == next(iter(parts))[1]
