"""Loss terms as pure functions from float tensors to float32 scalars; each states formula and reduction."""

from collections.abc import Callable, Sequence

import tensorflow as tf


def adversarial(
    judgements: Sequence[tf.Tensor], real: bool, gan_mode: str, for_generator: bool = False
) -> tf.Tensor:
    """Adversarial loss: mean over scales of the mean over cells.

    judgements: list over scales of [B,h,w,1]; real: whether the target is "real".
    hinge: discriminator mean max(0, 1 -+ D), generator -mean D; ls: mean (D - target)^2;
    original: binary cross-entropy of logits; w: -+ mean D.
    """
    terms = [_adversarial_term(tf.cast(j, tf.float32), real, gan_mode, for_generator) for j in judgements]
    return tf.add_n(terms) / len(terms)


def _adversarial_term(judgement, real, gan_mode, for_generator):
    sign = 1.0 if real else -1.0
    if gan_mode == "hinge" and not for_generator:
        return tf.reduce_mean(tf.nn.relu(1.0 - sign * judgement))
    if gan_mode in ("hinge", "w"):
        return -sign * tf.reduce_mean(judgement)
    target = tf.fill(tf.shape(judgement), 1.0 if real else 0.0)
    if gan_mode == "ls":
        return tf.reduce_mean(tf.square(judgement - target))
    if gan_mode == "original":
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(target, judgement))
    raise ValueError(f"gan_mode is {gan_mode!r}; expected hinge, ls, original or w")


def feature_matching(
    fake_features: Sequence[Sequence[tf.Tensor]],
    real_features: Sequence[Sequence[tf.Tensor]],
    layers: str = "all",
) -> tf.Tensor:
    """Sum over layers, mean over groups, of mean |fake - real|; real is a constant.

    Both: list over groups (scales) of lists of [B,h,w,f] (Wang et al., pix2pixHD, equation 4).
    layers: all, or deep for those of each group from the fourth on, and at least its last.
    """
    total = 0.0
    for fakes, reals in zip(fake_features, real_features, strict=True):
        first = min(3, len(fakes) - 1) if layers == "deep" else 0
        for fake, real in zip(fakes[first:], reals[first:], strict=True):
            total += mean_absolute(fake, tf.stop_gradient(real))
    return total / len(fake_features)


def mean_absolute(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Mean over all elements of |a - b|, summed in float32."""
    return tf.reduce_mean(tf.cast(tf.abs(a - b), tf.float32))


def kl_divergence(mean: tf.Tensor, log_variance: tf.Tensor, weights: float | tf.Tensor = 1.0) -> tf.Tensor:
    """KL(N(mean, exp(log_variance)) || N(0,1)): sum over all but the batch, mean over it; float32 [B,...].

    weights: of the terms, spread over them (for means over some axis instead of sums).
    The originals sum over the batch of one GPU as well: their lambda_kld at n samples per GPU equals
    n * lambda_kld here.
    """
    terms = weights * (1.0 + log_variance - tf.square(mean) - tf.exp(log_variance))
    return -0.5 * tf.reduce_sum(terms) / tf.cast(tf.shape(terms)[0], tf.float32)


def paired(fake: tf.Tensor, real: tf.Tensor, unpaired: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
    """fake [B,...] with real, a constant, in the unpaired rows (bool [B]): the difference to real is then 0 there."""
    return tf.where(tf.reshape(unpaired, [-1, 1, 1, 1]), tf.stop_gradient(real), fake)


@tf.custom_gradient
def cross_entropy(logits: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """logsumexp(x) - x[t] at each pixel: logits float32 [B,H,W,K], target int32 [B,H,W] in [0,K) -> [B,H,W].

    Neither here nor in the gradient (softmax(x) minus 1 at t) is the target ever one-hot; the gradient is computed
    again instead of kept, as it is as large as the logits.
    """

    def backward(upstream):
        gradient = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(
            features=tf.reshape(logits, [-1, logits.shape[-1]]), labels=tf.reshape(target, [-1])
        ).backprop  # [B*H*W,K]
        return tf.reshape(gradient, tf.shape(logits)) * upstream[..., None], None

    return tf.nn.sparse_softmax_cross_entropy_with_logits(target, logits), backward


def class_weights(label: tf.Tensor, num_classes: int, ignored: int | None = None) -> tf.Tensor:
    """float32 [C]: pixels / (K * pixels of the class), K the number of classes that occur; 0 for those that do not.

    label: int32 [B,H,W], of which the pixels on all replicas count. The class `ignored` gets 0 and does not count
    in K, its pixels do (Schönfeld et al., ICLR 2021, equation 2): the mean weight over all pixels is 1, or 0 where
    all are ignored.
    """
    # Counted as integers: float32 stays at 2^24 when one is added.
    counts = tf.math.bincount(tf.reshape(label, [-1]), minlength=num_classes, maxlength=num_classes)
    counts = tf.cast(counts, tf.float32)
    replica = tf.distribute.get_replica_context()
    if replica and replica.num_replicas_in_sync > 1:
        counts = replica.all_reduce(tf.distribute.ReduceOp.SUM, counts)
    pixels = tf.reduce_sum(counts)
    if ignored is not None:
        counts *= 1 - tf.one_hot(ignored, num_classes)
    return tf.math.divide_no_nan(pixels, tf.math.count_nonzero(counts, dtype=tf.float32) * counts)


def label_mix(of_mixed: tf.Tensor, of_real: tf.Tensor, of_fake: tf.Tensor, from_real: tf.Tensor) -> tf.Tensor:
    """LabelMix: mean over all elements of (M of_real + (1 - M) of_fake - of_mixed)^2 (Schönfeld et al.,
    equation 5).

    of_...: logits float32 [B,H,W,K] of the mixed, the real and the fake picture; from_real: M, bool [B,H,W].
    """
    return tf.reduce_mean(tf.square(tf.where(from_real[..., None], of_real, of_fake) - of_mixed))
