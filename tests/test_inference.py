"""Runs as picture makers: load_run, layouts, styles, pictures, and damaged run folders."""

import json
import shutil

import numpy as np
import pytest
from helpers import layout_map, photo, shallow_networks, write_run

from semantic_synthesis.inference import load_run


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    with shallow_networks():
        return write_run(tmp_path_factory.mktemp("shallow"))


@pytest.fixture(scope="module")
def run(run_dir):
    with shallow_networks():
        return load_run(str(run_dir))


def test_plans_of_equal_bytes_and_different_shapes_are_kept_apart(run):
    """A layout on its side has the same bytes; its plan must be its own."""
    layout = run.layout(np.zeros((32, 64), np.int32))
    on_its_side = {name: np.swapaxes(values, 1, 2).copy() for name, values in layout.items()}
    assert run._planned(layout) is not run._planned(on_its_side)
    assert run._planned(layout) is run._planned({name: values.copy() for name, values in layout.items()})
    assert run.synthesize(layout, run.sample_style([1])).shape == (1, 32, 64, 3)


def test_maps_of_different_sizes_are_refused(run, monkeypatch):
    monkeypatch.setattr(run, "instance_maps", "objects")
    with pytest.raises(
        ValueError, match=r"instance: array of shape \(8, 9\); expected that of label, \(8, 8\)"
    ):
        run.layout(np.zeros((8, 8), int), np.zeros((8, 9), int))


def test_same_layout_and_style_give_the_same_pixels(run, run_dir):
    layout, style = run.layout(layout_map(32, 64)), run.sample_style([3])
    picture = run.synthesize(layout, style)
    assert picture.shape == (1, 32, 64, 3) and picture.dtype == np.uint8
    assert np.array_equal(run.synthesize(layout, style), picture)
    with shallow_networks():
        again = load_run(str(run_dir))
    assert np.array_equal(
        again.synthesize(again.layout(layout_map(32, 64)), again.sample_style([3])), picture
    )
    assert picture.std() > 5
    others = [
        run.synthesize(layout, run.sample_style([4])),
        run.synthesize(run.layout(layout_map(32, 64, 1)), style),
    ]
    for other in others:  # both the layout and the style matter
        assert np.abs(other.astype(int) - picture).mean() > 1


def test_many_styles_at_once_equal_single_calls(run):
    layout, seeds = run.layout(layout_map(32, 64)), [0, 7, 2**40]
    together = run.synthesize(layout, run.sample_style(seeds))
    for picture, seed in zip(together, seeds, strict=True):
        single = run.synthesize(layout, run.sample_style([seed]))[0]
        assert np.abs(picture.astype(int) - single).max() <= 1  # another order of sums may truncate apart
    assert np.abs(together[0].astype(int) - together[1]).mean() > 1
    photos = np.stack([photo(32, 64, seed) for seed in range(2)])
    together = run.synthesize(layout, run.encode_style(photos))
    for picture, one in zip(together, photos, strict=True):
        single = run.synthesize(layout, run.encode_style(one))[0]
        assert np.abs(picture.astype(int) - single).max() <= 1
    assert np.abs(together[0].astype(int) - together[1]).mean() > 0.5


def test_one_style_per_layout(run):
    maps = np.stack([layout_map(32, 64, shift) for shift in range(3)])
    style = run.sample_style([1, 2, 3])
    together = run.synthesize(run.layout(maps), style)
    for i, picture in enumerate(together):
        single = run.synthesize(run.layout(maps[i]), {"z": style["z"][i : i + 1]})[0]
        assert np.abs(picture.astype(int) - single).max() <= 1


@pytest.mark.parametrize("size", [(64, 128), (8, 16), (7, 50), (1, 1), (33, 31)])
def test_any_size_is_fitted_by_nearest(run, size):
    found = run.layout(layout_map(*size))["label"]
    assert found.shape == (1, 32, 64) and found.dtype == np.int32
    assert set(np.unique(found)) <= set(np.unique(layout_map(*size)))
    if size == (64, 128):  # no pixel is mixed: each is that of one of the four it stands for
        blocks = layout_map(64, 128).reshape(32, 2, 64, 2).transpose(0, 2, 1, 3).reshape(32, 64, 4)
        assert (blocks == found[0][..., None]).any(-1).all()
    assert run.synthesize({"label": found}, run.sample_style([0])).shape == (1, 32, 64, 3)


def test_new_layouts_need_no_new_graph(run):
    for shift in range(6):
        label = np.random.default_rng(shift).integers(0, 2 + shift, (32, 64))
        run.synthesize(run.layout(label), run.sample_style(range(1 + shift % 2)))
    assert run._render.graph.experimental_get_tracing_count() <= 4


@pytest.mark.parametrize("wrong", [14, 255, -1, 70000])
def test_ids_out_of_range(run, wrong):
    label = layout_map(64, 64).astype(np.int64)
    label[1, 1] = wrong  # a pixel that the fitting may drop
    with pytest.raises(ValueError, match=rf"label ids \[{wrong}\] unknown; expected 0 to 13"):
        run.layout(label)


def test_bfloat16_is_close(run, run_dir):
    with shallow_networks():
        small = load_run(str(run_dir), precision="bfloat16")
    layout = run.layout(layout_map(32, 64))
    exact = run.synthesize(layout, run.sample_style([1])).astype(int)
    half = small.synthesize(layout, small.sample_style([1]))
    # 8 bits of mantissa: 0.4 % per rounding, some dozens of roundings of random sign: about 3 % of 255.
    assert np.abs(half - exact).mean() < 4 and np.abs(half - exact).max() < 40
    assert small.method.generator.conv_img.kernel.dtype == "bfloat16"


def test_runs_without_encoder_or_instances(tmp_path):
    with shallow_networks():
        plain = load_run(str(write_run(tmp_path / "plain", use_vae=False)))
        edges = load_run(str(write_run(tmp_path / "edges", use_vae=False, no_instance=False)))
    assert plain.sample_style([1, 2]) == {}
    with pytest.raises(ValueError, match=r"no encoder .*takes no style image"):
        plain.encode_style(photo(32, 64))
    with pytest.raises(ValueError, match="trained with instance maps; give one"):
        edges.layout(layout_map(32, 64))
    one = edges.synthesize(edges.layout(layout_map(32, 64), np.zeros((32, 64), np.int32)), {})
    two = edges.synthesize(edges.layout(layout_map(32, 64), np.arange(2048).reshape(32, 64) // 160), {})
    assert np.abs(one.astype(int) - two).mean() > 1


def damage(folder, how):
    weights, config = folder / "weights.npz", folder / "config.json"
    if how == "text":
        weights.write_text("not a zip file at all")
    elif how == "cut":
        weights.write_bytes(weights.read_bytes()[:-2000])
    elif how == "flipped":
        content = bytearray(weights.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 400] = b"\xff" * 400
        weights.write_bytes(content)
    elif how == "empty":
        weights.write_bytes(b"")
    elif how == "none":
        weights.unlink()
    elif how == "no config":
        config.unlink()
    elif how == "config cut":
        config.write_text(config.read_text()[:100])
    else:
        values = json.loads(config.read_text())
        values |= {"width": {"num_generator_filters": 3}, "no table": {"class_table": None}}[how]
        config.write_text(json.dumps(values))


@pytest.mark.parametrize(
    "how, message",
    [
        ("text", r"weights.npz: damaged \("),
        ("cut", r"weights.npz: damaged \("),
        ("flipped", r"weights.npz: damaged \("),
        ("empty", r"weights.npz: damaged \("),
        ("none", r"neither a checkpoint \(ckpt-N.index\) nor weights.npz"),
        ("no config", "no config.json here; expected a run folder"),
        ("config cut", "config.json: not valid JSON"),
        ("no table", "config.json holds no class table"),
        ("width", r"weights.npz: .* has shape .*; config.json asks for"),
    ],
)
def test_damaged_runs(run_dir, tmp_path, how, message):
    folder = tmp_path / "run"
    shutil.copytree(run_dir, folder)
    damage(folder, how)
    with shallow_networks(), pytest.raises((ValueError, FileNotFoundError), match=message) as raised:
        load_run(str(folder))
    assert str(folder) in str(raised.value) and "\n" not in str(raised.value)
