"""The EXIF orientation of JPEG and PNG bytes as TensorFlow operations: `headers.orientation` for exported models."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

_EXIF, _ORIENTATION_TAG, _SHORT, _LONG = b"Exif\0\0", 274, 3, 4
_MOST_PARTS = 1 << 12  # segments or chunks that are looked at: files of many more would keep a server busy


def orientation(content: tf.Tensor) -> tf.Tensor:
    """The EXIF orientation of a picture file's bytes, string [] -> int32 [], 1 to 8; 1, upright, where it has none.

    That of `headers.orientation`, but where no camera writes it: several numbers as the value, an entry cut short, or
    behind more than 4096 segments count as none.
    """
    is_png = _part(content, 0, 4) == b"\x89PNG"
    exif = tf.cond(is_png, lambda: _png_exif(content), lambda: _jpeg_exif(content))
    exif = _part(exif, tf.where(_part(exif, 0, 6) == _EXIF, 6, 0), tf.strings.length(exif))
    big = _part(exif, 0, 4) == b"MM\0*"
    known = big | (_part(exif, 0, 4) == b"II*\0")
    directory = tf.where(big, _number(exif, 4, 4), _number(exif, 4, 4, little=True))
    size = 12 * tf.where(big, _number(exif, directory, 2), _number(exif, directory, 2, little=True))
    entries = _part(exif, directory + 2, size)
    entries = tf.where(known & (tf.strings.length(entries) == size), entries, b"")
    words = (tf.io.decode_raw(entries, tf.uint16, little_endian=little) for little in (False, True))
    words = tf.reshape(tf.cast(tf.where(big, *words), tf.int32), [-1, 6])
    tag, kind, *number, first, second = tf.unstack(words, axis=1)
    count, rest = tf.reduce_max(number, 0), tf.reduce_min(number, 0)
    short = (kind == _SHORT) & (count <= 2)  # more values stand elsewhere
    long = (kind == _LONG) & (count <= 1)
    low, high = tf.where(big, second, first), tf.where(big, first, second)
    value = tf.where(short, first, tf.where(high == 0, low, 0))
    found = tf.boolean_mask(value, (tag == _ORIENTATION_TAG) & (rest == 0) & (short | long))
    last = tf.concat([[1], found], 0)[-1]
    return tf.where((last >= 1) & (last <= 8), last, 1)


def _jpeg_exif(content):
    """The bytes of a JPEG's EXIF, none where it has none."""

    def is_exif(at):
        return (_number(content, at, 2) == 0xFFE1) & (_part(content, at + 4, 6) == _EXIF)

    def goes_on(at):
        marker = _number(content, at, 2)
        return (marker >= 0xFF00) & (marker != 0xFFDA) & ~is_exif(at)

    def behind(at):  # a segment, or a byte that only fills up
        return at + tf.where(_number(content, at, 2) == 0xFFFF, 1, 2 + _number(content, at + 2, 2))

    at = _walk(goes_on, behind, 2)
    return _part(content, at + 4, tf.where(is_exif(at), _number(content, at + 2, 2) - 2, 0))


def _png_exif(content):
    """The bytes of a PNG's EXIF, none where it has none."""

    def goes_on(at):
        kind, length = _part(content, at + 4, 4), _number(content, at, 4)
        inside = (length >= 0) & (length < tf.strings.length(content) - at)
        return inside & (kind != b"eXIf") & (kind != b"IEND")

    at = _walk(goes_on, lambda at: at + 12 + _number(content, at, 4), 8)
    found = _part(content, at + 4, 4) == b"eXIf"
    return _part(content, at + 8, tf.where(found, _number(content, at, 4), 0))


def _walk(goes_on: Callable, behind: Callable, start: int) -> tf.Tensor:
    """The place of the first part of a file, from one at start on, at which it does not go on."""
    return tf.while_loop(
        goes_on, lambda at: [behind(at)], [tf.constant(start)], maximum_iterations=_MOST_PARTS
    )[0]


def _part(content, at, size):
    """Bytes from a place on, fewer where they end before."""
    at = tf.clip_by_value(at, 0, tf.strings.length(content))
    return tf.strings.substr(content, at, tf.maximum(size, 0))


def _number(content, at, size, little=False):
    """int32 of 2 or 4 bytes, as if zeros followed behind the end."""
    whole = tf.strings.substr(tf.strings.join([_part(content, at, size), bytes(size)]), 0, size)
    kind = {2: tf.uint16, 4: tf.int32}[size]
    return tf.cast(tf.io.decode_raw(whole, kind, little_endian=little)[0], tf.int32)
