"""Rules for INADE (tzt101/INADE): generator, instance encoder and discriminator files.

The released encoder is called best_net_IE.pth, though the authors' code looks for best_net_E.pth: either
name will do, since files are told apart by their tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from semantic_synthesis.methods.spade import conversion as spade
from semantic_synthesis.originals.evidence import Evidence, shape_of, tensor_names
from semantic_synthesis.originals.rules import Ignored, Rule, convolution, linear

if TYPE_CHECKING:
    import numpy as np


ROLES = {
    "source": ("generator", r"head_0\.norm_0\.fc_noise\.weight"),
    "encoder": ("instance encoder", r"scale_conv_mu\.weight"),
    "discriminator": spade.ROLES["discriminator"],
}
TRAINING = ("discriminator",)
ORIGIN = "tzt101/INADE"
FLAGS = {"norm_mode": "--method", "noise_nc": "--noise_dim"}

_HEADS = {
    "scale_conv_mu": "scale_mean",
    "scale_conv_var": "scale_log_variance",
    "bias_conv_mu": "shift_mean",
    "bias_conv_var": "shift_log_variance",
}

settle = spade.settle


def rules(role: str, config: Any) -> list[Rule | Ignored]:
    """The rules for one file of a run with these options."""
    return {"source": _generator, "encoder": _encoder, "discriminator": spade.discriminator}[role](config)


def _generator(config):
    norm, ours = spade.NORM
    return [
        *spade.dense_entry(config),
        *spade.backbone(),
        Rule(rf"{norm}\.weight", rf"{ours}/weight", _scale_and_shift),
        Rule(rf"{norm}\.bias", rf"{ours}/bias", _scale_and_shift),
        Rule(rf"{norm}\.fc_noise\.weight", rf"{ours}/projection/kernel", linear),
        Rule(rf"{norm}\.fc_noise\.bias", rf"{ours}/projection/bias"),
    ]


def _scale_and_shift(array):
    """(C,F,2) -> (C,2,F)."""
    return array.transpose(0, 2, 1)


def _encoder(_config):
    names = {r"(layer\d|middle|up\d)": r"encoder/\1"}
    names |= {rf"({theirs})": f"encoder/{ours}" for theirs, ours in _HEADS.items()}
    return [
        rule
        for theirs, ours in names.items()
        for rule in (
            Rule(rf"{theirs}\.weight", rf"{ours}/kernel", convolution),
            Rule(rf"{theirs}\.bias", rf"{ours}/bias"),
        )
    ]


def infer(files: Mapping[str, tuple[str, dict[str, np.ndarray]]], asked: Callable[[str], Any]) -> Evidence:
    """What the tensor shapes say, see methods/spade/conversion.py."""
    evidence = Evidence()
    path, tensors = files["source"]
    if tensor_names(tensors, r".*\.sketch_conv\..*"):
        raise ValueError(f"{path}: a model with sketch input (add_sketch), which is not supported")
    classes = shape_of(tensors, "head_0.norm_0.weight", path)[0]
    evidence.add("semantic_channels", classes + 1, path, f"{classes} rows of norm_0.weight, and edges")
    evidence.add("no_instance", False, path, "as INADE always sees instance edges")
    noise = shape_of(tensors, "head_0.norm_0.fc_noise.weight", path)
    evidence.add("noise_dim", noise[1], path, "of fc_noise")
    spade.infer_backbone(evidence, path, tensors, asked)
    spade.infer_dense_entry(evidence, path, tensors)
    has_encoder = "encoder" in files
    how = "an encoder being given" if has_encoder else "no encoder being given"
    evidence.add("use_vae", has_encoder, path, how)
    if has_encoder:
        path, tensors = files["encoder"]
        evidence.add("num_encoder_filters", shape_of(tensors, "layer1.bias", path)[0], path, "of layer1")
        evidence.add("noise_dim", shape_of(tensors, "scale_conv_mu.bias", path)[0], path, "of scale_conv_mu")
    if "discriminator" in files:
        spade.infer_discriminator(evidence, *files["discriminator"], asked)
    return evidence
