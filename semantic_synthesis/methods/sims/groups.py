"""What SIMS has to know about classes beyond their names: which lie behind, which are thin, which throw shadows.

A dataset says it in its description (datasets/<name>.json) as the option class_groups, one text of entries
"group: class, class; group: ...". Groups:
  order     the classes the networks know, from back to front; all others count as unlabelled;
  thin      poles and the like: they do not cut what lies behind them into pieces;
  planar    what those of the group front always cover (order labels);
  front     what stands on planar things; default: the objects;
  object    around these the canvas is left to the network, so that it can draw contact shadows;
  context   what holes of the layout are filled with again;
  ground    what shadows fall on; caster: what throws them; trimmed: whose rims are cut off (trees before sky).
Where no order is given, all classes but the unknown one are known, and the memory derives order and objects from its
segments: larger ones lie behind, classes of small segments are objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from semantic_synthesis.data.tables import ClassTable

GROUPS = ("order", "thin", "planar", "front", "object", "context", "ground", "caster", "trimmed")
SMALL = 0.05  # mean share of the picture below which the segments of a class count as objects


def parse_groups(text: str, names: list[str]) -> dict[str, list[int]]:
    """{group: list of class indices} of a text as above; ValueError that names what is unknown."""
    found = {}
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        group, colon, classes = entry.partition(":")
        if not colon or group.strip() not in GROUPS:
            raise ValueError(
                f"--class_groups: {entry!r}; expected 'group: class, class', groups {', '.join(GROUPS)}"
            )
        members = [name.strip() for name in classes.split(",") if name.strip()]
        wrong = [name for name in members if name not in names]
        if wrong:
            raise ValueError(f"--class_groups: {group.strip()} has no class {wrong[0]!r} of the dataset")
        found[group.strip()] = [names.index(name) for name in members]
    return found


@dataclass(frozen=True, eq=False)
class ClassGroups:
    """The K known classes in the order of the class table, and their groups.

    names: of the known classes; known: int32 [C], class index -> known class, K where it counts as unlabelled;
    colors: uint8 [K+1,3], black last; rank: int32 [K+1], position from back to front; members: {group: bool [K+1]},
    groups as above; derived: whether rank and objects came from data.
    """

    names: list
    known: np.ndarray
    colors: np.ndarray
    rank: np.ndarray
    members: dict
    derived: bool

    @property
    def count(self) -> int:
        """K."""
        return len(self.rank) - 1

    @classmethod
    def of(cls, table: ClassTable, text: str, shares: list[float] | None = None) -> ClassGroups:
        """The groups of a ClassTable.

        text: as above; shares: float [K], mean share of the picture of the segments of each class in a memory (NaN
        without any), from which the order follows if the text has none.
        """
        groups = parse_groups(text, list(table.names))
        everything = [i for i in range(table.num_classes) if i != table.unknown]
        chosen = sorted(set(groups.get("order", everything)))
        count = len(chosen)
        known = np.full(table.num_classes, count, np.int32)
        known[chosen] = np.arange(count)
        members = {group: np.zeros(count + 1, bool) for group in GROUPS}
        for group, classes in groups.items():
            members[group][known[classes]] = True
            members[group][count] = False
        derived = "order" not in groups
        order = known[groups["order"]] if not derived else _order_of(shares, count)
        if derived and shares is not None and "object" not in groups:
            members["object"][:count] = np.nan_to_num(shares, nan=1.0) < SMALL
        if derived and "context" not in groups:
            members["context"][:count] = ~members["object"][:count]
        if "front" not in groups:
            members["front"] = members["object"]
        rank = np.full(count + 1, count, np.int32)
        rank[order] = np.arange(count)
        colors = np.concatenate([table.colors[chosen], np.zeros((1, 3), np.uint8)])  # [K+1,3]
        return cls([table.names[i] for i in chosen], known, colors, rank, members, derived)


def _order_of(shares, count):
    """Known classes from back to front: the largest segments first, classes without any before all."""
    if shares is None:
        return np.arange(count)
    return np.argsort(-np.nan_to_num(np.asarray(shares, float), nan=np.inf), kind="stable")


def coarse_order(behind: Any) -> tuple[np.ndarray, np.ndarray]:
    """Class order from counts, back to front: int [K] and the share of times each class lies behind, in that order.

    behind [a, b]: how often a was seen behind b. Classes without counts (share NaN) come first.
    """
    behind = np.asarray(behind, np.float64)
    with np.errstate(invalid="ignore"):
        share = behind.sum(1) / (behind.sum(1) + behind.sum(0))
    order = np.argsort(-np.where(np.isnan(share), np.inf, share), kind="stable")
    return order, share[order]
