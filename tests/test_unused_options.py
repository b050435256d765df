"""Options that have no effect beside the others are refused in one line or, in trainings, named in a warning."""

import logging
import re

import cv2
import numpy as np
import pytest
from fixtures_data import write_folders
from helpers import as_flags, assert_user_error, random_arrays, run_here, tiny_config

from semantic_synthesis import data, recipe_files, runs
from semantic_synthesis.data.prepare import COMMANDS
from semantic_synthesis.data.scenes import render_scene
from semantic_synthesis.evaluation import EvaluateOptions, GenerateOptions, evaluating, generate
from semantic_synthesis.evaluation.during_training import TrainEval
from semantic_synthesis.evaluation.evaluating import evaluate, score
from semantic_synthesis.files import shipped
from semantic_synthesis.methods import make_config
from semantic_synthesis.methods.sims import building
from semantic_synthesis.methods.sims.building import BankOptions, prepare_bank
from semantic_synthesis.one_picture import OneOptions, make_pictures
from semantic_synthesis.options import Use, options_of, refuse_unused, unused
from semantic_synthesis.runs import training_config, warn_unused
from semantic_synthesis.serving.export import ExportOptions, export

SCENES_FILE = str(shipped("datasets", "scenes.json"))


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run of scenes without instance maps."""
    folder = str(tmp_path_factory.mktemp("run"))
    config = tiny_config(folder, use_vae=True, no_instance=True)
    config.save(folder)
    runs.save_weights(folder, random_arrays(runs.build_method(config, training=False)))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{option: folder} of your own dataset."""
    images, labels = write_folders(tmp_path_factory.mktemp("own"))
    return {"image_dir": images, "label_dir": labels}


@pytest.fixture
def two_sides(tmp_path):
    """Pictures that nothing reads."""
    for side in ("fake", "real"):
        (tmp_path / side).mkdir()
        for number in range(2):
            (tmp_path / side / f"a_{number}.png").write_bytes(b"not read")
    return {f"{side}_dir": str(tmp_path / side) for side in ("fake", "real")}


def test_what_the_helper_names():
    options = EvaluateOptions(metrics="fid", max_images=3, style="real")
    uses = [Use("style max_images split", False, "why"), Use("metrics", True, "used")]
    assert list(unused(options, uses)) == [(["--style real", "--max_images 3"], "why")]
    assert list(unused(options, uses, {"split"})) == [(["--split val"], "why")]
    refuse_unused(options, uses[1:])
    with pytest.raises(ValueError, match=r"^--style real: why$"):
        refuse_unused(options, uses)
    one = OneOptions(provenance=True, restyle=("all=seed:1", "all=seed:2"))
    shown, _ = next(unused(one, [Use("provenance restyle", False, "why")]))
    assert shown == ["--provenance", "--restyle all=seed:1"]
    assert next(unused(data.prepare.CheckOptions(pairing_check=False), [Use("pairing_check", 0, "")]))[0] == [
        "--pairing_check=false"
    ]


# evaluate


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("max_images", 100, "--max_images 100: counts a run's layouts; expected with --checkpoint_dir"),
        ("style", "real", "--style real: says how a run"),
        ("num_samples", 2, "--num_samples 2: says how a run"),
        ("precision", "bfloat16", "--precision bfloat16: says how a run"),
        ("split", "train", "--split train: is for a run's own dataset"),
        ("dataroot", "d", "--dataroot d: is for a run's own dataset"),
        ("image_dir", "d", "--image_dir d: holds what a run makes pictures of"),
        ("instance_dir", "d", "--instance_dir d: holds what a run makes pictures of"),
    ],
)
def test_what_is_for_runs_alone(name, value, text):
    with pytest.raises(ValueError, match=f"^{text}.*leave it out for folders$"):
        score(EvaluateOptions(fake_dir="f", real_dir="r", metrics="lpips", **{name: value}))


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"dataset_mode": "ade20k"}, "--dataset_mode ade20k: is for --fake_dir; a run knows"),
        ({"image_dir": "i", "label_dir": "l", "split": "train"}, "--split train: is for the run's own"),
        ({"label_dir": "l", "dataroot": "d"}, "--dataroot d: is for the run's own dataset"),
    ],
)
def test_what_is_for_other_inputs_of_runs(asked, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        score(EvaluateOptions(checkpoint_dir="demo_clade", **asked))


@pytest.mark.parametrize("asked", [{"eval_size": "8x8"}, {"shard": "0/2"}])
def test_statistics_files_hold_no_pictures(asked):
    with pytest.raises(ValueError, match="is for pictures, and statistics files are all there is"):
        score(EvaluateOptions(fake_stats="f.npz", real_stats="r.npz", metrics="fid", **asked))


@pytest.mark.parametrize(
    ("metrics", "name", "value", "needed"),
    [
        ("judge", "inception_weights", "random", "fid or kid"),
        ("judge", "eval_dims", "64", "fid or kid"),
        ("lpips", "real_dir", None, "fid, kid, judge or miou"),
        ("lpips", "save_fake_stats", "new.npz", "fid, kid or judge"),
        ("fid", "lpips_net", "vgg", "lpips, class_diversity or region_diversity"),
        ("fid", "lpips_weights", "random", "lpips, class_diversity or region_diversity"),
        ("", "lpips_linear", "random", "lpips, class_diversity or region_diversity"),
        ("", "segmenter", "scenes", "miou"),
        ("fid", "miou_classes", "sky", "miou"),
        ("fid", "dataset_mode", "ade20k", "miou of folders"),
        ("fid", "label_dir", "fake", "miou of folders"),
        ("fid,judge", "seed", 3, "kid of folders, whose subsets it draws"),
    ],
)
def test_what_is_for_other_metrics(metrics, name, value, needed, two_sides, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {name: value} if value else {}
    with pytest.raises(ValueError, match=rf"^--{name} \S+: is for {needed}, and the metrics are ") as found:
        score(EvaluateOptions(metrics=metrics, **two_sides, **given))
    assert str(found.value).endswith("; add it to --metrics, or leave it out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fake", "real"]


def test_layouts_and_pictures_that_miou_lacks(two_sides):
    fake, real = two_sides["fake_dir"], two_sides["real_dir"]
    described = EvaluateOptions(fake_dir=fake, dataset_mode="ade20k", segmenter="scenes", metrics="miou")
    with pytest.raises(ValueError, match=r"^--dataset_mode ade20k: .*; expected with --label_dir$"):
        score(described)
    for metrics in ("fid,miou", "fid,lpips"):
        with pytest.raises(
            ValueError, match=r"^--fake_stats f.npz: statistics hold no pictures, .*--fake_dir"
        ):
            score(EvaluateOptions(fake_stats="f.npz", real_dir=real, metrics=metrics))


def test_what_the_usual_metrics_of_scenes_ignore(run_dir):
    with pytest.raises(
        ValueError, match=r"^--eval_dims 64: is for fid or kid, and the metrics are miou, judge"
    ):
        score(EvaluateOptions(checkpoint_dir=run_dir, max_images=2, eval_dims="64"))
    with pytest.raises(ValueError, match=r"^--style real: lpips compares random styles"):
        score(EvaluateOptions(checkpoint_dir=run_dir, max_images=2, style="real", metrics="lpips"))


def test_folders_that_a_run_does_not_look_into(run_dir, folders, tmp_path):
    asked = EvaluateOptions(checkpoint_dir=run_dir, metrics="fid", instance_dir=str(tmp_path), **folders)
    with pytest.raises(ValueError, match=r"^--instance_dir \S+: this run was trained without instance maps"):
        score(asked)
    own = runs.load_config(run_dir).replace(dataset_mode="custom", **folders)
    (tmp_path / "run").mkdir()
    own.save(tmp_path / "run")
    (tmp_path / "run" / "weights.npz").symlink_to(f"{run_dir}/weights.npz")
    with pytest.raises(ValueError, match=r"^--dataroot r: this run's dataset is folders"):
        score(EvaluateOptions(checkpoint_dir=str(tmp_path / "run"), metrics="fid", dataroot="r"))
    with pytest.raises(ValueError, match=r"^--dataroot r: this run's dataset is folders"):
        generate(
            GenerateOptions(
                str(tmp_path / "run"), split="val", dataroot="r", results_dir=str(tmp_path / "out")
            )
        )
    assert not (tmp_path / "out").exists()


def test_a_report_without_figures_is_named(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(evaluating, "score", lambda options: [])
    with caplog.at_level(logging.WARNING, "absl"):
        assert evaluate(EvaluateOptions(report=str(tmp_path / "new.json"))) == 0
    assert "new.json: not written" in caplog.text and not list(tmp_path.iterdir())


def test_the_command_line_says_it_in_one_line():
    flags = {"checkpoint_dir": "demo_clade", "dataset_mode": "ade20k"}
    result = run_here("evaluate", as_flags(flags))
    assert_user_error(result, "--dataset_mode ade20k: is for --fake_dir", "leave it out")


# Pictures, exports, recipes


def test_instance_maps_for_runs_that_read_none(run_dir, tmp_path):
    scene = render_scene(3, 16, 16)
    for name, values in (("label", scene.label), ("instance", scene.instance.astype(np.uint16))):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "map.png"), values)
    one = OneOptions(
        checkpoint_dir=run_dir,
        label_filename=str(tmp_path / "label" / "map.png"),
        instance_filename=str(tmp_path / "instance" / "map.png"),
        results_dir=str(tmp_path / "out"),
    )
    with pytest.raises(ValueError, match=r"^--instance_filename \S+map.png: this run reads no instance maps"):
        make_pictures(one)
    many = GenerateOptions(
        run_dir, str(tmp_path / "label"), str(tmp_path / "instance"), results_dir=str(tmp_path / "out")
    )
    with pytest.raises(ValueError, match=r"^--instance_dir \S+: this run reads no instance maps"):
        generate(many)
    assert not (tmp_path / "out").exists()


def test_the_type_of_a_signature_that_is_not_there(tmp_path):
    asked = ExportOptions(checkpoint_dir="demo_sims", export_dir=str(tmp_path), image_dtype="float32")
    with pytest.raises(ValueError, match=r"^--image_dtype float32: is for the signature picture"):
        export(asked)
    assert not list(tmp_path.iterdir())


def test_a_recipe_by_name_has_its_method():
    with pytest.raises(ValueError, match=r"^--method sims: lists recipes"):
        recipe_files.recipes(recipe_files.RecipesOptions(name="spade_ade20k", method="sims"))


# Data


@pytest.mark.parametrize(
    ("name", "asked", "text"),
    [
        ("check", {"dataroot": "d"}, "--dataroot d: is for a named dataset"),
        ("check", {"instance_dir": "d", "no_instance": True}, "--instance_dir d: --no_instance leaves"),
        ("check", {"instance_none_id": 3}, "--instance_none_id 3: no instance maps are looked at"),
        ("instances", {"dataroot": "d", "instance_dir": "new"}, "--dataroot d: is for a named dataset"),
        ("instances", {"annotations": "a.json", "instance_dir": "new"}, "--annotations a.json: is for coco"),
        (
            "shards",
            {"instance_dir": "d", "no_instance": True, "out": "new"},
            "--instance_dir d: --no_instance leaves",
        ),
    ],
)
def test_prepare(name, asked, text, folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = COMMANDS[name]
    with pytest.raises(ValueError, match=f"^{text}"):
        command.run(command.options(**folders, **asked))
    assert not list(tmp_path.iterdir())


def test_a_bank_of_photos_has_no_scenes(folders, tmp_path):
    with pytest.raises(ValueError, match=r"^--scenes_count 9: .*expected --max_dataset_size$"):
        prepare_bank(BankOptions(**folders, crop_size=16, scenes_count=9, out=str(tmp_path / "bank")))
    assert not list(tmp_path.iterdir())


def test_a_bank_of_scenes_by_the_path_of_their_description(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "build_bank", lambda config, out: {"segments": 1, "photos": ["a"]})
    options = BankOptions(dataset_mode=SCENES_FILE, crop_size=16, scenes_count=9, out=str(tmp_path))
    assert prepare_bank(options) == 0


# Training


def test_scenes_by_the_path_of_their_description_are_scored_as_scenes():
    """With their own segmenter, and as many as are asked for."""
    config = tiny_config(dataset_mode=SCENES_FILE, scenes_count=3)
    assert TrainEval(config, EvaluateOptions(metrics="miou", max_images=5)).dataset.size == 5


@pytest.mark.parametrize(
    "asked",
    [
        {"dataroot": "d"},
        {"dataset_mode": "scenes", "image_dir": "d", "label_dir": "d"},
        {"instance_dir": "d"},
        {"semantic_label_path": "d"},
    ],
)
def test_folders_beside_the_scenes(asked):
    """Without a dataset's name scenes are rendered: who gave a folder wanted something else."""
    with pytest.raises(
        ValueError, match=r"^--\w+ d: the scenes, .* are rendered, not read; expected --dataset_mode"
    ):
        training_config({**asked, "checkpoint_dir": "none"}, data.resolve)


def test_two_places_of_one_dataset(folders):
    with pytest.raises(ValueError, match=r"^--dataroot d: is for a named dataset"):
        data.resolve(make_config(**folders, dataroot="d", crop_size=16))


def test_scores_that_nobody_computes():
    for name, value in (("eval_metrics", "fid"), ("eval_images", 4), ("eval_epoch_freq", 2)):
        given = {"checkpoint_dir": "none", name: value}
        with pytest.raises(ValueError, match=f"^--{name} {value}: .*; expected with --train_eval"):
            training_config(given, data.resolve)
        for meant in (True, False):
            training_config({**given, "train_eval": meant}, data.resolve)


@pytest.mark.parametrize(
    ("method", "given", "text"),
    [
        ("spade", {"no_vgg_loss": True, "vgg_weights": "random"}, "--vgg_weights random: .*--no_vgg_loss"),
        ("spade", {"encoder_size": 64, "z_dim": 4}, "--encoder_size 64|--z_dim 4: .*--use_vae"),
        ("spade", {"lambda_features": 5.0, "no_feature_loss": True}, "--lambda_features 5.0: .*no_feature"),
        ("clade", {"lambda_labelmix": 5.0}, "--lambda_labelmix 5.0: of no effect with --netD multiscale"),
        ("oasis", {"gan_mode": "ls"}, "--gan_mode ls: of no effect with --netD segmentation"),
        ("oasis", {"no_labelmix": True, "lambda_labelmix": 5.0}, "--lambda_labelmix 5.0: .*--no_labelmix"),
        ("clvae", {"use_vae": False, "lambda_kld_classes": 0.1}, "--lambda_kld_classes 0.1: .*--use_vae"),
        ("scgan", {"blur_size": 5}, "--blur_size 5: of no effect with --label_blur none"),
        ("scgan", {"label_blur": "full", "blur_levels": 3}, "--blur_levels 3: .*--label_blur full"),
        ("sims", {"order_pooling": "windows"}, "--order_pooling windows: .*--use_order"),
        ("sims", {"decay_epoch": 5}, "--decay_epoch 5: of no effect with sims"),
        ("spade", {"recalibration_batches": 3}, "--recalibration_batches 3: .*--ema_decay"),
        ("spade", {"preprocess_mode": "fixed", "img_height": 300}, "--img_height 300: .*_mode fixed"),
        ("spade", {"no_instance": True, "instance_dir": "d"}, "--instance_dir d: .*--no_instance"),
        ("spade", {"disparity_dir": "d"}, "--disparity_dir d: of no effect"),
        ("spade", {"dataset_mode": "ade20k", "scenes_count": 3}, "--scenes_count 3: counts rendered"),
    ],
)
def test_trainings_name_what_is_switched_off(method, given, text, caplog):
    config = make_config(method=method, **{"dataset_mode": "scenes", **given})
    with caplog.at_level(logging.WARNING, "absl"):
        warn_unused(config, given)
    (record, *_) = [r for r in caplog.records if "--" in r.getMessage()]
    assert re.search(text, record.getMessage()), record.getMessage()


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("spade", {"use_vae": True, "encoder_size": 64, "z_dim": 4, "vgg_weights": "random"}),
        ("inade", {"z_dim": 4, "noise_dim": 2}),
        ("oasis", {"z_dim": 4, "lambda_labelmix": 5.0, "ema_decay": 0.9, "recalibration_batches": 3}),
        ("scgan", {"label_blur": "pyramid", "blur_levels": 3, "gan_mode": "ls"}),
        ("sims", {"use_order": True, "order_pooling": "windows", "disparity_dir": "d"}),
        ("spade", {"dataset_mode": SCENES_FILE, "scenes_count": 3}),
    ],
)
def test_what_has_an_effect_is_not_named(method, given, caplog):
    with caplog.at_level(logging.WARNING, "absl"):
        warn_unused(make_config(method=method, **{"dataset_mode": "scenes", **given}), given)
    assert not caplog.records


@pytest.mark.parametrize("path", recipe_files.recipe_paths(), ids=lambda path: path.stem)
def test_recipes_hold_nothing_without_effect(path, caplog):
    text = path.read_text(encoding="utf-8").splitlines()
    flags = recipe_files._flags([line for line in text if line.startswith("--")])
    recipe = recipe_files.read_recipe(path)
    given = {name for name in flags if name in options_of(recipe.config)}
    if len(recipe.methods) == 1:  # others hold options for several
        with caplog.at_level(logging.WARNING, "absl"):
            warn_unused(recipe.config, given)
        assert not caplog.records
    assert recipe.config.train_eval or not given & {"eval_metrics", "eval_images", "eval_epoch_freq"}
