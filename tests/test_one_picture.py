"""test_one.py as users meet it: one map and a style to pictures, or one line of error."""

import cv2
import numpy as np
import pytest
from helpers import (
    as_flags,
    assert_user_error,
    finish,
    layout_map,
    photo,
    run_here,
    shallow_networks,
    start_script,
    tiny_config,
    write_run,
)

from semantic_synthesis.data import ClassTable
from semantic_synthesis.files import shipped
from semantic_synthesis.inference import Synthesizer, load_run
from semantic_synthesis.one_picture import OneOptions, make_pictures


def read(path):
    return cv2.imread(str(path))[..., ::-1]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What test_one.py did for every case; the processes run side by side."""
    folder = tmp_path_factory.mktemp("one")
    run_dir = write_run(folder / "run", modulation="dense")
    table = ClassTable.from_dict(tiny_config("").class_table)
    label = layout_map(40, 48)
    cv2.imwrite(str(folder / "map.png"), label)
    cv2.imwrite(str(folder / "colours.png"), table.colorize(label)[..., ::-1])
    cv2.imwrite(str(folder / "photo.jpg"), photo(50, 70)[..., ::-1])
    cv2.imwrite(str(folder / "wrong.png"), label + 10)
    (folder / "empty.png").write_bytes(b"")
    (folder / "file").write_text("no folder")
    cases = {
        "samples": {"label_filename": "map.png", "num_samples": 2, "seed": 5},
        "photo": {
            "label_filename": "colours.png",
            "style_filename": "photo.jpg",
            "output_height": 30,
            "output_width": 20,
        },
    }
    mistakes = {
        "missing": {"label_filename": "nowhere.png"},
        "zero": {"label_filename": "empty.png"},
        "wrong": {"label_filename": "wrong.png"},
        "blocked": {"label_filename": "map.png", "results_dir": "file/results"},
    }

    def flags_of(name, options):
        options = {"results_dir": f"results_{name}", **options}
        paths = {key: folder / value for key, value in options.items() if key.endswith(("filename", "dir"))}
        return as_flags({**options, **paths, "checkpoint_dir": run_dir})

    processes = {name: start_script("test_one.py", flags_of(name, case)) for name, case in cases.items()}
    try:
        found = {name: run_here("one", flags_of(name, case)) for name, case in mistakes.items()}
        return folder, found | {name: finish(process) for name, process in processes.items()}
    finally:
        for process in processes.values():
            process.kill()


def test_random_styles_on_the_command_line(results):
    folder, found = results
    code, out, err = found["samples"]
    assert code == 0, err
    names = ["map_synthesized_5.png", "map_synthesized_6.png", "map_sheet.png"]
    assert out.splitlines() == [str(folder / "results_samples" / name) for name in names]
    assert {path.name for path in (folder / "results_samples").iterdir()} == set(names)
    run = load_run(str(folder / "run"))
    expected = run.synthesize(run.layout(layout_map(40, 48)), run.sample_style([5, 6]))
    sheet = read(folder / "results_samples" / names[2])
    assert sheet.shape == (48, 3 * 52 + 4, 3)
    assert np.array_equal(sheet[4:44, 4:52], run.table.colorize(layout_map(40, 48)))
    for i, name in enumerate(names[:2]):
        picture = read(folder / "results_samples" / name)
        assert picture.shape == (40, 48, 3)  # at the map's size
        fitted = cv2.resize(expected[i], (48, 40), interpolation=cv2.INTER_CUBIC)
        assert np.abs(picture.astype(int) - fitted).mean() < 3
        left = 4 + 52 * (i + 1)
        assert np.array_equal(sheet[4:44, left : left + 48], picture)


def test_style_photo_on_the_command_line(results):
    folder, found = results
    code, _, err = found["photo"]
    assert code == 0, err
    picture = read(folder / "results_photo" / "colours_synthesized.png")
    assert picture.shape == (30, 20, 3)
    run = load_run(str(folder / "run"))
    style = run.encode_style(read(folder / "photo.jpg"))
    expected = run.synthesize(run.layout(layout_map(40, 48)), style)[0]
    fitted = cv2.resize(expected, (20, 30), interpolation=cv2.INTER_AREA)
    assert np.abs(picture.astype(int) - fitted).mean() < 6
    assert read(folder / "results_photo" / "colours_sheet.png").shape == (38, 3 * 24 + 4, 3)


@pytest.mark.parametrize(
    "case, parts",
    [
        ("missing", ["nowhere.png: no such file"]),
        ("zero", ["empty.png: the file is empty (0 bytes)"]),
        ("wrong", ["wrong.png: label ids", "class table 'scenes'", "allowed"]),
        ("blocked", ["file", "Not a directory"]),
    ],
)
def test_mistakes_on_the_command_line(results, case, parts):
    folder, found = results
    assert_user_error(found[case], *parts)
    assert not (folder / f"results_{case}").exists()
    assert (folder / "file").read_text() == "no folder"


def test_options_that_make_no_picture(tmp_path):
    with shallow_networks():
        run_dir = write_run(tmp_path / "run", use_vae=False)
    cv2.imwrite(str(tmp_path / "map.png"), layout_map(16, 32))
    options = {"checkpoint_dir": str(run_dir), "label_filename": str(tmp_path / "map.png")}
    options["results_dir"] = str(tmp_path / "results")
    with shallow_networks():
        for change, message in [
            ({"num_samples": 0}, "--num_samples 0; expected 1 or more"),
            ({"num_samples": 2}, "--num_samples 2: this run has no styles"),
            ({"output_height": -3}, "32x-3 pixels; expected positive sizes"),
            ({"output_height": 90_000, "output_width": 90_000}, "90000x90000 pixels"),
        ]:
            with pytest.raises(ValueError, match=message):
                make_pictures(OneOptions(**options, **change))
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(("name", "side"), [("clade", 256), ("oasis", 128)])
def test_without_a_map_a_run_paints_the_demo_layout_of_its_size(tmp_path, name, side):
    paths = make_pictures(OneOptions(checkpoint_dir=f"demo_{name}", results_dir=str(tmp_path)))
    picture = read(paths[0])
    assert picture.shape == (side, side, 3) and picture.std() > 20


def test_demo_layouts_bring_their_instance_maps(tmp_path):
    """In both folders and by any path to them; no other map does, not even a copy of one."""
    scenes = shipped("datasets", "scenes")
    found = {}
    for label in (scenes / "village_label.png", scenes / "256" / ".." / "256" / "village_label.png"):
        options = {"label_filename": str(label), "results_dir": str(tmp_path / "own")}
        found[str(label)] = read(make_pictures(OneOptions(**options))[0])
        given = str(label).replace("_label", "_instance")
        options |= {"instance_filename": given, "results_dir": str(tmp_path / "given")}
        np.testing.assert_array_equal(read(make_pictures(OneOptions(**options))[0]), found[str(label)])
    assert [picture.shape[0] for picture in found.values()] == [128, 256]
    copied = tmp_path / "village_label.png"
    copied.write_bytes((scenes / "village_label.png").read_bytes())
    (tmp_path / "village_instance.png").write_bytes((scenes / "village_instance.png").read_bytes())
    for other in (copied, scenes / "style_day_label.png"):
        with pytest.raises(ValueError, match="--instance_filename"):
            make_pictures(OneOptions("demo_clade", str(other), results_dir=str(tmp_path / "results")))


def test_a_map_of_ones_own_is_painted_without_further_options(tmp_path):
    """The best shipped run wants objects; a map that comes without is for the one that does without."""
    label = tmp_path / "map.png"
    label.write_bytes(shipped("datasets", "scenes", "village_label.png").read_bytes())
    objects = str(shipped("datasets", "scenes", "village_instance.png"))
    for run, given in (("demo_spade", ""), ("demo_clade", objects)):
        found = [
            read(make_pictures(OneOptions(name, str(label), given, results_dir=str(tmp_path / run)))[0])
            for name in ("", run)
        ]
        np.testing.assert_array_equal(*found)


def test_a_label_map_that_no_style_needs_is_refused(tmp_path):
    """As generate refuses it: this encoder reads the whole photo."""
    photo_and_map = ",".join(
        str(shipped("datasets", "scenes", f"style_day{end}.png")) for end in ("", "_label")
    )
    with pytest.raises(ValueError, match="one style off the whole photo; leave the label map out"):
        make_pictures(OneOptions(style_filename=photo_and_map, results_dir=str(tmp_path)))


def test_many_samples_are_painted_a_few_at_a_time(tmp_path, monkeypatch):
    """Memory is that of a few pictures, however many are asked for."""
    found = []
    synthesize = Synthesizer.synthesize

    def noted(run, layout, style):
        found.append(len(style["z"]))
        return synthesize(run, layout, style)

    monkeypatch.setattr(Synthesizer, "synthesize", noted)
    cv2.imwrite(str(tmp_path / "map.png"), layout_map(32, 64))
    options = {"label_filename": str(tmp_path / "map.png"), "results_dir": str(tmp_path / "out")}
    with shallow_networks():
        write_run(tmp_path / "run", modulation="dense")
        paths = make_pictures(OneOptions(str(tmp_path / "run"), **options, num_samples=11))
        (alone, _) = make_pictures(OneOptions(str(tmp_path / "run"), **options, seed=10))
    assert found == [8, 3, 1] and len(paths) == 12
    assert np.abs(read(paths[10]).astype(int) - read(alone)).max() <= 1
