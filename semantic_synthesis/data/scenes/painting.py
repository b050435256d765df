"""Textures, light and air for the procedural landscapes of `scenes.py`.

`scenes.py` decides what is where: a map of numbered pieces, each with a class, a colour and a few
numbers. This file turns that map into a picture: albedo -> texture -> light of the look -> snow and
shadow -> haze -> sky -> reflections in water. It knows looks and surfaces, but no composition.

H, W: height and width; P: pieces; K: texture kinds; colours are RGB in [0,1] unless said otherwise.
"""

import dataclasses
import functools
from typing import Any

import cv2
import numpy as np

TEXTURES = ("air", "cloud", "ridge", "stone", "leaf", "forest", "plaster", "grass", "sand", "water")
MARGIN = 0.5  # a texture tile is larger than the picture by this share, so that crops differ
GROUND_TEXTURES = ("grass", "sand", "water")  # grain grows from the horizon to the viewer
GROUND_ROW = 0.6  # tile row (share of the height) that lies on the horizon in ground textures


@dataclasses.dataclass(frozen=True)
class Look:
    """Light and air of one look: sky gradient, sun, multipliers for lit and shaded surfaces."""

    top: tuple[float, float, float]
    middle: tuple[float, float, float]
    low: tuple[float, float, float]
    disc: tuple[float, float, float]
    glow: tuple[float, float, float]
    light: tuple[float, float, float]
    shadow: tuple[float, float, float]
    haze: tuple[float, float, float]
    cloud_light: tuple[float, float, float]
    cloud_shadow: tuple[float, float, float]
    haze_amount: float
    cast: float  # darkness of cast shadows
    contrast: float = 1.0  # of form and texture
    snow: float = 0.0
    windows: float = 0.0
    stars: float = 0.0


LOOKS = {
    "day": Look(
        top=(0.20, 0.46, 0.84), middle=(0.45, 0.70, 0.94), low=(0.86, 0.92, 0.94),
        disc=(1.0, 0.99, 0.86), glow=(0.13, 0.11, 0.05), light=(1.34, 1.24, 1.00),
        shadow=(0.34, 0.42, 0.58), haze=(0.70, 0.81, 0.92), cloud_light=(1.0, 0.99, 0.96),
        cloud_shadow=(0.66, 0.74, 0.86), haze_amount=0.85, cast=0.62,
    ),
    "sunset": Look(
        top=(0.27, 0.26, 0.52), middle=(0.86, 0.45, 0.42), low=(1.0, 0.78, 0.42),
        disc=(1.0, 0.95, 0.70), glow=(0.30, 0.17, 0.02), light=(1.38, 0.84, 0.46),
        shadow=(0.24, 0.17, 0.32), haze=(0.93, 0.57, 0.45), cloud_light=(1.0, 0.66, 0.42),
        cloud_shadow=(0.47, 0.31, 0.47), haze_amount=0.95, cast=0.65, contrast=1.1,
        windows=0.35,
    ),
    "night": Look(
        top=(0.02, 0.035, 0.13), middle=(0.05, 0.10, 0.26), low=(0.13, 0.21, 0.40),
        disc=(0.97, 0.96, 0.86), glow=(0.16, 0.20, 0.26), light=(0.46, 0.60, 0.86),
        shadow=(0.06, 0.09, 0.21), haze=(0.11, 0.17, 0.33), cloud_light=(0.33, 0.39, 0.54),
        cloud_shadow=(0.08, 0.11, 0.22), haze_amount=0.9, cast=0.5, windows=1.0, stars=1.0,
    ),
    "winter": Look(
        top=(0.50, 0.65, 0.82), middle=(0.70, 0.81, 0.91), low=(0.95, 0.94, 0.92),
        disc=(1.0, 0.98, 0.90), glow=(0.06, 0.05, 0.02), light=(1.06, 1.02, 0.96),
        shadow=(0.44, 0.53, 0.72), haze=(0.85, 0.90, 0.95), cloud_light=(0.97, 0.97, 0.97),
        cloud_shadow=(0.68, 0.74, 0.82), haze_amount=1.0, cast=0.5, snow=1.0, windows=0.25,
    ),
    "overcast": Look(
        top=(0.46, 0.49, 0.53), middle=(0.60, 0.63, 0.66), low=(0.74, 0.75, 0.76),
        disc=(0.84, 0.84, 0.81), glow=(0.06, 0.06, 0.05), light=(0.86, 0.88, 0.87),
        shadow=(0.40, 0.43, 0.47), haze=(0.68, 0.70, 0.72), cloud_light=(0.72, 0.73, 0.75),
        cloud_shadow=(0.45, 0.47, 0.51), haze_amount=1.2, cast=0.2, contrast=0.8,
    ),
}  # fmt: skip


# ---------------------------------------------------------------- textures, once per picture size


def fractal(key: int, height: int, width: int, cell: tuple[float, float], octaves: int) -> np.ndarray:
    """Fractal value noise, about [-1,1]: float32 [height,width]; `cell` (y, x) in pixels.

    Each octave has its own seed, so a larger picture gets the same coarse octaves plus finer ones.
    """
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        cells = [max(c / 2**octave, 1.0) for c in cell]
        if octave and max(cells) <= 1.0:
            break
        rng = np.random.Generator(np.random.PCG64([key, octave]))
        shape = (int(height / cells[0]) + 3, int(width / cells[1]) + 3)
        lattice = rng.standard_normal(shape, np.float32)
        size = (int(shape[1] * cells[1]) + 1, int(shape[0] * cells[0]) + 1)
        layer = cv2.resize(lattice, size, interpolation=cv2.INTER_CUBIC)
        total += layer[:height, :width] * 0.55**octave
    return total / (np.abs(total).max() * 0.7 + 1e-6)


def _relief(noise: np.ndarray, step: int) -> np.ndarray:
    """`noise` read as a height field and lit from the upper right: float32, about [-1,1]."""
    lit = noise - np.roll(noise, (-step, step), (0, 1))
    return np.clip(lit / (np.abs(lit).std() * 3.0 + 1e-6), -1, 1)


def _banded(key: int, height: int, width: int, unit: float, cell, octaves: int) -> np.ndarray:
    """Ground texture whose grain grows from the horizon row towards the viewer."""
    distance = np.abs(np.arange(height, dtype=np.float32) - GROUND_ROW * height / (1 + MARGIN))
    level = np.log2(np.maximum(distance / unit, 0.02) / 0.05)[:, None]  # 0 far ... 3.3 near
    total = np.zeros((height, width), np.float32)
    for band in range(4):
        size = (max(cell[0] * unit * 2.0 ** (band - 1), 1.0), max(cell[1] * unit * 2.0 ** (band - 1), 1.0))
        weight = np.clip(1 - np.abs(np.clip(level, 0, 3) - band), 0, 1)
        total += weight * fractal(key + 7 * band, height, width, size, octaves)
    return total * np.clip(0.35 + level * 0.3, 0.35, 1.0)


def _crowns(key: int, height: int, width: int, unit: float) -> np.ndarray:
    """Rows of tree tops, each lit from the upper right: float32 [height,width]."""
    rng = np.random.Generator(np.random.PCG64([key, 99]))
    picture = np.full((height, width), -0.7, np.float32)
    step = max(0.017 * unit, 1.0)
    for y in np.arange(0, height + 3 * step, step):
        for x in np.arange(-step, width + step, 1.5 * step) + rng.uniform(-1, 1) * step:
            size, jitter, tone = rng.uniform(1.0, 1.7) * step, rng.uniform(-0.5, 0.5), rng.normal()
            for shrink, shift, value in ((1, 0, -0.6), (0.8, 0.2, -0.1), (0.45, 0.42, 0.45)):
                centre = ((x + (jitter + shift) * step) * 16, (y - shift * step * 1.3) * 16)
                radius = (max(size * shrink * 0.8, 0.5) * 16, max(size * shrink, 0.5) * 16)
                box = (tuple(map(int, centre)), tuple(map(int, radius)))
                value += 0.18 * tone
                cv2.ellipse(picture, *box, 0, 0, 360, value, -1, cv2.LINE_AA, 4)
    return picture


def _pack(tile: np.ndarray) -> np.ndarray:
    """[-1,1] as int8, a quarter of the memory."""
    return np.round(np.clip(tile, -1, 1) * 127).astype(np.int8)


@functools.lru_cache(maxsize=4)
def textures(height: int, width: int) -> np.ndarray:
    """All texture tiles for a picture size: int8 [K,(1+MARGIN)*height,(1+MARGIN)*width]."""
    unit = min(height, width)
    size = (int(height * (1 + MARGIN)) + 1, int(width * (1 + MARGIN)) + 1)
    u = float(unit)
    step = max(1, unit // 100)
    ridged = 0.5 - np.abs(fractal(3, *size, (0.22 * u, 0.16 * u), 6))
    stone = 0.5 - np.abs(fractal(4, *size, (0.08 * u, 0.08 * u), 4))
    leaf = fractal(5, *size, (0.045 * u, 0.045 * u), 3)
    tiles = {
        "air": _pack(fractal(1, *size, (0.16 * u, 0.65 * u), 5)),
        "cloud": _pack(fractal(2, *size, (0.16 * u, 0.22 * u), 5)),
        "ridge": _relief(ridged, 2 * step) * 0.85 + 0.15 * fractal(8, *size, (0.03 * u, 0.02 * u), 2),
        "stone": _pack(_relief(stone, step)),
        "leaf": _pack(0.6 * np.tanh(2 * leaf) + 0.5 * _relief(leaf, step)),
        "forest": _pack(_crowns(6, *size, u)),
        "plaster": _pack(fractal(7, *size, (0.015 * u, 0.06 * u), 2)),
        "grass": _pack(_banded(20, *size, u, (0.018, 0.007), 3)),
        "sand": _pack(_banded(60, *size, u, (0.012, 0.09), 3)),
        "water": _pack(_banded(90, *size, u, (0.010, 0.075), 3)),
    }
    return np.stack([tiles[name] for name in TEXTURES])  # [K,h,w]


# ---------------------------------------------------------------- the picture


@dataclasses.dataclass
class Sketch:
    """What `scenes.py` hands over for painting; the table columns are per piece [P], P pieces.

    `ids` int32 [H,W] piece of each pixel; `form` float32 [H,W] shape shading about [-0.5,0.5];
    `mist` float32 [H,W] haze in [0,1]; `veil` float32 [H,W] cloud opacity in [0,1];
    `cast` uint8 [H,W] cast shadows; `sun` (x, y, radius) in pixels, `sun_seen` whether it is drawn.
    """

    ids: np.ndarray
    form: np.ndarray
    mist: np.ndarray
    veil: np.ndarray
    cast: np.ndarray
    horizon: float
    sun: tuple[float, float, float]
    sun_seen: bool
    is_sky: np.ndarray  # bool [P]: sky, cloud, sun
    is_sun: np.ndarray  # bool [P]
    is_water: np.ndarray  # bool [P]
    lake: np.ndarray  # bool [H,W]: water before objects were put in front of it
    near: np.ndarray  # bool [P]: objects that stand well below the horizon
    albedo: np.ndarray  # float32 [P,3]
    shade: np.ndarray  # float32 [P] light that the piece gets, 0 shadow ... 1 lit
    texture: np.ndarray  # int64 [P] flat offset into `textures`
    grain: np.ndarray  # float32 [P] strength of the texture
    relief: np.ndarray  # float32 [P] weight of `form` and `cast`: 1 for ground, 0 for objects
    haze: np.ndarray  # float32 [P]; below 0: take `mist`
    cover: np.ndarray  # float32 [P] how much snow stays on it in winter
    lamp: np.ndarray  # float32 [P] light that it sends out itself


def _mix(a, b, t):
    """Linear blend a*(1-t) + b*t."""
    return a + (b - a) * t


def _rgb(colour) -> np.ndarray:
    return np.array(colour, np.float32).reshape(3, 1, 1)


def _look_for(seed: int, name: str) -> Look:
    """The look `name` with a slight shift of its colours that depends on the seed."""
    rng = np.random.Generator(np.random.PCG64([seed, 2]))
    warm, dim = rng.uniform(-0.05, 0.05), rng.uniform(0.94, 1.05)
    tint = np.array([1 + warm, 1.0, 1 - warm]) * dim
    look = LOOKS[name]
    names = ("top", "middle", "low", "light", "haze", "cloud_light")
    return dataclasses.replace(look, **dict[str, Any]({n: tuple(getattr(look, n) * tint) for n in names}))


def _glow(sketch: Sketch, ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """Light scattered around the sun: float32 [H,W], about [0,1.8]; a wide and a narrow halo."""
    x, y, radius = sketch.sun
    distance = ((xs - x) ** 2 + (ys - y) ** 2) / (radius * radius)  # [H,W]
    glow = 1.2 / (1.0 + 0.018 * distance) ** 2 + 0.6 / (1.0 + 0.25 * distance)
    return glow * (1.0 if sketch.sun_seen else 0.35)


def _sky(sketch: Sketch, look: Look, glow, ys, air, seed: int) -> np.ndarray:
    """Sky with stars and clouds: float32 [3,H,W]."""
    height, width = sketch.ids.shape
    t = np.clip(ys[:, 0] / (sketch.horizon * height), 0, 1)  # [H]
    stops = zip(look.top, look.middle, look.low, strict=True)
    gradient = [np.interp(t, [0, 0.55, 1.0], stop) for stop in stops]
    sky = np.array(gradient, np.float32)[:, :, None]  # [3,H,1]
    light = glow * _rgb(look.glow)  # [3,H,W]
    sky = sky + air * (0.10 * _mix(sky, _rgb(look.cloud_light), 0.7)) + light
    if look.stars:
        sky += _stars(seed, height, width) * np.clip(1.1 - t, 0, 1).astype(np.float32)[:, None]
    tone = np.clip(0.5 + sketch.form * look.contrast, 0, 1)
    cloud = _mix(_rgb(look.cloud_shadow), _rgb(look.cloud_light), tone) + 0.4 * light
    return _mix(sky, cloud, sketch.veil)


def _stars(seed: int, height: int, width: int) -> np.ndarray:
    """Stars of different brightness: float32 [H,W] in [0,1]."""
    rng = np.random.Generator(np.random.PCG64([seed, 3]))
    stars = np.zeros((height, width), np.float32)
    radius = max(0, round(min(height, width) / 450))
    for x, y, power in rng.random((90, 3)).tolist():
        cv2.circle(stars, (int(x * width), int(y * height)), radius, 0.25 + 0.75 * power**3, -1)
    return stars


def _surfaces(sketch: Sketch, look: Look, tex: np.ndarray, mottle: np.ndarray) -> np.ndarray:
    """Everything but sky and water, lit, before haze: float32 [3,H,W]."""
    ids = sketch.ids
    relief = sketch.relief[ids]
    lit = sketch.form * relief + tex * sketch.grain[ids] + mottle * 0.07
    lit = lit * look.contrast + sketch.shade[ids]
    soft = 3 + 2 * (min(ids.shape) // 160)
    dark = cv2.blur(sketch.cast, (soft, soft)) * np.float32(look.cast / 255)
    lit = np.clip(lit * (1 - dark * relief), 0, 1.25)
    # Painters mix warm and cool into one surface; a slow noise does the same.
    albedo = sketch.albedo.T[:, ids] * (1 + mottle * _rgb((0.10, 0.02, -0.12)))  # [3,H,W]
    if look.snow:
        cover = sketch.cover[ids]
        keep = np.clip(cover * 1.25 + (tex - 0.1) * 0.55 * (1 - np.abs(2 * cover - 1)), 0, 1)
        albedo = _mix(albedo, _rgb((0.93, 0.95, 0.99)), keep * look.snow)
        lit = _mix(lit, 0.35 + 0.65 * lit, keep)
    picture = albedo * _mix(_rgb(look.shadow), _rgb(look.light), lit)
    if look.windows and sketch.lamp.any():
        lamp = sketch.lamp[ids]
        halo = cv2.blur(lamp, (1 + 2 * (ids.shape[0] // 40),) * 2)
        warm = _rgb((1.0, 0.70, 0.28))
        picture = _mix(picture, warm * 1.05, lamp * min(1.0, look.windows * 1.6))
        picture += (halo * (look.windows * 0.45)) * warm
    return picture


def _mirror(backdrop: np.ndarray, sketch: Sketch, tex, ys, xs) -> tuple[np.ndarray, np.ndarray]:
    """What water mirrors, float32 [3,H,W], and its distance below the bank, [H,W] pixels."""
    height, width = tex.shape
    unit = min(height, width)
    shore = np.maximum.accumulate(np.where(sketch.lake, 0, ys), axis=0)  # last row of land above
    # Far things mirror about the horizon, the bank about its foot; the limit keeps winding rivers
    # from showing a seam at every bend.
    row = np.minimum(shore, (sketch.horizon + 0.04) * height)
    ripple = tex * (0.3 * unit + 2.0 * np.clip(ys - sketch.horizon * height, 0, None))
    source_y = np.clip(2 * row - ys + ripple * 0.02, 0, height - 1)
    source_x = xs + ripple * 0.03
    mode = {"interpolation": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REPLICATE}
    mirror = [cv2.remap(plane, source_x, source_y, **mode) for plane in backdrop]
    return np.stack(mirror), ys - shore


def _water(backdrop, sketch: Sketch, look: Look, tex, ys, xs) -> np.ndarray:
    """Water everywhere, float32 [3,H,W]: mirror image of `backdrop`, ripples, depth, glitter."""
    height, width = tex.shape
    mirror, depth = _mirror(backdrop, sketch, tex, ys, xs)
    near = np.clip((ys / height - sketch.horizon) / (1 - sketch.horizon), 0, 1)  # [H,1]
    body = sketch.albedo[sketch.is_water][0].reshape(3, 1, 1)
    body = body * _mix(_rgb(look.shadow), _rgb(look.light), 0.6)
    body = _mix(body, _rgb((0.80, 0.88, 0.93)) * _rgb(look.light), 0.35 * look.snow)
    mirrored = np.clip(0.72 - 0.42 * near + 0.18 * tex, 0.1, 0.85)
    edge = 1 - 0.25 * np.exp(-depth / (0.008 * min(height, width) + 0.5))
    colour = _mix(body, mirror, mirrored) * ((1 + 0.16 * look.contrast * tex) * edge)
    if sketch.sun_seen:
        spread = (0.02 + 0.06 * near) * width
        path = np.exp(-(((xs - sketch.sun[0]) / spread) ** 2)) * np.clip(tex * 1.4 + 0.1, 0, 1)
        colour += path * (_rgb(look.disc) * (2.2 * max(look.glow)))
    return colour


def paint(sketch: Sketch, seed: int, look_name: str) -> np.ndarray:
    """Paints a sketch under a look: uint8 [H,W,3] RGB."""
    ids = sketch.ids
    height, width = ids.shape
    look = _look_for(seed, look_name)
    tiles = textures(height, width)
    ys = np.arange(height, dtype=np.float32)[:, None]  # [H,1]
    xs = np.arange(width, dtype=np.float32)[None, :]  # [1,W]
    grid = np.arange(height)[:, None] * tiles.shape[2] + np.arange(width)  # [H,W] flat tile index
    tex = tiles.ravel()[sketch.texture[ids] + grid] * np.float32(1 / 127)
    shift = (seed * 7919) % max(1, height // 2)
    mottle = tiles[1, shift : shift + height, :width] * np.float32(1 / 127)
    # Colours are kept as three planes, since NumPy is slow when the last axis has length 3.
    glow = _glow(sketch, ys, xs)
    sky = _sky(sketch, look, glow, ys, tex, seed)
    picture = _surfaces(sketch, look, tex, mottle)  # [3,H,W]
    haze = sketch.haze[ids]
    haze = np.clip(np.where(haze < 0, sketch.mist, haze) * look.haze_amount, 0, 0.92)
    picture = _mix(picture, _rgb(look.haze) + glow * (0.5 * _rgb(look.glow)), haze)
    np.copyto(picture, sky, where=sketch.is_sky[ids])
    disc = _rgb(look.disc) * (1 - 0.06 * np.abs(mottle))
    np.copyto(picture, disc, where=sketch.is_sun[ids])
    water = sketch.is_water[ids]
    if water.any():
        # What stands on this side of the water is not mirrored in it.
        backdrop = np.where(sketch.near[ids], sky, picture)
        colour = _water(backdrop, sketch, look, tex, ys, xs)
        np.copyto(picture, colour, where=water)
    picture = np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(picture.transpose(1, 2, 0))  # [H,W,3]
