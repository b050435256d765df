"""Reading PyTorch's .pth files without running anything they contain."""

import argparse
import contextlib
import pickle
import re
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from semantic_synthesis.files import check_regular
from semantic_synthesis.foreign_files import foreign_kind
from semantic_synthesis.safetensors_files import is_safetensors, read_safetensors

_PICKLE = b"\x80"  # first byte of files in the older format
_CHUNK = 1 << 20
# What torch.load raises on damaged files, depending on where the damage is.
_DAMAGE = (RuntimeError, EOFError, OSError, ValueError, TypeError, LookupError, AttributeError)


def read_pth(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict: {name: NumPy array}, `module.` prefixes removed.

    A state dict that is the only one of a dict, as in {"state_dict": ..., "epoch": 3}, is taken out of it.
    Both formats of torch.save are read (zip, and the older one of torch < 1.6). Arrays of zip files
    are memory-mapped: they cost memory when touched. bfloat16 becomes float32.
    Errors: FileNotFoundError; ValueError for damaged files, files with other content than tensors,
    and where PyTorch is not installed.
    """
    content = _only_state_dict(read_content(path), path)
    others = [str(name) for name, value in content.items() if not hasattr(value, "shape")]
    if others:
        raise ValueError(
            f"{path}: entries that are no tensors ({', '.join(others[:4])}); expected a state "
            "dict, {name: tensor}, such as latest_net_G.pth; save one network's alone"
        )
    plain = {}
    for name, tensor in content.items():
        name = name.removeprefix("module.")
        if name in plain:
            raise ValueError(
                f"{path}: {name} occurs with and without the prefix module.; expected one of them"
            )
        plain[name] = tensor
    return to_arrays(plain, path)


def _only_state_dict(content, path):
    """The dict of tensors inside of one that trainers saved; the dict itself where it holds tensors, or no such."""
    found = {
        name: value
        for name, value in content.items()
        if isinstance(value, Mapping) and value and all(hasattr(one, "shape") for one in value.values())
    }
    if not found or any(hasattr(value, "shape") and np.ndim(value) for value in content.values()):
        return content
    if len(found) > 1:
        raise ValueError(
            f"{path}: holds {len(found)} state dicts ({', '.join(map(str, found))}); save the one that is meant alone"
        )
    return next(iter(found.values()))


def read_content(path: str | Path) -> dict[str, Any]:
    """What a .pth or .safetensors file holds: {name: tensor, NumPy array, dict of such, or another simple value}.

    Errors: as `read_pth`; what is no such file is named as what it is.
    """
    check_regular(path)
    if is_safetensors(path):
        return dict(read_safetensors(path))
    kind = foreign_kind(path)
    if kind:
        raise ValueError(f"{path}: {kind}; expected a file written by torch.save, or .safetensors")
    content = _load(_import_torch(path), path)
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: holds a {type(content).__name__}; expected a state dict, {{name: tensor}}")
    return content


def to_arrays(tensors: Mapping[str, Any], path: str | Path) -> dict[str, np.ndarray]:
    """{name: NumPy array} of tensors of either kind of file; ValueError for those without plain values."""
    return {
        name: np.asarray(tensor)
        if isinstance(tensor, (np.ndarray, np.generic))
        else _to_numpy(_import_torch(path), tensor, f"{path}: {name}")
        for name, tensor in tensors.items()
    }


def _import_torch(path):
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"{path}: reading .pth files needs PyTorch; install it for the conversion: pip install torch"
        ) from None
    return torch


def _load(torch, path):
    check_regular(path)
    try:
        with open(path, "rb") as file:
            start = file.read(512)
    except IsADirectoryError:
        raise ValueError(f"{path}: is a folder; expected a .pth file") from None
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; expected a .pth file of the original") from None
    if not start:
        raise ValueError(f"{path}: is empty; get the file again")
    is_zip = zipfile.is_zipfile(path)
    if start.startswith(b"PK") and not is_zip:
        raise ValueError(
            f"{path}: truncated zip archive (its table of contents is missing); get the file again"
        )
    if not is_zip and not start.startswith(_PICKLE):
        raise ValueError(
            f"{path}: no PyTorch checkpoint, it starts with {start[:8]}; expected a file written "
            "by torch.save"
        )
    if is_zip:
        _check_sums(path)
    try:
        with warnings.catch_warnings(), _allowed(torch):
            warnings.simplefilter("ignore", UserWarning)  # about pickles that are refused below
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        raise ValueError(_explain_unpickling(path, str(error))) from None
    except _DAMAGE as error:
        text = str(error).strip().splitlines()
        raise ValueError(
            f"{path}: truncated, damaged or no PyTorch checkpoint "
            f"({text[0] if text else type(error).__name__}); get the file again"
        ) from None


def _check_sums(path):
    """ValueError where a record of a zip file does not have its checksum, at which torch.load does not look.

    Files that were written without checksums have zeros there.
    """
    with zipfile.ZipFile(path) as archive:
        for record in filter(lambda one: one.CRC, archive.infolist()):
            try:
                with archive.open(record) as content:
                    while content.read(_CHUNK):
                        pass
            except (zipfile.BadZipFile, zlib.error, *_DAMAGE):
                raise ValueError(
                    f"{path}: damaged, {record.filename} in it does not match its checksum; get the file again"
                ) from None


def _allowed(torch):
    """The context in which loading takes what trainers put beside tensors and is data alone: scores as NumPy scalars,
    options as a Namespace. PyTorch has it from 2.5 on."""
    if not hasattr(torch.serialization, "safe_globals"):
        return contextlib.nullcontext()
    kinds = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)]
    scalar = np.float64(0).__reduce__()[0]
    modules = ("numpy.core.multiarray", "numpy._core.multiarray")  # before NumPy 2, and since
    named = [(scalar, f"{module}.scalar") for module in modules]
    return torch.serialization.safe_globals([argparse.Namespace, np.dtype, *kinds, *named])


def _explain_unpickling(path, text):
    match = re.search(r"(?:GLOBAL|[Gg]lobal:?) (\w+\.[\w.]+)", text)
    if match or ("Unsupported operand" in text and "REDUCE" in text):
        what = f" ({match[1]})" if match else ""
        return (
            f"{path}: holds Python objects other than tensors{what}; nothing of it was run, and "
            "it is not read; expected a plain state dict"
        )
    if "truncated" in text:
        return f"{path}: truncated (the file ends inside its table of tensors); get the file again"
    return f"{path}: no PyTorch checkpoint, or a damaged one; expected a file written by torch.save"


def _to_numpy(torch, tensor, what):
    if tensor.device.type == "meta":
        raise ValueError(
            f"{what} is a meta tensor, a shape without values; save the network's weights themselves"
        )
    if tensor.is_sparse or tensor.is_quantized:
        raise ValueError(f"{what} is a {tensor.layout} {tensor.dtype} tensor; expected dense floats")
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return np.asarray(tensor.detach().numpy())
