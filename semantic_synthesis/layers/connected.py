"""Connected regions of a label map and places within them, as TensorFlow operations."""

import tensorflow as tf

# Cells of a map times its longer side: below, the places of half of it sum up to less than 2^31.
_SUMMABLE = 2**34


def connected_regions(label: tf.Tensor) -> tf.Tensor:
    """Numbers the 8-connected regions of one class: int32 [B,H,W] -> int32 [B,H,W].

    A region's number is the smallest pixel number (reading order over the batch) in it. Numbers spread along
    whole rows and columns of a region at a time, so a few rounds do for compact shapes; mazes take more. All shapes
    follow from the map's, so that compilers and other runtimes can take the graph.
    """
    count = tf.size(label)
    numbers = tf.reshape(tf.range(count), tf.shape(label))
    numbers.set_shape(label.shape)
    across, down = _line_runs(label, 2), _line_runs(label, 1)

    def round_of(numbers, _):
        spread = _run_minimum(_run_minimum(numbers, across), down)
        spread = _diagonal_minimum(spread, label, count)
        spread.set_shape(label.shape)
        return spread, tf.reduce_any(spread != numbers)

    numbers, _ = tf.while_loop(lambda _, moved: moved, round_of, (numbers, True))
    return numbers


def _line_runs(label, axis):
    """The run of each pixel [B*H*W], by a number below B*H*W of its own: neighbours along the axis with equal label.

    Columns are counted where they lie: oneDNN has no transposition of int32 on some CPUs and says so on every screen.
    """
    changes = label[:, :, 1:] != label[:, :, :-1] if axis == 2 else label[:, 1:] != label[:, :-1]
    first = tf.zeros_like(label[:, :, :1] if axis == 2 else label[:, :1], tf.int32)
    within = tf.cumsum(tf.concat([first, tf.cast(changes, tf.int32)], axis), axis)  # below a line's length
    length = tf.shape(label)[axis]
    line = tf.range(tf.size(label) // length) * length
    return tf.reshape(within + tf.reshape(line, tf.shape(first)), [-1])


def _run_minimum(numbers, runs):
    minimum = tf.math.unsorted_segment_min(tf.reshape(numbers, [-1]), runs, tf.size(numbers))
    return tf.reshape(tf.gather(minimum, runs), tf.shape(numbers))


def _diagonal_minimum(numbers, label, largest):
    """The smallest of each pixel's number and those of its diagonal neighbours of the same class."""
    height, width = tf.shape(label)[1], tf.shape(label)[2]
    border = [[0, 0], [1, 1], [1, 1]]
    padded, classes = (
        tf.pad(numbers, border, constant_values=largest),
        tf.pad(label, border, constant_values=-1),
    )
    for y, x in ((0, 0), (0, 2), (2, 0), (2, 2)):
        same = classes[:, y : y + height, x : x + width] == label
        numbers = tf.where(same, tf.minimum(numbers, padded[:, y : y + height, x : x + width]), numbers)
    return numbers


def region_offsets(label: tf.Tensor) -> tf.Tensor:
    """Place of each pixel within its region, for CLADE-ICPE: int32 [B,H,W] -> float32 [B,H,W,2].

    Vertical and horizontal distance to the centroid of the pixel's 8-connected region, each divided by
    (its largest absolute value in the region + 1e-5); 0 in regions of class 0.
    """
    index = tf.reshape(connected_regions(label), [-1])  # numbers of pixels: below their count
    count, size = tf.size(label), tf.shape(label)
    middle = size[1:] // 2  # places are about the picture's centre: smaller numbers
    rows, columns = tf.meshgrid(tf.range(size[1]) - middle[0], tf.range(size[2]) - middle[1], indexing="ij")
    place = tf.tile(tf.stack([rows, columns], -1)[None], [size[0], 1, 1, 1])  # [B,H,W,2]
    place = tf.reshape(place, [-1, 2])
    pixels = tf.math.unsorted_segment_sum(tf.ones_like(index), index, count)  # [B*H*W], 0 without region
    mean = _sums(place, index, count, label) / tf.cast(tf.maximum(pixels, 1), tf.float32)[:, None]
    offset = tf.cast(place, tf.float32) - tf.gather(mean, index)
    largest = tf.math.unsorted_segment_max(tf.abs(offset), index, count) + 1e-5
    offset = tf.reshape(offset / tf.gather(largest, index), [*tf.unstack(size), 2])
    return tf.where((label != 0)[..., None], offset, 0.0)


def _sums(place, index, count, label):
    """float32 [count,2]: the sums of places int32 [n,2] by index, of a map like label [B,H,W].

    Summed as integers: float32 is not exact beyond 2^24. int32 is up to 2580x2580; in longer maps multiples of 128 and
    what is left of them are summed by themselves.
    """

    def summed(values):
        return tf.cast(tf.math.unsorted_segment_sum(values, index, count), tf.float32)

    sides = tf.TensorShape(label.shape)[1:]  # of an array, too
    if sides.is_fully_defined() and sides[0] * sides[1] * max(sides) < _SUMMABLE:
        return summed(place)
    sides = tf.cast(tf.shape(label)[1:], tf.float32)
    part = tf.where(tf.reduce_prod(sides) * tf.reduce_max(sides) < _SUMMABLE, 1, 128)
    return tf.cast(part, tf.float32) * summed(place // part) + summed(place % part)
