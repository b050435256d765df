"""Label map decoding as TensorFlow operations alone, for exported models; the rules of `decoding.py`.

Only the class table's numbers go into the graph: an export needs no file and no Python at serving time.
"""

import struct
import zlib

import numpy as np
import tensorflow as tf

from .decoding import LABEL_FORMATS, MAX_PIXELS
from .tables import NO_CLASS, describe_ids, pack_colors

_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_SIZE_AT, _DEPTH_AT, _COLOR_TYPE_AT, _CHECKSUM_AT, _HEADER_END = 16, 24, 25, 29, 33
_GREY, _PALETTE = 0, 3
_BYTES = [bytes([value]) for value in range(256)]


def _checksum_change():
    """uint8 [4]: what the header's CRC is XORed with when colour type 3 becomes 0, whatever the size."""
    palette, grey = (zlib.crc32(b"IHDR" + bytes(9) + bytes([kind]) + bytes(3)) for kind in (_PALETTE, _GREY))
    return np.frombuffer(struct.pack(">I", palette ^ grey), np.uint8)


def decode_label_png(png, table, source="label_png"):
    """PNG bytes, string [] -> int32 [H, W] of class indices in [0, C), inside a graph.

    Can do what `decode_label` does: ids of 1 to 16 bits in one channel, palette files (indices, or
    colours where only they fit the table), RGB and RGBA through the table's colours, opaque alpha. TF's
    decoder turns palettes into colours, so the header byte that says "palette" is rewritten to "grey",
    with its checksum, and the decoder returns the indices. One difference: an RGB file with a single
    colour marked transparent (tRNS) is refused where that colour occurs.
    Errors: InvalidArgumentError whose text has the line "DataError: <source>: ..." with the ids found and
    the ids allowed; also for anything that is not a whole PNG. Never a wrong id.
    """
    png = _checked(png, source)
    depth, color_type = _byte(png, _DEPTH_AT), _byte(png, _COLOR_TYPE_AT)

    def ids():
        return _ids(_unscaled(tf.io.decode_png(png, 1), depth), table, source)

    def deep_ids():
        return _ids(tf.io.decode_png(png, 1, tf.uint16)[..., 0], table, source)

    def opaque_ids():
        return _ids(_opaque(tf.io.decode_png(png, 4), source)[..., 0], table, source)

    def colors():
        return _colors(_opaque(tf.io.decode_png(png, 4), source), table, source)

    def palette():
        return _palette(png, depth, table, source)

    readers = [
        ids,
        colors,
        colors,
        palette,
        opaque_ids,
        colors,
        colors,
        deep_ids,
    ]  # by colour type; 7: 16 bits
    return tf.switch_case(tf.where(depth == 16, 7, tf.minimum(color_type, 6)), readers)  # [H, W]


def _require(condition, *message):
    """An operation that raises InvalidArgumentError with the joined message unless the condition holds."""
    texts = [
        tf.strings.as_string(part) if tf.is_tensor(part) and part.dtype != tf.string else part
        for part in message
    ]
    return tf.debugging.Assert(condition, [tf.strings.join(["DataError: ", *texts, "\n"])])


def _byte(png, at):
    return tf.cast(tf.io.decode_raw(tf.strings.substr(png, at, 1), tf.uint8)[0], tf.int32)


def _checked(png, source):
    """The same bytes, after checks of the header; sizes are checked before anything is unpacked."""
    png = tf.convert_to_tensor(png)
    whole = tf.strings.length(png) > _HEADER_END
    start = tf.strings.substr(png, 0, tf.minimum(len(_START), tf.strings.length(png)))
    with tf.control_dependencies(
        [_require(whole & (start == _START), f"{source}: not a PNG; expected {LABEL_FORMATS}")]
    ):
        png = tf.identity(png)
    size = tf.io.decode_raw(tf.strings.substr(png, _SIZE_AT, 8), tf.int32, little_endian=False)
    width, height = tf.unstack(tf.cast(tf.ensure_shape(size, [2]), tf.int64))
    fits = (width > 0) & (height > 0) & (width * height <= MAX_PIXELS)
    plain = (_byte(png, _DEPTH_AT) <= 8) | (_byte(png, _COLOR_TYPE_AT) == _GREY)
    checks = [
        _require(fits, f"{source}: ", width, "x", height, f" pixels; at most {MAX_PIXELS} are read"),
        _require(plain, f"{source}: 16 bits per colour; expected {LABEL_FORMATS}"),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(png)


def _unscaled(samples, depth):
    """uint8 [H, W, 1] as decoders scale grey of 1, 2 and 4 bits -> stored values int32 [H, W]."""
    largest = tf.bitwise.left_shift(1, tf.minimum(depth, 8)) - 1
    return tf.cast(samples[..., 0], tf.int32) // (255 // largest)


def _opaque(samples, source):
    """[H, W, channels with alpha] -> without alpha; transparent pixels are an error."""
    transparent = tf.math.count_nonzero(samples[..., -1] != 255)
    check = _require(transparent == 0, f"{source}: ", transparent, " transparent pixels, whose class is open")
    with tf.control_dependencies([check]):
        return samples[..., :-1]


def _find_ids(samples, table):
    """Integer [H, W] -> classes int32 [H, W], NO_CLASS for ids not in the table."""
    classes = table.class_of_id[: max(table.raw_ids) + 2]
    classes = np.where(np.arange(len(classes)) <= max(table.raw_ids), classes, NO_CLASS)
    return tf.gather(classes, tf.minimum(tf.cast(samples, tf.int32), len(classes) - 1))


def _find_colors(rgb, table):
    """uint8 [H, W, 3] -> classes int32 [H, W], NO_CLASS for colours not in the table."""
    red, green, blue = tf.unstack(tf.cast(rgb, tf.int32), axis=-1)
    packed = red * 65536 + green * 256 + blue  # [H, W]
    known = pack_colors(table.colors)  # [C]
    order = np.argsort(known).astype(np.int32)
    at = tf.searchsorted(known[order], tf.reshape(packed, [-1]))  # [H * W]
    at = tf.minimum(tf.reshape(at, tf.shape(packed)), len(known) - 1)  # [H, W]
    return tf.where(tf.gather(known[order], at) == packed, tf.gather(order, at), NO_CLASS)


def _ids(samples, table, source):
    """Raw ids [H, W] -> classes int32 [H, W], or the error that names them."""
    classes = _find_ids(samples, table)
    found = tf.sort(tf.unique(tf.reshape(tf.cast(samples, tf.int32), [-1]))[0])
    listed = tf.strings.reduce_join(tf.strings.as_string(found[:64]), separator=", ")
    check = _require(
        tf.reduce_all(classes != NO_CLASS),
        f"{source}: label ids {{", listed, f"}} found, allowed are {describe_ids(table.raw_ids)}"
        f" (class table '{table.name}')",
    )  # fmt: skip
    with tf.control_dependencies([check]):
        return tf.identity(classes)


def _colors(rgb, table, source):
    """RGB [H, W, 3] -> classes int32 [H, W], or the error that names the first unknown colour."""
    classes = _find_colors(rgb, table)
    wrong = tf.boolean_mask(rgb, classes == NO_CLASS)  # [N, 3]
    first = tf.strings.reduce_join(tf.strings.as_string(wrong[:1]), separator=", ")
    check = _require(
        tf.shape(wrong)[0] == 0,
        f"{source}: colour (", first, f") is not one of {table.num_classes} in class table '{table.name}'",
    )  # fmt: skip
    with tf.control_dependencies([check]):
        return tf.identity(classes)


def _palette(png, depth, table, source):
    """Palette file -> classes int32 [H, W]: by index, or by colour if only the colours fit."""
    checksum = tf.cast(tf.io.decode_raw(tf.strings.substr(png, _CHECKSUM_AT, 4), tf.uint8), tf.int32)  # [4]
    checksum = tf.bitwise.bitwise_xor(checksum, _checksum_change().astype(np.int32))
    grey = tf.strings.join([
        tf.strings.substr(png, 0, _COLOR_TYPE_AT), _BYTES[_GREY],
        tf.strings.substr(png, _COLOR_TYPE_AT + 1, _CHECKSUM_AT - _COLOR_TYPE_AT - 1),
        tf.strings.reduce_join(tf.gather(_BYTES, checksum)),
        tf.strings.substr(png, _HEADER_END, tf.strings.length(png) - _HEADER_END),
    ])  # fmt: skip
    indices = _unscaled(tf.io.decode_png(grey, 1), depth)  # [H, W]
    by_index = _find_ids(indices, table)
    by_color = _find_colors(tf.io.decode_png(png, 3), table)
    index_fits = tf.reduce_all(by_index != NO_CLASS)
    color_fits = tf.reduce_all(by_color != NO_CLASS)
    same = tf.reduce_all(by_index == by_color)
    check = _require(
        ~(index_fits & color_fits) | same,
        f"{source}: palette indices and palette colours are different classes; save one-channel ids or RGB",
    )
    with tf.control_dependencies([check]):
        return tf.cond(index_fits | ~color_fits, lambda: _ids(indices, table, source), lambda: by_color)
