"""generate and evaluate: folders in, folders and figures out; mistakes."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
import tensorflow as tf
from helpers import random_arrays, shallow_networks, tiny_config

from semantic_synthesis import runs
from semantic_synthesis.config import Config
from semantic_synthesis.data import open_dataset
from semantic_synthesis.data.geometry import fit_image, fit_label
from semantic_synthesis.data.scenes import CLASSES, render_scene
from semantic_synthesis.evaluation import COMMANDS, EvaluateOptions, GenerateOptions, evaluating, judge
from semantic_synthesis.evaluation.evaluating import evaluate, score
from semantic_synthesis.evaluation.generating import generate
from semantic_synthesis.inference import load_run


class MeanColour:
    """A feature network that a test can follow: the mean of each channel, and of their squares."""

    name, sha256, resize, dims = "mean colour", "0" * 64, "none", 6

    def __init__(self, *_):
        pass

    def __call__(self, pictures):
        x = pictures.astype(np.float32) / 255
        return np.concatenate([x.mean((1, 2)), (x**2).mean((1, 2))], -1)


@pytest.fixture(autouse=True)
def light_networks(monkeypatch):
    monkeypatch.setattr(evaluating, "InceptionFeatures", MeanColour)
    with shallow_networks():
        yield


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("run"))
    with shallow_networks():
        config = tiny_config(folder, use_vae=True, crop_size=16)
        config.save(folder)
        model = runs.build_method(config, training=False)
        runs.save_weights(folder, random_arrays(model))
    return folder


@pytest.fixture(scope="module")
def label_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    (folder / "inner").mkdir()
    for i in range(5):
        name = folder / ("inner" if i == 4 else "") / f"map{i}.png"
        cv2.imwrite(str(name), render_scene(i, 24, 24).label)
    return str(folder)


def made(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.png")}


def test_generate_resumes_and_its_shards_are_the_whole(run_dir, label_dir, tmp_path):
    options = GenerateOptions(run_dir, label_dir, results_dir=str(tmp_path / "whole"), batch_size=2)
    assert generate(options) == 0
    whole = made(tmp_path / "whole")
    assert sorted(whole) == ["inner/map4.png", "map0.png", "map1.png", "map2.png", "map3.png"]
    assert cv2.imread(str(tmp_path / "whole" / "map0.png")).shape == (16, 16, 3)
    (tmp_path / "whole" / "map2.png").unlink()
    kept = (tmp_path / "whole" / "map1.png").stat().st_mtime_ns
    generate(options)
    assert made(tmp_path / "whole") == whole
    assert (tmp_path / "whole" / "map1.png").stat().st_mtime_ns == kept
    for shard in ("0/2", "1/2"):
        generate(dataclasses.replace(options, results_dir=str(tmp_path / "parts"), shard=shard))
    pictures = {name: cv2.imdecode(np.frombuffer(data, np.uint8), 1) for name, data in whole.items()}
    for name, data in made(tmp_path / "parts").items():
        other = cv2.imdecode(np.frombuffer(data, np.uint8), 1)
        assert np.abs(other.astype(int) - pictures.pop(name)).max() <= 1, name  # batches may round otherwise
    assert not pictures


def test_generate_takes_styles_and_several_samples(run_dir, label_dir, tmp_path):
    (tmp_path / "style").mkdir()
    cv2.imwrite(str(tmp_path / "style" / "any.jpg"), render_scene(3, 32, 32).image)
    options = GenerateOptions(run_dir, label_dir, results_dir=str(tmp_path / "styled"))
    generate(dataclasses.replace(options, style_dir=str(tmp_path / "style")))
    styled = made(tmp_path / "styled")
    cv2.imwrite(str(tmp_path / "style" / "any.jpg"), np.full((32, 32, 3), 255, np.uint8))
    white = dataclasses.replace(
        options, style_dir=str(tmp_path / "style"), results_dir=str(tmp_path / "white")
    )
    generate(white)
    generate(dataclasses.replace(options, results_dir=str(tmp_path / "many"), num_samples=2))
    many = made(tmp_path / "many")
    assert len(styled) == 5 and len(many) == 10
    assert all(
        styled[name] != data for name, data in made(tmp_path / "white").items()
    )  # another style, other pictures
    assert many["map0_0.png"] != many["map0_1.png"]


def test_generates_mistakes_are_one_line(run_dir, label_dir, tmp_path):
    options = GenerateOptions(run_dir, label_dir, results_dir=str(tmp_path / "out"))
    generate(options)
    for changes, text in (
        ({"seed": 1}, "were made with seed 0"),
        ({"shard": "2/2"}, "expected i/n"),
        ({"label_dir": str(tmp_path / "none")}, "--label_dir"),
        ({"num_samples": 0}, "--num_samples 0"),
        ({"style_dir": label_dir, "num_samples": 2}, "--num_samples needs"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=text) as found:
            generate(dataclasses.replace(options, **changes))
        assert "\n" not in str(found.value)


@pytest.fixture(scope="module")
def picture_dirs(tmp_path_factory):
    folders = []
    for first in (0, 100):
        folders.append(tmp_path_factory.mktemp("pictures"))
        for i in range(12):
            cv2.imwrite(str(folders[-1] / f"{i}.png"), render_scene(first + i, 24, 32).image[..., ::-1])
    return folders


def test_evaluate_prints_and_stores_figures_with_their_protocol(picture_dirs, tmp_path, capsys):
    fake, real = map(str, picture_dirs)
    report = tmp_path / "report.json"
    assert evaluate(EvaluateOptions(fake_dir=fake, real_dir=real, report=str(report), seed=3)) == 0
    figures = json.loads(report.read_text())["figures"]
    assert [f["metric"] for f in figures] == ["fid", "kid"]
    for figure in figures:
        assert figure["images"] == figure["real images"] == 12 and figure["size"] == "32x24"
        assert figure["network"] == "mean colour" and figure["network sha256"] and figure["seed"] == 3
        assert figure["resize"] and figure["split"]
    table = (tmp_path / "report.md").read_text()
    assert table.startswith("| metric | value | images |")
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0].startswith("| metric | value |") and "images: 12; real images: 12; size: 32x24;" in lines[5]
    )
    assert max(map(len, lines)) <= 80


def test_evaluate_in_shards_equals_one_run(picture_dirs, tmp_path):
    fake, real = map(str, picture_dirs)
    (whole,) = score(EvaluateOptions(fake_dir=fake, real_dir=real, metrics="fid"))
    paths = {"fake": [], "real": []}
    for shard in ("0/3", "1/3", "2/3"):
        for side, found in paths.items():
            found.append(str(tmp_path / f"{side}_{shard[0]}.npz"))
        for side, folder in (("fake", fake), ("real", real)):
            one = {f"{side}_dir": folder, f"save_{side}_stats": paths[side][-1]}
            assert score(EvaluateOptions(metrics="fid", shard=shard, batch_size=3, **one)) == []
    merged = {f"{side}_stats": ",".join(found) for side, found in paths.items()}
    (figure,) = score(EvaluateOptions(metrics="fid", **merged))
    assert figure["value"] == pytest.approx(whole["value"], rel=1e-9) and figure["images"] == 12
    (same,) = score(EvaluateOptions(fake_dir=real, real_stats=merged["real_stats"], metrics="fid"))
    assert abs(same["value"]) < 1e-9


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"fake_dir": "f", "metrics": "kid"}, "the real side is missing; give --real_dir or --real_stats"),
        ({"fake_dir": "f", "metrics": "judge"}, "the real side is missing; give --real_dir or --real_stats"),
        (
            {"fake_dir": "f", "real_dir": "r", "real_stats": "s"},
            "--real_dir and --real_stats: both give the real side",
        ),
        (
            {"checkpoint_dir": "run", "fake_stats": "s"},
            "--checkpoint_dir and --fake_stats: both give the fake side",
        ),
        (
            {"save_real_stats": "new.npz"},
            "--save_real_stats new.npz: written of pictures alone; expected --real_dir$",
        ),
        (
            {"fake_dir": "f", "real_stats": "s,t", "save_real_stats": "new.npz"},
            "expected --real_dir in place of --real_stats, which merges several files wherever it is given",
        ),
        (
            {"real_dir": "r", "save_real_stats": "r.npz", "save_fake_stats": "new.npz"},
            "--save_fake_stats new.npz: .*; expected --fake_dir$",
        ),
        ({"fake_dir": "f", "real_dir": "r", "report": "new.md"}, "--report new.md: .* such as new.json"),
        ({"fake_dir": "f", "real_stats": ","}, "statistics ',': no file named"),
        (
            {"checkpoint_dir": "run", "label_dir": "f"},
            "--label_dir: the scenes of this run are rendered",
        ),
    ],
)
def test_sides_that_are_missing_or_given_twice(asked, text, picture_dirs, run_dir, tmp_path, monkeypatch):
    """Nothing is ignored, and no statistics of no pictures are written."""
    folders = dict(zip(("f", "r", "run"), [*map(str, picture_dirs), run_dir], strict=True))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=text):
        evaluate(EvaluateOptions(**{name: folders.get(value, value) for name, value in asked.items()}))
    assert not list(tmp_path.iterdir())


def test_broken_files_and_mixed_sizes_are_named(picture_dirs, tmp_path):
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.png"), render_scene(i, 24, 24).image)
    options = EvaluateOptions(
        fake_dir=str(tmp_path), real_dir=str(picture_dirs[1]), metrics="fid", batch_size=3
    )
    cv2.imwrite(str(tmp_path / "3.png"), render_scene(3, 24, 28).image)
    with pytest.raises(ValueError, match=r"3\.png: 28x24 pixels.*--eval_size"):
        score(options)
    (figure,) = score(dataclasses.replace(options, eval_size="20x20"))
    assert figure["size"] == "20x20" and figure["resize"].startswith("area")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"2\.png: damaged"):
        score(options)


@pytest.fixture(scope="module")
def untrained_judge(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("judge"))
    path = judge.save_judge(judge.build_network(), folder)
    return judge.load_judge(folder), path


def test_judge_is_small_and_reads_any_size(untrained_judge):
    found, path = untrained_judge
    with open(path, "rb") as file:
        assert len(file.read()) < 2e6
    pictures = np.zeros((2, 50, 40, 3), np.uint8)
    assert found.classes(pictures).shape == (2, 128, 128)
    assert found.features(pictures).shape == (2, found.dims)
    with pytest.raises(FileNotFoundError, match="--train_judge"):
        judge.load_judge("nowhere")


def real_miou(judge, run_dir, count):
    """The judge's mIoU on held-out scenes, counted here."""
    dataset = open_dataset(Config.load(run_dir), "val")
    hits, rows, columns = np.zeros((3, len(CLASSES)))
    for index in range(count):
        image, label, _, _ = dataset.source.load(index)
        image, label = (fit(x, 16, 16) for fit, x in ((fit_image, image), (fit_label, label)))
        found = fit_label(judge.classes(image[None])[0], 16, 16)
        for c in range(len(CLASSES)):
            hits[c] += ((label == c) & (found == c)).sum()
            rows[c], columns[c] = rows[c] + (label == c).sum(), columns[c] + (found == c).sum()
    seen = rows > 0
    return float(np.mean(hits[seen] / (rows + columns - hits)[seen]))


def test_a_run_is_scored_on_held_out_scenes(run_dir, untrained_judge, monkeypatch):
    for module in ("evaluating", "segmentation"):
        monkeypatch.setattr(f"semantic_synthesis.evaluation.{module}.load_judge", lambda: untrained_judge[0])
    options = EvaluateOptions(checkpoint_dir=run_dir, max_images=5, batch_size=2, metrics="miou,judge,fid")
    figures = {figure["metric"]: figure for figure in score(options)}
    assert figures["miou"]["images"] == figures["fid"]["images"] == 5
    assert figures["miou"]["split"] == "val of scenes" and len(figures["miou"]["run sha256"]) == 64
    assert figures["miou of real"]["value"] == pytest.approx(
        real_miou(untrained_judge[0], run_dir, 5), abs=1e-12
    )
    assert 0 < len(figures["miou"]["classes"]) <= len(CLASSES)
    assert [name for name in figures if name in ("miou", "fid")] == ["miou", "fid"]  # as asked for
    assert figures["fid"]["value"] > 0


def test_folder_layouts_give_miou(label_dir, tmp_path):
    """Pictures that show their class ids, read by a segmenter that returns red: mIoU 1."""

    class Red(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
        def __call__(self, photo):
            return {"classes": tf.cast(photo[..., 0], tf.int32)}

    module = Red()
    tf.saved_model.save(module, str(tmp_path / "red"), signatures=module.__call__)
    (tmp_path / "fake").mkdir()
    for i in range(3):
        shown = np.repeat(render_scene(i, 24, 24).label[..., None], 3, -1)
        for sample in range(2):
            cv2.imwrite(str(tmp_path / "fake" / f"map{i}_{sample}.png"), shown)
    options = EvaluateOptions(
        fake_dir=str(tmp_path / "fake"),
        label_dir=label_dir,
        dataset_mode="scenes",
        metrics="miou",
        segmenter=str(tmp_path / "red"),
    )
    figures = {figure["metric"]: figure["value"] for figure in score(options)}
    assert figures == {"miou": 1.0, "pixel accuracy": 1.0}


def test_commands_are_dataclasses_with_functions():
    for command in COMMANDS.values():
        assert dataclasses.is_dataclass(command.options) and callable(command.run)
        shown = command.help_text("what it is for")
        assert command.example in shown and shown.startswith("What it is for.\n")
        for field in dataclasses.fields(command.options):
            assert field.metadata["help"] and f"--{field.name}" in shown, field.name


def test_evaluates_mistakes_are_one_line(picture_dirs, run_dir):
    fake, real = map(str, picture_dirs)
    for options, text in (
        ({}, "nothing to score"),
        ({"fake_dir": fake}, "real side is missing"),
        ({"fake_dir": fake, "real_dir": real, "metrics": "fidd"}, "--metrics fidd"),
        ({"fake_dir": fake, "real_dir": real, "metrics": "miou"}, "--segmenter"),
        ({"fake_dir": fake, "real_dir": real, "eval_size": "12"}, "--eval_size 12"),
        ({"checkpoint_dir": run_dir, "fake_dir": fake}, "makes its own"),
    ):
        with pytest.raises(ValueError, match=text) as found:
            score(EvaluateOptions(**options))
        assert "\n" not in str(found.value)


@pytest.mark.parametrize("metrics", ["fid", "kid", ""])
def test_one_picture_is_no_distribution(tmp_path, metrics):
    """Said before anything is read, with the folder's name."""
    for folder, count in (("many", 3), ("one", 1)):
        for number in range(count):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{number}.png").write_bytes(b"not read")
    for real, fake in (("one", "many"), ("many", "one")):
        options = EvaluateOptions(
            metrics=metrics,
            real_dir=str(tmp_path / real),
            fake_dir=str(tmp_path / fake),
            inception_weights="random",
        )
        with pytest.raises(
            ValueError, match=r"--\w+_dir \S+one: holds 1 picture, \S+0\.png; .*at least 2 of each"
        ):
            score(options)


def test_the_style_of_the_real_pictures(run_dir):
    """--style real gives other pictures than random styles, and the same twice."""
    options = EvaluateOptions(checkpoint_dir=run_dir, max_images=4, batch_size=2, metrics="fid")
    real, again, drawn = (
        score(dataclasses.replace(options, style=style))[0]["value"] for style in ("real", "real", "random")
    )
    assert real == again != drawn and np.isfinite([real, drawn]).all()


class Spread:
    """In place of LPIPS, which needs larger pictures: the standard deviation over samples. Keeps what it was shown."""

    name, resize, sha256 = "spread", "none", "0"
    shown = ()

    def __init__(self, *_):
        Spread.shown = []

    def diversity(self, samples):
        Spread.shown.append(samples)
        return float(samples.std(0).mean())


def test_lpips_of_a_run_is_of_samples_of_one_layout(run_dir, monkeypatch):
    """The mean over layouts; the seeds of a layout's samples follow from its number."""
    monkeypatch.setattr(evaluating, "LPIPS", Spread)
    options = EvaluateOptions(
        checkpoint_dir=run_dir, max_images=3, batch_size=2, metrics="lpips", num_samples=4, seed=5
    )
    (figure,) = score(options)
    run, dataset = load_run(run_dir), open_dataset(Config.load(run_dir), "val")
    for row, found in enumerate(Spread.shown):
        layout = run.layout(fit_label(dataset.source.load(row)[1], 16, 16))
        expected = run.synthesize(layout, run.sample_style([5 + 4 * row + i for i in range(4)], layout))
        np.testing.assert_array_equal(found, expected)
    assert figure["samples per layout"] == "4" and figure["images"] == len(Spread.shown) == 3
    assert figure["value"] == pytest.approx(np.mean([shown.std(0).mean() for shown in Spread.shown]))
    assert figure["value"] > 0.5


def test_lpips_of_a_folder_is_of_numbered_samples(tmp_path, monkeypatch):
    """Files numbered in another way are pictures of as many layouts, which have no diversity."""
    monkeypatch.setattr(evaluating, "LPIPS", Spread)
    rng = np.random.default_rng(0)
    for folder, names in {"samples": ["a_0", "a_1", "b_0", "b_1"], "frames": ["frame_1", "frame_2"]}.items():
        (tmp_path / folder).mkdir()
        for name in names:
            picture = rng.integers(0, 256, (16, 16, 3), np.uint8)
            assert cv2.imwrite(str(tmp_path / folder / f"{name}.png"), picture)
    (figure,) = score(EvaluateOptions(fake_dir=str(tmp_path / "samples"), metrics="lpips"))
    assert figure["images"] == 2 and [len(shown) for shown in Spread.shown] == [2, 2]
    with pytest.raises(ValueError, match=r"frame_1\.png is not one of several pictures of a layout"):
        score(EvaluateOptions(fake_dir=str(tmp_path / "frames"), metrics="lpips"))


def test_an_unknown_metric_is_told_before_anything_is_opened(tmp_path):
    options = EvaluateOptions(checkpoint_dir=str(tmp_path / "none"), metrics="fid,iou")
    with pytest.raises(ValueError, match=r"^--metrics iou: unknown; expected some of fid, kid"):
        score(options)
