"""`publish`: inference weights alone, in half precision, and the same pictures but for rounding."""

import os

import numpy as np
import pytest
from helpers import layout_map, shallow_networks, write_run

from semantic_synthesis.inference import load_run
from semantic_synthesis.publishing import PublishOptions, publish


def test_published_runs_make_the_same_pictures(tmp_path):
    with shallow_networks():
        run_dir = write_run(tmp_path / "run")
        small = str(tmp_path / "small")
        assert publish(PublishOptions(str(run_dir), small)) == 0
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


def test_mistakes(tmp_path):
    with pytest.raises(ValueError, match="needs --checkpoint_dir"):
        publish(PublishOptions())
    with pytest.raises(ValueError, match="exists already"):
        publish(PublishOptions("demo_spade", str(tmp_path)))
