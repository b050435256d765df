"""A slow, plain SPADE in PyTorch functions, and state dicts for it.

Written from the paper's equations and the specification's layer tables; it shares no code with the
package, whose converted models the tests compare with it. State dicts carry the tensor names of
NVlabs/SPADE. Layouts here are PyTorch's: (N,C,H,W), (O,I,kh,kw).
"""

import re

import numpy as np

HALVED = {"normal": 5, "more": 6, "most": 7}


def _blocks(width, depth):
    names = ["head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3"]
    widths = [16 * width] * 4 + [8 * width, 4 * width, 2 * width, width]
    if depth == "most":
        names, widths = [*names, "up_4"], [*widths, width // 2]
    return list(zip(names, widths[:-1], widths[1:], strict=True))


def _spectral(name, shape, shapes, spectral=True):
    if not spectral:
        shapes[f"{name}.weight"] = shape
        return
    shapes[f"{name}.weight_orig"] = shape
    shapes[f"{name}.weight_u"] = shape[:1]
    shapes[f"{name}.weight_v"] = (int(np.prod(shape[1:])),)


def generator_shapes(width, semantic, depth="normal", norm="spectralspadesyncbatch3x3", vae=None, hidden=128):
    """{tensor name: shape}; vae: (z length, cells of the first features) or None."""
    kernel, shapes = int(re.search(r"\d", norm)[0]), {}
    if vae:
        shapes["fc.weight"], shapes["fc.bias"] = (
            (16 * width * vae[1], vae[0]),
            (16 * width * vae[1],),
        )
    else:
        shapes["fc.weight"], shapes["fc.bias"] = (16 * width, semantic, 3, 3), (16 * width,)
    for block, fin, fout in _blocks(width, depth):
        middle = min(fin, fout)
        convs = {"conv_0": (middle, fin, 3, 3), "conv_1": (fout, middle, 3, 3)}
        norms = {"norm_0": fin, "norm_1": middle}
        if fin != fout:
            convs["conv_s"], norms["norm_s"] = (fout, fin, 1, 1), fin
        for name, shape in convs.items():
            if name != "conv_s":
                shapes[f"{block}.{name}.bias"] = shape[:1]
            _spectral(f"{block}.{name}", shape, shapes, "spectral" in norm)
        for name, channels in norms.items():
            at = f"{block}.{name}"
            if "instance" not in norm:
                shapes[f"{at}.param_free_norm.running_mean"] = (channels,)
                shapes[f"{at}.param_free_norm.running_var"] = (channels,)
                shapes[f"{at}.param_free_norm.num_batches_tracked"] = ()
            shapes[f"{at}.mlp_shared.0.weight"] = (hidden, semantic, kernel, kernel)
            shapes[f"{at}.mlp_shared.0.bias"] = (hidden,)
            for half in ("mlp_gamma", "mlp_beta"):
                shapes[f"{at}.{half}.weight"], shapes[f"{at}.{half}.bias"] = (
                    (channels, hidden, kernel, kernel),
                    (channels,),
                )
    shapes["conv_img.weight"], shapes["conv_img.bias"] = (
        (3, _blocks(width, depth)[-1][2], 3, 3),
        (3,),
    )
    return shapes


def _normed(name, shape, norm, shapes):
    """A wrapped convolution; norm: spectral + none, instance, batch or sync_batch."""
    if norm in ("spectral", "spectralnone"):
        shapes[f"{name}.bias"] = shape[:1]
        return _spectral(name, shape, shapes)
    _spectral(f"{name}.0", shape, shapes)
    if norm != "spectralinstance":
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.1.{part}"] = shape[:1]
        shapes[f"{name}.1.num_batches_tracked"] = ()


def encoder_shapes(width, norm="spectralinstance"):
    """{tensor name: shape} of the encoder for 256x256 photos."""
    widths, shapes = [3, width, 2 * width, 4 * width, 8 * width, 8 * width, 8 * width], {}
    for i in range(6):
        _normed(f"layer{i + 1}", (widths[i + 1], widths[i], 3, 3), norm, shapes)
    for head in ("fc_mu", "fc_var"):
        shapes[f"{head}.weight"], shapes[f"{head}.bias"] = (256, 128 * width), (256,)
    return shapes


def discriminator_shapes(width, channels, scales=2, layers=4, norm="spectralinstance"):
    """{tensor name: shape}; channels: those of label map, edges and photo together."""
    shapes = {}
    for scale in range(scales):
        at, wide = f"discriminator_{scale}", width
        shapes[f"{at}.model0.0.weight"], shapes[f"{at}.model0.0.bias"] = (
            (width, channels, 4, 4),
            (width,),
        )
        for i in range(1, layers):
            narrow, wide = wide, min(2 * wide, 512)
            _normed(f"{at}.model{i}.0", (wide, narrow, 4, 4), norm, shapes)
        shapes[f"{at}.model{layers}.0.weight"], shapes[f"{at}.model{layers}.0.bias"] = (
            (1, wide, 4, 4),
            (1,),
        )
    return shapes


def filled(shapes):
    """{tensor name: array}: the fill rule of the golden numbers, a sine of index and name."""
    tensors = {}
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        sine = np.sin(0.7 * (np.arange(size) % 1009) + sum(map(ord, name)) % 97).reshape(shape)
        if name.endswith("num_batches_tracked"):
            sine = np.int64(7)
        elif name.endswith("running_var"):
            sine = 1 + 0.5 * sine
        elif name.endswith(("bias", "running_mean")):
            sine = 0.1 * sine
        elif name.endswith("weight"):
            sine = sine * np.sqrt(2 / (size / shape[0])) * (0.1 if name == "conv_img.weight" else 1)
        tensors[name] = np.asarray(sine, np.int64 if np.ndim(sine) == 0 and not shape else np.float32)
    for name in [name for name in tensors if name.endswith("weight_orig")]:
        matrix = tensors[name].astype(np.float64).reshape(shapes[name][0], -1)
        u = np.ones(len(matrix)) / np.sqrt(len(matrix))
        for _ in range(3):
            v = matrix.T @ u / np.linalg.norm(matrix.T @ u)
            u = matrix @ v / np.linalg.norm(matrix @ v)
        stem = name.removesuffix("orig")
        tensors[f"{stem}u"], tensors[f"{stem}v"] = u.astype(np.float32), v.astype(np.float32)
    return tensors


def semantics(label, instance, classes):
    """(N,C(+1),H,W) one-hot label map, with instance edges last where instance is given."""
    channels = np.stack([label == c for c in range(classes)], 1).astype(np.float32)
    if instance is None:
        return channels
    edge = np.zeros(label.shape, bool)
    height, width = label.shape[1:]
    for y in range(height):
        for x in range(width):
            for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
                if 0 <= y + dy < height and 0 <= x + dx < width:
                    edge[:, y, x] |= instance[:, y, x] != instance[:, y + dy, x + dx]
    return np.concatenate([channels, edge[:, None].astype(np.float32)], 1)


def _weight(tensors, name):
    import torch

    if f"{name}.weight" in tensors:
        return torch.tensor(tensors[f"{name}.weight"])
    kernel, u, v = (torch.tensor(tensors[f"{name}.weight_{part}"]) for part in ("orig", "u", "v"))
    return kernel / (u @ (kernel.reshape(len(u), -1) @ v))


def _conv(tensors, name, x, **arguments):
    import torch
    from torch.nn import functional

    bias = tensors.get(f"{name}.bias")
    bias = None if bias is None else torch.tensor(bias)
    return functional.conv2d(x, _weight(tensors, name), bias, **arguments)


def _standard(tensors, name, x):
    """Parameter-free normalisation: by running statistics where there are any, else per sample."""
    import torch

    if f"{name}.running_mean" in tensors:
        mean, variance = (
            torch.tensor(tensors[f"{name}.running_{part}"])[None, :, None, None] for part in ("mean", "var")
        )
    else:
        mean = x.mean((2, 3), keepdim=True)
        variance = ((x - mean) ** 2).mean((2, 3), keepdim=True)
    x = (x - mean) / torch.sqrt(variance + 1e-5)
    if f"{name}.weight" in tensors:
        scale, shift = (
            torch.tensor(tensors[f"{name}.{part}"])[None, :, None, None] for part in ("weight", "bias")
        )
        x = x * scale + shift
    return x


def _spade(tensors, name, x, seg):
    step = seg.shape[2] // x.shape[2]
    small = seg[:, :, ::step, ::step]
    pad = {"padding": tensors[f"{name}.mlp_shared.0.weight"].shape[-1] // 2}
    hidden = _conv(tensors, f"{name}.mlp_shared.0", small, **pad).clamp(min=0)
    gamma = _conv(tensors, f"{name}.mlp_gamma", hidden, **pad)
    beta = _conv(tensors, f"{name}.mlp_beta", hidden, **pad)
    return _standard(tensors, f"{name}.param_free_norm", x) * (1 + gamma) + beta


def generator(tensors, seg, depth, z=None):
    """Pictures (N,3,H,W); seg: array (N,S,H,W); z: array (N,Z) or None."""
    import torch
    from torch.nn.functional import interpolate, leaky_relu

    seg = torch.tensor(seg)
    step = 2 ** HALVED[depth]
    if z is None:
        x = _conv(tensors, "fc", seg[:, :, ::step, ::step], padding=1)
    else:
        x = torch.tensor(z) @ torch.tensor(tensors["fc.weight"]).T + torch.tensor(tensors["fc.bias"])
        x = x.reshape(len(z), -1, seg.shape[2] // step, seg.shape[3] // step)
    for block in ("head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3", "up_4"):
        if block == "up_4" and depth != "most":
            continue
        if block != "head_0" and not (block == "G_middle_1" and depth == "normal"):
            x = interpolate(x, scale_factor=2, mode="nearest")
        dx = leaky_relu(_spade(tensors, f"{block}.norm_0", x, seg), 0.2)
        dx = _conv(tensors, f"{block}.conv_0", dx, padding=1)
        dx = leaky_relu(_spade(tensors, f"{block}.norm_1", dx, seg), 0.2)
        dx = _conv(tensors, f"{block}.conv_1", dx, padding=1)
        if f"{block}.norm_s.mlp_gamma.bias" in tensors:
            x = _conv(tensors, f"{block}.conv_s", _spade(tensors, f"{block}.norm_s", x, seg))
        x = x + dx
    return torch.tanh(_conv(tensors, "conv_img", leaky_relu(x, 0.2), padding=1)).numpy()


def _wrapped(tensors, name, x, **arguments):
    from torch.nn.functional import leaky_relu

    if f"{name}.weight_orig" in tensors:  # without norm
        return leaky_relu(_conv(tensors, name, x, **arguments), 0.2)
    return leaky_relu(_standard(tensors, f"{name}.1", _conv(tensors, f"{name}.0", x, **arguments)), 0.2)


def encoder(tensors, image):
    """(mean, log-variance), each (N,256); image: array (N,3,H,W)."""
    import torch
    from torch.nn.functional import interpolate

    x = interpolate(torch.tensor(image), size=(256, 256), mode="bilinear", align_corners=False)
    for i in range(1, 7):
        x = _wrapped(tensors, f"layer{i}", x, stride=2, padding=1)
    x = x.reshape(len(image), -1)
    heads = ("fc_mu", "fc_var")
    return tuple(
        (x @ torch.tensor(tensors[f"{h}.weight"]).T + torch.tensor(tensors[f"{h}.bias"])).numpy()
        for h in heads
    )


def discriminator(tensors, x, scales, layers):
    """Lists of features per scale; x: array (N,S+3,H,W) of label channels, then photo."""
    import torch
    from torch.nn.functional import avg_pool2d, leaky_relu

    x, outputs = torch.tensor(x), []
    for scale in range(scales):
        if scale:
            x = avg_pool2d(x, 3, 2, 1, count_include_pad=False)
        at = f"discriminator_{scale}"
        features = [leaky_relu(_conv(tensors, f"{at}.model0.0", x, stride=2, padding=2), 0.2)]
        for i in range(1, layers):
            stride = 1 if i == layers - 1 else 2
            features.append(_wrapped(tensors, f"{at}.model{i}.0", features[-1], stride=stride, padding=2))
        features.append(_conv(tensors, f"{at}.model{layers}.0", features[-1], padding=2))
        outputs.append([feature.numpy() for feature in features])
    return outputs
