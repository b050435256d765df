"""Finds one network in a checkpoint: state dicts inside of others, under names that begin alike, beside optimisers.

Trainers wrap what they save: {"state_dict": ...}, {"g_ema": ..., "iter": 1000}, `module.` (DataParallel), `_orig_mod.`
(torch.compile), `netG.` (a model of several networks). A network is known by a tensor that only such a one has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from semantic_synthesis.originals.evidence import tensor_names

_WRAPPERS = ("module", "_orig_mod")
_AVERAGES = re.compile(r"(^|[^a-z])(ema|avg|average[sd]?|shadow)([^a-z]|$)", re.I)
_SHOWN = 6


class Found(NamedTuple):
    """One network in a file: its entry ("netG", "ema/state_dict", "": top), what its names begin with, tensors."""

    entry: str
    prefix: str
    tensors: dict

    @property
    def name(self) -> str:
        """What --entry calls it."""
        return "/".join(filter(None, (self.entry, self.prefix.rstrip("."))))


def networks(content: Mapping[str, Any], mark: str, path: str) -> list[Found]:
    """All networks of a checkpoint that a pattern of a tensor's name marks.

    content: {name: tensor, or dict of such, or whatever else trainers save}.
    """
    return [network for one in _state_dicts(content) for network in _networks(*one, mark, path)]


def choose(found: list[Found], path: str, entry: str = "") -> Found:
    """The one of several networks that `entry` names; else the only one, or the only one of averaged weights.

    ValueError where that leaves several. What was chosen and what is left out is logged.
    """
    averages = [network for network in found if _AVERAGES.search(network.name)]
    named = [network for network in found if entry and network.name == entry]
    single = next((some[0] for some in (named, found, averages) if len(some) == 1), None)
    if single is None:
        names = ", ".join(network.name or "(the top)" for network in found[:_SHOWN])
        raise ValueError(
            f"{path}: holds {len(found)} networks of this kind: {names}; choose one with --entry NAME"
        )
    others = ", ".join(network.name or "the top" for network in found if network is not single)
    if single.name or others:
        logging.info(
            "%s: taken is %s (%d tensors)%s",
            path,
            single.name or "the top",
            len(single.tensors),
            f"; left out: {others}" if others else "",
        )
    return single


def _state_dicts(content: Mapping, entry: str = "", depth: int = 4) -> Iterator[tuple[str, dict]]:
    """(entry, {name: tensor}) of every dict that holds tensors, the outer before the inner."""
    tensors = {
        name: value
        for name, value in content.items()
        if isinstance(name, str) and hasattr(value, "shape") and not _is_score(name, value)
    }
    if tensors:
        yield entry, tensors
    for name, value in content.items():
        if isinstance(value, Mapping) and depth:
            yield from _state_dicts(value, "/".join(filter(None, (entry, str(name)))), depth - 1)


def _is_score(name, value):
    """Whether a NumPy scalar stands beside the tensors, as {"best_fid": ...}, rather than being a layer's counter."""
    return isinstance(value, np.generic) and "." not in name


def _networks(entry: str, tensors: dict, mark: str, path: str) -> Iterator[Found]:
    """The marked networks of one state dict: of its names as they are, else of those that begin alike."""
    if tensor_names(tensors, mark):
        yield Found(entry, "", tensors)
        return
    plain = {name: _unwrapped(name) for name in tensors}
    prefixes = [prefix for name in plain.values() if (prefix := _prefix(name, mark)) is not None]
    for prefix in dict.fromkeys(prefixes):
        own = {}
        for name, short in plain.items():
            if not short.startswith(prefix):
                continue
            if short.removeprefix(prefix) in own:
                raise ValueError(
                    f"{path}: {name} occurs with and without {'., '.join(_WRAPPERS)}.; expected one of them"
                )
            own[short.removeprefix(prefix)] = tensors[name]
        yield Found(entry, prefix, own)


def _unwrapped(name):
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _prefix(name, mark):
    """What stands before a marked name, None where there is none."""
    parts = name.split(".")
    places = (i for i in range(len(parts)) if re.fullmatch(mark, ".".join(parts[i:])))
    at = next(places, None)
    return None if at is None else "".join(f"{part}." for part in parts[:at])


def described(content: Mapping[str, Any]) -> str:
    """What is in a checkpoint, for the message that no network was found."""
    dicts = list(_state_dicts(content))
    if not dicts:
        names = ", ".join(map(str, list(content)[:_SHOWN])) or "nothing"
        return f"no tensors ({names}); expected a state dict, {{name: tensor}}"
    texts = []
    for entry, tensors in dicts[:_SHOWN]:
        first = next(iter(tensors))
        count = f"{len(tensors)} tensors, the first {first} {tuple(tensors[first].shape)}"
        texts.append(f"{entry}: {count}" if entry else count)
    return "; ".join(texts)
