"""The installed package is the whole product: a wheel in an environment of its own, used from an empty folder."""

import json
import os
import re
import site
import subprocess
import sys
import urllib.request
import venv
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import REPOSITORY, as_flags, finish, run_script, wait_for

from semantic_synthesis.data.scenes import render_scene

TINY = {
    "dataset_mode": "scenes", "scenes_count": 4, "crop_size": 32, "num_generator_filters": 1, "batch_size": 2,
    "num_discriminator_filters": 2, "num_hidden_filters": 4, "no_vgg_loss": True, "distribute": "none",
    "num_discriminators": 1, "num_discriminator_layers": 2, "total_steps": 2, "checkpoint_dir": "mine",
}  # fmt: skip


def contents(folder):
    """{file: size and time of the last change} below a folder."""
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """(function that runs the installed command in an empty folder, that folder, site-packages)."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    subprocess.run(["git", "clone", "-q", REPOSITORY, source], check=True)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        source,
    ]
    subprocess.run(build, check=True, capture_output=True)
    venv.create(folder / "environment", with_pip=True)
    python = folder / "environment" / "bin" / "python"
    (wheel,) = folder.glob("*.whl")
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True, capture_output=True
    )
    packages = next((folder / "environment" / "lib").glob("python*")) / "site-packages"
    # The dependencies, without what this environment's own .pth files add (an editable install of the clone).
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    work = folder / "work"
    work.mkdir()
    command = folder / "environment" / "bin" / "semantic-synthesis"

    def run(*words, **options):
        done = subprocess.run(
            [command, *words, *as_flags(options)],
            cwd=work,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    run.command = command
    return run, work, packages


def test_the_demo_is_the_clones(installed, tmp_path):
    run, work, _ = installed
    run("one", results_dir="pictures")
    code, out, err = run_script("test_one.py", as_flags({"results_dir": tmp_path}))
    assert code == 0, err
    for path in out.split():
        assert (work / "pictures" / Path(path).name).read_bytes() == Path(path).read_bytes()


@pytest.mark.slow
def test_everything_works_from_an_empty_folder(installed, tmp_path):
    run, work, packages = installed
    before = contents(packages)
    run("train", **TINY)
    assert (work / "mine" / "ckpt-2.index").exists()
    run("export", checkpoint_dir="mine", output_height=32, output_width=32)
    (work / "maps").mkdir()
    for seed in range(2):
        scene = render_scene(seed, 32, 32)
        cv2.imwrite(str(work / "maps" / f"{seed}.png"), scene.label)
    run("generate", checkpoint_dir="demo_spade", label_dir="maps", results_dir="generated")
    assert len(list((work / "generated").glob("*.png"))) == 2
    shown = run("evaluate", checkpoint_dir="demo_spade", max_images=2, metrics="miou,judge")
    assert "miou" in shown and (work / "demo_spade_evaluation.json").exists()
    run("prepare", "scenes", out="scenes", count=2, width=64, height=64)
    assert "0 problems" in run("prepare", "check", dataset_mode="scenes/dataset.json")
    server = subprocess.Popen(
        [run.command, "serve", "--rest_api_port=0"],
        cwd=work,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        url = re.search(r"http\S+", wait_for(server.stdout.readline, server))[0]
        body = json.dumps({"instances": [{"label": np.zeros((32, 32), int).tolist(), "seed": 1}]}).encode()
        with urllib.request.urlopen(f"{url}:predict", body, timeout=60) as answer:
            assert np.shape(json.loads(answer.read())["predictions"]) == (1, 32, 32, 3)
    finally:
        server.terminate()
        finish(server)
    assert contents(packages) == before  # nothing is written where the package lies
    made = {path.name for path in work.iterdir()}
    assert made <= {
        "mine",
        "exports",
        "maps",
        "generated",
        "demo_spade_evaluation.json",
        "demo_spade_evaluation.md",
        "scenes",
        "pictures",
    }


def test_what_the_wheel_holds(installed):
    """Class tables, demo layouts, runs, the judge, recipes, types; not the tests."""
    run, _, packages = installed
    assert f"--flagfile={packages}/semantic_synthesis/recipes/oasis_coco.flags" in run(
        "recipes", "oasis_coco"
    )
    found = {str(path.relative_to(packages)) for path in (packages / "semantic_synthesis").rglob("*")}
    for name in (
        "py.typed",
        "datasets/ade20k.json",
        "recipes/spade_ade20k.flags",
        "datasets/scenes/lake_label.png",
        *(f"serving/page/{path.name}" for path in (REPOSITORY / "semantic_synthesis/serving/page").iterdir()),
        "checkpoints/scenes_judge/weights.npz",
    ):
        assert f"semantic_synthesis/{name}" in found, name
    for run in (REPOSITORY / "checkpoints").glob("demo_*"):
        there = packages / "semantic_synthesis" / "checkpoints" / run.name
        for path in filter(Path.is_file, run.rglob("*")):
            ours, theirs = path.read_bytes(), (there / path.relative_to(run)).read_bytes()
            assert ours == theirs, path
    assert not [path for path in packages.glob("tests*")]
