"""Checkpoints of other trainers: networks under prefixes and inside of dicts, safetensors, and files that are none."""

import argparse
import io
import json
import tarfile
import zipfile

import numpy as np
import pytest
import reference_spade as reference

from semantic_synthesis import runs
from semantic_synthesis.convert import ConvertOptions, convert
from semantic_synthesis.foreign_files import foreign_kind
from semantic_synthesis.methods.spade.conversion import ROLES
from semantic_synthesis.originals.wrapped import choose, networks
from semantic_synthesis.pth import read_content
from semantic_synthesis.safetensors_files import read_safetensors, write_safetensors

MARK = ROLES["source"][1]
PLAIN = {
    name: np.float32(array)
    for name, array in reference.filled(reference.generator_shapes(1, 3, hidden=2)).items()
}
OTHER = {name: array + 1 for name, array in PLAIN.items()}
NETD = reference.filled(reference.discriminator_shapes(2, 6))


def under(prefix, tensors=PLAIN):
    return {prefix + name: array for name, array in tensors.items()}


FOUND = {
    "": PLAIN,
    "state_dict": {"state_dict": PLAIN},
    "g_ema": {"g_ema": PLAIN, "iter": 1000},
    "netG": {"epoch": 5, "netG": PLAIN, "netD": NETD, "optG": {"state": {}, "param_groups": [{"lr": 1e-4}]}},
    "ema/state_dict": {
        "ema": {"state_dict": under("module."), "decay": 0.999},
        "model": {"state_dict": OTHER},
    },
    "state_dict/netG_ema": {
        "state_dict": {**under("netG."), **under("netG_ema.", OTHER), **under("netD.", NETD)}
    },
    "generator_ema": {"generator": OTHER, "generator_ema": PLAIN},
    "netG/inner": {"netG": under("inner.")},
}


@pytest.mark.parametrize("name", FOUND)
def test_the_network_is_found(name):
    chosen = choose(networks(FOUND[name], MARK, "file"), "file")
    expected = OTHER if name == "state_dict/netG_ema" else PLAIN
    assert chosen.name == name and chosen.tensors.keys() == PLAIN.keys()
    assert all(
        chosen.tensors[key] is expected[key] or (chosen.tensors[key] == expected[key]).all() for key in PLAIN
    )


@pytest.mark.parametrize("zipped", [True, False])
def test_scores_and_options_beside_the_tensors(tmp_path, zipped):
    """They are data alone; what could run is refused (test_conversion_errors)."""
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(np.asarray(array)) for name, array in PLAIN.items()}
    beside = {
        "best": np.float64(0.5),
        "epoch": np.int64(3),
        "opt": argparse.Namespace(lr=1e-4, phases=["train"]),
    }
    torch.save({**tensors, **beside}, tmp_path / "last.pth", _use_new_zipfile_serialization=zipped)
    content = read_content(tmp_path / "last.pth")
    assert content["best"] == 0.5 and content["opt"].phases == ["train"]
    chosen = choose(networks(content, MARK, "file"), "file")
    assert chosen.tensors.keys() == PLAIN.keys()


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "module.module.", "netG.", "netG.module."]
)
def test_prefixes_are_taken_off(prefix):
    chosen = choose(networks(under(prefix), MARK, "file"), "file")
    assert chosen.tensors.keys() == PLAIN.keys()
    half = {name.replace("up_0.", "up_0._orig_mod."): array for name, array in under(prefix).items()}
    assert choose(networks(half, MARK, "file"), "file").tensors.keys() >= {MARK.replace("\\", "")}


def test_the_user_chooses_among_several():
    found = networks({"netG": PLAIN, "netG_old": OTHER}, MARK, "file")
    with pytest.raises(
        ValueError, match=r"file: holds 2 networks of this kind: netG, netG_old; choose one with"
    ):
        choose(found, "file")
    assert choose(found, "file", "netG_old").tensors is not None
    assert choose(found, "file", "netG_old").name == "netG_old"
    averaged = networks({"netG": PLAIN, "g_ema": OTHER}, MARK, "file")
    assert choose(averaged, "file").name == "g_ema" and choose(averaged, "file", "netG").name == "netG"


def test_safetensors_convert_and_the_run_is_the_same(tmp_path):
    """The same arrays, from a wrapped file and from a plain one; --entry that no file has."""
    flags = {"no_instance": True, "num_upsampling_layers": "normal"}
    made = []
    for name, tensors in (("plain", PLAIN), ("wrapped", under("module._orig_mod."))):
        write_safetensors(tmp_path / f"{name}.safetensors", tensors, {})
        options = ConvertOptions(
            source=str(tmp_path / f"{name}.safetensors"), checkpoint_dir=str(tmp_path / name), **flags
        )
        made.append(dict(np.load(runs.weights_path(convert(options)))))
    assert made[0].keys() == made[1].keys()
    assert all((made[0][name] == made[1][name]).all() for name in made[0])
    options = ConvertOptions(
        source=str(tmp_path / "plain.safetensors"),
        checkpoint_dir=str(tmp_path / "no"),
        entry="g_ema",
        **flags,
    )
    with pytest.raises(ValueError, match="--entry g_ema: no file has it"):
        convert(options)
    write_safetensors(tmp_path / "other.safetensors", {"net.a.weight": np.zeros(2, np.float32)}, {})
    options = ConvertOptions(
        source=str(tmp_path / "other.safetensors"), checkpoint_dir=str(tmp_path / "no"), **flags
    )
    with pytest.raises(
        ValueError, match=r"no network this method knows: 1 tensors, the first net\.a\.weight \(2,\)"
    ):
        convert(options)


def test_torch_files(tmp_path):
    torch = pytest.importorskip("torch", reason="reading .pth files needs PyTorch")
    from semantic_synthesis.pth import read_content, to_arrays

    tensors = {name: torch.tensor(array) for name, array in PLAIN.items()}
    torch.save(
        {"netG": tensors, "step": 3, "optG": {"state": {0: {"exp_avg": torch.zeros(3)}}}}, tmp_path / "a.pth"
    )
    chosen = choose(networks(read_content(tmp_path / "a.pth"), MARK, "a"), "a")
    assert all((array == PLAIN[name]).all() for name, array in to_arrays(chosen.tensors, "a").items())


def zipped(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return file.getvalue()


def tarred(*names):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return file.getvalue()


FOREIGN = {
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 462\n": "pointer to 462 bytes that Git LFS",
    b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title>": "a web page ('Google Drive - Virus",
    b"\xef\xbb\xbf\n<html><body>Sign in</body>": "a web page, no download",
    b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>': "a web page ('AccessDenied')",
    b'{"error": "not found"}': "JSON text",
    b"\x1f\x8b\x08" + bytes(30): "a gzip archive",
    b"7z\xbc\xaf\x27\x1c" + bytes(30): "a 7-Zip archive",
    b"Rar!\x1a\x07\x01\x00": "a RAR archive",
    b"\x89HDF\r\n\x1a\n" + bytes(30): "an HDF5 file",
    zipped(
        "checkpoints/latest_net_G.pth", "readme.txt"
    ): "a zip archive (checkpoints/latest_net_G.pth, readme.txt)",
    tarred("coco/latest_net_G.pth"): "a tar archive (coco/latest_net_G.pth)",
    tarred("sys_info", "pickle", "storages", "tensors"): "torch < 0.1.10",
}


@pytest.mark.parametrize("content", FOREIGN, ids=range(len(FOREIGN)))
def test_files_are_named_as_what_they_are(content, tmp_path):
    for name in ("net.pth", "weights.npz"):
        (tmp_path / name).write_bytes(content)
        assert FOREIGN[content] in foreign_kind(tmp_path / name)
    options = ConvertOptions(source=str(tmp_path / "net.pth"), checkpoint_dir=str(tmp_path / "run"))
    with pytest.raises(ValueError, match=r"net\.pth: ") as caught:
        convert(options)
    assert FOREIGN[content] in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_right_is_not_foreign(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    assert foreign_kind(tmp_path / "a.npz") is None
    (tmp_path / "b").write_bytes(zipped("archive/data.pkl", "archive/data/0"))
    assert foreign_kind(tmp_path / "b") is None and foreign_kind(tmp_path / "none") is None


def altered(path, change):
    """The file with a changed header."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def test_safetensors_files(tmp_path):
    path = tmp_path / "a.safetensors"
    arrays = {
        "half": np.arange(6, dtype=np.float16).reshape(2, 3),
        "none": np.zeros((0, 4), np.float32),
        "one": np.float32(7).reshape(()),
        "ids": np.arange(4, dtype=np.int64),
    }
    write_safetensors(path, arrays, {"format": "tf"})
    found = read_safetensors(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    try:
        from safetensors.numpy import load_file, save_file
    except ImportError:
        return  # the package is no dependency; where it is there, it must agree
    for name, array in load_file(path).items():
        np.testing.assert_array_equal(array, arrays[name])
    save_file({"x": arrays["half"]}, tmp_path / "b.safetensors")
    np.testing.assert_array_equal(read_safetensors(tmp_path / "b.safetensors")["x"], arrays["half"])


def test_bfloat16_of_safetensors(tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"x": np.array([0x3F80, 0xC020], np.uint16)}, {})
    path.write_bytes(altered(path, lambda header: header["x"].update(dtype="BF16")))
    np.testing.assert_array_equal(read_safetensors(path)["x"], np.array([1, -2.5], np.float32))


def test_damaged_safetensors_are_one_line(tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"x": np.zeros(4, np.float32), "y": np.ones(2, np.float32)}, {})
    whole, cases = path.read_bytes(), []
    for length in (0, 5, 9, 40, len(whole) - 1):
        cases.append(whole[:length])
    for change in (
        lambda h: h["x"].update(shape=[5]),
        lambda h: h["x"].update(shape=[-4]),
        lambda h: h["x"].update(shape="4"),
        lambda h: h["x"].update(data_offsets=[8, 4]),
        lambda h: h["y"].update(data_offsets=[8, 16]),
        lambda h: h["x"].update(data_offsets=[2**70, 2**70 + 16]),
        lambda h: h["x"].update(dtype="F8_E4M3"),
        lambda h: h["x"].pop("shape"),
        lambda h: h.update(x=3),
    ):
        cases.append(altered(path, change))
    for content in cases:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.safetensors: ") as caught:
            read_safetensors(path)
        assert "\n" not in str(caught.value)
