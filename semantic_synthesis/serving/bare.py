"""The bare signature: label ids and style tensors in, pictures out, in a graph that other programs can take.

No checks, strings, loops over rows or 64-bit arithmetic, and no shape depends on a value: TensorFlow Lite, ONNX and
XLA convert it as it is. Label patches have as many rows as a layout asks for, so modulation is dense here.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from semantic_synthesis.data.graph_decoding import pad_maps

SIGNATURE = "picture"
REGION_INPUT = "region"


def check_static(method: Any, what: str) -> None:
    """ValueError, one line, for a method whose graph cannot have the bare form; what: what asked for it."""
    if method.why_not_static:
        raise ValueError(
            f"{what}: {method.config.method} has no graph for it, as {method.why_not_static}; expected --target serving"
        )


def picture_function(
    config: Any,
    method: Any,
    size: tuple[int | None, int | None],
    label_dtype: tf.DType,
    *,
    rows: int | None = None,
    image_dtype: tf.DType = tf.uint8,
    jit_compile: bool | None = None,
) -> tuple[Any, dict[str, tf.TensorSpec]]:
    """(tf.function of one dict, its {input name: TensorSpec}).

    size: (height, width) of the pictures, (None, None) where free; rows: of a call, None where free; image_dtype:
    tf.uint8, or tf.float32 for values in [-1,1]. Inputs: label [N,H,W]; int32 [N,H,W] `instance` (object ids) or
    `region` (row of the style that paints each pixel), where the method reads one; style tensors float32 [N,...].
    Output: {"image": [N,H,W,3]}. Other sizes than multiples of the stride are padded within and cropped (`pad_maps`).
    """
    maps = method.instance_maps(config)
    second = {"regions": REGION_INPUT, "objects": "instance", None: None}[maps]
    specs = {"label": tf.TensorSpec([rows, *size], label_dtype, "label")}
    if second:
        specs[second] = tf.TensorSpec([rows, *size], tf.int32, second)
    styles = {n: tf.TensorSpec([rows, *s.shape], tf.float32, n) for n, s in method.style_shapes.items()}

    def picture(inputs):
        layout = {"label": pad_maps(tf.cast(inputs["label"], tf.int32), method.stride)}
        if second:
            layout["instance"] = pad_maps(inputs[second], method.stride)
        with method.with_static_shapes():
            found = method.synthesize(layout, {name: inputs[name] for name in styles})  # [N,H',W',3]
        height, width = (
            tf.shape(inputs["label"])[axis] if n is None else n for axis, n in enumerate(size, 1)
        )
        found = tf.clip_by_value(found[:, :height, :width], -1.0, 1.0)
        return {"image": found if image_dtype == tf.float32 else tf.cast((found + 1.0) * 127.5, tf.uint8)}

    return tf.function(picture, autograph=False, jit_compile=jit_compile), specs | styles
