"""Metrics as accumulators: pictures go in batch by batch, figures with their protocol come out.

Each has `figures() -> [{"metric", "value", ... protocol}]`. FeatureMetric and SegmentationMetric take
`add_real` and `add_fake`(pictures uint8 [B,H,W,3], number of the first, labels int32 [B,H,W] or None);
DiversityMetric takes `add_samples`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import logging

from semantic_synthesis.evaluation import statistics
from semantic_synthesis.evaluation.segmentation import Confusion, score_batch

if TYPE_CHECKING:
    from semantic_synthesis.data.tables import ClassTable


class FeatureMetric:
    """FID and, with `kernel`, KID in the features of one network.

    network: callable uint8 [N,H,W,3] -> float32 [N,F] with name, sha256, resize, dims; name: the prefix of
    the figures; kernel_first: whether KID comes before FID; real, fake: a statistics.Gaussian read from files
    instead of pictures.
    """

    def __init__(
        self,
        network: Any,
        *,
        name: str = "fid",
        frechet: bool = True,
        kernel: bool = False,
        kernel_first: bool = False,
        real: statistics.Gaussian | None = None,
        fake: statistics.Gaussian | None = None,
        seed: int = 0,
    ) -> None:
        self.network, self.name, self.frechet, self.kernel, self.seed = network, name, frechet, kernel, seed
        self.kernel_first = kernel_first
        self.given = {"real": real, "fake": fake}
        self.moments, self.rows = {}, {}
        for side in self.given:
            self.clear(side)
        if kernel and (real or fake):
            raise ValueError("kid needs pictures on both sides; statistics files serve --metrics fid alone")

    def add_real(self, pictures: np.ndarray, first: int, labels: np.ndarray | None = None) -> None:
        """Adds real pictures."""
        self._add("real", pictures, first)

    def add_fake(self, pictures: np.ndarray, first: int, labels: np.ndarray | None = None) -> None:
        """Adds synthesised pictures."""
        self._add("fake", pictures, first)

    def _add(self, side, pictures, first):
        if self.given[side] is not None:
            return
        features = self.network(pictures)
        self.moments[side].update(features)
        if self.kernel:
            self.rows[side].update(features, np.arange(first, first + len(features)))

    def clear(self, side: str) -> None:
        """Forgets the pictures of "real" or "fake"."""
        self.moments[side] = statistics.Moments(self.network.dims)
        self.rows[side] = statistics.Reservoir(self.network.dims, seed=self.seed)

    def gaussian(self, side: str) -> statistics.Gaussian:
        """The statistics.Gaussian of "real" or "fake"."""
        return self.given[side] or statistics.Gaussian.of(self.moments[side])

    def figures(self) -> list[dict[str, Any]]:
        """The figures so far."""
        if any(self.given[side] is None and not self.moments[side].count for side in self.given):
            return []  # one side alone, to write its statistics
        real, fake = self.gaussian("real"), self.gaussian("fake")
        protocol = {
            "images": fake.count or "not told by the file",
            "real images": real.count or "not told by the file",
            "network": self.network.name,
            "network resize": self.network.resize,
            "network sha256": self.network.sha256,
        }
        few = min(s.count for s in (real, fake) if s.count) if real.count or fake.count else None
        if few and few <= self.network.dims:
            logging.warning(
                "%s: %d images for %d dimensions; biased upwards, compare it only at equal numbers",
                self.name,
                few,
                self.network.dims,
            )
        found = []
        if self.frechet:
            value = statistics.frechet_distance(real, fake)
            found.append({"metric": self.name, "value": value, **protocol})
        if self.kernel:
            first, second = self.rows["real"].sample(), self.rows["fake"].sample()
            value, deviation = statistics.kernel_distance(first, second, seed=self.seed)
            size = min(statistics.KID_SUBSET_SIZE, len(first), len(second))
            subsets = f"{statistics.KID_SUBSETS} of {size} from {len(first)} and {len(second)} kept images"
            row = {"metric": "kid", "value": value, "deviation": deviation, "subsets": subsets}
            found.append({**row, **protocol})
        return found[::-1] if self.kernel_first else found


class SegmentationMetric:
    """mIoU and pixel accuracy of synthesised pictures, and of real ones where they come with layouts.

    counted: names of the classes whose pixels count; empty: all but the unknown one.
    """

    def __init__(self, segmenter: Any, table: ClassTable, counted: Sequence[str] = ()) -> None:
        self.segmenter, self.table = segmenter, table
        strange = [name for name in counted if name not in table.names]
        if strange:
            raise ValueError(
                f"--miou_classes {','.join(counted)}: no class is called {strange[0]!r}; expected some of "
                f"{', '.join(table.names)}"
            )
        self.ignore = [
            index
            for index, name in enumerate(table.names)
            if index == table.unknown or (counted and name not in counted)
        ]
        self.confusion, self.images = {}, {}
        for side in ("real", "fake"):
            self.clear(side)

    def clear(self, side: str) -> None:
        """Forgets the pictures of "real" or "fake"."""
        self.confusion[side], self.images[side] = Confusion(self.table.num_classes, self.ignore), 0

    def add_real(self, pictures: np.ndarray, first: int, labels: np.ndarray | None = None) -> None:
        """Adds real pictures."""
        self._add("real", pictures, labels)

    def add_fake(self, pictures: np.ndarray, first: int, labels: np.ndarray | None = None) -> None:
        """Adds synthesised pictures."""
        self._add("fake", pictures, labels)

    def _add(self, side, pictures, labels):
        if labels is not None:
            score_batch(self.confusion[side], self.segmenter, pictures, labels)
            self.images[side] += len(pictures)

    def figures(self) -> list[dict[str, Any]]:
        """The figures so far."""
        protocol = {
            "network": self.segmenter.name,
            "network resize": self.segmenter.resize,
            "network sha256": self.segmenter.sha256,
        }
        found = []
        for side, suffix in (("fake", ""), ("real", " of real")):
            if self.images[side]:
                counts = self.confusion[side]
                known = {"images": self.images[side], **protocol}
                classes = {
                    name: round(float(value), 4)
                    for name, value in zip(self.table.names, counts.class_iou, strict=True)
                    if np.isfinite(value)
                }
                row = {"metric": f"miou{suffix}", "value": counts.mean_iou, **known}
                found.append({**row, "classes": classes})
                found.append({"metric": f"pixel accuracy{suffix}", "value": counts.pixel_accuracy, **known})
        if self.images["real"] and self.images["fake"]:
            ratio = self.confusion["fake"].mean_iou / max(self.confusion["real"].mean_iou, 1e-12)
            row = {"metric": "miou / miou of real", "value": ratio, "images": self.images["fake"]}
            found.append({**row, **protocol})
        return found


class DiversityMetric:
    """Mean pairwise LPIPS between the samples of one layout, averaged over the layouts."""

    def __init__(self, network: Any) -> None:
        self.network, self.values, self.samples = network, [], set()

    def add_samples(self, samples: np.ndarray) -> None:
        """Adds the samples uint8 [S,H,W,3] of one layout."""
        self.values.append(self.network.diversity(samples))
        self.samples.add(len(samples))

    def figures(self) -> list[dict[str, Any]]:
        """The figures so far."""
        if not self.values:
            return []
        return [
            {
                "metric": "lpips diversity",
                "value": float(np.mean(self.values)),
                "images": len(self.values),
                "samples per layout": "/".join(map(str, sorted(self.samples))),
                "network": self.network.name,
                "network resize": self.network.resize,
                "network sha256": self.network.sha256,
            }
        ]
