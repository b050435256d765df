"""train.py as users meet it, with a shallow generator: killed, interrupted, resumed, and told wrong things."""

import contextlib
import re
import signal

import numpy as np
import pytest
from helpers import (
    as_flags,
    assert_user_error,
    finish,
    read_events,
    run_here,
    start_script,
    tiny_flags,
    wait_for,
)

# Every part of the state matters for the next losses: both moments of Adam, the decay of the rate, running
# statistics of the discriminator, the noise of the encoder.
OPTIONS = {
    "use_vae": True, "modulation": "dense", "ema_decay": 0.9, "beta1": 0.5, "total_steps": 3000, "lr": 0.002,
    "total_epochs": 200, "decay_epoch": 0, "norm_D": "spectralsync_batch", "print_info_freq": 1,
    "save_model_freq": 4, "save_img_freq": 100_000,
}  # fmt: skip
LOSSES = (
    *(f"loss/generator/{name}" for name in ("GAN", "GAN_Feat", "KLD")),
    *(f"loss/discriminator/{name}" for name in ("D_Fake", "D_real")),
)
RATES = ("optimizer/learning_rate/generator", "optimizer/learning_rate/discriminator")
COMPARED = 10


def newest(run_dir):
    """Number of the newest whole checkpoint, 0 without any."""
    listed = run_dir / "checkpoint"  # replaced when the files of a checkpoint are complete
    return int(re.search(r"ckpt-(\d+)", listed.read_text())[1]) if listed.exists() else 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What became of one run that was killed and resumed, and of another that nobody disturbed."""
    folder = tmp_path_factory.mktemp("runs")
    broken, whole = folder / "broken", folder / "whole"
    found = {"broken": broken, "whole": whole}
    with contextlib.ExitStack() as stack:

        def start(arguments):
            process = start_script("tests/workers/train_shallow.py", arguments)
            stack.callback(process.kill)
            return process

        calm = start(tiny_flags(whole, **OPTIONS))
        process = start(tiny_flags(broken, **OPTIONS))
        wait_for(lambda: newest(broken) >= 4, process)
        process.kill()  # SIGKILL
        found["killed"] = finish(process)
        found["saved"] = newest(broken)
        wait_for(lambda: newest(whole) >= found["saved"] + COMPARED + 2, calm)
        calm.send_signal(signal.SIGINT)
        found["interrupted"] = finish(calm)
        logs = set((broken / "logs").iterdir())
        process = start(as_flags({"checkpoint_dir": broken}))  # nothing retyped
        wait_for(lambda: newest(broken) >= found["saved"] + COMPARED + 2, process)
        process.send_signal(signal.SIGTERM)
        found["terminated"] = finish(process)
    (log,) = set((broken / "logs").iterdir()) - logs
    resumed = folder / "resumed"
    resumed.mkdir()
    (resumed / log.name).write_bytes(log.read_bytes())
    found["resumed"], found["calm"] = read_events(resumed), read_events(whole / "logs")
    return found


def test_killed_run_continues_with_the_same_losses(runs):
    assert runs["killed"][0] == -signal.SIGKILL
    first = runs["saved"] + 1
    for name in LOSSES + RATES:
        resumed, calm = runs["resumed"][name], runs["calm"][name]
        assert min(resumed) == first and min(calm) == 1
        steps = range(first, first + COMPARED)
        values = [calm[step] for step in steps]
        assert len(set(values)) == COMPARED  # no two steps alike, so a shift would show
        # The same operations on the same numbers; threads may add in another order.
        np.testing.assert_allclose([resumed[step] for step in steps], values, rtol=1e-5)


def test_signals_save_before_leaving(runs):
    for name, folder, number in (("terminated", "broken", 15), ("interrupted", "whole", 2)):
        code, _, err = runs[name]
        assert code == 128 + number, err[-3000:]
        assert "Traceback" not in err
        assert "\r" not in err and "Sharding" not in err and "E0000" not in err
        assert "] preparing networks (up to a minute)\n" in err and "\nstopping: this step ends and" in err
        events = runs["resumed" if folder == "broken" else "calm"]
        last = max(events["loss/generator/GAN"])
        assert newest(runs[folder]) == last  # at that very step, not at the last multiple of four
        assert len(list(runs[folder].glob("ckpt-*.index"))) == 3


def test_contradicting_options(runs):
    flags = as_flags({"checkpoint_dir": runs["broken"], "num_generator_filters": 3})
    before = newest(runs["broken"])
    result = run_here("train", flags)
    assert_user_error(
        result, "started with --num_generator_filters 2, asked for now: 3", "leave the flag out"
    )
    assert newest(runs["broken"]) == before


def test_damaged_checkpoint(runs):
    path = runs["whole"] / f"ckpt-{newest(runs['whole'])}.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = run_here("train", as_flags({"checkpoint_dir": runs["whole"]}))
    assert_user_error(result, path.name.split(".")[0], "damaged", "delete its files to use an older one")
