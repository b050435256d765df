"""A training step of clVAE in float64 NumPy, by the formulas of its specification, with loops where these have them.

Arrays are named and shaped as the package's variables; it shares no code with the package. Layouts are NHWC.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def kernel_of(arrays, name):
    """The kernel, divided by its spectral norm where u and v are there (these are constants)."""
    kernel = arrays[f"{name}/kernel"]
    if f"{name}/u" not in arrays:
        return kernel
    u, v = arrays[f"{name}/u"], arrays[f"{name}/v"]
    return kernel / (v @ kernel.reshape(-1, len(u)) @ u)


def convolve(x, kernel, stride=1, padding=None):
    size = kernel.shape[0]
    pad = size // 2 if padding is None else padding
    x = np.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    windows = sliding_window_view(x, (size, size), (1, 2))[:, ::stride, ::stride]  # [B,h,w,I,k,k]
    return np.tensordot(windows, kernel, ((3, 4, 5), (2, 0, 1)))


def conv(arrays, name, x, stride=1, padding=None):
    return convolve(x, kernel_of(arrays, name), stride, padding) + arrays.get(f"{name}/bias", 0.0)


def dense(arrays, name, x):
    return x @ arrays[f"{name}/kernel"] + arrays[f"{name}/bias"]


def leaky(x):
    return np.where(x < 0, 0.2 * x, x)


def standard(x, axes):
    """(x - mean) / sqrt(biased variance + 1e-5)."""
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)


def resize(image, size):
    """Bilinear with half-pixel centres to size x size, without smoothing."""
    for axis in (1, 2):
        old = image.shape[axis]
        place = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
        low = np.floor(place).astype(int)
        share = (place - low).reshape([-1 if a == axis else 1 for a in range(4)])
        high = np.take(image, np.minimum(low + 1, old - 1), axis)
        image = np.take(image, low, axis) * (1 - share) + high * share
    return image


def nearest(label, size):
    rows, columns = (np.arange(size) * old // size for old in label.shape[1:])
    return label[:, rows][:, :, columns]


def divergence(mean, log_variance):
    return -0.5 * (1 + log_variance - mean**2 - np.exp(log_variance)).sum()


def encoder(arrays, image, label, size):
    """(mean [B,5,C,Z], log-variance, z's mean, z's log-variance, KL term summed over the batch)."""
    classes = arrays["embedding/weight"].shape[0]
    x, label, batch = resize(image, size), nearest(label, size), len(image)
    means = np.zeros([batch, 5, classes, arrays["encoder/mean_0/bias"].size])
    log_variances, divergences = np.zeros_like(means), 0.0
    for level in range(5):
        x = standard(convolve(x, kernel_of(arrays, f"encoder/layer{level + 1}/conv"), 2), (1, 2))
        small = label[:, :: 2 ** (level + 1), :: 2 ** (level + 1)]
        for b in range(batch):
            present = np.unique(small[b])
            for c in present:
                largest = leaky(x[b][small[b] == c].max(0))
                means[b, level, c] = dense(arrays, f"encoder/mean_{level}", largest)
                log_variances[b, level, c] = dense(arrays, f"encoder/log_variance_{level}", largest)
                of_class = divergence(means[b, level, c], log_variances[b, level, c])
                divergences += of_class / len(present)
        x = leaky(x)
    x = x.reshape(batch, -1)
    z = dense(arrays, "encoder/mean", x), dense(arrays, "encoder/log_variance", x)
    return means, log_variances, *z, divergences + divergence(*z)


def spade(arrays, name, x, condition, training=True):
    at = f"{name}/modulation"
    hidden = convolve(condition, arrays[f"{at}/shared_kernel"]) + arrays[f"{at}/shared_bias"]
    values = convolve(np.maximum(hidden, 0), arrays[f"{at}/kernel"]) + arrays[f"{at}/bias"]
    scale, shift = np.split(values, 2, -1)
    if training:
        x = standard(x, (0, 1, 2))
    else:
        mean, variance = (arrays[f"{name}/statistics/moving_{part}"] for part in ("mean", "variance"))
        x = (x - mean) / np.sqrt(variance + 1e-5)
    return x * (1 + scale) + shift


def generator(arrays, blocks, label, latents, z, training=True):
    """Pictures [B,H,W,3]; blocks: [(name, stride, level or None)]; training: whether by statistics of the batch."""
    embedding, step = arrays["embedding/weight"], blocks[0][1]
    x = dense(arrays, "fc", z)
    x = x.reshape(len(z), label.shape[1] // step, label.shape[2] // step, -1)
    for name, stride, level in blocks:
        while step > stride:
            x, step = x.repeat(2, 1).repeat(2, 2), step // 2
        small, at = label[:, ::stride, ::stride], f"generator/{name}"
        if level is None:
            condition = np.eye(len(embedding))[small]
        else:
            own = np.stack([of_sample[level][ids] for of_sample, ids in zip(latents, small, strict=True)])
            condition = embedding[small] + own
        dx = conv(arrays, f"{at}/conv_0", leaky(spade(arrays, f"{at}/norm_0", x, condition, training)))
        dx = conv(arrays, f"{at}/conv_1", leaky(spade(arrays, f"{at}/norm_1", dx, condition, training)))
        if f"{at}/conv_s/kernel" in arrays:
            x = conv(arrays, f"{at}/conv_s", spade(arrays, f"{at}/norm_s", x, condition, training))
        x = x + dx
    return np.tanh(conv(arrays, "generator/conv_img", leaky(x)))


def pool(x):
    """Mean of 3x3 windows at stride 2, of the cells inside the map."""
    found = np.zeros([len(x), (x.shape[1] + 1) // 2, (x.shape[2] + 1) // 2, x.shape[3]])
    for i in range(found.shape[1]):
        for j in range(found.shape[2]):
            window = x[:, max(0, 2 * i - 1) : 2 * i + 2, max(0, 2 * j - 1) : 2 * j + 2]
            found[:, i, j] = window.mean((1, 2))
    return found


def discriminator(arrays, x, layers):
    """[[features ..., judgement] of each of two scales]."""
    outputs = []
    for scale in range(2):
        x, at = (pool(x) if scale else x), f"discriminator/discriminator_{scale}"
        found = [leaky(conv(arrays, f"{at}/model0", x, 2, 2))]
        for i in range(1, layers):
            y = convolve(found[-1], kernel_of(arrays, f"{at}/model{i}/conv"), 1 if i == layers - 1 else 2, 2)
            found.append(leaky(standard(y, (1, 2))))
        found.append(conv(arrays, f"{at}/model{layers}", found[-1], 1, 2))
        outputs.append(found)
    return outputs


def losses(arrays, batch, noise, blocks, *, size, layers, lambda_kld, encoded=None, fake=None):
    """{"generator": {name: value}, "discriminator": {...}}, and the fake.

    batch: label, image; noise: class_latents, z; encoded: what the encoder gives, where that is known already;
    fake: to judge another picture than the generator's, a constant.
    """
    label, image = batch["label"], batch["image"]
    mean, log_variance, z_mean, z_log_variance, kld = encoded or encoder(arrays, image, label, size)
    latents = mean + np.exp(0.5 * log_variance) * noise["class_latents"]
    z = z_mean + np.exp(0.5 * z_log_variance) * noise["z"]
    if fake is None:
        fake = generator(arrays, blocks, label, latents, z)
    one_hot = np.eye(len(arrays["embedding/weight"]))[label]
    fakes, reals = (discriminator(arrays, np.concatenate([one_hot, x], -1), layers) for x in (fake, image))
    matching = sum(
        np.abs(f - r).mean()
        for of_fake, of_real in zip(fakes, reals, strict=True)
        for f, r in zip(of_fake[:-1], of_real[:-1], strict=True)
    )
    of_generator = {
        "KLD": lambda_kld * kld / len(image),
        "GAN": -np.mean([scale[-1].mean() for scale in fakes]),
        "GAN_Feat": 10 * matching / 2,
    }
    of_discriminator = {
        "D_Fake": np.mean([np.maximum(0, 1 + scale[-1]).mean() for scale in fakes]),
        "D_real": np.mean([np.maximum(0, 1 - scale[-1]).mean() for scale in reals]),
    }
    return {"generator": of_generator, "discriminator": of_discriminator}, fake
