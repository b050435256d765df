"""Pictures of the gates: which expert works where."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import tensorflow as tf


def expert_colors(experts: int) -> np.ndarray:
    """uint8 [E,3]: a colour per expert, evenly spaced hues."""
    colors = [colorsys.hsv_to_rgb(k / experts, 0.8, 1.0) for k in range(experts)]
    return np.uint8(np.round(255 * np.array(colors)))


def draw_gates(gates: tf.Tensor) -> tf.Tensor:
    """float [B,h,w,E] -> uint8 RGB [B,h,w,3]: the colour of the expert with the largest gate; the brighter, the more
    it exceeds the second, from a third (no lead) to full (the largest lead in the picture).

    Of one expert all is its colour.
    """
    gates = tf.cast(gates, tf.float32)
    colors = tf.gather(tf.constant(expert_colors(gates.shape[-1])), tf.argmax(gates, -1))  # [B,h,w,3]
    if gates.shape[-1] == 1:
        return colors
    first, second = tf.unstack(tf.math.top_k(gates, 2)[0], axis=-1)
    lead = first - second
    lead /= tf.maximum(tf.reduce_max(lead, (1, 2), keepdims=True), 1e-12)
    shade = (1 + 2 * lead) / 3
    return tf.cast(tf.round(tf.cast(colors, tf.float32) * shade[..., None]), tf.uint8)


def with_mean_gates(plan: dict[int, Any]) -> dict[int, Any]:
    """A plan, {stride: Composition}, whose gates are the same everywhere: their means over the layout."""

    def even(gates):
        return tf.broadcast_to(tf.reduce_mean(gates, [1, 2], keepdims=True), tf.shape(gates))

    return {
        stride: at._replace(conv_gates=even(at.conv_gates), norm_gates=even(at.norm_gates))
        for stride, at in plan.items()
    }


def gate_pictures(plan: Any) -> dict[str, tf.Tensor]:
    """{"gates_of_kernels/STRIDE", "gates_of_scales/STRIDE": uint8 [B,H,W,3]}: the gates of every resolution, drawn
    at the layout's size.

    plan: an SCGAN's, {stride: Composition}.
    """
    found = {}
    for stride, condition in sorted(plan.items()):
        parts = (("kernels", condition.conv_gates), ("scales", condition.norm_gates[..., 1:]))
        for name, gates in parts:
            picture = tf.repeat(tf.repeat(draw_gates(gates), stride, 1), stride, 2)
            found[f"gates_of_{name}/{stride}"] = picture
    return found
