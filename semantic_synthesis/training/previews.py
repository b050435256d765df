"""The sample pictures of a training: the same layouts at every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from semantic_synthesis.pictures import to_uint8
from semantic_synthesis.styles import encoded_names

if TYPE_CHECKING:
    from semantic_synthesis.data.pipeline import Dataset
    from semantic_synthesis.methods.method import Method

_SHOWN = 4


class Previews:
    """The first samples of a dataset, unaugmented; call it for pictures by a method's current weights.

    diagrams: {"KIND/COLUMN": uint8 [B,H,W,3]}, the method's pictures of what happened inside in the last call.
    """

    def __init__(self, method: Method, dataset: Dataset) -> None:
        self._method = method
        self._batch = next(iter(dataset.batches(min(_SHOWN, dataset.size), training=False)))
        self._label = dataset.table.colorize(self._batch["label"].numpy())
        self.diagrams: dict[str, np.ndarray] = {}

    def __call__(self) -> dict[str, np.ndarray]:
        """{column: uint8 [B,H,W,3]}: label, pictures by the current weights, photo."""
        batch = self._batch
        layout = {key: batch[key] for key in ("label", "instance") if key in batch}
        fakes, diagrams = self._render(layout, batch["image"], batch["row"])
        self.diagrams = {name: picture.numpy() for name, picture in diagrams.items()}
        fakes = {name: to_uint8(fake) for name, fake in fakes.items()}
        return {"input_label": self._label, **fakes, "real_image": to_uint8(batch["image"])}

    @tf.function(autograph=False)
    def _render(self, layout, image, row):
        """Pictures in the photos' styles and, if these decide anything, in random ones: those that new layouts get."""
        plan, method = self._method.plan(layout), self._method
        found = {"synthesized_image": method.style_of(layout, row, image)}
        if encoded_names(method.style_shapes):
            found["random_style"] = method.sample_style(layout, row)
        fakes = {name: method.synthesize_planned(plan, style) for name, style in found.items()}
        return fakes, method.diagrams(plan, found["synthesized_image"])
