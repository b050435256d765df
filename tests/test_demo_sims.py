"""The shipped SIMS run: its memory is with it, pictures are the same each time and can be traced to photos."""

import json
from pathlib import Path

import numpy as np
import pytest

from semantic_synthesis import data
from semantic_synthesis.inference import load_run
from semantic_synthesis.one_picture import OneOptions, make_pictures

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "checkpoints" / "demo_sims"
LAKE = ROOT / "datasets" / "scenes" / "lake_label.png"

pytestmark = pytest.mark.skipif(not DEMO.exists(), reason="the shipped run is not in this checkout")


def test_pictures_are_of_the_memorys_photos(tmp_path):
    options = {"checkpoint_dir": str(DEMO), "label_filename": str(LAKE), "provenance": True}
    for name in ("one", "two"):
        make_pictures(OneOptions(**options, results_dir=str(tmp_path / name)))
    files = [{p.name: p.read_bytes() for p in (tmp_path / name).rglob("*.*")} for name in ("one", "two")]
    assert files[0] == files[1] and len(files[0]) >= 3
    (found,) = (tmp_path / "one").rglob("*_provenance.json")
    segments = json.loads(found.read_text())["segments"]
    run = load_run(str(DEMO))
    label = data.read_label(LAKE, run.table)
    assert {segment["class"] for segment in segments} == {run.table.names[i] for i in np.unique(label)}
    photos = {segment["photo"] for segment in segments} - {None}
    assert photos and all((DEMO / "bank" / photo).is_file() for photo in photos)


def test_shipped_run_is_whole():
    """Its memory is with it, and nothing of the machine that made them."""
    config = json.loads((DEMO / "config.json").read_text())
    assert not config.get("bank_dir") and not (DEMO / "bank.json").exists()
    assert load_run(str(DEMO)).method.bank.photo_count == 200
