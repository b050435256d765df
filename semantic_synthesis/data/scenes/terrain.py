"""Sky, mountains, ground and water of the procedural landscapes; one function per kind of terrain.

Each draws itself on a `Canvas` over what is already there, so a composition calls them from far to
near. Random numbers come from `canvas.rng`, in an order that does not depend on the picture size.
"""

import cv2
import numpy as np

from .canvas import (
    CLOUD,
    FIELD,
    FOREST,
    GRASS,
    MOUNTAIN,
    ROAD,
    SAND,
    SNOW,
    SUN,
    WATER,
    Canvas,
    jitter,
)

# ---------------------------------------------------------------- sky and distance


def _sun(c: Canvas) -> None:
    """Where the sun (at night the moon) stands, and its disc if it is seen."""
    draw = c.rng.random(4).tolist()
    radius = 0.035 + 0.03 * draw[2]
    x = 0.5 + c.side * (0.12 + 0.32 * draw[0])
    y = 0.07 + (c.horizon - 0.16) * draw[1]
    c.sun = (x, y, radius)
    c.sun_seen = bool(draw[3] < 0.72)
    if not c.sun_seen:
        return
    dx = (c.xs - x) * c.width / c.unit
    dy = (c.ys - y) * c.height / c.unit
    c.where(dx**2 + dy**2 < radius**2, c.piece(SUN, (1, 1, 0.9)))


def _cloud(c: Canvas, draw: list[float]) -> None:
    """One cloud of a few billows: an exact mask and a softer veil that fades around it."""
    y0 = 0.05 + (c.horizon - 0.14) * draw[0]
    x0 = -0.05 + 1.1 * draw[1]
    width = (0.13 + 0.22 * draw[2]) * (1.15 - 0.7 * y0 / c.horizon)
    height = width * (0.30 + 0.22 * draw[3]) * c.width / c.height
    top, bottom = (int(np.clip(y0 + s * height * 2.2, 0, 1) * c.height) for s in (-1, 1))
    if bottom - top < 2:
        return
    rows = slice(top, bottom)
    ys = (c.ys[rows] - y0) / height
    density = np.full((bottom - top, c.width), -9.0, np.float32)
    for k in range(4):
        dx = (draw[4 + k] - 0.5) * 1.3 if k else 0.0
        size = (0.55 + 0.35 * draw[8 + k]) if k else 0.8
        lift = -0.35 * (1 - abs(dx)) * draw[12 + k]
        bump = 1 - ((c.xs - x0) / width - dx) ** 2 / size**2 - ((ys - lift) / size) ** 2
        np.maximum(density, bump, out=density)
    noise = c.tile("cloud", draw[16], draw[17])[rows]
    base = np.clip((ys - 0.42) * 4, 0, 3)  # clouds have a flat base
    density = np.asarray(density + 0.85 * noise - 0.15 - base)
    _draw_cloud(c, rows, density, ys, noise)


def _draw_cloud(c: Canvas, rows: slice, density, ys, noise) -> None:
    """Writes a cloud with its light: bright where it faces the sun and at the rim, darker below."""
    shift = max(1, int(0.02 * c.unit))
    towards = np.roll(density, int(-c.side * shift), 1)
    towards[shift:] = towards[:-shift].copy()
    facing = density - towards
    form = np.clip(-0.28 * ys + 0.9 * facing * 0.5 + 0.14 * noise + 0.12, -0.5, 0.5)
    veil = np.clip(density * 1.3 + 0.42, 0, 1)
    veil = veil * veil * (3 - 2 * veil)
    mask = density > 0.0
    sky = c.veil[rows]
    np.copyto(c.form[rows], form, where=veil > sky)
    np.maximum(sky, veil * 0.97, out=sky)
    np.copyto(c.ids[rows], c.piece(CLOUD, (1, 1, 1), instance=c.instance()), where=mask)


def sky(c: Canvas) -> None:
    """Sun or moon in three of four scenes, and up to five clouds."""
    _sun(c)
    count = int(c.rng.choice([0, 1, 2, 3, 4, 5], p=[0.08, 0.17, 0.25, 0.25, 0.15, 0.10]))
    draws = c.rng.random((5, 18)).tolist()  # always five, so that what follows stays in step
    for draw in draws[:count]:
        _cloud(c, draw)
    if c.sun_seen:  # a veil before the sun would hide a disc that the label map shows
        c.veil[c.is_class(SUN)] = 0


def _peaks(c: Canvas, count: int, rough: float) -> np.ndarray:
    """Skyline of `count` peaks between about 0 and 1: float32 [1,W]."""
    draws = c.rng.random((8, 3)).tolist()
    line = np.zeros((1, c.width), np.float32)
    warped = c.xs + 0.02 * c.profile(5, 3)
    for k, (a, b, h) in enumerate(draws[:count]):
        centre = (k + 0.15 + 0.7 * a) / count
        reach = (0.75 + 0.8 * b) / count
        line = np.maximum(line, (0.45 + 0.55 * h) * (1 - np.abs(warped - centre) / reach))
    return line + rough * c.profile(7, 6)


def _mountain(c: Canvas, foot: float, height: float, far: float, snow: float, colour) -> None:
    """One range: its skyline, lit and shaded flanks, snow above `snow` (share of the height)."""
    count = int(c.rng.integers(2, 6))
    peaks = _peaks(c, count, 0.10)
    u, v = c.rng.random(2).tolist()
    line = foot - height * np.clip(peaks, 0.03, None)  # [1,W]
    rows = slice(max(0, int(line.min() * c.height)), min(c.height, int(foot * c.height) + 2))
    ys = c.ys[rows]
    below = (ys - line) / height  # [h,W]
    noise = c.tile("cloud", u, v)[rows]
    ridge = c.tile("ridge", v, u)[rows]
    # The flank under a skyline point faces like the skyline some way beside it: ridges wander down.
    beside = c.xs * c.width + noise * (0.015 + 0.22 * np.clip(below, 0, 1)) * c.width
    slope = np.gradient(cv2.blur(line, (1 + 2 * (c.width // 90), 1))[0]) * c.width / height
    index = np.clip(beside, 0, c.width - 1).astype(np.int64)
    flank = np.tanh(slope * 0.16 * c.side)[index]
    form = 0.42 * flank
    mask = (below > 0) & (ys < foot + 0.01)
    altitude = (foot - ys) / height
    mist = np.clip(far + 0.30 * (1 - altitude * 1.6), 0.02, 0.85)
    rock = c.piece(MOUNTAIN, jitter(c.rng, colour, 0.07), shade=0.5)
    c.where(mask, rock, form, mist, rows)
    line_of_snow = snow + 0.22 * noise + 0.12 * ridge - 0.1 * form
    white = c.piece(SNOW, (0.92, 0.94, 0.98), shade=0.66)
    c.where(mask & (altitude > line_of_snow), white, form * 0.95, mist * 0.8, rows)


def mountains(c: Canvas, layers: int, height: float, snow: float) -> None:
    """Ranges from far and high to near and low; `snow`: where the snow of the farthest begins."""
    colours = ((0.40, 0.38, 0.44), (0.40, 0.36, 0.36), (0.36, 0.36, 0.30))
    for k in range(layers):
        near = (k + 1) / max(layers, 1)
        tall = min(height * c.rng.uniform(0.85, 1.15), 0.85 * c.horizon) * (1.0 - 0.42 * k)
        far = 0.42 * (1 - near) + 0.10
        _mountain(c, c.horizon + 0.01, tall, far, snow + 0.35 * k, colours[3 - layers + k])


# ---------------------------------------------------------------- ground


def _swell(c: Canvas, cls: int, y: float, amount: float, colour) -> None:
    """Ground below a gently curved line at `y`; brighter along its crest."""
    line = y + amount * c.profile(1.6, 3)
    below = c.ys - line
    form = 0.22 * np.exp(-np.clip(below, 0, None) / 0.04) - 0.06
    c.where(below > 0, c.piece(cls, jitter(c.rng, colour)), form=form)


GREENS = ((0.48, 0.63, 0.24), (0.42, 0.60, 0.24), (0.58, 0.64, 0.26), (0.38, 0.55, 0.23))
WOODS = ((0.13, 0.27, 0.15), (0.20, 0.33, 0.14), (0.30, 0.30, 0.12))


def meadows(c: Canvas) -> None:
    """Grass from the horizon to the viewer in two to four swells."""
    c.where(np.broadcast_to(c.ys > c.horizon - 0.004, c.ids.shape), c.piece(GRASS, GREENS[0]))
    count = int(c.rng.integers(1, 4))
    for k in range(count):
        depth = (k + 0.4 + 0.5 * c.rng.random()) / (count + 0.6)
        y = c.horizon + (1 - c.horizon) * depth**1.5
        _swell(c, GRASS, y, 0.008 + 0.035 * depth, GREENS[c.rng.integers(4)])


def forest(c: Canvas, y: float, thickness: float, partial: bool) -> None:
    """A band of crowns standing on `y`; `partial` leaves gaps."""
    crowns = 0.012 * c.profile(34, 2) + 0.010 * c.profile(70, 2)
    bulk = c.profile(2.2, 3)
    tall = thickness * np.clip((bulk + 0.35) * 1.6 if partial else 0.8 + 0.35 * bulk, 0, 1.3)
    top = y - tall + crowns * np.clip(tall * 40, 0, 1)
    foot = y + 0.004 * c.profile(20, 2)
    mask = (c.ys > top) & (c.ys < foot) & (tall > 0.004)
    form = np.clip(0.25 - (c.ys - top) / thickness * 0.45, -0.3, 0.3)
    colour = jitter(c.rng, WOODS[c.rng.integers(3)], 0.1)
    c.where(mask, c.piece(FOREST, colour, shade=0.55), form=form, mist=c.haze_at(y))


def lake(c: Canvas, x: float, y: float, rx: float, ry: float) -> None:
    """A lake with a thin rim of sand; wider than deep, since it lies flat."""
    wobble = 0.35 * c.tile("cloud", *c.rng.random(2))
    inside = 1 - ((c.xs - x) / rx) ** 2 - ((c.ys - y) / ry) ** 2 + wobble
    flat = c.ys > c.horizon + 0.012
    c.where((inside > -0.16) & flat, c.piece(SAND, jitter(c.rng, (0.72, 0.63, 0.45))))
    c.where((inside > 0) & flat, c.piece(WATER, jitter(c.rng, (0.16, 0.36, 0.46))))


def sea(c: Canvas) -> None:
    """Sea up to the horizon, a slanting beach, grass behind it on the near side."""
    draw = c.rng.random(6).tolist()
    water = c.piece(WATER, jitter(c.rng, (0.10, 0.36, 0.48)))
    c.where(np.broadcast_to(c.ys > c.horizon, c.ids.shape), water)
    turn = 1.0 if draw[0] < 0.5 else -1.0
    across = 0.5 + turn * (c.xs - 0.5)
    reach = 0.12 + 0.30 * draw[1] + (0.2 + 0.8 * draw[2]) * across**1.5
    shore = c.horizon + 0.03 + (1 - c.horizon) * reach + 0.02 * c.profile(3, 4)
    beach = 0.05 + 0.20 * draw[3] * (shore - c.horizon) / (1 - c.horizon)
    c.where(c.ys > shore, c.piece(SAND, (0.60, 0.50, 0.36), shade=0.5))  # wet sand
    form = 0.14 * np.exp(-np.clip(c.ys - shore - 0.03, 0, None) / 0.05)
    dry = shore + 0.006 + 0.02 * np.clip(shore - c.horizon, 0, 1)
    c.where(c.ys > dry, c.piece(SAND, jitter(c.rng, (0.84, 0.73, 0.52))), form=form)
    if draw[4] < 0.75:
        line = shore + beach + 0.02 * c.profile(5, 4)
        form = 0.2 * np.exp(-np.clip(c.ys - line, 0, None) / 0.03)
        c.where(c.ys > line, c.piece(GRASS, jitter(c.rng, GREENS[2])), form=form)


def _winding(c: Canvas, start: float, bend: float, target: float) -> np.ndarray:
    """Centre line of a road or river, from the horizon at `start` to the bottom: [H,1]."""
    t = np.sqrt(c.depth)
    swing = (0.25 + 0.75 * c.depth) * (1 - c.depth * 0.4)  # near bends look wider than far ones
    return start + (target - start) * t**1.4 + bend * swing * np.sin(np.pi * (1 - t) * 2.2)


def river(c: Canvas) -> None:
    """A winding river with banks of gravel."""
    draw = c.rng.random(4).tolist()
    centre = _winding(c, 0.3 + 0.4 * draw[0], (draw[1] - 0.5) * 0.5, 0.2 + 0.6 * draw[2])
    half = 0.012 + (0.12 + 0.16 * draw[3]) * c.depth**1.1
    wobble = c.tile("cloud", draw[0], draw[1]) * half * 0.3
    distance = np.abs(c.xs - centre + wobble) / half
    flat = c.ys > c.horizon + 0.015
    c.where((distance < 1.22) & flat, c.piece(SAND, jitter(c.rng, (0.62, 0.56, 0.42))))
    c.where((distance < 1.0) & flat, c.piece(WATER, jitter(c.rng, (0.14, 0.36, 0.46))))


def road(c: Canvas) -> None:
    """A winding road with two worn tracks."""
    draw = c.rng.random(5).tolist()
    centre = _winding(c, 0.25 + 0.5 * draw[0], (draw[1] - 0.5) * 0.6, 0.15 + 0.7 * draw[2])
    half = 0.006 + (0.06 + 0.07 * draw[3]) * c.depth**1.05
    across = (c.xs - centre + c.tile("leaf", draw[0], draw[1]) * half * 0.12) / half
    aside = np.abs(across)
    tracks = 0.16 * np.exp(-(((aside - 0.5) / 0.2) ** 2))
    form = tracks - 0.05 - 0.16 * np.clip(aside - 0.75, 0, 1)
    colour = ((0.62, 0.54, 0.42), (0.52, 0.50, 0.50), (0.66, 0.60, 0.50))[int(draw[4] * 3)]
    mask = (aside < 1) & (c.ys > c.horizon + 0.012)
    c.where(mask, c.piece(ROAD, jitter(c.rng, colour)), form=form)


CROPS = (
    ((0.86, 0.70, 0.28), (0.66, 0.52, 0.24)),  # wheat
    ((0.56, 0.42, 0.74), (0.36, 0.44, 0.26)),  # lavender
    ((0.92, 0.82, 0.20), (0.52, 0.58, 0.20)),  # rape
    ((0.80, 0.24, 0.18), (0.40, 0.48, 0.20)),  # poppies
    ((0.48, 0.62, 0.24), (0.48, 0.36, 0.24)),  # young green on soil
    ((0.58, 0.44, 0.30), (0.44, 0.33, 0.24)),  # ploughed soil
)


def fields(c: Canvas, count: int) -> None:
    """Patches of crop rows that run towards one vanishing point."""
    vanishing = c.rng.uniform(0.2, 0.8)
    depth = np.maximum(c.depth, 0.004)
    lateral = (c.xs - vanishing) / (depth + 0.05)  # [H,W]
    draws = c.rng.random((count, 6)).tolist()
    start = sorted(0.40 * draw[0] for draw in draws)
    edge = depth + 0.01 * c.profile(4, 3)  # [H,W]
    for k, draw in enumerate(draws):
        near, far = start[k] + 0.14 + 0.5 * draw[1] * (0.4 + start[k] * 2), start[k] + 0.02
        left = (draw[2] - 0.65) * 4
        right = left + 1.2 + 3.4 * draw[3]
        mask = (edge > far) & (edge < near) & (lateral > left) & (lateral < right)
        rows = np.sin(lateral * (14 + 20 * draw[4])) * np.clip(c.depth * 6, 0, 1)
        light, dark = CROPS[int(draw[5] * len(CROPS))]
        form = 0.16 * rows + 0.05
        colours = (jitter(c.rng, light), jitter(c.rng, dark))
        pieces = [c.piece(FIELD, colour) for colour in colours]
        c.where(mask, pieces[0], form=form)
        c.where(mask & (rows < -0.45), pieces[1], form=form)


def dunes(c: Canvas) -> None:
    """Sand swells with a lit and a shaded side along a sharp crest."""
    tones = ((0.88, 0.70, 0.46), (0.84, 0.64, 0.40), (0.90, 0.75, 0.52))
    c.where(np.broadcast_to(c.ys > c.horizon, c.ids.shape), c.piece(SAND, tones[0]))
    count = int(c.rng.integers(3, 6))
    for k in range(count):
        depth = (k + 0.3 + 0.6 * c.rng.random()) / (count + 0.5)
        y = c.horizon + (1 - c.horizon) * depth**1.4
        line = y + (0.02 + 0.07 * depth) * c.profile(1.3 + c.rng.random(), 2)
        below = c.ys - line
        slope = np.gradient(line[0])[None] * c.width * c.side
        foot = np.exp(-np.clip(below, 0, None) / (0.03 + 0.10 * depth))
        form = 0.1 + np.clip(slope * 1.5, -0.40, 0.25) * foot + 0.08 * foot
        c.where(below > 0, c.piece(SAND, jitter(c.rng, tones[k % 3])), form=form)
