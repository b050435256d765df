"""`publish`: the run made small, in either format, loads and paints as before; other programs read it by name."""

import json
import os
import re
import struct

import numpy as np
import pytest
from helpers import layout_map, shallow_networks, write_run

from semantic_synthesis import load, runs
from semantic_synthesis.describing import example_map
from semantic_synthesis.files import write_text
from semantic_synthesis.inference import load_run
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.publishing import PublishOptions, publish
from semantic_synthesis.runs import load_config


def plain_reader(path):
    """A reader without this package: {name: array}."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, values = json.loads(data[8 : 8 + length]), data[8 + length :]
    assert header.pop("__metadata__") == {"format": "tf"}
    kinds = {"F16": np.float16, "F32": np.float32}
    return {
        name: np.frombuffer(values[slice(*e["data_offsets"])], kinds[e["dtype"]]).reshape(e["shape"])
        for name, e in header.items()
    }


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_safetensors_of_a_shipped_run(dtype, tmp_path, capsys):
    options = PublishOptions("demo_spade", str(tmp_path / "run"), dtype, "safetensors")
    assert publish(options) == 0
    said = re.match(
        r"(.+): spade run, ([0-9,]+) numbers in (\w+), ([0-9.]+) MB of weights\n", capsys.readouterr().out
    )
    assert said and said[1] == str(tmp_path / "run") and said[3] == dtype
    size = (tmp_path / "run" / "model.safetensors").stat().st_size
    assert float(said[4]) == pytest.approx(size / 1e6, rel=0.01, abs=0.1)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["config.json", "model.safetensors"]
    arrays = plain_reader(tmp_path / "run" / "model.safetensors")
    config = runs.load_config(runs.find_run("demo_spade"))
    model = runs.build_method(config, training=False, initial_weights=False)
    runs.load_weights(model, runs.find_run("demo_spade"))
    variables = named_variables(model)
    assert arrays.keys() == variables.keys()
    for name, variable in variables.items():
        np.testing.assert_array_equal(arrays[name], variable.value.numpy().astype(dtype), name)


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_what_float16_does_not_hold_stays_as_it_is(kind, tmp_path):
    """Running variances have no bound; as infinity they would take a channel's part out of every picture."""
    name = "generator/head_0/norm_0/statistics/moving_variance"
    with shallow_networks():
        before = write_run(tmp_path / "run")
        arrays = dict(np.load(before / "weights.npz"))
        arrays[name][0] = 1e6
        runs.save_weights(before, arrays)
        assert publish(PublishOptions(str(before), str(tmp_path / "small"), "float16", kind)) == 0
        model = runs.build_method(runs.load_config(tmp_path / "small"), training=False)
        runs.load_weights(model, tmp_path / "small")
    found = named_variables(model)[name].numpy()
    np.testing.assert_array_equal(found, arrays[name])


def test_the_published_run_paints_the_same(tmp_path):
    publish(PublishOptions("demo_spade", str(tmp_path / "run"), "float16", "safetensors"))
    run, before = load(tmp_path / "run"), load("demo_spade")
    label = example_map(run)
    np.testing.assert_array_equal(
        run.paint(label), before.paint(label)
    )  # shipped weights are float16 already
    assert len(runs.run_sha256(tmp_path / "run")) == 64
    (tmp_path / "run" / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n" * 9)
    with pytest.raises(ValueError, match=r"model\.safetensors: .*get the file again"):
        load(tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"nor weights\.npz nor model\.safetensors"):
        load(tmp_path / "run")
    (tmp_path / "run" / "weights.npz").write_bytes(b"version https://git-lfs.github.com/spec/v1\nsize 9\n")
    with pytest.raises(ValueError, match=r"weights\.npz: a pointer to 9 bytes that Git LFS left"):
        load(tmp_path / "run")


def test_published_runs_make_the_same_pictures(tmp_path):
    with shallow_networks():
        places = {"image_dir": "/home/me/photos", "label_dir": "/home/me/labels", "dataroot": "/home/me"}
        run_dir = write_run(tmp_path / "run")
        load_config(run_dir).replace(**places).save(run_dir)
        small = str(tmp_path / "small")
        assert publish(PublishOptions(str(run_dir), small)) == 0
        assert "/home/me" not in (tmp_path / "small" / "config.json").read_text()
        before, after = load_run(str(run_dir)), load_run(small)
        pictures = [
            run.synthesize(run.layout(layout_map(32, 64)), run.sample_style([3])) for run in (before, after)
        ]
    assert sorted(os.listdir(small)) == ["config.json", "weights.npz"]
    with np.load(os.path.join(small, "weights.npz")) as file:
        assert {file[name].dtype for name in file.files} == {np.dtype(np.float16)}
        assert not [name for name in file.files if name.startswith("discriminator")]
    assert np.abs(np.diff(np.stack(pictures).astype(int), axis=0)).max() <= 3
    with open(os.path.join(small, "config.json"), encoding="utf-8") as file:
        assert str(tmp_path) not in file.read()


def test_paths_of_files_are_published_as_names(tmp_path):
    """The run loads without them; training that starts from it takes the paths again."""
    places = tmp_path / "secret"
    files = {name: str(places / name) for name in ("mine.json", "ids.txt", "vgg19.pth")}
    write_text(files["ids.txt"], "0, 1, 2")
    write_text(files["mine.json"], json.dumps({"title": "mine"}))
    given = {
        "dataset_mode": files["mine.json"],
        "semantic_label_path": files["ids.txt"],
        "vgg_weights": files["vgg19.pth"],
    }
    with shallow_networks():
        write_run(tmp_path / "run")
        config = runs.load_config(tmp_path / "run")
        config.replace(**given).save(tmp_path / "run")
        assert publish(PublishOptions(str(tmp_path / "run"), str(tmp_path / "small"))) == 0
        assert "secret" not in (tmp_path / "small" / "config.json").read_text()
        found = runs.load_config(tmp_path / "small")
        assert {name: getattr(found, name) for name in given} == {
            n: os.path.basename(p) for n, p in given.items()
        }
        run = load_run(str(tmp_path / "small"))
        assert run.table.names == load_run(str(tmp_path / "run")).table.names
        run.synthesize(run.layout(layout_map(32, 64)), run.sample_style([3]))
        again = runs.training_config({**given, "checkpoint_dir": str(tmp_path / "small")}, None)
        assert {name: getattr(again, name) for name in given} == given
        other = {"dataset_mode": "/elsewhere/other.json", "checkpoint_dir": str(tmp_path / "small")}
        with pytest.raises(ValueError, match=r"was started with --dataset_mode mine\.json"):
            runs.training_config(other, None)


def test_mistakes(tmp_path):
    with pytest.raises(ValueError, match="needs --checkpoint_dir"):
        publish(PublishOptions())
    with pytest.raises(ValueError, match="exists already"):
        publish(PublishOptions("demo_spade", str(tmp_path)))
