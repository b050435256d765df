"""What several test files share: tiny runs and the scripts in their own processes."""

import atexit
import contextlib
import functools
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import cv2
import numpy as np

from semantic_synthesis import data
from semantic_synthesis.config import Config
from semantic_synthesis.methods import make_config
from semantic_synthesis.options import options_of

REPOSITORY = Path(__file__).resolve().parents[1]

# A SPADE that trains a step in some tens of milliseconds; every option a test may want smaller or larger.
TINY = {
    "dataset_mode": "scenes", "scenes_count": 8, "crop_size": 32, "num_generator_filters": 2,
    "num_discriminator_filters": 4, "num_hidden_filters": 8, "num_discriminator_layers": 3, "z_dim": 4,
    "num_encoder_filters": 2, "encoder_size": 16, "no_vgg_loss": True, "init_variance": 0.5,
    "distribute": "none", "batch_size": 2,
}  # fmt: skip


def tiny_config(run_dir="", **changes):
    """A resolved Config of a run of seconds in run_dir."""
    asked = {**TINY, **changes, "checkpoint_dir": str(run_dir)}
    own = {*options_of(Config.class_for(asked.get("method", "spade"))), "class_table"}
    return data.resolve(make_config(**{name: value for name, value in asked.items() if name in own}))


# What tiny runs of single methods need otherwise: sizes that a paper's network cannot do without.
_OF_METHOD = {
    "clvae": {"encoder_size": 128},  # five levels and the 4x4 below them
    "scgan": {"netD": "multiscale"},  # the pyramid needs pictures of 64
    "oasis": {"use_vae": False, "init_variance": 1.0},
    "sims": {"slots": 2},
}


def conformance_options(method, **changes):
    """Options of a tiny run of any method, in METHODS or of another package, by what kind of option it has."""
    own = options_of(Config.class_for(method))
    small = {"ema_decay": 0.9, "batch_size": 4, "crop_size": 32, "encoder_size": 8, "use_vae": True}
    small |= {"num_discriminators": 1, "num_discriminator_layers": 2, "no_instance": False}
    for name, one in own.items():
        if one.metadata["role"] == "network" and name not in TINY:
            if name.endswith("_filters"):
                small[name] = 4
            elif name.endswith("_dim"):
                small[name] = 3
    if "bank_dir" in own and "dataset_mode" not in changes:
        small["bank_dir"] = tiny_bank(changes.get("crop_size", small["crop_size"]))
    found = {**TINY, **small, **_OF_METHOD.get(method, {}), **changes}
    return {"method": method, **{name: value for name, value in found.items() if name in own}}


@functools.cache
def tiny_bank(size):
    """Folder of the memory of eight scenes, for methods that need one."""
    from semantic_synthesis.methods.sims.building import build_bank

    folder = tempfile.mkdtemp(prefix="bank-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    build_bank(tiny_config(method="sims", crop_size=size, no_instance=False), folder)
    return folder


def tiny_flags(run_dir, **changes):
    """The same options as command-line flags of train.py."""
    asked = {**TINY, **changes, "checkpoint_dir": str(run_dir)}
    own = options_of(Config.class_for(asked.get("method", "spade")))
    return as_flags({name: value for name, value in asked.items() if name in own})


def as_flags(options):
    """["--name=value", ...]."""
    return [f"--{name}={value}" for name, value in options.items()]


def start_script(script, arguments, **environment):
    """A script of the repository (train.py, test_one.py) in its own process; output is read as text.

    It imports this checkout's package, whatever is installed.
    """
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(REPOSITORY / script), *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, timeout=900):
    """(exit code, stdout, stderr) of a started process; it never outlives the call."""
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return process.returncode, out, err


def run_script(script, arguments, **environment):
    """(exit code, stdout, stderr) of a script run to its end."""
    return finish(start_script(script, arguments, **environment))


def run_here(command, arguments):
    """(exit code, stdout, stderr) of a command of the program ("train", "one", ...), run to its end in this process."""
    from semantic_synthesis import __main__

    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            __main__.run(command, arguments)
    except SystemExit as ended:
        return ended.code or 0, out.getvalue(), err.getvalue()
    raise AssertionError("commands end with SystemExit")


def beam_workers(parent):
    """Processes of Beam's workers below a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes()
            above = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if b"sdk_worker_main" in command and above == parent:
            found.append(int(path.name))
    return found


def assert_user_error(result, *parts):
    """A script ended with exit code 2 and one line on standard error that holds every part.

    Lines of absl's log ("I1120 13:11:46 ...", or W for warnings) do not count.
    """
    code, _, err = result
    assert code == 2, (code, err)
    lines = [line for line in err.splitlines() if not re.match(r"[IW]\d{4} ", line)]
    assert len(lines) == 1 and lines[0].startswith("error: "), err
    for part in parts:
        assert part in lines[0], (part, lines[0])


def read_events(log_dir):
    """{tag: {step: value}} of the scalars and images (uint8 [H,W,3] lists) of a folder's TensorBoard event files.

    Files are read in the order of their writing, so a step written again by a resumed run replaces the
    one the killed run left.
    """
    import tensorflow as tf

    found = {}
    for path in sorted(Path(log_dir).glob("events.out.tfevents.*"), key=lambda p: p.stat().st_mtime_ns):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name not in ("images", "scalars"):
                    continue
                array = tf.make_ndarray(value.tensor)
                if value.metadata.plugin_data.plugin_name == "images":
                    array = [tf.image.decode_png(png).numpy() for png in array[2:]]
                else:
                    array = float(array)
                found.setdefault(value.tag, {})[event.step] = array
    return found


def random_arrays(model, seed=0):
    """{name: float32 array} of every variable of a fresh model, lively enough that every part matters."""
    from semantic_synthesis.layers.naming import named_variables

    rng = np.random.default_rng(seed)
    for _ in range(5):
        model.advance_spectral_norms()
    arrays = {}
    for name, variable in named_variables(model).items():
        arrays[name] = variable.numpy()
        if arrays[name].ndim == 2:  # dense layers: styles matter more
            arrays[name] *= 16
        if name.endswith(("bias", "moving_mean", "moving_variance")):
            arrays[name] = rng.normal(0, 0.3, arrays[name].shape).astype(np.float32)
        if name.endswith("moving_variance"):
            arrays[name] = np.abs(arrays[name]) + 0.8
    return arrays


@contextlib.contextmanager
def shallow_networks(strides=(1,)):
    """SPADE's family with a generator of one block per stride instead of seven in all: tracing takes a fraction.

    The segmentation discriminator halves its picture twice instead of six times. Everything else is the
    product's: layers, normalisers, losses, encoder, discriminator, trainer.
    """
    from semantic_synthesis.networks import Block

    def layout(filters, depth="normal"):
        widths = [16 * filters] + [4 * filters] * len(strides)
        return [Block(f"head_{i}", *widths[i : i + 2], stride) for i, stride in enumerate(strides)]

    with (
        mock.patch("semantic_synthesis.methods.conditional_gan.spade_layout", layout),
        mock.patch("semantic_synthesis.methods.oasis.oasis_layout", layout),
        mock.patch("semantic_synthesis.discriminators.segmentation.HALVINGS", 2),
    ):
        yield


def layers_of(judged):
    """[[features ..., judgement] of each scale] of a multiscale discriminator's Judged."""
    return [[*group, last] for group, last in zip(judged.features, judged.judgements, strict=True)]


def train_steps(trainer, count):
    """{loss name: [float of each step]} of a trainer's next steps, without files and pictures."""
    batches, found = iter(trainer.batches()), {}
    for _ in range(count):
        for terms in trainer.train_step(next(batches)).values():
            for name, value in terms.items():
                found.setdefault(name, []).append(float(value))
    return found


def state_arrays(trainer):
    """{name: array} of all that a trainer's checkpoint holds."""
    from semantic_synthesis.layers.naming import named_variables

    named = named_variables(trainer.method)
    found = {f"model/{name}": variable.numpy() for name, variable in named.items()}
    found |= {f"ema/{name}": variable.numpy() for name, variable in trainer.ema.items()}
    names = {id(variable): name for name, variable in named.items()}
    for objective, optimizer in trainer.optimizers.items():
        state = optimizer.named_state([names[id(v)] for v in trainer.method.objective_variables(objective)])
        found |= {f"{objective}/{name}": variable.numpy() for name, variable in state.items()}
    return found | {"step": trainer.step.numpy()}


# Options of the runs that tests/workers/two_devices.py compares; whole: the product's own generator.
_ALL = {
    "use_vae": True,
    "ema_decay": 0.9,
    "batch_size": 4,
    "crop_size": 16,
    "encoder_size": 8,
    "num_discriminators": 1,
    "num_discriminator_layers": 2,
}
_WHOLE = {**_ALL, "crop_size": 32, "num_discriminators": 2, "num_discriminator_layers": 3, "whole": True}
DISTRIBUTION_CASES = {
    "auto": {
        **_ALL,
        "modulation": "auto",
        "no_instance": False,
        "norm_D": "spectralsync_batch",
        "norm_E": "spectralsync_batch",
    },
    "dense": {**_ALL, "modulation": "dense", "norm_D": "spectralsync_batch", "norm_E": "spectralsync_batch"},
    "patches bfloat16": {**_ALL, "modulation": "patches", "precision": "bfloat16"},
    "patches": {**_ALL, "modulation": "patches", "use_vae": False, "D_steps_per_G": 2},
    "auto bfloat16": {**_ALL, "modulation": "auto", "precision": "bfloat16"},
    "dense bfloat16": {**_ALL, "modulation": "dense", "precision": "bfloat16", "use_vae": False},
    "inade": {
        **_ALL,
        "crop_size": 32,
        "method": "inade",
        "no_instance": False,
        "noise_dim": 3,
        "prior_share": 0.5,
    },
    "scgan": {
        **_ALL,
        "method": "scgan",
        "num_routing_filters": 4,
        "num_entry_filters": 3,
        "netD": "multiscale",
    },
    "oasis": {
        **_ALL,
        "method": "oasis",
        "use_vae": False,
        "z_dim": 3,
        "recalibration_batches": 0,
        "lr": 0.01,
    },
    "clvae": {
        **_ALL,
        "crop_size": 32,
        "method": "clvae",
        "encoder_size": 128,
        "latent_dim": 3,
        "prior_share": 0.5,
        "modulation": "patches",
    },
    "parts": {
        **_ALL,
        "modulation": "dense",
        "gradient_accumulation": 2,
        "norm_G": "spectralspadeinstance3x3",
        "norm_D": "spectralinstance",
        "norm_E": "spectralinstance",
    },
    "clade": {**_ALL, "method": "clade", "no_instance": False, "class_positions": True},
    "whole": _WHOLE,
    "whole bfloat16": {**_WHOLE, "precision": "bfloat16"},
}
QUICK_CASES = ("auto",)  # test_conformance_devices.py asks every method


def wait_for(condition, process, seconds=900):
    """condition()'s first true value; fails when the process ends before or the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.01)
    raise AssertionError(f"waited {seconds} s in vain")


# Runs for inference make pictures of 64x32.
_RUN = {"crop_size": 64, "aspect_ratio": 2.0, "use_vae": True, "encoder_size": 8}


def write_run(folder, **changes):
    """A run of random weights in weights.npz; the folder."""
    from semantic_synthesis import runs

    config = tiny_config(folder, **{**_RUN, **changes})
    config.save(folder)
    runs.save_weights(str(folder), random_arrays(runs.build_method(config, training=False)))
    return folder


def layout_map(height, width, shift=0):
    """Blocks of nine classes, uint8 [height, width]."""
    y, x = np.mgrid[:height, :width]
    return ((4 * y // height + 3 * x // width + shift) % 9).astype(np.uint8)


def photo(height, width, seed=0):
    """A smooth random picture, uint8 [height, width, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height))
