"""Inception features, FID and LPIPS against pytorch-fid and lpips, all with the same random weights."""

import http.server
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import reference_torchvision

from semantic_synthesis.evaluation import EvaluateOptions, weight_files
from semantic_synthesis.evaluation.evaluating import score
from semantic_synthesis.evaluation.inception import DIMS, InceptionFeatures
from semantic_synthesis.evaluation.lpips import LPIPS


@pytest.fixture(scope="module")
def pytorch_fid():
    reference_torchvision.install()
    return pytest.importorskip("pytorch_fid.inception", reason="pip install --no-deps pytorch-fid")


@pytest.fixture(scope="module")
def inception_file(pytorch_fid, tmp_path_factory):
    """A file like pt_inception-2015-12-05-*.pth, and pytorch-fid reading it instead of downloading."""
    path = str(tmp_path_factory.mktemp("weights") / "inception.pth")

    def random_state(*_, **__):
        torch.manual_seed(0)
        found = {}
        for name, value in blank.items():
            if name.endswith("running_var"):
                found[name] = torch.rand_like(value) + 0.5
            elif name.endswith("num_batches_tracked"):
                found[name] = value
            elif value.ndim > 1:
                found[name] = torch.randn_like(value) * (2 / value[0].numel()) ** 0.5
            else:
                found[name] = torch.randn_like(value) * 0.1 + float(name.endswith("bn.weight"))
        torch.save(found, path)
        return found

    blank, real = {}, pytorch_fid.load_state_dict_from_url
    original = torch.nn.Module.load_state_dict
    try:  # the names and shapes of the network that pytorch-fid is about to fill
        pytorch_fid.load_state_dict_from_url = lambda *_, **__: None
        torch.nn.Module.load_state_dict = lambda self, _: blank.update(self.state_dict())
        pytorch_fid.fid_inception_v3()
        torch.nn.Module.load_state_dict = original
        pytorch_fid.load_state_dict_from_url = random_state
        random_state()
        yield path
    finally:
        torch.nn.Module.load_state_dict = original
        pytorch_fid.load_state_dict_from_url = real


def test_inception_features_equal_pytorch_fids(pytorch_fid, inception_file):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, 61, 83, 3), np.uint8)
    theirs = pytorch_fid.InceptionV3(list(range(4))).eval()
    with torch.no_grad():
        expected = theirs(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255)
    for dims, maps in zip(DIMS, expected, strict=True):
        found, wanted = InceptionFeatures(inception_file, dims)(pictures), maps.mean((2, 3)).numpy()
        assert found.shape == (2, dims)
        assert np.abs(found - wanted).max() < 1e-3 * np.abs(wanted).max(), dims
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5 * np.abs(wanted).max())


def test_fid_equals_pytorch_fids_command(pytorch_fid, inception_file, tmp_path):
    pytest.importorskip("PIL")
    from pytorch_fid import fid_score

    folders = []
    for number in range(2):
        folders.append(tmp_path / f"folder_{number}")
        folders[-1].mkdir()
        rng = np.random.default_rng(number)
        for i in range(24):
            small = rng.integers(0, 256 - 100 * number, (5, 5, 3), np.uint8)
            cv2.imwrite(str(folders[-1] / f"{i}.png"), cv2.resize(small, (24, 24)))
    expected = fid_score.calculate_fid_given_paths(list(map(str, folders)), 8, "cpu", 64, num_workers=0)
    options = EvaluateOptions(
        fake_dir=str(folders[0]),
        real_dir=str(folders[1]),
        metrics="fid",
        eval_dims="64",
        inception_weights=inception_file,
    )
    (figure,) = score(options)
    assert figure["value"] == pytest.approx(expected, rel=1e-2)
    assert figure["images"] == 24 and len(figure["network sha256"]) == 64 and figure["size"] == "24x24"


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_equals_the_lpips_package(net, tmp_path):
    reference_torchvision.install()
    package = pytest.importorskip("lpips", reason="pip install --no-deps lpips")
    theirs = package.LPIPS(net=net, pnet_rand=True, verbose=False)
    torch.manual_seed(0)
    state = {}
    for name, parameter in theirs.net.named_parameters():
        deviation = (2 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.1
        parameter.data = torch.randn_like(parameter) * deviation
        state["features." + name.split(".", 1)[1]] = parameter.data
    path = str(tmp_path / "backbone.pth")
    torch.save(state, path)
    linear = str(Path(package.__file__).parent / "weights" / "v0.1" / f"{net}.pth")
    ours = LPIPS(net, path, linear)
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, (2, 3, 64, 80, 3), np.uint8)
    second[1] = first[1] // 2
    with torch.no_grad():
        a, b = (torch.from_numpy(p).permute(0, 3, 1, 2).float() / 127.5 - 1 for p in (first, second))
        expected = theirs(a, b).numpy().reshape(-1)
    np.testing.assert_allclose(ours(first, second), expected, atol=1e-4, rtol=1e-4)
    assert ours(first, first).max() == 0
    pairs = [ours(first[i : i + 1], first[j : j + 1])[0] for i, j in ((0, 1), (0, 2), (1, 2))]
    assert ours.diversity(first) == pytest.approx(np.mean(pairs), rel=1e-5)
    spatial = package.LPIPS(net=net, pnet_rand=True, spatial=True, verbose=False)
    spatial.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        field = spatial(a[:1], a[1:2]).numpy()[0, 0]
    np.testing.assert_allclose(ours.field(first[:2]), field, atol=1e-4, rtol=1e-4)


def test_missing_weights_name_file_flag_and_ways_out(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = (tmp_path / "nowhere" / "pt_inception-2015-12-05-6726825d.pth").as_uri()
    monkeypatch.setattr("semantic_synthesis.evaluation.inception.URL", url)
    with pytest.raises(FileNotFoundError) as caught:
        InceptionFeatures()
    for part in (
        str(tmp_path / "hub" / "checkpoints"),
        "pt_inception-2015-12-05",
        "--inception_weights",
        "random",
    ):
        assert part in str(caught.value), part
    with pytest.raises(FileNotFoundError, match="--lpips_weights"):
        LPIPS("vgg", str(tmp_path / "no.pth"))


def test_random_lpips_needs_no_file():
    assert "RANDOM" in LPIPS("alex", "random", "random").name


def test_downloads_are_kept_and_their_hash_is_checked(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    good, bad = tmp_path / "good-2cf24dba.pth", tmp_path / "bad-00000000.pth"  # SHA-256 of b"hello"
    for path in (good, bad):
        path.write_bytes(b"hello")
    kept = weight_files.find_file("flag", "", good.as_uri())
    good.unlink()
    assert weight_files.find_file("flag", "", good.as_uri()) == kept and Path(kept).read_bytes() == b"hello"
    with pytest.raises(FileNotFoundError, match="SHA-256"):
        weight_files.find_file("flag", "", bad.as_uri())
    assert [p.name for p in Path(kept).parent.iterdir()] == ["good-2cf24dba.pth"]


def test_wrong_weight_files_are_errors(tmp_path):
    path = str(tmp_path / "other.pth")
    torch.save({"Conv2d_1a_3x3.conv.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"Conv2d_1a_3x3\.conv\.weight has shape \(1,\)"):
        InceptionFeatures(path)
    with pytest.raises(ValueError, match=r"features\.0\.weight is missing"):
        LPIPS("vgg", path, path)


@pytest.mark.parametrize("how", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_a_download_that_breaks_off_is_none(how, tmp_path, monkeypatch):
    """Also of a file whose name holds no checksum: half of it would stay for ever."""

    class Broken(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.wfile.write(f"HTTP/1.1 200 OK\r\n{how}\r\n\r\n64\r\nhalf".encode())

        def log_message(self, *_):
            pass

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with http.server.HTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/alex.pth"
        with pytest.raises(FileNotFoundError, match=r"alex\.pth: missing, and .* could not be downloaded"):
            weight_files.find_file("lpips_linear", "", url)
    assert not list((tmp_path / "hub" / "checkpoints").iterdir())
