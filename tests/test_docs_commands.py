"""Commands of the migration pages, of the methods' pages and others, and Python blocks, run on tiny data page by page.

Sizes and lengths are made tiny by flags after those of the page; everything else is as it stands there. Files of the
other programs are made up: their tensors at a small width.
"""

import itertools
import os
import shutil
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest
import reference_inade
import reference_spade
from docs_code import blocks, commands, ours, spans
from helpers import REPOSITORY, conformance_options, shallow_networks, write_run
from test_data_pipeline import make_tree

pytest.importorskip("torch", reason="writing .pth files needs PyTorch (pip install torch)")

import reference_scgan
import test_conversion_clade
import test_conversion_clvae
import test_conversion_oasis
import test_conversion_sims

from semantic_synthesis import __main__
from semantic_synthesis.config import Config
from semantic_synthesis.data.scenes import COLORS, render_scene
from semantic_synthesis.methods import METHODS
from semantic_synthesis.options import options_of
from semantic_synthesis.recipe_files import read_recipe

DOCS = REPOSITORY / "docs"
PAGES = [
    *sorted((DOCS / "migration").glob("*.md")),
    *sorted((DOCS / "methods").glob("*.md")),
    *(DOCS / name for name in ("datasets.md", "restyling.md", "training.md")),
]
TREES = {
    "COCO": "coco",
    "ADE20K": "ade20k",
    "CITYSCAPES": "cityscapes",
    "GTA5": "gta5",
    "CelebAMask-HQ": "celeba_scgan",
    "ADEChallengeData2016": "ade20k",
}
# What is not run here, and where it is.
ELSEWHERE = {
    "paint": "a server: test_paint.py",
    "prepare celeba": "its tree of parts: test_data_files.py",
    "export": "test_exporting.py",
}
SIZE = 64
# Of the tiny options those that a page's command decides itself.
OF_THE_PAGE = {"method", "dataset_mode", "scenes_count", "no_instance", "use_vae", "bank_dir", "ema_decay"}
CONVERTED = "converted"  # marks such a run


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A folder with all files that the pages name: scenes as photos and maps, trees of the named datasets."""
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        scene = render_scene(seed, SIZE, SIZE)
        picture = scene.image[..., ::-1]
        for place in ("photos/{}.png", "styles/{}.png"):
            write(tmp_path / place.format(seed), picture)
        for place in ("labels/{}.png", "maps/{}.png", "style_maps/{}.png"):
            write(tmp_path / place.format(seed), scene.label)
        write(tmp_path / f"instances/{seed}.png", scene.instance)
        write(tmp_path / f"town/images/{seed}.png", picture)
        write(tmp_path / f"town/labels/{seed}.png", scene.label)
        write(tmp_path / f"facades_data/base/{seed}.jpg", picture)
        write(tmp_path / f"facades_data/base/{seed}.png", scene.label)
    scene.label[:8], scene.label[8:16] = 3, 8  # sky and bed of ADE20K
    for name, array in {"photo.jpg": picture, "photo.png": picture, "map.png": scene.label}.items():
        write(tmp_path / name, array)
    write(tmp_path / "photo_labels.png", scene.label)
    (tmp_path / "semantic_labels.txt").write_text(",".join(map(str, range(len(COLORS)))))
    shutil.copytree(tmp_path / "photos", tmp_path / "REAL")
    shutil.copytree(tmp_path / "photos", tmp_path / "FAKE")
    statistics = tmp_path / "datasets" / "train_mu_si" / "ade20k"
    statistics.mkdir(parents=True)
    np.save(statistics / "m.npy", np.zeros(64))
    np.save(statistics / "s.npy", np.eye(64))
    for name in ("recipes", "datasets/scenes", "checkpoints/demo_inade", "checkpoints/demo_spade"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(REPOSITORY / name)
    for root, mode in TREES.items():
        make_tree(tmp_path / root, mode)
    for path in (tmp_path / "COCO").glob("*_label/*.png"):  # objects that fit their classes
        shutil.copy(path, str(path).replace("_label", "_inst"))
    for path in (tmp_path / "CITYSCAPES" / "gtFine" / "val").rglob("*_labelIds.png"):
        shutil.copy(path, str(path).replace("_labelIds", "_instanceIds"))
    write_rarity(tmp_path / "GTA5" / "rarity")
    return tmp_path


def write_rarity(folder):
    """Two samples, drawn alike, all pixels of one weight."""
    folder.mkdir()
    for class_id in range(20):
        np.save(folder / f"kdecolor_rarity_bin_{class_id}.npy", np.array([0.5, 1.0]))
    np.save(folder / "GTA_weightedrarity_mask.npy", np.ones((2, 24, 32, 1), np.float32))


def order(words):
    """Memories first, then trainings, then what is done with them."""
    return 0 if "prepare" in words else 1 if "train.py" in words else 2


def value_of(words, flag, default=""):
    """The value of a flag in a list of words."""
    after = dict(itertools.pairwise(words))
    equal = (word.partition("=")[2] for word in words if word.startswith(f"{flag}="))
    return after.get(flag) or next(equal, default)


def run(name, words):
    """Runs one command in this process; AssertionError unless it ends well.

    Shipped and converted runs have the whole depth, those made here a shallow one.
    """
    run_dir = value_of(words, "--checkpoint_dir")
    whole = name == "convert" or "demo" in run_dir or (Path(run_dir or ".") / CONVERTED).exists()
    with pytest.raises(SystemExit) as ended, nullcontext() if whole else shallow_networks((4, 1)):
        __main__.run(name, words)
    assert not ended.value.code, f"{name} {' '.join(words)}: exit code {ended.value.code}"
    if name == "convert":
        (Path(run_dir) / CONVERTED).touch()


def saved(path, tensors):
    """Writes a state dict."""
    torch = pytest.importorskip("torch", reason="writing .pth files needs PyTorch")
    path.parent.mkdir(exist_ok=True)
    torch.save({name: torch.tensor(array) for name, array in tensors.items()}, path)


def write_originals(words):
    """The other program's files that a `convert` names, of narrow networks for its dataset."""
    method, mode = (value_of(words, flag) for flag in ("--method", "--dataset_mode"))
    if method == "sims":
        for role, network in (
            ("synthesis", "synthesis_256"),
            ("transformation", "transform"),
            ("order", "order"),
        ):
            words[words.index(f"--{role}") + 1] = test_conversion_sims.write(Path.cwd(), network)
        return
    if method == "oasis":
        path = Path(value_of(words, "--source"))
        path.parent.mkdir()
        return test_conversion_oasis.saved(path, widened)
    classes = {"ade20k": 151, "coco": 183, "cityscapes": 35, "celeba_scgan": 19}[mode]
    if method == "inade":
        generator = reference_inade.generator_shapes(2, classes, 3, 4, cells=32)
        made = reference_inade.filled(generator), reference_inade.filled(reference_inade.encoder_shapes(2, 3))
    elif method == "clade":
        made = (reference_inade.filled(test_conversion_clade.shapes(2, classes, 0, False)),)
    elif method == "scgan":
        made = scgan_tensors(classes, encoder="--encoder" in words)
    elif method == "clvae":
        generator = test_conversion_clvae.generator_shapes(2, classes, 3, "normal", (256, 256), hidden=2)
        made = tuple(map(reference_spade.filled, (generator, test_conversion_clvae.encoder_shapes(2, 3))))
    else:
        made = (reference_spade.filled(reference_spade.generator_shapes(1, classes, hidden=2)),)
    for flag, tensors in zip(("--source", "--encoder"), made, strict=False):
        saved(Path(value_of(words, flag)), tensors)


def scgan_tensors(classes, encoder):
    """A generator with three experts each, and with an encoder its own."""
    vae = (256, 256) if encoder else None
    shapes = reference_scgan.generator_shapes(
        1, 3, 1, classes, "normal", (3, 3), spectral_routing=not encoder, vae=vae, hidden=4
    )
    made = [reference_scgan.random_tensors(shapes)]
    if encoder:
        made.append(reference_spade.filled(reference_spade.encoder_shapes(2)))
    return made


def widened(tensors):
    """The OASIS fixture's generator for ADE20K's classes and 64 channels of noise."""
    import torch

    wide = {n: t for n, t in tensors.items() if n.endswith(("fc.weight", "mlp_shared.0.weight"))}
    return {**tensors, **{name: torch.zeros([len(t), 64 + 151, 3, 3]) for name, t in wide.items()}}


def method_of(words):
    """The method that a training asks for, itself or by its flag file."""
    recipe = value_of(words, "--flagfile")
    return value_of(words, "--method") or (read_recipe(recipe).methods[0] if recipe else "spade")


def tiny(name, words):
    """The flags that follow those of the page."""
    scenes = ["--scenes_count=8"] if value_of(words, "--dataset_mode") == "scenes" else []
    if name == "train":
        method = method_of(words)
        small = {**conformance_options(method), "batch_size": 2, "total_steps": 1, "train_eval": False}
        small |= {"preprocess_mode": "fixed"} | ({"use_order": False} if method == "sims" else {})
        own = set(options_of(Config.class_for(method))) - OF_THE_PAGE
        return scenes + [f"--{key}={value}" for key, value in small.items() if key in own]
    if name == "evaluate":
        return ["--inception_weights=random", "--eval_dims=64", "--max_images=2", "--batch_size=2"]
    if name == "prepare bank":
        return [*scenes, "--crop_size=32"]
    return []


def run_options(method):
    """Options of a run without instance maps, at the size of the workspace's maps."""
    return {**conformance_options(method, crop_size=SIZE), "no_instance": True, "aspect_ratio": 1.0}


def commands_of(page):
    """Commands of ours, [(name, flags)], memories and trainings first, else in the page's order."""
    found = list(spans(page))
    found += [words for block in blocks(page) if block.language == "bash" for words in commands(block.text)]
    complete = [words for words in found if ours(words) and not {"...", "--help"} & set(words)]
    return [(name, words) for name, words in map(ours, sorted(complete, key=order)) if name not in ELSEWHERE]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_commands_of_a_page_run_in_its_order(page, workspace):
    if page.stem in METHODS:
        with shallow_networks((4, 1)):
            write_run(workspace / "RUN", **run_options(page.stem))
    for block in blocks(page):
        if block.language == "json":
            (workspace / "facades_folder.json").write_text(block.text)
    found = commands_of(page)
    for name, words in found:
        if name == "convert":
            write_originals(words)
        for folder in [word for word in words if word.endswith("/best")]:
            if not os.path.exists(folder):
                shutil.copytree(os.path.dirname(folder), folder)
        run(name, [*words, *tiny(name, words)])
    assert found
    if page.name == "keras-io-gaugan.md":
        with shallow_networks((4, 1)):
            assert python_of(page)["label"].shape == (SIZE, SIZE) and (workspace / "facade.png").exists()


def python_of(page):
    """The variables that a page's Python leaves, run in the working directory."""
    (block,) = [block for block in blocks(page) if block.language == "python"]
    found = {}
    exec(compile(block.text, str(block), "exec"), found)
    return found


@pytest.mark.slow
def test_python_of_restyling_md(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    found = python_of(REPOSITORY / "docs" / "restyling.md")
    assert found["picture"].shape == (*found["label"].shape, 3) and found["picture"].std() > 20


@pytest.mark.slow
def test_python_of_clvae_md(workspace):
    """Levels 3 and 4 of the sky come from the photo, all else from the seed."""
    write_run(workspace / "RUN", **run_options("clvae"))
    found = python_of(REPOSITORY / "docs" / "methods" / "clvae.md")
    ours, other = found["latents"], found["other"]["class_latents"].numpy()
    before, sky = found["style"]["class_latents"].numpy(), found["sky"]
    np.testing.assert_array_equal(ours[:, 3:5, sky], other[:, 3:5, sky])
    ours[:, 3:5, sky] = before[:, 3:5, sky]
    np.testing.assert_array_equal(ours, before)
    assert found["picture"].shape == (SIZE, SIZE, 3)
