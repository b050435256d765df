"""Rules for clVAE (endo-yuki-t/DiversifyingSMIS): generator, encoder and discriminator files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from semantic_synthesis.methods.clvae.encoder import LEVELS
from semantic_synthesis.methods.spade import conversion as spade
from semantic_synthesis.originals.evidence import Evidence, shape_of
from semantic_synthesis.originals.rules import Ignored, Rule, linear

if TYPE_CHECKING:
    import numpy as np


ROLES = {
    "source": ("generator with class latents (trained with --use_vae)", r"embedding\.weight"),
    "encoder": ("encoder of class latents", r"fc_mu1\.weight"),
    "discriminator": spade.ROLES["discriminator"],
}
TRAINING = ("discriminator",)
GREW_FROM = ("spade",)
ORIGIN = "endo-yuki-t/DiversifyingSMIS"
FLAGS = {"z_dim_local": "--latent_dim"}

settle = spade.settle


def rules(role: str, config: Any) -> list[Rule | Ignored]:
    """The rules for one file of a run with these options."""
    return {"source": _generator, "encoder": _encoder, "discriminator": spade.discriminator}[role](config)


def _generator(config):
    return [
        *spade.dense_entry(config),
        *spade.backbone(),
        *spade.modulation(),
        Rule(r"embedding\.weight", "embedding/weight"),
    ]


def _encoder(config):
    found = spade.encoder(config)
    for level in range(LEVELS):
        for theirs, ours in (("fc_mu", "mean"), ("fc_var", "log_variance")):
            source, target = rf"{theirs}{level + 1}", f"encoder/{ours}_{level}"
            found.append(Rule(rf"{source}\.weight", f"{target}/kernel", linear))
            found.append(Rule(rf"{source}\.bias", f"{target}/bias"))
    return found


def infer(files: Mapping[str, tuple[str, dict[str, np.ndarray]]], asked: Callable[[str], Any]) -> Evidence:
    """What the tensor shapes say, see methods/spade/conversion.py."""
    evidence = Evidence()
    path, tensors = files["source"]
    classes, latent = shape_of(tensors, "embedding.weight", path)
    evidence.add("semantic_channels", classes, path, "rows of embedding")
    seen = shape_of(tensors, "up_3.norm_0.mlp_shared.0.weight", path)
    evidence.add("semantic_channels", seen[1], path, "of up_3's mlp_shared")
    evidence.add("no_instance", True, path, "as its classes are all that it sees")
    evidence.add("latent_dim", latent, path, "of embedding")
    evidence.add("num_hidden_filters", seen[0], path, "of mlp_shared")
    spade.infer_backbone(evidence, path, tensors, asked, kernel_size=seen[-1])
    spade.infer_dense_entry(evidence, path, tensors)
    has_encoder = "encoder" in files
    how = "an encoder being given" if has_encoder else "no encoder being given"
    evidence.add("use_vae", has_encoder, path, how)
    if has_encoder:
        path, tensors = files["encoder"]
        evidence.add("latent_dim", shape_of(tensors, "fc_mu1.bias", path)[0], path, "of fc_mu1")
    spade.infer_others(evidence, files, asked)
    return evidence
