"""What a training shows: TensorBoard's groups, texts and HParams, the line in a terminal, logs without noise."""

import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from fcntl import ioctl
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import REPOSITORY, read_events, tiny_config, tiny_flags, train_steps
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from test_training import make_trainer

from semantic_synthesis.methods import METHODS
from semantic_synthesis.training.monitoring import Monitor, compared_options, options_table
from semantic_synthesis.training.progress import Progress, fitted

SHORT = {"total_steps": 3, "print_info_freq": 1, "save_img_freq": 3, "save_model_freq": 2, "use_vae": True}


def on_terminal(arguments, columns=80):
    """(exit code, what train.py writes) on a pseudo-terminal of some columns."""
    leader, follower = pty.openpty()
    ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
    }
    process = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "tests" / "workers" / "train_shallow.py"), *arguments],
        stderr=follower,
        cwd=REPOSITORY,
        env=environment,
    )
    os.close(follower)
    parts = []

    def read():
        while True:
            try:
                parts.append(os.read(leader, 4096))
            except OSError:  # the other end is closed
                return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        code = process.wait(900)
    finally:
        process.kill()
        reader.join()
        os.close(leader)
    return code, b"".join(parts).decode()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of three steps on a terminal of 80 columns."""
    run = tmp_path_factory.mktemp("monitored") / "run"
    code, screen = on_terminal(tiny_flags(run, **SHORT, profile_steps="2-2"))
    assert code == 0, screen
    return SimpleNamespace(run=run, screen=screen)


# The terminal


def test_the_line_fits_the_terminal_and_says_what_a_wait_is_for(trained):
    lines = [re.sub(r"\x1b\[A", "", line) for line in re.split(r"[\r\n]+", trained.screen)]
    shown = [line for line in lines if re.match(r" *\d/3 ", line)]
    assert max(map(len, shown)) < 80
    assert any("preparing networks (up to a minute)" in line for line in shown)
    assert any("saving a checkpoint" in line for line in shown)
    last = shown[-1]
    assert re.search(r"3/3 100% \[.*\], pictures/s [\d.]+, generator -?[\d.]+, discriminator [\d.]+", last), (
        last
    )


def test_no_line_is_a_librarys(trained):
    """Neither on a terminal nor in a log: nothing of TensorFlow's, while our own lines are there."""
    for noise in ("E0000", "W0000", "I0000", "remapper", "Sharding", "oneDNN", "WARNING: All log"):
        assert noise not in trained.screen, noise
    assert "label modulation: computed once for each distinct label patch where at most " in trained.screen


def test_a_log_has_lines_instead_of_a_bar(caplog):
    caplog.set_level("INFO", "absl")
    progress = Progress(3, 0, True)  # pytest's standard error is no terminal
    with progress.waiting("saving"):
        progress.advance()
    for step in (1, 2, 3):  # the first within a minute is not worth a line
        progress.show(step, {"pictures/s": "1.0", "generator": "2.0"})
    progress.close()
    assert caplog.messages == ["saving", "step 3/3: pictures/s 1.0, generator 2.0"]


def test_fitted():
    values = {"a": "1", "bb": "2", "c": "3"}
    assert [fitted(values, width) for width in (20, 14, 10, 9, 3, 2)] == [
        "a 1, bb 2, c 3",
        "a 1, bb 2, c 3",
        "a 1, bb 2",
        "a 1, bb 2",
        "a 1",
        "",
    ]


@pytest.mark.parametrize("columns", [30, 60, 80, 200])
def test_any_width(columns, monkeypatch):
    if columns < 60:
        pytest.importorskip("tqdm", "4.70", reason="older ones write their counters however narrow it is")
    written = []
    terminal = SimpleNamespace(
        isatty=lambda: True, write=written.append, flush=lambda: None, encoding="utf-8"
    )
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr("semantic_synthesis.training.progress.tqdm", fixed_width(columns, terminal))
    progress = Progress(1_000_000, 999_990, True)
    progress.bar.start_t -= 400_000  # days
    with progress.waiting("preparing networks (up to a minute)"):
        pass
    for step in range(5):
        progress.advance()
        progress.show(step, {"pictures/s": "1234.5", "generator": "123.456", "discriminator": "1.234"})
        progress.bar.refresh()
    progress.close()
    lines = [part for text in written for part in re.split(r"[\r\n]+", text) if part]
    assert lines and max(map(len, lines)) <= columns
    assert any("pictures/s" in line for line in lines) == (columns >= 60)
    assert any("discriminator" in line for line in lines) == (columns >= 200)


def fixed_width(columns, terminal):
    from tqdm import tqdm

    def make(**options):
        return tqdm(
            **{**options, "dynamic_ncols": False, "ncols": columns, "file": terminal, "mininterval": 0}
        )

    return make


# TensorBoard


@pytest.fixture(scope="module")
def events(trained):
    return EventAccumulator(str(trained.run / "logs"), size_guidance={"tensors": 0}).Reload()


def test_tags_are_grouped_and_described(events):
    tags = events.Tags()["tensors"]
    groups = {tag.split("/")[0] for tag in tags if "/" in tag}
    assert groups == {"loss", "optimizer", "throughput", "pictures", "run", "_hparams_"}
    for tag in tags:
        metadata = events.SummaryMetadata(tag)
        if metadata.plugin_data.plugin_name != "hparams":
            assert len(metadata.summary_description) > 20, tag
    assert "takes the generator's" not in events.SummaryMetadata("loss/generator/KLD").summary_description


def test_scores_are_a_group_of_their_own(tmp_path):
    places = {"results_folder": str(tmp_path / "samples"), "log_folder": str(tmp_path / "logs")}
    monitor = Monitor(SimpleNamespace(**places, batch_size=1), 10, 0)
    monitor.figures(4, {"fid": 12.5, "miou": 0.25})
    monitor.close()
    found = {tag: values for tag, values in read_events(tmp_path / "logs").items() if "/" in tag}
    assert found == {"evaluation/fid": {4: 12.5}, "evaluation/miou": {4: 0.25}}


def test_options_are_text_and_hparams(trained, events):
    (text,) = [event.tensor_proto.string_val[0].decode() for event in events.Tensors("run/options")]
    assert "| **use_vae** | True | False |" in text and "| no_flip | False | False |" in text
    assert text.index("**use_vae**") < text.index("| no_flip |")  # what differs comes first
    stored = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    found = plugin_data_pb2.HParamsPluginData.FromString(stored).session_start_info.hparams
    assert found["use_vae"].bool_value and found["batch_size"].number_value == 2
    assert "checkpoint_dir" not in found and "print_info_freq" not in found


def test_profile(trained):
    (path,) = (trained.run / "logs" / "plugins" / "profile").glob("*/*.xplane.pb")
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("steps", ["5", "5-3", "0-2", "a-b", "1-2-3"])
def test_wrong_profile_steps(tmp_path, steps):
    from semantic_synthesis.training.profiling import Profiler

    with pytest.raises(ValueError, match=f"--profile_steps {steps}; expected the first and the last step"):
        Profiler(steps, str(tmp_path), 100)


def test_steps_that_are_never_trained_have_no_profile(tmp_path):
    from semantic_synthesis.training.profiling import Profiler

    with pytest.raises(
        ValueError, match=r"--profile_steps 101-105: this training ends at step 100; expected"
    ):
        Profiler("101-105", str(tmp_path), 100)
    profiler = Profiler("20-100", str(tmp_path), 100)
    assert profiler.missed(0) is None and profiler.missed(99) is None
    assert "behind step 100 and records nothing" in profiler.missed(100)
    assert Profiler("", str(tmp_path), 100).missed(100) is None


def test_profiles_beyond_the_end_are_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match=r"--profile_steps 7-9: this training ends at step 6;"):
        make_trainer(tmp_path / "run", profile_steps="7-9")
    assert not (tmp_path / "run").exists()


def test_every_loss_of_a_gan_is_explained():
    for name, method in METHODS.items():
        assert isinstance(method.loss_texts, dict), name
    assert {"GAN", "GAN_Feat", "VGG", "KLD", "D_Fake", "D_real"} <= set(METHODS["spade"].loss_texts)


def test_options_of_any_text(tmp_path):
    config = tiny_config(tmp_path).replace(dataroot="a|b")
    assert "| **dataroot** | a\\|b |  |" in options_table(config)
    assert all(isinstance(value, (bool, int, float, str)) for value in compared_options(config).values())


def test_gradient_norms_are_those_of_the_loss(tmp_path):
    """After a first step Adam's second moments are (1 - beta2) times the squares of the gradient."""
    trainer = make_trainer(tmp_path, D_steps_per_G=1)
    train_steps(trainer, 1)
    assert trainer.gradient_norms.keys() == trainer.objectives.keys()
    for name, objective in trainer.objectives.items():
        squares = [np.sum(v.numpy().astype(float)) for v in trainer.optimizers[name]._velocities]
        expected = np.sqrt(sum(squares) / (1 - objective.betas[1]))
        np.testing.assert_allclose(float(trainer.gradient_norms[name]), expected, rtol=1e-4)
