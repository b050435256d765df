"""Where the parts of a picture come from, as tables and pictures for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from semantic_synthesis.methods.sims.segments import Segments

if TYPE_CHECKING:
    from semantic_synthesis.methods.sims.bank import Bank
    from semantic_synthesis.methods.sims.canvas import Canvas
    from semantic_synthesis.methods.sims.composing import Placed


def describe(
    plan: Mapping[str, Any],
    canvas: Canvas,
    placed: Placed,
    index: int,
    names: Sequence[str],
    bank: Bank,
    scale: int,
) -> list[dict[str, Any]]:
    """What became of each segment of one picture, back to front: a list of dicts of JSON values.

    index: which of the N canvases; names: of the known classes. box: top, left, bottom, right in pixels of the
    picture, the last two exclusive; photo: None and similarity 0 where the memory had nothing; theta: how the photo
    was moved, see `warping.warp`; shown: share of the candidate's pixels that are on top at the end.
    """
    segments, sample = Segments(**plan["segments"]), min(index, len(plan["kind"]) - 1)
    mine = np.flatnonzero(segments.sample.numpy() == sample)
    mine = mine[np.argsort(plan["place"].numpy()[mine], kind="stable")]
    row, theta, owner = placed.row[index].numpy(), placed.theta[index].numpy(), canvas.owner[index].numpy()
    photos, areas = bank["photo"].numpy(), bank["area"].numpy()
    offered, scores = plan["row"].numpy(), plan["score"].numpy()
    found = []
    for segment in mine:
        held = row[segment]
        pixels = int((owner == segment).sum())
        similarity = scores[segment][offered[segment] == held][0] if held else 0.0
        found.append(
            {
                "class": names[int(segments.kind[segment])],
                "instance": int(segments.region[segment]),
                "box": (segments.box[segment].numpy() * scale).tolist(),
                "photo": bank.names[photos[held] - 1] if held else None,
                "similarity": round(float(similarity), 4),
                "theta": [round(float(value), 4) + 0.0 for value in theta[segment]],
                "shown": round(min(1.0, pixels / (areas[held] * scale**2)), 4) if held else 0.0,
            }
        )
    return found


def order_picture(plan: Mapping[str, Any], canvas: Canvas, index: int) -> np.ndarray:
    """uint8 [H,W,3] RGB: what was pasted, dark at the back, light in front; black where nothing was."""
    owner, place = canvas.owner[index].numpy(), plan["place"].numpy()
    if not len(place):
        return np.zeros((*owner.shape, 3), np.uint8)
    shade = np.round(55 + 200 * place / max(place.max(), 1)).astype(np.uint8)
    grey = np.where(owner >= 0, shade[np.maximum(owner, 0)], 0).astype(np.uint8)
    coloured = cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS)[..., ::-1]
    return np.where((owner >= 0)[..., None], coloured, 0).astype(np.uint8)
