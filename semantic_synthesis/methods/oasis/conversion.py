"""Rules for OASIS (boschresearch/OASIS): generator (net_G or net_EMA) and discriminator files.

Input channels are Z of noise, then the classes. The original's class 0 is the unlabelled one; where our class table
has that elsewhere (COCO: last), the classes' channels move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_synthesis.discriminators.adversaries import UNNORMED
from semantic_synthesis.normalization import parse_norm_G
from semantic_synthesis.originals.evidence import Evidence, shape_of, tensor_names
from semantic_synthesis.originals.rules import Ignored, Rule, convolution, spectral_convolution

if TYPE_CHECKING:
    pass

ROLES = {
    "source": ("generator", r"body\.0\.norm_0\.mlp_gamma\.weight"),
    "discriminator": ("discriminator", r"layer_up_last\.weight"),
}
TRAINING = ("discriminator",)
ORIGIN = "boschresearch/OASIS"
FLAGS = {
    "channels_G": "--num_generator_filters",
    "channels_D": "--num_discriminator_filters",
    "param_free_norm": "--norm_G, such as spectralspadesyncbatch3x3",
    "spade_ks": "--norm_G, such as spectralspadesyncbatch3x3",
    "no_spectral_norm": "--norm_G, without the word spectral, and --norm_D none",
    "EMA_decay": "--ema_decay",
    "no_EMA": "--ema_decay 0",
    "lr_g": "--lr, of which G takes half, or with --no_TTUR the whole",
    "lr_d": "--lr, of which D takes twice, or with --no_TTUR the whole",
    "add_vgg_loss": "--no_vgg_loss=false",
    "num_epochs": "--total_epochs",
    "freq_print": "--print_info_freq",
    "freq_fid": "--eval_epoch_freq, in epochs",
    "freq_save_ckpt": "--save_model_freq",
    "freq_save_latest": "--save_model_freq",
    "freq_smooth_loss": "nothing to give: TensorBoard smooths",
}

_NORM = r"body\.(\d)\.(norm_[01s])", r"generator/body_\1/\2"
_CONV = r"body\.(\d)\.(conv_[01])", r"body\.(\d)\.(conv_s)"
_DEFAULT_Z = 64


def class_order(config: Any) -> np.ndarray:
    """int [C]: the original's number of each of our classes."""
    order, unknown = np.arange(config.num_classes), config.class_table["unknown"]
    return order if unknown is None else np.insert(order[1:], unknown, 0)


def complete(config: Any) -> Any:
    """The original's class 0 has no weight in the losses, also where it is no unknown one here (Cityscapes)."""
    if config.class_table["unknown"] is not None:
        return config
    return config.replace(ignored_class=config.class_table["names"][0])


def rules(role: str, config: Any) -> list[Rule | Ignored]:
    """The rules for one file of a run with these options."""
    return {"source": _generator, "discriminator": _discriminator}[role](config)


def _generator(config):
    (norm, ours), order = _NORM, class_order(config)

    def of_rows(array):
        """Inputs in our order: (O,Z+C,kh,kw) -> (kh,kw,Z+C,O)."""
        noise = array.shape[1] - len(order)
        return convolution(array[:, np.concatenate([np.arange(noise), noise + order])])

    return [
        Rule(r"fc\.weight", "fc/kernel", of_rows),
        Rule(r"fc\.bias", "fc/bias"),
        Rule(r"conv_img\.weight", "generator/conv_img/kernel", convolution),
        Rule(r"conv_img\.bias", "generator/conv_img/bias"),
        *spectral_convolution(_CONV[0], r"generator/body_\1/\2", 3),
        *spectral_convolution(_CONV[1], r"generator/body_\1/\2", 1),
        Rule(rf"{norm}\.first_norm\.running_mean", rf"{ours}/statistics/moving_mean"),
        Rule(rf"{norm}\.first_norm\.running_var", rf"{ours}/statistics/moving_variance"),
        Rule(rf"{norm}\.mlp_shared\.0\.weight", rf"{ours}/modulation/shared_kernel", of_rows),
        Rule(rf"{norm}\.mlp_shared\.0\.bias", rf"{ours}/modulation/shared_bias"),
        Rule(rf"{norm}\.mlp_gamma\.weight", rf"{ours}/modulation/kernel", convolution, (0, 2)),
        Rule(rf"{norm}\.mlp_beta\.weight", rf"{ours}/modulation/kernel", convolution, (1, 2)),
        Rule(rf"{norm}\.mlp_gamma\.bias", rf"{ours}/modulation/bias", part=(0, 2)),
        Rule(rf"{norm}\.mlp_beta\.bias", rf"{ours}/modulation/bias", part=(1, 2)),
        Ignored(r".*\.num_batches_tracked", "a count of batches; the momentum of the statistics is fixed"),
    ]


def _discriminator(config):
    order = np.concatenate([[0], 1 + class_order(config)])  # "fake" stays first
    block, ours = r"body_(down|up)\.(\d)", r"discriminator/\1_\2"
    return [
        *spectral_convolution(rf"{block}\.conv([12])\.[012]", rf"{ours}/conv_\3", 3),
        *spectral_convolution(rf"{block}\.conv_s", rf"{ours}/conv_s", 1),
        Rule(r"layer_up_last\.weight", "discriminator/last/kernel", lambda array: convolution(array[order])),
        Rule(r"layer_up_last\.bias", "discriminator/last/bias", lambda array: array[order]),
    ]


def infer(files: Mapping[str, tuple[str, dict[str, np.ndarray]]], asked: Callable[[str], Any]) -> Evidence:
    """What the tensor shapes say, see methods/spade/conversion.py.

    The generator's tensors tell Z + C alone: C is the discriminator's or the dataset's, else Z is --z_dim or the
    original's 64.
    """
    evidence = Evidence()
    path, tensors = files["source"]
    entry = shape_of(tensors, "fc.weight", path)
    evidence.add("num_generator_filters", entry[0] // 16, path, "a sixteenth of fc's")
    shared = shape_of(tensors, "body.0.norm_0.mlp_shared.0.weight", path)
    evidence.add("num_hidden_filters", shared[0], path, "of mlp_shared")
    evidence.add("norm_G", _norm_G(tensors, shared[-1], asked("norm_G")), path, "by the tensors of body.0")
    evidence.add("use_vae", False, path, "as OASIS has no encoder")
    evidence.add("no_instance", True, path, "as the original reads no instance maps")
    classes = asked("num_classes")
    if "discriminator" in files:
        path_D, tensors_D = files["discriminator"]
        outputs, width = shape_of(tensors_D, "layer_up_last.weight", path_D)[:2]
        evidence.add("num_discriminator_filters", width, path_D, "of layer_up_last")
        evidence.add("num_classes", outputs - 1, path_D, "outputs of layer_up_last, less the one for fake")
        classes = outputs - 1 if classes is None else classes
        if "body_down.0.conv1.0.weight" in tensors_D:
            evidence.add("norm_D", UNNORMED, path_D, "as body_down.0 has no spectral norm")
    _infer_inputs(evidence, path, entry[1], classes, asked)
    return evidence


def _infer_inputs(evidence, path, channels, classes, asked):
    """Adds num_classes, no_3dnoise and z_dim, which the number of input channels is made of."""
    if classes is None:
        noise = 0 if asked("no_3dnoise") else asked("z_dim") or _DEFAULT_Z
        classes, how = channels - noise, f"{channels} inputs of fc, less {noise} of noise"
    else:
        how = f"{channels} inputs of fc for noise and {classes} classes"
    if not 1 <= classes <= channels:
        raise ValueError(
            f"{path}: {channels} input channels, fewer than the {classes if classes > 0 else noise} expected; "
            "check --dataset_mode, --z_dim and --no_3dnoise"
        )
    evidence.add("num_classes", classes, path, how)
    evidence.add("no_3dnoise", classes == channels, path, how)
    if channels > classes:
        evidence.add("z_dim", channels - classes, path, how)


def _norm_G(tensors, size, wanted):
    """The norm_G string; batch and syncbatch have the same tensors, so that is as wanted."""
    spectral = "body.0.conv_0.weight_orig" in tensors
    batch = bool(tensor_names(tensors, r"body\.0\.norm_0\.first_norm\.running_mean"))
    if wanted:
        grammar = parse_norm_G(wanted)
        if grammar == (spectral, grammar.statistics, size) and batch == (grammar.statistics != "instance"):
            return wanted
    return f"{'spectral' if spectral else ''}spade{'syncbatch' if batch else 'instance'}{size}x{size}"
