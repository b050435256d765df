"""Small datasets on disk for the data tests."""

import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared" / "data"


def write_picture(path, array):
    """Writes uint8 RGB [H, W, 3] or a map [H, W] in the format of the suffix."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    array = array[..., ::-1] if array.ndim == 3 else array
    assert cv2.imwrite(str(path), array)
    return str(path)


def photo(height=24, width=32, seed=0):
    """A smooth random picture, uint8 [H, W, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def label_map(ids, height=24, width=32, seed=0):
    """Blocks of the given ids, uint8 [H, W]."""
    coarse = np.random.default_rng(seed).choice(np.array(ids, np.uint8), (4, 4))
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)


def encode_png(samples, color_type, bit_depth, palette=None, extra=(), data=None):
    """PNG bytes written chunk by chunk; samples [H, W] or [H, W, channels], unfiltered."""
    samples = np.asarray(samples)
    height, width = samples.shape[:2]
    values = samples[0].size if height else 0
    if bit_depth == 16:
        rows = samples.astype(">u2").reshape(height, values).view(np.uint8)
    elif bit_depth == 8:
        rows = samples.astype(np.uint8).reshape(height, values)
    else:
        bits = (samples[..., None] >> np.arange(bit_depth - 1, -1, -1)) & 1
        rows = np.packbits(bits.reshape(height, values * bit_depth).astype(np.uint8), axis=1)
    body = b"".join(b"\0" + row.tobytes() for row in rows) if data is None else data
    header = struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0)
    chunks = [(b"IHDR", header)]
    if palette is not None:
        chunks.append((b"PLTE", np.asarray(palette, np.uint8).tobytes()))
    chunks += [*extra, (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def png_chunk(name, data):
    """One PNG chunk with its length and CRC."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def jpeg_with(exif, content):
    """The same JPEG with an EXIF of these bytes."""
    body = b"Exif\0\0" + exif
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + content[2:]


def with_exif(content, ending, value, order):
    """The same picture with an EXIF orientation."""
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(
        order + "IHHHIHHI", 8, 1, 274, 3, 1, value, 0, 0
    )
    if ending == ".jpg":
        return jpeg_with(start, content)
    return content[:33] + png_chunk(b"eXIf", start) + content[33:]


def write_folders(root, ids=(0, 1, 2), count=3, height=24, width=32, photos="jpg"):
    """root/images/<n>.jpg and root/labels/<n>.png; returns the two folders as strings."""
    for n in range(count):
        write_picture(root / "images" / f"{n}.{photos}", photo(height, width, n))
        write_picture(root / "labels" / f"{n}.png", label_map(ids, height, width, n))
    return str(root / "images"), str(root / "labels")


def write_json(path, values):
    """Writes JSON and returns the path as text."""
    Path(path).write_text(json.dumps(values))
    return str(path)
