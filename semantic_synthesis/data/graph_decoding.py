"""Label maps, instance maps and photos from bytes as TensorFlow operations alone, for exported models.

Label maps follow the rules of `decoding.py`.

Only the class table's numbers go into the graph: an export needs no file and no Python at serving time.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import tensorflow as tf

from .decoding import INSTANCE_FORMATS, LABEL_FORMATS, MAX_PIXELS
from .tables import NO_CLASS, ClassTable, describe_ids, pack_colors

_JPEG, _START = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_SIZE_AT, _DEPTH_AT, _COLOR_TYPE_AT, _CHECKSUM_AT, _HEADER_END = 16, 24, 25, 29, 33
_GREY, _PALETTE = 0, 3
_MOST_CHUNKS = 256  # before the palette
_BYTES = [bytes([value]) for value in range(256)]


def _checksum_change():
    """uint8 [4]: what the header's CRC is XORed with when colour type 3 becomes 0, whatever the size."""
    palette, grey = (zlib.crc32(b"IHDR" + bytes(9) + bytes([kind]) + bytes(3)) for kind in (_PALETTE, _GREY))
    return np.frombuffer(struct.pack(">I", palette ^ grey), np.uint8)


def decode_label_png(
    png: tf.Tensor, table: ClassTable, source: str = "label_png", most_pixels: int = MAX_PIXELS
) -> tf.Tensor:
    """PNG bytes, string [] -> int32 [H, W] of class indices in [0, C), inside a graph.

    Can do what `decode_label` does: ids of 1 to 16 bits in one channel, palette files (indices, or
    colours where only they fit the table), RGB and RGBA through the table's colours, opaque alpha. TF's
    decoder turns palettes into colours, so the header byte that says "palette" is rewritten to "grey",
    with its checksum, and the decoder returns the indices. One difference: an RGB file with a single
    colour marked transparent (tRNS) is refused where that colour occurs. A file of more than most_pixels is
    refused before anything is unpacked.
    Errors: InvalidArgumentError whose text has the line "DataError: <source>: ..." with the ids found and
    the ids allowed; also for anything that is not a whole PNG. Never a wrong id.
    """
    png = _checked(png, source, most_pixels, LABEL_FORMATS)

    def ids(samples):
        return _ids(samples, table, source)

    def colors(rgb):
        return _colors(rgb, table, source)

    return _by_kind(png, source, ids, colors, lambda: _palette(png, table, source))


def _by_kind(png, source, ids, colors, palette):
    """int32 [H, W]: what ids makes of stored values [H, W], colors of RGB [H, W, 3], or palette of a palette file."""
    depth, color_type = _byte(png, _DEPTH_AT), _byte(png, _COLOR_TYPE_AT)

    def opaque():
        return _opaque(tf.io.decode_png(png, 4), source)

    def rgb():
        return colors(opaque())

    readers = [
        lambda: ids(_unscaled(tf.io.decode_png(png, 1), depth)),
        rgb,
        rgb,
        palette,
        lambda: ids(opaque()[..., 0]),
        rgb,
        rgb,
        lambda: ids(tf.io.decode_png(png, 1, tf.uint16)[..., 0]),
    ]  # by colour type; 7: 16 bits
    return tf.switch_case(tf.where(depth == 16, 7, tf.minimum(color_type, 6)), readers)  # [H, W]


def require(condition: tf.Tensor, *message: Any) -> Any:
    """An operation that ends in InvalidArgument with the joined message unless the condition holds."""
    texts = [
        tf.strings.as_string(part) if tf.is_tensor(part) and part.dtype != tf.string else part
        for part in message
    ]
    return tf.debugging.Assert(condition, [tf.strings.join(["DataError: ", *texts, "\n"])])


def _byte(png, at):
    return tf.cast(tf.io.decode_raw(tf.strings.substr(png, at, 1), tf.uint8)[0], tf.int32)


def _checked(png, source, most_pixels, formats):
    """The same bytes, after checks of a map's header."""
    png = _checked_png(png, source, formats, most_pixels)
    plain = (_byte(png, _DEPTH_AT) <= 8) | (_byte(png, _COLOR_TYPE_AT) == _GREY)
    with tf.control_dependencies([require(plain, f"{source}: 16 bits per colour; expected {formats}")]):
        return tf.identity(png)


def _checked_png(png, source, formats, most_pixels):
    """The same bytes, after checks of start and size, before anything is unpacked."""
    png = tf.convert_to_tensor(png)
    with tf.control_dependencies([require(_is_png(png), f"{source}: not a PNG; expected {formats}")]):
        png = tf.identity(png)
    with tf.control_dependencies([_require_size(_png_size(png), source, most_pixels)]):
        return tf.identity(png)


def _png_size(png):
    """int64 [2]: height, width from the header."""
    size = tf.io.decode_raw(tf.strings.substr(png, _SIZE_AT, 8), tf.int32, little_endian=False)[::-1]
    return tf.ensure_shape(tf.cast(size, tf.int64), [2])


def _starts(content, start):
    return tf.strings.substr(content, 0, tf.minimum(len(start), tf.strings.length(content))) == start


def _is_png(content):
    return _starts(content, _START) & (tf.strings.length(content) > _HEADER_END)


def told_size(content: tf.Tensor) -> tf.Tensor:
    """int64 [2]: height, width that bytes tell in the header of a PNG or JPEG; 0, 0 of what is neither."""

    def jpeg_size():
        return tf.ensure_shape(tf.cast(tf.io.extract_jpeg_shape(content)[:2], tf.int64), [2])

    def others_size():
        return tf.cond(_starts(content, _JPEG), jpeg_size, lambda: tf.zeros([2], tf.int64))

    return tf.cond(_is_png(content), lambda: _png_size(content), others_size)


def _require_size(size, source, most_pixels):
    """Refuses a picture of height, width int64 [2] that is empty or too large."""
    fits = tf.reduce_all(size > 0) & tf.reduce_all(size < 2**31) & (tf.reduce_prod(size) <= most_pixels)
    return require(
        fits,
        f"{source}: ",
        size[1],
        "x",
        size[0],
        f" pixels; at most {most_pixels} are read; send a smaller one",
    )


def _unscaled(samples, depth):
    """uint8 [H, W, 1] as decoders scale grey of 1, 2 and 4 bits -> stored values int32 [H, W]."""
    largest = tf.bitwise.left_shift(1, tf.minimum(depth, 8)) - 1
    return tf.cast(samples[..., 0], tf.int32) // (255 // largest)


def _opaque(samples, source):
    """[H, W, channels with alpha] -> without alpha; transparent pixels are an error."""
    transparent = tf.math.count_nonzero(samples[..., -1] != 255)
    check = require(transparent == 0, f"{source}: ", transparent, " transparent pixels, whose class is open")
    with tf.control_dependencies([check]):
        return samples[..., :-1]


def _find_ids(samples, table):
    """Integer [H, W] -> classes int32 [H, W], NO_CLASS for ids not in the table."""
    largest = table.ids_of_classes[0].max()
    classes = table.class_of_id[: largest + 2]
    classes = np.where(np.arange(len(classes)) <= largest, classes, NO_CLASS)
    return tf.gather(classes, tf.minimum(tf.cast(samples, tf.int32), len(classes) - 1))


def _find_colors(rgb, table):
    """uint8 [H, W, 3] -> classes int32 [H, W], NO_CLASS for colours not in the table."""
    red, green, blue = tf.unstack(tf.cast(rgb, tf.int32), axis=-1)
    packed = red * 65536 + green * 256 + blue  # [H, W]
    colors, classes = table.colors_of_classes
    known = pack_colors(colors)  # [N]
    order = np.argsort(known)
    at = tf.searchsorted(known[order], tf.reshape(packed, [-1]))  # [H * W]
    at = tf.minimum(tf.reshape(at, tf.shape(packed)), len(known) - 1)  # [H, W]
    return tf.where(
        tf.gather(known[order], at) == packed, tf.gather(classes[order].astype(np.int32), at), NO_CLASS
    )


def _ids(samples, table, source):
    """Raw ids [H, W] -> classes int32 [H, W], or the error that names them."""
    classes = _find_ids(samples, table)
    found = tf.sort(tf.unique(tf.reshape(tf.cast(samples, tf.int32), [-1]))[0])
    listed = tf.strings.reduce_join(tf.strings.as_string(found[:64]), separator=", ")
    check = require(
        tf.reduce_all(classes != NO_CLASS),
        f"{source}: label ids {{",
        listed,
        f"}} found, allowed are {describe_ids(table.ids_of_classes[0])} (class table '{table.name}')",
    )
    with tf.control_dependencies([check]):
        return tf.identity(classes)


def _colors(rgb, table, source):
    """RGB [H, W, 3] -> classes int32 [H, W], or the error that names the first unknown colour."""
    classes = _find_colors(rgb, table)
    wrong = tf.boolean_mask(rgb, classes == NO_CLASS)  # [N, 3]
    first = tf.strings.reduce_join(tf.strings.as_string(wrong[:1]), separator=", ")
    check = require(
        tf.shape(wrong)[0] == 0,
        f"{source}: colour (",
        first,
        f") is not one of {table.num_classes} in class table '{table.name}'",
    )
    with tf.control_dependencies([check]):
        return tf.identity(classes)


def _palette(png, table, source):
    """Palette file -> classes int32 [H, W]: by index, or by colour if only the colours fit."""
    indices, as_colors = _palette_indices(png, source)
    by_index = _find_ids(indices, table)
    by_color = _find_colors(as_colors, table)
    index_fits = tf.reduce_all(by_index != NO_CLASS)
    color_fits = tf.reduce_all(by_color != NO_CLASS)
    same = tf.reduce_all(by_index == by_color)
    check = require(
        ~(index_fits & color_fits) | same,
        f"{source}: palette indices and palette colours are different classes; save one-channel ids or RGB",
    )
    with tf.control_dependencies([check]):
        return tf.cond(index_fits | ~color_fits, lambda: _ids(indices, table, source), lambda: by_color)


def _palette_indices(png, source):
    """Palette file -> int32 [H, W], and the same as the palette's colours uint8 [H, W, 3]."""
    checksum = tf.cast(tf.io.decode_raw(tf.strings.substr(png, _CHECKSUM_AT, 4), tf.uint8), tf.int32)  # [4]
    checksum = tf.bitwise.bitwise_xor(checksum, _checksum_change().astype(np.int32))
    at, length = _find_palette(png, source)
    behind = at + 12 + length
    grey = tf.strings.join(
        [
            tf.strings.substr(png, 0, _COLOR_TYPE_AT),
            _BYTES[_GREY],
            tf.strings.substr(png, _COLOR_TYPE_AT + 1, _CHECKSUM_AT - _COLOR_TYPE_AT - 1),
            tf.strings.reduce_join(tf.gather(_BYTES, checksum)),
            tf.strings.substr(png, _HEADER_END, at - _HEADER_END),
            tf.strings.substr(png, behind, tf.strings.length(png) - behind),
        ]
    )
    indices = _unscaled(tf.io.decode_png(grey, 1), _byte(png, _DEPTH_AT))
    return _within(indices, length // 3, source), tf.io.decode_png(png, 3)


def _find_palette(png, source):
    """(position, length) of a palette file's chunk PLTE, int32 [] each."""

    def chunk(at):
        """(length, kind) of the chunk at a position; kind empty behind the end."""
        inside = at + 8 <= tf.strings.length(png)
        head = tf.cond(inside, lambda: tf.strings.substr(png, at, 8), lambda: tf.constant(bytes(8)))
        length = tf.io.decode_raw(tf.strings.substr(head, 0, 4), tf.int32, little_endian=False)[0]
        return length, tf.where(inside, tf.strings.substr(head, 4, 4), b"")

    def goes_on(at):
        length, kind = chunk(at)
        return (kind != b"") & (kind != b"PLTE") & (length >= 0) & (length < tf.strings.length(png) - at)

    at = tf.while_loop(
        goes_on,
        lambda at: [at + 12 + chunk(at)[0]],
        [tf.constant(_HEADER_END)],
        maximum_iterations=_MOST_CHUNKS,
    )[0]
    length, kind = chunk(at)
    whole = (kind == b"PLTE") & (length > 0) & (length % 3 == 0)
    with tf.control_dependencies([require(whole, f"{source}: damaged PNG, no palette where one belongs")]):
        return at, tf.identity(length)


def _within(indices, colors, source):
    """Palette indices [H, W], after a check that the palette has them all."""
    largest = tf.reduce_max(indices)
    check = require(
        largest < colors, f"{source}: damaged PNG, palette index ", largest, " of ", colors, " colours"
    )
    with tf.control_dependencies([check]):
        return tf.identity(indices)


# Photos, instance maps, sizes


def decode_photo(photo: tf.Tensor, name: str, most_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """JPEG or PNG bytes, string [] -> uint8 [h,w,3]; sizes are checked before anything is unpacked."""
    is_jpeg = _starts(photo, _JPEG)
    known = require(_is_png(photo) | is_jpeg, f"{name}: neither JPEG nor PNG")
    with tf.control_dependencies([known]):
        photo = tf.identity(photo)
    with tf.control_dependencies([_require_size(told_size(photo), name, most_pixels)]):
        photo = tf.identity(photo)
    jpeg = {"channels": 3, "dct_method": "INTEGER_ACCURATE"}  # what OpenCV does, so test_one.py
    return tf.cond(is_jpeg, lambda: tf.io.decode_jpeg(photo, **jpeg), lambda: tf.io.decode_png(photo, 3))


def decode_instance_png(
    png: tf.Tensor, name: str, most_pixels: int = MAX_PIXELS, none_id: int | None = None
) -> tf.Tensor:
    """PNG bytes, string [] -> int32 [h,w] of instance ids, as `decode_instance`: one channel of 1 to 16 bits, palette
    indices, or RGB as r + 256 g + 65536 b; alpha is opaque. Pixels of none_id become 0, as of
    `instances.file_objects`."""
    png = _checked(png, name, most_pixels, INSTANCE_FORMATS)

    def numbers(rgb):
        return tf.tensordot(tf.cast(rgb, tf.int32), tf.constant([1, 256, 65536]), 1)

    def palette():
        return _palette_indices(png, name)[0]

    ids = _by_kind(png, name, lambda ids: tf.cast(ids, tf.int32), numbers, palette)
    if not none_id:
        return ids
    none = ids == none_id
    first = tf.where(tf.reduce_any(none), tf.reduce_max(ids) + 1, 0)
    return tf.where(none, 0, tf.where(ids == 0, first, ids))


def pad_maps(maps: tf.Tensor, stride: int) -> tf.Tensor:
    """Integer [N,h,w] -> [N,H,W], multiples of stride, as `geometry.pad_map` of each; sizes may be unknown."""
    for axis in (1, 2):
        size = maps.shape[axis]
        if size is not None and size % stride == 0:
            continue
        size = tf.shape(maps)[axis] if size is None else size
        places = tf.range(-(-size // stride) * stride)
        maps = tf.gather(maps, tf.minimum(places, size - 1), axis=axis)
    return maps


def fit_map(ids: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """int32 [h,w] -> [height,width], the value at the nearest pixel centre: data.fit_label's pixels."""
    size = tf.shape(ids, tf.int64)

    def centres(old, new):
        return (2 * tf.range(new, dtype=tf.int64) + 1) * old // (2 * new)

    return tf.gather(tf.gather(ids, centres(size[0], height)), centres(size[1], width), axis=1)


def number_regions(label: tf.Tensor, instance: tf.Tensor) -> tf.Tensor:
    """int32 [h,w] each -> int32 [h,w]: data.regions."""
    objects = tf.cast(instance, tf.int64) + 2**33  # after all classes
    keys = tf.reshape(tf.where(instance == 0, tf.cast(label, tf.int64), objects), [-1])
    return tf.reshape(tf.searchsorted(tf.sort(tf.unique(keys)[0]), keys), tf.shape(label))


def fit_photo(image: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """uint8 [h,w,3] -> uint8 [height,width,3]: axes that shrink are averaged, then the others enlarged.

    Close to data.fit_image, not equal to it; a photo of the right size keeps its pixels in both.
    """
    size = tf.shape(image)[:2]

    def resized():
        shrunk = tf.image.resize(image, tf.minimum(size, [height, width]), "area")
        return tf.image.resize(shrunk, [height, width], "bicubic")

    fitted = tf.cond(tf.reduce_all(size == [height, width]), lambda: tf.cast(image, tf.float32), resized)
    return tf.ensure_shape(tf.cast(tf.clip_by_value(tf.round(fitted), 0, 255), tf.uint8), [height, width, 3])
