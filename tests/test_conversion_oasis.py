"""OASIS' original files: averaged weights, both file formats, the datasets' numberings, what is missing or wrong."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="reading .pth files needs PyTorch (pip install torch)")

from test_conversion import fixture
from test_golden_oasis import close, convert_fixture, layout_of, style_of

from semantic_synthesis import runs
from semantic_synthesis.config import Config
from semantic_synthesis.convert import ConvertOptions, convert
from semantic_synthesis.data import ClassTable
from semantic_synthesis.methods import make_config
from semantic_synthesis.methods.oasis import conversion
from semantic_synthesis.originals.rules import Rule, _find_rule


def saved(path, change=lambda tensors: tensors, **options):
    """The fixture's generator, changed and written again."""
    tensors = torch.load(fixture("oasis_ade")[0] / "net_G.pth", weights_only=True)
    torch.save(change(tensors), path, **options)
    return path


@pytest.mark.parametrize("is_new", [False, True])
def test_averaged_generator_in_both_formats(is_new, tmp_path):
    source = saved(tmp_path / "latest_EMA.pth", _use_new_zipfile_serialization=is_new)
    run_dir, arrays = convert_fixture(tmp_path / "run", source=source)
    config, model = runs.open_run(run_dir)
    assert (config.method, config.norm_G, config.no_3dnoise) == ("oasis", "spectralspadesyncbatch3x3", False)
    close(model.synthesize(layout_of(arrays), style_of(arrays["z"])), arrays["image"])


def test_files_of_old_torch_without_right_vectors(tmp_path):
    def old(tensors):
        found = {}
        for name, tensor in tensors.items():
            if name.endswith("weight_orig"):
                u, v = (tensors[name.replace("_orig", end)] for end in ("_u", "_v"))
                sigma = u @ tensor.flatten(1) @ v
                found[name.removesuffix("_orig")] = tensor / sigma
            if not name.endswith("weight_v"):
                found[name] = tensor
        return found

    run_dir, arrays = convert_fixture(tmp_path / "run", source=saved(tmp_path / "net_G.pth", old))
    _, model = runs.open_run(run_dir)
    close(model.synthesize(layout_of(arrays), style_of(arrays["z"])), arrays["image"], atol=2e-4)


def test_without_noise(tmp_path):
    def cut(tensors):
        inputs = ("fc.weight", "mlp_shared.0.weight")
        return {n: t[:, 8:].contiguous() if n.endswith(inputs) else t for n, t in tensors.items()}

    source = saved(tmp_path / "net_G.pth", cut)
    run_dir, arrays = convert_fixture(tmp_path / "run", source=source, z_dim=None, no_3dnoise=True)
    config, model = runs.open_run(run_dir)
    assert config.num_classes == 8 and config.no_3dnoise
    # Noise of 0 is not the same at the border alone: there is none anywhere
    close(
        model.synthesize({"label": arrays["label"]}, {}),
        runs.open_run(convert_fixture(tmp_path / "noisy")[0])[1].synthesize(
            layout_of(arrays), style_of(0 * arrays["z"])
        ),
    )


def test_instance_norm_and_no_spectral_norm(tmp_path):
    def change(tensors):
        kept = {n: t for n, t in tensors.items() if "first_norm" not in n and not n.endswith(("_u", "_v"))}
        return {name.replace("weight_orig", "weight"): tensor for name, tensor in kept.items()}

    run_dir, _ = convert_fixture(tmp_path / "run", source=saved(tmp_path / "net_G.pth", change))
    assert Config.load(run_dir).norm_G == "spadeinstance3x3"


def test_discriminator_without_spectral_norm(tmp_path):
    """Kernels divided by their sigma beforehand give the same logits."""
    tensors, plain = torch.load(fixture("oasis_ade")[0] / "net_D.pth", weights_only=True), {}
    for name, tensor in tensors.items():
        if name.endswith(("_u", "_v")):
            continue
        if name.endswith("weight_orig"):
            u, v = (tensors[name.replace("_orig", end)] for end in ("_u", "_v"))
            tensor = tensor / (u @ tensor.flatten(1) @ v)
        plain[name.removesuffix("_orig")] = tensor
    torch.save(plain, tmp_path / "net_D.pth")
    run_dir, arrays = convert_fixture(tmp_path / "run", discriminator=str(tmp_path / "net_D.pth"))
    config = Config.load(run_dir)
    assert config.norm_D == "none"
    model = runs.build_method(config, initial_weights=False)
    runs.load_weights(model, run_dir)
    close(model.discriminator(arrays["real_image"]), arrays["d_real"], atol=1e-4)


def test_no_instance_maps_are_asked_for(tmp_path):
    """Though the dataset has some: the original reads none."""
    tensors = torch.load(fixture("oasis_ade")[0] / "net_G.pth", weights_only=True)
    for name, tensor in tensors.items():
        if name.endswith(("fc.weight", "mlp_shared.0.weight")):
            tensors[name] = torch.zeros([len(tensor), 64 + 35, 3, 3])
    torch.save(tensors, tmp_path / "net_G.pth")
    options = {"method": "oasis", "source": str(tmp_path / "net_G.pth"), "dataset_mode": "cityscapes"}
    config = Config.load(convert(ConvertOptions(checkpoint_dir=str(tmp_path / "run"), **options)))
    assert config.no_instance and config.ignored_class == "unlabeled"


@pytest.mark.parametrize("unknown, order", [(0, [0, 1, 2, 3]), (3, [1, 2, 3, 0]), (None, [0, 1, 2, 3])])
def test_the_unlabelled_class_goes_where_the_dataset_has_it(unknown, order):
    """ADE20K: first, as in the original; COCO: last; Cityscapes: an ordinary class of raw value 0."""
    table = ClassTable.create("x", range(4), unknown=unknown).to_dict()
    config = make_config("oasis", z_dim=2, crop_size=64, aspect_ratio=1.0, class_table=table)
    assert conversion.class_order(config).tolist() == order
    weights = np.arange(6, dtype=np.float32).reshape(1, 6, 1, 1)
    for name in ("fc.weight", "body.1.norm_0.mlp_shared.0.weight"):
        rule, _ = _find_rule(conversion.rules("source", config), name)
        assert rule.to_ours(weights).ravel().tolist() == [0, 1, *(2 + i for i in order)]
    outputs = np.arange(5, dtype=np.float32)
    for name, array in (
        ("layer_up_last.weight", outputs.reshape(5, 1, 1, 1)),
        ("layer_up_last.bias", outputs),
    ):
        rule, _ = _find_rule(conversion.rules("discriminator", config), name)
        assert isinstance(rule, Rule) and rule.to_ours(array).ravel().tolist() == [0, *(1 + i for i in order)]


def test_known_dataset_tells_classes_from_noise(tmp_path):
    """COCO's 183 classes leave 64 of 247 channels."""

    def widen(tensors):
        grown = dict(tensors)
        for name, tensor in tensors.items():
            if name.endswith(("fc.weight", "mlp_shared.0.weight")):
                grown[name] = torch.zeros([len(tensor), 64 + 183, 3, 3])
        return grown

    source = saved(tmp_path / "net_G.pth", widen)
    run_dir, _ = convert_fixture(tmp_path / "run", source=source, z_dim=None, dataset_mode="coco")
    config = Config.load(run_dir)
    assert (config.num_classes, config.z_dim, config.class_table["unknown"]) == (183, 64, 182)


def test_what_cannot_be_told_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"16 input channels, fewer than the 64 expected"):
        convert_fixture(tmp_path / "a", z_dim=None)
    with pytest.raises(ValueError, match=r"z_dim is 8 in .* \(16 inputs of fc for noise and 8 classes\)"):
        convert_fixture(tmp_path / "b", z_dim=4, discriminator=True)
    with pytest.raises(ValueError, match="given as --source, the generator, but it holds the discriminator"):
        convert_fixture(tmp_path / "c", source=fixture("oasis_ade")[0] / "net_D.pth")
    assert not list(tmp_path.iterdir())
