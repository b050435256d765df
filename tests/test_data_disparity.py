"""Disparity maps: exact ones of scenes, files of them, and their way into batches."""

import shutil

import cv2
import numpy as np
import pytest
from fixtures_data import encode_png

from semantic_synthesis.data import DataError, open_dataset, resolve
from semantic_synthesis.data.catalogue import describe
from semantic_synthesis.data.pairing import find_samples
from semantic_synthesis.data.prepare import COMMANDS, ScenesOptions, write_scenes
from semantic_synthesis.data.scenes import CLASSES, render_scene
from semantic_synthesis.methods import make_config


def test_scenes_know_what_is_closer():
    """Sky, then hills, then ground by its row; an object is as close as its foot, and closer than what it hides."""
    seen = 0
    for seed in range(6):
        scene = render_scene(seed, 96, 96)
        close = scene.disparity.astype(int)
        assert close.min() > 0
        kind = [scene.label == CLASSES.index(name) for name in ("sky", "mountain", "grass")]
        medians = [np.median(close[k]) for k in kind if k.any()]
        assert medians == sorted(medians)
        for column in range(0, 96, 7):
            grass = close[kind[2][:, column], column]
            assert (np.diff(grass) >= 0).all(), "the ground comes closer downwards"
        for number in np.unique(scene.instance[scene.label == CLASSES.index("tree")]):
            mask = scene.instance == number
            assert len(np.unique(close[mask])) == 1
            foot = np.nonzero(mask)[0].max()
            above = kind[2][:foot] & ~mask[:foot]
            if mask.sum() > 40 and above.any():
                seen += 1
                assert close[mask][0] > np.median(close[:foot][above])
    assert seen > 10


def written(tmp_path, disparity=True, count=3):
    options = ScenesOptions(count=count, out=str(tmp_path), height=32, width=32, disparity=disparity)
    assert write_scenes(options) == 0
    return make_config("sims", dataset_mode=str(tmp_path / "dataset.json"), crop_size=32, no_instance=True)


def test_files_reach_batches_with_the_same_geometry(tmp_path):
    config = resolve(written(tmp_path))
    dataset = open_dataset(config, "train", "regions", ("disparity",))
    plain = open_dataset(config, "train", "regions")
    for batch, other in zip(dataset.batches(2), plain.batches(2).take(3), strict=False):
        assert list(batch) == ["image", "label", "instance", "disparity", "row"] and "disparity" not in other
        for i, row in enumerate(batch["row"].numpy()):
            scene = render_scene(dataset.drawn(row), 32, 32)
            mirrored = not np.array_equal(batch["label"][i], scene.label)
            expected = scene.disparity[:, ::-1] if mirrored else scene.disparity
            np.testing.assert_array_equal(batch["disparity"][i], expected)
            np.testing.assert_array_equal(batch["label"][i], other["label"][i])
    rendered = resolve(make_config("sims", dataset_mode="scenes", crop_size=32, scenes_count=2))
    batch = next(iter(open_dataset(rendered, "train", "regions", ("disparity",)).batches(1, training=False)))
    np.testing.assert_array_equal(batch["disparity"][0], render_scene(0, 32, 32).disparity)


def test_check_reads_disparity_maps(tmp_path, capsys):
    config = written(tmp_path)
    check = COMMANDS["check"]
    assert check.run(check.options(dataset_mode=config.dataset_mode)) == 0
    folder = tmp_path / "disparities"
    cv2.imwrite(str(folder / "0000000.png"), np.zeros((32, 32, 3), np.uint8))
    cv2.imwrite(str(folder / "0000001.png"), np.zeros((16, 32), np.uint16))
    (folder / "0000002.png").unlink()
    capsys.readouterr()
    assert check.run(check.options(dataset_mode=config.dataset_mode)) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if "problem: " in line]
    assert ["no disparity map has its stem '0000002'" in line for line in lines] == [True] * 3 + [False] * 2
    assert "0.png: disparity map in colours" in lines[3] and "1.png: 32x16 pixels, but" in lines[4]
    own = {f"{kind}_dir": str(tmp_path / f"{kind}s") for kind in ("image", "label")}
    assert check.run(check.options(**own)) == 0
    assert check.run(check.options(**own, disparity_dir=str(folder))) == 1
    shutil.rmtree(folder)
    assert check.run(check.options(dataset_mode=config.dataset_mode)) == 0, "datasets come without them, too"


def test_mistakes(tmp_path):
    config = resolve(written(tmp_path / "without", disparity=False))
    with pytest.raises(DataError, match="no disparity maps are described; give --disparity_dir"):
        open_dataset(config, "train", "regions", ("disparity",))
    config = resolve(written(tmp_path / "with"))
    folder = tmp_path / "with" / "disparities"
    custom = config.replace(
        image_dir=str(tmp_path / "with" / "images"),
        label_dir=str(tmp_path / "with" / "labels"),
        disparity_dir=str(folder),
    )
    samples = find_samples(custom, describe(config.dataset_mode), "train", extra_maps=("disparity",))
    assert [s.disparity for s in samples] == [str(folder / f"{i:07d}.png") for i in range(3)]
    assert find_samples(custom, describe(config.dataset_mode), "train")[0].disparity is None
    cv2.imwrite(str(folder / "0000001.png"), np.zeros((16, 32), np.uint16))
    dataset = open_dataset(config, "train", "regions", ("disparity",))
    with pytest.raises(DataError, match="32x16 pixels, the photo has 32x32"):
        dataset._load(1, None)
    cv2.imwrite(str(folder / "0000001.png"), np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(DataError, match="disparity map in colours"):
        dataset._load(1, None)
    (folder / "0000001.png").write_bytes(encode_png(np.ones((32, 32)), 3, 8, np.eye(3)))
    with pytest.raises(DataError, match="disparity map in colours"):  # a palette's indices have no order
        dataset._load(1, None)
    (folder / "0000002.png").unlink()
    with pytest.raises(DataError, match="no disparity map has its stem '0000002'"):
        open_dataset(config, "train", "regions", ("disparity",))
