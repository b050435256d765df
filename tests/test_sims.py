"""SIMS as a method: training, memory files, canvases of real segments, styles, exports."""

import dataclasses
import functools
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from helpers import state_arrays, tiny_config, train_steps

from semantic_synthesis import data, runs
from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.evaluation import generating
from semantic_synthesis.evaluation.jobs import jobs_of
from semantic_synthesis.evaluation.layout_files import LayoutFiles
from semantic_synthesis.evaluation.manifest import style_seed
from semantic_synthesis.inference import Synthesizer, load_run
from semantic_synthesis.layers.naming import named_variables
from semantic_synthesis.methods import METHODS
from semantic_synthesis.methods.sims import simulation
from semantic_synthesis.methods.sims.method import synthesis_rate
from semantic_synthesis.one_picture import OneOptions, make_pictures
from semantic_synthesis.pictures import write_png
from semantic_synthesis.publishing import PublishOptions, publish
from semantic_synthesis.restyling import apply_edits, parse_edit
from semantic_synthesis.serving.export import ExportOptions, export
from semantic_synthesis.training.trainer import Trainer

OPTIONS = {"method": "sims", "num_filters": 2, "slots": 2, "crop_size": 64, "batch_size": 1}


@functools.cache
def folder():
    return Path(tempfile.mkdtemp(prefix="sims-"))


@pytest.fixture(scope="module", autouse=True)
def _clean():
    yield
    shutil.rmtree(folder(), ignore_errors=True)
    folder.cache_clear()


def config(name, **changes):
    bank = {} if name == "first" else {"bank_dir": str(folder() / "first" / "bank")}
    return tiny_config(folder() / name, **OPTIONS, **bank, **changes)


@functools.cache
def trainer():
    """A run of its own memory after two steps."""
    settings = config("first")
    settings.save(settings.checkpoint_dir)
    made = Trainer(settings, data.open_dataset(settings, "train", "regions"), tf.distribute.get_strategy())
    before = {name: v.numpy() for name, v in named_variables(made.method).items()}
    made.found = train_steps(made, 2)
    made.before = before
    made._save(2)
    return made


@functools.cache
def run():
    trainer()
    return load_run(folder() / "first")


def layout(seed=1_000_001):
    return run().layout(render_scene(seed, 64, 64).label)


# Training


def test_every_objective_moves_its_own_network():
    made = trainer()
    assert set(made.found) == {"colour", "L1", "semantic"}
    assert all(np.isfinite(values).all() for values in made.found.values())
    moved = {
        name.split("/")[0]
        for name, v in named_variables(made.method).items()
        if (v.numpy() != made.before[name]).any()
    }
    assert moved == {"transformation", "synthesis"}
    kernel = made.method.transformation.kernel
    assert np.abs(kernel.numpy()).max() > 0, "theta has a gradient from zero weights"


def test_checkpoints_hold_no_memory():
    names = set(named_variables(trainer().method))
    assert {name.split("/")[0] for name in names} == {"transformation", "synthesis"}
    assert not [name for name in state_arrays(trainer()) if "bank" in name]
    stored = tf.train.load_checkpoint(str(folder() / "first")).get_variable_to_shape_map()
    assert not [name for name in stored if "bank" in name]


def test_training_uses_no_photo_of_its_own():
    method, dataset = trainer().method, trainer().dataset
    for batch in dataset.batches(1, training=False):
        kind, segments = method.composer.segments({k: batch[k] for k in ("label", "instance")})
        allowed = method.practice._drawn_photos(batch, kind)[0].numpy()
        own = int(batch["row"][0]) + 1
        assert not allowed[own] and allowed.sum() >= 5
        canvas = method.practice.canvases(batch, kind, segments)
        photo = (batch["image"].numpy() + 1) / 2
        colour = canvas.picture.numpy()
        kept = colour.any(-1) & (colour != 1).any(-1)
        same = np.isclose(colour, photo, atol=1e-6).all(-1)
        assert kept.mean() > 0.1 and same[kept].mean() > 0.3, "own pixels, but for recoloured ones"
        break


def test_disturbed_segments():
    method, dataset = trainer().method, trainer().dataset
    batch = next(iter(dataset.batches(2)))
    kind, segments = method.composer.segments({k: batch[k] for k in ("label", "instance")})
    picture, moved, place, _ = method.practice.disturbed(batch, kind, segments)
    assert picture.shape == (4, 64, 64, 3) and place.shape == (4, 64, 64)
    common = (moved & place).numpy().sum((1, 2)) / (moved | place).numpy().sum((1, 2))
    assert (common > 0.5).all() and (common < 1).any()
    again = method.practice.disturbed(batch, kind, segments)[0]
    np.testing.assert_array_equal(again, picture)


def test_the_box_view_learns_how_segments_were_moved():
    settings = config("box", transformation_view="box", synthesis_period=0)
    model = runs.build_method(settings)
    batch = next(iter(data.open_dataset(settings, "train", "regions").batches(2)))
    with tf.GradientTape() as tape:
        losses = model.compute_losses(batch)
    assert set(losses["transformation"]) == {"corners"} and 0.03 < losses["transformation"]["corners"] < 0.2
    kernel = model.transformation.kernel.value
    assert np.abs(tape.gradient(losses["transformation"]["corners"], kernel)).max() > 0
    kind, segments = model.composer.segments({k: batch[k] for k in ("label", "instance")})
    _, moved, place, theta = model.practice.disturbed(batch, kind, segments)
    back = [np.linalg.inv(np.vstack([np.reshape(one, (2, 3)), [0, 0, 1]]))[:2].ravel() for one in theta]
    found = simulation.moved_masks(moved, tf.constant(back, tf.float32)).numpy()
    place = place.numpy()
    kept, given = ((x & place).sum() / (x | place).sum() for x in (found, moved.numpy()))
    assert kept > 0.93 > given
    with pytest.raises(ValueError, match=r"--legacy with --transformation_view box: .*leave one of them out"):
        runs.build_method(config("both", transformation_view="box", legacy=True))


def test_switching_networks_off(tmp_path):
    settings = config("off", use_transformation=False, synthesis_period=0)
    model = runs.build_method(settings)
    assert model.transformation is None and model.objectives()["synthesis"].period == 0
    batch = next(iter(data.open_dataset(settings, "train", "regions").batches(1)))
    assert model.compute_losses(batch) == {"synthesis": {}}


def test_the_order_network_learns_from_depth():
    settings = config("order", use_order=True, use_transformation=False, synthesis_period=0)
    method = runs.build_method(settings)
    assert method.extra_maps(settings) == ("disparity",)
    assert method.extra_maps(settings.replace(order_period=0)) == ()
    dataset = data.open_dataset(settings, "train", "regions", ("disparity",))
    batch = next(iter(dataset.batches(2, training=False)))
    kind, segments = method.composer.segments({k: batch[k] for k in ("label", "instance")})
    pairs, front, known = (x.numpy() for x in method.practice.pairs(batch, kind, segments))
    assert len(pairs) == 4 and known.any() and (front[~known] == 0).all()
    close, owner = batch["disparity"].numpy(), segments.map.numpy()
    kinds = segments.kind.numpy()
    for (a, b), found in zip(pairs[known], front[known], strict=True):
        assert found - 1 in (kinds[a], kinds[b])
        if found - 1 == kinds[a]:
            assert np.median(close[owner == a]) > np.median(close[owner == b]) - 6000
    losses = method.compute_losses(batch)
    assert set(losses) == {"order", "synthesis"} and 1 < float(losses["order"]["front"]) < 6
    assert method.compute_losses(batch) == losses, (
        "what is dropped follows from seed and row: a resumed run goes on"
    )
    other = batch | {"row": batch["row"] + 2}
    assert method.compute_losses(other)["order"] != losses["order"]


def test_a_batch_without_any_segment_is_trained_on():
    """Pictures of which the networks know no class, one at a time: all losses are there, and none moves a network."""
    settings = config("unlabelled", use_order=True, class_groups="order: house", synthesis_period=0)
    method = runs.build_method(settings.replace(bank_dir="none"))
    dataset = data.open_dataset(settings, "train", "regions", ("disparity",))
    batch = next(iter(dataset.batches(1)))
    sky = tf.fill(batch["label"].shape, settings.class_table["names"].index("sky"))
    losses = method.compute_losses(batch | {"label": sky, "instance": tf.zeros_like(sky)})
    assert losses["transformation"] == {"colour": 0} and losses["order"] == {"front": 0}


def test_rates_are_the_originals():
    assert synthesis_rate(0, 1) == 1e-6 and synthesis_rate(73.5, 1) == 1e-3
    assert synthesis_rate(72, 1) < 1e-3 and synthesis_rate(112, 1) == 1e-4 == synthesis_rate(0, 2)
    rates = {
        name: o.rate for name, o in runs.build_method(config("off", use_order=True)).objectives().items()
    }
    assert rates["transformation"](50) == pytest.approx(1e-5)
    assert rates["order"](0) == pytest.approx(1e-6) and rates["order"](25) == pytest.approx(1e-5)


# The memory of a run


def test_a_moved_memory_is_found_or_missed_in_one_line(tmp_path):
    trainer()
    record = json.loads((folder() / "first" / "bank.json").read_text())
    assert record["photos"] == 8 and record["path"] == str(folder() / "first" / "bank")
    moved = tmp_path / "moved"
    shutil.copytree(folder() / "first", moved)
    assert load_run(moved).method.bank.photo_count == 8
    record["path"] = "/nowhere"
    (moved / "bank.json").write_text(json.dumps(record))
    assert load_run(moved).method.bank.paths[0].startswith(str(moved)), "beside its run"
    (moved / "bank").rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError, match=r"/nowhere: the run's memory is not here"):
        load_run(moved)
    (tmp_path / "away").rename(moved / "bank")
    record["sha256"] = "0" * 64
    (moved / "bank.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="not the memory that this run was trained with"):
        load_run(moved)
    (moved / "bank" / "segments.npz").write_bytes((moved / "bank" / "segments.npz").read_bytes() + b" ")
    with pytest.raises(ValueError, match="changed since it was made"):
        load_run(moved)
    (moved / "bank" / "photos" / "00000001.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"00000001\.png: missing \(1 photos\)"):
        load_run(moved)


def test_the_best_of_a_run_has_its_memory(tmp_path):
    """best/, which --train_eval keeps, is a run folder in the run's, also where both were moved."""
    moved = tmp_path / "moved"
    shutil.copytree(run().config.checkpoint_dir, moved)
    runs.write_run(
        moved / "best", config("first"), {n: v.numpy() for n, v in named_variables(run().method).items()}
    )
    (moved / "bank.json").write_text(
        json.dumps(json.loads((moved / "bank.json").read_text()) | {"path": "/nowhere"})
    )
    assert load_run(moved / "best").method.bank.paths[0].startswith(str(moved / "bank"))
    (moved / "bank.json").unlink()
    with pytest.raises(FileNotFoundError, match="best/bank: the run's memory is not here"):
        load_run(moved / "best")


def test_a_published_run_has_its_memory_with_it(tmp_path):
    """A copy of the whole run that needs no other folder; what is there for resumed builds alone stays behind."""
    run()
    linked = config("linked", init_from=str(folder() / "first"))
    (folder() / "linked").mkdir()
    linked.save(folder() / "linked")
    runs.save_weights(folder() / "linked", {n: v.numpy() for n, v in named_variables(run().method).items()})
    made = tmp_path / "published"
    assert publish(PublishOptions(str(folder() / "linked"), str(made), "float32")) == 0
    assert sorted(path.name for path in (made / "bank").iterdir()) == ["index.json", "photos", "segments.npz"]
    assert str(folder()) not in (made / "config.json").read_text()
    copy = load_run(made)
    assert copy.method.bank.paths[0].startswith(str(made)) and copy.method.bank.photo_count == 8
    for name, value in copy.method.bank.tensors.items():
        np.testing.assert_array_equal(value, run().method.bank.tensors[name])


def test_a_memory_of_other_sizes_is_refused():
    trainer()
    with pytest.raises(ValueError, match="a memory of other size"):
        runs.build_method(config("off").replace(crop_size=32), training=False)


def test_fewer_photos():
    model = runs.build_method(config("off", bank_images=3), training=False)
    assert model.bank.photo_count == 3 and int(tf.reduce_max(model.bank["photo"])) == 3


# Pictures


@pytest.mark.slow
def test_the_canvas_is_made_of_the_memorys_photos():
    found, method = layout(), run().method
    style = run().sample_style([0, 5], found)
    canvas, placed = method.placed(run()._planned(found), style)
    assert (placed.row.numpy() > 0).sum() > 5
    np.testing.assert_allclose(placed.theta.numpy()[..., [0, 4]], 1, atol=0.5)
    for n in range(2):
        picture, owner = canvas.picture[n].numpy(), canvas.owner[n].numpy()
        whole = 0
        for segment in np.unique(owner[owner >= 0]):
            photo = method.bank.picture(method.bank["photo"][placed.row[n, segment]]).numpy()
            shown = (owner == segment) & picture.any(-1) & (picture != 1).any(-1)
            moved = [np.roll(photo, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
            same = max(
                np.isclose(picture, np.maximum(p, 1 / 255), atol=1e-6).all(-1)[shown].mean() for p in moved
            )
            assert same == 1
            whole += shown.sum()
        assert whole > 0.4 * 64 * 64


def test_seed_0_takes_the_best_and_others_draw():
    found = layout()
    plan, style = run()._planned(found), run().sample_style([0, 3, 4], found)
    regions = found["instance"].max() + 1
    choice = style["choice"].numpy()
    assert choice.shape == (3, regions) and not choice[0].any() and set(choice[1:].flat) <= set(range(10))
    rows = run().method.placed(plan, style)[1].row.numpy()
    np.testing.assert_array_equal(rows[0], plan["row"].numpy()[:, 0])
    assert (rows[1] != rows[0]).any() and ((rows > 0) == (rows[0] > 0)).all()
    far = {"choice": tf.constant([[2.0**30] * regions, [1e30] * regions])}  # more than an int32 holds
    beyond, further = run().method.placed(plan, far)[1].row.numpy()
    np.testing.assert_array_equal(beyond, further)
    scores = plan["score"].numpy()
    assert (np.diff(scores, axis=1) <= 0).all()


def test_many_pictures_take_the_best_as_well(tmp_path, monkeypatch):
    """Of `generate`, `evaluate` and --train_eval, as the authors' code does for its test layouts."""
    label = render_scene(1_000_001, 64, 64).label
    write_png(tmp_path / "maps.png", label)
    monkeypatch.setattr(generating, "load_run", lambda *_: run())
    options = generating.GenerateOptions(str(folder() / "first"), str(tmp_path), num_samples=2)
    trainer()
    generating.generate(dataclasses.replace(options, results_dir=str(tmp_path / "out")))
    best = run().paint(label, seed=0).astype(int)
    assert np.abs(data.read_image(tmp_path / "out" / "maps_0.png") - best).max() <= 1
    jobs = jobs_of(dataclasses.replace(options, seed=3), LayoutFiles({"maps": ""}), "", 0)
    assert [out.seed for out in jobs[0].outputs] == [style_seed(3, "maps", s) for s in (0, 1)]
    rows = np.arange(3)
    assert not run().method.seeds_of(rows, 0).any() and run().method.seeds_of(rows, 5).tolist() == [5, 6, 7]
    assert METHODS["spade"].seeds_of(rows, 0).tolist() == [0, 1, 2]


@pytest.mark.slow
def test_layouts_of_a_batch_do_not_mix():
    both = {k: np.concatenate([layout(1_000_001)[k], layout(1_000_002)[k]]) for k in ("label", "instance")}
    style = {"choice": tf.zeros([2, int(both["instance"].max()) + 1])}
    together = run().synthesize(both, style).astype(int)
    for i, seed in enumerate((1_000_001, 1_000_002)):
        alone = run().synthesize(layout(seed), {"choice": style["choice"][:1]})[0]
        assert np.abs(together[i] - alone).max() <= 1


def test_one_class_is_exchanged():
    found = layout()
    style = run().sample_style([0], found)
    plan = run()._planned(found)
    segments = plan["segments"]
    offered = (plan["row"].numpy() > 0).sum(1)
    kind = int(segments["kind"].numpy()[offered.argmax()])
    names = run().table.names
    edit = parse_edit(f"class:{names[kind]}=seed:7", names)
    label = render_scene(1_000_001, 64, 64).label
    edited = apply_edits(run(), [edit], label, None, style)
    region = int(segments["region"].numpy()[offered.argmax()])
    changed = np.flatnonzero(edited["choice"].numpy()[0] != style["choice"].numpy()[0])
    assert changed.tolist() == [region]


def test_a_layout_without_any_match_still_gives_a_picture():
    settings = tiny_config(folder() / "empty", **OPTIONS, bank_dir="none")
    model = Synthesizer(settings, runs.build_method(settings, training=False))
    found = model.layout(render_scene(3, 64, 64).label)
    picture = model.synthesize(found, model.sample_style([1], found))
    assert picture.shape == (1, 64, 64, 3) and picture.std() > 0
    canvas = model.method.canvases(model._planned(found), model.sample_style([1], found))
    assert not canvas.picture.numpy().any()


def test_order_network_decides_places():
    settings = config("ordered", use_order=True, order_period=0)
    model = Synthesizer(settings, runs.build_method(settings, training=False))
    found = model.layout(render_scene(3, 64, 64).label)
    plan = model._planned(found)
    pairs, kinds = plan["pairs"].numpy(), plan["segments"]["kind"].numpy()
    assert len(pairs) > 3 and plan["logits"].shape == (len(pairs), 15)
    place = plan["place"].numpy()
    assert sorted(place) == list(range(len(place)))
    front = plan["logits"].numpy()
    strength = (
        front[range(len(pairs)), kinds[pairs[:, 1]] + 1] - front[range(len(pairs)), kinds[pairs[:, 0]] + 1]
    )
    strongest = np.abs(strength).argmax()
    behind, ahead = pairs[strongest][:: 1 if strength[strongest] > 0 else -1]
    assert place[behind] < place[ahead]


# Exports


@pytest.fixture(scope="module")
def exported():
    run()
    path = export(ExportOptions(checkpoint_dir=str(folder() / "first"), export_dir=str(folder() / "exports")))
    return tf.saved_model.load(path).signatures


@pytest.mark.slow
def test_exports_need_no_folder(exported):
    label = render_scene(1_000_001, 64, 64).label
    found = layout()
    expected = run().synthesize(found, run().sample_style([1], found))[0]
    (folder() / "first" / "bank").rename(folder() / "away")
    seeded = exported["serving_default"](label=tf.constant(label[None]), seed=tf.constant([1], tf.int64))
    assert np.abs(seeded["image"].numpy()[0].astype(int) - expected).max() <= 1
    style = exported["sample_style"](label=tf.constant(label[None]), seed=tf.constant([1], tf.int64))
    (folder() / "away").rename(folder() / "first" / "bank")
    again = exported["synthesize_style"](label=tf.constant(label[None]), choice=style["choice"])
    np.testing.assert_array_equal(again["image"], seeded["image"])


@pytest.mark.slow
def test_graphs_hold_tensorflow_alone(exported):
    for name, signature in exported.items():
        operations = {node.op for node in signature.graph.as_graph_def().node}
        for function in signature.graph.as_graph_def().library.function:
            operations |= {node.op for node in function.node_def}
        assert not operations & {"PyFunc", "EagerPyFunc", "PyFuncStateless"}, name
        assert name == "regions" or len(operations) > 20


def test_larger_networks_start_from_smaller_ones(tmp_path):
    """From 64 rows to 128: the trunk is the same bit for bit, the new heads are fresh."""
    first = trainer().method
    settings = tiny_config(
        tmp_path / "second",
        **{**OPTIONS, "crop_size": 128},
        scale=2,
        init_from=str(folder() / "first"),
        bank_dir="none",
    )
    second = Trainer(settings, data.open_dataset(settings, "train", "regions"), tf.distribute.get_strategy())
    mine, theirs = named_variables(second.method), named_variables(first)
    fresh = {name.split("/")[1] for name in mine.keys() - theirs.keys()}
    assert fresh == {"refine2", "picture2", "semantic2"}
    for name in mine.keys() & theirs.keys():
        np.testing.assert_array_equal(mine[name].numpy(), theirs[name].numpy())
    assert mine["synthesis/refine2/unit1/conv/kernel"].numpy().std() > 0
    with pytest.raises(FileNotFoundError, match="neither a checkpoint"):
        Trainer(settings.replace(init_from=str(tmp_path)), second.dataset, tf.distribute.get_strategy())


@pytest.mark.slow
def test_provenance(tmp_path):
    run()
    label = render_scene(1_000_001, 64, 64).label
    write_png(tmp_path / "map.png", label)
    paths = make_pictures(
        OneOptions(
            checkpoint_dir=str(folder() / "first"),
            label_filename=str(tmp_path / "map.png"),
            num_samples=2,
            provenance=True,
            results_dir=str(tmp_path / "out"),
        )
    )
    names = [Path(path).name for path in paths]
    assert names[-4:] == [f"map_provenance_{s}.{end}" for s in (0, 1) for end in ("png", "json")]
    sheet = data.read_image(tmp_path / "out" / "map_provenance_0.png")
    assert sheet.shape[1] >= 4 * 64 and sheet.std() > 10
    segments = json.loads((tmp_path / "out" / "map_provenance_0.json").read_text())["segments"]
    found = layout()
    plan = run()._planned(found)
    assert len(segments) == len(plan["place"])
    used = [s for s in segments if s["photo"]]
    assert len(used) == (plan["row"].numpy()[:, 0] > 0).sum() > 5
    assert {"class", "instance", "box", "photo", "similarity", "theta", "shown"} == set(segments[0])
    assert all(
        (folder() / "first" / "bank" / s["photo"]).is_file() and 0 < s["similarity"] <= 2 for s in used
    )
    assert all(0 <= s["shown"] <= 1 for s in segments) and max(s["shown"] for s in used) > 0.5
    ranks = [run().method.groups.rank[run().table.names.index(s["class"])] for s in segments]
    assert ranks == sorted(ranks), "back to front"
    for s in segments:
        top, left, bottom, right = s["box"]
        assert (found["label"][0, top:bottom, left:right] == run().table.names.index(s["class"])).any()


def test_provenance_of_other_methods(tmp_path):
    options = OneOptions("demo_spade", provenance=True, results_dir=str(tmp_path / "out"))
    with pytest.raises(ValueError, match="--provenance: spade makes pictures from its weights alone"):
        make_pictures(options)
    assert not (tmp_path / "out").exists()
