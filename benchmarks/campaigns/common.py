"""What the campaigns share: commands in forked children, tiny runs, and trees of files compared."""

import contextlib
import hashlib
import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

TINY = [
    "--dataset_mode=scenes", "--scenes_count=6", "--crop_size=32", "--num_generator_filters=2", "--no_vgg_loss",
    "--num_discriminator_filters=4", "--num_hidden_filters=8", "--num_discriminators=1", "--z_dim=4", "--batch_size=2",
    "--num_discriminator_layers=2", "--distribute=none", "--modulation=dense",
]  # fmt: skip


def preload():
    """Imports everything once, so that forked commands start at once. Nothing is computed: forks share no threads."""
    for module in (
        "__main__",
        "command_line",
        "methods",
        "train",
        "convert",
        "evaluation",
        "serving.export",
        "data.prepare",
        "one_picture",
        "inference",
    ):
        importlib.import_module(f"semantic_synthesis.{module}")


def start(arguments, log, prepare=None):
    """Process number of a forked `semantic-synthesis ARGUMENTS`; its output goes to the file `log`."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        import tensorflow as tf

        tf.config.threading.set_inter_op_parallelism_threads(1)  # sums in one order: bit-equal states
        tf.config.threading.set_intra_op_parallelism_threads(1)
        if prepare:
            prepare()
        from semantic_synthesis.__main__ import main

        main(arguments)
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:  # as an interpreter's end would show it
        import traceback

        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def end_of(child, seconds=600):
    """Exit code of a process, negative for a signal; it is killed after some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hangs"


def finished(arguments, log, prepare=None, seconds=600):
    """(exit code, output) of a command run to its end."""
    code = end_of(start(arguments, log, prepare), seconds)
    return code, Path(log).read_text(errors="replace")


def tree(folder, but=()):
    """{relative path: sha256} of the visible files below a folder; names that begin with a dot do not count."""
    found = {}
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(root, name)
            if not name.startswith(".") and name not in but:
                content = path.read_bytes()
                if name == "config.json":  # knows its folder
                    values = json.loads(content)
                    content = json.dumps({**values, "checkpoint_dir": ""}).encode()
                found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


def leftovers(folder):
    """Files of half-done writing."""
    return [str(p) for p in Path(folder).rglob("*") if ".part-" in p.name or "_temp" in p.name]


def in_child(function, *arguments):
    """Runs a function that computes in a forked child, so that this process can fork on; True if it ended well."""
    child = os.fork()
    if not child:
        code = 1
        try:
            function(*arguments)
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    return end_of(child) == 0


def make_run(folder):
    """A tiny run with random weights and an encoder, for commands that need one."""
    from helpers import random_arrays, tiny_config

    from semantic_synthesis import runs

    config = tiny_config(folder, use_vae=True, crop_size=32)
    config.save(folder)
    runs.save_weights(str(folder), random_arrays(runs.build_method(config, training=False)))


def make_labels(folder, count):
    """Label maps of rendered scenes."""
    from semantic_synthesis.data.scenes import render_scene
    from semantic_synthesis.pictures import write_png

    Path(folder).mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        write_png(Path(folder) / f"{seed}.png", render_scene(seed, 32, 32).label)


def make_original(path):
    """A generator's file as NVlabs/SPADE's training writes it, with random numbers. Needs PyTorch."""
    import torch
    from reference_spade import generator_shapes

    torch.manual_seed(0)
    shapes = generator_shapes(4, 14)
    torch.save(
        {name: torch.rand(shape) if shape else torch.tensor(1) for name, shape in shapes.items()}, path
    )


def jobs(folder):
    """{command: (arguments for an output folder, output folder's name)}; inputs lie in `folder`."""
    run, original = f"{folder}/run", f"{folder}/latest_net_G.pth"
    return {
        "train": lambda out: ["train", *TINY, "--use_vae", "--ema_decay=0.9", "--total_steps=12",
                              "--save_model_freq=3", "--print_info_freq=1", "--save_img_freq=6",
                              f"--checkpoint_dir={out}"],
        "generate": lambda out: ["generate", f"--checkpoint_dir={run}", f"--label_dir={folder}/labels",
                                 "--num_samples=4", f"--results_dir={out}"],
        "export": lambda out: ["export", f"--checkpoint_dir={run}", f"--export_dir={out}"],
        "prepare": lambda out: ["prepare", "scenes", "--count=24", "--disparity", "--height=64", "--width=64",
                                f"--out={out}"],
        "convert": lambda out: ["convert", f"--source={original}", "--dataset_mode=custom", "--no_instance",
                                "--num_upsampling_layers=normal", "--crop_size=64", f"--checkpoint_dir={out}"],
    }  # fmt: skip


def make_inputs(folder):
    """What `jobs` reads."""
    make_run(f"{folder}/run")
    make_labels(f"{folder}/labels", 8)
    make_original(f"{folder}/latest_net_G.pth")
