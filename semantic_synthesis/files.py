"""Files written whole or not at all, their checksums, and where the files that ship with the package lie.

Everything is written beside its place first and renamed into it, so that a killed program or a full disk leaves either
the old file or the new one, never a part.
"""

import contextlib
import errno
import functools
import hashlib
import json
import logging
import os
import re
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from semantic_synthesis import storage

try:
    import fcntl
except ImportError:  # Windows: no locks, so that leftovers stay
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"
_PACKAGE = Path(__file__).resolve().parent
_PART = re.compile(r"\.part-(\d+)(-[0-9a-f]{8})?$")  # older versions wrote NAME.part-PROCESS
_swept, _writing = set(), set()


def shipped(*parts: str) -> Path:
    """Path of a file or folder that ships with the package: datasets/..., checkpoints/... or recipes/...

    In an installed package they lie inside it, in a clone beside it. The path may not exist.
    """
    inside = _PACKAGE.joinpath(*parts)
    return inside if inside.exists() else _PACKAGE.parent.joinpath(*parts)


@contextlib.contextmanager
def written_beside(path: str | Path) -> Iterator[str]:
    """Gives a path beside `path` to write a file to; at the end it takes the name, on an error it vanishes.

    Folders above are made. A path with a scheme is written here first (`storage`). OSError, one line, where writing
    is impossible.
    """
    if storage.is_remote(path):
        with _sent(path) as (part, there):
            yield part
            storage.send(part, there)
        return
    path = Path(path)
    part = _part_of(path)
    _writing.add(part)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_parts(path.parent)
        with _held(part, os.O_WRONLY | os.O_CREAT):
            yield str(part)
            os.replace(part, path)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        _drop(part)


@contextlib.contextmanager
def _sent(path):
    """(path of this machine that vanishes at the end, path with a scheme as text); errors name the latter."""
    path = os.fspath(path)
    with tempfile.TemporaryDirectory() as folder:
        part = os.path.join(folder, "part")
        try:
            yield part, path
        except OSError as error:
            inside = error.filename is None or str(error.filename).startswith((folder, path))
            raise cannot_write(path if inside else error.filename, error) from None


@contextlib.contextmanager
def folder_beside(folder: str | Path) -> Iterator[Path]:
    """Gives a new empty folder beside `folder` to fill; at the end it takes the name, on an error it vanishes.

    `folder` must not exist, or be empty. The name of the new one begins with a dot: who looks for runs or model
    versions never sees a half-written one. OSError, one line, where writing is impossible.
    """
    if storage.is_remote(folder):
        with _sent(folder) as (made, there):
            os.mkdir(made)
            yield Path(made)
            storage.send_folder(made, there)
        return
    folder = Path(folder)
    part = _part_of(folder)
    _writing.add(part)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_parts(folder.parent)
        part.mkdir()
        with _held(part, os.O_RDONLY):
            yield part
            os.replace(part, folder)
    except OSError as error:
        inside = error.filename is None or str(part) in str(error.filename)
        raise cannot_write(folder if inside else error.filename, error) from None
    finally:
        _drop(part)


def drop_parts() -> None:
    """Deletes all that is being written: for a program that ends here and now."""
    for part in list(_writing):
        _drop(part)


def _drop(part):
    with contextlib.suppress(OSError):
        shutil.rmtree(part) if os.path.isdir(part) else os.remove(part)
    _writing.discard(part)


def cannot_write(path: str | Path, error: OSError) -> OSError:
    """The OSError of one line for a path that an OSError kept from being written."""
    remedies: dict[int | None, str] = {
        errno.ENOTEMPTY: "another program made it meanwhile; choose another name",
        errno.EEXIST: "another program made it meanwhile; choose another name",
        errno.ENAMETOOLONG: "choose a shorter name",
    }
    remedy = remedies.get(error.errno, "free space or choose another folder")
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        above = next((part for part in (Path(path), *Path(path).parents) if part.exists()), Path(path))
        if not above.is_dir():
            remedy = f"{above} is no folder; choose another one"
    return OSError(f"{path}: cannot be written ({error.strerror or error}); {remedy}")


def make_folder(folder: str | Path) -> None:
    """`storage.make_folder`; OSError, one line, where that is impossible."""
    try:
        storage.make_folder(folder)
    except OSError as error:
        raise cannot_write(folder, error) from None


# Parts: what is being written. Who writes one holds its lock, which ends with the process, however it ends.


def _part_of(path):
    """The name to write to: short, so that names as long as the disk allows can be written."""
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]
    return path.with_name(f".part-{os.getpid()}-{digest}")


@contextlib.contextmanager
def _held(part, how):
    """Holds the lock of a part; how: flags to open it with."""
    if fcntl is None:
        yield
        return
    held = os.open(part, how, 0o666)
    try:
        _hold(held)
        yield
    finally:
        os.close(held)


def _hold(descriptor):
    """Locks an open file or folder against other processes; False if one of them has it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # a file system without locks
        logging.debug("no lock: %s", error)
    return True


def remove_parts(folder: str | Path) -> None:
    """Deletes, once per process and folder, the parts that killed programs left there."""
    if storage.is_remote(folder):
        return
    folder = os.path.abspath(folder)
    if folder in _swept or fcntl is None:
        return
    _swept.add(folder)
    for name in os.listdir(folder):
        match = _PART.search(name)
        if match and not (_is_alive(int(match[1])) if match[2] is None else int(match[1]) == os.getpid()):
            _remove_part(os.path.join(folder, name))


def _is_alive(process):
    """Whether a process of this machine goes on; older versions held no locks."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _remove_part(path):
    with contextlib.suppress(OSError):
        held = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if _hold(held):
                shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
        finally:
            os.close(held)


@contextlib.contextmanager
def locked(folder: str | Path, doing: str) -> Iterator[None]:
    """Holds a folder, which is made, for one process; OSError if another has it. doing: what for, for the message.

    A folder that was made for it and in which nothing else was written vanishes again at the end.
    Paths with a scheme have no locks: there it only makes the folder.
    """
    if storage.is_remote(folder):
        make_folder(folder)
        yield
        return
    path, made = os.path.join(folder, LOCK_FILE), not os.path.isdir(folder)
    try:
        os.makedirs(folder, exist_ok=True)
        held = open(path, "a+", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise cannot_write(path, error) from None
    with held:
        if not _hold(held.fileno()):
            held.seek(0)
            raise OSError(
                f"{folder}: {doing} is at work here ({held.read(200).strip() or 'process unknown'}); wait for it or "
                "stop it, or choose another folder"
            )
        with contextlib.suppress(OSError):  # a full disk
            held.truncate(0)
            held.write(f"process {os.getpid()} on {socket.gethostname()}")
            held.flush()
        try:
            yield
        finally:
            if made:
                with contextlib.suppress(OSError):
                    if os.listdir(folder) == [LOCK_FILE]:
                        os.remove(path)
                        os.rmdir(folder)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes bytes to a file, whole or not at all."""
    with written_beside(path) as part, open(part, "wb") as file:
        file.write(content)


def write_text(path: str | Path, text: str) -> None:
    """Writes text to a file as UTF-8, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, values: Any) -> None:
    """Writes JSON to a file, whole or not at all."""
    write_text(path, json.dumps(values, indent=1) + "\n")


def read_json(path: str | Path, remedy: str, error: type[ValueError] = ValueError) -> Any:
    """The value in a JSON file, of any Unicode encoding, with or without a byte order mark.

    remedy: the end of the message about one that is damaged; error: its class, ValueError or one below it. OSError
    where the file cannot be read.
    """
    try:
        check_regular(path)
        return json.loads(storage.read(path))  # which finds the encoding
    except (ValueError, RecursionError) as reason:
        raise error(f"{os.fspath(path)}: not valid JSON ({reason}); {remedy}") from None


def write_arrays(path: str | Path, arrays: Mapping[str, Any], compressed: bool) -> None:
    """Writes {name: NumPy array} as .npz, whole or not at all."""
    with written_beside(path) as part, open(part, "wb") as file:
        (np.savez_compressed if compressed else np.savez)(file, **dict[str, Any](arrays))


def check_regular(path: str | Path) -> None:
    """ValueError for what reading might never end of, or never begin: pipes, devices, sockets. Other paths pass."""
    if storage.is_remote(path):
        return
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return  # who opens it says it better
    kinds = {
        stat.S_IFIFO: "a pipe",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFSOCK: "a socket",
    }
    kind = kinds.get(stat.S_IFMT(mode))
    if kind:
        raise ValueError(f"{path}: is {kind}, or a link to one; expected a regular file")


# Checksums


@functools.lru_cache(64)
def _sha256(path, _size, _changed):
    digest = hashlib.sha256()
    for block in storage.blocks(path):
        digest.update(block)
    return digest.hexdigest()


def file_sha256(path: str | Path) -> str:
    """Checksum of a file as hexadecimal text."""
    size, changed = storage.size_and_time(path)
    if storage.is_remote(path) and not changed:  # a file system that does not tell
        return _sha256.__wrapped__(str(path), size, changed)
    return _sha256(str(path), size, changed)


def array_sha256(arrays: Any) -> str:
    """Checksum of {name: array}, for networks that come from no file."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
