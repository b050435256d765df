"""Every flag file in recipes/ is one that `train` takes today, and `recipes` lists them all."""

import re

import pytest
from helpers import REPOSITORY, assert_user_error, run_here

from semantic_synthesis import recipe_files
from semantic_synthesis.data import catalogue, resolving
from semantic_synthesis.methods import method_class
from semantic_synthesis.recipe_files import RecipesOptions, read_recipe, recipes

PATHS = sorted((REPOSITORY / "recipes").glob("*.flags"))
# Method by dataset: whatever has published settings (the authors' own, or weights that they released).
PUBLISHED = {
    "spade": {"ade20k", "coco", "cityscapes"},
    "clade": {"ade20k", "coco", "cityscapes"},
    "inade": {"ade20k", "celeba", "cityscapes", "deepfashion_inade"},
    "clvae": {"ade20k", "deepfashion", "gta5"},
    "scgan": {"ade20k", "coco", "celeba_scgan"},
    "oasis": {"ade20k", "coco", "cityscapes"},
    "sims": {"cityscapes"},
}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_options_exist_and_allow_the_values(path):
    """Without the dataset; cost and result are stated, and what was not measured says so."""
    found = read_recipe(path)
    assert found.title and found.cost and found.expected
    assert any(f"--flagfile=recipes/{path.name}" in command for command in found.commands)
    assert re.search(r"not run|xtrapolated|minutes|hours", found.cost), found.cost
    assert found.config.checkpoint_dir == f"checkpoints/{path.stem}" or "scenes" in found.config.dataset_mode


def test_every_published_setting_has_one():
    found = [read_recipe(path) for path in PATHS]
    for method, modes in PUBLISHED.items():
        assert modes <= {one.config.dataset_mode for one in found if one.methods == [method]}


# Input channels of the published discriminators that see the layout: classes, instance edges where they use them, RGB.
SEEN = {
    "spade_ade20k": 154, "spade_coco": 187, "spade_cityscapes": 39,
    "clade_ade20k": 154, "clade_coco": 187, "clade_cityscapes": 39,
    "inade_ade20k": 155, "inade_celeba": 23, "inade_cityscapes": 39, "inade_deepfashion": 12,
    "clvae_ade20k": 154, "clvae_deepfashion": 19, "clvae_gta5": 23,
    "scgan_ade20k": 154, "scgan_coco": 186, "scgan_celeba": 22,
}  # fmt: skip


@pytest.mark.parametrize("stem", SEEN)
def test_discriminators_see_the_channels_that_they_saw(stem):
    config = read_recipe(REPOSITORY / "recipes" / f"{stem}.flags").config
    description = catalogue.describe(config.dataset_mode)
    config = resolving.fill_options(config, description)
    edges = method_class(config).uses_edges(config)
    assert description.table.num_classes + edges + 3 == SEEN[stem]


def test_kl_terms_weigh_as_published():
    """The originals sum over the samples of a GPU, 4 of them at 0.05; here it is a mean."""
    configs = [one.config for one in map(read_recipe, PATHS) if one.config.dataset_mode != "scenes"]
    found = {c.checkpoint_dir: c.lambda_kld for c in configs if getattr(c, "use_vae", False)}
    assert len(found) == 8 and set(found.values()) == {0.2}


@pytest.mark.parametrize(
    "line, said",
    [
        ("--latent_dim=4", "--latent_dim is no option of oasis"),
        ("--no_vgg_loss=maybe", "--no_vgg_loss=maybe: expected true or false"),
        ("--batch_size=many", "--batch_size=many: expected int"),
        ("--netD=no", "--netD: netD is 'no'; expected one of"),
        ("--crop_size=0", "crop_size is 0; expected"),
    ],
)
def test_a_wrong_flag_is_named(tmp_path, line, said):
    path = tmp_path / "mine.flags"
    path.write_text((REPOSITORY / "recipes" / "oasis_coco.flags").read_text() + f"{line}\n")
    with pytest.raises(ValueError, match=re.escape(said)):
        read_recipe(path)


def test_the_list_has_all_with_size_cost_and_figure(capsys):
    assert recipes(RecipesOptions()) == 0
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines() if line[:1].strip()][:-1] == [p.stem for p in PATHS]
    assert re.search(
        r"^oasis_cityscapes +oasis  cityscapes  512x256\n +cost: not run.*\n +expected: FID 47.7", said, re.M
    )
    assert recipes(RecipesOptions(method="clvae")) == 0
    said = capsys.readouterr().out
    assert "clvae_gta5" in said and "compare_common" in said and "oasis_coco" not in said
    with pytest.raises(ValueError, match=r"--method sima: no recipe; expected one of clade, clvae"):
        recipes(RecipesOptions(method="sima"))


def test_one_is_shown_with_its_command(tmp_path, monkeypatch, capsys):
    """From another folder by its whole path, so that it works as it stands there."""
    monkeypatch.chdir(tmp_path)
    assert recipes(RecipesOptions(name="spade_coco")) == 0
    said = capsys.readouterr().out
    assert f"semantic-synthesis train --flagfile={REPOSITORY}/recipes/spade_coco.flags" in said
    assert "--dataset_mode=coco" in said and "python train.py" not in said
    monkeypatch.chdir(REPOSITORY)
    assert recipes(RecipesOptions(name="recipes/spade_coco.flags")) == 0
    assert "python train.py --flagfile=recipes/spade_coco.flags" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"--name nope: no such recipe; expected one of .*spade_coco"):
        recipes(RecipesOptions(name="nope"))


def test_no_recipes_at_all_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe_files, "shipped", lambda name: tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"no recipes here; expected .* install the package again"):
        recipes(RecipesOptions())


def test_train_answers_with_the_dataset_alone():
    """All flags of a recipe are read; what is missing is the photos."""
    result = run_here("train", [f"--flagfile={REPOSITORY}/recipes/clade_coco.flags", "--dataroot=/none"])
    assert_user_error(result, "/none")
