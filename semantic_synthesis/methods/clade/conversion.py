"""Rules for CLADE and CLADE-ICPE (tzt101/CLADE): a SPADE with other normalisers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from semantic_synthesis.methods.spade import conversion as spade
from semantic_synthesis.originals.evidence import Evidence, shape_of
from semantic_synthesis.originals.rules import Ignored, Rule

ROLES = {**spade.ROLES, "source": ("generator", r"head_0\.norm_0\.class_specified_affine\.weight")}
TRAINING = spade.TRAINING
ORIGIN = "tzt101/CLADE"
FLAGS = {"norm_mode": "--method", "add_dist": "--class_positions"}

settle = spade.settle


def rules(role: str, config: Any) -> list[Rule | Ignored]:
    """The rules for one file of a run with these options."""
    if role != "source":
        return spade.rules(role, config)
    norm, ours = spade.NORM
    affine = rf"{norm}\.class_specified_affine"
    found = [
        *spade.entry(config),
        *spade.backbone(),
        Rule(rf"{affine}\.weight", rf"{ours}/scale"),
        Rule(rf"{affine}\.bias", rf"{ours}/shift"),
    ]
    sources = {rf"{norm}\.inst_conv": "edge"}
    sources |= {
        rf"{affine}\.dist_conv_{w}": f"{part}_position" for w, part in (("w", "scale"), ("b", "shift"))
    }
    for theirs, name in sources.items():  # 1x1 convolutions to one channel
        found.append(Rule(rf"{theirs}\.weight", rf"{ours}/{name}_kernel", np.ravel))
        found.append(Rule(rf"{theirs}\.bias", rf"{ours}/{name}_bias"))
    return found


def infer(files: Mapping[str, tuple[str, dict[str, np.ndarray]]], asked: Callable[[str], Any]) -> Evidence:
    """What the tensor shapes say, see methods/spade/conversion.py."""
    evidence = Evidence()
    path, tensors = files["source"]
    norm = "head_0.norm_0"
    classes = shape_of(tensors, f"{norm}.class_specified_affine.weight", path)[0]
    edges = f"{norm}.inst_conv.weight" in tensors
    evidence.add("semantic_channels", classes + edges, path, "classes (and edges) of norm_0")
    evidence.add("no_instance", not edges, path, f"as there is {'an' if edges else 'no'} inst_conv")
    positions = f"{norm}.class_specified_affine.dist_conv_w.weight" in tensors
    how = f"as there is {'a' if positions else 'no'} dist_conv_w"
    evidence.add("class_positions", positions, path, how)
    spade.infer_backbone(evidence, path, tensors, asked)
    spade.infer_entry(evidence, path, tensors)
    spade.infer_others(evidence, files, asked)
    return evidence
