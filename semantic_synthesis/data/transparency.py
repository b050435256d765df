"""What becomes of photos with alpha: it is dropped, which is said of the first that is not opaque."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
from absl import logging

from .headers import tiff_fields

_SAMPLES_TAG = 277
_LOOKED_AT = 32  # photos with alpha: each is decoded twice
_looks = itertools.count()


def warn_of_transparency(data: bytes, kind: str | None, source: str | Path) -> None:
    """Names the first photo that has transparent pixels, once a process, of the first photos that have alpha."""
    global _looks
    if not has_alpha(data, kind) or next(_looks) >= _LOOKED_AT:
        return
    if count := transparent_pixels(data, kind):
        _looks = itertools.count(_LOOKED_AT)
        logging.warning("%s: %s", source, transparency_message(count))


def transparency_message(count: int) -> str:
    """What becomes of a photo's transparent pixels."""
    return (
        f"photo with {count} transparent pixels, which are read in the colour that the file stores below them; to "
        "choose another background: mogrify -background white -alpha remove"
    )


def transparent_pixels(data: bytes, kind: str | None) -> int:
    """The number of pixels of a photo's bytes that are not opaque; kind: of the file, as `decoding` names them."""
    if not has_alpha(data, kind):
        return 0
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)  # [H, W, 4]
    if stored is None or stored.shape[2:] != (4,):
        return 0
    return int(np.count_nonzero(stored[..., 3] != np.iinfo(stored.dtype).max))


def has_alpha(data: bytes, kind: str | None) -> bool:
    """Whether a picture file's header says that its pixels have alpha."""
    if kind == "PNG":
        return data[25:26] in (b"\4", b"\6") or b"tRNS" in data[33 : data.find(b"IDAT")]
    if kind == "WebP":
        return (data[12:16] == b"VP8X" and bool(data[20] & 16)) or (
            data[12:16] == b"VP8L" and bool(data[24] & 16)
        )
    return kind == "TIFF" and tiff_fields(data).get(_SAMPLES_TAG) in (2, 4)
