"""`generate --engine beam` with several processes: every picture once, the bytes of plain `generate`."""

import importlib.util
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_user_error, beam_workers, finish, random_arrays, start_script, tiny_config
from test_generating import draw, lines

from semantic_synthesis import runs
from semantic_synthesis.evaluation.evaluating import EvaluateOptions, score

PROCESSES = [
    "--engine=beam",
    "--beam_option=--direct_running_mode=multi_processing",
    "--beam_option=--direct_num_workers=2",
]
needs_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None, reason="apache_beam is not here"
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beam")
    config = tiny_config(folder / "run", use_vae=True, crop_size=32)
    config.save(folder / "run")
    runs.save_weights(str(folder / "run"), random_arrays(runs.build_method(config, training=False)))
    draw(folder / "maps", *(f"m{i}" for i in range(120)), "in/m")
    return folder


def start(inputs, out, *arguments):
    given = [f"--checkpoint_dir={inputs}/run", f"--label_dir={inputs}/maps", f"--results_dir={out}"]
    return start_script("semantic_synthesis/__main__.py", ["generate", *given, *arguments])


def pictures(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*.png")}


@pytest.fixture(scope="module")
def plain(inputs):
    assert finish(start(inputs, inputs / "plain"))[0] == 0
    return pictures(inputs / "plain")


@needs_beam
@pytest.mark.slow
def test_two_processes_make_the_same_bytes(inputs, plain, tmp_path):
    code, _, err = finish(start(inputs, tmp_path / "out", *PROCESSES))
    assert code == 0, err[-3000:]
    assert pictures(tmp_path / "out") == plain and len(plain) == 121
    text = (tmp_path / "out" / "manifest.jsonl").read_text()
    assert len(text.splitlines()) == 121 and lines(tmp_path / "out") == lines(inputs / "plain")


@needs_beam
@pytest.mark.slow
def test_a_killed_worker_costs_no_picture_and_makes_none_twice(inputs, plain, tmp_path):
    """Whether the runner goes on without it or gives up: the same command then makes what is left."""
    process = start(inputs, tmp_path / "out", *PROCESSES)
    end = time.monotonic() + 200
    while len(pictures(tmp_path / "out")) < 4 and time.monotonic() < end:
        time.sleep(0.05)
    victim = beam_workers(process.pid)[0]
    os.kill(victim, signal.SIGKILL)
    try:
        finish(process, timeout=60)
    except Exception:
        process.kill()
    for worker in beam_workers(process.pid):
        os.kill(worker, signal.SIGKILL)
    code, _, err = finish(start(inputs, tmp_path / "out", *PROCESSES))
    assert code == 0, err[-3000:]
    assert pictures(tmp_path / "out") == plain and lines(tmp_path / "out") == lines(inputs / "plain")


@needs_beam
@pytest.mark.slow
def test_statistics_are_those_of_evaluate(inputs, tmp_path):
    """Of pictures made now and before, merged in any order."""
    out, there = tmp_path / "out", tmp_path / "there.npz"
    measured = [*PROCESSES, "--inception_weights=random", "--eval_dims=64", f"--save_fake_stats={there}"]
    assert finish(start(inputs, out, "--shard=0/2"))[0] == 0
    code, _, err = finish(start(inputs, out, *measured))
    assert code == 0, err[-3000:]
    expected = tmp_path / "expected.npz"
    score(
        EvaluateOptions(
            metrics="fid",
            fake_dir=str(out),
            inception_weights="random",
            eval_dims="64",
            save_fake_stats=str(expected),
        )
    )
    with np.load(there) as found, np.load(expected) as wanted:
        assert found["count"] == wanted["count"] == 121 and found["network"] == wanted["network"]
        for name in ("mu", "sigma"):
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-6, atol=1e-6 * wanted[name].max())


@needs_beam
@pytest.mark.slow
def test_statistics_where_nothing_is_left_to_make(inputs, tmp_path):
    """They are those of the pictures that are there, which stay; without statistics no pipeline begins."""
    draw(tmp_path / "maps", "a", "b", "c")
    maps, out, there = f"--label_dir={tmp_path}/maps", tmp_path / "out", tmp_path / "there.npz"
    assert finish(start(inputs, out, maps))[0] == 0
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.rglob("*.*")}
    measured = [
        *PROCESSES,
        maps,
        "--inception_weights=random",
        "--eval_dims=64",
        f"--save_fake_stats={there}",
    ]
    code, _, err = finish(start(inputs, out, *measured))
    assert code == 0 and "3 pictures, 0 of them new" in err, err[-3000:]
    expected = tmp_path / "expected.npz"
    asked = {"fake_dir": str(out), "save_fake_stats": str(expected)}
    score(EvaluateOptions(metrics="fid", inception_weights="random", eval_dims="64", **asked))
    with np.load(there) as found, np.load(expected) as wanted:
        assert found["count"] == wanted["count"] == 3
        for name in ("mu", "sigma"):
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-6, atol=1e-6 * wanted[name].max())
    there.unlink()
    code, _, err = finish(start(inputs, out, *PROCESSES, maps))
    assert code == 0 and "3 pictures, 0 of them new" in err, err[-3000:]
    assert not there.exists()
    for path, (content, time_ns) in before.items():
        if path.name != "generate.json":  # written anew, the same
            assert path.stat().st_mtime_ns == time_ns, path
        assert path.read_bytes() == content, path


@needs_beam
@pytest.mark.slow
def test_a_broken_map_is_one_line(inputs, tmp_path):
    draw(tmp_path / "maps", "a")
    (tmp_path / "maps" / "b.png").write_bytes(b"no picture")
    code, _, err = finish(start(inputs, tmp_path / "out", *PROCESSES, f"--label_dir={tmp_path}/maps"))
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(errors) == 1 and "b.png: label map's format" in errors[0], err[-3000:]


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is not None, reason="apache_beam is here")
def test_without_beam_it_says_what_to_install(inputs, tmp_path):
    result = finish(start(inputs, tmp_path / "out", "--engine=beam"))
    assert_user_error(result, "pip install 'semantic-synthesis[beam]'")


def test_statistics_without_beam_are_evaluates(inputs, tmp_path):
    result = finish(start(inputs, tmp_path / "out", f"--save_fake_stats={tmp_path}/a.npz"))
    assert_user_error(result, "evaluate --fake_dir DIR --save_fake_stats FILE")
    assert not list(tmp_path.iterdir())
