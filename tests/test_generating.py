"""`generate` goes on: grown and moved folders, kills, flags about what is there, and the manifest."""

import dataclasses
import hashlib
import json
import os
import shutil

import cv2
import numpy as np
import pytest
from helpers import random_arrays, shallow_networks, tiny_config

from semantic_synthesis import files, load, read_label, runs
from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.evaluation import GenerateOptions, generating, manifest
from semantic_synthesis.evaluation.pictures import list_pictures


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("run"))
    with shallow_networks():
        config = tiny_config(folder, use_vae=True, crop_size=16)
        config.save(folder)
        runs.save_weights(folder, random_arrays(runs.build_method(config, training=False)))
    return folder


@pytest.fixture(scope="module")
def run(run_dir):
    with shallow_networks():
        return load(run_dir)


def draw(folder, *names):
    for name in names:
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), render_scene(sum(name.encode()), 24, 24).label)


@pytest.fixture
def made(run, run_dir, tmp_path, monkeypatch):
    """make(**options) into out/, maps b and d being there; -> {file: (bytes, time of writing)}."""
    monkeypatch.setattr(generating, "load_run", lambda *_: run)  # graphs are traced once for all tests
    draw(tmp_path / "maps", "b", "d")
    options = GenerateOptions(
        run_dir, str(tmp_path / "maps"), results_dir=str(tmp_path / "out"), batch_size=2
    )

    def make(**changes):
        assert generating.generate(dataclasses.replace(options, **changes)) == 0
        folder = tmp_path / changes.get("results_dir", "out")
        found = sorted(p for p in folder.rglob("*") if p.suffix in (".png", ".jpg", ".webp"))
        return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in found}

    return make


def lines(folder):
    found = map(json.loads, (folder / manifest.LINES).read_text().splitlines())
    return {line["file"]: line for line in found}


def close(left, right):
    left, right = (cv2.imdecode(np.frombuffer(p, np.uint8), 1).astype(int) for p in (left, right))
    return np.abs(left - right).max() <= 1  # batches may round otherwise


def test_another_path_to_the_same_maps(made, tmp_path):
    first = made()
    (tmp_path / "other").symlink_to(tmp_path / "maps")
    shutil.copytree(tmp_path / "maps", tmp_path / "copy")
    assert made(label_dir=str(tmp_path / "other")) == first
    assert made(label_dir=str(tmp_path / "copy")) == first


@pytest.mark.parametrize("styled", [False, True])
def test_a_grown_folder_goes_on(styled, made, tmp_path):
    """New maps before, between and behind the old ones: what is there stays, and place in the list does not matter."""
    options = {}
    if styled:
        cv2.imwrite(str(tmp_path / "any.jpg"), render_scene(3, 32, 32).image)
        (tmp_path / "styles").mkdir()
        shutil.move(tmp_path / "any.jpg", tmp_path / "styles" / "any.jpg")
        options = {"style_dir": str(tmp_path / "styles")}
    first = made(**options)
    draw(tmp_path / "maps", "a", "c", "e", "in/f")
    grown = made(**options)
    assert first.items() <= grown.items() and set(grown) == {*first, "a.png", "c.png", "e.png", "in/f.png"}
    whole = made(**options, results_dir=str(tmp_path / "at once"))
    assert all(close(whole[name][0], grown[name][0]) for name in grown)


def test_the_manifest_says_seed_and_style(made, run, tmp_path):
    pictures = made(num_samples=2)
    entries = lines(tmp_path / "out")
    assert set(entries) == set(pictures) and len({entry["seed"] for entry in entries.values()}) == 4
    assert lines(tmp_path / "out")["b_0.png"]["seed"] == manifest.style_seed(0, "b", 0)
    label = read_label(str(tmp_path / "maps" / "b.png"), run.table)
    again = run.paint(label, seed=entries["b_1.png"]["seed"], size=run.size)
    there = cv2.imdecode(np.frombuffer(pictures["b_1.png"][0], np.uint8), 1)[..., ::-1]
    assert np.abs(again.astype(int) - there).max() <= 1
    photo = tmp_path / "styles" / "dusk.png"
    photo.parent.mkdir()
    cv2.imwrite(str(photo), render_scene(3, 32, 32).image)
    made(style_dir=str(photo.parent), results_dir=str(tmp_path / "styled"))
    entry = lines(tmp_path / "styled")["b.png"]
    assert entry["style"] == "dusk.png" and entry["style_photo"] == manifest.checksum(photo)


def test_seeds_follow_from_names():
    seeds = [manifest.style_seed(s, name, n) for s in (0, 1) for name in ("a", "b", "x/a") for n in (0, 1)]
    assert len(set(seeds)) == 12 and all(0 <= seed < 2**63 for seed in seeds)
    assert manifest.style_seed(0, "cafe\u0301", 0) == manifest.style_seed(0, "caf\u00e9", 0)


def test_overwrite_and_skip_existing(made, tmp_path):
    first = made()
    with pytest.raises(
        ValueError, match=r"generate\.json: the pictures there were made with seed 0, asked for now: 1"
    ):
        made(seed=1)
    anew = made(seed=1, overwrite=True)
    assert all(anew[name][0] != first[name][0] for name in first)
    assert made(seed=1) == anew and lines(tmp_path / "out")["b.png"]["seed"] == manifest.style_seed(1, "b", 0)
    draw(tmp_path / "maps", "c")
    mixed = made(seed=2, skip_existing=True)
    assert anew.items() <= mixed.items() and set(mixed) == {*anew, "c.png"}
    with pytest.raises(
        ValueError, match=r"b\.png: was made of another seed; --overwrite makes it anew, --skip_ex"
    ):
        made(seed=2)
    with pytest.raises(ValueError, match="contradict each other"):
        made(overwrite=True, skip_existing=True)


def test_a_map_that_changed_is_named(made, tmp_path):
    first = made()
    shutil.copy(tmp_path / "maps" / "d.png", tmp_path / "maps" / "b.png")
    with pytest.raises(ValueError, match=r"out/b\.png: was made of another label map; --overwrite"):
        made()
    assert made(skip_existing=True) == first


def test_pictures_that_generate_did_not_make_stay(made, tmp_path):
    """Photos named like the maps, in the folder that results go to."""
    shutil.copytree(tmp_path / "maps", tmp_path / "out")
    before = {p: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    with pytest.raises(ValueError, match=r"b\.png: is there already, and manifest\.jsonl does not know it"):
        made()
    assert {p: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


def test_a_folder_of_an_older_version(made, tmp_path):
    first = made()
    record = json.loads((tmp_path / "out" / "generate.json").read_text())
    del record["seeds"]
    (tmp_path / "out" / "generate.json").write_text("\ufeff" + json.dumps(record))
    os.remove(tmp_path / "out" / manifest.LINES)
    with pytest.raises(
        ValueError, match=r"older version, whose seeds went by the place .*--skip_existing keeps them"
    ):
        made()
    assert made(skip_existing=True) == first


def test_killed_at_any_instant(made, tmp_path, monkeypatch):
    """Lines are written before pictures: whatever is lost, going on makes the same folder."""
    whole = made(results_dir=str(tmp_path / "whole"))
    with monkeypatch.context() as broken, pytest.raises(ZeroDivisionError):
        broken.setattr(generating, "write_bytes", lambda *_: 1 / 0)
        made()
    path = tmp_path / "out" / manifest.LINES
    path.write_bytes(path.read_bytes()[:-9])  # and the last line is half there
    assert {name: data for name, (data, _) in made().items()} == {
        name: data for name, (data, _) in whole.items()
    }
    assert made() and {"b.png", "d.png"} <= set(manifest.Manifest(str(tmp_path / "out"), {}, True).lines)


def test_the_manifest_is_no_picture(made, tmp_path):
    made()
    assert list(list_pictures(str(tmp_path / "out"), "fake_dir")) == ["b", "d"]


def test_formats(made, tmp_path):
    """JPEG and WebP show what PNG holds; the manifest knows name and content of each."""
    pictures = {"png": made(results_dir=str(tmp_path / "png"))}
    for name in ("jpg", "webp"):
        pictures[name] = made(results_dir=str(tmp_path / name), format=name)
        entries = lines(tmp_path / name)
        for stem in ("b", "d"):
            content = pictures[name][f"{stem}.{name}"][0]
            assert entries[f"{stem}.{name}"]["sha256"] == hashlib.sha256(content).hexdigest()
            left, right = (
                cv2.imdecode(np.frombuffer(p, np.uint8), 0).astype(int)
                for p in (content, pictures["png"][f"{stem}.png"][0])
            )
            assert np.abs(left - right).mean() < 8
        assert made(results_dir=str(tmp_path / name), format=name) == pictures[name]  # it goes on
    small = made(results_dir=str(tmp_path / "small"), format="jpg", quality=40)
    assert len(small["b.jpg"][0]) < len(pictures["jpg"]["b.jpg"][0])
    with pytest.raises(ValueError, match=r"made with quality 40, asked for now: 95"):
        made(results_dir=str(tmp_path / "small"), format="jpg")
    with pytest.raises(ValueError, match=r"--quality 0; expected 1 to 100"):
        made(quality=0)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"runner": "FlinkRunner"}, "--runner and --beam_option are for --engine beam"),
        ({"beam_option": ("--direct_num_workers=2",)}, "--runner and --beam_option are for --engine beam"),
        ({"format": "jpg", "png_compression": 3}, "--png_compression is for --format png, asked for: jpg"),
        ({"quality": 50}, "--quality 50 is for --format jpg or webp"),
        ({"output_height": 24, "output_width": 24}, "this run makes pictures of 16 rows and 16 columns only"),
    ],
)
def test_flags_without_effect_are_refused(made, asked, text, tmp_path):
    with pytest.raises(ValueError, match=text):
        made(**asked)
    assert not (tmp_path / "out").exists()


def test_runs_of_free_size_paint_at_the_size_asked_for(tmp_path):
    """As the originals' test programs do, which bring every map to the size of the training."""
    draw(tmp_path / "maps", "b", "d")
    options = GenerateOptions(
        str(tmp_path / "run"), str(tmp_path / "maps"), results_dir=str(tmp_path / "out")
    )
    with shallow_networks():
        config = tiny_config(tmp_path / "run", crop_size=16)
        config.save(tmp_path / "run")
        runs.save_weights(tmp_path / "run", random_arrays(runs.build_method(config, training=False)))
        run = load(tmp_path / "run")
        assert generating.generate(dataclasses.replace(options, output_height=12, output_width=20)) == 0
        for name in ("b", "d"):
            label = read_label(str(tmp_path / "maps" / f"{name}.png"), run.table)
            wanted = run.paint(label, size=(12, 20)).astype(int)
            assert np.abs(cv2.imread(str(tmp_path / "out" / f"{name}.png"))[..., ::-1] - wanted).max() <= 1
        with pytest.raises(ValueError, match="made with output_size '20x12', asked for now: None"):
            generating.generate(options)
        cv2.imwrite(str(tmp_path / "maps" / "c.png"), np.zeros((2050, 2050), np.uint8))
        said = r"1 of 3 layouts have no pictures, all others have: \S+/maps/c\.png: a map of 2050x2050 pixels"
        with pytest.raises(ValueError, match=said):
            generating.generate(dataclasses.replace(options, results_dir=str(tmp_path / "own sizes")))
        assert len(list((tmp_path / "own sizes").glob("*.png"))) == 2


def test_nothing_left_to_make_changes_no_file(made, run, tmp_path, monkeypatch):
    first = made()
    records = {name: (tmp_path / "out" / name).read_bytes() for name in ("generate.json", "manifest.jsonl")}
    monkeypatch.setattr(run, "synthesize", None)  # is not asked
    assert made() == first
    for name, content in records.items():
        assert (tmp_path / "out" / name).read_bytes() == content


def test_png_compression_changes_files_not_pictures(made, tmp_path):
    found = {level: made(results_dir=str(tmp_path / f"{level}"), png_compression=level) for level in (0, 9)}
    none, most = (found[level]["b.png"][0] for level in (0, 9))
    assert len(most) < len(none) and close(none, most)
    with pytest.raises(ValueError, match=r"--png_compression 10; expected 0 to 9"):
        made(png_compression=10)


def test_a_folder_holds_pictures_of_one_format(made, tmp_path):
    """Of an older version, too, which said no format."""
    first = made()
    record = json.loads((tmp_path / "out" / "generate.json").read_text())
    (tmp_path / "out" / "generate.json").write_text(
        json.dumps({k: v for k, v in record.items() if k != "format"})
    )
    assert made() == first
    for options in ({}, {"skip_existing": True}):
        with pytest.raises(ValueError, match=r"made with format 'png', asked for now: 'webp'"):
            made(format="webp", **options)
    assert set(made(format="webp", overwrite=True)) == {"b.webp", "d.webp"}


def test_a_full_disk_ends_it_and_what_is_there_counts(made, tmp_path, monkeypatch):
    whole, written = made(results_dir=str(tmp_path / "whole")), []

    def full(path, content):
        if written:
            raise files.cannot_write(path, OSError(28, "No space left on device"))
        written.append(path)
        files.write_bytes(path, content)

    with monkeypatch.context() as broken:
        broken.setattr(generating, "write_bytes", full)
        with pytest.raises(OSError, match=r"png: cannot be written \(No space left on device\)"):
            made()
    assert len(list((tmp_path / "out").glob("*.png"))) == 1
    assert {name: data for name, (data, _) in made().items()} == {
        name: data for name, (data, _) in whole.items()
    }


def test_broken_maps_cost_no_other_pictures(made, tmp_path):
    draw(tmp_path / "maps", "a", "c", "f")
    for name in "eg":
        (tmp_path / "maps" / f"{name}.png").write_bytes(b"no picture")
    said = r"2 of 7 layouts have no pictures, all others have: .*e\.png: label map's format.*; .*g\.png: "
    with pytest.raises(ValueError, match=said):
        made()
    assert {p.name for p in (tmp_path / "out").glob("*.png")} == {f"{name}.png" for name in "abcdf"}
    draw(tmp_path / "maps", "e", "g")
    assert set(made()) == {f"{name}.png" for name in "abcdefg"}


@pytest.fixture
def split_run(run_dir, tmp_path):
    """A run whose dataset keeps label maps beside other pictures, as Cityscapes does, with two samples in val."""
    folder, root = tmp_path / "run", tmp_path / "data"
    shutil.copytree(run_dir, folder)
    config = json.loads((folder / "config.json").read_text())
    layout = {"image": "photos/val/**/{stem}_photo.png", "label": "gt/val/**/{stem}_ids.png"}
    layout["instance"] = "gt/val/**/{stem}_objects.png"
    (tmp_path / "town.json").write_text(json.dumps({"splits": {"val": layout}}))
    config |= {"dataset_mode": str(tmp_path / "town.json"), "dataroot": "", "no_instance": True}
    (folder / "config.json").write_text(json.dumps(config))
    for seed, name in enumerate(("here/a", "there/b")):
        scene = render_scene(seed, 24, 24)
        for path, picture in {
            f"photos/val/{name}_photo": scene.image,
            f"gt/val/{name}_ids": scene.label,
            f"gt/val/{name}_color": scene.image,
            f"gt/val/{name}_objects": scene.instance,
        }.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / f"{path}.png"), picture)
    return {"checkpoint_dir": str(folder), "label_dir": "", "split": "val", "dataroot": str(root)}


def test_a_split_of_the_runs_dataset(made, split_run, tmp_path):
    pictures = made(**split_run)
    assert len(pictures) == 2 and {name.split("/")[-1] for name in pictures} == {"a.png", "b.png"}
    record = json.loads((tmp_path / "out" / manifest.RECORD).read_text())
    assert record["split"] == "val" and record["dataroot"] == str(tmp_path / "data")
    photos = [tmp_path / "styles" / name for name in pictures]
    for path in photos:
        path.parent.mkdir(parents=True, exist_ok=True)
        (source,) = (tmp_path / "data").rglob(f"{path.stem}_photo.png")
        shutil.copy(source, path)
    styled = made(**split_run, style="real", results_dir=str(tmp_path / "styled"))
    assert {line["style"] for line in lines(tmp_path / "styled").values()} == {"a_photo.png", "b_photo.png"}
    by_folder = {
        **split_run,
        "style_dir": str(tmp_path / "styles"),
        "results_dir": str(tmp_path / "by folder"),
    }
    assert [p for p, _ in made(**by_folder).values()] == [p for p, _ in styled.values()]
    assert [p for p, _ in styled.values()] != [p for p, _ in pictures.values()]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"label_dir": "maps"}, "--split names the layouts' files; leave --label_dir"),
        ({"split": "", "label_dir": "maps"}, "--dataroot and --style real are for --split"),
        ({"split": "tset"}, "no split 'tset'; this dataset has val"),
        ({"style": "real", "num_samples": 2}, "--num_samples needs random styles"),
        ({"dataroot": "nowhere"}, "nowhere"),
    ],
)
def test_mistakes_about_splits(changes, message, split_run, tmp_path):
    options = GenerateOptions(results_dir=str(tmp_path / "out"), **{**split_run, **changes})
    with pytest.raises((ValueError, OSError), match=message):
        generating.generate(options)
    assert not (tmp_path / "out").exists()


def test_rendered_scenes_are_no_split(tmp_path):
    options = GenerateOptions("demo_spade", split="val", results_dir=str(tmp_path / "out"))
    with pytest.raises(ValueError, match="prepare scenes"):
        generating.generate(options)
