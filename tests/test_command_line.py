"""Commands as programs use them: several in one process, any encoding of standard output, help without TensorFlow."""

import importlib
import os
import pty
import re
import runpy
import signal
import subprocess
import sys

import pytest
from absl import flags
from helpers import REPOSITORY, as_flags, run_script

from semantic_synthesis import __main__, command_line

LAKE = REPOSITORY / "datasets" / "scenes" / "lake_label.png"


def run_here(script, monkeypatch, *arguments):
    """Exit code of a script run in this process, as notebooks do."""
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(REPOSITORY / script), run_name="__main__")
    return ended.value.code


def test_scripts_run_twice_in_one_process(tmp_path, monkeypatch, capsys):
    handler = signal.getsignal(signal.SIGINT)
    wrong = str(tmp_path / "none")
    one = [f"--label_filename={LAKE}", f"--results_dir={tmp_path / 'out'}", "--restyle=picture=seed:3"]
    assert run_here("test_one.py", monkeypatch, *one) == 0
    assert run_here("test_one.py", monkeypatch, *one) == 0
    assert run_here("export.py", monkeypatch, f"--checkpoint_dir={wrong}") == 2
    assert wrong in capsys.readouterr().err
    assert run_here("train.py", monkeypatch, *as_flags({"label_filename": LAKE})) == 2  # test_one.py's
    assert "--label_filename: no such flag" in capsys.readouterr().err
    assert run_here("test_one.py", monkeypatch, f"--checkpoint_dir={wrong}") == 2
    assert flags.FLAGS.restyle == []  # nothing is left of the first
    assert signal.getsignal(signal.SIGINT) is handler and sys.argv[0] == "test_one.py"


def test_a_flag_of_absl_comes_back(monkeypatch):
    before = flags.FLAGS["log_dir"]
    run_here("train.py", monkeypatch, "--log_dir=x", "--no_such_flag")
    assert flags.FLAGS["log_dir"] is not before
    run_here("test_one.py", monkeypatch, "--no_such_flag")
    assert flags.FLAGS["log_dir"] is before


def test_names_that_stdout_cannot_encode(tmp_path):
    label = tmp_path / "湖.png"
    label.write_bytes(LAKE.read_bytes())
    where = [
        "--checkpoint_dir",
        "demo_spade",
        "--label_filename",
        str(label),
        "--results_dir",
        str(tmp_path / "out"),
    ]
    code, out, err = run_script("test_one.py", where, PYTHONIOENCODING="cp1252")
    assert code == 0, err
    assert r"\u6e56_synthesized.png" in out and (tmp_path / "out" / "湖_synthesized.png").exists()


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)


def test_the_list_of_commands_needs_no_tensorflow():
    done = python(
        "import sys, semantic_synthesis.__main__ as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'tensorflow', 'keras', 'cv2'} & set(sys.modules)"
    )
    assert done.returncode == 0, done.stderr
    listed = re.findall(r"^(\w+(?: \w+)?)  +\w", done.stdout, re.M)
    assert listed == list(__main__.COMMANDS)


def test_help_of_a_group_lists_its_commands(capsys):
    with pytest.raises(SystemExit) as ended:
        __main__.main(["prepare", "--help"])
    assert not ended.value.code
    listed = [line[:19].strip() for line in capsys.readouterr().out.splitlines()]
    assert listed == [name for name in __main__.COMMANDS if name.startswith("prepare ")]


def test_help_begins_with_the_summary_of_the_list(monkeypatch, capsys):
    monkeypatch.setattr(command_line, "start", lambda main, help_text: print(help_text()))
    for name, (_, _, summary) in __main__.COMMANDS.items():
        __main__.run(name, [])
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == summary[0].upper() + summary[1:] + "." and name in lines[3], name


@pytest.mark.parametrize("name", __main__.COMMANDS)
def test_help_fits_80_columns(name, monkeypatch):
    module, attribute, summary = __main__.COMMANDS[name]
    found = getattr(importlib.import_module(f"semantic_synthesis.{module}"), attribute)
    monkeypatch.setattr(sys, "argv", [name])
    text = (found if attribute == "COMMAND" else found[name.split()[-1]]).help_text(summary)
    assert [
        line for line in text.splitlines() if len(line) > 80 and "/" not in line
    ] == []  # but for long paths


def test_a_reader_that_has_enough_is_no_error():
    done = python(
        "import os, sys, subprocess\n"
        "reader = subprocess.Popen([sys.executable, '-c', ''], stdin=subprocess.PIPE)\n"
        "reader.wait()\n"
        "command = [sys.executable, '-m', 'semantic_synthesis', 'recipes']\n"
        "done = subprocess.run(command, stdout=reader.stdin, stderr=subprocess.PIPE, text=True)\n"
        "assert (done.returncode, done.stderr) == (141, ''), done"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "flag, remedy", [("port", "--rest_api_port"), ("checkpoint_dir", "`export --checkpoint_dir RUN`")]
)
def test_flags_of_other_servers_and_commands_are_answered(flag, remedy, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["serve"])
    with pytest.raises(SystemExit) as ended:
        __main__.main(["serve", f"--{flag}=8510"])
    assert ended.value.code == 2
    assert remedy in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [("prepare", "check", "--preprocess_mode=crops"), ("evaluate", "--max_images=-1")]
)
def test_values_that_mean_nothing_are_refused(words, capsys):
    with pytest.raises(SystemExit) as ended:
        __main__.main(list(words))
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: flag {words[-1]}: ")


def test_the_server_imports_no_method():
    done = python(
        "import sys, semantic_synthesis.__main__ as m\n"
        "try: m.run('serve', ['--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not [name for name in sys.modules if name.startswith('semantic_synthesis.methods')]"
    )
    assert done.returncode == 0, done.stderr


def test_a_folder_that_stays_empty_vanishes(tmp_path):
    """So that a start that fails leaves no trace; what was there, or was written, stays."""
    from semantic_synthesis.files import locked

    for name in ("new", "old", "used"):
        folder = tmp_path / name
        if name == "old":
            folder.mkdir()
        with pytest.raises(ZeroDivisionError), locked(folder, "a training"):
            if name == "used":
                (folder / "config.json").write_text("{}")
            raise ZeroDivisionError
        assert folder.exists() == (name != "new")


def test_a_terminal_shows_messages_without_times_and_threads():
    code = """
from semantic_synthesis import command_line
from absl import logging

def main():
    logging.info("step %d", 3)
    logging.warning("a file is missing")
    return 0

command_line.start(main)
"""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        process = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, cwd=REPOSITORY)
        os.close(theirs)
        assert process.wait() == 0
        lines = screen.read(10_000).decode().splitlines()
    assert lines == ["step 3", "warning: a file is missing"]
