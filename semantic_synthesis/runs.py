"""A run on disk: config.json, training checkpoints (ckpt-N) and, for runs without them, weights.npz.

weights.npz is what converted and published runs hold: one array per variable under the names of
`named_variables`, in float32 or, to be small, float16.
"""

import os
import zipfile
import zlib

import keras
import numpy as np
import tensorflow as tf

from semantic_synthesis.config import Config
from semantic_synthesis.methods import method_class
from semantic_synthesis.methods.method import named_variables

WEIGHTS_FILE = "weights.npz"
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def build_method(config, training=True, initial_weights=True, policy=None):
    """The method's model with all its variables, in the arithmetic config.precision asks for.

    policy: another Keras dtype policy, for example bfloat16 to hold the weights themselves so.
    """
    make = method_class(config)
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy or _POLICIES[config.precision])
    try:
        return make(config, training=training, initial_weights=initial_weights)
    finally:
        keras.config.set_dtype_policy(previous)


def checkpoint_variables(model):
    """{path: tf.Variable} for tf.train.Checkpoint."""
    return {name: variable.value for name, variable in named_variables(model).items()}


def save_weights(run_dir, arrays):
    """Writes {path: NumPy array} as the run's weights.npz, whole or not at all."""
    path = os.path.join(run_dir, WEIGHTS_FILE)
    with open(path + ".part", "wb") as file:
        np.savez_compressed(file, **arrays) if _small(arrays) else np.savez(file, **arrays)
    os.replace(path + ".part", path)


def _small(arrays):
    """Whether compressing is worth the time: below 100 MB."""
    return sum(array.nbytes for array in arrays.values()) < 100e6


def newest_checkpoint(run_dir):
    """Path prefix of the newest training checkpoint whose files are there, None for a run without any.

    Only what the file `checkpoint` lists is whole: it is replaced after the others are written.
    ValueError if it lists checkpoints but none is left.
    """
    listed = tf.train.get_checkpoint_state(run_dir)
    if listed is None:
        return None
    for prefix in [listed.model_checkpoint_path, *reversed(listed.all_model_checkpoint_paths)]:
        if os.path.isfile(prefix + ".index"):
            return prefix
    raise ValueError(
        f"{run_dir}: the file checkpoint lists checkpoints, but their files (ckpt-N.index) are not here; "
        f"restore them, or delete the file checkpoint to start from {WEIGHTS_FILE} or anew"
    )


def load_weights(model, run_dir, partial=False):
    """Fills a model from the run's newest checkpoint (averaged weights where it has them) or weights.npz.

    partial: variables that weights.npz does not hold keep their values. Returns their names.
    Errors: FileNotFoundError without any file, ValueError if it is damaged or does not fit the model.
    """
    newest = newest_checkpoint(run_dir)
    if newest:
        _load_checkpoint(model, newest)
        return []
    path = os.path.join(run_dir, WEIGHTS_FILE)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"{run_dir}: neither a checkpoint (ckpt-N.index) nor {WEIGHTS_FILE}; expected a trained, "
            "converted or shipped run"
        )
    return _load_arrays(model, path, partial)


def _load_arrays(model, path, partial):
    variables = named_variables(model)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in variables if name in file.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: damaged ({error}); get the file again") from None
    missing = sorted(set(variables) - set(arrays))
    if missing and not partial:
        raise ValueError(
            f"{path}: no array {missing[0]} ({len(missing)} missing); not made from this config.json"
        )
    for name, array in arrays.items():
        _assign(variables[name], array, f"{path}: {name}")
    return missing


def _assign(variable, array, what):
    if tuple(variable.shape) != array.shape:
        raise ValueError(f"{what} has shape {array.shape}; config.json asks for {tuple(variable.shape)}")
    variable.assign(array.astype(np.float32))


def _load_checkpoint(model, prefix):
    try:
        reader = tf.train.load_checkpoint(prefix)
        stored = reader.get_variable_to_shape_map()
        variables = named_variables(model)
        for name, variable in variables.items():
            escaped = name.replace("/", ".S")
            keys = [f"{group}/{escaped}/.ATTRIBUTES/VARIABLE_VALUE" for group in ("ema", "model")]
            key = next((key for key in keys if key in stored), None)
            if key is None:
                raise ValueError(f"{prefix}: no variable {name}; not made from this config.json")
            _assign(variable, reader.get_tensor(key), f"{prefix}: {name}")
    except (IndexError, tf.errors.OpError) as error:  # IndexError: a file cut short
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{prefix}: damaged checkpoint ({reason}); delete its files to use an older one"
        ) from None


def open_run(run_dir, precision="float32", modulation=None):
    """(config, model) of a run, ready for inference: weights loaded, spectral norms folded.

    precision bfloat16 also holds the weights in bfloat16 (BatchNorm statistics stay float32).
    """
    config = Config.load(run_dir)
    if config.class_table is None:
        raise ValueError(
            f"{run_dir}: config.json holds no class table; expected a config written by train.py or convert"
        )
    config = config.replace(precision=precision, modulation=modulation or config.modulation)
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
