"""Generators and discriminators as PyTorch modules, whose state dicts are files of the originals.

Written from the specification, beside the functions of the other reference files: modules make a checkpoint and its
pictures at once, for any combination of options. Nothing here is shared with the package.
"""

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

spectral_norm = nn.utils.spectral_norm  # the older form: weight_orig, weight_u, weight_v
DOUBLINGS = {"normal": 5, "more": 6, "most": 7}


def lrelu(x):
    return functional.leaky_relu(x, 0.2)


def double(x):
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def nearest(values, x):
    """values at the size of x, by PyTorch's rule: the top left of each cell."""
    return functional.interpolate(values, size=x.shape[2:], mode="nearest")


def statistics(kind, channels):
    return nn.InstanceNorm2d(channels) if kind == "instance" else nn.BatchNorm2d(channels, affine=False)


class ClassAffine(nn.Module):
    def __init__(self, channels, classes, positions):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, channels))
        self.bias = nn.Parameter(torch.empty(classes, channels))
        if positions:
            self.dist_conv_w, self.dist_conv_b = nn.Conv2d(2, 1, 1), nn.Conv2d(2, 1, 1)

    def forward(self, x, classes, places):
        number = classes.argmax(1)
        scale, shift = (table[number].permute(0, 3, 1, 2) for table in (self.weight, self.bias))
        if hasattr(self, "dist_conv_w"):
            places = nearest(places, x)
            scale, shift = scale * (1 + self.dist_conv_w(places)), shift * (1 + self.dist_conv_b(places))
        return x * scale + shift


class CLADE(nn.Module):
    """condition: seg (N,C(+1),H,W), with edges last; places (N,2,H,W)."""

    def __init__(self, channels, classes, kind, edges, positions):
        super().__init__()
        self.param_free_norm = statistics(kind, channels)
        self.class_specified_affine = ClassAffine(channels, classes, positions)
        self.inst_conv = nn.Conv2d(1, 1, 1) if edges else None

    def forward(self, x, condition):
        seg = nearest(condition["seg"], x)
        classes, edges = (seg, None) if self.inst_conv is None else (seg[:, :-1], seg[:, -1:])
        x = self.class_specified_affine(self.param_free_norm(x), classes, condition["places"])
        return x if edges is None else torch.cat([x, self.inst_conv(edges)], 1)


class INADE(nn.Module):
    """condition: seg (N,C+1,H,W); instances one-hot (N,I,H,W); noise (N,I,2,Z)."""

    def __init__(self, channels, classes, noise, kind):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, channels, 2))
        self.bias = nn.Parameter(torch.empty(classes, channels, 2))
        self.param_free_norm, self.fc_noise = statistics(kind, channels), nn.Linear(noise, channels)

    def forward(self, x, condition):
        seg, instances = nearest(condition["seg"], x)[:, :-1], nearest(condition["instances"], x)
        noise = self.fc_noise(condition["noise"])
        scale, shift = (
            torch.einsum("nkhw,kc->nchw", seg, self.weight[:, :, i])
            * torch.einsum("nihw,nic->nchw", instances, noise[:, :, i])
            + torch.einsum("nkhw,kc->nchw", seg, self.bias[:, :, i])
            for i in range(2)
        )
        return scale * self.param_free_norm(x) + shift


class SPADE(nn.Module):
    """OASIS' label norm; condition: seg (N,Z+C,H,W)."""

    def __init__(self, channels, inputs, kind, size, hidden=8):
        super().__init__()
        self.first_norm = statistics(kind, channels)
        pad = {"padding": size // 2}
        self.mlp_shared = nn.Sequential(nn.Conv2d(inputs, hidden, size, **pad), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(hidden, channels, size, **pad)
        self.mlp_beta = nn.Conv2d(hidden, channels, size, **pad)

    def forward(self, x, condition):
        hidden = self.mlp_shared(nearest(condition["seg"], x))
        return self.first_norm(x) * (1 + self.mlp_gamma(hidden)) + self.mlp_beta(hidden)


class Block(nn.Module):
    """extra: channels that the norms add."""

    def __init__(self, into, out, norm, extra=0, wrap=spectral_norm):
        super().__init__()
        middle = min(into, out)
        self.conv_0 = wrap(nn.Conv2d(into + extra, middle, 3, padding=1))
        self.conv_1 = wrap(nn.Conv2d(middle + extra, out, 3, padding=1))
        self.norm_0, self.norm_1, self.learned = norm(into), norm(middle), into != out
        if self.learned:
            self.conv_s, self.norm_s = wrap(nn.Conv2d(into + extra, out, 1, bias=False)), norm(into)

    def forward(self, x, condition):
        shortcut = self.conv_s(self.norm_s(x, condition)) if self.learned else x
        x = self.conv_0(lrelu(self.norm_0(x, condition)))
        return shortcut + self.conv_1(lrelu(self.norm_1(x, condition)))


class Generator(nn.Module):
    """SPADE's backbone: blocks by name, `fc` a convolution of seg or with z_dim a matrix."""

    def __init__(self, width, norm, inputs, size, depth, z_dim=None, extra=0):
        super().__init__()
        self.cells, self.depth = [side >> DOUBLINGS[depth] for side in size], depth
        rows = 16 * width * math.prod(self.cells)
        self.fc = nn.Linear(z_dim, rows) if z_dim else nn.Conv2d(inputs, 16 * width, 3, padding=1)
        widths = [16 * width] * 4 + [8 * width, 4 * width, 2 * width, width]
        self.names = ["head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3"]
        if depth == "most":
            self.names, widths = [*self.names, "up_4"], [*widths, width // 2]
        for name, into, out in zip(self.names, widths[:-1], widths[1:], strict=True):
            setattr(self, name, Block(into, out, norm, extra))
        self.conv_img = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, condition, z=None):
        if z is None:
            x = self.fc(functional.interpolate(condition["seg"], size=self.cells, mode="nearest"))
        else:
            x = self.fc(z).reshape(len(z), -1, *self.cells)
        for name in self.names:
            if name != "head_0" and not (name == "G_middle_1" and self.depth == "normal"):
                x = double(x)
            x = getattr(self, name)(x, condition)
        return torch.tanh(self.conv_img(lrelu(x)))


class OASIS(nn.Module):
    def __init__(self, width, inputs, size, kind="syncbatch", kernel=3, spectral=True):
        super().__init__()
        self.cells = [side // 32 for side in size]
        self.fc = nn.Conv2d(inputs, 16 * width, 3, padding=1)
        widths = [width * n for n in (16, 16, 16, 8, 4, 2, 1)]
        wrap = {} if spectral else {"wrap": lambda module: module}
        self.body = nn.ModuleList(
            Block(into, out, lambda channels: SPADE(channels, inputs, kind, kernel), **wrap)
            for into, out in pairwise(widths)
        )
        self.conv_img = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, seg):
        x = self.fc(functional.interpolate(seg, size=self.cells, mode="nearest"))
        for number, block in enumerate(self.body):
            x = block(double(x) if number else x, {"seg": seg})
        return torch.tanh(self.conv_img(lrelu(x)))


def normed(conv, norm):
    """norm_D of the originals: spectral, then none, instance, batch or sync_batch."""
    kind = norm.removeprefix("spectral")
    if kind in ("", "none"):
        return spectral_norm(conv)
    conv.bias = None
    out = len(conv.weight)
    return nn.Sequential(
        spectral_norm(conv), nn.InstanceNorm2d(out) if kind == "instance" else nn.BatchNorm2d(out)
    )


class Pyramid(nn.Module):
    """SCGAN's fpse: (features e2 ... e5, judgements at strides 4, 8, 16) of images and seg."""

    def __init__(self, width, inputs, norm):
        super().__init__()
        widths = [3, width, 2 * width, 4 * width, 8 * width, 8 * width]
        for i in range(1, 6):
            self._add(f"enc{i}", norm, widths[i - 1], widths[i], 3, stride=2)
        for i in range(2, 6):
            self._add(f"lat{i}", norm, widths[i], 4 * width, 1)
        for i in range(2, 5):
            self._add(f"final{i}", norm, 4 * width, 2 * width, 3)
        self.tf, self.seg = nn.Conv2d(2 * width, 1, 1), nn.Conv2d(2 * width, 2 * width, 1)
        self.embedding = nn.Conv2d(inputs, 2 * width, 1)

    def _add(self, name, norm, into, out, size, **options):
        conv = nn.Conv2d(into, out, size, padding=size // 2, **options)
        setattr(self, name, nn.Sequential(normed(conv, norm), nn.LeakyReLU(0.2)))

    def forward(self, images, seg):
        e, x = {}, images
        for i in range(1, 6):
            x = e[i] = getattr(self, f"enc{i}")(x)
        p = {5: self.lat5(e[5])}
        for i in (4, 3, 2):
            above = functional.interpolate(p[i + 1], scale_factor=2, mode="bilinear", align_corners=False)
            p[i] = above + getattr(self, f"lat{i}")(e[i])
        pooled, found = functional.avg_pool2d(self.embedding(seg), 4), []
        for i in (2, 3, 4):
            f = getattr(self, f"final{i}")(p[i])
            found.append(self.tf(f) + (pooled * self.seg(f)).sum(1, keepdim=True))
            pooled = functional.avg_pool2d(pooled, 2)
        return [e[i] for i in (2, 3, 4, 5)], found


@torch.no_grad()
def filled(module, seed=0):
    """The module with random values for inference; power iterations near convergence, but not there."""
    random = torch.Generator().manual_seed(seed)
    for name, values in [*module.named_parameters(), *module.named_buffers()]:
        if name.endswith("num_batches_tracked"):
            continue
        noise = torch.randn(values.shape, generator=random)
        if name.endswith("running_var"):
            noise = 0.6 + 0.5 * noise.abs()
        elif name.endswith(("weight_u", "weight_v")):
            noise /= noise.norm()
        elif name.endswith(("bias", "running_mean")):
            noise *= 0.2
        elif "affine" in name or values.ndim == 3 or values.ndim == 1:  # scales of classes, and of norms
            noise = 0.7 + 0.4 * noise
        else:
            noise *= 0.8 * math.sqrt(2 / values[0].numel()) * (0.5 if "conv_img" in name else 1)
        values.copy_(noise)
    for one in module.modules():
        if hasattr(one, "weight_orig"):
            matrix = one.weight_orig.flatten(1)
            for _ in range(2):
                v = functional.normalize(matrix.T @ one.weight_u, dim=0)
                one.weight_u.copy_(functional.normalize(matrix @ v, dim=0))
                one.weight_v.copy_(v)
    return module.eval()
