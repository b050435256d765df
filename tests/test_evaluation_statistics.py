"""Frechet and kernel distances: known mathematics, scipy's root, rank deficiency, shards, files."""

import numpy as np
import pytest
import scipy.linalg

from semantic_synthesis.evaluation import statistics
from semantic_synthesis.evaluation.statistics import (
    Gaussian,
    Moments,
    Reservoir,
    frechet_distance,
    kernel_distance,
    load_statistics,
    save_statistics,
    squared_mmd,
)

RNG = np.random.default_rng(0)


def moments_of(rows):
    moments = Moments(rows.shape[1])
    moments.update(rows)
    return moments


def scipy_distance(a, b):
    root = scipy.linalg.sqrtm(a.covariance @ b.covariance).real
    shift = a.mean - b.mean
    return shift @ shift + np.trace(a.covariance) + np.trace(b.covariance) - 2 * np.trace(root)


def test_frechet_distance_of_one_dimensional_gaussians_is_closed_form():
    a, b = Gaussian(np.array([1.0]), np.array([[4.0]])), Gaussian(np.array([-2.0]), np.array([[9.0]]))
    assert frechet_distance(a, b) == pytest.approx((1 + 2) ** 2 + (2 - 3) ** 2)


def test_frechet_distance_of_commuting_gaussians_is_closed_form():
    first, second = RNG.uniform(0.1, 4, 8), RNG.uniform(0.1, 4, 8)
    basis = np.linalg.qr(RNG.normal(size=(8, 8)))[0]
    a = Gaussian(np.zeros(8), basis * first @ basis.T)
    b = Gaussian(np.arange(8.0), basis * second @ basis.T)
    expected = np.sum(np.arange(8.0) ** 2) + np.sum((np.sqrt(first) - np.sqrt(second)) ** 2)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_frechet_distance_equals_scipys_root():
    a, b = (Gaussian.of(moments_of(RNG.normal(size=(300, 40)) @ RNG.normal(size=(40, 40)))) for _ in range(2))
    assert frechet_distance(a, b) == pytest.approx(scipy_distance(a, b), rel=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)


@pytest.mark.parametrize("rank", [0, 1, 5])
def test_frechet_distance_is_stable_on_rank_deficient_covariances(rank):
    """Variance in `rank` of 200 directions: the distance of the full-rank problem within them."""
    small = [RNG.normal(size=(60, rank)) * 3 for _ in range(2)]
    wide = [np.zeros((60, 200)) for _ in range(2)]
    basis = np.linalg.qr(RNG.normal(size=(200, 200)))[0]
    for rows, target in zip(small, wide, strict=True):
        target[:, :rank] = rows
    a, b = (Gaussian.of(moments_of(rows @ basis)) for rows in wide)
    if not rank:
        assert frechet_distance(a, b) == 0
        return
    expected = scipy_distance(*(Gaussian.of(moments_of(rows)) for rows in small))
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert abs(frechet_distance(a, a)) < 1e-10


def test_frechet_distance_of_fewer_images_than_dimensions_to_itself_is_zero():
    a = Gaussian.of(moments_of(RNG.normal(size=(50, 300))))
    assert abs(frechet_distance(a, a)) < 1e-9


def test_moments_equal_numpy_far_from_the_origin():
    rows = RNG.normal(size=(500, 6)) + 1e6
    moments = Moments(6)
    for start in range(0, 500, 7):
        moments.update(rows[start : start + 7])
    np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=1e-13)
    np.testing.assert_allclose(moments.covariance, np.cov(rows, rowvar=False), atol=1e-8)


def test_shards_merge_to_the_numbers_of_one_stream(tmp_path):
    rows, other = RNG.normal(size=(100, 5)), Gaussian(np.ones(5), np.eye(5))
    paths = []
    for i in range(3):
        paths.append(str(tmp_path / f"{i}.npz"))
        save_statistics(paths[-1], moments_of(rows[i::3]), "net")
    whole, merged = Gaussian.of(moments_of(rows)), load_statistics(",".join(paths), "net")
    assert merged.count == 100
    assert frechet_distance(merged, other) == pytest.approx(frechet_distance(whole, other), rel=1e-12)


def test_a_shard_without_pictures_changes_nothing_and_is_no_distribution_alone(tmp_path):
    rows, paths = RNG.normal(size=(2, 5)), [str(tmp_path / f"{i}.npz") for i in range(3)]
    for i, path in enumerate(paths):
        save_statistics(path, moments_of(rows[i : i + 1]), "net")
        with pytest.raises(ValueError, match=rf"{i}\.npz: statistics of [01] pictures; .* at least 2"):
            load_statistics(path, "net")
    merged = load_statistics(",".join(paths), "net")
    assert merged.count == 2
    np.testing.assert_allclose(merged.covariance, np.cov(rows, rowvar=False), atol=1e-12)


def test_reservoir_of_shards_equals_that_of_one_stream_in_any_order():
    rows = RNG.normal(size=(1000, 3)).astype(np.float32)
    whole, parts = Reservoir(3, 64, seed=5), [Reservoir(3, 64, seed=5) for _ in range(2)]
    whole.update(rows, np.arange(1000))
    for i in reversed(range(0, 1000, 10)):
        parts[i // 10 % 2].update(rows[i : i + 10], np.arange(i, i + 10))
    parts[0].merge(parts[1])
    np.testing.assert_array_equal(parts[0].sample(), whole.sample())
    assert whole.sample().shape == (64, 3)


def test_reservoir_draws_uniformly():
    picked = np.concatenate([_drawn_indices(seed) for seed in range(200)])
    counts = np.bincount(picked // 100, minlength=10)
    assert np.abs(counts - counts.mean()).max() < 5 * np.sqrt(counts.mean())


def _drawn_indices(seed):
    reservoir = Reservoir(1, 50, seed=seed)
    reservoir.update(np.arange(1000.0)[:, None], np.arange(1000))
    return reservoir.sample()[:, 0].astype(int)


def test_squared_mmd_is_unbiased():
    """In one dimension the kernel is (xy + 1)^3, so MMD^2 = sum_j C(3,j) (E x^j - E y^j)^2."""

    def estimates(shift, count=4000):
        draws = np.random.default_rng(1)
        return [
            squared_mmd(draws.normal(size=(6, 1)), draws.normal(size=(6, 1)) + shift) for _ in range(count)
        ]

    for shift in (0.0, 0.5):
        moments = [0, shift, shift**2, shift**3 + 3 * shift]  # E (n + s)^j - E n^j
        expected = 3 * moments[1] ** 2 + 3 * moments[2] ** 2 + moments[3] ** 2
        values = estimates(shift)
        error = np.std(values) / np.sqrt(len(values))
        assert abs(np.mean(values) - expected) < 4 * error, (shift, np.mean(values), expected, error)
        assert min(values) < 0


def test_squared_mmd_equals_the_sum_over_pairs():
    x, y = RNG.normal(size=(4, 3)), RNG.normal(size=(5, 3))

    def kernel(a, b):
        return (a @ b / 3 + 1) ** 3

    within = [
        np.mean([kernel(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j]) for s in (x, y)
    ]
    between = np.mean([kernel(a, b) for a in x for b in y])
    assert squared_mmd(x, y) == pytest.approx(sum(within) - 2 * between)


def test_kernel_distance_over_one_full_subset_is_the_estimate():
    x, y = RNG.normal(size=(30, 4)), RNG.normal(size=(30, 4)) + 1
    mean, deviation = kernel_distance(x, y, subsets=2, subset_size=1000)
    assert mean == pytest.approx(squared_mmd(x, y)) and deviation < 1e-12


def test_statistics_files_of_pytorch_fid_are_read(tmp_path):
    path = str(tmp_path / "theirs.npz")
    np.savez_compressed(path, mu=np.ones(4, np.float32), sigma=np.eye(4))
    found = load_statistics(path, "any network")
    assert found.count is None and found.mean.dtype == np.float64
    with pytest.raises(ValueError, match="no count of images"):
        load_statistics(f"{path},{path}")


def test_pytorch_fid_reads_our_files(tmp_path):
    path = str(tmp_path / "ours.npz")
    moments = moments_of(RNG.normal(size=(20, 4)))
    save_statistics(path, moments)
    with np.load(path) as file:
        np.testing.assert_array_equal(file["mu"][:], moments.mean)
        np.testing.assert_array_equal(file["sigma"][:], moments.covariance)


def test_mistakes_with_statistics_name_the_file(tmp_path):
    missing, damaged, wrong = (str(tmp_path / f"{name}.npz") for name in ("missing", "damaged", "wrong"))
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04 cut")
    np.savez(wrong, mu=np.zeros(3), sigma=np.zeros((2, 2)))
    ours = str(tmp_path / "ours.npz")
    save_statistics(ours, moments_of(RNG.normal(size=(20, 4))), "net A")
    for path, text in ((missing, "no such file"), (damaged, "damaged"), (wrong, r"expected \[F\]")):
        with pytest.raises((ValueError, FileNotFoundError), match=text) as caught:
            load_statistics(path)
        assert path in str(caught.value)
    with pytest.raises(ValueError, match="net A"):
        load_statistics(ours, "net B")
    with pytest.raises(ValueError, match="dimensions"):
        frechet_distance(Gaussian(np.zeros(2), np.eye(2)), Gaussian(np.zeros(3), np.eye(3)))
    with pytest.raises(ValueError, match="at least 2"):
        _ = moments_of(RNG.normal(size=(1, 4))).covariance
    with pytest.raises(ValueError, match="not finite"):
        statistics.Moments(1).update(np.array([[np.nan]]))


def test_the_pair_of_files_that_inade_writes(tmp_path):
    rows = RNG.normal(size=(40, 5))
    np.save(tmp_path / "m.npy", rows.mean(0))
    np.save(tmp_path / "s.npy", np.cov(rows, rowvar=False))
    for path in (tmp_path, tmp_path / "m.npy", tmp_path / "s.npy"):
        found = load_statistics(str(path))
        assert frechet_distance(found, Gaussian.of(moments_of(rows))) == pytest.approx(0, abs=1e-9)
        assert found.count is None


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "x.npy",
            np.zeros(3),
            "x.npy: holds a single array; expected statistics: an .npz with mu and sigma, or INADE's",
        ),
        ("m.npy", np.zeros(3), "s.npy: no such file; expected statistics"),
        ("x.npz", {"mu": np.array("text"), "sigma": np.eye(3)}, "x.npz: no numbers in it"),
        ("x.npz", {"mean": np.zeros(3)}, "x.npz: holds mean; expected"),
        ("x.npz", b"PK", "x.npz: damaged"),
        ("x.npy", b"\x93NUMPY", "x.npy: damaged"),
    ],
)
def test_files_that_hold_no_statistics(tmp_path, name, content, words):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    else:
        np.save(path, content)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        load_statistics(str(path))
    assert words in str(caught.value) and "\n" not in str(caught.value)
