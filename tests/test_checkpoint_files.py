"""What is left of a run after kills and damage: which checkpoint counts, and what is cleared."""

import contextlib
import os
import resource
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from helpers import read_events
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

from semantic_synthesis import files
from semantic_synthesis.checkpoint_files import CheckpointWriter, newest_checkpoint, remove_leftovers
from semantic_synthesis.training.monitoring import Monitor


class State:
    """A variable and its checkpoints in a folder."""

    def __init__(self, folder):
        self.value = tf.Variable(np.zeros(500, np.float32))
        self.state = tf.train.Checkpoint(value=self.value)
        self.writer = CheckpointWriter(self.state, folder, 3)

    def save(self, number):
        self.value.assign(np.full(500, number, np.float32))
        self.writer.save(number)

    def value_of(self, prefix):
        self.state.read(prefix).assert_consumed()
        return float(self.value[0])


@pytest.fixture
def state(tmp_path):
    state = State(tmp_path)
    for number in (2, 4, 6, 8):
        state.save(number)
    return state


@contextlib.contextmanager
def files_up_to(size):
    """Every file that grows further meets an error of the system, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_three_are_kept(tmp_path, state):
    parts = (".data-00000-of-00001", ".index", ".sha256")
    assert names(tmp_path) == ["checkpoint"] + [f"ckpt-{n}{part}" for n in (4, 6, 8) for part in parts]
    assert newest_checkpoint(tmp_path) == tf.train.latest_checkpoint(tmp_path) == str(tmp_path / "ckpt-8")
    assert state.value_of(newest_checkpoint(tmp_path)) == 8


def damage(path, how):
    if how == "deleted":
        path.unlink()
    elif how == "zeros":
        path.write_bytes(bytes(path.stat().st_size))
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "not text":
        path.write_bytes(b"\xff\xfe\x80 ckpt")
    elif how == "another number":
        path.write_text(path.read_text().replace("ckpt-8", "ckpt-0"))


DAMAGES = ("deleted", "zeros", "empty", "not text", "another number")


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_list_changes_nothing(tmp_path, state, how):
    damage(tmp_path / "checkpoint", how)
    assert state.value_of(newest_checkpoint(tmp_path)) == 8


@pytest.mark.parametrize("how", DAMAGES)
def test_older_runs_without_checksums(tmp_path, state, how):
    for path in tmp_path.glob("*.sha256"):
        path.unlink()
    assert state.value_of(newest_checkpoint(tmp_path)) == 8
    damage(tmp_path / "checkpoint", how)
    assert state.value_of(newest_checkpoint(tmp_path)) == 8
    if how != "another number":  # what nothing lists is read to its end
        path = tmp_path / "ckpt-8.data-00000-of-00001"
        path.write_bytes(bytes(path.stat().st_size))
        assert state.value_of(newest_checkpoint(tmp_path)) == 6


@pytest.mark.parametrize("part", ["index", "data-00000-of-00001", "sha256"])
def test_every_changed_byte_is_seen(tmp_path, state, part):
    path = tmp_path / f"ckpt-8.{part}"
    whole = path.read_bytes()
    for at in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(
            ValueError, match=r"ckpt-8\S*: damaged.*delete its files to use an older one \(ckpt-8"
        ):
            newest_checkpoint(tmp_path)


def test_who_deletes_the_newest_goes_on_from_an_older_one(tmp_path, state):
    for path in tmp_path.glob("ckpt-8.[di]*"):
        path.unlink()
    assert state.value_of(newest_checkpoint(tmp_path)) == 6
    state.save(7)
    assert state.value_of(newest_checkpoint(tmp_path)) == 7


def test_half_written_checkpoints_do_not_count_and_are_cleared(tmp_path, state):
    (tmp_path / "ckpt-10.data-00000-of-00001").write_bytes(b"half")
    (tmp_path / "ckpt-10.index").write_bytes(b"")
    (tmp_path / "ckpt-12_temp").mkdir()
    (tmp_path / "ckpt-12_temp" / "part-00000").write_bytes(b"half")
    assert state.value_of(newest_checkpoint(tmp_path)) == 8
    kept = [name for name in names(tmp_path) if "ckpt-1" not in name]
    remove_leftovers(tmp_path)
    assert names(tmp_path) == kept


def test_a_full_disk_leaves_the_checkpoints_before(tmp_path, state):
    before = names(tmp_path)
    (tmp_path / "ckpt-10_temp").write_text(
        "no folder can be made here"
    )  # what the kernel says stays TensorFlow's
    with pytest.raises(OSError, match=r"ckpt-10: cannot be written \(.+\); free space"):
        state.save(10)
    assert [name for name in names(tmp_path) if name != "ckpt-10_temp"] == before
    assert state.value_of(newest_checkpoint(tmp_path)) == 8


# Parts and locks


HOLD = """
import sys, time
sys.path.insert(0, {root!r})
from semantic_synthesis import files
with files.locked({folder!r}, "another training"), files.written_beside({folder!r} + "/held.bin"):
    print("ready", flush=True)
    time.sleep(60)
"""


def test_lock_and_parts_of_other_processes(tmp_path):
    root = str(files.Path(files.__file__).parents[1])
    code = HOLD.format(root=root, folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        (part,) = tmp_path.glob(".part-*")
        with (
            pytest.raises(
                OSError, match=rf"another training is at work here \(process {process.pid} on \S+\); wait"
            ),
            files.locked(tmp_path, "another training"),
        ):
            pass
        files._swept.clear()
        files.write_text(tmp_path / "a.txt", "a")
        assert part.exists()  # its writer lives
        process.kill()
    assert part.exists()
    with files.locked(tmp_path, "another training"):
        files._swept.clear()
        (tmp_path / "old.png.part-4194304").write_bytes(b"by an older version")  # no such process
        with files.folder_beside(tmp_path / "b") as folder:
            (folder / "x").write_text("x")
    assert names(tmp_path) == [".lock", "a.txt", "b"]


def test_a_file_where_a_folder_is_needed(tmp_path):
    """Said of every way to write, with the file's name."""
    (tmp_path / "a").write_text("x")
    inside = tmp_path / "a" / "b" / "c"

    def locked():
        with files.locked(inside, "another training"):
            pass

    def beside():
        with files.folder_beside(inside):
            pass

    for write in (
        lambda: files.make_folder(tmp_path / "a"),
        lambda: files.make_folder(inside),
        lambda: files.write_text(inside, "x"),
        lambda: files.write_text(tmp_path / "a" / "b", "x"),
        locked,
        beside,
    ):
        with pytest.raises(OSError, match=r"cannot be written .*/a is no folder; choose another one$"):
            write()
    assert names(tmp_path) == ["a"]


def test_two_who_make_one_folder(tmp_path):
    with (
        pytest.raises(
            OSError, match=r"b: cannot be written .*another program made it meanwhile; choose another name"
        ),
        files.folder_beside(tmp_path / "b"),
    ):
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "x").write_text("x")
    assert names(tmp_path) == ["b"]


def test_names_as_long_as_the_disk_allows(tmp_path):
    files.write_text(tmp_path / ("n" * 251 + ".txt"), "long")
    assert (tmp_path / ("n" * 251 + ".txt")).read_text() == "long"
    with pytest.raises(OSError, match=r"File name too long\); choose a shorter name"):
        files.write_text(tmp_path / ("n" * 256), "longer")
    assert len(os.listdir(tmp_path)) == 1


# TensorBoard


def monitored(folder):
    return SimpleNamespace(results_folder=str(folder / "s"), log_folder=str(folder / "l"), batch_size=1)


@pytest.mark.parametrize("size", [10, 2000])
def test_a_full_disk_of_logs(tmp_path, size):
    """At once, or after some hundred values: an error that names the folder."""
    config = monitored(tmp_path)
    with pytest.raises(OSError, match=r"/l: cannot be written \(.+\); free space"), files_up_to(size):
        monitor = Monitor(config, 1000, 0)
        for step in range(500):
            monitor.scalars(step, {"generator": {"GAN": 1.0}}, {})
        monitor.close()


def test_curves_begin_anew_at_the_resumed_step(tmp_path):
    """TensorBoard itself reads the folder: of a killed run's steps none is left that a resumed one did again."""
    config = monitored(tmp_path)
    for first, steps in ((0, (2, 4, 6, 8)), (5, (6,))):  # killed after step 8, its checkpoint of step 5
        monitor = Monitor(config, 10, first)
        for step in steps:
            monitor.scalars(step, {"generator": {"GAN": step + first / 10}}, {})
        monitor.close()
    events = EventAccumulator(config.log_folder).Reload()
    (tag,) = [tag for tag in events.Tags()["tensors"] if tag.endswith("GAN")]
    assert [event.step for event in events.Tensors(tag)] == [2, 4, 6]
    assert read_events(config.log_folder)[tag][6] == pytest.approx(6.5)
