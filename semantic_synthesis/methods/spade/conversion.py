"""Rules for NVlabs/SPADE: names, axes and options of generator, encoder and discriminator files.

`ROLES` says which file is what, `infer` reads the options off the tensor shapes, `rules` lists
where each tensor goes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from absl import logging

from semantic_synthesis.methods.spade.original_flags import FLAGS, ORIGIN
from semantic_synthesis.methods.spade.sizes import settle_depth
from semantic_synthesis.networks import DOUBLINGS
from semantic_synthesis.normalization import parse_norm_G
from semantic_synthesis.originals.evidence import Evidence, shape_of, tensor_names
from semantic_synthesis.originals.rules import (
    Ignored,
    Rule,
    convolution,
    spectral_convolution,
)

__all__ = ["FLAGS", "ORIGIN", "ROLES", "TRAINING", "infer", "rules", "settle"]

if TYPE_CHECKING:
    import numpy as np

# Which flag names which file, and a tensor that only this kind of file has.
ROLES = {
    "source": ("generator", r"head_0\.norm_0\.mlp_gamma\.weight"),
    "encoder": ("encoder", r"fc_mu\.weight"),
    "discriminator": ("discriminator", r"discriminator_0\.model0\.0\.weight"),
}
TRAINING = ("discriminator",)

BLOCK = r"(head_0|G_middle_[01]|up_[0-4])"
# A normaliser in the original, and in ours.
NORM = rf"{BLOCK}\.(norm_[01s])", r"generator/\1/\2"
_COUNTER = Ignored(r".*\.num_batches_tracked", "a count of batches; the momentum of the statistics is fixed")


def rules(role: str, config: Any) -> list[Rule | Ignored]:
    """The rules for one file of a run with these options."""
    return {"source": _generator, "encoder": encoder, "discriminator": discriminator}[role](config)


def _generator(config):
    return [*entry(config), *backbone(), *modulation()]


def modulation() -> list[Rule | Ignored]:
    """The label convolutions of the normalisers."""
    norm, ours = NORM
    return [
        Rule(rf"{norm}\.mlp_shared\.0\.weight", rf"{ours}/modulation/shared_kernel", convolution),
        Rule(rf"{norm}\.mlp_shared\.0\.bias", rf"{ours}/modulation/shared_bias"),
        Rule(rf"{norm}\.mlp_gamma\.weight", rf"{ours}/modulation/kernel", convolution, (0, 2)),
        Rule(rf"{norm}\.mlp_beta\.weight", rf"{ours}/modulation/kernel", convolution, (1, 2)),
        Rule(rf"{norm}\.mlp_gamma\.bias", rf"{ours}/modulation/bias", part=(0, 2)),
        Rule(rf"{norm}\.mlp_beta\.bias", rf"{ours}/modulation/bias", part=(1, 2)),
    ]


def backbone() -> list[Rule | Ignored]:
    """The generator's convolutions and statistics, which all methods that grew from SPADE share."""
    norm, ours = NORM
    return [
        *spectral_convolution(rf"{BLOCK}\.(conv_[01])", ours, 3),
        *spectral_convolution(rf"{BLOCK}\.(conv_s)", ours, 1),
        Rule(rf"{norm}\.param_free_norm\.running_mean", rf"{ours}/statistics/moving_mean"),
        Rule(rf"{norm}\.param_free_norm\.running_var", rf"{ours}/statistics/moving_variance"),
        Rule(r"conv_img\.weight", "generator/conv_img/kernel", convolution),
        Rule(r"conv_img\.bias", "generator/conv_img/bias"),
        _COUNTER,
    ]


def entry(config: Any) -> list[Rule | Ignored]:
    """`fc`: a convolution of the label map, or with use_vae a matrix."""
    if config.use_vae:
        return dense_entry(config)
    return [Rule(r"fc\.weight", "fc/kernel", convolution), Rule(r"fc\.bias", "fc/bias")]


def dense_entry(config: Any) -> list[Rule | Ignored]:
    """`fc` as a matrix, whose rows are (16F,h,w)."""
    stride = 2 ** DOUBLINGS[config.num_upsampling_layers]
    cells = (config.crop_height // stride, config.crop_size // stride)

    def weight(array):
        array = array.reshape(-1, *cells, array.shape[-1]).transpose(3, 1, 2, 0)  # [Z,h,w,16F]
        return array.reshape(len(array), -1)  # [Z,h*w*16F]

    def bias(array):
        return array.reshape(-1, *cells).transpose(1, 2, 0).reshape(-1)  # [h*w*16F]

    return [Rule(r"fc\.weight", "fc/kernel", weight), Rule(r"fc\.bias", "fc/bias", bias)]


def encoder(config: Any) -> list[Rule | Ignored]:
    """The rules for the image encoder."""

    def head(array):
        """(Z, F*4*4), rows flattened channel-major -> (4*4*F, Z)."""
        array = array.reshape(len(array), -1, 4, 4).transpose(2, 3, 1, 0)  # [4,4,F,Z]
        return array.reshape(-1, array.shape[-1])

    norm = config.norm_E.removeprefix("spectral") not in ("", "none")
    return [
        *normed(r"(layer\d)", r"encoder/\1", 3, norm),
        Rule(r"fc_mu\.weight", "encoder/mean/kernel", head),
        Rule(r"fc_mu\.bias", "encoder/mean/bias"),
        Rule(r"fc_var\.weight", "encoder/log_variance/kernel", head),
        Rule(r"fc_var\.bias", "encoder/log_variance/bias"),
        _COUNTER,
    ]


def discriminator(config: Any) -> list[Rule | Ignored]:
    """The rules for the discriminator."""
    last = config.num_discriminator_layers
    middle = "|".join(f"model{i}" for i in range(1, last))
    scale, ours = r"(discriminator_\d+)", r"discriminator/\1/\2"
    norm = config.norm_D.removeprefix("spectral") not in ("", "none")
    return [
        Rule(rf"{scale}\.(model0|model{last})\.0\.weight", rf"{ours}/kernel", convolution),
        Rule(rf"{scale}\.(model0|model{last})\.0\.bias", rf"{ours}/bias"),
        *normed(rf"{scale}\.({middle})\.0", ours, 4, norm),
        _COUNTER,
    ]


def normed(source: str, target: str, size: int, norm: bool) -> list[Rule | Ignored]:
    """A spectral convolution, in a sequence (hence the indices) with its norm if it has one."""
    if not norm:
        return spectral_convolution(source, f"{target}/conv", size)
    names = {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    }
    return [
        *spectral_convolution(rf"{source}\.0", f"{target}/conv", size),
        *[Rule(rf"{source}\.1\.{theirs}", f"{target}/norm/{ours}") for theirs, ours in names.items()],
    ]


def infer(files: Mapping[str, tuple[str, dict[str, np.ndarray]]], asked: Callable[[str], Any]) -> Evidence:
    """What the tensor shapes say: an Evidence with options and the number of semantic channels.

    files: {role: (path, tensors)}; asked(option) -> what flags or dataset want, None where open.
    """
    evidence = Evidence()
    _infer_generator(evidence, *files["source"], asked)
    infer_others(evidence, files, asked)
    return evidence


def infer_others(
    evidence: Evidence, files: Mapping[str, tuple[str, dict[str, np.ndarray]]], asked: Callable[[str], Any]
) -> None:
    """Options of image encoder and discriminator, where there are files of them."""
    if "encoder" in files:
        infer_encoder(evidence, *files["encoder"], asked)
    if "discriminator" in files:
        infer_discriminator(evidence, *files["discriminator"], asked)


def _infer_generator(evidence, path, tensors, asked):
    shared = shape_of(tensors, "head_0.norm_0.mlp_shared.0.weight", path)
    evidence.add("num_hidden_filters", shared[0], path, "of mlp_shared")
    evidence.add("semantic_channels", shared[1], path, "of mlp_shared")
    infer_backbone(evidence, path, tensors, asked, kernel_size=shared[-1])
    infer_entry(evidence, path, tensors)


def infer_entry(
    evidence: Evidence, path: str, tensors: Mapping[str, np.ndarray], width: int | None = None
) -> None:
    """use_vae by the kind of `fc`, which is a matrix only then; width: of the first features, else head_0's."""
    use_vae = len(shape_of(tensors, "fc.weight", path)) == 2
    evidence.add("use_vae", use_vae, path, "fc being a matrix" if use_vae else "fc being a convolution")
    if use_vae:
        infer_dense_entry(evidence, path, tensors, width)


def infer_dense_entry(
    evidence: Evidence, path: str, tensors: Mapping[str, np.ndarray], width: int | None = None
) -> None:
    """z_dim and the cells of the first features."""
    size = shape_of(tensors, "fc.weight", path)
    evidence.add("z_dim", size[1], path, "of fc")
    width = width or shape_of(tensors, "head_0.conv_0.bias", path)[0]
    evidence.add("cells", size[0] // width, path, "of fc")


def infer_backbone(
    evidence: Evidence,
    path: str,
    tensors: Mapping[str, np.ndarray],
    asked: Callable[[str], Any],
    kernel_size: int | None = None,
) -> None:
    """Width, normalisation and depth of the generator; kernel_size: of its label convolutions, None if it has none."""
    width = shape_of(tensors, "head_0.conv_0.bias", path)[0]
    evidence.add("num_generator_filters", width // 16, path, "a sixteenth of head_0's")
    norm = _norm_G(tensors, kernel_size, asked("norm_G"))
    evidence.add("norm_G", norm, path, "by the tensors of head_0")
    most = bool(tensor_names(tensors, r"up_4\..*"))
    how = "as up_4 exists" if most else "as there is no up_4"
    evidence.add("depths", ("most",) if most else ("normal", "more"), path, how)


def _norm_G(tensors, size, wanted):
    """The norm_G string; what no tensor tells is as wanted: batch or syncbatch, and the kernel size if it is None."""
    spectral = "head_0.conv_0.weight_orig" in tensors
    batch = "head_0.norm_0.param_free_norm.running_mean" in tensors
    if wanted:
        grammar = parse_norm_G(wanted)
        seen = (spectral, grammar.statistics, size or grammar.kernel_size)
        if grammar == seen and batch == (grammar.statistics != "instance"):
            return wanted
    size = size or 3
    return f"{'spectral' if spectral else ''}spade{'syncbatch' if batch else 'instance'}{size}x{size}"


def infer_encoder(
    evidence: Evidence, path: str, tensors: Mapping[str, np.ndarray], asked: Callable[[str], Any]
) -> None:
    """Options of the image encoder."""
    normed = bool(tensor_names(tensors, r"layer1\.0\..*"))
    first = shape_of(tensors, "layer1.0.weight_orig" if normed else "layer1.weight_orig", path)
    evidence.add("num_encoder_filters", first[0], path, "of layer1")
    layers = len({name.split(".")[0] for name in tensor_names(tensors, r"layer\d\..*")})
    evidence.add("encoder_size", 2 ** (layers + 2), path, f"by its {layers} layers")
    affine = bool(tensor_names(tensors, r"layer1\.1\..*"))
    evidence.add("norm_E", norm_of(normed, affine, asked("norm_E")), path, "by the tensors of layer1")


def infer_discriminator(
    evidence: Evidence, path: str, tensors: Mapping[str, np.ndarray], asked: Callable[[str], Any]
) -> None:
    """Options of the discriminator."""
    scales = {name.split(".")[0] for name in tensor_names(tensors, r"discriminator_\d+\..*")}
    last = max(
        int(name.split(".")[1][5:]) for name in tensor_names(tensors, r"discriminator_0\.model\d+\..*")
    )
    first = shape_of(tensors, "discriminator_0.model0.0.weight", path)
    evidence.add("num_discriminators", len(scales), path, "scales")
    evidence.add("num_discriminator_layers", last, path, "by its last tensor")
    evidence.add("num_discriminator_filters", first[0], path, "of model0")
    evidence.add("semantic_channels", first[1] - 3, path, "of model0, less the photo's 3")
    if last > 1:
        normed = bool(tensor_names(tensors, r"discriminator_0\.model1\.0\.0\..*"))
        affine = bool(tensor_names(tensors, r"discriminator_0\.model1\.0\.1\..*"))
        evidence.add("norm_D", norm_of(normed, affine, asked("norm_D")), path, "by the tensors of model1")


def norm_of(normed: bool, affine: bool, wanted: str | None) -> str:
    """norm_D or norm_E, with batch or sync_batch as asked (their tensors are the same)."""
    if not normed:
        return wanted if wanted in ("spectral", "spectralnone") else "spectralnone"
    if not affine:
        return "spectralinstance"
    return wanted if wanted in ("spectralbatch", "spectralsync_batch") else "spectralsync_batch"


def settle(evidence: Evidence, flags: Mapping[str, Any], sizes: Any, known: bool) -> None:
    """Adds num_upsampling_layers, as far as tensors and size of the first features allow; an encoder may
    be there only where the generator takes a style."""
    check_encoder(evidence)
    settle_depth(evidence, flags, sizes, known)


def check_encoder(evidence: Evidence) -> None:
    """Raises ValueError where an encoder file is too many; a style vector without one is drawn at random."""
    generator, has_encoder = evidence.get("use_vae"), evidence.get("num_encoder_filters") is not None
    if generator is None or generator.value == has_encoder:
        return
    if has_encoder:
        raise ValueError(
            f"{generator.path}: this generator takes no style vector ({generator.how}); leave --encoder out"
        )
    logging.warning(
        "%s: this generator takes a style vector, and no encoder is given: styles are random alone; for those of "
        "photos convert with its encoder, --encoder latest_net_E.pth",
        generator.path,
    )
    evidence.add("num_encoder_filters", 0, generator.path, "no encoder being given")
