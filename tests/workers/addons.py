"""What tensorflow-addons makes of given arrays: reads one .npz, writes another.

Runs in an environment of its own (constraints/addons.txt), so it imports nothing of this repository.
Arguments: the file to read, the file to write.
"""

import sys

import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa


def spectral(layer, x, kernel, u, iterations):
    """(outputs, kernel, u) of a wrapped layer after power iterations, each a call in training."""
    wrapped = tfa.layers.SpectralNormalization(layer)
    wrapped.build(x.shape)
    layer.kernel.assign(kernel)
    wrapped.u.assign(u[None])
    for _ in range(iterations):
        wrapped(x, training=True)
    return wrapped(x, training=False), layer.kernel, wrapped.u[0]


def main():
    """The cases that the names of the arrays tell: see tests/test_addons.py."""
    given, made = np.load(sys.argv[1]), {}
    x = given["x"]
    norm = tfa.layers.InstanceNormalization(axis=-1, epsilon=1e-5, center=False, scale=False)
    made["instance"] = norm(x)
    for iterations in given["iterations"]:
        layer = tf.keras.layers.Conv2D(given["conv"].shape[-1], 3, padding="same", use_bias=False)
        names = [f"conv_{iterations}_{what}" for what in ("output", "kernel", "u")]
        made |= zip(names, spectral(layer, x, given["conv"], given["conv_u"], iterations), strict=True)
        layer = tf.keras.layers.Dense(given["dense"].shape[-1], use_bias=False)
        names = [f"dense_{iterations}_{what}" for what in ("output", "kernel", "u")]
        made |= zip(
            names, spectral(layer, x[:, 0, 0], given["dense"], given["dense_u"], iterations), strict=True
        )
    np.savez(
        sys.argv[2],
        versions=f"{tf.__version__} {tfa.__version__}",
        **{k: np.asarray(v) for k, v in made.items()},
    )


if __name__ == "__main__":
    main()
