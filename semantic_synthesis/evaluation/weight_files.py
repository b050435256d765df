"""Public weight files of feature networks: given, already on this computer, or downloaded."""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import os
import re
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import logging

from semantic_synthesis.files import remove_parts

if TYPE_CHECKING:
    import numpy as np

RANDOM = "random"
_TIMEOUT_S = 30


def find_file(flag: str, given: str, url: str) -> str:
    """The path of a weight file.

    given: the flag's value, a path or empty. Empty: the file of the URL's name in PyTorch's cache folder
    (TORCH_HOME or ~/.cache/torch, hub/checkpoints), downloaded into it where it is missing; the hash in
    the name is checked.
    Errors: FileNotFoundError with the ways out.
    """
    if given:
        if not os.path.isfile(given):
            raise FileNotFoundError(f"--{flag} {given}: no such file; expected the file of {url}")
        return given
    name = url.rsplit("/", 1)[-1]
    home = os.environ.get("TORCH_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "torch"
    )
    path = os.path.join(home, "hub", "checkpoints", name)
    if not os.path.isfile(path):
        _download(url, path, flag)
    return path


def _download(url, path, flag):
    logging.info("downloading %s", url)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    remove_parts(os.path.dirname(path))
    partial, digest, size = f"{path}.part-{os.getpid()}", hashlib.sha256(), 0
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as source, open(partial, "wb") as file:
            while block := source.read(1 << 20):
                digest.update(block)
                size += file.write(block)
            told = source.headers.get("Content-Length", str(size))
        if told != str(size):  # a connection that ends early is no error of its own
            raise OSError(f"{size} bytes of {told} arrived")
        expected = re.search(r"-([0-9a-f]{8})\.pth$", url)
        if expected and not digest.hexdigest().startswith(expected[1]):
            raise OSError(f"its SHA-256 begins with {digest.hexdigest()[:8]}")
        os.replace(partial, path)
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        raise FileNotFoundError(
            f"{path}: missing, and {url} could not be downloaded ({error}); fetch that file elsewhere and "
            f"put it there or name it with --{flag}; or leave the metric or statistics out; or --{flag} "
            "random for figures that compare with nothing but each other"
        ) from None
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def file_in_package(package: str, inner: str) -> str | None:
    """A data file of an installed Python package, without importing it; None where it is not installed."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(found.submodule_search_locations[0]) / inner
    return str(path) if path.is_file() else None


def take(tensors: Mapping[str, np.ndarray], name: str, shape: Sequence[int], path: str) -> np.ndarray:
    """The tensor of a state dict with this name; ValueError unless it has this shape."""
    found = tensors.get(name)
    if found is None or tuple(found.shape) != tuple(shape):
        what = "is missing" if found is None else f"has shape {tuple(found.shape)}"
        raise ValueError(f"{path}: {name} {what}; expected shape {tuple(shape)}; is it the right file?")
    return found
