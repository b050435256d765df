"""A trained run made small: configuration, averaged inference weights in half precision, what pictures need besides."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from semantic_synthesis import storage
from semantic_synthesis.config import is_place, without_folder
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.options import Command, option, options_of
from semantic_synthesis.runs import build_method, find_run, load_config, load_weights, write_run


@dataclass(frozen=True)
class PublishOptions:
    """Options of `python -m semantic_synthesis publish`."""

    checkpoint_dir: str = option("", "Trained run.")
    to: str = option("", "New run folder.")
    weights_dtype: str = option("float16", "Storage of the weights.", choices=("float16", "float32"))
    format: str = option(
        "npz",
        "File of the weights: weights.npz, or model.safetensors, which other programs read by name.",
        choices=("npz", "safetensors"),
    )


def publish(options: Any) -> int:
    """Writes the run folder `to` with config.json, the weights of generator and encoder, and the method's
    own files; exit code 0.

    Errors: ValueError if `to` exists or an option is missing; as load_weights for the run.
    """
    if not options.checkpoint_dir or not options.to:
        raise ValueError("publish needs --checkpoint_dir (a trained run) and --to (a new folder)")
    if storage.exists(options.to):
        raise ValueError(f"{options.to}: exists already; choose another folder or remove it")
    run_dir = find_run(options.checkpoint_dir)
    config = load_config(run_dir)
    model = build_method(config.replace(precision="float32"), training=False, initial_weights=False)
    load_weights(model, run_dir)
    arrays = {name: np.asarray(v.value) for name, v in named_variables(model).items()}
    arrays = {name: _stored(array, options.weights_dtype) for name, array in arrays.items()}
    config, files = model.published(config)
    config = config.replace(
        **{n: _published(n, one, getattr(config, n)) for n, one in options_of(config).items()}
    )
    write_run(options.to, config, arrays, options.format, files)
    parameters = sum(array.size for array in arrays.values())
    size = sum(array.nbytes for array in arrays.values()) / 1e6
    what = f"{config.method} run, {parameters:,} numbers in {options.weights_dtype}, {size:.1f} MB of weights"
    print(f"{options.to}: {what}\nnext: semantic-synthesis one --checkpoint_dir {options.to}")
    return 0


def _published(name, about, value):
    """An option without folders of the machine that trained: no picture needs them, the class table is in the run."""
    return "" if is_place(name) and about.metadata["role"] != "network" else without_folder(value)


def _stored(array, dtype):
    """The array in the type that was asked for, or as it is where float16 cannot hold it: variances have no bound."""
    with np.errstate(over="ignore"):
        small = array.astype(dtype)
    return small if np.isfinite(small).all() else array


COMMAND = Command(
    PublishOptions,
    publish,
    "publish --checkpoint_dir checkpoints/mine --to mine_small",
)
