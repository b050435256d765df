"""Wrong files and wrong pairs: one line that says what was found, and no run folder left behind."""

import os
import pickle

import numpy as np
import pytest
import reference_spade as reference

torch = pytest.importorskip("torch", reason="reading .pth files needs PyTorch (pip install torch)")

from semantic_synthesis.config import Config
from semantic_synthesis.convert import CONVERTERS, ConvertOptions, convert, main
from semantic_synthesis.originals.lookalikes import looks_like
from semantic_synthesis.originals.rules import Rule, Source, apply_rules
from semantic_synthesis.pth import read_pth

FLAGS = {"no_instance": True, "num_upsampling_layers": "normal"}


@pytest.fixture
def refused(tmp_path):
    """refused(words, source=..., ...): conversion fails with one line holding the words, and
    leaves nothing."""
    before = set(os.listdir(tmp_path))

    def check(*words, kind=ValueError, **options):
        options = {**FLAGS, "checkpoint_dir": str(tmp_path / "run"), **options}
        before.update(os.listdir(tmp_path))
        with pytest.raises(kind) as caught:
            convert(ConvertOptions(**options))
        message = str(caught.value)
        assert "\n" not in message
        for word in words:
            assert word in message
        assert set(os.listdir(tmp_path)) <= before

    return check


@pytest.fixture
def files(tmp_path):
    """Paths of a small generator (3 classes), its encoder-less sibling's encoder, and a
    discriminator."""
    tensors = {
        "source": reference.filled(reference.generator_shapes(1, 3, hidden=2)),
        "encoder": reference.filled(reference.encoder_shapes(1)),
        "discriminator": reference.filled(reference.discriminator_shapes(2, 6)),
    }
    return {role: save(tmp_path / f"{role}.pth", of) for role, of in tensors.items()}


def save(path, tensors):
    torch.save({name: torch.tensor(array) for name, array in tensors.items()}, path)
    return str(path)


def altered(path, target, change):
    """Saves a changed copy of a .pth file."""
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, target)
    return str(target)


def test_networks_in_each_others_place(files, refused):
    refused("discriminator.pth", "given as --source", "discriminator", source=files["discriminator"])
    refused("encoder.pth", "--encoder", source=files["encoder"])
    refused(
        "source.pth",
        "given as --discriminator",
        source=files["source"],
        discriminator=files["source"],
    )
    refused("given as --encoder", source=files["source"], encoder=files["discriminator"])


@pytest.mark.parametrize("sums", [True, False])
def test_changed_bytes_within_a_file(files, tmp_path, refused, sums):
    """torch.load takes them. Files that were written without checksums are no damaged ones."""
    if not hasattr(torch.serialization, "set_crc32_options"):
        pytest.skip("this PyTorch always writes checksums")
    torch.serialization.set_crc32_options(sums)
    try:
        path = altered(files["source"], tmp_path / "changed.pth", lambda _: None)
    finally:
        torch.serialization.set_crc32_options(True)
    before = read_pth(path)
    content = bytearray((tmp_path / "changed.pth").read_bytes())
    start = bytes(content).index(before["conv_img.weight"].tobytes())
    content[start + 5] ^= 1
    (tmp_path / "changed.pth").write_bytes(bytes(content))
    if sums:
        refused("changed.pth: damaged, ", "does not match its checksum", source=path)
    else:
        assert read_pth(path).keys() == before.keys()


def test_vgg_given_as_generator(tmp_path, refused):
    path = save(tmp_path / "vgg19.pth", {"features.0.weight": np.zeros((64, 3, 3, 3), np.float32)})
    refused("vgg19.pth", "no network this method knows", "features.0.weight", source=path)


@pytest.mark.parametrize(
    "owner, role, names",
    [
        ("spade", "source", ["head_0.norm_0.mlp_gamma.weight"]),
        ("clade", "source", ["head_0.norm_0.class_specified_affine.weight"]),
        ("inade", "source", ["head_0.norm_0.fc_noise.weight"]),
        ("oasis", "source", ["body.0.norm_0.mlp_gamma.weight"]),
        ("clvae", "source", ["head_0.norm_0.mlp_gamma.weight", "embedding.weight"]),
        ("oasis", "discriminator", ["layer_up_last.weight"]),
        ("scgan", "discriminator", ["enc1.0.0.weight", "embedding.weight"]),
        ("inade", "encoder", ["scale_conv_mu.weight"]),
    ],
)
def test_a_file_of_another_method_is_named(owner, role, names):
    content = {f"module.{name}": np.zeros(1) for name in names}
    rest = {name: converter for name, converter in CONVERTERS.items() if name != "sims"}
    assert looks_like(content, "net.pth", role, rest).endswith(
        f"it looks like {owner} (--{role}): take --method {owner}"
    )
    assert looks_like({"features.0.weight": np.zeros(1)}, "vgg.pth", role, rest) == ""


def test_the_generator_of_another_method(files, refused):
    refused("like spade (--source): take --method spade", source=files["source"], method="inade")


def test_encoder_and_generator_that_do_not_belong_together(files, tmp_path, refused):
    refused("takes no style vector", "--encoder", source=files["source"], encoder=files["encoder"])
    generator = reference.filled(reference.generator_shapes(1, 3, vae=(256, 64), hidden=2))
    path = save(tmp_path / "vae.pth", generator)
    refused("64 cells", "--crop_size", source=path, encoder=files["encoder"], crop_size=512)


def test_dataset_of_another_training(tmp_path, refused):
    path = save(tmp_path / "ade.pth", reference.filled(reference.generator_shapes(1, 151, hidden=2)))
    refused("151 semantic channels", "36", "cityscapes", source=path, dataset_mode="cityscapes")
    refused(
        "no_instance is True",
        "asks for False",
        source=path,
        dataset_mode="ade20k",
        no_instance=False,
    )


def test_flags_against_tensors(files, tmp_path, refused):
    refused("--num_upsampling_layers", "most", source=files["source"], num_upsampling_layers="most")
    refused("num_generator_filters is 1", "64", source=files["source"], num_generator_filters=64)
    refused("norm_G is spectralspadesyncbatch3x3", source=files["source"], norm_G="spadesyncbatch3x3")
    pair = {"source": files["source"], "discriminator": files["discriminator"]}
    refused("norm_D is spectralinstance", **pair, norm_D="spectralbatch")
    other = save(tmp_path / "other.pth", reference.filled(reference.discriminator_shapes(2, 9)))
    refused("semantic_channels is 3", "6 in", source=files["source"], discriminator=other)


def test_classes_that_are_known_have_no_further_one(files, tmp_path, refused):
    (tmp_path / "ids.txt").write_text("7, 9")  # with the unknown class the three of the file, none for edges
    listed = {"semantic_label_path": str(tmp_path / "ids.txt"), "no_instance": None}
    said = "ids.txt says what the 2 classes are, none of which is the unknown one"
    refused(said, source=files["source"], contain_dontcare_label=True, **listed)


def test_what_only_the_user_knows(files, refused):
    refused("--no_instance", source=files["source"], no_instance=None)
    refused("--num_upsampling_layers", source=files["source"], num_upsampling_layers=None)


def test_tensors_left_over_missing_or_misshapen(files, tmp_path, refused):
    path = tmp_path / "altered.pth"
    extra = altered(files["source"], path, lambda state: state.update(style_code=torch.zeros(3)))
    refused("no place for style_code", source=extra)
    missing = altered(files["source"], path, lambda state: state.pop("up_1.norm_s.mlp_beta.bias"))
    refused("no tensor for generator/up_1/norm_s/modulation/bias", source=missing)
    half = altered(
        files["source"], path, lambda state: state.update({"up_3.conv_1.weight_u": torch.zeros(7)})
    )
    refused("up_3.conv_1.weight_u", "(7,)", "takes (1,)", source=half)
    broken = altered(files["source"], path, lambda state: state["conv_img.bias"].fill_(float("nan")))
    refused("conv_img.bias", "not finite", source=broken)
    both = altered(files["source"], path, lambda state: state.pop("head_0.conv_0.weight_v"))
    refused("head_0.conv_0.weight_orig", "spectral norm is unknown", source=both)


def test_two_tensors_for_one_place():
    rules = [Rule("[ab]", "kernel")]
    tensors = {name: np.zeros(2, np.float32) for name in "ab"}
    with pytest.raises(ValueError, match="b fills kernel a second time"):
        apply_rules([Source("file", tensors, rules)], {"kernel": (2,)})


@pytest.mark.parametrize("new_format", [True, False])
def test_truncated_files(new_format, files, tmp_path, refused):
    path = tmp_path / "cut.pth"
    torch.save(
        torch.load(files["source"], weights_only=True),
        path,
        _use_new_zipfile_serialization=new_format,
    )
    content = path.read_bytes()
    for length in (0, 1, 10, 300, 3000, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refused("cut.pth", source=str(path))


def test_files_that_are_no_checkpoints(tmp_path, refused):
    path = tmp_path / "net_G.pth"
    for content in (
        b"hello\n" * 50,
        b"\x89PNG\r\n\x1a\n" + bytes(99),
        b"\x80\x02]q\x00.",
        pickle.dumps([1, 2]),
    ):
        path.write_bytes(content)
        refused("net_G.pth", source=str(path))
    for content in ([torch.zeros(3)], {"epoch": 3, "model": {}}, {}, torch.zeros(2)):
        torch.save(content, path)
        refused("net_G.pth", "state dict", source=str(path))
    refused("is a folder", source=str(tmp_path))
    refused("no such file", source=str(tmp_path / "absent.pth"), kind=FileNotFoundError)
    refused("--source is missing", source="")


class Mischief:
    """Unpickling this makes a folder."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("how", ["pickle", "new pickle", "zip", "old format"])
def test_malicious_pickle_is_not_run(how, tmp_path, refused):
    path, target = tmp_path / "net_G.pth", tmp_path / "broken_into"
    content = {"fc.weight": Mischief(str(target))}
    if "pickle" in how:
        path.write_bytes(pickle.dumps(content, protocol=4 if how == "new pickle" else 2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
    words = (
        ["no PyTorch checkpoint"]
        if how == "new pickle"
        else ["objects other than tensors", "nothing of it was run"]
    )
    refused("net_G.pth", *words, source=str(path))
    assert not target.exists()


def test_tensorflow_checkpoints(tmp_path, refused):
    folder = tmp_path / "predecessor"
    folder.mkdir()
    for name in ("checkpoint", "ckpt-5.index", "ckpt-5.data-00000-of-00001"):
        (folder / name).write_bytes(b"")
    for source in (folder, folder / "ckpt-5", folder / "ckpt-5.index"):
        refused("TensorFlow checkpoint", "cannot be converted", source=str(source))


def test_run_folders_in_use(files, tmp_path, refused):
    (tmp_path / "run").mkdir()
    assert convert(ConvertOptions(source=files["source"], checkpoint_dir=str(tmp_path / "run"), **FLAGS))
    refused("exists already", source=files["source"])
    refused("exists already", source=files["source"], checkpoint_dir=files["source"])


def test_failed_writing_leaves_nothing(files, refused, monkeypatch):
    def fail(run_dir, arrays, kind):
        raise OSError("disk full")

    monkeypatch.setattr("semantic_synthesis.runs.save_weights", fail)
    refused("disk full", source=files["source"], kind=OSError)


def test_without_pytorch(files, refused, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    refused("pip install torch", source=files["source"])


def test_unknown_method(refused):
    refused("--method cyclegan", "spade", source="x.pth", method="cyclegan")


def test_tensors_without_values(tmp_path):
    path = tmp_path / "net.pth"
    torch.save({"weight": torch.zeros(2, 3, device="meta")}, path)
    with pytest.raises(ValueError, match=r"net\.pth: weight is a meta tensor, a shape without values"):
        read_pth(str(path))


def test_the_size_that_no_file_tells_is_said(tmp_path, monkeypatch):
    lines = []  # absl's own function: what its logger passes on depends on who configured it first
    monkeypatch.setattr("absl.logging.info", lambda text, *values: lines.append(text % values))
    source = save(tmp_path / "g.pth", reference.filled(reference.generator_shapes(1, 36, hidden=2)))

    def said(number, **options):
        run = str(tmp_path / f"run{number}")
        assert (
            main(ConvertOptions(source=source, dataset_mode="cityscapes", checkpoint_dir=run, **options)) == 0
        )
        return lines[-1]

    usual = "512x256 pixels (the usual size of cityscapes; if the original was trained at another, give --crop_size N"
    assert usual in said(1, num_upsampling_layers="more")
    given = said(3, num_upsampling_layers="more", crop_size=256)
    assert "256x128 pixels (as asked; --aspect_ratio X for other shapes)" in given
    assert "256x128 pixels (as asked)" in said(
        2, num_upsampling_layers="more", crop_size=256, aspect_ratio=2.0
    )


@pytest.mark.parametrize(
    "given, fitting",
    [
        ({}, ["normal --crop_size 128 --aspect_ratio 1", "more --crop_size 512 --aspect_ratio 4"]),
        ({"num_upsampling_layers": "more"}, ["256x256", "512x128"]),
    ],
)
def test_cells_that_fit_several_sizes_are_asked_about(given, fitting, vae, refused):
    """16 cells are 256x256 at one depth and 256x64 at another: each makes other pictures of the same files."""
    refused("16 cells, which fit", *fitting, **vae, **{"num_upsampling_layers": None, **given})


@pytest.fixture
def vae(tmp_path):
    """--source and --encoder of a generator whose first features have 16 cells."""
    shapes = {
        "source": reference.generator_shapes(1, 3, vae=(256, 16), hidden=2),
        "encoder": reference.encoder_shapes(1),
    }
    return {role: save(tmp_path / f"vae_{role}.pth", reference.filled(of)) for role, of in shapes.items()}


def test_sizes_that_are_given_settle_the_depth(vae, tmp_path):
    for number, (ratio, depth) in enumerate({4.0: "normal", 1.0: "more", None: "more"}.items()):
        run = str(tmp_path / f"run{number}")
        convert(
            ConvertOptions(**vae, no_instance=True, crop_size=256, aspect_ratio=ratio, checkpoint_dir=run)
        )
        assert (Config.load(run).num_upsampling_layers, Config.load(run).crop_height) == (
            depth,
            256 / (ratio or 1.0),
        )


def test_what_a_dataset_decides_is_said_with_the_others(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr("absl.logging.info", lambda text, *values: lines.append(text % values))
    shapes = {
        "source": reference.generator_shapes(1, 13, vae=(256, 64), hidden=2),
        "encoder": reference.encoder_shapes(1),
    }
    files = {role: save(tmp_path / f"{role}.pth", reference.filled(of)) for role, of in shapes.items()}
    convert(ConvertOptions(**files, dataset_mode="facades", checkpoint_dir=str(tmp_path / "run")))
    said = next(line for line in lines if "64 cells" in line)
    assert "taken is 256x256 at depth normal" in said and "512x512 (--num_upsampling_layers more" in said
