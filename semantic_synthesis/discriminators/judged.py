"""What discriminators return."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class Judged(NamedTuple):
    """A discriminator's view of a batch of pictures.

    features: groups (one per scale or depth) of feature maps [B,h,w,f], for feature matching; judgements: list of
    maps [B,h,w,1], larger for what looks real.
    """

    features: list
    judgements: list

    def split(self, count: int) -> list[Judged]:
        """`count` Judged of equal parts of the batch."""
        parts = tf.nest.map_structure(lambda x: tf.split(x, count, 0), (self.features, self.judgements))
        return [
            Judged([[f[i] for f in group] for group in parts[0]], [j[i] for j in parts[1]])
            for i in range(count)
        ]
