"""The canvas of `scenes.py`: a map of numbered pieces, and the table that says what each piece is.

A piece is one paint: a class, an instance, a colour and a few numbers for light and air. Everything
is drawn into one int32 map without anti-aliasing, back to front; label and instance maps are read
from it, so they are exact by construction. Coordinates are relative: x and y in [0,1] of width and
height, sizes of objects in shares of the shorter side, y downwards.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from . import painting

CLASSES: tuple[str, ...] = (
    "sky", "cloud", "sun", "mountain", "snow", "forest", "grass", "water", "sand", "road", "house",
    "tree", "rock", "field",
)  # fmt: skip
COLORS = np.array(
    [
        (135, 196, 240), (236, 240, 246), (255, 214, 64), (122, 110, 128), (206, 226, 244),
        (28, 88, 56), (122, 178, 70), (36, 104, 178), (236, 208, 142), (112, 104, 100),
        (192, 66, 52), (62, 138, 62), (158, 146, 132), (222, 172, 44),
    ],
    np.uint8,
)  # fmt: skip

SKY, CLOUD, SUN, MOUNTAIN, SNOW, FOREST, GRASS = range(7)
WATER, SAND, ROAD, HOUSE, TREE, ROCK, FIELD = range(7, 14)

# class -> texture (of painting.TEXTURES), its strength, snow that stays in winter
SURFACES = {
    SKY: ("air", 1.0, 0.0), CLOUD: ("air", 1.0, 0.0), SUN: ("air", 0.0, 0.0),
    MOUNTAIN: ("ridge", 0.30, 0.45), SNOW: ("ridge", 0.20, 0.9), FOREST: ("forest", 0.42, 0.5),
    GRASS: ("grass", 0.26, 0.92), WATER: ("water", 1.0, 0.0), SAND: ("sand", 0.20, 0.8),
    ROAD: ("sand", 0.16, 0.6), HOUSE: ("plaster", 0.10, 0.05), TREE: ("leaf", 0.20, 0.35),
    ROCK: ("stone", 0.26, 0.3), FIELD: ("grass", 0.26, 0.75),
}  # fmt: skip


_HAZE, _CLEARING = 0.34, 0.14  # haze of objects at the horizon, and how fast it goes towards the viewer


def depth_of_haze(haze: float | np.ndarray) -> float | np.ndarray:
    """The inverse of `Canvas.haze_at` for arrays, as a share of the ground: 0 at the horizon, 1 at the lower edge."""
    return np.clip(-_CLEARING * np.log(haze / _HAZE), 0, 1)


class Piece(NamedTuple):
    """One paint; colours and shares in [0,1]."""

    red: float
    green: float
    blue: float
    shade: float  # light that it gets, 0 shadow ... 1 lit
    relief: float  # 1 for ground, which takes form and cast shadows from the canvas; 0 for objects
    haze: float  # below 0: the haze of the canvas
    cover: float  # how much snow stays on it in winter
    lamp: float  # light that it sends out itself
    cls: int
    instance: int  # 0: none


class Canvas:
    """The map of pieces while it is being composed, the table of pieces, and the random numbers.

    `ids` int32 [H,W] piece of each pixel; `form` float32 [H,W] shape shading, about [-0.5,0.5];
    `mist` float32 [H,W] haze; `veil` float32 [H,W] opacity of clouds, which reaches a little beyond
    their labels; `cast` uint8 [H,W] shadows; `lake` bool [H,W] water before objects were put in
    front of it.
    """

    def __init__(self, height: int, width: int, rng: np.random.Generator) -> None:
        self.height, self.width, self.unit = height, width, float(min(height, width))
        self.rng = rng
        self.ids = np.zeros((height, width), np.int32)
        self.form = np.zeros((height, width), np.float32)
        self.mist = np.zeros((height, width), np.float32)
        self.veil = np.zeros((height, width), np.float32)
        self.cast = np.zeros((height, width), np.uint8)
        self.xs = ((np.arange(width, dtype=np.float32) + 0.5) / width)[None, :]  # [1,W]
        self.ys = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]  # [H,1]
        self.lake = np.zeros((height, width), bool)
        self.tiles = painting.textures(height, width)
        self.pieces: list[Piece] = []
        self.instances = 0
        self.horizon = rng.uniform(0.38, 0.55)
        self.drift = rng.random(2).tolist()  # which crop of the textures is used
        self.side = 1.0 if rng.random() < 0.5 else -1.0  # where the light comes from
        # x, y, radius; stays outside the picture where no sun is drawn
        self.sun = (0.5 + self.side * 0.7, 0.1, 0.05)
        self.sun_seen = False
        self.depth = np.clip((self.ys - self.horizon) / (1 - self.horizon), 0, 1)  # [H,1]
        self.ground_mist = 0.40 * np.exp(-self.depth / 0.14)  # [H,1]
        self.piece(SKY, (0.5, 0.7, 0.9))

    def haze_at(self, y: float) -> float:
        """Haze of an object that stands on the ground at `y`."""
        depth = max(0.0, (y - self.horizon) / (1 - self.horizon))
        return _HAZE * math.exp(-depth / _CLEARING)

    def instance(self) -> int:
        """A fresh instance number, from 1."""
        self.instances += 1
        return self.instances

    def piece(
        self,
        cls,
        colour: Any,
        shade: float = 0.68,
        instance: int = 0,
        haze: float = -1.0,
        lamp: float = 0.0,
        cover: float | None = None,
    ) -> int:
        """Adds a paint to the table and returns its number; for the arguments see `Piece`."""
        relief = 0.0 if cls in (HOUSE, TREE, ROCK) else 1.0
        cover = SURFACES[cls][2] if cover is None else cover
        red, green, blue = colour
        self.pieces.append(Piece(red, green, blue, shade, relief, haze, cover, lamp, cls, instance))
        return len(self.pieces) - 1

    def where(
        self,
        mask: np.ndarray,
        piece: int,
        form: float | np.ndarray = 0.0,
        mist: float | np.ndarray | None = None,
        rows: slice = slice(None),
    ) -> None:
        """Puts a piece on the pixels of `mask`, with its `form` and `mist` (default: the ground's).

        The three are [h,W], or of a shape that broadcasts to it, where h is the number of `rows`.
        """
        mist = self.ground_mist[rows] if mist is None else mist
        np.copyto(self.ids[rows], piece, where=mask)
        np.copyto(self.form[rows], form, where=mask)
        np.copyto(self.mist[rows], mist, where=mask)

    def stamp(self, shape: list, x: float, y: float, size: tuple, paints: dict[str, int]) -> None:
        """Fills the outlines of `shape`, a list of (part, outline [N,2]), with each part's piece.

        `size` (x, y): unit of the outlines as a share of the shorter side; (x, y): their origin.
        """
        scale = np.array(size, np.float32) * np.float32(16 * self.unit)  # 16: sub-pixel steps
        origin = np.array([x * self.width * 16 - 8, y * self.height * 16 - 8], np.float32)
        for part, outline in shape:
            points = (outline * scale + origin).astype(np.int32)
            cv2.fillPoly(self.ids, [points], paints[part], cv2.LINE_8, 4)

    def tile(self, kind: str, u: float, v: float) -> np.ndarray:
        """A crop of a texture at the relative offset (u, v): float32 [H,W], about [-1,1]."""
        margin = painting.MARGIN
        top, left = int(v * margin * self.height), int(u * margin * self.width)
        tile = self.tiles[painting.TEXTURES.index(kind)]
        return tile[top : top + self.height, left : left + self.width].astype(np.float32) / 127

    def profile(self, cells: float, octaves: int = 5) -> np.ndarray:
        """A random line with `cells` waves across the picture: float32 [1,W], about [-1,1]."""
        start = self.rng.uniform(0, 200)
        return _line(octaves, start, cells, self.xs)

    def class_at(self, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        """Class at relative points: int [N]."""
        rows = np.clip((ys * self.height).astype(int), 0, self.height - 1)
        columns = np.clip((xs * self.width).astype(int), 0, self.width - 1)
        return self._classes()[self.ids[rows, columns]]

    def is_class(self, cls: int) -> np.ndarray:
        """Where a class is now: bool [H,W]."""
        return (self._classes() == cls)[self.ids]

    def _classes(self) -> np.ndarray:
        return np.array([piece.cls for piece in self.pieces])


@functools.lru_cache(maxsize=1)
def _line_table() -> np.ndarray:
    return np.random.Generator(np.random.PCG64([5])).uniform(-1, 1, 4096)


def _line(octaves: int, start: float, cells: float, xs: np.ndarray) -> np.ndarray:
    """One-dimensional fractal noise at `xs`, from one fixed table: float32, shape of `xs`."""
    table = _line_table()
    total = np.zeros(xs.shape, np.float32)
    for octave in range(octaves):
        position = (start + 31.7 * octave + xs * cells * 2**octave) % 4000
        low = position.astype(np.int64)
        t = position - low
        t = t * t * (3 - 2 * t)
        total += (table[low] * (1 - t) + table[low + 1] * t) * 0.5**octave
    return total


def jitter(rng: np.random.Generator, colour: Sequence[float], amount: float = 0.06) -> np.ndarray:
    """A colour with random brightness and hue."""
    shift = 1 + rng.uniform(-amount, amount, 3) + rng.uniform(-amount, amount)
    return np.clip(np.array(colour) * shift, 0, 1.0)
