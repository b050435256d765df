"""A method of another package, from the command lines: trained, resumed, restyled, exported, served, converted.

Nothing in this project knows it (tests/plugins/painter.py); conftest.py puts it where installed packages are found.
"""

import json
import re
import urllib.request

import cv2
import numpy as np
import pytest
from helpers import as_flags, assert_user_error, finish, run_here, run_script, start_script, wait_for

from semantic_synthesis.config import Config
from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.one_picture import OneOptions, make_pictures
from semantic_synthesis.runs import open_run

SIZE = 32


def make(script, **options):
    """Standard output of a script that succeeds."""
    code, out, err = run_script(script, as_flags(options))
    assert code == 0, err[-3000:]
    for noise in ("E0000", "W0000", "I0000", "Sharding", "oneDNN", "WARNING: All log"):
        assert noise not in err, err  # nothing of TensorFlow's
    return out, err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin")
    for seed in (5, 9):
        scene = render_scene(seed, SIZE, SIZE)
        cv2.imwrite(str(path / f"{seed}.png"), scene.label)
        cv2.imwrite(str(path / f"{seed}.jpg"), scene.image[..., ::-1])
    options = {
        "method": "painter",
        "crop_size": SIZE,
        "scenes_count": 4,
        "batch_size": 2,
        "distribute": "none",
    }
    make(
        "train.py", **options, checkpoint_dir=path / "run", total_steps=3, ema_decay=0.9, lr=0.01, paint_dim=3
    )
    return path


def picture(folder, name, *edits):
    """A picture of test_one.py, made in this process: int [h,w,3]."""
    options = OneOptions(
        checkpoint_dir=str(folder / "run"),
        label_filename=str(folder / "5.png"),
        results_dir=str(folder / name),
        restyle=edits,
    )
    return cv2.imread(make_pictures(options)[0]).astype(int)


def test_trains_and_resumes(folder):
    config = Config.load(folder / "run")
    assert (config.method, config.paint_dim, config.brush_width, config.total_epochs) == ("painter", 3, 8, 20)
    stored = json.loads((folder / "run" / "config.json").read_text())
    assert "brush_width" in stored and not {"norm_G", "noise_dim", "use_vae"} & set(stored)
    _, err = make("train.py", checkpoint_dir=folder / "run", total_steps=5)
    assert re.search(r"resuming \S+ckpt-3 at step 3; learning rate: \w+ [0-9.e-]+", err)
    assert (folder / "run" / "ckpt-5.index").exists()
    result = run_here(
        "train", as_flags({"checkpoint_dir": folder / "run", "norm_G": "spectralspadeinstance3x3"})
    )
    assert_user_error(result, "--norm_G", "painter does not have")


def test_is_restyled_by_class_and_by_layer(folder):
    label = render_scene(5, SIZE, SIZE).label
    plain = picture(folder, "plain")
    edited = picture(folder, "layer", "class:grass/1=seed:40")
    near = cv2.dilate((label == 6).astype(np.uint8), np.ones((11, 11))) > 0
    assert near.any() and not near.all()
    # Beyond a convolution around the class and its cells of 4x4 nothing changes.
    np.testing.assert_array_equal(edited[~near], plain[~near])
    assert (edited != plain).any()
    source = f"{folder / '9.jpg'},{folder / '9.png'}"
    assert (picture(folder, "several", f"all={source}", "picture=seed:40@0.5") != plain).mean() > 0.5
    with pytest.raises(ValueError, match="layer 2; this run has 0 to 1"):
        picture(folder, "none", "class:grass/2=seed:1")


@pytest.mark.slow
def test_is_exported_and_served(folder):
    make("export.py", checkpoint_dir=folder / "run", export_dir=folder / "models")
    card = (folder / "models" / "run" / "1" / "assets.extra" / "MODEL_CARD.md").read_text()
    assert "float32 [N, layer 2, class 14, latent 3]" in card and "`paints`" in card
    server = start_script(
        "semantic_synthesis/__main__.py",
        ["serve", f"--export_dir={folder / 'models'}", "--rest_api_port=0"],
        PYTHONUNBUFFERED="1",
    )
    try:
        line = wait_for(server.stdout.readline, server)
        url = re.search(r"http\S+", line)[0]
        label = np.zeros((1, SIZE, SIZE), int).tolist()
        style = ask(url, "sample_style", {"seed": [7]})
        assert np.shape(style["paints"]) == (1, 2, 14, 3) and np.shape(style["tint"]) == (1, 3)
        expected = np.array(ask(url, "serving_default", {"label": label, "seed": [7]}))
        found = np.array(ask(url, "synthesize_style", {"label": label, **style}))
        np.testing.assert_array_equal(found, expected)
        photo = cv2.imread(str(folder / "5.jpg"))[..., ::-1][None].tolist()
        encoded = ask(url, "encode_style", {"label": label, "image": photo})
        assert np.array(encoded["paints_present"]).tolist() == [[[True] + [False] * 13] * 2]
    finally:
        server.terminate()
        finish(server)


def ask(url, signature, inputs):
    body = json.dumps({"signature_name": signature, "inputs": inputs}).encode()
    with urllib.request.urlopen(f"{url}:predict", body, timeout=60) as answer:
        return json.loads(answer.read())["outputs"]


def test_its_originals_files_are_converted(folder):
    torch = pytest.importorskip("torch")
    _, model = open_run(str(folder / "run"))
    rng = np.random.default_rng(0)
    ours = {n: rng.normal(size=v.shape).astype(np.float32) for n, v in named_variables(model).items()}
    tensors = {
        "paints.table": ours["table"],
        "norm.running_mean": ours["norm/moving_mean"],
        "norm.running_var": np.abs(ours["norm/moving_variance"]) + 1,
        "norm.num_batches_tracked": np.array(3),
        "mix.weight_orig": ours["mix/kernel"].transpose(3, 2, 0, 1),
        "mix.weight_u": ours["mix/u"],
        "mix.weight_v": ours["mix/v"],
        "mix.bias": ours["mix/bias"],
    }
    for name in ("brush", "reader"):
        tensors |= {f"{name}.weight": ours[f"{name}/kernel"].T, f"{name}.bias": ours[f"{name}/bias"]}
    torch.save({n: torch.tensor(np.ascontiguousarray(x)) for n, x in tensors.items()}, folder / "painter.pth")
    flags = {"method": "painter", "source": folder / "painter.pth", "dataset_mode": "scenes"}
    command = as_flags({**flags, "checkpoint_dir": folder / "converted"})
    code, _, err = run_here("convert", command)
    assert code == 0, err[-3000:]
    config, converted = open_run(str(folder / "converted"))
    assert (config.brush_width, config.paint_dim, config.num_classes) == (8, 3, 14)
    np.testing.assert_array_equal(named_variables(converted)["table"], ours["table"])
    wrong = as_flags({**flags, "checkpoint_dir": folder / "wrong", "noise_dim": 3})
    result = run_here("convert", wrong)
    assert_user_error(result, "--noise_dim: an option of INADE")
