"""Original checkpoints -> runs (`python -m semantic_synthesis convert`).

The method's module in CONVERTERS holds what is particular about its original; all else is the same
for every method. Such a module has
  ROLES: {flag that names a file: (what the file is, pattern of a tensor only such a file has)};
  rules(role, config) -> the rules for that file;
  infer(files, asked) -> Evidence with the options that show in the tensor shapes, among them
    use_vae, semantic_channels (classes and instance edges), no_instance where the tensors tell, depths
    (those that are possible) and, where the first features have a fixed size, cells.
docs/coming-from-other-repos.md says what was verified.
"""

import dataclasses
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from absl import logging

from semantic_synthesis import runs
from semantic_synthesis.config import REPOSITORY, Config, option
from semantic_synthesis.conversion import clade, inade, spade
from semantic_synthesis.conversion.describing import complete_config, describe_options
from semantic_synthesis.conversion.inference import tensor_names
from semantic_synthesis.conversion.reading import read_pth
from semantic_synthesis.conversion.rules import Source, apply_rules
from semantic_synthesis.conversion.spectral import complete_spectral_norms
from semantic_synthesis.methods.method import named_variables

CONVERTERS = {"spade": spade, "clade": clade, "inade": inade}


@dataclass(frozen=True)
class ConvertOptions:
    """Options of `convert`; what is left open is read off the files or taken from the dataset."""

    method: str = option("spade", "Method of the original checkpoint.")
    source: str = option("", "The original generator, for example latest_net_G.pth.")
    encoder: str = option("", "The original image encoder, for example latest_net_E.pth or net_IE.pth.")
    discriminator: str = option("", "The original discriminator (latest_net_D.pth), to train on from it.")
    checkpoint_dir: str = option("", "Run folder to make; default checkpoints/<method>_<dataset_mode>.")
    dataset_mode: str = option("", "Name in datasets/<name>.json, a path to such a file, or custom.")
    semantic_label_path: str = option(
        "",
        "Text file with the raw label values, comma-separated; the i-th value becomes class i (custom).",
    )
    contain_dontcare_label: bool = option(
        False, "custom: the last class is the unknown one, of raw value 255 (flag of the original)."
    )
    no_instance: bool = option(None, "The networks see no instance edges.", kind=bool)
    num_upsampling_layers: str = option(
        None, "Depth: 5, 6 or 7 doublings.", choices=("normal", "more", "most"), kind=str
    )
    crop_size: int = option(None, "Width of the pictures.", kind=int)
    aspect_ratio: float = option(None, "Width / height of the pictures.", kind=float)
    norm_G: str = option(None, "Generator normalisation.", kind=str)
    norm_E: str = option(None, "Encoder normalisation.", kind=str)
    norm_D: str = option(None, "Discriminator normalisation.", kind=str)
    num_generator_filters: int = option(None, "Width of the generator's last block.", kind=int)
    num_hidden_filters: int = option(None, "Width of the hidden layer in every SPADE normaliser.", kind=int)
    num_encoder_filters: int = option(None, "Width of the encoder's first layer.", kind=int)
    num_discriminators: int = option(None, "Number of discriminator scales.", kind=int)
    num_discriminator_layers: int = option(None, "Layers of each discriminator.", kind=int)
    num_discriminator_filters: int = option(None, "Width of the discriminators' first layer.", kind=int)
    use_vae: bool = option(None, "The generator takes a style vector z.", kind=bool)
    z_dim: int = option(None, "Length of the style vector z.", kind=int)
    noise_dim: int = option(None, "Length of the noise of each instance (INADE).", kind=int)


def main(options):
    """Converts, says what it did, and returns the exit code."""
    run_dir = convert(options)
    config = Config.load(run_dir)
    logging.info(
        "%s: %s run, %d classes%s, %s, %dx%d; next: test_one.py --checkpoint_dir %s",
        run_dir, config.method, config.num_classes,
        "" if config.no_instance else " and instance edges",
        config.num_upsampling_layers, config.crop_size, config.crop_height, run_dir,
    )  # fmt: skip
    return 0


COMMAND = (ConvertOptions, main)


def convert(options):
    """Makes a run folder from original files and returns its path; errors leave nothing behind.

    Errors: FileNotFoundError and ValueError; one line that says what was found and what was asked.
    """
    if options.method not in CONVERTERS:
        raise ValueError(
            f"--method {options.method}: no conversion known; expected one of {', '.join(CONVERTERS)}"
        )
    converter = CONVERTERS[options.method]
    run_dir = _run_dir(options)
    files, dropped = _read_files(options, converter.ROLES)
    config = _infer_config(options, converter, files).replace(checkpoint_dir=run_dir)
    arrays, ignored = convert_tensors(config, files)
    _report(files, {**dropped, **ignored})
    _write_run(run_dir, config, arrays)
    return run_dir


def convert_tensors(config, files):
    """The arrays of a run with these options.

    files: {role: (path, {name: array})}; without a discriminator file its variables are left out.
    Returns ({variable name: float32 array}, {ignored tensor: reason}).
    """
    shapes = _variable_shapes(config, training="discriminator" in files)
    rules = CONVERTERS[config.method].rules
    sources = [Source(path, tensors, rules(role, config)) for role, (path, tensors) in files.items()]
    return apply_rules(sources, shapes)


def _variable_shapes(config, training):
    model = runs.build_method(config.replace(no_vgg_loss=True), training=training, initial_weights=False)
    return {name: tuple(variable.shape) for name, variable in named_variables(model).items()}


def _run_dir(options):
    mode = Path(options.dataset_mode or "custom").stem
    run_dir = options.checkpoint_dir or str(REPOSITORY / "checkpoints" / f"{options.method}_{mode}")
    if os.path.exists(run_dir) and not (os.path.isdir(run_dir) and not os.listdir(run_dir)):
        raise ValueError(f"{run_dir}: exists already; give another --checkpoint_dir or remove it")
    return run_dir


def _read_files(options, roles):
    """({role: (path, tensors)}, {dropped tensor: reason}); each file is what it is given as."""
    if not options.source:
        raise ValueError(
            "--source is missing; expected the original generator file, for example latest_net_G.pth"
        )
    files, dropped = {}, {}
    for role in roles:
        path = getattr(options, role)
        if not path:
            continue
        _refuse_tensorflow(path)
        tensors = read_pth(path)
        _check_role(role, path, tensors, roles)
        tensors, extra = complete_spectral_norms(tensors, path)
        files[role] = path, tensors
        dropped.update(extra)
    return files, dropped


def _refuse_tensorflow(path):
    """The predecessor's checkpoints cannot be converted; the document says why, point by point."""
    names = os.listdir(path) if os.path.isdir(path) else [os.path.basename(path)]
    if os.path.exists(f"{path}.index") or any(
        name == "checkpoint" or ".data-0" in name or name.endswith(".index") for name in names
    ):
        raise ValueError(
            f"{path}: a TensorFlow checkpoint; those of MarAl15/SemanticImageSynthesis cannot be "
            "converted, as its networks compute something else (docs/coming-from-other-repos.md); "
            "train anew on the same folders"
        )


def _check_role(role, path, tensors, roles):
    found = [known for known, (_, mark) in roles.items() if tensor_names(tensors, mark)]
    if role in found:
        return
    names = list(tensors)
    what = f"the {roles[found[0]][0]} (--{found[0]})" if found else "no network this method knows"
    raise ValueError(
        f"{path}: given as --{role}, the {roles[role][0]}, but it holds {what}: {len(names)} "
        f"tensors, the first {names[0]} {tensors[names[0]].shape}; check --method and the file"
    )


def _infer_config(options, converter, files):
    """The Config of the run: what files, flags and dataset say together."""
    known = {field.name for field in dataclasses.fields(Config)}
    flags = {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(options)
        if field.name in known
    }
    description = describe_options(options)

    def asked(name):
        return flags[name] if flags.get(name) is not None else description.options.get(name)

    evidence = converter.infer(files, asked)
    return complete_config(Config(method=options.method), evidence, flags, description, options)


def _report(files, ignored):
    counts = ", ".join(f"{len(tensors)} of {path}" for path, tensors in files.values())
    logging.info("tensors: %s; left out: %d", counts, len(ignored))
    reasons = {}
    for name, reason in ignored.items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        logging.info("left out %d (%s ...): %s", len(names), names[0], reason)


def _write_run(run_dir, config, arrays):
    """Writes config.json and weights.npz beside the run folder and renames them into place."""
    partial = f"{os.path.normpath(run_dir)}.part-{os.getpid()}"
    os.makedirs(partial)
    try:
        config.save(partial)
        runs.save_weights(partial, arrays)
        os.replace(partial, run_dir)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
