"""What `generate` wrote into a folder: generate.json for the whole, manifest.jsonl with one line per picture.

A line is written before its picture: a killed program leaves lines without pictures, never pictures without lines.
Several programs may append at a time, each whole lines.

Where a path has a scheme, files cannot grow: lines are written in pieces, manifest-<program>-<number>.jsonl, each once
it has PIECE lines and at the end. A picture without a line, as killed programs leave them there, is made anew, if
generate.json says that the folder is of the same run and settings.
"""

import contextlib
import hashlib
import json
import os
import re
import threading
import unicodedata
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from semantic_synthesis import storage
from semantic_synthesis.files import (
    cannot_write,
    check_regular,
    file_sha256,
    read_json,
    write_json,
    write_text,
)

RECORD, LINES, PIECES = "generate.json", "manifest.jsonl", re.compile(r"manifest-.*\.jsonl")
PIECE = 64
_SEEDS = "by name"  # older versions: by the place in the list, and no such entry
_FIXED = ("seeds", "weights_sha256", "num_samples", "seed", "precision", "format", "quality", "output_size")
_OF_NAMES = ("format",)  # with two of them a layout would have two pictures
_BEFORE = {"format": "png"}  # what older versions did not say
_REMEDY = "--overwrite makes it anew, --skip_existing leaves it as it is; or choose another --results_dir"
_TOLD = ("style",)  # for the reader; a photo counts by its content
_DIGITS = 16  # of a checksum in a line


def style_seed(seed: int, stem: str, sample: int) -> int:
    """The seed, from 0 to 2**63 - 1, of a layout's sample-th random style: a function of its name alone."""
    name = unicodedata.normalize("NFC", stem.replace(os.sep, "/"))
    return int.from_bytes(hashlib.sha256(f"{seed} {sample} {name}".encode()).digest()[:8], "big") >> 1


def checksum(path: str | Path) -> str:
    """The beginning of a file's checksum; "" for no file."""
    return file_sha256(path)[:_DIGITS] if path else ""


class Manifest:
    """The record of a folder of pictures.

    settings: {name: value} of what made them; overwrite, skip_existing: the flags, with which nothing is refused.
    ValueError, one line, if the folder holds pictures of other settings.
    """

    def __init__(
        self, folder: str, settings: Mapping[str, Any], overwrite: bool = False, skip_existing: bool = False
    ) -> None:
        self.folder, self.settings = os.fspath(folder), {"seeds": _SEEDS, **settings}
        self.overwrite, self.skip_existing = overwrite, skip_existing
        if not overwrite:
            self._check_settings(_OF_NAMES if skip_existing else _FIXED)
        self._pieces = storage.is_remote(self.folder)
        self.lines = self._read()
        self._begun = self._pieces and storage.exists(os.path.join(self.folder, RECORD))
        self._program, self._waiting, self._written = uuid.uuid4().hex[:12], [], 0
        self._suffixes = sorted({os.path.splitext(file)[1] for file in self.lines})
        self._lock = threading.Lock()

    def _check_settings(self, names):
        path = os.path.join(self.folder, RECORD)
        if not storage.exists(path):
            return
        found = read_json(path, "choose another --results_dir or empty this one")
        if not isinstance(found, dict):
            raise ValueError(f"{path}: no record of `generate`; choose another --results_dir")
        if "seeds" in names and found.get("seeds") != _SEEDS:
            raise ValueError(
                f"{path}: the pictures there are of an older version, whose seeds went by the place in the list; "
                "--skip_existing keeps them and makes the others, --overwrite makes all anew; or choose another "
                "--results_dir"
            )
        for name in names:
            there, asked = found.get(name, _BEFORE.get(name)), self.settings.get(name)
            if there != asked:
                raise ValueError(
                    f"{path}: the pictures there were made with {name} {there!r}, asked for now: "
                    f"{asked!r}; choose another --results_dir or empty this one (or --overwrite)"
                )

    def _read(self):
        """{file: its last line}; what is no line, as a killed program may leave at the end, does not count."""
        found = {}
        names = [LINES]
        if self._pieces and storage.is_folder(self.folder):
            names += sorted(name for name in storage.names_in(self.folder) if PIECES.fullmatch(name))
        for path in (os.path.join(self.folder, name) for name in names):
            if not storage.exists(path):
                continue
            check_regular(path)
            for text in storage.lines(path):
                try:
                    line = json.loads(text)
                    found[line["file"]] = line
                except (ValueError, TypeError, KeyError):
                    continue
        return found

    def is_made(self, file: str, facts: Callable[[], dict[str, Any]]) -> bool:
        """Whether a picture is there and stays; facts: function to {name: value} that a new one's line would hold.

        ValueError where it is there, was made of something else, and no flag says what to do.
        """
        path = os.path.join(self.folder, file)
        if self.overwrite or not storage.exists(path):
            return False
        if self.skip_existing:
            return True
        line = self.lines.get(file)
        if line is None and self._begun:
            return False
        if line is None:
            raise ValueError(f"{path}: is there already, and {LINES} does not know it; {_REMEDY}")
        wrong = next((n for n, value in facts().items() if n not in _TOLD and line.get(n) != value), None)
        if wrong:
            raise ValueError(f"{path}: was made of another {wrong.replace('_', ' ')}; {_REMEDY}")
        return True

    def begin(self) -> None:
        """Writes generate.json."""
        write_json(os.path.join(self.folder, RECORD), self.settings)

    def append(self, file: str, content: bytes, facts: Mapping[str, Any]) -> None:
        """Adds the line of a picture that is about to be written: facts, and the checksum of its content.

        A picture of that name is deleted, and one of another format that the folder was made with before. Several
        threads may append.
        """
        path, stem = os.path.join(self.folder, LINES), os.path.splitext(file)[0]
        digest = hashlib.sha256(content).hexdigest()
        line = json.dumps({"file": file, **facts, "sha256": digest}) + "\n"
        with self._lock:
            for old in dict.fromkeys([file, *(stem + suffix for suffix in self._suffixes)]):
                with contextlib.suppress(FileNotFoundError):
                    storage.remove(os.path.join(self.folder, old))
            if self._pieces:
                self._waiting.append(line)
                if len(self._waiting) >= PIECE:
                    self._flush()
                return
            try:
                with open(path, "ab+") as out:
                    if out.tell():
                        out.seek(-1, os.SEEK_END)
                        line = line if out.read(1) == b"\n" else "\n" + line
                    out.write(line.encode())
            except OSError as error:
                raise cannot_write(path, error) from None

    def _flush(self):
        text, self._waiting = "".join(self._waiting), []
        self._written += 1
        name = f"manifest-{self._program}-{self._written:06d}.jsonl"
        write_text(os.path.join(self.folder, name), text)

    def close(self) -> None:
        """Writes what waits."""
        with self._lock:
            if self._waiting:
                self._flush()
