"""Conversions of SCGAN: what must be given, both numberings of ADE20K; and the recipes of the published settings."""

import numpy as np
import pytest
from helpers import REPOSITORY

from semantic_synthesis import data, runs
from semantic_synthesis.config import Config
from semantic_synthesis.convert import ConvertOptions, convert
from semantic_synthesis.data import ClassTable
from semantic_synthesis.methods import make_config
from semantic_synthesis.options import options_of


@pytest.fixture
def original(tmp_path):
    torch = pytest.importorskip("torch", reason="reading .pth files needs PyTorch (pip install torch)")
    import reference_scgan as reference

    def save(classes, depth="normal"):
        shapes = reference.generator_shapes(1, 3, 1, classes, depth, (2, 3), hidden=4)
        tensors = {n: torch.tensor(a) for n, a in reference.random_tensors(shapes).items()}
        torch.save(tensors, tmp_path / "net_G.pth")
        return str(tmp_path / "net_G.pth")

    return save


GIVEN = {"temperature": 0.5, "weight_type": "softmax", "label_blur": "none"}


def test_conversion_asks_for_what_tensors_do_not_tell(original, tmp_path):
    options = {"method": "scgan", "dataset_mode": "ade20k", "source": original(151)}
    options |= {"checkpoint_dir": str(tmp_path / "run")}
    for name, said in (
        ("temperature", "0.05 for ADE20K"),
        ("weight_type", "softmax"),
        ("label_blur", "pyramid"),
    ):
        given = {key: value for key, value in GIVEN.items() if key != name}
        with pytest.raises(ValueError, match=rf"net_G.pth: .*--{name} \(.*{said}"):
            convert(ConvertOptions(**options, **given))
    with pytest.raises(ValueError, match=r"num_experts_conv is 2 in .* but --num_experts_conv asks for 3"):
        convert(ConvertOptions(**options, **GIVEN, num_experts_conv=3))
    assert not (tmp_path / "run").exists()


def test_a_blurring_discriminator_is_refused(original, tmp_path):
    import reference_scgan as reference
    import torch

    tensors = reference.random_tensors(reference.pyramid_shapes(2, 151))
    tensors["blur.weight"] = np.ones((1, 1, 3, 3), np.float32)
    torch.save({n: torch.tensor(a) for n, a in tensors.items()}, tmp_path / "net_D.pth")
    files = {"source": original(151), "discriminator": str(tmp_path / "net_D.pth")}
    options = {"method": "scgan", "dataset_mode": "ade20k", "checkpoint_dir": str(tmp_path / "run")}
    with pytest.raises(ValueError, match=r"net_D.pth: .* blurs its features"):
        convert(ConvertOptions(**files, **options, **GIVEN))


@pytest.mark.parametrize("name", ["enc6.0.0.weight", "enc1.conv_bases.0.weight", "r_adjust1.weight"])
def test_unpublished_discriminators_are_refused(name, original, tmp_path):
    import reference_scgan as reference
    import torch

    tensors = reference.random_tensors(reference.pyramid_shapes(2, 5))
    if name.startswith("enc6"):  # its embedding is spectral, and there is one judgement of another name
        del tensors["embedding.weight"], tensors["tf.weight"]
    if "conv_bases" in name:
        tensors = {key: array for key, array in tensors.items() if not key.startswith("enc1")}
    tensors = {n: torch.tensor(a) for n, a in tensors.items()} | {name: torch.ones(2, 2, 3, 3)}
    torch.save(tensors, tmp_path / "net_D.pth")
    files = {"source": original(5), "discriminator": str(tmp_path / "net_D.pth")}
    options = {"method": "scgan", "checkpoint_dir": str(tmp_path / "run"), "no_instance": True}
    with pytest.raises(
        ValueError, match=r"net_D.pth: .* no published model has; expected fpse or multiscale"
    ):
        convert(ConvertOptions(**files, **options, **GIVEN))


def test_a_generator_of_label_norms_is_refused(original, tmp_path):
    import torch

    path = original(5)
    tensors = torch.load(path)
    for name in [n for n in tensors if n.endswith("affine_params_groups")]:
        tensors[name.replace("affine_params_groups", "mlp_gamma.weight")] = tensors.pop(name)
    torch.save(tensors, path)
    options = {"method": "scgan", "checkpoint_dir": str(tmp_path / "run"), "no_instance": True}
    with pytest.raises(ValueError, match=r"net_G.pth: a generator with label norms"):
        convert(ConvertOptions(source=path, **options, **GIVEN))


@pytest.mark.parametrize("norm", ["spectralnone", "spectral", "spectralinstance", "spectralsync_batch"])
def test_norms_of_the_pyramid_discriminator(norm, original, tmp_path):
    """Without a norm its convolutions stand one sequence higher, and have biases."""
    import reference_modules as reference
    import torch
    from reference_spade import semantics

    module = reference.filled(reference.Pyramid(2, 5, norm))
    torch.save(module.state_dict(), tmp_path / "net_D.pth")
    files = {"source": original(5), "discriminator": str(tmp_path / "net_D.pth")}
    options = {"crop_size": 64, "aspect_ratio": 1.0, "no_instance": True, "norm_D": norm}
    run_dir = convert(
        ConvertOptions(method="scgan", checkpoint_dir=str(tmp_path / "run"), **files, **options, **GIVEN)
    )
    config = Config.load(run_dir)
    assert (config.netD, config.norm_D) == ("fpse", norm)
    model = runs.build_method(config.replace(no_vgg_loss=True), initial_weights=False)
    runs.load_weights(model, run_dir)
    label = np.arange(64 * 64).reshape(1, 64, 64) // 900
    photo = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    found = model.discriminator(model.semantics(label), photo)
    with torch.no_grad():
        seg = torch.tensor(semantics(label, None, 5))
        features, judgements = module(torch.tensor(photo).permute(0, 3, 1, 2), seg)
    pairs = [*zip([f for (f,) in found.features], features, strict=True)]
    for ours, theirs in [*pairs, *zip(found.judgements, judgements, strict=True)]:
        np.testing.assert_allclose(ours, theirs.permute(0, 2, 3, 1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("unknown_last", [False, True])
def test_both_numberings_of_ade20k(unknown_last, original, tmp_path):
    path = convert(
        ConvertOptions(
            method="scgan",
            dataset_mode="ade20k",
            source=original(151),
            checkpoint_dir=str(tmp_path / "run"),
            unknown_last=unknown_last,
            **GIVEN,
        )
    )
    config, method = runs.open_run(path)
    table = ClassTable.from_dict(config.class_table)
    raw = np.arange(151)
    np.testing.assert_array_equal(table.class_of_id[:151], (raw - 1) % 151 if unknown_last else raw)
    assert table.names[table.unknown] == "unknown" and table.unknown == (150 if unknown_last else 0)
    assert table.names[table.class_of_id[5]] == "tree" and tuple(table.colors[table.class_of_id[5]]) == (
        4,
        200,
        3,
    )
    assert (config.num_experts_conv, config.num_experts_norm, config.temperature) == (2, 3, 0.5)
    assert method.num_classes == 151 and config.num_upsampling_layers == "normal"


def test_a_dataset_without_unknown_class_has_none_to_put_last():
    with pytest.raises(data.DataError, match="has no unknown class"):
        ClassTable.create("shapes", range(3)).with_unknown_last()


_ADE = {
    "netD": "fpse",
    "lambda_reconstruction": 2.0,
    "batch_size": 16,
    "total_epochs": 200,
    "decay_epoch": 100,
}
PUBLISHED = {  # spec, section 10: ngf, nrf, nff, experts, temperature; then what else differs
    "ade20k": ((32, 32, 32, 3, 4, 0.05), {**_ADE, "label_blur": "none", "spectral_routing": True, "num_classes": 151}),
    "coco": ((32, 24, 24, 2, 3, 0.5), {**_ADE, "label_blur": "none", "no_instance": True, "num_classes": 183}),
    "celeba": (
        (48, 32, 32, 3, 3, 0.05),
        {
            "netD": "multiscale", "lambda_reconstruction": 1.0, "batch_size": 8, "total_epochs": 100, "decay_epoch": 50,
            "label_blur": "pyramid", "blur_levels": 4, "spectral_routing": False, "use_vae": True, "crop_size": 512,
            "num_encoder_filters": 48, "num_classes": 19,
        },
    ),
    "cityscapes": (
        (32, 32, 32, 3, 4, 0.05),
        {"num_upsampling_layers": "more", "no_instance": False, "crop_height": 256, "crop_size": 512},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipes_hold_the_published_settings(name):
    numbers, others = PUBLISHED[name]
    config = recipe(REPOSITORY / "recipes" / f"scgan_{name}.flags")
    found = (
        config.num_generator_filters,
        config.num_routing_filters,
        config.num_entry_filters,
        config.num_experts_conv,
        config.num_experts_norm,
        config.temperature,
    )
    assert found == numbers
    assert {key: getattr(config, key) for key in others} == others
    assert (config.weight_type, config.beta2, config.num_discriminator_filters) == ("softmax", 0.999, 64)
    assert (config.blur_size, config.blur_sigma, config.blur_iterations, config.blur_relative) == (
        7,
        1.5,
        1,
        False,
    )


def recipe(path):
    """The Config that a flagfile asks for, with what its dataset decides."""
    from semantic_synthesis.data import catalogue
    from semantic_synthesis.data.resolving import fill_options

    own, values = options_of(Config.class_for("scgan")), {}
    for line in path.read_text().splitlines():
        if line.startswith("--"):
            key, _, value = line[2:].partition("=")
            off = key not in own
            key = key.removeprefix("no") if off else key
            kind = own[key].metadata["kind"]
            values[key] = (not off if not value else value == "true") if kind is bool else kind(value)
    description = catalogue.describe(values["dataset_mode"])
    return fill_options(make_config(**values), description).replace(class_table=description.table.to_dict())
