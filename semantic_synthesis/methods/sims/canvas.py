"""The canvas: segments of photos pasted over each other, rims left to the network (section 3.4), in TensorFlow.

Labels here are known classes in [0,K), K for unlabelled. One sample at a time: masks bool [H,W], colours float32
[H,W,3] in [0,1], where black means nothing.

Deviations: an object's surroundings reach equally far to both sides. With `legacy` the right side goes by the
height, `legacy_cut` hides what the original hides, and K+1, a colour of no class, counts as road where the original
takes it for that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from semantic_synthesis.layers.connected import connected_regions
from semantic_synthesis.methods.sims.morphology import band
from semantic_synthesis.methods.sims.segments import box_masks

if TYPE_CHECKING:
    from semantic_synthesis.methods.sims.groups import ClassGroups


class Rims(NamedTuple):
    """Squares, in pixels of the canvas, and shares; see `SIMSConfig`."""

    inner: int
    trimmed: int
    shadow: int
    outer: int
    training: int
    extension: float

    @classmethod
    def of(cls, config: Any, height: int) -> Rims:
        """For pictures of that height."""
        widths = (
            config.elision,
            config.trimming,
            config.shadow,
            config.outer_elision,
            config.training_elision,
        )
        inner, trimmed, shadow, outer, training = (int(width * height) for width in widths)
        return cls(inner, trimmed, shadow, outer, training, config.extension)


class Piece(NamedTuple):
    """A segment with a candidate.

    kind: int32 []; place: bool [H,W], where the layout has it; pole: bool [H,W], the candidate's component; moved,
    still: float32 [H,W,3], the candidate's picture after and before its transformation; casters: bool [H,W], what
    throws shadows in the candidate's photo; white: bool [H,W], pixels to leave to the network where a rim holds them.
    """

    kind: tf.Tensor
    place: tf.Tensor
    pole: tf.Tensor
    moved: tf.Tensor
    still: tf.Tensor
    casters: tf.Tensor
    white: tf.Tensor


class Canvas(NamedTuple):
    """picture: float32 [H,W,3]; label: int32 [H,W]; owner: int32 [H,W], number of the piece on top, -1 for none."""

    picture: tf.Tensor
    label: tf.Tensor
    owner: tf.Tensor

    @classmethod
    def empty(cls, label: tf.Tensor) -> Canvas:
        """Nothing pasted yet onto a layout int32 [H,W]."""
        size = tf.shape(label)
        return cls(tf.zeros([*tf.unstack(size), 3]), label, tf.fill(size, -1))


def paste(
    canvas: Canvas,
    piece: Piece,
    number: int | tf.Tensor,
    rims: Rims,
    groups: ClassGroups,
    cut: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
) -> Canvas:
    """The canvas with one more piece on top, called by its number.

    cut: bool footprint [H,W], owner -> int32 [H,W], how often a pixel is cut off the piece (see `legacy_cut`).
    """
    count = groups.count
    label = tf.where(piece.place | piece.pole, count, canvas.label)
    picture = nearer(piece)
    print_ = tf.cast(_has_colour(picture), tf.int32)  # 1 where the piece covers
    if cut is not None:
        cuts = cut(print_ > 0, canvas.owner)
        print_ -= cuts
        picture = tf.where((cuts > 0)[..., None], 0.0, picture)
    covers = print_ == 1
    label = tf.where(covers, piece.kind, label)
    owner = tf.where(covers, number, canvas.owner)
    picture = trimmed(picture, piece, rims, groups)
    support = _has_colour(picture)
    rim = _band(support, rims.inner) & support
    picture = tf.where((rim & piece.white)[..., None], 1.0, picture)
    filled = tf.cast(_has_colour(picture), tf.int32) + print_
    filled = tf.cast(tf.minimum(filled, 1), tf.float32)[..., None]  # below 0 where the original doubles
    return Canvas(canvas.picture * (1.0 - filled) + picture, label, owner)


def nearer(piece: Piece) -> tf.Tensor:
    """The candidate's picture after its transformation, or before where that covers the place no worse."""
    common = [_count(_has_colour(picture) & piece.place) for picture in (piece.moved, piece.still)]
    return tf.where(common[0] <= common[1], piece.still, piece.moved)


def trimmed(picture: tf.Tensor, piece: Piece, rims: Rims, groups: ClassGroups) -> tf.Tensor:
    """Without the photo's shadows on the ground and without the rims of trees."""

    def shaded():
        return tf.where(_band(piece.casters, rims.shadow)[..., None], 0.0, picture)

    def rimmed():
        return tf.where(_band(_has_colour(picture), rims.trimmed)[..., None], 0.0, picture)

    if groups.members["ground"].any():
        picture = tf.cond(_in(groups, "ground", piece.kind), shaded, lambda: picture)
    if groups.members["trimmed"].any():
        picture = tf.cond(_in(groups, "trimmed", piece.kind), rimmed, lambda: picture)
    return picture


def clear(canvas: Canvas, kind: tf.Tensor, place: tf.Tensor) -> Canvas:
    """The canvas with a segment that has no candidate: its label, and nothing on it."""
    return canvas._replace(
        label=tf.where(place, kind, canvas.label), picture=tf.where(place[..., None], 0.0, canvas.picture)
    )


def finished(
    canvas: Canvas, original: tf.Tensor, rims: Rims, groups: ClassGroups, legacy: bool = False
) -> Canvas:
    """After the last piece: holes of the layout filled where they are of context classes, objects' ground cleared.

    original: int32 [H,W], the layout asked for.
    """
    count = groups.count
    context = _in(groups, "context", _known(original, groups, legacy))
    label = tf.where((canvas.label == count) & context, original, canvas.label)
    ground = _in(groups, "ground", _known(label, groups, legacy)) | (label == count)
    lost = around_objects(label, ground, rims, groups, legacy)
    return Canvas(tf.where(lost[..., None], 0.0, canvas.picture), label, canvas.owner)


def _known(label, groups, legacy):
    """With legacy, colours of no class as the first class, as the original reads them."""
    return tf.where(label > groups.count, 0, label) if legacy else tf.minimum(label, groups.count)


def around_objects(
    label: tf.Tensor, ground: tf.Tensor, rims: Rims, groups: ClassGroups, legacy: bool = False
) -> tf.Tensor:
    """bool [H,W]: ground near the edges of connected objects, within their boxes and a little beyond."""
    objects = _in(groups, "object", tf.minimum(label, groups.count))
    parts = connected_regions(tf.where(objects, label + 1, 0)[None])[0]
    found = tf.unique(tf.boolean_mask(parts, objects & tf.ones_like(objects)))[0]

    def grow(i, lost):
        part = parts == found[i]
        near = tf.cond(
            tf.reduce_any(ground),
            lambda: _band(part, rims.outer) & _surroundings(part, rims.extension, legacy),
            lambda: tf.zeros_like(part),
        )
        return i + 1, lost | near

    start = (0, tf.zeros_like(objects))
    near = tf.while_loop(lambda i, _: i < tf.size(found), grow, start, parallel_iterations=1)[1]
    return near & ground


def _surroundings(part, extension, legacy):
    """The box of a mask, wider to both sides and downwards."""
    rows, columns = tf.where(tf.reduce_any(part, 1))[:, 0], tf.where(tf.reduce_any(part, 0))[:, 0]
    top, bottom, left, right = (tf.cast(x, tf.int32) for x in (rows[0], rows[-1], columns[0], columns[-1]))
    high, wide = (extension * tf.cast(length + 1, tf.float32) for length in (bottom - top, right - left))
    box = [top, _round(left, -wide), _round(bottom, high) + 1, _round(right, high if legacy else wide) + 1]
    return box_masks(tf.stack(box)[None], *tf.unstack(tf.shape(part)))[0]


def _round(side, change):
    """The nearest whole number, halves upwards."""
    return tf.cast(tf.floor(tf.cast(side, tf.float32) + change + 0.5), tf.int32)


def legacy_cut(kinds: tf.Tensor, answers: tf.Tensor) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The original's attempt at the order network's verdicts, for `paste`.

    kinds: int32 [S], class of each piece; answers: bool [S], pieces that the network puts in front of the one
    that is pasted. Cut is what belongs to any other owner than one of those, once for each of them.
    """

    def cut(covered, owner):
        there = (
            tf.scatter_nd(
                tf.maximum(tf.reshape(owner, [-1, 1]), 0),
                tf.reshape(tf.cast(covered & (owner >= 0), tf.int32), [-1]),
                [tf.size(kinds)],
            )
            > 0
        )
        in_front = tf.cast(answers & there, tf.int32)
        mine = tf.gather(in_front, tf.maximum(owner, 0))
        cuts = tf.reduce_sum(in_front) - mine
        return tf.where(covered & (owner >= 0), cuts, 0)

    return cut


def known_mask(picture: tf.Tensor) -> tf.Tensor:
    """float32 [...,1]: 1 where a canvas has colour."""
    return tf.cast(_has_colour(picture), tf.float32)[..., None]


def _has_colour(picture):
    return tf.reduce_any(picture != 0.0, -1)


def _in(groups, group, kind):
    return tf.gather(tf.constant(np.asarray(groups.members[group])), kind)


def _band(mask, size):
    return band(mask[None], size)[0] if size else tf.zeros_like(mask)


def _count(mask):
    return tf.reduce_sum(tf.cast(mask, tf.int32))
