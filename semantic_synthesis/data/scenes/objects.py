"""Trees, rocks and houses of the procedural landscapes: paints, shadows, and where they stand."""

import dataclasses

import cv2
import numpy as np

from . import shapes
from .canvas import HOUSE, ROCK, TREE, WATER, Canvas

_TONES = {"dark": 0.20, "middle": 0.52, "light": 0.92, "trunk": 0.30, "bark": 0.75}
_LEAVES = {
    "conifer": ((0.18, 0.38, 0.22), (0.26, 0.44, 0.20), (0.16, 0.36, 0.30)),
    "round": (
        (0.30, 0.46, 0.16),
        (0.42, 0.50, 0.16),
        (0.72, 0.46, 0.14),
        (0.22, 0.40, 0.18),
        (0.66, 0.30, 0.16),
        (0.80, 0.52, 0.58),
    ),
    "poplar": ((0.34, 0.48, 0.18), (0.56, 0.54, 0.18), (0.20, 0.36, 0.18)),
    "palm": ((0.34, 0.50, 0.18), (0.28, 0.44, 0.20)),
}
_BARK = {
    "conifer": (0.36, 0.25, 0.18),
    "round": (0.40, 0.30, 0.22),
    "poplar": (0.62, 0.58, 0.52),
    "palm": (0.52, 0.40, 0.28),
}
_STONE = ((0.52, 0.50, 0.50), (0.56, 0.48, 0.40), (0.44, 0.46, 0.50), (0.60, 0.54, 0.46))
_ROOFS = (
    (0.68, 0.26, 0.18),
    (0.46, 0.28, 0.20),
    (0.36, 0.40, 0.46),
    (0.76, 0.50, 0.24),
    (0.52, 0.20, 0.22),
)
_WALLS = (
    (0.94, 0.90, 0.80),
    (0.90, 0.78, 0.60),
    (0.84, 0.86, 0.88),
    (0.80, 0.58, 0.46),
    (0.72, 0.80, 0.82),
)


_BRICK, _GLASS, _FRAME = (0.55, 0.36, 0.30), (0.26, 0.32, 0.40), (0.96, 0.94, 0.90)


def _pick(options, share: float):
    return options[int(share * len(options))]


def _tint(colour, draw) -> tuple:
    """Colour variation of one object from three uniform numbers."""
    bright = 0.85 + 0.3 * draw[0]
    return tuple(np.clip(np.array(colour) * bright * (1 + 0.16 * (draw[:3] - 0.5)), 0, 1))


def _shadow(c: Canvas, x: float, y: float, width: float, length: float) -> None:
    """A cast shadow on the ground that lies away from the light, and a dark foot."""
    away = (x * c.width - c.side * length * 0.5 * c.unit, y * c.height + 0.05 * length * c.unit)
    spots = (
        (away, 0.5 * (length + width), 190),
        ((x * c.width, y * c.height), 0.7 * width, 255),
    )
    for centre, reach, power in spots:
        radii = (int(reach * c.unit * 16) + 8, int(width * 0.2 * c.unit * 16) + 8)
        centre = (int(centre[0] * 16), int(centre[1] * 16))
        cv2.ellipse(c.cast, centre, radii, 2 * c.side, 0, 360, power, -1, cv2.LINE_AA, 4)


def _tree(c: Canvas, kind: str, x: float, y: float, size: float, draw: np.ndarray) -> None:
    _shadow(c, x, y, size * 0.36, size * 0.75)
    leaves = _tint(_pick(_LEAVES[kind], draw[0]), draw[1:4])
    haze, instance = c.haze_at(y), c.instance()
    snow = {"light": 0.75, "middle": 0.45}
    paints = {
        part: c.piece(
            TREE,
            _BARK[kind] if part in ("trunk", "bark") else leaves,
            tone,
            instance,
            haze,
            cover=snow.get(part, 0.12),
        )
        for part, tone in _TONES.items()
    }
    shape = _pick(shapes.shapes()[kind], draw[4])
    c.stamp(shape, x, y, (size * c.side, size), paints)


def _stone(c: Canvas, x: float, y: float, size: float, draw: np.ndarray) -> None:
    _shadow(c, x, y, size * 1.3, size * 1.5)
    colour = _tint(_pick(_STONE, draw[0]), draw[1:4])
    haze, instance = c.haze_at(y), c.instance()
    snow = {"dark": 0.1, "middle": 0.2, "light": 0.8}
    paints = {
        part: c.piece(ROCK, colour, _TONES[part], instance, haze, cover=cover) for part, cover in snow.items()
    }
    stretch = (0.9 + 0.7 * draw[5]) * c.side
    shape = _pick(shapes.shapes()["rock"], draw[4])
    c.stamp(shape, x, y, (size * stretch, size), paints)


def _house(c: Canvas, x: float, y: float, size: float, draw: np.ndarray) -> None:
    _shadow(c, x, y, size * 0.9, size * 0.9)
    roof, wall = _tint(_pick(_ROOFS, draw[5]), draw[1:4]), _tint(_pick(_WALLS, draw[6]), draw[2:5])
    looks = {  # part -> colour, light on it, snow that stays, lamp
        "wall": (wall, 0.34, 0.03, 0),
        "front": (wall, 0.88, 0.03, 0),
        "eave": (wall, 0.05, 0, 0),
        "roof": (roof, 0.62, 0.85, 0),
        "ridge": (roof, 0.95, 0.95, 0),
        "door": (tuple(0.45 * v for v in roof), 0.6, 0, 0),
        "chimney": (_BRICK, 0.5, 0.1, 0),
        "window": (_GLASS, 0.45, 0, 1),
        "frame": (_FRAME, 0.5, 0, 0),
    }
    haze, instance = c.haze_at(y), c.instance()
    paints = {
        part: c.piece(HOUSE, colour, shade, instance, haze, lamp, cover)
        for part, (colour, shade, cover, lamp) in looks.items()
    }
    shape = shapes.house(
        gable=0.34 + 0.14 * draw[0],
        wall=0.30 + 0.12 * draw[1],
        roof=0.24 + 0.14 * draw[2],
        count=2 + int(draw[3] * 2),
        tower=bool(draw[7] < 0.06),
        chimney=bool(draw[4] < 0.6),
    )
    shape = [(part, outline - (0.5, 0)) for part, outline in shape]
    c.stamp(shape, x, y, (size * c.side, size), paints)


@dataclasses.dataclass(frozen=True)
class Crowd:
    """How many objects of a kind stand on which ground: `depth` range 0 horizon ... 1 viewer."""

    kind: str
    count: int
    ground: tuple[int, ...]
    size: float  # at the bottom of the picture, share of the shorter side
    depth: tuple[float, float] = (0.03, 1.0)
    gap: float = 0.0  # least distance to others of this kind, in object sizes


def _scatter(c: Canvas, crowd: Crowd) -> list[tuple]:
    """Objects of one crowd that found their ground: (y, kind, x, size, uniform numbers [8])."""
    draws = c.rng.random((crowd.count, 13))
    centres = c.rng.random(3)  # objects gather around a few places
    near, far = max(crowd.depth), min(crowd.depth)
    depth = far + (near - far) * draws[:, 0] ** 1.9
    gathered = centres[(draws[:, 3] * 3).astype(int)] + 0.25 * (draws[:, 2] - 0.5)
    xs = np.where(draws[:, 1] < 0.5, draws[:, 2], gathered)
    ys = c.horizon + (1 - c.horizon) * depth
    sizes = crowd.size * (0.10 + 0.90 * depth) * (0.75 + 0.5 * draws[:, 4])
    taken, objects = [], []
    for i in np.flatnonzero(np.isin(c.class_at(xs, ys), crowd.ground)):
        x, y, gap = float(xs[i]), float(ys[i]), float(crowd.gap * sizes[i])
        if any(abs(x - a) < max(gap, g) and abs(y - b) < 0.4 * max(gap, g) for a, b, g in taken):
            continue
        taken.append((x, y, gap))
        objects.append((y, crowd.kind, x, float(sizes[i]), draws[i, 5:]))
    return objects


def place(c: Canvas, crowds: list[Crowd]) -> None:
    """Scatters objects on the finished ground and draws them from far to near."""
    c.lake = c.is_class(WATER)
    objects = [thing for crowd in crowds for thing in _scatter(c, crowd)]
    for y, kind, x, size, draw in sorted(objects, key=lambda thing: thing[0]):
        draw_thing = {"house": _house, "rock": _stone}.get(kind)
        if draw_thing:
            draw_thing(c, x, y, size, draw)
        else:
            _tree(c, kind, x, y, size, draw)
