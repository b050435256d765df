"""--restyle: its grammar, and that an edit reaches the regions it names and no others."""

import cv2
import numpy as np
import pytest
from helpers import write_run
from hypothesis import given
from hypothesis import strategies as st

from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.inference import load_run
from semantic_synthesis.one_picture import OneOptions, make_pictures
from semantic_synthesis.restyling import (
    Edit,
    apply_edits,
    list_regions,
    mix_style,
    parse_edit,
    select,
    split_photo,
)
from semantic_synthesis.styles import Encoded

SIZE = 64


@pytest.mark.parametrize(
    "text, expected",
    [
        ("class:tree=seed:7", Edit("", "class", "tree", seed=7)),
        ("instance:3=seed:-2@0.5", Edit("", "instance", "3", seed=-2, share=0.5)),
        ("all=a/b.jpg", Edit("", "all", photo="a/b.jpg")),
        (
            " class: palm tree = p.jpg , m.png @1",
            Edit("", "class", "palm tree", photo="p.jpg", label="m.png"),
        ),
        ("all=me@home.jpg", Edit("", "all", photo="me@home.jpg")),
        ("all=me@home.jpg@0", Edit("", "all", photo="me@home.jpg", share=0.0)),
    ],
)
def test_grammar(text, expected):
    found = parse_edit(text)
    assert found == Edit(**{**vars(expected), "text": text})


@pytest.mark.parametrize(
    "text", ["", "tree", "class:=seed:1", "tree=seed:1", "instance:x=seed:1", "all=", "all=@0.5", "all=seed:x",
             "all=seed:1@2", "all=seed:99999999999999999999", "all:x=seed:1", "instance:=a.jpg"],
)  # fmt: skip
def test_grammar_errors(text):
    with pytest.raises(ValueError, match="--restyle"):
        parse_edit(text)


@given(st.text(max_size=30))
def test_any_text_is_an_edit_or_an_error(text):
    try:
        found = parse_edit(text)
    except ValueError as error:
        assert str(error).startswith(f"--restyle {text}: ") and "\n" not in str(error)[len(text) + 12 :]
    else:
        assert found.kind in ("all", "class", "instance") and 0 <= found.share <= 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny INADE run, a scene's maps as files and a photo."""
    path = tmp_path_factory.mktemp("restyle")
    options = {"method": "inade", "crop_size": SIZE, "aspect_ratio": 1.0, "noise_dim": 4}
    write_run(path / "run", **options, no_instance=False)
    for name, seed in (("map", 5), ("other", 9)):
        found = render_scene(seed, SIZE, SIZE)
        cv2.imwrite(str(path / f"{name}.png"), found.label)
        cv2.imwrite(str(path / f"{name}_instance.png"), found.instance)
        cv2.imwrite(str(path / f"{name}.jpg"), found.image[..., ::-1])
    cv2.imwrite(str(path / "photo.png"), np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)))
    cv2.imwrite(str(path / "stripes.png"), np.repeat(np.arange(1, SIZE + 1)[:, None] // 8, SIZE, 1))
    return path


@pytest.fixture(scope="module")
def run(folder):
    return load_run(str(folder / "run"))


@pytest.fixture(scope="module")
def scene():
    return render_scene(5, SIZE, SIZE)


def edited_rows(run, scene, *texts):
    """(regions, rows that change, style before, style after) of edits of one sample."""
    style = run.sample_style([1], run.layout(scene.label, scene.instance))
    edits = [parse_edit(text) for text in texts]
    after = apply_edits(run, edits, scene.label, scene.instance, style)
    before, found = style["noise"].numpy(), after["noise"].numpy()
    np.testing.assert_array_equal(style["z"], after["z"])
    changed = {int(row) for row in np.unique(np.nonzero(before != found)[1])}
    return list_regions(run, scene.label, scene.instance), changed, before, found


def test_regions(run, scene):
    regions = list_regions(run, scene.label, scene.instance)
    layout = run.layout(scene.label, scene.instance)
    assert [r.row for r in regions] == list(range(layout["instance"].max() + 1))
    for region in regions:
        inside = layout["instance"][0] == region.row
        assert (scene.label[inside] == region.class_id).mean() > 0.5
        assert set(scene.instance[inside]) == {region.instance}
    by_class = list_regions(run, scene.label)
    assert [r.class_id for r in by_class] == list(np.unique(scene.label))
    assert {r.instance for r in by_class} == {0}


def test_class(run, scene):
    regions, changed, _, after = edited_rows(run, scene, "class:tree=seed:9")
    tree = run.table.names.index("tree")
    assert changed == {r.row for r in regions if r.class_id == tree} and len(changed) > 1
    other = run.sample_style([9], run.layout(scene.label, scene.instance))["noise"].numpy()
    rows = sorted(changed)
    np.testing.assert_array_equal(after[:, rows], other[:, rows])


def test_shares_are_refused_where_a_style_is_a_number_of_something(run, scene, monkeypatch):
    specs = {name: spec._replace(graded=False) for name, spec in run.style_specs.items()}
    style = run.sample_style([0], run.layout(scene.label, scene.instance))
    monkeypatch.setattr(run, "style_specs", specs)
    with pytest.raises(ValueError, match=r"all=seed:9@0.5: share 0.5; .*; leave the @ out"):
        apply_edits(run, [parse_edit("all=seed:9@0.5")], scene.label, scene.instance, style)
    for whole in ("all=seed:9", "all=seed:9@0", "all=seed:9@1"):
        apply_edits(run, [parse_edit(whole)], scene.label, scene.instance, style)


def test_photos_are_refused_by_the_edit_where_nothing_reads_them(run, scene, monkeypatch):
    style = run.sample_style([0], run.layout(scene.label, scene.instance))
    monkeypatch.setattr(run, "encoded", ())
    with pytest.raises(ValueError, match=r"--restyle all=missing.png: this run has no encoder .* seed:N"):
        apply_edits(run, [parse_edit("all=missing.png")], scene.label, scene.instance, style)


def test_instance_and_share(run, scene):
    regions, _, _, _ = edited_rows(run, scene)
    chosen = next(r for r in regions if r.instance)
    _, changed, before, half = edited_rows(run, scene, f"instance:{chosen.instance}=seed:9@0.5")
    assert changed == {chosen.row}
    _, _, _, whole = edited_rows(run, scene, f"instance:{chosen.instance}=seed:9")
    np.testing.assert_allclose(half, (before + whole) / 2, atol=1e-6)
    _, changed, _, _ = edited_rows(run, scene, f"instance:{chosen.instance}=seed:9@0")
    assert changed == set()


def test_an_object_takes_the_style_of_another(run, scene):
    regions, *_ = edited_rows(run, scene)
    one, other = [r for r in regions if r.instance][:2]
    texts = (f"instance:{other.instance}=seed:9", f"instance:{one.instance}=instance:{other.instance}")
    _, changed, _, after = edited_rows(run, scene, *texts)
    assert changed == {one.row, other.row}
    np.testing.assert_array_equal(after[:, one.row], after[:, other.row])
    with pytest.raises(ValueError, match="no instance 999"):
        edited_rows(run, scene, f"instance:{one.instance}=instance:999")


def test_photo_of_the_layout(run, scene, folder):
    _, changed, _, after = edited_rows(run, scene, f"class:sky={folder / 'map.jpg'}")
    photo = cv2.imread(str(folder / "map.jpg"))[..., ::-1]
    encoded = run.encode_style(photo, run.layout(scene.label, scene.instance))["noise"].numpy()
    assert len(changed) == 1
    np.testing.assert_array_equal(after[:, sorted(changed)], encoded[:, sorted(changed)])


def test_photo_with_its_own_map(run, scene, folder):
    other = render_scene(9, SIZE, SIZE)
    source = f"{folder / 'other.jpg'},{folder / 'other.png'}"
    regions, changed, _, after = edited_rows(run, scene, f"all={source}")
    shared = set(np.unique(other.label))
    assert changed == {r.row for r in regions if r.class_id in shared} and changed
    photo = cv2.imread(str(folder / "other.jpg"))[..., ::-1]
    encoded = run.encode_style(photo, run.layout(other.label))["noise"].numpy()
    rows = {r.class_id: r.row for r in list_regions(run, other.label)}
    for region in regions:
        if region.class_id in shared:
            np.testing.assert_array_equal(after[0, region.row], encoded[0, rows[region.class_id]])


def test_errors(run, scene, folder):
    for text, words in {
        "class:car=seed:1": ("no class car", "house"),
        "instance:999=seed:1": ("no instance 999", "(tree)"),
        "instance:0=seed:1": ("no instance 0", "0 marks pixels without an object"),
        f"all={folder / 'none.jpg'}": (f"--restyle all={folder}", "none.jpg", "no such file"),
        "class:tree=5": ("--restyle class:tree=5", "no such file", "a seed is written seed:5"),
    }.items():
        with pytest.raises(ValueError) as error:
            edited_rows(run, scene, text)
        assert all(word in str(error.value) for word in words)
    table = run.table
    regions = [r for r in list_regions(run, scene.label) if table.names[r.class_id] != "sky"]
    with pytest.raises(ValueError, match="the layout has no sky; it has"):
        select(parse_edit("class:sky=seed:1"), regions, table)
    with pytest.raises(ValueError, match="give an instance map with --instance_filename"):
        select(parse_edit("instance:1=seed:1"), list_regions(run, scene.label), table)


def test_one_style_for_the_picture_cannot_be_edited(tmp_path, folder):
    write_run(tmp_path / "run", crop_size=SIZE, aspect_ratio=1.0)
    options = OneOptions(
        str(tmp_path / "run"),
        str(folder / "map.png"),
        restyle=("all=seed:1",),
        results_dir=str(tmp_path / "out"),
    )
    with pytest.raises(ValueError, match="one style for the whole picture"):
        make_pictures(options)
    assert not (tmp_path / "out").exists()


def test_pictures(folder, tmp_path):
    """An edited picture differs from the plain one; without an instance map, regions are the classes."""
    options = {"label_filename": str(folder / "map.png"), "results_dir": str(tmp_path), "num_samples": 2}
    maps = {"instance_filename": str(folder / "map_instance.png")}
    found = []
    for extra in ({}, {"restyle": ("class:tree=seed:5",)}, maps):
        paths = make_pictures(OneOptions(str(folder / "run"), **options, **extra))
        found.append([cv2.imread(path).astype(int) for path in paths[:2]])
    for sample in range(2):
        assert np.abs(found[0][sample] - found[1][sample]).max() > 2
        assert np.abs(found[0][sample] - found[2][sample]).max() > 2


def test_maps_and_options_that_contradict_each_other(folder, tmp_path):
    options = {"label_filename": str(folder / "map.png"), "results_dir": str(tmp_path / "out")}
    for change, message in (
        ({"instance_filename": str(folder / "photo.png")}, "photo.png: neighbouring pixels mostly"),
        ({"instance_filename": str(folder / "stripes.png")}, "stripes.png: only .*instance map of another"),
        (
            {"style_filename": str(folder / "map.jpg"), "num_samples": 3},
            "--num_samples 3 with --style_filename",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            make_pictures(OneOptions(str(folder / "run"), **options, **change))
    assert not (tmp_path / "out").exists()


def test_photos_and_maps_with_commas_in_their_names(tmp_path):
    photo, label = tmp_path / "a,b.jpg", tmp_path / "a,b, map.png"
    photo.write_bytes(b"")
    assert split_photo(f"{photo},{label}") == (str(photo), str(label))
    assert split_photo("missing,1.jpg, map.png") == ("missing", "1.jpg, map.png")


def test_mixing_leaves_other_tensors_alone():
    style = {"noise": np.zeros((2, 3, 1), np.float32), "z": np.ones((2, 4), np.float32)}
    source = Encoded({"noise": np.full((1, 3, 1), 4.0, np.float32), "z": np.zeros((1, 4), np.float32)})
    mixed = mix_style(style, source, {"noise": np.array([[False], [True], [False]])}, 0.25)
    np.testing.assert_array_equal(mixed["noise"][:, :, 0], [[0, 1, 0]] * 2)
    assert mixed["z"] is style["z"] and (style["noise"] == 0).all()
