"""Procedural landscapes: an unlimited dataset with exact label and instance maps and a global look.

`render_scene(seed)` composes a landscape (coast, lake, river valley, alps, farmland, village,
desert) from numbered pieces and lets `painting.py` paint it under one of five looks. Label
and instance maps come from the same map of pieces, so they are exact and cannot depend on the look.

Who does what: `canvas.py` classes and the map of pieces, `terrain.py` sky and ground,
`objects.py` trees, rocks and houses, with outlines from `shapes.py`. Coordinates are
relative, so the same seed gives the same composition at every size.
"""

import dataclasses

import numpy as np

from . import painting
from .canvas import (
    CLASSES,
    CLOUD,
    COLORS,
    FIELD,
    FOREST,
    GRASS,
    MOUNTAIN,
    SAND,
    SKY,
    SNOW,
    SUN,
    SURFACES,
    WATER,
    Canvas,
    Piece,
    depth_of_haze,
)
from .objects import Crowd, place
from .terrain import (
    dunes,
    fields,
    forest,
    lake,
    meadows,
    mountains,
    river,
    road,
    sea,
    sky,
)

__all__ = ["CLASSES", "COLORS", "LOOKS", "SIZE_RANGE", "Scene", "render_scene"]

LOOKS = ("day", "sunset", "night", "winter", "overcast")
SIZE_RANGE = (16, 2048)


@dataclasses.dataclass(frozen=True)
class Scene:
    """A picture with its ground truth.

    `image` uint8 [H,W,3] RGB; `label` uint8 [H,W] in [0,C); `instance` uint16 [H,W], 1..n for
    trees, houses, rocks and clouds, 0 elsewhere; `look` one of LOOKS; `disparity` uint16 [H,W], larger is closer,
    nowhere 0.
    """

    image: np.ndarray
    label: np.ndarray
    instance: np.ndarray
    look: str
    disparity: np.ndarray


# ---------------------------------------------------------------- compositions


def _coast(c: Canvas) -> None:
    if c.rng.random() < 0.6:
        mountains(c, int(c.rng.integers(1, 3)), c.rng.uniform(0.12, 0.26), 0.75)
    sea(c)
    warm = c.rng.random() < 0.5
    place(
        c,
        [
            Crowd("palm" if warm else "conifer", 9, (SAND, GRASS), 0.50, gap=0.3),
            Crowd("round", 6, (GRASS,), 0.40, gap=0.3),
            Crowd("rock", 9, (SAND, WATER), 0.09, gap=1.0),
            Crowd("house", 3, (GRASS, SAND), 0.36, (0.1, 0.7), 1.2),
        ],
    )


def _lakeside(c: Canvas) -> None:
    mountains(c, int(c.rng.integers(1, 4)), c.rng.uniform(0.20, 0.38), c.rng.uniform(0.3, 0.6))
    meadows(c)
    forest(c, c.horizon + 0.02, c.rng.uniform(0.05, 0.11), c.rng.random() < 0.4)
    x, y, rx, ry = c.rng.random(4).tolist()
    lake(c, 0.25 + 0.5 * x, c.horizon + 0.16 + 0.12 * y, 0.3 + 0.3 * rx, 0.09 + 0.09 * ry)
    kinds = ("conifer", "round", "poplar")
    place(
        c,
        [
            Crowd(kinds[int(c.rng.integers(3))], 16, (GRASS,), 0.54, gap=0.2),
            Crowd("conifer", 9, (GRASS,), 0.54, (0.02, 0.4), 0.2),
            Crowd("rock", 10, (SAND, GRASS, WATER), 0.08, gap=1.0),
            Crowd("house", 3, (GRASS,), 0.34, (0.05, 0.6), 1.3),
        ],
    )


def _valley(c: Canvas) -> None:
    mountains(c, int(c.rng.integers(2, 4)), c.rng.uniform(0.24, 0.40), c.rng.uniform(0.3, 0.7))
    meadows(c)
    forest(c, c.horizon + 0.025, c.rng.uniform(0.06, 0.13), True)
    river(c)
    place(
        c,
        [
            Crowd("conifer", 16, (GRASS,), 0.54, gap=0.2),
            Crowd("round", 8, (GRASS,), 0.5, gap=0.2),
            Crowd("rock", 12, (SAND, GRASS, WATER), 0.085, gap=1.0),
            Crowd("house", 2, (GRASS,), 0.36, (0.05, 0.6), 1.3),
        ],
    )


def _alps(c: Canvas) -> None:
    mountains(c, int(c.rng.integers(2, 4)), c.rng.uniform(0.30, 0.42), c.rng.uniform(0.35, 0.54))
    meadows(c)
    forest(c, c.horizon + 0.03, c.rng.uniform(0.07, 0.14), c.rng.random() < 0.5)
    if c.rng.random() < 0.4:
        lake(c, c.rng.uniform(0.2, 0.8), c.horizon + 0.15, 0.3, 0.07)
    place(
        c,
        [
            Crowd("conifer", 22, (GRASS, FOREST), 0.58, gap=0.15),
            Crowd("rock", 14, (GRASS, SAND), 0.12, gap=1.0),
            Crowd("house", 2, (GRASS,), 0.36, (0.05, 0.5), 1.3),
        ],
    )


def _farmland(c: Canvas) -> None:
    mountains(c, int(c.rng.integers(0, 3)), c.rng.uniform(0.08, 0.20), 0.9)
    meadows(c)
    forest(c, c.horizon + 0.012, c.rng.uniform(0.04, 0.08), True)
    fields(c, int(c.rng.integers(3, 6)))
    if c.rng.random() < 0.75:
        road(c)
    place(
        c,
        [
            Crowd("round", 10, (GRASS,), 0.46, gap=0.3),
            Crowd("poplar", 12, (GRASS, FIELD), 0.54, (0.03, 0.5), 0.25),
            Crowd("house", 4, (GRASS, FIELD), 0.40, (0.04, 0.5), 1.3),
            Crowd("rock", 3, (GRASS,), 0.06, gap=1.0),
        ],
    )


def _village(c: Canvas) -> None:
    mountains(c, int(c.rng.integers(0, 3)), c.rng.uniform(0.12, 0.32), c.rng.uniform(0.4, 0.8))
    meadows(c)
    forest(c, c.horizon + 0.015, c.rng.uniform(0.04, 0.09), True)
    if c.rng.random() < 0.6:
        fields(c, 3)
    road(c)
    place(
        c,
        [
            Crowd("house", 16, (GRASS, FIELD), 0.50, (0.05, 0.75), 0.95),
            Crowd("round", 12, (GRASS,), 0.46, gap=0.3),
            Crowd("conifer", 5, (GRASS,), 0.5, gap=0.3),
        ],
    )


def _desert(c: Canvas) -> None:
    mountains(c, int(c.rng.integers(0, 3)), c.rng.uniform(0.12, 0.26), 1.2)
    dunes(c)
    if c.rng.random() < 0.5:
        lake(c, c.rng.uniform(0.2, 0.8), c.horizon + c.rng.uniform(0.12, 0.25), 0.22, 0.06)
    if c.rng.random() < 0.3:
        road(c)
    place(
        c,
        [
            Crowd("palm", 10, (SAND,), 0.52, gap=0.3),
            Crowd("rock", 10, (SAND,), 0.12, gap=1.0),
            Crowd("house", 3, (SAND,), 0.34, (0.05, 0.5), 1.3),
        ],
    )


_COMPOSITIONS = (_coast, _lakeside, _valley, _alps, _farmland, _village, _desert)


# ---------------------------------------------------------------- the API


def _whole(name: str, value, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ValueError(f"{name} is {value!r}; expected a whole number from {low} to {high}")
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; expected a whole number from {low} to {high}")
    return int(value)


def _columns(c: Canvas) -> dict[str, np.ndarray]:
    """The table of pieces, one array [P] per field of `Piece`."""
    table = np.array(c.pieces, np.float32)  # [P,fields]; ids stay exact below 2**24
    columns = dict(zip(Piece._fields, table.T, strict=True))
    columns["albedo"] = table[:, :3]  # [P,3]
    return columns | {name: columns[name].astype(int) for name in ("cls", "instance")}


def _texture_offsets(c: Canvas, cls: np.ndarray, instance: np.ndarray) -> np.ndarray:
    """Where in the flat stack of textures the crop of each piece begins: int [P].

    Every object gets its own crop; ground textures are tied to the horizon: they shrink to it.
    """
    names = [SURFACES[k][0] for k in range(len(CLASSES))]
    kind = np.array([painting.TEXTURES.index(name) for name in names])[cls]
    ground = np.array([name in painting.GROUND_TEXTURES for name in names])[cls]
    down, aside = max(1, c.height // 2), max(1, c.width // 2)
    top = (int(c.drift[0] * c.height) + instance * 37) % down
    top = np.where(ground, int((painting.GROUND_ROW - c.horizon) * c.height), top)
    left = (int(c.drift[1] * c.width) + instance * 53 + cls * 11) % aside
    rows, columns = c.tiles.shape[1:]
    return (kind * rows + top) * columns + left


def _sketch(c: Canvas, table: dict[str, np.ndarray]) -> painting.Sketch:
    """The canvas and its table of pieces as the painter wants them."""
    cls, instance = table["cls"], table["instance"]
    x, y, radius = c.sun
    return painting.Sketch(
        ids=c.ids,
        form=c.form,
        mist=c.mist,
        veil=c.veil,
        cast=c.cast,
        lake=c.lake,
        horizon=c.horizon,
        sun=(x * c.width, y * c.height, radius * c.unit),
        sun_seen=c.sun_seen,
        is_sky=np.isin(cls, (SKY, CLOUD, SUN)),
        is_sun=cls == SUN,
        is_water=cls == WATER,
        near=(instance > 0) & (cls != CLOUD) & (table["haze"] < 0.2),
        texture=_texture_offsets(c, cls, instance),
        grain=np.array([SURFACES[k][1] for k in range(len(CLASSES))], np.float32)[cls],
        **{name: table[name] for name in ("albedo", "shade", "relief", "haze", "cover", "lamp")},
    )


def _ground_truth(c: Canvas, table: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Label uint8 [H,W] and instance uint16 [H,W]; instances without a pixel get no number."""
    owner = table["instance"]
    seen = np.bincount(c.ids.ravel(), minlength=len(owner)) > 0
    visible = np.unique(owner[seen & (owner > 0)])
    number = np.zeros(c.instances + 1, np.uint16)
    number[visible] = np.arange(1, len(visible) + 1)
    return table["cls"].astype(np.uint8)[c.ids], number[owner][c.ids]


def _disparity(canvas, label):
    """How close every pixel is: the ground by its row, an object by the place where it stands."""
    haze = np.array([piece.haze for piece in canvas.pieces], np.float32)[canvas.ids]
    stands = haze >= 0  # objects carry the haze of their place
    forest = label == FOREST
    haze = np.where(forest & ~stands, canvas.mist, haze)
    place = np.where(stands | forest, depth_of_haze(np.maximum(haze, 1e-6)), canvas.depth)
    close = 4000 + 20000 * place + 100 * stands + 50 * forest
    for order, cls in enumerate((SKY, SUN, CLOUD)):
        close = np.where(label == cls, 100 * (order + 1), close)
    hills = (label == MOUNTAIN) | (label == SNOW)  # drawn from the farthest range on
    close = np.where(hills, 1000 + np.minimum(canvas.ids, 1000), close)
    return np.round(close).astype(np.uint16)


def render_scene(seed: int, height: int = 128, width: int = 128, look: str | None = None) -> Scene:
    """Renders the landscape number `seed`.

    `seed`: 0 or more; `height`, `width`: 16 to 2048 pixels; `look`: one of LOOKS, or None to draw
    it from the seed. Composition, label and instance maps depend on seed and size only; the look
    changes the picture alone. Same arguments, same bytes.
    """
    seed = _whole("seed", seed, 0, 2**63 - 1)
    height = _whole("height", height, *SIZE_RANGE)
    width = _whole("width", width, *SIZE_RANGE)
    if look is not None and look not in LOOKS:
        raise ValueError(f"look is {look!r}; expected one of {', '.join(LOOKS)}, or None")
    rng = np.random.Generator(np.random.PCG64([seed, 0]))
    look = look or LOOKS[int(np.random.Generator(np.random.PCG64([seed, 1])).integers(len(LOOKS)))]
    compose = _COMPOSITIONS[int(rng.integers(len(_COMPOSITIONS)))]
    canvas = Canvas(height, width, rng)
    sky(canvas)
    compose(canvas)
    table = _columns(canvas)
    label, instance = _ground_truth(canvas, table)
    image = painting.paint(_sketch(canvas, table), seed, look)
    return Scene(image, label, instance, look, _disparity(canvas, label))
