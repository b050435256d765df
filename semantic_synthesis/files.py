"""Files written whole or not at all, their checksums, and where the files that ship with the package lie.

Everything is written beside its place first and renamed into it, so that a killed program or a full disk leaves either
the old file or the new one, never a part.
"""

import contextlib
import functools
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np

_PACKAGE = Path(__file__).resolve().parent


def shipped(*parts):
    """Path of a file or folder that ships with the package: datasets/... or checkpoints/...

    In an installed package they lie inside it, in a clone beside it. The path may not exist.
    """
    inside = _PACKAGE.joinpath(*parts)
    return inside if inside.exists() else _PACKAGE.parent.joinpath(*parts)


@contextlib.contextmanager
def written_beside(path):
    """Gives a path beside `path` to write a file to; at the end it takes the name, on an error it vanishes.

    Folders above are made. OSError, one line, where writing is impossible.
    """
    path = os.fspath(path)
    part = f"{path}.part-{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        yield part
        os.replace(part, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"{path}: cannot be written ({reason}); free space or choose another folder") from None
    finally:
        with contextlib.suppress(OSError):
            os.remove(part)


@contextlib.contextmanager
def folder_beside(folder):
    """Gives a new empty folder beside `folder` to fill; at the end it takes the name, on an error it vanishes.

    `folder` must not exist, or be empty. The name of the new one begins with a dot: who looks for runs or model
    versions never sees a half-written one. OSError, one line, where writing is impossible.
    """
    folder = Path(folder)
    part = folder.with_name(f".{folder.name}.part-{os.getpid()}")
    try:
        part.mkdir(parents=True)
        yield part
        os.replace(part, folder)
    except OSError as error:
        where = error.filename if error.filename and str(part) not in str(error.filename) else folder
        reason = error.strerror or str(error)
        raise OSError(f"{where}: cannot be written ({reason}); free space or choose another folder") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_bytes(path, content):
    """Writes bytes to a file, whole or not at all."""
    with written_beside(path) as part, open(part, "wb") as file:
        file.write(content)


def write_text(path, text):
    """Writes text to a file as UTF-8, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path, values):
    """Writes JSON to a file, whole or not at all."""
    write_text(path, json.dumps(values, indent=1) + "\n")


def write_arrays(path, arrays, compressed):
    """Writes {name: NumPy array} as .npz, whole or not at all."""
    with written_beside(path) as part, open(part, "wb") as file:
        (np.savez_compressed if compressed else np.savez)(file, **arrays)


# Checksums


@functools.lru_cache(64)
def _sha256(path, _size, _changed):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def file_sha256(path):
    """Checksum of a file as hexadecimal text."""
    status = os.stat(path)
    return _sha256(str(path), status.st_size, status.st_mtime_ns)


def array_sha256(arrays):
    """Checksum of {name: array}, for networks that come from no file."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
