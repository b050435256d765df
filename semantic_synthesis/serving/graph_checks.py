"""What exported graphs check of their inputs; every refusal is an InvalidArgument that starts with "DataError: "."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from semantic_synthesis.data.graph_decoding import require, told_size
from semantic_synthesis.data.graph_exif import orientation


def each_row(function: Callable[[Any], tf.Tensor], rows: Any, spec: tf.TensorSpec) -> tf.Tensor:
    """function of one row after another, tensors [N,...] -> [N, *spec.shape]; no loop where N is known to be 1."""
    if tf.nest.flatten(rows)[0].shape[0] == 1:
        return function(tf.nest.map_structure(lambda x: x[0], rows))[None]
    return tf.map_fn(function, rows, fn_output_signature=spec)


def same_rows(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The inputs, after a check that all have one or more and equally many rows.

    They come out with unknown shapes, so that later checks look at what was really fed: servers do not
    hold clients to the signature's shape.
    """
    loose = {
        name: tf.compat.v1.placeholder_with_default(x, [None] * x.shape.rank) for name, x in inputs.items()
    }
    rows = [tf.shape(x)[0] for x in loose.values()]
    counts = tf.strings.join([tf.strings.as_string(count) for count in rows], separator=", ")
    same = tf.reduce_all([count == rows[0] for count in rows]) & (rows[0] > 0)
    names = ", ".join(loose)
    check = require(same, f"inputs {names} have ", counts, " rows; expected one or more, and equally many")
    with tf.control_dependencies([check]):
        return {name: tf.ensure_shape(tf.identity(x), [None] * x.shape.rank) for name, x in loose.items()}


def finite(x: tf.Tensor, name: str) -> tf.Tensor:
    """A float tensor, after a check that it holds no NaN and no Infinity."""
    check = require(tf.reduce_all(tf.math.is_finite(x)), f"{name}: NaN or Infinity; expected finite numbers")
    with tf.control_dependencies([check]):
        return tf.identity(x)


def check_shape(x: tf.Tensor, spec: tf.TensorSpec, axes: Sequence[str]) -> tf.Tensor:
    """A style tensor, after a check of its shape: the spec's, where axes (names) of size None take any."""
    sizes = ["N", *(axis if n is None else n for axis, n in zip(axes, spec.shape[1:], strict=True))]
    found = tf.shape(x)
    right = [found[i] == n for i, n in enumerate(sizes) if isinstance(n, int)]
    text = tf.strings.reduce_join(tf.strings.as_string(found), separator=",")
    expected = ",".join(map(str, sizes))
    check = require(tf.reduce_all(right), f"{spec.name}: expected [{expected}], got [", text, "]")
    with tf.control_dependencies([check]):
        return tf.ensure_shape(tf.identity(x), spec.shape)


def check_files_alike(
    files: dict[str, tf.Tensor], first: str, second: str, expected: str = "maps of one picture"
) -> dict[str, tf.Tensor]:
    """Bytes [N] of files by name, after a check that both of a row, where both are there, are of one size; what is
    no picture is left to those who decode it."""
    if first not in files or second not in files:
        return files

    def checked(pair):
        sizes = [told_size(one) for one in pair]
        (height, width), (other_height, other_width) = (tf.unstack(size) for size in sizes)
        check = require(
            tf.reduce_all(sizes[0] == sizes[1]) | (height == 0) | (other_height == 0),
            f"{second}: ",
            other_width,
            "x",
            other_height,
            f" pixels; {first} has ",
            width,
            "x",
            height,
            f"; expected {expected}",
        )
        with tf.control_dependencies([check]):
            return tf.identity(pair[1])

    spec = tf.TensorSpec([], tf.string)
    return files | {second: each_row(checked, (files[first], files[second]), spec)}


def check_upright(photo: tf.Tensor, name: str) -> tf.Tensor:
    """Bytes of a photo that has a label map, string [], after a check that EXIF does not turn it: nobody can say which
    of the two ways the map was drawn."""
    turned = orientation(photo)
    check = require(
        turned == 1,
        f"{name}: EXIF orientation ",
        turned,
        " turns this photo, which its label map does not say; send it stored upright, as its map shows it",
    )
    with tf.control_dependencies([check]):
        return tf.identity(photo)


def check_like(instance: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
    """The instance maps, after a check that they have the label maps' size."""
    found, expected = tf.shape(instance)[1:], tf.shape(label)[1:]
    check = require(
        tf.reduce_all(found == expected),
        "instance: ",
        found[1],
        "x",
        found[0],
        " pixels; the label map has ",
        expected[1],
        "x",
        expected[0],
    )
    with tf.control_dependencies([check]):
        return tf.identity(instance)


def check_exact(x: tf.Tensor, name: str, height: int, width: int) -> tf.Tensor:
    """[N,h,w,...] -> the same with h, w known, or the error that names both sizes."""
    size = tf.shape(x)[1:3]
    check = require(
        tf.reduce_all(size == [height, width]),
        f"{name}: ",
        size[1],
        "x",
        size[0],
        f" pixels; this model takes {width}x{height} (width x height)",
    )
    with tf.control_dependencies([check]):
        x = tf.identity(x)
    channels = [3] if x.shape.rank == 4 else []
    return tf.ensure_shape(x, [None, height, width, *channels])
