"""A slow, plain SCGAN in PyTorch functions, and state dicts for it.

Written from the specification; it shares no code with the package, whose converted models the tests compare with it.
Layouts here are PyTorch's: (N,C,H,W), (O,I,kh,kw). Tensors are in a dict under the names of the original.
"""

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool1d, avg_pool2d, conv2d, interpolate, leaky_relu

BLOCKS = ("head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3", "up_4")
HALVED = {"normal": 5, "more": 6, "most": 7}
BUFFERS = ("_u", "_v", "running_mean", "running_var")
VECTORS = "pyramid_spaital_routing"


def _conv(shapes, name, out, into, size, spectral=True, bias=True):
    shapes[f"{name}.weight_orig" if spectral else f"{name}.weight"] = (out, into, size, size)
    if spectral:
        shapes[f"{name}.weight_u"], shapes[f"{name}.weight_v"] = (out,), (into * size * size,)
    if bias:
        shapes[f"{name}.bias"] = (out,)


def generator_shapes(
    width, routing, entry, semantic, depth, experts, spectral_routing=True, vae=None, hidden=128
):
    """{tensor name: shape}; experts: (of convolutions, of norms); vae: (z length, cells) or None."""
    shapes, below = {}, 0
    if vae:
        shapes["fc.weight"], shapes["fc.bias"] = (16 * entry * vae[1], vae[0]), (16 * entry * vae[1],)
    else:
        _conv(shapes, "fc", 16 * entry, semantic, 3, spectral=False)
    for k in range(1, HALVED[depth] + 2):
        channels, first = routing * max(16 // 2 ** (k - 1), 1), int(k > 1)
        at = f"{VECTORS}.labelDec{k}"
        _conv(shapes, f"{at}.{first}", channels, below + semantic, 3, spectral_routing)
        _conv(shapes, f"{at}.{first + 2}", channels, channels, 3, spectral_routing)
        below = channels
    _conv(shapes, f"{VECTORS}.toRGB.0", routing // 2, routing, 3, spectral=False)
    _conv(shapes, f"{VECTORS}.toRGB.2", 3, routing // 2, 3, spectral=False)
    widths = [16 * entry] + [16 * width] * 3 + [8 * width, 4 * width, 2 * width, width]
    widths += [width // 2] if depth == "most" else []
    for block, into, out in zip(BLOCKS, widths, widths[1:], strict=False):
        middle = min(into, out)
        for e in range(experts[0]):
            _conv(shapes, f"{block}.conv_0.conv_bases.{e}", middle, into, 3, bias=False)
            _conv(shapes, f"{block}.conv_1.conv_bases.{e}", out, middle, 3, bias=False)
        norms = {"norm_0": into, "norm_1": middle}
        for norm, channels in norms.items():
            shapes[f"{block}.{norm}.affine_params_groups"] = (experts[1], 2 * channels)
        if into != out:
            norms["norm_s"] = into
            _conv(shapes, f"{block}.conv_s", out, into, 3)
            _conv(shapes, f"{block}.norm_s.mlp_shared.0", hidden, semantic, 3, spectral=False)
            _conv(shapes, f"{block}.norm_s.mlp_gamma", into, hidden, 3, spectral=False)
            _conv(shapes, f"{block}.norm_s.mlp_beta", into, hidden, 3, spectral=False)
        for norm, channels in norms.items():
            shapes[f"{block}.{norm}.param_free_norm.running_mean"] = (channels,)
            shapes[f"{block}.{norm}.param_free_norm.running_var"] = (channels,)
            shapes[f"{block}.{norm}.param_free_norm.num_batches_tracked"] = ()
    _conv(shapes, "conv_img", 3, widths[-1], 3, spectral=False)
    return shapes


def pyramid_shapes(width, semantic):
    """{tensor name: shape} of the fpse discriminator."""
    shapes, widths = {}, [3, width, 2 * width, 4 * width, 8 * width, 8 * width]
    for i in range(1, 6):
        _conv(shapes, f"enc{i}.0.0", widths[i], widths[i - 1], 3, bias=False)
    for i in range(2, 6):
        _conv(shapes, f"lat{i}.0.0", 4 * width, widths[i], 1, bias=False)
    for i in range(2, 5):
        _conv(shapes, f"final{i}.0.0", 2 * width, 4 * width, 3, bias=False)
    for name, out, into in (
        ("tf", 1, 2 * width),
        ("seg", 2 * width, 2 * width),
        ("embedding", 2 * width, semantic),
    ):
        _conv(shapes, name, out, into, 1, spectral=False)
    return shapes


def random_tensors(shapes, seed=0):
    """{tensor name: array}, lively enough that every part matters."""
    rng, found = np.random.default_rng(seed), {}
    for name, shape in shapes.items():
        array = rng.standard_normal(shape)
        if len(shape) > 1 and "affine" not in name:
            array *= np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith("running_var"):
            array = 0.8 + 0.3 * np.abs(array)
        elif name.endswith(("_u", "_v")):
            array /= np.linalg.norm(array)
        else:
            array = array * 0.3
        found[name] = np.int64(7) if name.endswith("num_batches_tracked") else np.asarray(array, np.float32)
    for name in [name for name in found if name.endswith("weight_orig")]:  # near convergence, but not there
        stem, matrix = name.removesuffix("orig"), found[name].reshape(len(found[name]), -1)
        for _ in range(2):
            v = matrix.T @ found[f"{stem}u"]
            u = matrix @ (v / np.linalg.norm(v))
            found[f"{stem}v"], found[f"{stem}u"] = v / np.linalg.norm(v), u / np.linalg.norm(u)
    return found


class Network:
    """Tensors of one file in float64; those that are trained take gradients."""

    def __init__(self, arrays, training):
        self.training = training
        self.tensors = {name: torch.tensor(np.asarray(array, np.float64)) for name, array in arrays.items()}
        self.trained = [n for n in arrays if not n.endswith((*BUFFERS, "num_batches_tracked"))]
        for name in self.trained:
            self.tensors[name].requires_grad_(training)

    def weight(self, name):
        """The kernel; under spectral norm after one power iteration in training."""
        if f"{name}.weight" in self.tensors:
            return self.tensors[f"{name}.weight"]
        kernel, u, v = (self.tensors[f"{name}.weight_{part}"] for part in ("orig", "u", "v"))
        matrix = kernel.reshape(len(u), -1)
        if self.training:
            with torch.no_grad():
                v = torch.nn.functional.normalize(matrix.T @ u, dim=0)
                u = torch.nn.functional.normalize(matrix @ v, dim=0)
        return kernel / (u @ (matrix @ v))

    def conv(self, name, x, **arguments):
        return conv2d(x, self.weight(name), self.tensors.get(f"{name}.bias"), **arguments)

    def batch_norm(self, name, x):
        mean, variance = (self.tensors[f"{name}.running_{part}"] for part in ("mean", "var"))
        if self.training:
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        return (x - mean[:, None, None]) / torch.sqrt(variance[:, None, None] + 1e-5)


def gaussian(x, blur):
    """The iterative Gaussian, as a depthwise convolution; blur: dict of size, sigma, iterations, relative."""
    size = blur["size"]
    place = torch.arange(size, dtype=x.dtype) - size // 2
    window = torch.exp(-(place[:, None] ** 2 + place[None] ** 2) / (2 * blur["sigma"] ** 2))
    window = window.expand(x.shape[1], 1, size, size)
    mask = before = x
    for _ in range(blur["iterations"]):
        before, x = x, conv2d(x, window, padding=size // 2, groups=x.shape[1]) * mask
    return x / (before + 1e-8) if blur["relative"] else x


def label_levels(seg, count, edges, blur):
    """[m_0 ... m_(count-1)], coarsest first."""
    m = [None] * count
    if blur["kind"] == "pyramid":
        m[-1] = seg
        for i in range(count - 2, -1, -1):
            m[i] = m[i + 1][:, :, ::2, ::2]
            if count - i < blur["levels"]:
                m[i] = gaussian(m[i], blur)
        m[-1] = gaussian(m[-1], blur)
        return m
    classes = seg.shape[1] - int(edges)
    if blur["kind"] == "full":
        seg = torch.cat([gaussian(seg[:, :classes], blur), seg[:, classes:]], 1)
    m[-1] = seg
    for i in range(count - 2, -1, -1):
        m[i] = interpolate(m[i + 1], scale_factor=0.5, mode="bilinear", align_corners=False)
    return m


def semantic_vectors(net, m):
    """([x_1 ... x_L], auxiliary picture)."""
    x, found = None, []
    for k, level in enumerate(m, 1):
        first, at = int(k > 1), f"{VECTORS}.labelDec{k}"
        if x is None:
            x = net.conv(f"{at}.{first}", level, padding=1)
        else:
            x = leaky_relu(torch.cat([interpolate(x, scale_factor=2, mode="nearest"), level], 1), 0.2)
            x = net.conv(f"{at}.{first}", x, padding=1)
        x = net.conv(f"{at}.{first + 2}", leaky_relu(x, 0.2), padding=1)
        found.append(x)
    picture = net.conv(
        f"{VECTORS}.toRGB.2", leaky_relu(net.conv(f"{VECTORS}.toRGB.0", x, padding=1), 0.2), padding=1
    )
    return found, picture.clamp(-1, 1)


def gates(x, experts, kind, temperature, detach=False):
    """(N,E,h,w): act(temperature * adaptive average pool over channels)."""
    batch, channels, height, width = x.shape
    pooled = adaptive_avg_pool1d(x.permute(0, 2, 3, 1).reshape(1, -1, channels), experts)
    logits = pooled.reshape(batch, height, width, experts).permute(0, 3, 1, 2)
    logits = (logits.detach() if detach else logits) * temperature
    return {
        "softmax": lambda r: r.softmax(1),
        "sigmoid": torch.sigmoid,
        "hardtanh": lambda r: r.clamp(-1, 1),
        "none": lambda r: r,
    }[kind](logits)


def _composed_conv(net, name, x, r):
    return sum(net.conv(f"{name}.conv_bases.{e}", x, padding=1) * r[:, e : e + 1] for e in range(r.shape[1]))


def _composed_norm(net, name, x, r):
    values = torch.einsum("nehw,ef->nfhw", r, net.tensors[f"{name}.affine_params_groups"])
    gamma, beta = values.chunk(2, 1)
    return net.batch_norm(f"{name}.param_free_norm", x) * (1 + gamma) + beta


def _spade(net, name, x, seg):
    step = seg.shape[2] // x.shape[2]
    hidden = net.conv(f"{name}.mlp_shared.0", seg[:, :, ::step, ::step], padding=1).relu()
    gamma, beta = (net.conv(f"{name}.mlp_{half}", hidden, padding=1) for half in ("gamma", "beta"))
    return net.batch_norm(f"{name}.param_free_norm", x) * (1 + gamma) + beta


def generator(net, seg, depth, experts, gate, edges, blur, z=None):
    """(pictures, auxiliary pictures), each (N,3,H,W); gate: arguments of `gates` but the first two."""
    count = HALVED[depth] + 1
    vectors, picture = semantic_vectors(net, label_levels(seg, count, edges, blur))
    step = 2 ** HALVED[depth]
    if z is None:
        x = net.conv("fc", seg[:, :, ::step, ::step], padding=1)
    else:
        x = z @ net.tensors["fc.weight"].T + net.tensors["fc.bias"]
        x = x.reshape(len(z), -1, seg.shape[2] // step, seg.shape[3] // step)
    level = 0
    for block in BLOCKS[: 8 if depth == "most" else 7]:
        if block != "head_0" and not (block == "G_middle_1" and depth == "normal"):
            x, level = interpolate(x, scale_factor=2, mode="nearest"), level + 1
        rc = gates(vectors[level], experts[0], **gate)
        rn = gates(vectors[level], experts[1], **{**gate, "detach": False})
        d = _composed_conv(
            net, f"{block}.conv_0", leaky_relu(_composed_norm(net, f"{block}.norm_0", x, rn), 0.2), rc
        )
        d = _composed_conv(
            net, f"{block}.conv_1", leaky_relu(_composed_norm(net, f"{block}.norm_1", d, rn), 0.2), rc
        )
        if f"{block}.conv_s.bias" in net.tensors:
            x = net.conv(f"{block}.conv_s", _spade(net, f"{block}.norm_s", x, seg), padding=1)
        x = x + d
    return net.conv("conv_img", leaky_relu(x, 0.2), padding=1).clamp(-1, 1), picture


def _normed(net, name, x, **arguments):
    x = net.conv(f"{name}.0.0", x, **arguments)
    mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, unbiased=False)
    return leaky_relu((x - mean) / torch.sqrt(variance + 1e-5), 0.2)


def pyramid(net, seg, images):
    """([e2 ... e5], [judgements at strides 4, 8, 16])."""
    e, x = {}, images
    for i in range(1, 6):
        x = e[i] = _normed(net, f"enc{i}", x, stride=2, padding=1)
    p = {5: _normed(net, "lat5", e[5])}
    for i in (4, 3, 2):
        up = interpolate(p[i + 1], scale_factor=2, mode="bilinear", align_corners=False)
        p[i] = up + _normed(net, f"lat{i}", e[i])
    g = avg_pool2d(avg_pool2d(net.conv("embedding", seg), 2), 2)
    found = []
    for i in (2, 3, 4):
        f = _normed(net, f"final{i}", p[i], padding=1)
        found.append(net.conv("tf", f) + (g * net.conv("seg", f)).sum(1, keepdim=True))
        g = avg_pool2d(g, 2)
    return [e[i] for i in (2, 3, 4, 5)], found


def losses(fakes, reals, picture, real):
    """({generator term: scalar}, {discriminator term: scalar}) with the published weights; without VGG19."""
    matching = sum((f - r.detach()).abs().mean() for f, r in zip(fakes[0], reals[0], strict=True)) / 4
    generator = {
        "GAN": -sum(j.mean() for j in fakes[1]) / 3,
        "GAN_Feat": 10 * matching,
        "W_Recon": 2 * (picture - real).abs().mean(),
    }
    discriminator = {
        "D_Fake": sum((1 + j).clamp(min=0).mean() for j in fakes[1]) / 3,
        "D_real": sum((1 - j).clamp(min=0).mean() for j in reals[1]) / 3,
    }
    return generator, discriminator
