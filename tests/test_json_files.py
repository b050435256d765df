"""Every JSON file that is read: any Unicode encoding, a byte order mark or none, one line where it is damaged."""

import json

import pytest
from helpers import REPOSITORY

from semantic_synthesis.config import Config
from semantic_synthesis.data import DataError, catalogue
from semantic_synthesis.data.prepare import _coco_annotations
from semantic_synthesis.evaluation.manifest import Manifest
from semantic_synthesis.files import read_json
from semantic_synthesis.methods.sims.bank import read_index
from semantic_synthesis.methods.sims.opening import _record
from semantic_synthesis.serving.model_card import _metrics

INDEX = {name: [] for name in ("classes", "size", "base", "photos", "segments", "sha256")}
COCO = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1}]}
CONFIG = (REPOSITORY / "checkpoints" / "demo_spade" / "config.json").read_text()
# What is read: name of the file, function of its path, content.
READERS = {
    "config": ("config.json", lambda p: Config.load(p.parent), CONFIG),
    "description": (
        "d.json",
        lambda p: catalogue.describe(str(p)),
        (REPOSITORY / "datasets/scenes.json").read_text(),
    ),
    "bank": ("index.json", lambda p: read_index(p.parent), json.dumps(INDEX)),
    "record of the bank": (
        "bank.json",
        lambda p: _record(str(p.parent)),
        '{"path": "x", "photos": 1, "sha256": "y"}',
    ),
    "annotations": ("a.json", lambda p: _coco_annotations(str(p)), json.dumps(COCO)),
    "generate": ("generate.json", lambda p: Manifest(p.parent, {}).settings, '{"seeds": "by name"}'),
    "figures": ("metrics.json", lambda p: _metrics(p.parent), "{}"),
}


@pytest.mark.parametrize("kind", READERS)
def test_readers(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("semantic_synthesis.evaluation.manifest._FIXED", ())
    name, read, content = READERS[kind]
    path = tmp_path / name
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):  # the last: what PowerShell's > writes
        path.write_text(content, encoding=encoding)
        assert read(path) is not None
    for broken in (b"", b"{", b"\xff\xfe\xff", b"[" * 100_000, b"null", content.encode()[:-2], b"{'a': 1}"):
        if kind == "figures" and broken == b"null":
            continue
        path.write_bytes(broken)
        with pytest.raises(ValueError) as caught:
            read(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value), broken


def test_the_error_has_file_reason_and_remedy(tmp_path):
    (tmp_path / "x.json").write_text("{1")
    with pytest.raises(DataError, match=r"x\.json: not valid JSON \(Expecting property name .*\); mend it"):
        read_json(tmp_path / "x.json", "mend it", DataError)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "y.json", "mend it")


def test_no_other_code_reads_json_files():
    """`files.read_json` alone; requests and headers are no files."""
    package = REPOSITORY / "semantic_synthesis"
    found = {str(p.relative_to(package)) for p in package.rglob("*.py") if "json.load" in p.read_text()}
    found -= {f for f in found if f.startswith("serving/")}
    assert found == {"files.py", "evaluation/manifest.py", "foreign_files.py", "safetensors_files.py"}
