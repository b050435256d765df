"""Edges of instance maps."""

import tensorflow as tf


def edge_map(instance: tf.Tensor) -> tf.Tensor:
    """1 where an instance id differs from its left, right, upper or lower neighbour.

    instance int [B,H,W] -> int32 [B,H,W] (the map's border is no edge).
    """
    across = tf.cast(instance[:, :, 1:] != instance[:, :, :-1], tf.int32)
    down = tf.cast(instance[:, 1:] != instance[:, :-1], tf.int32)
    sides = tf.maximum(tf.pad(across, [[0, 0], [0, 0], [1, 0]]), tf.pad(across, [[0, 0], [0, 0], [0, 1]]))
    ends = tf.maximum(tf.pad(down, [[0, 0], [1, 0], [0, 0]]), tf.pad(down, [[0, 0], [0, 1], [0, 0]]))
    return tf.maximum(sides, ends)
