"""Original checkpoints -> runs (`python -m semantic_synthesis convert`).

What is particular about one original is its method's converter (`originals`); all else is here, the same for every
method. docs/migration/ says what was verified.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import logging

from semantic_synthesis import runs, storage
from semantic_synthesis.config import Config, known_options, method_options, options_for
from semantic_synthesis.data import catalogue
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.methods import METHODS
from semantic_synthesis.options import Command, option, options_of, union
from semantic_synthesis.originals.lookalikes import looks_like, younger
from semantic_synthesis.originals.options import complete_config, describe_options, known_classes
from semantic_synthesis.originals.rules import Source, apply_rules
from semantic_synthesis.originals.spectral import complete_spectral_norms
from semantic_synthesis.originals.wrapped import choose, described, networks
from semantic_synthesis.pth import read_content, to_arrays

if TYPE_CHECKING:
    import numpy as np

CONVERTERS = {name: method.converter() for name, method in METHODS.items() if method.converter() is not None}


@dataclasses.dataclass(frozen=True)
class _Common:
    """What conversions of all methods ask."""

    method: str = option("spade", "Method of the original checkpoint.")
    checkpoint_dir: str = option("", "Run folder to make; default checkpoints/<method>_<dataset_mode>.")
    contain_dontcare_label: bool = option(
        False, "custom: the last class is the unknown one, of raw value 255 (flag of the original)."
    )
    entry: str = option(
        "",
        "Which network to take of a file that holds several of a kind, for example g_ema; default: the one of "
        "averaged weights.",
    )
    unknown_last: bool = option(
        False,
        "The original has the dataset's unknown class as its last channel, where this project has it elsewhere "
        "(ADE20K: raw 0 as channel 150, raw k as k - 1).",
    )


def _example_file(converter, role):
    """What a file of this role is called, or looks like, where the original wrote it."""
    if hasattr(converter, "read"):
        return "the prefix of a TensorFlow checkpoint, model.ckpt-100"
    letter = "G" if role == next(iter(converter.ROLES)) else role[0].upper()
    return f"latest_net_{letter}.pth"


def _convert_options():
    """The dataclass of options: files of every converter, options of every method that networks depend on."""
    taken, fields = set(options_of(_Common)), []
    for converter in CONVERTERS.values():
        for role, (what, _) in converter.ROLES.items():
            if role not in taken:
                text = f"File of the original {what}, for example {_example_file(converter, role)}."
                fields.append((role, str, option("", text, group="Files of the original")))
                taken.add(role)
    owners = known_options()
    for name, one in union([METHODS[name].config_class for name in CONVERTERS]).items():
        about = one.metadata
        if about["role"] != "network" or name in taken:
            continue
        default = "" if one.default == "" else None
        only = "" if len(owners[name]) == len(METHODS) else f" ({', '.join(owners[name])})"
        fields.append(
            (
                name,
                about["kind"],
                option(
                    default,
                    about["help"] + only,
                    about["choices"],
                    about["kind"],
                    group="Options, where files and dataset do not tell them",
                ),
            )
        )
    return dataclasses.make_dataclass(
        "ConvertOptions",
        fields,
        bases=(_Common,),
        frozen=True,
        namespace={
            "__doc__": "Options of `convert`; what is left open is read off the files or the dataset."
        },
    )


ConvertOptions = _convert_options()


def main(options: Any) -> int:
    """Converts, says what it did, and returns the exit code."""
    run_dir = convert(options)
    config = Config.load(run_dir)
    logging.info(
        "%s: %s run, %d classes%s, %s%dx%d pixels (%s); next: test_one.py --checkpoint_dir %s",
        run_dir,
        config.method,
        config.num_classes,
        "" if config.no_instance else " and instance maps",
        _network_text(config),
        config.crop_size,
        config.crop_height,
        _size_text(options, config),
        run_dir,
    )
    return 0


def _size_text(options, config):
    """Where the size of the pictures comes from: files alone seldom tell it."""
    if getattr(options, "crop_size", None) is not None:
        shaped = getattr(options, "aspect_ratio", None) is not None
        return "as asked" if shaped else "as asked; --aspect_ratio X for other shapes"
    name = "your own dataset" if config.dataset_mode == catalogue.CUSTOM else config.dataset_mode
    return f"the usual size of {name}; if the original was trained at another, give --crop_size N and --aspect_ratio X"


def _network_text(config):
    """The method's choices among several, such as a depth, for the line that `main` prints."""
    own = method_options(type(config))
    shown = [
        n
        for n, o in own.items()
        if o.metadata["role"] == "network" and o.metadata["fallback"] is not None and o.metadata["choices"]
    ]
    return "".join(f"{getattr(config, name)}, " for name in shown)


COMMAND = Command(
    ConvertOptions,
    main,
    "convert --method spade --dataset_mode ade20k --source latest_net_G.pth\n"
    "  convert --method inade --dataset_mode cityscapes --source best_net_G.pth\n"
    "      --encoder best_net_IE.pth\n"
    "  convert --method spade --dataset_mode custom --source latest_net_G.pth\n"
    "      --encoder latest_net_E.pth --no_instance --crop_size 256 --aspect_ratio 1",
)


def convert(options: Any) -> str:
    """Makes a run folder from original files and returns its path; errors leave nothing behind.

    Errors: FileNotFoundError and ValueError; one line that says what was found and what was asked.
    """
    if options.method not in CONVERTERS:
        raise ValueError(
            f"--method {options.method}: no conversion known; expected one of {', '.join(CONVERTERS)}"
        )
    converter, flags = CONVERTERS[options.method], _flags(options)
    run_dir = _run_dir(options)
    files, dropped = _read_files(options, converter)
    _refuse_younger(options.method, *files[next(iter(converter.ROLES))])
    config = _infer_config(options, flags, converter, files).replace(checkpoint_dir=run_dir)
    arrays, ignored = convert_tensors(config, files)
    _report(files, {**dropped, **ignored})
    runs.write_run(run_dir, config, arrays)
    return run_dir


def _flags(options):
    """{option of the method's Config: value, None where open}; refuses files and options of other methods."""
    roles = {role for converter in CONVERTERS.values() for role in converter.ROLES}
    own = CONVERTERS[options.method].ROLES
    for role in roles - set(own):
        if getattr(options, role):
            raise ValueError(
                f"--{role}: no file of {options.method}, which has {', '.join(f'--{r}' for r in own)}"
            )
    values = {name: getattr(options, name) for name in options_of(options)}
    values = {n: v for n, v in values.items() if n not in roles and n not in options_of(_Common)}
    its = options_for(options.method, {n: v for n, v in values.items() if v not in (None, "")})
    return {name: values.get(name) for name in options_of(its) if name in values}


def convert_tensors(config: Config, files: Mapping[str, tuple[str, dict[str, np.ndarray]]]) -> Any:
    """The arrays of a run with these options.

    files: {role: (path, {name: array})}; without files of networks for training their variables are left out.
    Returns ({variable name: float32 array}, {ignored tensor: reason}).
    """
    converter = CONVERTERS[config.method]
    training = any(role in files for role in getattr(converter, "TRAINING", ()))
    shapes = _variable_shapes(config, training)
    sources = [
        Source(path, tensors, converter.rules(role, config)) for role, (path, tensors) in files.items()
    ]
    arrays, ignored = apply_rules(sources, shapes)
    finish = getattr(converter, "finish", lambda _, arrays: arrays)
    return finish(config, arrays), ignored


def _variable_shapes(config, training):
    """{name: shape} of the variables that files can fill: for training the discriminators' as well."""
    bare = METHODS[config.method].without_features(config)
    model = runs.build_method(bare, training=training, initial_weights=False)
    return {name: tuple(variable.shape) for name, variable in named_variables(model).items()}


def _run_dir(options):
    mode = Path(options.dataset_mode or "custom").stem
    run_dir = options.checkpoint_dir or os.path.join("checkpoints", f"{options.method}_{mode}")
    if storage.exists(run_dir) and not (storage.is_folder(run_dir) and not storage.names_in(run_dir)):
        raise ValueError(f"{run_dir}: exists already; give another --checkpoint_dir or remove it")
    return run_dir


def _read_files(options, converter):
    """({role: (path, tensors)}, {dropped tensor: reason}); each file is what it is given as."""
    roles = converter.ROLES
    first = next(iter(roles))
    if not getattr(options, first):
        raise ValueError(
            f"--{first} is missing; expected the original {roles[first][0]} file, for example "
            f"{_example_file(converter, first)}"
        )
    files, dropped, names = {}, {}, []
    for role in roles:
        path = getattr(options, role)
        if not path:
            continue
        read = getattr(converter, "read", None)
        if read is None:
            _refuse_tensorflow(path)
        with storage.brought(path) as here:
            content = (read or read_content)(here)
            network = choose(_networks(role, here, content, options.method), here, options.entry)
            tensors, extra = complete_spectral_norms(to_arrays(network.tensors, here), here)
        names.append(network.name)
        files[role] = path, tensors
        dropped.update(extra)
    if options.entry and options.entry not in names:
        others = ", ".join(filter(None, names)) or "no name"
        raise ValueError(
            f"--entry {options.entry}: no file has it; what they hold has {others}; leave it out"
        )
    return files, dropped


def _refuse_tensorflow(path):
    """The predecessor's checkpoints cannot be converted; the document says why, point by point."""
    names = storage.names_in(path) if storage.is_folder(path) else [os.path.basename(path)]
    if storage.exists(f"{path}.index") or any(
        name == "checkpoint" or ".data-0" in name or name.endswith(".index") for name in names
    ):
        raise ValueError(
            f"{path}: a TensorFlow checkpoint; those of MarAl15/SemanticImageSynthesis cannot be "
            "converted, as its networks compute something else (docs/migration/maral15.md); "
            "train anew on the same folders"
        )


def _networks(role, path, content, method):
    """The networks of a file that are what it is given as; ValueError that says what it holds where there is none."""
    roles = CONVERTERS[method].ROLES
    found = {known: networks(content, mark, path) for known, (_, mark) in roles.items()}
    if found[role]:
        return found[role]
    others = [known for known in found if found[known]]
    what = f"the {roles[others[0]][0]} (--{others[0]})" if others else "no network this method knows"
    rest = {name: converter for name, converter in CONVERTERS.items() if name != method}
    known = "" if others else looks_like(content, path, role, rest)
    raise ValueError(
        f"{path}: given as --{role}, the {roles[role][0]}, but it holds {what}: {described(content)}; "
        f"{known or 'check --method and the file'}"
    )


def _refuse_younger(method, path, tensors):
    """ValueError for the generator of a method that grew from this one, and holds all that this one knows it by."""
    others = younger(method, tensors, CONVERTERS)
    if others:
        raise ValueError(
            f"{path}: given to {method}, but it looks like {others[0]}: take --method {others[0]}"
        )


def _infer_config(options, flags, converter, files):
    """The Config of the run: what files, flags and dataset say together."""
    description = describe_options(options)

    def asked(name):
        if name == "num_classes":
            return known_classes(description, options)
        return flags[name] if flags.get(name) is not None else description.options.get(name)

    evidence = converter.infer(files, asked)
    settle = getattr(converter, "settle", lambda *_: None)
    complete = getattr(converter, "complete", lambda config: config)
    config = METHODS[options.method].config_class()
    return complete(complete_config(config, evidence, flags, description, options, settle))


def _report(files, ignored):
    counts = ", ".join(f"{len(tensors)} of {path}" for path, tensors in files.values())
    logging.info("tensors: %s; left out: %d", counts, len(ignored))
    reasons = {}
    for name, reason in ignored.items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        logging.info("left out %d (%s ...): %s", len(names), names[0], reason)
