"""Statistics of features, gathered in a stream: Frechet distance (FID) and kernel distance (KID).

FID: Heusel et al., GANs Trained by a Two Time-Scale Update Rule ..., NeurIPS 2017 (arXiv 1706.08500),
equation 6. KID: Binkowski et al., Demystifying MMD GANs, ICLR 2018 (arXiv 1801.01401), section 4.
`Moments` holds [F] and [F,F] numbers and `Reservoir` a fixed number of rows, whatever the number of images;
shards of both merge to what one stream would have given.
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from semantic_synthesis import storage
from semantic_synthesis.files import write_arrays

KEPT_ROWS = 10_000
KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000


class Moments:
    """Count, mean and scatter (sum of outer products about the mean) of rows [F], in float64.

    Batches are merged by the formula of Chan, Golub and LeVeque (1979), which does not cancel.
    """

    def __init__(self, dims: int) -> None:
        self.count, self.mean, self.scatter = 0, np.zeros(dims), np.zeros((dims, dims))

    def update(self, features: np.ndarray) -> None:
        """Adds rows float [N,F]."""
        rows = np.asarray(features, np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.mean):
            raise ValueError(f"features of shape {rows.shape}; expected [N,{len(self.mean)}]")
        if not np.isfinite(rows).all():
            raise ValueError("features hold values that are not finite; check pictures and network weights")
        if len(rows):
            mean = rows.mean(0)
            self._add(len(rows), mean, (rows - mean).T @ (rows - mean))

    def merge(self, other: Moments) -> None:
        """Adds what another Moments saw."""
        if len(other.mean) != len(self.mean):
            raise ValueError(f"statistics of {len(other.mean)} and {len(self.mean)} dimensions do not merge")
        if other.count:
            self._add(other.count, other.mean, other.scatter)

    def _add(self, count, mean, scatter):
        total, shift = self.count + count, mean - self.mean
        self.scatter += scatter + np.outer(shift, shift) * (self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.count = total

    @property
    def covariance(self) -> np.ndarray:
        """float64 [F,F], divided by count - 1 as numpy.cov and pytorch-fid do."""
        if self.count < 2:
            raise ValueError(
                f"{self.count} pictures on one side; distributions are compared, which needs at least 2 of each"
            )
        return self.scatter / (self.count - 1)


class Gaussian:
    """Mean float64 [F] and covariance float64 [F,F]; what a pytorch-fid file holds.

    count: of pictures, None where a file does not tell it.
    """

    def __init__(self, mean: np.ndarray, covariance: np.ndarray, count: int | None = None) -> None:
        self.mean, self.covariance, self.count = mean, covariance, count

    @classmethod
    def of(cls, moments: Moments) -> Gaussian:
        """The Gaussian with a Moments' mean and covariance."""
        return cls(moments.mean, moments.covariance, moments.count)


def frechet_distance(first: Gaussian | Moments, second: Gaussian | Moments) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of two objects with mean and covariance.

    With S = A^T A the trace of the root is the sum of the singular values of A1 A2^T. That needs no root
    of a product that may be singular and indefinite by rounding; directions without variance are dropped.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(
            f"statistics of {first.mean.size} and {second.mean.size} dimensions cannot be compared; "
            "use the same feature network and --eval_dims for both"
        )
    shift = first.mean - second.mean
    root = _factor(first.covariance) @ _factor(second.covariance).T
    overlap = np.linalg.svd(root, compute_uv=False).sum() if root.size else 0.0
    return float(shift @ shift + np.trace(first.covariance) + np.trace(second.covariance) - 2 * overlap)


def _factor(covariance):
    """A float64 [R,F] with A^T A = covariance, R its numerical rank."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
    return np.sqrt(values[kept])[:, None] * vectors[:, kept].T


class Reservoir:
    """A uniform sample of the rows seen: those with the smallest random keys.

    A row's key depends on (seed, index) alone, so neither order nor shards matter. Holds at most
    `capacity` rows of float32; below that it holds every row.
    """

    def __init__(self, dims: int, capacity: int = KEPT_ROWS, seed: int = 0) -> None:
        self.capacity, self.seed = capacity, seed
        self.keys, self.rows = np.zeros(0, np.uint64), np.zeros((0, dims), np.float32)
        self._waiting = []

    def update(self, features: np.ndarray, indices: np.ndarray) -> None:
        """Adds rows float [N,F] of the images with these numbers (int64 [N])."""
        self._waiting.append((_random_keys(self.seed, indices), np.asarray(features, np.float32)))
        if sum(len(keys) for keys, _ in self._waiting) > self.capacity // 4:
            self._settle()

    def merge(self, other: Reservoir) -> None:
        """Adds what another Reservoir of the same seed holds (of other images)."""
        other._settle()
        self._waiting.append((other.keys, other.rows))
        self._settle()

    def sample(self) -> np.ndarray:
        """float32 [N,F], in the order of the keys."""
        self._settle()
        return self.rows

    def _settle(self):
        keys = np.concatenate([self.keys, *[keys for keys, _ in self._waiting]])
        rows = np.concatenate([self.rows, *[rows for _, rows in self._waiting]])
        self._waiting = []
        order = np.argsort(keys, kind="stable")[: self.capacity]
        self.keys, self.rows = keys[order], rows[order]


def _random_keys(seed, indices):
    """uint64 [N]: splitmix64 of seed and index."""
    x = np.asarray(indices, np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x1234567) % 2**64)
    with np.errstate(over="ignore"):
        x = x * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def squared_mmd(first: np.ndarray, second: np.ndarray) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy of rows [N,F] and [M,F].

    Kernel (x.y / F + 1)^3; the diagonals of the kernels within a set are left out, so the expectation is
    0 for two samples of one distribution and single estimates may be negative.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if min(len(first), len(second)) < 2:
        raise ValueError(f"{len(first)} and {len(second)} images; kid needs at least 2 of each")

    def within(rows):
        kernel = _kernel(rows, rows)
        return (kernel.sum() - np.trace(kernel)) / (len(rows) * (len(rows) - 1))

    return float(within(first) + within(second) - 2 * _kernel(first, second).mean())


def _kernel(x, y):
    return (x @ y.T / x.shape[1] + 1) ** 3


def kernel_distance(
    first: np.ndarray,
    second: np.ndarray,
    subsets: int = KID_SUBSETS,
    subset_size: int = KID_SUBSET_SIZE,
    seed: int = 0,
) -> tuple[float, float]:
    """KID of rows [N,F] and [M,F]: (mean, standard deviation) of squared_mmd over random subsets.

    subset_size shrinks to the smaller set. Subsets are drawn without replacement.
    """
    rng, size = np.random.default_rng(seed), min(subset_size, len(first), len(second))
    values = [
        squared_mmd(
            first[rng.choice(len(first), size, replace=False)],
            second[rng.choice(len(second), size, replace=False)],
        )
        for _ in range(subsets)
    ]
    return float(np.mean(values)), float(np.std(values))


def save_statistics(path: str | Path, moments: Moments, network: str = "") -> None:
    """Writes mu and sigma as pytorch-fid does, and count and network, so that shards can merge."""
    covariance = moments.covariance if moments.count > 1 else np.zeros_like(moments.scatter)  # a tiny shard
    arrays = {"mu": moments.mean, "sigma": covariance, "count": moments.count, "network": network}
    write_arrays(path, arrays, compressed=True)


def load_statistics(paths: str, network: str = "") -> Gaussian:
    """The Gaussian of one file, or of several merged (comma-separated paths).

    Files of pytorch-fid and INADE (mu, sigma) are read too; only files with a count merge. network: what
    the features of the other side come from; a file that names another network is refused.
    """
    files = [path for path in paths.split(",") if path]
    if not files:
        raise ValueError(f"statistics {paths!r}: no file named; expected one, or several with commas")
    found = [_read_statistics(path, network) for path in files]
    if len(found) == 1:
        if found[0].count in (0, 1):
            raise ValueError(
                f"{files[0]}: statistics of {found[0].count} pictures; a distribution needs at least 2"
            )
        return found[0]
    total = Moments(len(found[0].mean))
    for path, part in zip(files, found, strict=True):
        if part.count is None:
            raise ValueError(f"{path}: holds no count of images, which merging needs; give this file alone")
        shard = Moments(len(part.mean))
        shard.count, shard.mean, shard.scatter = part.count, part.mean, part.covariance * (part.count - 1)
        total.merge(shard)
    return Gaussian.of(total)


_EXPECTED = "expected statistics: an .npz with mu and sigma, or INADE's m.npy beside s.npy"
_PAIR = {"mu": "m.npy", "sigma": "s.npy"}


def _stored_arrays(path):
    """{name: array} of a statistics file, or of INADE's pair of files, given by their folder or one of them."""
    folder = path if storage.is_folder(path) else os.path.dirname(path)
    if storage.is_folder(path) or os.path.basename(path) in _PAIR.values():
        paths = {name: os.path.join(folder, file) for name, file in _PAIR.items()}
    else:
        paths = {"": path}
    found = {}
    for name, file in paths.items():
        if not storage.is_file(file):
            raise FileNotFoundError(f"{file}: no such file; {_EXPECTED}")
        try:
            loaded = np.load(io.BytesIO(storage.read(file)), allow_pickle=False)
            found |= {name: loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, AttributeError) as error:
            raise ValueError(f"{file}: damaged ({str(error).splitlines()[0]}); get the file again") from None
    return found


def _read_statistics(path, network):
    arrays = _stored_arrays(path)
    if not {"mu", "sigma"} <= set(arrays):
        names = ", ".join(sorted(filter(None, arrays))) or "a single array"
        raise ValueError(f"{path}: holds {names}; {_EXPECTED}")
    try:
        mean, covariance = arrays["mu"].astype(np.float64), arrays["sigma"].astype(np.float64)
        count = int(arrays["count"]) if "count" in arrays else None
        made_by = str(arrays["network"]) if "network" in arrays else ""
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: no numbers in it ({error}); {_EXPECTED}") from None
    if mean.ndim != 1 or covariance.shape != (mean.size, mean.size):
        raise ValueError(f"{path}: mu {mean.shape} and sigma {covariance.shape}; expected [F] and [F,F]")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError(f"{path}: holds values that are not finite; compute the statistics again")
    if network and made_by and made_by != network:
        raise ValueError(f"{path}: statistics of {made_by}; expected those of {network}")
    return Gaussian(mean, covariance, count)
