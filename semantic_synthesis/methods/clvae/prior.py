"""A Gaussian of encoded styles; random styles are drawn from it in place of the standard normal. Not in the paper.

The KL term makes every latent by itself alike to a standard normal, but what photos give is not independent: where the
sky is that of a sunset, water and grass are, too. Random styles of independent classes mix looks. Here a few factors,
which all classes share, and a rest that each latent has by itself are fitted to the styles of training photos
(probabilistic principal components; Tipping and Bishop, 1999).
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from semantic_synthesis.layers import add_array

_ROUNDS = 20  # of filling in what photos do not show


class StylePrior(keras.layers.Layer):
    """mean [D], factors [K,D] and rest [D], the standard deviation of what the factors leave; standard normal at first.

    Call: numbers [N,D] and factors [N,K], both standard normal -> styles float32 [N,D].
    """

    def __init__(self, size: int, factors: int, *, name: str = "prior") -> None:
        super().__init__(name=name, autocast=False)
        made = {"trainable": False}
        self.mean = add_array(self, "mean", np.zeros(size, np.float32), **made)
        self.factors = add_array(self, "factors", np.zeros((factors, size), np.float32), **made)
        self.rest = add_array(self, "rest", np.ones(size, np.float32), **made)
        self.built = True

    def call(self, numbers: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
        mean, rows, rest = (tf.cast(v.value, tf.float32) for v in (self.mean, self.factors, self.rest))
        return mean + tf.matmul(factors, rows) + rest * numbers

    def fit(self, means: np.ndarray, variances: np.ndarray, present: np.ndarray) -> None:
        """Takes the place of what photos gave: means, variances float [M,D] of their latents' Gaussians; present: bool
        [M,D], False where a photo decides nothing. Latents that no photo decides stay standard normal."""
        mean, factors, rest = fitted(means, variances, present, self.factors.shape[0])
        for variable, value in ((self.mean, mean), (self.factors, factors), (self.rest, rest)):
            variable.assign(value)


def fitted(
    means: np.ndarray, variances: np.ndarray, present: np.ndarray, factors: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean [D], factors [K,D], rest [D]), float64, see `StylePrior.fit`.

    What a photo does not show is filled in from its factors, in turn with the fit. Fewer photos than factors leave
    factors at 0.
    """
    seen = present.sum(0)
    known = seen > 0
    mean = np.where(known, (means * present).sum(0) / np.maximum(seen, 1), 0.0)
    centred = np.where(present, means - mean, 0.0)
    guess = np.zeros_like(centred)
    for _ in range(_ROUNDS):
        filled = np.where(present, centred, guess)
        axes = _principal(filled, factors)  # [k,D]
        guess = (filled @ axes.T) @ axes
    rows = np.zeros((factors, means.shape[1]))
    rows[: len(axes)] = axes * np.linalg.norm(filled @ axes.T, axis=0)[:, None] / np.sqrt(len(means))
    left = ((centred - guess) ** 2 + variances) * present
    rest = np.where(known, left.sum(0) / np.maximum(seen, 1), 1.0)
    return mean, np.where(known, rows, 0.0), np.sqrt(rest)


def _principal(x, count):
    """float [k,D], at most `count` orthonormal rows: the principal axes of x [M,D], from the smaller of the two
    matrices of products; D may be a hundred thousand, or M."""
    few = x.shape[0] < x.shape[1]
    values, vectors = np.linalg.eigh(x @ x.T if few else x.T @ x)
    kept = np.argsort(values)[::-1][:count]
    kept = kept[values[kept] > 1e-9 * max(values.max(), 1e-30)]
    axes = vectors[:, kept].T
    if few:
        axes = axes @ x
        axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return axes
