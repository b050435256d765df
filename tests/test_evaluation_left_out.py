"""Pictures that an evaluation does not see are named."""

import pytest
from fixtures_data import label_map, photo, write_json, write_picture
from helpers import random_arrays, shallow_networks, tiny_config
from test_evaluation_folders import MeanColour

from semantic_synthesis import runs
from semantic_synthesis.evaluation import EvaluateOptions, GenerateOptions, evaluating, streams
from semantic_synthesis.evaluation.evaluating import score
from semantic_synthesis.evaluation.generating import generate


@pytest.fixture(autouse=True)
def light_networks(monkeypatch):
    monkeypatch.setattr(evaluating, "InceptionFeatures", MeanColour)


def test_files_beside_the_pictures(tmp_path, caplog):
    for side in ("fake", "real"):
        for n in range(3):
            write_picture(tmp_path / side / f"{n}.png", photo(seed=n))
    (tmp_path / "fake" / "generate.json").write_text("{}")  # its own record
    (tmp_path / "real" / "a.heic").write_bytes(b"x")
    write_picture(tmp_path / "real" / ".ipynb_checkpoints" / "1.png", photo())
    options = EvaluateOptions(fake_dir=str(tmp_path / "fake"), real_dir=str(tmp_path / "real"), metrics="fid")
    (figure,) = score(options)
    names = [".ipynb_checkpoints/1.png", "a.heic"]
    assert figure["left out"] == {"real_dir: they are no pictures or hidden": names}
    (said,) = [message for message in caplog.messages if ": 2 left out" in message]
    assert (
        said
        == f"--real_dir {tmp_path}/real: 2 left out, as they are no pictures or hidden: {', '.join(names)}"
    )
    (tmp_path / "real" / "a.heic").unlink()
    (tmp_path / "real" / ".ipynb_checkpoints" / "1.png").unlink()
    assert "left out" not in score(options)[0]


def test_layouts_without_picture_and_real_pictures_without_layout(tmp_path, caplog):
    for n in range(4):
        write_picture(tmp_path / "labels" / f"{n}.png", label_map((0, 1)))
    for name in ("0_0", "0_1", "1_0", "1_1", "3"):
        write_picture(tmp_path / "fake" / f"{name}.png", photo())
    for name in ("0", "1", "9"):
        write_picture(tmp_path / "real" / f"{name}.png", photo())
    folders = {f"{kind}_dir": str(tmp_path / folder)
               for kind, folder in (("fake", "fake"), ("real", "real"), ("label", "labels"))}  # fmt: skip
    stream = streams.FolderStream(EvaluateOptions(dataset_mode="scenes", **folders))
    stream.feed([])
    assert stream.protocol()["left out"] == {
        "label_dir: no picture has their names": [f"{tmp_path}/labels/2.png"],
        "real_dir: these have no label map, so that no real picture is segmented": [f"{tmp_path}/real/9.png"],
    }
    assert len(caplog.messages) == 2


def test_layouts_beyond_max_images(tmp_path, caplog):
    for n in range(5):
        write_picture(tmp_path / "images" / f"{n}.png", photo(seed=n))
        write_picture(tmp_path / "labels" / f"{n}.png", label_map((0, 1), seed=n))
    (tmp_path / "labels" / "5.gif").write_bytes(b"GIF89a")
    split = {"train": {"image": "images/{stem}.png", "label": "labels/{stem}.png"}, "val": "train"}
    classes = [{"id": 0}, {"id": 1}]
    mode = write_json(tmp_path / "a.json", {"classes": classes, "dataroot": ".", "splits": split})
    run_dir = str(tmp_path / "run")
    with shallow_networks():
        config = tiny_config(run_dir, dataset_mode=mode, crop_size=16)
        config.save(run_dir)
        runs.save_weights(run_dir, random_arrays(runs.build_method(config, training=False)))
        options = EvaluateOptions(checkpoint_dir=run_dir, max_images=3, metrics="fid")
        (figure,) = score(options)
        assert figure["images"] == 3
        assert figure["left out"] == [f"{tmp_path}/labels/3.png", f"{tmp_path}/labels/4.png"]
        assert "--max_images 3: 2 left out, as there are more layouts" in "".join(caplog.messages)
        caplog.clear()
        generate(GenerateOptions(run_dir, str(tmp_path / "labels"), results_dir=str(tmp_path / "out")))
    assert any(said.endswith("no pictures or hidden: 5.gif") for said in caplog.messages)
