"""Two devices with global batch 2N train as one device with batch 2N; so do two processes.

The cases are trained in processes of their own (tests/workers), because logical devices and TF_CONFIG
must be there before TensorFlow starts.
"""

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from helpers import (
    DISTRIBUTION_CASES,
    QUICK_CASES,
    finish,
    read_events,
    shallow_networks,
    start_script,
    tiny_config,
    tiny_flags,
    train_steps,
    wait_for,
)

SLOW_CASES = tuple(name for name in DISTRIBUTION_CASES if name not in QUICK_CASES)
CASES = [*QUICK_CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_CASES)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """name -> {"none" or "mirrored": {key: array}}; all quick cases are trained by the first question."""
    folder, found, asked = tmp_path_factory.mktemp("devices"), {}, set()

    def results(name):
        if name not in found:
            assert name not in asked, "the worker failed before"
            names = QUICK_CASES if name in QUICK_CASES else (name,)
            asked.update(names)
            path = folder / f"{names[0]}.npz"
            worker = Path(__file__).parent / "workers" / "two_devices.py"
            run = subprocess.run(
                [sys.executable, worker, path, *names], capture_output=True, text=True, timeout=900
            )
            assert run.returncode == 0, run.stderr[-3000:]
            for key, array in np.load(path).items():
                case, distribute, rest = key.split("/", 2)
                found.setdefault(case, {}).setdefault(distribute, {})[rest] = array
        return found[name]["none"], found[name]["mirrored"]

    return results


@pytest.mark.parametrize("name", CASES)
def test_two_devices_train_as_one(trained, name):
    one, two = trained(name)
    options = DISTRIBUTION_CASES[name]
    assert one.keys() == two.keys()
    losses = {"loss/GAN", "loss/D_Fake", "loss/D_real"} | ({"loss/KLD"} if options["use_vae"] else set())
    assert losses <= set(one)
    half = options.get("precision") == "bfloat16"
    # float32: sums over the batch in another order, 2^-24 per addition. bfloat16: a convolution may sum in
    # another order under another number of threads, and its result is rounded to 8 bits.
    # Gradients are summed over samples and rounded to 8 bits, once on one device, twice on two: 2^-8 of the
    # largest terms, a larger share of what is left where terms cancel. Such noise has no direction, a wrong
    # scale has: the slope of one movement over the other stays near 1.
    for key in (key for key in one if key.startswith("loss/")):
        assert len(one[key]) == 3 and np.isfinite(one[key]).all()
        first = 1e-3 if half else 1e-5
        np.testing.assert_allclose(two[key][0], one[key][0], rtol=first, atol=first / 10)
        tolerance = 1e-2 if half else 1e-5
        np.testing.assert_allclose(two[key], one[key], rtol=tolerance, atol=tolerance / 10)
    slopes = {}
    for key in (key for key in one if key.startswith("after/")):
        before = one[key.replace("after/", "before/", 1)]
        assert np.array_equal(before, two[key.replace("after/", "before/", 1)])
        movement = np.abs(one[key].astype(float) - before)
        difference = np.abs(two[key].astype(float) - one[key])
        assert half or movement.max() > 0, key  # bfloat16: a sum of few signs may be 0
        if not half:  # 2e-6: rounding noise of gradients that are zero
            assert difference.max() <= 2e-4 * movement.max() + 2e-6, key
        elif not any(f"{name}/bias" in key for name in CANCELLED) and movement.any():
            slopes[key] = slope(one[key] - before.astype(float), two[key] - before.astype(float))
    if half:
        values = np.array(list(slopes.values()))
        assert abs(np.median(values) - 1) < 0.03
        # The whole generator begins with maps of one pixel, where batch norm over 4 values amplifies the noise.
        outside = {key: value for key, value in slopes.items() if abs(value - 1) > 0.3}
        assert len(outside) <= (0.1 if options.get("whole") else 0) * len(slopes), outside


# A normalisation follows these and cancels their biases, whose gradients are rounding noise.
CANCELLED = ("fc", "conv_0", "conv_1")


def slope(x, y):
    """Least squares y = slope * x."""
    return float(np.vdot(x, y) / np.vdot(x, x))


def test_every_kind_of_state_is_compared(trained):
    one, _ = trained("auto")
    found = [key for key in one if key.startswith("after/")]
    for part in (
        "moving_mean",
        "moving_variance",
        "/u",
        "/v",
        "ema/",
        "momentum",
        "velocity",
        "iterations",
        "step",
    ):
        assert any(part in key for key in found), part


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def test_two_processes_train_as_one(tmp_path):
    options = {"crop_size": 16, "modulation": "dense", "batch_size": 4, "total_steps": 3, "ema_decay": 0.9}
    options |= {"num_discriminators": 1, "num_discriminator_layers": 2, "norm_D": "spectralsync_batch"}
    flags = tiny_flags(tmp_path / "run", **options, distribute="multi_worker", print_info_freq=1)
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    processes = []
    try:
        for index in range(2):
            task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
            processes.append(
                start_script(
                    "tests/workers/train_shallow.py", flags, TF_CONFIG=json.dumps(task), TMPDIR=str(tmp_path)
                )
            )
        with shallow_networks():
            from semantic_synthesis.data import open_dataset
            from semantic_synthesis.training import Trainer, make_strategy

            config = tiny_config(tmp_path / "alone", **options)
            alone = train_steps(Trainer(config, open_dataset(config), make_strategy("none")), 3)
        results = [finish(process) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for code, _, err in results:
        assert code == 0, err[-3000:]
    events = read_events(tmp_path / "run" / "logs")
    losses = {tag.split("/")[-1]: tag for tag in events if tag.startswith("loss/")}
    assert losses.keys() == alone.keys()
    for name, values in ((losses[name], values) for name, values in alone.items()):
        assert sorted(events[name]) == [1, 2, 3]
        np.testing.assert_allclose([events[name][i] for i in (1, 2, 3)], values, rtol=1e-5, atol=1e-6)
    # Only the chief's files count: the other worker leaves nothing, not even in the folder for scratch files.
    # (TensorFlow's AutoGraph imports modules from there, of which Python may keep the bytecode.)
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"run", "alone"}
    assert len(list((tmp_path / "run" / "logs").iterdir())) == 1
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"config.json", "checkpoint", "ckpt-3.index", "logs", "samples"} < names


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker_that_starts_again_does_not_change_the_weights(victim, tmp_path):
    """Whoever ends is started again, as Slurm and Kubernetes do, until both workers are done."""
    options = {"crop_size": 16, "modulation": "dense", "batch_size": 4, "total_steps": 60, "ema_decay": 0.9}
    options |= {"num_discriminators": 1, "num_discriminator_layers": 2, "print_info_freq": 5}
    found = {}
    for name in ("calm", "killed"):
        run = tmp_path / name
        flags = tiny_flags(run, **options, distribute="multi_worker", save_model_freq=10)
        cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}

        def start(index, flags=flags, cluster=cluster):
            task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
            worker = start_script("tests/workers/train_shallow.py", flags, TF_CONFIG=json.dumps(task))
            threading.Thread(target=worker.communicate, daemon=True).start()  # a full pipe would stop it
            return worker

        workers, codes = [start(0), start(1)], []
        try:
            if name == "killed":
                wait_for((run / "ckpt-10.sha256").exists, workers[victim])
                workers[victim].kill()
                codes.append(supervise(workers, start))
            else:
                assert supervise(workers, start) == []
        finally:
            for worker in workers:
                worker.kill()
        reader = tf.train.load_checkpoint(str(run / "ckpt-60"))
        found[name] = {n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map() if n[0] != "_"}
    assert codes[0] and 2 not in codes[0]  # ended by the loss, not by a mistake
    assert found["calm"].keys() == found["killed"].keys() and len(found["calm"]) > 50
    for name, values in found["calm"].items():
        np.testing.assert_array_equal(found["killed"][name], values, err_msg=name)


def supervise(workers, start, most=8):
    """Starts workers again until all have ended well; the codes of the other ends."""
    codes, end = [], time.monotonic() + 500
    while any(worker.poll() != 0 for worker in workers) and len(codes) <= most and time.monotonic() < end:
        for index, worker in enumerate(workers):
            if worker.poll() not in (None, 0):
                codes.append(worker.returncode)
                workers[index] = start(index)
        time.sleep(0.2)
    assert [worker.poll() for worker in workers] == [0, 0], codes
    return codes


def test_multi_worker_needs_its_cluster(monkeypatch):
    from semantic_synthesis.training import make_strategy

    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="TF_CONFIG is not set; expected JSON with cluster and task"):
        make_strategy("multi_worker")
