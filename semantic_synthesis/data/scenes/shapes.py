"""Outlines of trees, rocks and houses for the procedural landscapes of `scenes.py`.

A shape is a list of (part, outline): `part` names the paint, `outline` is float32 [N,2] in units of
the object's height (trees, rocks) or width (houses), base at (0,0), upwards negative, lit from the
right. Later parts cover earlier ones. Outlines of trees and rocks are made once per process; an
object is a shape moved and scaled.
"""

import functools

import cv2
import numpy as np

VARIANTS = 6
_RASTER = 160  # pixels per unit in which leafy outlines are found


def _points(*pairs) -> np.ndarray:
    return np.array(pairs, np.float32)


def _conifer(rng) -> list:
    """Tiers of drooping branches; the lit side is the right part of the same outline."""
    tiers = int(rng.integers(5, 8))
    width = rng.uniform(0.19, 0.27)
    rows = np.linspace(-0.94, -0.10, tiers)
    sides = []
    for _ in range(2):
        side = [(0.0, -1.0)]
        for i, y in enumerate(rows):
            reach = width * ((i + 1) / tiers) ** 0.85 * rng.uniform(0.82, 1.12)
            side += [(reach, y + rng.uniform(0, 0.03)), (reach * 0.5, y - 0.012)]
        sides.append(_points(*side, (0.0, rows[-1] + 0.01)))
    left, right = sides[0] * (-1, 1), sides[1]
    inner = right * (0.25, 1.0) - (0.02, 0)
    inner[1::2, 0] -= 0.06 * rng.random(len(inner[1::2]))
    bright = right * (0.9, 1.0)
    core = right * (0.62, 1.0) + (0, 0.012)
    return [
        ("trunk", _points((-0.025, -0.2), (0.025, -0.2), (0.03, 0), (-0.03, 0))),
        ("dark", np.concatenate([left, right[::-1]])),
        ("middle", np.concatenate([inner, right[::-1]])),
        ("light", np.concatenate([core, bright[::-1]])),
    ]


def _leafy(rng, blobs: np.ndarray, roughness: float) -> list:
    """Crown of round `blobs` [N,3] (x, y, radius): silhouette, middle tone and lit tone."""
    side = int(1.4 * _RASTER)
    axis = (np.arange(side) - side / 2) / _RASTER
    ys, xs = (axis - 0.55)[:, None], axis[None, :]
    lattice = rng.standard_normal((side // 7, side // 7)).astype(np.float32)
    noise = cv2.resize(lattice, (side, side), interpolation=cv2.INTER_CUBIC) * roughness
    parts = []
    for part, shrink, shift in (("dark", 1.0, 0.0), ("middle", 0.84, 0.2), ("light", 0.52, 0.46)):
        field = np.full((side, side), -1.0)
        for x, y, radius in blobs:
            x, y = x + shift * radius * 0.75, y - shift * radius
            bump = shrink - np.hypot(xs - x, ys - y) / radius
            field = np.maximum(field, bump)
        mask = (field + noise * (0.6 + 0.6 * shift) > 0).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for outline in outlines:
            if cv2.contourArea(outline) < 0.0012 * _RASTER**2:
                continue
            outline = cv2.approxPolyDP(outline, 0.8, True)[:, 0].astype(np.float32)
            parts.append((part, outline / _RASTER - (0.7, 0.7 + 0.55)))
    return parts


def _trunk(width: float, top: float, lean: float) -> list:
    """A trunk with its lit right edge."""
    a, b, low, high = -width, width, width * 1.5, width * 0.7
    whole = _points((lean - high, top), (lean + high, top), (b, -0.1), (low, 0), (-low, 0), (a, -0.1))
    lit = _points((lean + high * 0.2, top), (lean + high, top), (b, -0.1), (low, 0), (b * 0.3, 0))
    return [("trunk", whole), ("bark", lit)]


def _round(rng) -> list:
    count = int(rng.integers(6, 10))
    angle = rng.uniform(0, 2 * np.pi, count)
    spread = np.sqrt(rng.random(count))
    blobs = np.stack(
        [0.21 * spread * np.cos(angle), -0.62 + 0.19 * spread * np.sin(angle)]
        + [rng.uniform(0.13, 0.20, count)],
        1,
    )
    blobs = np.concatenate([blobs, [[0, -0.62, 0.22]]])
    return _trunk(0.03, -0.5, rng.uniform(-0.04, 0.04)) + _leafy(rng, blobs, 0.22)


def _poplar(rng) -> list:
    ys = np.linspace(-0.86, -0.24, 7)
    radius = 0.05 + 0.085 * np.sin(np.linspace(0.35, 2.6, 7)) * rng.uniform(0.8, 1.2)
    blobs = np.stack([rng.uniform(-0.02, 0.02, 7), ys, radius], 1)
    return _trunk(0.022, -0.3, 0.0) + _leafy(rng, blobs, 0.2)


def _palm(rng) -> list:
    """A bent trunk and a star of fronds."""
    lean = rng.uniform(-0.2, 0.2)
    t = np.linspace(0, 1, 6)[:, None]
    spine = np.concatenate([lean * t**1.6, -0.78 * t], 1).astype(np.float32)
    width = np.concatenate([0.03 - 0.012 * t, 0 * t], 1).astype(np.float32)
    parts = [("trunk", np.concatenate([spine - width, (spine + width)[::-1]]))]
    parts.append(("bark", np.concatenate([spine + width * 0.2, (spine + width)[::-1]])))
    for i, angle in enumerate(np.linspace(-0.5, np.pi + 0.5, 8) + rng.uniform(-0.15, 0.15, 8)):
        length = rng.uniform(0.26, 0.36)
        s = np.linspace(0, 1, 6)
        x = np.cos(angle) * length * s
        y = -np.sin(angle) * length * s * 0.8 + 0.2 * s**2 - 0.03 * np.sin(np.pi * s)
        thick = 0.042 * np.sin(np.pi * np.clip(s * 0.9 + 0.1, 0, 1))
        blade = np.stack([np.concatenate([x, x[::-1]]), np.concatenate([y - thick, (y + thick)[::-1]])], 1)
        tone = "light" if np.cos(angle) > 0.3 else ("middle", "dark")[i % 2]
        parts.append((tone, (blade + spine[-1]).astype(np.float32)))
    return parts


def _rock(rng) -> list:
    """A silhouette of 9 corners, a lit and a bright facet that meet in one ridge."""
    angle = np.linspace(np.pi, 0, 9)
    reach = rng.uniform(0.8, 1.1, 9)
    outline = np.stack([np.cos(angle) * reach * 0.8, -np.sin(angle) * reach], 1)
    outline[[0, -1], 1] = rng.uniform(0, 0.08, 2)
    foot = _points((0.45, 0.10), (-0.4, 0.12))
    ridge = _points((rng.uniform(-0.25, 0.05), rng.uniform(-0.62, -0.45)))
    crease = _points((rng.uniform(-0.1, 0.2), 0.11))
    outline = outline.astype(np.float32)
    return [
        ("dark", np.concatenate([outline, foot])),
        ("middle", np.concatenate([ridge, outline[5:], foot[:1], crease])),
        ("light", np.concatenate([ridge, outline[2:7]])),
    ]


@functools.lru_cache(maxsize=1)
def shapes() -> dict:
    """Every tree kind and "rock": name -> VARIANTS shapes."""
    makers = {"conifer": _conifer, "round": _round, "poplar": _poplar, "palm": _palm, "rock": _rock}
    made = {}
    for key, (name, make) in enumerate(makers.items()):
        seeds = [np.random.Generator(np.random.PCG64([71, key, v])) for v in range(VARIANTS)]
        made[name] = [make(rng) for rng in seeds]
    return made


def _box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return _points((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def _windows(columns, low: float, high: float, width: float) -> list:
    """Windows with a frame, centred at the x positions `columns`."""
    parts = []
    for x in columns:
        pane = _box(x - width / 2, low, x + width / 2, high)
        centre = pane.mean(0)
        parts += [("frame", centre + (pane - centre) * 1.3), ("window", pane)]
    return parts


def house(gable: float, wall: float, roof: float, count: int, tower: bool, chimney: bool) -> list:
    """A house of width 1 seen at a corner: gable wall on the right (lit), long wall on the left.

    `gable`: width of the gable wall; `wall`, `roof`: heights; `count`: windows in the long wall.
    """
    edge, top = 1 - gable, -wall - roof  # edge: x of the corner between the two walls
    middle = edge + gable / 2
    back, left = (0.10, top + 0.06 * roof - 0.02), (-0.035, -wall + 0.02)
    under = [(edge, -wall + 0.09 + 0.05 * roof), (0, -wall + 0.06)]
    parts = [("chimney", _box(0.3, top + 0.1, 0.37, top - 0.08))] if chimney else []
    parts += [
        ("wall", _points((0, -0.03), (edge, 0), (edge, -wall), (0, -wall))),
        ("front", _points((edge, 0), (1, -0.02), (1, -wall), (middle, top), (edge, -wall))),
        ("roof", _points((middle, top), back, left, (edge - 0.02, -wall + 0.05))),
        ("ridge", _points((middle, top), (1.04, -wall + 0.04), (1, -wall + 0.06))),
        ("eave", _points(left, (edge, -wall + 0.05), *under)),
        ("door", _box(edge + gable * 0.18, -0.008, edge + gable * 0.18 + 0.10, -wall * 0.62)),
    ]
    parts += _windows((np.arange(count) + 0.5) / count * edge, -wall * 0.28, -wall * 0.66, 0.085)
    parts += _windows([edge + gable * 0.72], -wall * 0.28, -wall * 0.66, 0.08)
    parts += _windows([middle], -wall * 1.05, -wall * 1.05 - 0.09, 0.07)
    return parts + (_tower(middle, wall + roof) if tower else [])


def _tower(x: float, height: float) -> list:
    """A church tower with a pointed roof in front of the gable."""
    left, right, edge, top = x - 0.13, x + 0.13, x + 0.03, -height * 1.35
    tip = (x, top * 1.75)
    return [
        ("wall", _box(left, 0, edge, top)),
        ("front", _box(edge, 0, right, top)),
        ("ridge", _points((left - 0.03, top), (edge, top + 0.02), tip)),
        ("roof", _points((edge, top + 0.02), (right + 0.03, top), tip)),
        ("window", _box(edge + 0.03, top * 0.7, right - 0.03, top * 0.88)),
    ]
