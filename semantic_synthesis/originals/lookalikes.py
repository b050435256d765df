"""Whose file a checkpoint is, where it is not one of the method that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semantic_synthesis.originals.evidence import tensor_names
from semantic_synthesis.originals.wrapped import networks


def looks_like(content: Mapping[str, Any], path: str, role: str, converters: Mapping[str, Any]) -> str:
    """Whose network a file holds, and the remedy; "" where no method knows it.

    content: what the file holds; role: the flag it is given as, which is believed first; converters: {method: its
    converter} of those that come into question.
    """
    kinds: dict[tuple, dict] = {}  # {(not as given?, not the first file?, its flag): {method: tensors}}
    for name, converter in converters.items():
        for number, (flag, (_, mark)) in enumerate(converter.ROLES.items()):
            found = networks(content, mark, path)
            if found and (number or _has_elders(found[0].tensors, converter, converters)):
                key = (flag != role, number > 0, flag)
                kinds.setdefault(key, {})[name] = found[0].tensors
    if not kinds:
        return ""
    kind = min(kinds)
    owners = kinds[kind]
    if not kind[1]:
        owners = {name: x for name, x in owners.items() if not younger(name, x, converters)}
    text = f"it looks like {' or '.join(owners)} (--{kind[2]})"
    return f"{text}: take --method {min(owners)}" if len(owners) == 1 else f"{text}: check --method"


def _has_elders(tensors, converter, converters):
    """Whether what marks the generators of the methods that one grew from is here as well."""
    marks = [_mark(converters[name]) for name in getattr(converter, "GREW_FROM", ()) if name in converters]
    return all(tensor_names(tensors, mark) for mark in marks)


def _mark(converter):
    return next(iter(converter.ROLES.values()))[1]


def younger(method: str, tensors: Mapping[str, Any], converters: Mapping[str, Any]) -> list[str]:
    """Methods that grew from this one and know a network as theirs that this one takes for its own."""
    grown = {name: one for name, one in converters.items() if method in getattr(one, "GREW_FROM", ())}
    return [name for name, one in grown.items() if tensor_names(tensors, _mark(one))]
