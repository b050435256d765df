"""Rules for xjqicuhk/SIMS: TensorFlow 1 checkpoints of its three networks.

The synthesis network says by its tensors how large its pictures are; its picture heads give BGR, which becomes RGB.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from semantic_synthesis.methods.sims.config import NO_BANK
from semantic_synthesis.originals.evidence import Evidence, shape_of
from semantic_synthesis.originals.rules import Ignored, Rule

ROLES = {
    "synthesis": ("synthesis network", r"g_decoder_final/.*"),
    "transformation": ("transformation network", r"g_transform_param"),
    "order": ("order network", r"g_selection_classify/weights"),
}
_STATE = Ignored(
    r"(.*/)?(Adam(_1)?|beta[12]_power.*|global_step)|.*_power(_\d+)?", "state of the original's optimiser"
)


def read(path: str | Path) -> dict[str, np.ndarray]:
    """{name: float32 array} of a TensorFlow 1 checkpoint: its prefix, one of its files, or its folder."""
    prefix = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", str(path))
    if os.path.isdir(prefix):
        prefix = _newest(prefix)
    if not (os.path.isfile(f"{prefix}.index") or os.path.isfile(prefix)):
        raise FileNotFoundError(
            f"{path}: no TensorFlow checkpoint; expected the prefix of PREFIX.index and PREFIX.data-00000-of-00001"
        )
    try:
        reader = tf.train.load_checkpoint(prefix)
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (tf.errors.OpError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: not readable as a TensorFlow checkpoint ({reason})") from None


def _newest(folder):
    """The prefix that the folder's file `checkpoint` names, wherever the folder was then; without it the only one."""
    state = tf.train.get_checkpoint_state(folder)
    if state:
        return os.path.join(folder, os.path.basename(state.model_checkpoint_path))
    found = [name.removesuffix(".index") for name in os.listdir(folder) if name.endswith(".index")]
    return os.path.join(folder, found[0]) if len(found) == 1 else folder


def rules(role: str, config: Any) -> list[Rule | Ignored]:
    """The rules for one file of a run with these options."""
    return {"synthesis": _synthesis, "transformation": _transformation, "order": _order}[role](config)


def _units(source, target):
    r"""A stack's units: `source` matches the stack's name and has one group, \1 of `target`; the unit is \2."""
    unit = rf"{source}/[^/]*_(\d)"
    ours = rf"{target}/unit\2"
    return [
        Rule(rf"{unit}/weights", rf"{ours}/conv/kernel"),
        Rule(rf"{unit}/LayerNorm/gamma", rf"{ours}/norm/gamma"),
        Rule(rf"{unit}/LayerNorm/beta", rf"{ours}/norm/beta"),
    ]


def _transformation(config):
    return [
        *_units(r"g_trans(?:form|from)_conv(\d)", r"transformation/trunk/encoder\1"),
        Rule(r"g_transform_param", "transformation/kernel"),
        Rule(r"g_b_fc1", "transformation/bias"),
        _STATE,
    ]


def _order(config):
    return [
        *_units(r"g_selection_conv(\d)", r"order/trunk/encoder\1"),
        Rule(r"g_selection_conv6/weights", "order/hidden/conv/kernel"),
        Rule(r"g_selection_conv6/LayerNorm/(gamma|beta)", r"order/hidden/norm/\1"),
        Rule(r"g_selection_classify/weights", "order/classes/kernel"),
        Rule(r"g_selection_classify/biases", "order/classes/bias"),
        _STATE,
    ]


def _reversed(array):
    """BGR -> RGB along the last axis."""
    return array[..., ::-1]


def _finish(array):
    """The last 1x1 convolution [1,1,24+3,3]: its last three inputs and its outputs are a picture."""
    array = np.concatenate([array[:, :, :-3], array[:, :, :-4:-1]], 2)  # [1,1,27,3]
    return array[..., ::-1]


def _synthesis(config):
    stage = min(config.scale, 2)
    size = 256 * stage
    semantic = "g_semantic_256_conv100" if stage == 1 else "g_semantic_512"
    return [
        *_units(r"g_encoder_conv(\d)", r"synthesis/encoder\1"),
        *_units(r"g_decoder_conv(\d)", r"synthesis/decoder\1"),
        *_units(r"g_decoder_(final)", "synthesis/last"),
        *_units(r"g_decoder_(512)", "synthesis/refine2"),
        Rule(rf"g_{size}_conv100/weights", f"synthesis/picture{stage}/kernel", _reversed),
        Rule(rf"g_{size}_conv100/biases", f"synthesis/picture{stage}/bias", _reversed),
        Rule(rf"{semantic}/weights", f"synthesis/semantic{stage}/kernel"),
        Rule(rf"{semantic}/biases", f"synthesis/semantic{stage}/bias"),
        Rule(r"g_1024_conv100/weights", "synthesis/finish4/kernel", _finish),
        Rule(r"g_1024_conv100/biases", "synthesis/finish4/bias", _reversed),
        _STATE,
    ]


def infer(files: Mapping[str, tuple[str, dict[str, np.ndarray]]], asked: Callable[[str], Any]) -> Evidence:
    """What the tensor shapes say: an Evidence with options."""
    evidence = Evidence()
    path, tensors = files["synthesis"]
    scale = 4 if "g_1024_conv100/weights" in tensors else 2 if "g_512_conv100/weights" in tensors else 1
    how = f"by its head for {256 * scale} rows"
    evidence.add("scale", scale, path, how)
    evidence.add("crop_size", 512 * scale, path, how)
    evidence.add("aspect_ratio", 2.0, path, how)
    first = shape_of(tensors, "g_encoder_conv1/g_encoder_conv1_1/weights", path)
    evidence.add("num_filters", first[3], path, "of its first convolution")
    if asked("num_classes") is None:
        evidence.add(
            "num_classes", first[2] - 5, path, "of its first convolution, less canvas, mask and void"
        )
    evidence.add("no_instance", True, path, "as the original has no instances")
    evidence.add("order_pooling", "windows", path, "as the original pools")
    for role, option in (("transformation", "use_transformation"), ("order", "use_order")):
        evidence.add(option, role in files, files.get(role, files["synthesis"])[0], f"by --{role}")
        if role not in files:
            logging.info("no --%s: the run has no %s", role, ROLES[role][0])
    if asked("bank_dir") is None:
        evidence.add("bank_dir", NO_BANK, path, "as no --bank_dir is given")
        logging.info("no --bank_dir: the run has no memory until config.json names one")
    return evidence
