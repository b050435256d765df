"""Picture files -> arrays: photos, label maps and instance maps, every file checked before it is used.

Label maps are PNG: one channel of class ids (8 or 16 bits, also 1, 2 and 4), a palette, or RGB through
the class table's colours. Palette files are read by rewriting the header byte that makes the samples
palette indices into the one that makes them grey values, so the decoder returns the indices themselves.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .. import storage
from ..files import check_regular
from .errors import DataError
from .headers import as_stored, orientation, read_header
from .sample_classes import classes_of_colors, classes_of_ids, classes_of_palette
from .tables import ClassTable, pack_colors
from .transparency import transparent_pixels, warn_of_transparency

MAX_PIXELS = 1 << 27
DARK = 64  # of 256; below it 16-bit photos are of cameras with 10 to 14 bits, unscaled
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".ppm", ".bmp", ".tif", ".tiff", ".webp")
INSTANCE_FORMATS = (
    "a PNG with object ids in one channel (8 or 16 bits), a palette, or RGB (r + 256 g + 65536 b)"
)
LABEL_FORMATS = "a PNG with class ids in one channel (8 or 16 bits), a palette, or the table's RGB colours"

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_STARTS = {
    b"\xff\xd8": "JPEG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"RIFF": "WebP",
}


def read_image(path: str | Path) -> np.ndarray:
    """A photo file -> uint8 [H, W, 3], RGB. The EXIF orientation is not applied, as label maps have none."""
    return decode_image(read_bytes(path), path)


def read_label(path: str | Path, table: ClassTable) -> np.ndarray:
    """A label map file -> int32 [H, W] of class indices in [0, C); a DataError for anything else."""
    return decode_label(read_bytes(path), table, path).astype(np.int32)


def read_instance(path: str | Path) -> np.ndarray:
    """An instance map file -> int32 [H, W] of raw ids: one channel, or RGB packed as r + 256 g + 65536 b."""
    return decode_instance(read_bytes(path), path)


def read_photo_of_map(path: str | Path, turned: bool = False) -> np.ndarray:
    """A photo that a label map belongs to -> uint8 [H, W, 3]; refused where EXIF turns it, unless `turned`."""
    content = read_bytes(path)
    if not turned:
        check_upright(content, path)
    return decode_image(content, path)


def read_bytes(path: str | Path) -> bytes:
    """A file's content; errors for a missing or empty file."""
    path = os.fspath(path)
    try:
        check_regular(path)
    except ValueError as error:
        raise DataError(str(error)) from None
    try:
        data = storage.read(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected a picture file") from None
    if not data:
        raise DataError(f"{path}: the file is empty (0 bytes); copy or export it again")
    return data


def decode_image(data: bytes, source: str | Path) -> np.ndarray:
    """A photo's bytes -> uint8 [H, W, 3], RGB; `source` names the file in errors.

    Alpha is dropped: pixels have the colour that the file stores below it. The first photo with
    transparent pixels is named in a warning.
    """
    kind = _kind(data)
    bits = 8
    if kind == "PNG":
        bits = _png_chunks(data, source)[0].bit_depth
    elif kind == "JPEG":
        _check_jpeg(data, source)
    else:
        bits = _check_others(data, kind, source)
    stored = as_stored(data, kind)  # OpenCV turns TIFF by its orientation, whatever it is told
    picture = _decode(stored, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION, source)  # [H, W, 3]
    if bits == 16 and (brightest := int(picture.max())) < DARK:
        raise DataError(
            f"{source}: photo with 16 bits, of which no value is above {256 * brightest + 255} of 65535, nearly black;"
            " scale the values to 8 bits"
        )
    warn_of_transparency(data, kind, source)
    return picture


def open_pixels(data: bytes) -> int:
    """The number of transparent pixels of a photo's bytes."""
    return transparent_pixels(data, _kind(data))


def check_upright(data: bytes, source: str | Path) -> None:
    """Refuses a photo that EXIF turns: beside a label map nobody can say which of the two ways the map was drawn."""
    turned = orientation(data, _kind(data))
    if turned != 1:
        raise DataError(
            f"{source}: EXIF orientation {turned} turns this photo, which label maps do not say; store it upright, as"
            " its map shows it (mogrify -auto-orient; where the map fits the stored pixels: exiftool -Orientation=, or"
            ' "exif": "stored" in a description for all photos)'
        )


def _check_others(data, kind, source):
    """Checks what neither PNG nor JPEG is before it is unpacked; its bits per colour."""
    header = read_header(data, kind)
    if header is None:
        found = f"starts with {data[:8]!r}" if kind is None else f"its {kind} header is damaged"
        raise DataError(f"{source}: not a picture ({found}); expected JPEG, PNG or similar")
    check_pixels(header.width, header.height, source)
    if header.floats or header.bits > 16:
        values = "float" if header.floats else "integer"
        raise DataError(
            f"{source}: photo is a {header.bits}-bit {values} {kind}; save it with 8 bits per colour"
        )
    if header.white not in (None, 255, 65535):
        raise DataError(
            f"{source}: photo whose largest value is {header.white}; expected 255 or 65535: mogrify -depth 8"
        )
    return header.bits


def decode_label(data: bytes, table: ClassTable, source: str | Path) -> np.ndarray:
    """A label map's bytes -> uint8 or uint16 [H, W] of class indices; `source` names the file in errors."""
    header, samples = decode_samples(data, source)
    if header.color_type in (_RGB, _RGBA):
        return classes_of_colors(samples, table, source)
    if header.color_type == _PALETTE and header.palette is not None:
        return classes_of_palette(samples, header.palette, table, source)
    return classes_of_ids(samples, table, source)


def decode_instance(data: bytes, source: str | Path) -> np.ndarray:
    """An instance map's bytes -> int32 [H, W] of raw ids; `source` names the file in errors."""
    header, samples = decode_samples(data, source, "instance map", INSTANCE_FORMATS)
    if header.color_type in (_RGB, _RGBA):
        samples = pack_colors(samples[..., ::-1])  # [H, W]: r + 256 g + 65536 b
    return samples.astype(np.int32)


@dataclass(frozen=True)
class PngHeader:
    """What a PNG's first chunks say; palette is uint8 [N, 3] or None."""

    width: int
    height: int
    bit_depth: int
    color_type: int
    palette: np.ndarray | None = None


def decode_disparity(data: bytes, source: str | Path) -> np.ndarray:
    """File content of a disparity map -> int32 [H, W]: larger is closer, 0 unknown; one channel of 8 or 16 bits."""
    formats = "a PNG with one channel (8 or 16 bits), larger closer, 0 unknown"
    header, samples = decode_samples(data, source, "disparity map", formats)
    if samples.ndim != 2 or header.color_type == _PALETTE:
        raise DataError(f"{source}: disparity map in colours; expected {formats}")
    return samples.astype(np.int32)


def decode_samples(
    data: bytes, source: str | Path, noun: str = "label map", formats: str = LABEL_FORMATS
) -> tuple[PngHeader, np.ndarray]:
    """A map's PNG bytes -> (PngHeader, stored values).

    The values are uint8 or uint16 [H, W] (grey samples or palette indices, never scaled), or uint8
    [H, W, 3] RGB. Alpha is dropped if it is opaque everywhere and an error otherwise.
    """
    kind = _kind(data)
    if kind == "JPEG":
        raise DataError(
            f"{source}: {noun} is a JPEG, whose compression changes ids; expected {formats};"
            " export the map as PNG again, or, if this is a photo, check that the folders are not swapped"
        )
    if kind != "PNG":
        found = kind or f"unknown, starts with {data[:8]!r}"
        raise DataError(f"{source}: {noun}'s format is {found}; expected {formats}")
    header, chunks = _png_chunks(data, source)
    if header.bit_depth == 16 and header.color_type != _GREY:
        raise DataError(f"{source}: {noun} has 16 bits per colour; expected {formats}")
    samples = _decode(_plain_png(header, chunks), cv2.IMREAD_UNCHANGED, source)
    if samples.ndim == 3:
        samples = _without_alpha(samples, source, noun)
        if header.color_type == _GREY_ALPHA:
            samples = samples[..., 0]
    elif header.bit_depth < 8:
        samples = samples // (255 // ((1 << header.bit_depth) - 1))
    return header, samples


def _kind(data):
    """The format's name by the first bytes, or None."""
    if data.startswith(_PNG):
        return "PNG"
    return next((name for start, name in _STARTS.items() if data.startswith(start)), None)


def _decode(data, how, source):
    """cv2.imdecode with errors for damaged files."""
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    except cv2.error:
        picture = None
    if picture is None or picture.size == 0:
        raise DataError(f"{source}: damaged picture, cannot be decoded; copy or export it again")
    return picture


def check_pixels(width: int, height: int, source: str | Path, most: int = MAX_PIXELS) -> None:
    """Refuses pictures without pixels and, before they are unpacked, huge ones."""
    if width < 1 or height < 1:
        raise DataError(f"{source}: damaged picture, its header says {width}x{height} pixels")
    if width * height > most:
        raise DataError(
            f"{source}: {width}x{height} pixels; at most {most} ({most >> 20} million) are read;"
            " scale the file down"
        )


def check_map_pixels(data: bytes, source: str | Path, most: int) -> None:
    """Refuses a map's bytes if it would unpack to more pixels than `most`; other kinds of files pass."""
    if _kind(data) == "PNG":
        header = _png_chunks(data, source)[0]
        check_pixels(header.width, header.height, source, most)


def _png_chunks(data, source):
    """Checked PNG bytes -> (PngHeader, its IHDR and IDAT chunks); damaged or cut files are errors."""
    damaged = DataError(f"{source}: damaged or cut off PNG; copy or export it again")
    fields, palette, chunks, at, name = None, None, [], len(_PNG), b""
    while name != b"IEND":
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 12 + length
        name = data[at + 4 : at + 8]
        if end > len(data) or (fields is None) != (name == b"IHDR"):
            raise damaged
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise damaged
        if name == b"IHDR":
            fields = struct.unpack_from(">IIBB", data, at + 8) if length == 13 else (0, 0, 0, 0)
            check_pixels(*fields[:2], source)
        if name == b"PLTE":
            if length % 3 or length > 3 * 256:
                raise damaged
            palette = np.frombuffer(data, np.uint8, length, at + 8).reshape(-1, 3)  # [N, 3]
            palette = palette.copy()  # a view would keep the whole file
        if name in (b"IHDR", b"IDAT"):
            chunks.append(data[at:end])
        at = end
    header = PngHeader(*fields, palette)
    if len(chunks) < 2 or (header.color_type == _PALETTE and palette is None):
        raise damaged
    return header, chunks


def _plain_png(header, chunks):
    """PNG bytes of the bare samples: palette indices become grey values, nothing else is left to apply."""
    start = chunks[0]
    if header.color_type == _PALETTE:
        start = start[:17] + bytes([_GREY]) + start[18:21]
        start += struct.pack(">I", zlib.crc32(start[4:]))
    return b"".join([_PNG, start, *chunks[1:], _PNG_END])


def _check_jpeg(data, source):
    """Finds the size and the end of a JPEG; cut off files are errors (decoders fill them with grey)."""
    at, size = 2, None
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and at + 9 <= len(data):
            size = struct.unpack_from(">HH", data, at + 5)
            check_pixels(size[1], size[0], source)
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:
            break
    if size is None or data.rfind(b"\xff\xd9", at) < 0:
        raise DataError(f"{source}: damaged or cut off JPEG; copy or export it again")


def _without_alpha(samples, source, noun):
    """[H, W, 3 or 4] as cv2 orders channels -> RGB [H, W, 3]; transparent pixels are errors."""
    if samples.shape[-1] == 4:
        transparent = int(np.count_nonzero(samples[..., 3] != 255))
        if transparent:
            raise DataError(
                f"{source}: {noun} has {transparent} transparent pixels, whose class is open;"
                " fill them and save without transparency"
            )
    return np.ascontiguousarray(samples[..., 2::-1])  # [H, W, 3]
