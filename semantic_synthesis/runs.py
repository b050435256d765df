"""A run on disk: config.json, training checkpoints (ckpt-N) and, for runs without them, weights.npz.

weights.npz is what converted and published runs hold: one array per variable under the names of
`named_variables`, in float32 or, to be small, float16. model.safetensors holds the same for other programs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from semantic_synthesis import storage
from semantic_synthesis.checkpoint_files import data_file, newest_checkpoint, open_checkpoint
from semantic_synthesis.config import CONFIG_FILE, Config, method_options, options_for, without_folder
from semantic_synthesis.data import ClassTable
from semantic_synthesis.data.catalogue import SCENES, describe
from semantic_synthesis.data.geometry import MOST_PIXELS
from semantic_synthesis.data.resolving import check_sizes
from semantic_synthesis.files import file_sha256, folder_beside, shipped, write_arrays
from semantic_synthesis.foreign_files import foreign_kind
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.methods import method_class
from semantic_synthesis.options import Use, check_type, options_of, refuse_unused, unused
from semantic_synthesis.safetensors_files import read_safetensors, write_safetensors

if TYPE_CHECKING:
    from semantic_synthesis.methods.method import Method

WEIGHTS_FILE, SAFETENSORS_FILE = "weights.npz", "model.safetensors"
SETTLING_ITERATIONS = 20  # power iterations after which sigma of an averaged kernel is known to about 1e-3
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


@contextlib.contextmanager
def naming_file(path: str | Path) -> Iterator[None]:
    """What cannot be made of a file's options ends as a ValueError that names the file ("": as it is)."""
    start = f"{path}: " if path else ""
    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        reason = str(error).splitlines()[0] if str(error) else "no more"
        raise ValueError(f"{start}networks of these sizes need too much memory ({reason})") from None
    except ValueError as error:
        raise ValueError(f"{start}{error}") from None


def load_config(run_dir: str | Path) -> Config:
    """The Config of a run, sizes and class table checked; errors as Config.load, every one names the file."""
    config = Config.load(run_dir)
    with naming_file(os.path.join(run_dir, CONFIG_FILE)):
        check_sizes(config)
        if config.class_table is not None:
            ClassTable.from_dict(config.class_table, "class_table")
    return config


def build_method(
    config: Config, training: bool = True, initial_weights: bool = True, policy: Any = None
) -> Method:
    """The method's model with all its variables, in the arithmetic config.precision asks for.

    policy: another Keras dtype policy, for example bfloat16 to hold the weights themselves so.
    """
    make = method_class(config)
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy or _POLICIES[config.precision])
    path = os.path.join(config.checkpoint_dir, CONFIG_FILE)
    try:
        with naming_file(path if storage.is_file(path) else ""):
            method = make(config, training=training, initial_weights=initial_weights)
    finally:
        keras.config.set_dtype_policy(previous)
    if config.convolutions == "direct":
        for layer in method._flatten_layers():
            if hasattr(layer, "direct"):
                layer.direct = True
    return method


def checkpoint_variables(model: Method) -> dict[str, tf.Variable]:
    """{path: tf.Variable} for tf.train.Checkpoint."""
    return {name: variable.value for name, variable in named_variables(model).items()}


def save_weights(run_dir: str | Path, arrays: Mapping[str, np.ndarray], kind: str = "npz") -> None:
    """Writes {path: NumPy array} as weights.npz (kind npz) or model.safetensors (safetensors), whole or not at all."""
    if kind == "safetensors":
        write_safetensors(os.path.join(run_dir, SAFETENSORS_FILE), arrays, {"format": "tf"})
        return
    small = sum(array.nbytes for array in arrays.values()) < 100e6  # compressing more is not worth the time
    write_arrays(os.path.join(run_dir, WEIGHTS_FILE), arrays, compressed=small)


def write_run(
    run_dir: str | Path,
    config: Config,
    arrays: Mapping[str, np.ndarray],
    kind: str = "npz",
    files: Mapping[str, str] | None = None,
) -> None:
    """Makes a run folder of a Config and {path: NumPy array}, whole or not at all; kind: npz or safetensors.

    files: {path within the folder: local file to copy there}.
    """
    with folder_beside(run_dir) as part:
        config.save(part)
        save_weights(part, arrays, kind)
        for name, source in (files or {}).items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, part / name)


def find_run(run_dir: str | Path) -> str | Path:
    """The folder of a run: as given, or the shipped one of that name (demo_spade)."""
    run_dir = os.fspath(run_dir)
    if not storage.exists(run_dir) and os.path.basename(run_dir) == run_dir:
        inside = shipped("checkpoints", run_dir)
        return str(inside) if inside.exists() else run_dir
    return run_dir


def weights_path(run_dir: str | Path) -> str:
    """The file that `load_weights` reads: the newest checkpoint's data, else weights.npz, else model.safetensors."""
    newest = newest_checkpoint(run_dir)
    found = data_file(newest) if newest else weights_file(run_dir)
    if found:
        return found
    raise FileNotFoundError(
        f"{run_dir}: neither a checkpoint (ckpt-N.index) nor {WEIGHTS_FILE} nor {SAFETENSORS_FILE}; expected a "
        "trained, converted or shipped run"
    )


def weights_file(run_dir: str | Path) -> str | None:
    """weights.npz of a run folder, else its model.safetensors; None without either."""
    paths = (os.path.join(run_dir, name) for name in (WEIGHTS_FILE, SAFETENSORS_FILE))
    return next((path for path in paths if storage.is_file(path)), None)


def run_sha256(run_dir: str | Path) -> str:
    """Checksum of the weights that `load_weights` reads."""
    return file_sha256(weights_path(find_run(run_dir)))


def load_weights(model: Method, run_dir: str | Path, partial: bool = False) -> list[str]:
    """Fills a model from the run's newest checkpoint (averaged weights where it has them) or the arrays of a file.

    partial: variables that the file does not hold, or holds in other shapes, keep their values. Returns their names.
    Errors: FileNotFoundError without any file, ValueError if it is damaged or does not fit the model.
    """
    newest = newest_checkpoint(run_dir)
    if newest:
        return _load_checkpoint(model, newest, partial)
    return _load_arrays(model, weights_path(run_dir), partial)


def _read_npz(path, names):
    kind = foreign_kind(path)
    if kind:
        raise ValueError(f"{path}: {kind}; expected a run's {WEIGHTS_FILE}")
    try:
        with storage.here(path) as here, np.load(here, allow_pickle=False) as file:
            return {name: file[name] for name in names if name in file.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: damaged ({error}); get the file again") from None


def _load_arrays(model, path, partial):
    variables = named_variables(model)
    if path.endswith(SAFETENSORS_FILE):
        with storage.brought(path) as here:
            found = read_safetensors(here)
        arrays = {name: found[name] for name in variables if name in found}
    else:
        arrays = _read_npz(path, variables)
    missing = sorted(set(variables) - set(arrays))
    if missing and not partial:
        raise ValueError(
            f"{path}: no array {missing[0]} ({len(missing)} missing); not made from this config.json"
        )
    other = [n for n, array in arrays.items() if partial and array.shape != tuple(variables[n].shape)]
    _check_other(other, variables, path)
    for name in arrays.keys() - set(other):
        _assign(variables[name], arrays[name], f"{path}: {name}")
    return sorted([*missing, *other])


def _check_other(names, variables, path):
    """Arrays of other shapes start fresh, as of layers that read the classes; where most are, the options differ."""
    if 2 * len(names) > len(variables):
        raise ValueError(
            f"{path}: {len(names)} of {len(variables)} arrays have other shapes, first {names[0]}; give the network "
            "options of that run (semantic-synthesis describe RUN)"
        )


def _assign(variable, array, what):
    if tuple(variable.shape) != array.shape:
        raise ValueError(f"{what} has shape {array.shape}; config.json asks for {tuple(variable.shape)}")
    variable.assign(array.astype(np.float32))


def _load_checkpoint(model, prefix, partial):
    averaged, missing, other = set(), [], []
    try:
        reader = open_checkpoint(prefix)
        stored = reader.get_variable_to_shape_map()
        variables = named_variables(model)
        for name, variable in variables.items():
            key = next((key for key in (_key("ema", name), _key("model", name)) if key in stored), None)
            if key is None and partial:
                missing.append(name)
                continue
            if key is None:
                raise ValueError(f"{prefix}: no variable {name}; not made from this config.json")
            if partial and tuple(stored[key]) != tuple(variable.shape):
                other.append(name)
                continue
            _assign(variable, reader.get_tensor(key), f"{prefix}: {name}")
            if key == _key("ema", name):
                averaged.add(id(variable))
    except (IndexError, tf.errors.OpError) as error:  # IndexError: a file cut short
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{prefix}: damaged checkpoint ({reason}); delete its files to use an older one"
        ) from None
    _check_other(other, variables, prefix)
    settle_averages(model, averaged)
    return missing + other


def _key(group, name):
    """The name of a variable in a training checkpoint; groups: model, ema."""
    escaped = name.replace("/", ".S")
    return f"{group}/{escaped}/.ATTRIBUTES/VARIABLE_VALUE"


def stored_averages(prefix: str, names: Iterable[str]) -> set[str]:
    """Those of the names whose averages a training checkpoint holds."""
    stored = open_checkpoint(prefix).get_variable_to_shape_map()
    return {name for name in names if _key("ema", name) in stored}


def settle_averages(model: Method, averaged: Any) -> None:
    """Power iterations for spectral kernels that were replaced by averages, whose u and v belonged to others.

    averaged: ids of the variables that hold averages.
    """
    layers = [layer for layer in model.spectral_layers() if id(layer.kernel) in averaged]
    for _ in range(SETTLING_ITERATIONS):
        for layer in layers:
            layer.advance()


def open_run(run_dir: str | Path, precision: str = "float32", **changes: Any) -> tuple[Config, Method]:
    """(config, model) of a run, ready for inference: weights loaded, spectral norms folded.

    precision bfloat16 also holds the weights in bfloat16 (BatchNorm statistics stay float32). changes: options that
    say how the run's method computes (`inference_options`), None as trained; ValueError for others.
    """
    check_type(options_of(Config)["precision"], precision, "load_run")
    run_dir = find_run(run_dir)
    config = load_config(run_dir)
    if config.class_table is None:
        raise ValueError(
            f"{run_dir}: config.json holds no class table; expected a config written by train.py or convert"
        )
    changes = {name: value for name, value in changes.items() if value is not None}
    options_for(config.method, changes)
    config = config.replace(precision=precision, **changes)
    model = build_method(config.replace(precision="float32"), training=False, initial_weights=False)
    load_weights(model, run_dir)
    model.fold()
    if precision == "float32":
        return config, model
    small = build_method(config, training=False, initial_weights=False, policy=precision)
    small.fold()  # kernels are zero here; what matters is that the layers know they are folded
    targets = named_variables(small)
    for name, variable in named_variables(model).items():
        targets[name].assign(tf.cast(variable.value, targets[name].dtype))
    return config, small


def asked_size(options: Any, config: Config) -> tuple[int, int] | None:
    """(height, width) of a run's pictures by --output_height and --output_width, or the one that it has.

    None where the maps decide. ValueError for sizes that the run cannot paint.
    """
    asked = (options.output_height, options.output_width)
    text = f"--output_height {asked[0]} --output_width {asked[1]}"
    if min(asked) < 0 or (0 in asked and any(asked)):
        raise ValueError(f"{text}; expected two positive sizes or two zeros")
    if method_class(config).fixed_size(config):
        native = (config.crop_height, config.crop_size)
        if any(asked) and asked != native:
            raise ValueError(
                f"{text}; this run makes pictures of {native[0]} rows and {native[1]} columns only; leave the flags out"
            )
        return native
    if asked[0] * asked[1] > MOST_PIXELS:
        raise ValueError(f"{text}; expected at most {MOST_PIXELS} pixels")
    return asked if any(asked) else None


def inference_options(methods: Iterable[type[Method]]) -> dict[str, dataclasses.Field]:
    """{name: field} of the options with which methods (classes) let users choose how they compute."""
    found = {"convolutions": options_of(Config)["convolutions"]}
    for method in methods:
        own = method_options(method.config_class)
        found |= {
            n: o
            for n, o in own.items()
            if o.metadata["role"] == "run" and o.metadata["choices"] and n not in found
        }
    return found


def training_config(given: Mapping[str, Any], resolve: Callable[[Config], Config]) -> Config:
    """The Config to train with: a fresh one resolved, or that of the run in checkpoint_dir.

    given: {name: value} of the flags really set; resolve: data.resolve.
    Errors: ValueError if given flags contradict the run, or belong to another method.
    """
    method = given.get("method", "spade")
    run_dir = given.get("checkpoint_dir", "")
    if not run_dir:
        custom = given.get("image_dir") or given.get("label_dir")
        mode = Path(given.get("dataset_mode") or ("custom" if custom else "scenes")).stem
        run_dir = os.path.join("checkpoints", f"{method}_{mode}")
    if not storage.exists(os.path.join(run_dir, CONFIG_FILE)):
        config = options_for(method, given)(**given)
        _check_scores(config, given)
        return resolve(config).replace(checkpoint_dir=run_dir)
    stored = load_config(run_dir)
    if given.get("method", stored.method) == stored.method:
        options_for(stored.method, given)
    config = stored.replace(**_allowed_changes(stored, given, run_dir), checkpoint_dir=run_dir)
    check_sizes(config)
    _check_scores(config, given)
    return config


def _check_scores(config, given):
    """Refuses options of scores that nobody computes: they are missed when the training is over.

    Who says --train_eval=false beside them, as those of a flag file, means it.
    """
    scored = config.train_eval or "train_eval" in given
    why = "is for scores during training; expected with --train_eval, or leave it out"
    refuse_unused(config, [Use("eval_metrics eval_images eval_epoch_freq", scored, why)], given)


def warn_unused(config: Config, given: Iterable[str]) -> None:
    """A line for given options that others switch off: no errors, as flag files hold some for several runs."""
    depth = "disparity" in method_class(config).extra_maps(config)
    scenes = describe(config.dataset_mode).name == SCENES
    uses = [
        *config.uses(),
        Use("scenes_count", scenes, "counts rendered scenes; for others --max_dataset_size"),
        Use("disparity_dir", depth, f"of no effect with these options of {config.method}"),
    ]
    for found, why in unused(config, uses, given):
        logging.warning("%s: %s", ", ".join(found), why)


def _allowed_changes(stored, given, run_dir):
    """{option: value} of given flags that differ from the run's; ValueError for one that must not."""
    own = options_of(stored)
    changes = {n: v for n, v in given.items() if n not in own or v != getattr(stored, n)}
    changes.pop("checkpoint_dir", None)
    begun = any(re.fullmatch(r"ckpt-.*\.index", name) for name in storage.names_in(run_dir))
    for name in sorted(changes):
        about = own[name].metadata if name in own else {"role": "network", "resume": False}
        # A converted or shipped run that training starts from: only the networks are given.
        if about["resume"] or (not begun and about["role"] != "network"):
            continue
        # Published runs hold the names of files alone.
        if not begun and name in own and without_folder(changes[name]) == getattr(stored, name):
            continue
        raise ValueError(
            f"{run_dir}: this run was started with --{name} {getattr(stored, name, None)}, asked for now: "
            f"{changes[name]}; leave the flag out to resume, or choose another --checkpoint_dir "
            f"(--init_from {run_dir} begins a new run with these weights)"
        )
    return changes
