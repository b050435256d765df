"""Pictures as arrays: uint8 values, sheets, PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from semantic_synthesis.arrays import check_pictures
from semantic_synthesis.files import write_bytes

if TYPE_CHECKING:
    import tensorflow as tf

_LINE, _FONT = 14, cv2.FONT_HERSHEY_SIMPLEX  # pixels of a line of the columns' names


def contact_sheet(columns: Sequence[np.ndarray], gap: int = 4, names: Sequence[str] = ()) -> np.ndarray:
    """uint8 sheet [h,w,3]: row i holds the i-th picture of every column (uint8 [B,H,W,3]), white gaps.

    names: of the columns, written above them, in one or several lines that are added at the top.
    """
    rows = []
    for pictures in zip(*columns, strict=True):
        framed = [np.pad(p, ((gap, 0), (gap, 0), (0, 0)), constant_values=255) for p in pictures]
        rows.append(np.concatenate(framed, 1))
    sheet = np.pad(np.concatenate(rows, 0), ((0, gap), (0, gap), (0, 0)), constant_values=255)
    return np.concatenate([_heads(names, columns, gap), sheet]) if names else sheet


def _heads(names, columns, gap):
    """White uint8 [h,w,3] with a name above each column: one size for all, the largest whose words fit; in lines."""
    texts = [name.encode("ascii", "replace").decode().replace("_", " ") for name in names]
    room = min(pictures.shape[2] for pictures in columns)
    size = min([0.45, *(room / _text_width(word, 1.0) for text in texts for word in text.split())])
    lines = [_wrapped(text, pictures.shape[2], size) for text, pictures in zip(texts, columns, strict=True)]
    most, found = max(map(len, lines)), []
    for column, pictures in zip(lines, columns, strict=True):
        head = np.full((_LINE * most + 4, pictures.shape[2] + gap, 3), 255, np.uint8)
        for line, text in enumerate(column, most - len(column) + 1):  # the last one stands on the pictures
            cv2.putText(head, text, (gap, _LINE * line), _FONT, size, (0, 0, 0), 1, cv2.LINE_AA)
        found.append(head)
    return np.pad(np.concatenate(found, 1), ((0, 0), (0, gap), (0, 0)), constant_values=255)


def _text_width(text, size):
    """Pixels that a text takes at a font size, a float."""
    return cv2.getTextSize(text, _FONT, 1.0, 1)[0][0] * size


def _wrapped(text, width, size):
    """The words of a text in lines that fit into width pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        lines[-1:] = [longer] if not lines[-1] or _text_width(longer, size) <= width else [lines[-1], word]
    return lines


def to_uint8(image: np.ndarray | tf.Tensor) -> np.ndarray:
    """float [-1,1] -> uint8 by truncation, as the originals: any shape, NumPy."""
    return ((np.clip(np.asarray(image, np.float32), -1, 1) + 1) * 127.5).astype(np.uint8)


def png_bytes(image: np.ndarray) -> bytes:
    """PNG bytes of uint8 RGB [H,W,3], or grey uint8 or uint16 [H,W]."""
    channels = image[..., ::-1] if image.ndim == 3 else image
    return cv2.imencode(".png", channels)[1].tobytes()


FORMATS = ("png", "jpg", "webp")


@dataclass(frozen=True)
class Encoding:
    """How pictures become files: format, one of FORMATS; quality of JPEG and WebP from 1 to 100; compression of PNG
    from 0 (none) to 9 (smallest), None: OpenCV's own, fast one."""

    format: str = "png"
    quality: int = 95
    png_compression: int | None = None

    @property
    def suffix(self) -> str:
        """The ending of the files' names."""
        return f".{self.format}"

    def encode(self, picture: np.ndarray) -> bytes:
        """The file of a picture, uint8 RGB [H,W,3]: the same bytes for the same pixels."""
        if self.format == "png" and self.png_compression is None:
            return png_bytes(picture)
        how = {
            "png": (cv2.IMWRITE_PNG_COMPRESSION, self.png_compression or 0),
            "jpg": (cv2.IMWRITE_JPEG_QUALITY, self.quality),
            "webp": (cv2.IMWRITE_WEBP_QUALITY, self.quality),
        }[self.format]
        return cv2.imencode(self.suffix, picture[..., ::-1], how)[1].tobytes()


def write_png(path: str | Path, image: np.ndarray) -> None:
    """Writes uint8 RGB [H,W,3], or grey uint8 or uint16 [H,W], as PNG, whole or not at all; ValueError for others."""
    image = np.asarray(image)
    if image.ndim != 2 or image.dtype not in (np.uint8, np.uint16) or not image.size:
        image = check_pictures(image, "picture", batches=False)
    write_bytes(path, png_bytes(image))
