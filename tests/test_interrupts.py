"""Ctrl-C at any instant of any command: one line, exit code 130, nothing half-written."""

import signal
from pathlib import Path

import pytest
from helpers import finish, start_script, tiny_flags, wait_for

from semantic_synthesis import files

MAIN = "semantic_synthesis/__main__.py"


def loaded(process, library):
    """Whether a process has a shared library in its memory."""
    maps = Path(f"/proc/{process.pid}/maps")
    return maps.exists() and library in maps.read_text()


def interrupted(process, instant):
    """What becomes of a process that is interrupted when `instant` is true."""
    wait_for(instant, process)
    process.send_signal(signal.SIGINT)
    return finish(process)


def assert_one_line(result):
    code, out, err = result
    assert code == 130, (code, err)
    assert "Traceback" not in err and "Exception" not in err
    assert err.splitlines()[-1].endswith("interrupted") and "Traceback" not in out


# Early in the imports, in the middle of TensorFlow's, and behind them.
@pytest.mark.parametrize("library", ["_multiarray_umath", "libtensorflow_framework", "h5py"])
def test_while_importing(library):
    process = start_script(MAIN, ["one"])
    assert_one_line(interrupted(process, lambda: loaded(process, library)))


def test_while_files_are_written(tmp_path):
    process = start_script(MAIN, ["prepare", "scenes", "--out", str(tmp_path / "s"), "--count", "100000"])
    labels = tmp_path / "s" / "labels"
    assert_one_line(interrupted(process, lambda: labels.exists() and len(list(labels.iterdir())) > 4))
    for folder in (tmp_path / "s").iterdir():
        files.remove_parts(folder)  # a thread may have begun a last one
    assert not list(tmp_path.rglob(".part-*"))


def test_before_the_first_step(tmp_path):
    run = tmp_path / "run"
    process = start_script("train.py", tiny_flags(run, total_steps=100_000))
    assert_one_line(interrupted(process, lambda: (run / ".lock").exists()))
