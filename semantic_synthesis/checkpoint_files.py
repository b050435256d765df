"""Training checkpoints on disk: which are whole, which is the newest, and how they are written and dropped.

A checkpoint is `ckpt-N.index`, `ckpt-N.data-*` and, written last, `ckpt-N.sha256` with the checksums of both: who has
it is whole. Checkpoints of older versions have none; the file `checkpoint` lists those that are whole, and where that
is gone or damaged, too, every tensor is read with TensorFlow's own checksums.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging

from semantic_synthesis import storage
from semantic_synthesis.files import cannot_write, file_sha256, write_text

LIST_FILE = "checkpoint"
_SEAL = ".sha256"
_NAME = re.compile(r"ckpt-(\d+)\.(index|sha256)")
_REMEDY = "delete its files to use an older one (ckpt-{n}.*)"


def newest_checkpoint(run_dir: str | Path) -> str | None:
    """Path prefix of the newest training checkpoint, None for a run without any.

    What a killed program left half-written is passed over. ValueError if the newest one is damaged, or if checkpoints
    were here and no whole one is left.
    """
    run_dir = os.fspath(run_dir)
    listed = _listed(run_dir)
    found = sorted(_numbers(run_dir) | set(listed or ()), reverse=True)
    sealed = _sealed(run_dir)
    for number in found:
        prefix = checkpoint_prefix(run_dir, number)
        if not _has_files(prefix):
            logging.warning("%s: its files are not here; looking for an older checkpoint", prefix)
        elif number in sealed:
            _check_seal(prefix, number)
            return prefix
        elif number in (listed or ()) or (not sealed and _reads_whole(prefix)):
            return prefix
        else:
            logging.warning("%s: was not written to its end; looking for an older checkpoint", prefix)
    if found or listed is not None:
        raise ValueError(
            f"{run_dir}: checkpoints were written here, but the files of a whole one (ckpt-N.index and .data) are not "
            f"left; restore them, or delete the file {LIST_FILE} and all ckpt-* to start from weights.npz or anew"
        )
    return None


def checkpoint_prefix(run_dir: str | Path, number: int) -> str:
    """Path prefix of the files of a checkpoint."""
    return os.path.join(run_dir, f"ckpt-{number}")


def checkpoint_number(prefix: str) -> int:
    """The number of a checkpoint, which is the step it was written after."""
    return int(prefix.rpartition("-")[2])


def _listed(run_dir):
    """The numbers in the file `checkpoint`, None without such a file."""
    path = os.path.join(run_dir, LIST_FILE)
    if not storage.is_file(path):
        return None
    content = storage.read(path)
    return [int(number) for number in re.findall(rb'ckpt-(\d{1,18})"', content)]


def _numbers(run_dir):
    """The numbers of all checkpoints of which an index or a seal is there."""
    return {int(match[1]) for match in map(_NAME.fullmatch, _names(run_dir)) if match}


def _names(folder):
    """Names of what is in a folder, [] where there is none."""
    try:
        return storage.names_in(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _sealed(run_dir):
    """The numbers of the checkpoints that were written to their end."""
    return {
        number for number in _numbers(run_dir) if storage.is_file(checkpoint_prefix(run_dir, number) + _SEAL)
    }


def _data_files(prefix):
    folder = os.path.dirname(prefix) or "."
    start = os.path.basename(prefix) + ".data-"
    return sorted(os.path.join(folder, name) for name in _names(folder) if name.startswith(start))


def _has_files(prefix):
    """Whether anything but the seal is there."""
    return storage.is_file(prefix + ".index") or bool(_data_files(prefix))


def data_file(prefix: str) -> str:
    """The file of a checkpoint that holds its values."""
    return f"{prefix}.data-00000-of-00001"


def seal(prefix: str) -> None:
    """Writes the checksums of a checkpoint's files beside them, in the form of sha256sum."""
    paths = [prefix + ".index", *_data_files(prefix)]
    write_text(prefix + _SEAL, "".join(f"{file_sha256(path)}  {os.path.basename(path)}\n" for path in paths))


def _check_seal(prefix, number):
    """ValueError unless the files of a checkpoint are those that were written."""
    remedy = _REMEDY.format(n=number)
    lines = storage.read(prefix + _SEAL).decode("utf-8", "replace").split("\n")
    sums = dict(reversed(line.split("  ", 1)) for line in lines if "  " in line)
    name = os.path.basename(prefix)
    if f"{name}.index" not in sums or not any(n.startswith(f"{name}.data-") for n in sums):
        raise ValueError(
            f"{prefix}{_SEAL}: damaged, holds no checksums of {name}; {remedy}, or this file alone if you know that "
            "the others are sound"
        )
    for name, wanted in sums.items():
        path = os.path.join(os.path.dirname(prefix), os.path.basename(name))
        if not storage.is_file(path):
            raise ValueError(f"{prefix}: damaged checkpoint ({name} is missing); restore it, or {remedy}")
        if file_sha256(path) != wanted:
            raise ValueError(f"{prefix}: damaged checkpoint (checksum of {name} is another); {remedy}")


def _reads_whole(prefix):
    """Whether TensorFlow reads every tensor of a checkpoint without complaint."""
    try:
        reader = open_checkpoint(prefix)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except (IndexError, RuntimeError, ValueError, tf.errors.OpError):
        return False
    return True


def open_checkpoint(prefix: str) -> Any:
    """TensorFlow's reader of a checkpoint."""
    if storage.is_remote(prefix):  # of which tf.train.load_checkpoint may think that its prefix is a folder
        return tf.compat.v1.train.NewCheckpointReader(prefix)
    return tf.train.load_checkpoint(prefix)


# Writing


@contextlib.contextmanager
def as_os_errors(path: str | Path) -> Iterator[None]:
    """What the disk refuses inside TensorFlow or TensorBoard becomes an OSError of one line that names `path`."""
    try:
        yield
    except tf.errors.OpError as error:
        reason = (error.message or type(error).__name__).split("\n")[0].split("; ")[-1].split(" [Op:")[0]
        raise cannot_write(path, OSError(reason)) from None
    except OSError as error:
        raise error if error.errno is None else cannot_write(path, error) from None


class CheckpointWriter:
    """Writes a state as numbered checkpoints into a folder and keeps the newest of them.

    state: tf.train.Checkpoint; kept: how many stay.
    """

    def __init__(self, state: tf.train.Checkpoint, folder: str | Path, kept: int) -> None:
        self.state, self.folder, self.kept = state, os.fspath(folder), kept

    def save(self, number: int) -> None:
        """Writes ckpt-<number>, whole or not at all, and drops those that are too many."""
        prefix = checkpoint_prefix(self.folder, number)
        _remove(prefix)  # a half-written one, or one that its owner took apart
        try:
            self._write(prefix)
        except OSError:
            _remove(prefix)
            raise
        known = _sealed(self.folder) | set(_listed(self.folder) or ())
        whole = sorted(n for n in known if n <= number and _has_files(checkpoint_prefix(self.folder, n)))
        self._list(whole[-self.kept :])
        for old in whole[: -self.kept]:
            _remove(checkpoint_prefix(self.folder, old))

    def _write(self, prefix):
        """The files, and their seal last; those of a path with a scheme are written here and sent."""
        with tempfile.TemporaryDirectory() if storage.is_remote(prefix) else nullcontext() as folder:
            here = prefix if folder is None else os.path.join(folder, os.path.basename(prefix))
            with as_os_errors(prefix):
                self.state.write(here)
            seal(here)
            for path in () if folder is None else [*_data_files(here), here + ".index", here + _SEAL]:
                with as_os_errors(prefix):
                    storage.send(path, os.path.join(self.folder, os.path.basename(path)))

    def _list(self, numbers):
        """The file by which TensorFlow's own tools find checkpoints."""
        lines = [f'model_checkpoint_path: "ckpt-{numbers[-1]}"']
        lines += [f'all_model_checkpoint_paths: "ckpt-{n}"' for n in numbers]
        write_text(os.path.join(self.folder, LIST_FILE), "\n".join(lines) + "\n")


def _remove(prefix):
    """Deletes a checkpoint, its seal first: what is left of it never counts as whole."""
    for path in (prefix + _SEAL, prefix + ".index", *_data_files(prefix)):
        with contextlib.suppress(FileNotFoundError):
            storage.remove(path)
    storage.remove_folder(prefix + "_temp")


def remove_leftovers(run_dir: str | Path) -> None:
    """Deletes what killed trainings left in a run folder: checkpoints that were not written to their end.

    Only for who holds the folder's lock.
    """
    run_dir = os.fspath(run_dir)
    names = storage.names_in(run_dir)
    for name in names:
        if re.fullmatch(r"ckpt-\d+_temp", name):
            storage.remove_folder(os.path.join(run_dir, name))
    sealed = _sealed(run_dir)
    if sealed:  # without any, the run is of an older version, and all there is may be whole
        there = {int(match[1]) for match in (re.match(r"ckpt-(\d+)\.", name) for name in names) if match}
        for number in there - sealed - set(_listed(run_dir) or ()):
            _remove(checkpoint_prefix(run_dir, number))
