"""Paths with a scheme (gs://, s3://, hdfs://, ram://): whatever tf.io.gfile opens, beside folders of this machine.

All others stay with Python's own functions: for them nothing here imports TensorFlow. Errors of both kinds are
OSErrors of one line. What is different for paths with a scheme:

* a file is written to the side, here, and then sent whole. Object stores show an object when it is whole; elsewhere it
  is sent to a name that begins with .part- and renamed. Folders are sent file by file, and the file that makes them
  count comes last (LAST);
* there are no locks, so that nothing keeps two programs from one folder;
* os.path.join, dirname and basename work with them; normpath, abspath, realpath and pathlib do not.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import os
import re
import tempfile
from collections.abc import Iterator
from typing import Any

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://")
_OBJECT_STORES = ("gs", "s3", "s3a", "az", "abfs")
LAST = ("checkpoint", "config.json", "saved_model.pb", "dataset.json", "index.json")


def is_remote(path: Any) -> bool:
    """Whether a path has a scheme."""
    return _SCHEME.match(os.fspath(path)) is not None


def _gfile():
    import tensorflow as tf  # not above: most commands never need it for a path

    return tf.io.gfile


@contextlib.contextmanager
def _as_os_errors(path):
    import tensorflow as tf

    path = os.fspath(path)
    try:
        yield
    except tf.errors.NotFoundError:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", path) from None
    except tf.errors.PermissionDeniedError as error:
        raise PermissionError(errno.EACCES, _reason(error), path) from None
    except tf.errors.OpError as error:
        raise OSError(errno.EIO, _reason(error), path) from None


def _reason(error):
    """The first line of what TensorFlow says, with a remedy where its file systems are not installed."""
    reason = (error.message or type(error).__name__).split("\n")[0]
    if "not implemented" in reason:
        reason += (
            "; pip install tensorflow-io, which brings file systems, and is imported where it is installed"
        )
    return reason


def exists(path: Any) -> bool:
    """os.path.exists."""
    return _asked("exists", path) if is_remote(path) else os.path.exists(path)


def is_folder(path: Any) -> bool:
    """os.path.isdir."""
    return _asked("isdir", path) if is_remote(path) else os.path.isdir(path)


def is_file(path: Any) -> bool:
    """os.path.isfile."""
    if not is_remote(path):
        return os.path.isfile(path)
    return _asked("exists", path) and not _asked("isdir", path)


def _asked(name: str, path: Any) -> Any:
    with _as_os_errors(path):
        return getattr(_gfile(), name)(os.fspath(path))


def names_in(folder: Any) -> list[str]:
    """os.listdir: names of files and folders, without slashes at their ends."""
    if not is_remote(folder):
        return os.listdir(folder)
    return [name.rstrip("/") for name in _asked("listdir", folder)]


def walk(folder: Any, links: bool = False) -> Iterator[tuple[str, list[str], list[str]]]:
    """os.walk: (folder, names of folders in it, names of files in it); links: whether links of folders count.

    Names that the reader takes out of the list of folders are passed over.
    """
    if not is_remote(folder):
        yield from os.walk(folder, followlinks=links)
        return
    with _as_os_errors(folder):
        first = next(iter(_gfile().walk(os.fspath(folder).rstrip("/"))), None)
    if first is None:
        return
    found, folders, files = first
    folders = [name.rstrip("/") for name in folders]
    yield found, folders, files
    for name in folders:
        yield from walk(os.path.join(found, name))


def normal(path: Any) -> str:
    """os.path.normpath; a scheme stays."""
    path = os.fspath(path)
    if not is_remote(path):
        return os.path.normpath(path)
    start = _SCHEME.match(path)[0]  # type: ignore[index]
    return start + os.path.normpath(path[len(start) :])


def absolute(path: Any) -> str:
    """os.path.abspath; a path with a scheme is."""
    return normal(path) if is_remote(path) else os.path.abspath(path)


def real(path: Any) -> str:
    """os.path.realpath; without links where there is a scheme."""
    return normal(path) if is_remote(path) else os.path.realpath(path)


def name_of(folder: Any) -> str:
    """The last part of a folder's real path."""
    return os.path.basename(real(folder).rstrip("/"))


def below(path: Any, folder: Any) -> str:
    """os.path.relpath; with slashes, and "." for the folder itself, where there is a scheme."""
    if not is_remote(folder):
        return os.path.relpath(path, folder)
    return normal(path)[len(normal(folder)) :].strip("/") or "."


def make_folder(folder: Any) -> None:
    """os.makedirs, also where it is there."""
    if is_remote(folder):
        _asked("makedirs", folder)
    else:
        os.makedirs(folder, exist_ok=True)


def remove(path: Any) -> None:
    """os.remove."""
    if is_remote(path):
        _asked("remove", path)
    else:
        os.remove(path)


def remove_folder(folder: Any) -> None:
    """Deletes a folder with all in it, if it is there."""
    if is_remote(folder):
        with contextlib.suppress(OSError):
            _asked("rmtree", folder)
    else:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def size_and_time(path: Any) -> tuple[int, int]:
    """(bytes, time of the last change in nanoseconds) of a file."""
    if is_remote(path):
        remote = _asked("stat", path)
        return remote.length, remote.mtime_nsec
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def read(path: Any, start: int = 0, count: int = -1) -> bytes:
    """The bytes of a file: all, or `count` (fewer at its end) from `start` on."""
    if not is_remote(path):
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(count)
    with _as_os_errors(path), _gfile().GFile(os.fspath(path), "rb") as file:
        if start:
            file.seek(start)
        return file.read(count) if count >= 0 else file.read()


def lines(path: Any) -> Iterator[bytes]:
    """The lines of a file; of a path with a scheme, all are read at once."""
    if is_remote(path):
        yield from read(path).splitlines()
        return
    with open(path, "rb") as file:
        yield from file


def blocks(path: Any, size: int = 1 << 20) -> Iterator[bytes]:
    """The bytes of a file in blocks."""
    if not is_remote(path):
        with open(path, "rb") as file:
            while block := file.read(size):
                yield block
        return
    with _as_os_errors(path), _gfile().GFile(os.fspath(path), "rb") as file:
        while block := file.read(size):
            yield block


@contextlib.contextmanager
def here(path: Any) -> Iterator[str]:
    """A file as one of this machine: itself, or a copy that is gone at the end."""
    if not is_remote(path):
        yield os.fspath(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, os.path.basename(os.fspath(path)))
        with _as_os_errors(path):
            _gfile().copy(os.fspath(path), copy)
        yield copy


@contextlib.contextmanager
def brought(path: Any) -> Iterator[str]:
    """A file, a folder or the files of a checkpoint's prefix as of this machine, for libraries that open them
    themselves: as it is, or a copy that is gone at the end. What an error says of the copy it says of `path`."""
    if not is_remote(path):
        yield os.fspath(path)
        return
    there = os.fspath(path).rstrip("/")
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, os.path.basename(there))
        _bring(there, copy)
        try:
            yield copy
        except (ValueError, OSError) as error:
            if copy not in str(error):
                raise
            raise type(error)(str(error).replace(copy, there)) from None


def _bring(there, copy):
    """Copies a file, a folder with all in it, or the files whose names begin with `there` and a dot."""
    parent, start = os.path.split(there)
    for name in names_in(parent) if is_folder(parent) else ():
        if name == start and is_folder(there):
            for root, _, names in walk(there):
                target = os.path.normpath(os.path.join(copy, below(root, there)))
                os.makedirs(target, exist_ok=True)
                for inner in names:
                    _copy(os.path.join(root, inner), os.path.join(target, inner))
        elif name == start or name.startswith(f"{start}."):
            _copy(os.path.join(parent, name), os.path.join(os.path.dirname(copy), name))


def _copy(there, copy):
    with _as_os_errors(there):
        _gfile().copy(there, copy)


@contextlib.contextmanager
def returned(folder: Any) -> Iterator[str]:
    """A folder to work in here: itself, or a copy (empty, where there is none) that is sent back at the end."""
    if not is_remote(folder):
        yield os.fspath(folder)
        return
    there = os.fspath(folder).rstrip("/")
    with tempfile.TemporaryDirectory() as made:
        copy = os.path.join(made, os.path.basename(there))
        os.mkdir(copy)
        if is_folder(there):
            _bring(there, copy)
        yield copy
        send_folder(copy, there)


@functools.lru_cache(None)
def kept_here(folder: str) -> str:
    """A folder as one of this machine: itself, or a copy that stays until this program ends."""
    if not is_remote(folder) or not is_folder(folder):
        return folder
    made = tempfile.TemporaryDirectory()
    atexit.register(made.cleanup)
    copy = os.path.join(made.name, os.path.basename(folder.rstrip("/")))
    _bring(folder.rstrip("/"), copy)
    return copy


def send(source: str, path: Any) -> None:
    """Copies a file of this machine to a path with a scheme, where it appears whole."""
    path = os.fspath(path)
    with _as_os_errors(path):
        gfile = _gfile()
        gfile.makedirs(os.path.dirname(path))
        if path.split("://")[0].lower() in _OBJECT_STORES:
            gfile.copy(source, path, overwrite=True)
            return
        part = os.path.join(os.path.dirname(path), f".part-{os.path.basename(path)}")
        gfile.copy(source, part, overwrite=True)
        gfile.rename(part, path, overwrite=True)


def send_folder(source: str, folder: Any) -> None:
    """Copies a folder of this machine, file by file, those of LAST at the end."""
    found = [os.path.join(root, name) for root, _, names in os.walk(source) for name in names]
    for path in sorted(found, key=lambda path: (os.path.basename(path) in LAST, path)):
        send(path, os.path.join(os.fspath(folder), os.path.relpath(path, source)))
