"""Rules for dvlab-research/SCGAN: generator, image encoder and either discriminator.

Temperature, kind of the gates and blur of the labels are in no tensor, and wrong ones give pictures, only worse ones:
they have to be given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from semantic_synthesis.methods.scgan.composition import parse_norm_G
from semantic_synthesis.methods.spade import conversion as spade
from semantic_synthesis.methods.spade.sizes import Size, cells_of, check_choice, refuse_size, say_choice
from semantic_synthesis.networks import DOUBLINGS
from semantic_synthesis.originals.evidence import Evidence, shape_of, tensor_names
from semantic_synthesis.originals.rules import Ignored, Rule, convolution, right_vector, spectral_convolution

if TYPE_CHECKING:
    import numpy as np

_VECTORS = "pyramid_spaital_routing"  # their spelling
ROLES = {
    "source": ("generator", rf"{_VECTORS}\.labelDec1\.2\.bias"),
    "encoder": spade.ROLES["encoder"],
    "discriminator": (
        "discriminator",
        r"(discriminator_0\.model0\.0\.weight|enc1\.(0|0\.0|conv_bases\.0)\.weight(_orig)?)",
    ),
}
TRAINING = ("discriminator",)
ORIGIN = "dvlab-research/SCGAN"
FLAGS = {
    "nrf": "--num_routing_filters",
    "nff": "--num_entry_filters",
    "no_spectral_on_routing": "--nospectral_routing",
    "position": "--label_blur full",
    "pyr_pos": "--label_blur pyramid",
    "pyr_rng": "--blur_levels",
    "ig_sz": "--blur_size",
    "ig_sigma": "--blur_sigma",
    "ig_iter": "--blur_iterations",
    "ig_relative": "--blur_relative",
    "lambda_w_recon": "--lambda_reconstruction",
}
_GIVEN = {
    "weight_type": "softmax in all published models",
    "temperature": "published: 0.05 for ADE20K and CelebAMask-HQ, 0.5 for COCO-Stuff",
    "label_blur": "published: none for ADE20K and COCO-Stuff, pyramid for CelebAMask-HQ",
}
_COUNTER = Ignored(r".*\.num_batches_tracked", "a count of batches; the momentum of the statistics is fixed")


def rules(role: str, config: Any) -> list[Rule | Ignored]:
    """The rules for one file of a run with these options."""
    if role == "source":
        return _generator(config)
    if role == "discriminator" and config.netD == "fpse":
        return _pyramid(config)
    return spade.rules(role, config)


def _generator(config):
    norm, ours = spade.NORM
    shared = [rule for rule in spade.rules("source", config) if not _is_convolution(rule)]
    return [
        *shared,  # entry, statistics, shortcuts' norms, conv_img, counters
        *_experts(config.num_experts_conv),
        *spectral_convolution(spade.BLOCK + r"\.(conv_s)", ours, 3),
        Rule(rf"{norm}\.affine_params_groups", rf"{ours}/table"),
        *_vectors(),
    ]


def _is_convolution(rule):
    return r"\.(conv_" in rule.source


def _experts(count):
    """Expert e of a convolution is the e-th part of ours."""
    source, target = spade.BLOCK + r"\.(conv_[01])\.conv_bases", r"generator/\1/\2"
    found = []
    for e in range(count):
        part = (e, count)
        found += [
            Rule(rf"{source}\.{e}\.weight(?:_orig)?", rf"{target}/kernel", convolution, part),
            Rule(rf"{source}\.{e}\.weight_u", rf"{target}/u", part=part),
            Rule(rf"{source}\.{e}\.weight_v", rf"{target}/v", right_vector(3), part),
        ]
    return found


def _vectors():
    """labelDec1 has its convolutions at 0 and 2 of the sequence, the others, which begin with an activation, at 1 and
    3."""
    found = []
    for level, first, last in (("(1)", 0, 2), ("([2-8])", 1, 3)):
        for place, name in ((first, "in"), (last, "out")):
            found += spectral_convolution(rf"{_VECTORS}\.labelDec{level}\.{place}", rf"vectors/{name}_\1", 3)
    for place, name in ((0, "in"), (2, "out")):
        found.append(
            Rule(rf"{_VECTORS}\.toRGB\.{place}\.weight", f"vectors/picture_{name}/kernel", convolution)
        )
        found.append(Rule(rf"{_VECTORS}\.toRGB\.{place}\.bias", f"vectors/picture_{name}/bias"))
    return found


def _pyramid(config):
    norm = config.norm_D.removeprefix("spectral") not in ("", "none")
    return [
        *spade.normed(r"((?:enc|final)\d)\.0", r"discriminator/\1", 3, norm),
        *spade.normed(r"(lat\d)\.0", r"discriminator/\1", 1, norm),
        Rule(r"(tf|seg|embedding)\.weight", r"discriminator/\1/kernel", convolution),
        Rule(r"(tf|seg|embedding)\.bias", r"discriminator/\1/bias"),
        _COUNTER,
    ]


def infer(files: Mapping[str, tuple[str, dict[str, np.ndarray]]], asked: Callable[[str], Any]) -> Evidence:
    """What the tensor shapes say, see methods/spade/conversion.py."""
    evidence = Evidence()
    path, tensors = files["source"]
    _infer_vectors(evidence, path, tensors)
    block = "head_0.conv_0.conv_bases"
    count = len({name.split(".")[3] for name in tensor_names(tensors, r"head_0\.conv_0\.conv_bases\..*")})
    evidence.add("num_experts_conv", count, path, f"kernels of {block}")
    spectral = f"{block}.0.weight_orig" in tensors
    kernel = f"{block}.0.weight{'_orig' if spectral else ''}"
    width = shape_of(tensors, kernel.replace("conv_0", "conv_1"), path)[0]
    evidence.add("num_generator_filters", width // 16, path, "a sixteenth of head_0's")
    entry = shape_of(tensors, kernel, path)[1]
    evidence.add("num_entry_filters", entry // 16, path, "a sixteenth of what head_0 takes")
    if "head_0.norm_0.mlp_gamma.weight" in tensors:
        raise ValueError(
            f"{path}: a generator with label norms in all places (norm_G spade), which is not supported"
        )
    experts = shape_of(tensors, "head_0.norm_0.affine_params_groups", path)[0]
    evidence.add("num_experts_norm", experts, path, "rows of head_0.norm_0.affine_params_groups")
    shared = shape_of(tensors, "up_0.norm_s.mlp_shared.0.weight", path)
    evidence.add("num_hidden_filters", shared[0], path, "of mlp_shared")
    evidence.add("semantic_channels", shared[1], path, "of mlp_shared")
    evidence.add(
        "norm_G", _norm_G(tensors, spectral, shared[-1], asked("norm_G")), path, "by the tensors of head_0"
    )
    spade.infer_entry(evidence, path, tensors, entry)
    if "encoder" in files:
        spade.infer_encoder(evidence, *files["encoder"], asked)
    if "discriminator" in files:
        _infer_discriminator(evidence, *files["discriminator"], asked)
    return evidence


def _infer_vectors(evidence, path, tensors):
    first = shape_of(tensors, f"{_VECTORS}.labelDec1.2.bias", path)[0]
    evidence.add("num_routing_filters", first // 16, path, "a sixteenth of labelDec1's")
    spectral = f"{_VECTORS}.labelDec1.2.weight_orig" in tensors
    evidence.add("spectral_routing", spectral, path, "by the tensors of labelDec1")
    levels = len({name.split(".")[1] for name in tensor_names(tensors, rf"{_VECTORS}\.labelDec\d\..*")})
    depths = [depth for depth, doublings in DOUBLINGS.items() if doublings + 1 == levels]
    if not depths:
        raise ValueError(f"{path}: {levels} levels of labelDec; expected 6, 7 or 8")
    evidence.add("num_upsampling_layers", depths[0], path, f"by its {levels} levels of labelDec")


def _norm_G(tensors, spectral, size, wanted):
    """The norm_G string; batch and syncbatch have the same tensors, so that is as wanted."""
    batch = "head_0.norm_0.param_free_norm.running_mean" in tensors
    if wanted:
        grammar = parse_norm_G(wanted)
        if grammar == (spectral, grammar.statistics, size) and batch == (grammar.statistics != "instance"):
            return wanted
    return f"{'spectral' if spectral else ''}scc{'syncbatch' if batch else 'instance'}{size}x{size}"


def _infer_discriminator(evidence, path, tensors, asked):
    if "discriminator_0.model0.0.weight" in tensors:
        evidence.add("netD", "multiscale", path, "as there is a discriminator_0")
        spade.infer_discriminator(evidence, path, tensors, asked)
        return
    if "tf.weight" not in tensors or tensor_names(tensors, r"(enc6|enc\d\.conv_bases|r_adjust\d)\..*"):
        raise ValueError(f"{path}: a discriminator that no published model has; expected fpse or multiscale")
    if "blur.weight" in tensors:
        raise ValueError(f"{path}: a discriminator that blurs its features (smooth), which is not supported")
    evidence.add("netD", "fpse", path, "as there is an embedding of labels")
    width, semantic, *_ = shape_of(tensors, "embedding.weight", path)
    evidence.add("num_discriminator_filters", width // 2, path, "half of embedding's")
    evidence.add("semantic_channels", semantic, path, "of embedding")
    affine = bool(tensor_names(tensors, r"enc1\.0\.1\..*"))
    normed = "enc1.0.bias" not in tensors
    evidence.add("norm_D", spade.norm_of(normed, affine, asked("norm_D")), path, "by the tensors of enc1")


def settle(evidence: Evidence, flags: Mapping[str, Any], sizes: Any, known: bool) -> None:
    """What no tensor tells must be given; the size of the first features must fit the pictures."""
    found = evidence.get("num_routing_filters")
    path = found.path if found else ""  # `infer` always finds it
    missing = [f"--{name} ({hint})" for name, hint in _GIVEN.items() if flags.get(name) is None]
    if missing:
        raise ValueError(
            f"{path}: the tensors do not tell {', '.join(missing)}; with a wrong value pictures look worse and nothing "
            "says so, so give them"
        )
    cells, depths = evidence.value("cells"), (evidence.value("num_upsampling_layers"),)
    check_choice(path, cells, depths, flags, known)
    taken = Size(*depths, sizes.crop_size, sizes.crop_height)
    if cells and cells != cells_of(sizes, *depths):
        refuse_size(path, cells, depths, sizes)
    say_choice(path, cells, depths, flags, taken)
    spade.check_encoder(evidence)
