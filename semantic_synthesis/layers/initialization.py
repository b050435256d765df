"""Initial values of kernels, drawn in building order from one seeded generator."""

from __future__ import annotations

import copy
import math
import os
from pathlib import Path

import numpy as np

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of containers


def memory_for_weights() -> int:
    """Bytes that the weights of one model may take: a third of this machine's, or container's, memory."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")] if hasattr(os, "sysconf") else []
    for path in map(Path, _LIMITS):
        text = path.read_text().strip() if path.is_file() else ""
        found += [int(text)] if text.isdecimal() else []
    return min(found, default=2**63) // 3


class Initializer:
    """Draws kernels: `init(shape)` returns a float32 array; kernels are [..., in, out].

    Types as NVlabs/SPADE: normal (std = gain), xavier (normal), xavier_uniform
    (gain 1), kaiming (fan-in), orthogonal and none (PyTorch's default); `zeros` for models whose
    weights are about to be loaded.
    spectral: what spectrally normalised kernels get. "default": PyTorch's default whatever the type, as SPADE's
    authors train (the spectral norm's raw kernel escapes their initialiser); "same": the type, as where the
    initialiser runs before the norm is added. The forward pass does not depend on such a kernel's scale, but the
    effective learning rate does.
    MemoryError before weights are made that memory cannot hold: systems promise more than they have, and end programs.
    """

    def __init__(
        self, init_type: str = "xavier", gain: float = 0.02, seed: int = 0, spectral: str = "default"
    ) -> None:
        kinds = ("normal", "xavier", "xavier_uniform", "kaiming", "orthogonal", "none", "zeros")
        if init_type not in kinds:
            raise ValueError(f"init_type is {init_type!r}; expected one of {', '.join(kinds)}")
        if spectral not in ("default", "same"):
            raise ValueError(f"spectral is {spectral!r}; expected default or same")
        self.init_type = init_type
        self.gain = gain
        self.spectral = spectral
        self._rng = np.random.default_rng(seed)
        self._free = [memory_for_weights()]  # shared with copies

    def __call__(self, shape: tuple[int, ...], spectral: bool = False) -> np.ndarray:
        self._take(shape)
        fan_in = int(np.prod(shape[:-1]))
        fan_out = int(np.prod(shape[:-2])) * shape[-1]
        kind = self.init_type
        if spectral and self.spectral == "default" and kind != "zeros":
            kind = "none"
        if kind == "zeros":
            return np.zeros(shape, np.float32)
        if kind == "normal":
            return self._normal(shape, self.gain)
        if kind == "xavier":
            return self._normal(shape, self.gain * np.sqrt(2.0 / (fan_in + fan_out)))
        if kind == "xavier_uniform":
            return self._uniform(shape, np.sqrt(6.0 / (fan_in + fan_out)))
        if kind == "kaiming":
            return self._normal(shape, np.sqrt(2.0 / fan_in))
        if kind == "orthogonal":
            return self._orthogonal(shape)
        return self._uniform(shape, 1.0 / np.sqrt(fan_in))

    def with_spectral(self, spectral: str) -> Initializer:
        """The same, drawing from the same generator, with another rule for spectrally normalised kernels."""
        other = copy.copy(self)
        other.spectral = spectral
        return other

    def normal(self, shape: tuple[int, ...], deviation: float) -> np.ndarray:
        """Gaussian of the given standard deviation (zeros where the type says so)."""
        self._take(shape)
        if self.init_type == "zeros":
            return np.zeros(shape, np.float32)
        return self._normal(shape, deviation)

    def uniform(self, shape: tuple[int, ...]) -> np.ndarray:
        """Uniform in [0, 1) whatever the type (zeros where the type says so)."""
        self._take(shape)
        if self.init_type == "zeros":
            return np.zeros(shape, np.float32)
        return self._rng.random(shape, np.float32)

    def unit(self, size: int) -> np.ndarray:
        """A random direction: float32 [size] of length 1 (start of the power iteration)."""
        vector = self._rng.standard_normal(size, np.float32)
        return vector / np.linalg.norm(vector)

    def _normal(self, shape, deviation):
        return self._rng.standard_normal(shape, np.float32) * np.float32(deviation)

    def _take(self, shape):
        """Counts the memory of an array that is about to be made."""
        self._free[0] -= 4 * math.prod(int(size) for size in shape)
        if self._free[0] < 0:
            raise MemoryError(f"at an array of shape {tuple(shape)}")

    def _uniform(self, shape, limit):
        return (self._rng.random(shape, np.float32) * 2 - 1) * np.float32(limit)

    def _orthogonal(self, shape):
        rows, columns = int(np.prod(shape[:-1])), shape[-1]
        square = self._rng.standard_normal((max(rows, columns), min(rows, columns)))
        basis, triangle = np.linalg.qr(square)
        basis = basis * np.sign(np.diag(triangle))
        basis = basis if rows >= columns else basis.T
        return np.float32(self.gain * basis).reshape(shape)
