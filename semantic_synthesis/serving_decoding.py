"""Pictures from bytes as TensorFlow operations alone: what exported models do before the network.

Label maps have their own module, data/graph_decoding.py.
"""

import tensorflow as tf

from semantic_synthesis.data.decoding import MAX_PIXELS


def require(condition, *message):
    """An operation that ends in InvalidArgument with the joined message unless the condition holds."""
    texts = [tf.strings.as_string(x) if tf.is_tensor(x) and x.dtype != tf.string else x for x in message]
    return tf.debugging.Assert(condition, [tf.strings.join(["DataError: ", *texts, "\n"])])


def fit_map(ids, height, width):
    """int32 [h,w] -> [height,width], the value at the nearest pixel centre: data.fit_label's pixels."""
    size = tf.shape(ids, tf.int64)

    def centres(old, new):
        return (2 * tf.range(new, dtype=tf.int64) + 1) * old // (2 * new)

    return tf.gather(tf.gather(ids, centres(size[0], height)), centres(size[1], width), axis=1)


def number_regions(label, instance):
    """int32 [h,w] each -> int32 [h,w]: data.regions."""
    objects = tf.cast(instance, tf.int64) + 2**33  # after all classes
    keys = tf.reshape(tf.where(instance == 0, tf.cast(label, tf.int64), objects), [-1])
    return tf.reshape(tf.searchsorted(tf.sort(tf.unique(keys)[0]), keys), tf.shape(label))


def fit_photo(image, height, width):
    """uint8 [h,w,3] -> uint8 [height,width,3]: axes that shrink are averaged, then the others enlarged.

    Close to data.fit_image, not equal to it; a photo of the right size keeps its pixels in both.
    """
    size = tf.shape(image)[:2]

    def resized():
        shrunk = tf.image.resize(image, tf.minimum(size, [height, width]), "area")
        return tf.image.resize(shrunk, [height, width], "bicubic")

    fitted = tf.cond(tf.reduce_all(size == [height, width]), lambda: tf.cast(image, tf.float32), resized)
    return tf.ensure_shape(tf.cast(tf.clip_by_value(tf.round(fitted), 0, 255), tf.uint8), [height, width, 3])


def decode_photo(photo, name):
    """JPEG or PNG bytes, string [] -> uint8 [h,w,3]; sizes are checked before anything is unpacked."""
    start = tf.strings.substr(photo, 0, tf.minimum(8, tf.strings.length(photo)))
    is_png = start == b"\x89PNG\r\n\x1a\n"
    is_jpeg = tf.strings.substr(start, 0, tf.minimum(3, tf.strings.length(start))) == b"\xff\xd8\xff"
    known = require((is_png & (tf.strings.length(photo) > 33)) | is_jpeg, f"{name}: neither JPEG nor PNG")
    with tf.control_dependencies([known]):
        photo = tf.identity(photo)
    size = tf.cond(is_jpeg, lambda: tf.io.extract_jpeg_shape(photo)[:2], lambda: _png_size(photo))
    size = tf.ensure_shape(size, [2])
    pixels = tf.reduce_prod(tf.cast(size, tf.int64))
    fits = tf.reduce_all(size > 0) & (pixels <= MAX_PIXELS)
    check = require(fits, f"{name}: ", size[1], "x", size[0], f" pixels; at most {MAX_PIXELS} are read")
    with tf.control_dependencies([check]):
        photo = tf.identity(photo)
    jpeg = {"channels": 3, "dct_method": "INTEGER_ACCURATE"}  # what OpenCV does, so test_one.py
    return tf.cond(is_jpeg, lambda: tf.io.decode_jpeg(photo, **jpeg), lambda: tf.io.decode_png(photo, 3))


def _png_size(png):
    """int32 [2]: height, width from the header."""
    return tf.io.decode_raw(tf.strings.substr(png, 16, 8), tf.int32, little_endian=False)[::-1]


def decode_instance_png(png, name):
    """PNG bytes, string [] -> int32 [h,w] of instance ids: one channel, or RGB as r + 256 g + 65536 b."""
    whole = tf.strings.length(png) > 33
    start = tf.strings.substr(png, 0, tf.minimum(8, tf.strings.length(png)))
    with tf.control_dependencies([require(whole & (start == b"\x89PNG\r\n\x1a\n"), f"{name}: not a PNG")]):
        png = tf.identity(png)
    size = tf.cast(_png_size(png), tf.int64)
    depth, kind = (tf.io.decode_raw(tf.strings.substr(png, at, 1), tf.uint8)[0] for at in (24, 25))
    fits = tf.reduce_all(size > 0) & (tf.reduce_prod(size) <= MAX_PIXELS)
    checks = [
        require(fits, f"{name}: ", size[1], "x", size[0], f" pixels; at most {MAX_PIXELS} are read"),
        require(
            ((depth == 8) & ((kind == 0) | (kind == 2))) | ((depth == 16) & (kind == 0)),
            f"{name}: expected a PNG with instance ids in one channel (8 or 16 bits), or 8-bit RGB",
        ),
    ]
    with tf.control_dependencies(checks):
        png = tf.identity(png)

    def colors():
        return tf.tensordot(tf.cast(tf.io.decode_png(png, 3), tf.int32), tf.constant([1, 256, 65536]), 1)

    def deep_ids():
        return tf.cast(tf.io.decode_png(png, 1, tf.uint16)[..., 0], tf.int32)

    def ids():
        return tf.cast(tf.io.decode_png(png, 1)[..., 0], tf.int32)

    return tf.cond(kind == 2, colors, lambda: tf.cond(depth == 16, deep_ids, ids))
