"""Pictures of the gates: which expert works where."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf


def expert_colors(experts: int) -> np.ndarray:
    """uint8 [E,3]: a colour per expert, evenly spaced hues."""
    colors = [colorsys.hsv_to_rgb(k / experts, 0.8, 1.0) for k in range(experts)]
    return np.uint8(np.round(255 * np.array(colors)))


def draw_gates(gates: np.ndarray) -> np.ndarray:
    """float [B,h,w,E] -> uint8 RGB [B,h,w,3]: the colour of the expert with the largest gate; the brighter, the more
    it exceeds the second, from a third (no lead) to full (the largest lead in the picture).

    Of one expert all is its colour.
    """
    gates = np.asarray(gates, np.float32)
    colors = expert_colors(gates.shape[-1])[gates.argmax(-1)]  # [B,h,w,3]
    if gates.shape[-1] == 1:
        return colors
    ranked = np.sort(gates, -1)
    lead = ranked[..., -1] - ranked[..., -2]
    lead = lead / np.maximum(lead.max((1, 2), keepdims=True), 1e-12)
    return np.uint8(np.round(colors * ((1 + 2 * lead) / 3)[..., None]))


def gate_pictures(method: Any, layout: dict[str, tf.Tensor]) -> dict[str, np.ndarray]:
    """{"kernels/STRIDE", "scales/STRIDE": uint8 [B,H,W,3]}: the gates of every resolution of a run's layout, drawn at
    the layout's size.

    method: an SCGAN; layout: as `plan` takes it.
    """
    found = {}
    for stride, condition in sorted(method.plan(layout).items()):
        for name, gates in (("kernels", condition.conv_gates), ("scales", condition.norm_gates[..., 1:])):
            picture = draw_gates(gates)
            found[f"{name}/{stride}"] = picture.repeat(stride, 1).repeat(stride, 2)
    return found
