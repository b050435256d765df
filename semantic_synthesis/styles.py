"""What a style is made of: named tensors with named axes, and what can be done to them for any method.

Axes have names. Those that mean something outside a method's own files are
  region   one row per region of the layout (`data.regions`), as many as the layout has;
  class    one row per class of the class table;
  layer    one row per level of the networks, 0 the finest.
All others ("latent", ...) are the method's own business. A tensor without region and class axis belongs to the
whole picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

REGION, CLASS, LAYER = "region", "class", "layer"


class StyleSpec(NamedTuple):
    """One tensor of a method's style.

    shape: of one sample's, None along the region axis; axes: a name for each of its dimensions; encoded: whether
    photos decide it; present: along how many leading axes a photo may leave rows undecided; graded: whether what
    lies between two styles is one, too (False: values are numbers of things, of which there is no half).
    """

    shape: tuple
    axes: tuple
    encoded: bool = False
    present: int = 0
    graded: bool = True

    @property
    def is_local(self) -> bool:
        """Whether it has rows for parts of the picture."""
        return REGION in self.axes or CLASS in self.axes


class Encoded(NamedTuple):
    """What photos decide of a style.

    values: {name: float32 [N,...]}; present: {name: bool [N,...]}, for tensors whose `StyleSpec.present` is
    positive, over these leading axes: the rows that the photo decides.
    """

    values: dict
    present: dict = {}  # noqa: RUF012  (never changed)


def encoded_names(specs: Mapping[str, StyleSpec]) -> tuple[str, ...]:
    """Names of the tensors that photos decide, of {name: StyleSpec}."""
    return tuple(name for name, spec in specs.items() if spec.encoded)


def needs_regions(specs: Mapping[str, StyleSpec]) -> bool:
    """Whether a style of {name: StyleSpec} has rows for the regions of a layout."""
    return any(REGION in spec.axes for spec in specs.values())


def merge_style(style: dict[str, tf.Tensor], encoded: Encoded) -> dict[str, tf.Tensor]:
    """The style with what photos decide in place of it; rows that they leave open stay, bit for bit.

    style: {name: [N,...]}; encoded: Encoded of the same N.
    """
    merged = dict(style)
    for name, values in encoded.values.items():
        present = encoded.present.get(name)
        merged[name] = values if present is None else tf.where(_like(present, values), values, style[name])
    return merged


def _like(present, values):
    """present [N,...] with axes of length 1 behind, so that it spreads over values [N,...]."""
    for _ in range(values.shape.rank - present.shape.rank):
        present = present[..., None]
    return present


def transfer(
    encoded: Encoded,
    specs: Mapping[str, StyleSpec],
    theirs: dict[str, tf.Tensor],
    ours: dict[str, tf.Tensor],
    num_classes: int,
) -> Encoded:
    """Styles of photos with layouts of their own, for other layouts: rows of regions go by their class.

    encoded: Encoded of the photos; theirs, ours: {"label", "instance"} int32 [N,H,W] each, regions numbered
    from 0 in "instance". A region of ours takes the row of the last region of its class (the class of most of
    its pixels) there; where there is none the row is not present. Tensors without region axis stay as they are.
    Returns Encoded.
    """
    local = [name for name in encoded.values if REGION in specs[name].axes]
    if not local:
        return encoded
    rows = _rows_by_class(theirs, num_classes)  # [N,C]
    of_ours = _region_classes(ours, num_classes)  # [N,R]
    source = tf.gather(rows, tf.maximum(of_ours, 0), batch_dims=1)  # [N,R], negative where there is none
    found = (source >= 0) & (of_ours >= 0)
    source = tf.maximum(source, 0)
    values, present = dict(encoded.values), dict(encoded.present)
    for name in local:
        if specs[name].axes[0] != REGION:
            raise ValueError(
                f"style {name}: the region axis must be the first, found axes {specs[name].axes}"
            )
        values[name] = tf.gather(values[name], source, batch_dims=1)
        there = found
        if name in present:
            decided = tf.gather(present[name], source, batch_dims=1)
            there = decided & _like(found, decided)
        present[name] = there
    return Encoded(values, present)


def _region_classes(layout, num_classes):
    """int32 [N,R]: the class of most pixels of each region, the smallest of equals; -1 where there is no region."""
    label, region = layout["label"], layout["instance"]
    count = tf.reduce_max(region) + 1
    samples = tf.shape(label)[0]
    keys = (tf.range(samples)[:, None, None] * count + region) * num_classes + label
    pixels = tf.math.bincount(tf.reshape(keys, [-1]), minlength=samples * count * num_classes)
    pixels = tf.reshape(pixels, [samples, count, num_classes])
    classes = tf.argmax(pixels, -1, tf.int32)
    return tf.where(tf.reduce_max(pixels, -1) > 0, classes, -1)


def _rows_by_class(layout, num_classes):
    """int32 [N,C]: the last region of each class, negative where there is none."""
    classes = _region_classes(layout, num_classes)  # [N,R]
    samples, count = tf.shape(classes)[0], tf.shape(classes)[1]
    there = classes[..., None] == tf.range(num_classes)  # [N,R,C]
    numbers = tf.broadcast_to(tf.range(count)[None, :, None], [samples, count, num_classes])
    return tf.reduce_max(tf.where(there, numbers, -1), 1)
