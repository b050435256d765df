"""How much one class, or one region, varies by itself, and how much everything else then does.

The style of one part alone is drawn anew several times. What differs within the part should be large, what differs
elsewhere small. Class-specific and other-classes diversity, mCSD and mOCD, are of Zhu et al., Semantically Multi-modal
Image Synthesis, CVPR 2020 (GroupDNet); their code of it is not published, so figures compare with others of this
command alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from semantic_synthesis.restyling import mix_style, regions_of_layout, style_masks
from semantic_synthesis.styles import CLASS, REGION, Encoded, needs_regions

SMALLEST = 64  # pixels of a part that counts; the networks that compare pictures see no less


class Part(NamedTuple):
    """A part of a layout: its class, the rows of the style that are its own ({tensor: bool mask}), its pixels."""

    class_id: int
    masks: dict[str, np.ndarray]
    area: np.ndarray


class PartDiversity:
    """Diversity of parts, each varied alone, and of what is around them.

    network: has `field(pictures)`, the mean difference of all pairs at every pixel; kind: "class" or "region".
    Averaged over the layouts first, within each class, then over the classes. A run with one style for the whole
    picture has no other to vary, and its two figures are nearly equal.
    """

    def __init__(self, network: Any, kind: str) -> None:
        self.network, self.kind = network, kind
        self.found: dict[int, list[tuple[float, float]]] = {}
        self.layouts, self.samples = 0, 0

    def check(self, run: Any) -> None:
        """ValueError if the run's styles have no such parts."""
        if self.kind == "region" and not needs_regions(run.style_specs):
            raise ValueError(
                f"--metrics region_diversity: this run ({run.config.method}) has no style per region; expected a run "
                "that has, or class_diversity"
            )

    def add_layout(self, run: Any, layout: dict[str, np.ndarray], seeds: np.ndarray) -> None:
        """Makes and compares the pictures of one layout: seeds [S+1], the first for what stays, S for what varies."""
        self.layouts, self.samples = self.layouts + 1, len(seeds) - 1
        stays = run.sample_style([int(seeds[0])] * self.samples, layout)
        new = run.sample_style(seeds[1:], layout)
        for part in (class_parts if self.kind == "class" else region_parts)(run, layout):
            samples = run.synthesize(layout, mix_style(stays, Encoded(new), part.masks))
            self.add_part(part.class_id, self.network.field(samples), part.area)

    def add_part(self, class_id: int, field: np.ndarray, area: np.ndarray) -> None:
        """Adds the differences float [H,W] of pictures in which the part bool [H,W] varied."""
        outside = float(field[~area].mean()) if not area.all() else np.nan
        self.found.setdefault(class_id, []).append((float(field[area].mean()), outside))

    def figures(self) -> list[dict[str, Any]]:
        """The figures so far."""
        if not self.found:
            return []
        own, others = np.nanmean([np.nanmean(pairs, 0) for pairs in self.found.values()], 0)
        names = (
            ("class diversity (mCSD)", "diversity of other classes (mOCD)")
            if self.kind == "class"
            else ("region diversity", "diversity of other regions")
        )
        return [
            {
                "metric": name,
                "value": float(value),
                "images": self.layouts,
                "parts": sum(map(len, self.found.values())),
                "samples per part": self.samples,
                "network": self.network.name,
                "network resize": self.network.resize,
                "network sha256": self.network.sha256,
            }
            for name, value in zip(names, (own, others), strict=True)
        ]


def class_parts(run: Any, layout: dict[str, np.ndarray]) -> Iterator[Part]:
    """The classes of one layout; each is varied by the whole style where a run has but one."""
    label = layout["label"][0]
    local = any(spec.is_local for spec in run.style_specs.values())
    regions = regions_of_layout(run, layout) if needs_regions(run.style_specs) else []
    for class_id in np.unique(label).tolist():
        rows = (
            {CLASS: [class_id], REGION: [r.row for r in regions if r.class_id == class_id]} if local else {}
        )
        area = label == class_id
        if area.sum() >= SMALLEST and (rows.get(REGION) or not regions):
            yield Part(class_id, style_masks(run, layout, rows), area)


def region_parts(run: Any, layout: dict[str, np.ndarray]) -> Iterator[Part]:
    """The regions of one layout: its objects, and each class without objects."""
    for region in regions_of_layout(run, layout):
        area = layout["instance"][0] == region.row
        if area.sum() >= SMALLEST:
            yield Part(region.class_id, style_masks(run, layout, {REGION: [region.row]}), area)
