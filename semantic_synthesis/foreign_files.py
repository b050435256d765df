"""What a file is that is not what it is called: web pages, pointers of Git LFS, archives."""

import json
import re
import tarfile
import zipfile
from pathlib import Path

_LFS = b"version https://git-lfs.github.com/spec/"
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"7z\xbc\xaf'\x1c": "7-Zip",
    b"Rar!\x1a\x07": "RAR",
    b"(\xb5/\xfd": "Zstandard",
}
_OTHERS = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file (weights of Keras)",
    b"\x89PNG\r\n": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"%PDF": "a PDF document",
}
_TITLE = re.compile(r"<title[^>]*>([^<]*)</title>|<(?:Code|Message)>([^<]*)<", re.I)
_SHOWN = 3


def foreign_kind(path: str | Path) -> str | None:
    """What a file is and what to do about it, as a phrase, where its first bytes tell; None for all others.

    Zip archives of arrays (.npz) and of torch.save are others.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(4096)
    except OSError:
        return None  # who opens it says it better
    for mark, kind in _OTHERS.items():
        if start.startswith(mark):
            return kind
    for mark, kind in _PACKED.items():
        if start.startswith(mark):
            return f"a {kind} archive; unpack it and give the file inside"
    if start[257:262] == b"ustar":
        return _tar(path)
    if start.startswith(b"PK\3\4"):
        return _zip(path)
    return _text(start)


def _text(start):
    if start.startswith(_LFS):
        size = re.search(rb"^size (\d+)", start, re.M)
        what = f" to {int(size[1])} bytes" if size else ""
        return f"a pointer{what} that Git LFS left in place of the file; fetch the file itself (git lfs pull)"
    text = start.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if re.match(r"<(!doctype html|html|head|body|!--|\?xml|error)", text, re.I):
        match = _TITLE.search(text)
        title = " ".join((match[1] or match[2]).split())[:80] if match else ""
        named = f" ('{title}')" if title else ""
        return f"a web page{named}, no download; open the link in a browser and save the file itself"
    if text.startswith("{") and _is_json(text):
        return "JSON text, perhaps an index or a server's message; give the file of the weights itself"
    return None


def _is_json(text):
    """Whether text is JSON, or may be the beginning of some."""
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return len(text) > 3000 and "\ufffd" not in text
    return True


def _zip(path):
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return None
    known = any(name.endswith((".npy", "/data.pkl")) or name == "data.pkl" for name in names)
    return None if known else f"a zip archive ({_listed(names)}); unpack it and give the file inside"


def _tar(path):
    try:
        with tarfile.open(path) as archive:
            names = [member.name for member, _ in zip(archive, range(99), strict=False)]
    except (tarfile.TarError, OSError):
        names = []
    if not names or "storages" in names:
        return (
            "a tar archive as torch < 0.1.10 wrote it, which cannot be read without running its content; load and "
            "save it again with the PyTorch of its time"
        )
    return f"a tar archive ({_listed(names)}); unpack it and give the file inside"


def _listed(names):
    shown = ", ".join(name for name in names[:_SHOWN])
    return ascii(shown + (", ..." if len(names) > _SHOWN else ""))[1:-1] or "empty"
