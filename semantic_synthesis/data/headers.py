"""What picture files say of themselves before anything is unpacked: size, bits, orientation.

OpenCV tells neither without decoding, and Pillow, which does, refuses kinds of TIFF that OpenCV reads.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

_SIZE_TAGS, _BITS_TAG, _ORIENTATION_TAG, _FORMAT_TAG = (256, 257), 258, 274, 339
_FLOAT = 3
_COLOR_TAG, _LOGARITHMIC = 262, (32844, 32845)  # LogL and LogLuv: floats, though they are stored as integers
_SPACE = rb"(?:\s|#[^\n]*\n)+"
_PNM = re.compile(
    rb"P(?:[14]|([2356]))" + (_SPACE + rb"(\d{1,9})") * 2 + rb"(?(1)" + _SPACE + rb"(\d{1,9}))\s"
)


@dataclass(frozen=True)
class Header:
    """width, height: 0 where the file does not say; bits: per colour; floats: whether values are floats; white: the
    largest value, None where the bits say it."""

    width: int
    height: int
    bits: int = 8
    floats: bool = False
    white: int | None = None


def read_header(data: bytes, kind: str | None) -> Header | None:
    """The Header of a file's bytes; kind: "TIFF", "WebP", "BMP", "GIF", or None for PNM. None for other content."""
    readers = {
        "TIFF": _tiff,
        "WebP": _webp,
        "BMP": _bmp,
        "GIF": lambda data: Header(*struct.unpack_from("<HH", data, 6)),
    }
    try:
        return readers.get(kind or "", _pnm)(data)
    except (struct.error, IndexError, KeyError):
        return None


def _tiff(data):
    fields = tiff_fields(data)
    width, height = (fields[tag] for tag in _SIZE_TAGS)
    if fields.get(_COLOR_TAG) in _LOGARITHMIC:
        return Header(width, height, 32, True)
    return Header(width, height, fields.get(_BITS_TAG, 1), fields.get(_FORMAT_TAG) == _FLOAT)


def _webp(data):
    kind = data[12:16]
    if kind == b"VP8X":
        sides = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8L":
        both = struct.unpack_from("<I", data, 21)[0]
        sides = (both & 0x3FFF) + 1, (both >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        sides = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        return None
    return Header(*sides)


def _bmp(data):
    old = struct.unpack_from("<I", data, 14)[0] == 12
    width, height = struct.unpack_from("<HH" if old else "<ii", data, 18)
    return Header(width, abs(height))


def _pnm(data):
    match = _PNM.match(data[:4096])
    if match is None:
        return None
    white = int(match[4] or 255)
    return Header(int(match[2]), int(match[3]), 8 if white < 256 else 16, white=white)


def tiff_fields(data: bytes) -> dict[int, int]:
    """{tag: first value} of the first directory of TIFF bytes, which EXIF is, too; integers alone."""
    return {tag: struct.unpack_from(form, data, place)[0] for tag, form, place in _tiff_entries(data)}


def _tiff_entries(data):
    """(tag, struct's format of a value, place of the first value) of the integers in TIFF's first directory."""
    order = {b"II*\0": "<", b"MM\0*": ">"}[bytes(data[:4])]
    at = struct.unpack_from(order + "I", data, 4)[0]
    for number in range(struct.unpack_from(order + "H", data, at)[0]):
        entry = at + 2 + 12 * number
        tag, kind, count = struct.unpack_from(order + "HHI", data, entry)
        if kind in (3, 4):  # of 2 and 4 bytes
            size = 2 if kind == 3 else 4
            place = entry + 8 if size * count <= 4 else struct.unpack_from(order + "I", data, entry + 8)[0]
            yield tag, order + ("H" if kind == 3 else "I"), place


def as_stored(data: bytes, kind: str | None) -> bytes:
    """The bytes of a picture file without what turns its pixels even where decoders are told to leave them."""
    if orientation(data, kind) == 1 or kind != "TIFF":
        return data
    upright = bytearray(data)
    for tag, form, place in _tiff_entries(data):
        if tag == _ORIENTATION_TAG:
            struct.pack_into(form, upright, place, 1)
    return bytes(upright)


def orientation(data: bytes, kind: str | None) -> int:
    """The EXIF orientation of a picture file, 1 to 8; 1, upright, where it has none."""
    exif = {"JPEG": _jpeg_exif, "PNG": _png_exif, "WebP": _webp_exif, "TIFF": bytes}.get(
        kind or "", lambda data: b""
    )(data)
    exif = exif.removeprefix(b"Exif\0\0")
    try:
        places = [(form, place) for tag, form, place in _tiff_entries(exif) if tag == _ORIENTATION_TAG]
        found = struct.unpack_from(places[-1][0], exif, places[-1][1])[0]  # whatever other entries say
    except (struct.error, KeyError, IndexError):
        return 1
    return found if 1 <= found <= 8 else 1


def _jpeg_exif(data):
    at = 2
    while data[at : at + 1] == b"\xff" and at + 4 <= len(data) and data[at + 1] != 0xDA:
        if data[at + 1] == 0xFF:
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            return data[at + 4 : at + 2 + length]
        at += 2 + length
    return b""


def _png_exif(data):
    at = 8
    while at + 8 <= len(data):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if name in (b"eXIf", b"IEND"):
            return data[at + 8 : at + 8 + length]
        at += 12 + length
    return b""


def _webp_exif(data):
    at = 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"EXIF":
            return data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    return b""
