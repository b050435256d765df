"""What random styles are drawn from in place of the standard normal: the styles of training photos. Not in the papers.

The KL term makes every latent by itself alike to a standard normal, but what photos give is not independent: where the
sky is that of a sunset, water and grass are, too. Random styles of independent classes mix looks. Here styles are
split into a few factors, which all classes share, and a rest that each latent has by itself (principal components).
A random style takes the factors of one training photo, so that its look is one that exists, and a rest at random.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from semantic_synthesis.layers import add_array

_ROUNDS = 20  # of filling in what photos do not show
_LOOKS = 256  # photos whose factors are kept
_SEEDS = 1 << 34  # keeps the seeds of looks apart from those of latents


class StylePrior(keras.layers.Layer):
    """mean [D], axes [K,D], looks [256,K], the factors of photos, and rest [D], the standard deviation of what these
    leave; standard normal at first.

    Call: numbers [N,D], standard normal, and seeds int64 [N], which choose looks -> styles float32 [N,D]. With `of`,
    int32 [N,I], the latents are those of C classes, [C,D/C], and item i takes those of class of[n,i]: numbers
    [N,I,D/C] -> [N,I,D/C]. Items of a class share its factors and have each a rest of their own.
    """

    def __init__(self, size: int, factors: int, *, name: str = "prior") -> None:
        super().__init__(name=name, autocast=False)
        made = {"trainable": False}
        self.mean = add_array(self, "mean", np.zeros(size, np.float32), **made)
        self.axes = add_array(self, "axes", np.zeros((factors, size), np.float32), **made)
        self.looks = add_array(self, "looks", np.zeros((_LOOKS, factors), np.float32), **made)
        self.rest = add_array(self, "rest", np.ones(size, np.float32), **made)
        self.built = True

    def call(self, numbers: tf.Tensor, seeds: tf.Tensor, of: tf.Tensor | None = None) -> tf.Tensor:
        mean, axes, looks, rest = (
            tf.cast(v.value, tf.float32) for v in (self.mean, self.axes, self.looks, self.rest)
        )
        common = mean + tf.matmul(tf.gather(looks, _choices(seeds)), axes)  # [N,D]
        if of is None:
            return common + rest * numbers
        size = numbers.shape[-1]
        common = tf.gather(
            tf.reshape(common, [-1, mean.shape[0] // size, size]), of, batch_dims=1
        )  # [N,I,D/C]
        return common + tf.gather(tf.reshape(rest, [-1, size]), of) * numbers

    def fit(self, means: np.ndarray, variances: np.ndarray, present: np.ndarray) -> None:
        """Takes what photos gave: means, variances float [M,D] of their latents' Gaussians; present: bool [M,D], False
        where a photo decides nothing. Latents that no photo decides stay standard normal."""
        mean, axes, looks, rest = fitted(means, variances, present, self.axes.shape[0])
        evenly = np.arange(_LOOKS) * len(looks) // _LOOKS
        for variable, value in (
            (self.mean, mean),
            (self.axes, axes),
            (self.looks, looks[evenly]),
            (self.rest, rest),
        ):
            variable.assign(value)


def _choices(seeds):
    """int32 [N]: the look of each seed, even over all."""

    def draw(seed):
        key = tf.stack([tf.constant(_SEEDS, tf.int64), seed])
        return tf.random.stateless_uniform([], key, 0, _LOOKS, tf.int32, alg="philox")

    return tf.map_fn(draw, tf.cast(seeds, tf.int64), fn_output_signature=tf.int32)


def make_prior(config: Any, size: int) -> StylePrior | None:
    """The prior of `size` latents that config.prior_factors asks for, None for 0; ValueError if that makes no sense.

    size: 0 for methods that read no styles.
    """
    if config.prior_factors and not size:
        raise ValueError(f"--prior_factors: {config.method} reads no styles from photos; leave it out")
    if config.prior_factors < 0 or (
        config.prior_factors and not (config.use_vae and config.num_encoder_filters)
    ):
        raise ValueError(
            f"--prior_factors {config.prior_factors}: expected 0 or more, and an encoder to read styles (use_vae)"
        )
    if config.prior_factors > size:
        raise ValueError(
            f"--prior_factors {config.prior_factors}: expected at most {size}, the numbers of a style"
        )
    return StylePrior(size, config.prior_factors) if config.prior_factors else None


def fitted(
    means: np.ndarray, variances: np.ndarray, present: np.ndarray, factors: int
) -> tuple[np.ndarray, ...]:
    """(mean [D], axes [K,D], looks [M,K], rest [D]), float64, see `StylePrior.fit`; axes are orthonormal.

    What a photo does not show is filled in from its factors, in turn with the fit. Axes that photos do not have are 0.
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
    looks = np.zeros((len(means), factors))
    looks[:, : len(axes)] = filled @ axes.T
    padded = np.zeros((factors, means.shape[1]))
    padded[: len(axes)] = np.where(known, axes, 0.0)
    left = ((centred - guess) ** 2 + variances) * present
    rest = np.where(known, left.sum(0) / np.maximum(seen, 1), 1.0)
    return mean, padded, looks, np.sqrt(rest)


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
