"""A stand-in for torchvision, for tests against pytorch-fid and lpips where it is not installed.

Both packages need of torchvision: the building blocks of inception_v3, the convolutions of vgg16 and alexnet
(published architectures, names as torchvision's), and ToTensor. Random weights only.
"""

import importlib.util
import sys
import types

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def install():
    """Makes `import torchvision` work; the real one is left alone where it is installed."""
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is not None:
        return
    torchvision, models, inception, transforms = (
        types.ModuleType(name)
        for name in (
            "torchvision",
            "torchvision.models",
            "torchvision.models.inception",
            "torchvision.transforms",
        )
    )
    torchvision.__version__ = "0.20"
    for block in (InceptionA, InceptionC, InceptionE):
        setattr(inception, block.__name__, block)
    models.inception, models.inception_v3 = inception, lambda **_: InceptionV3()
    models.vgg16 = lambda pretrained=False: types.SimpleNamespace(features=vgg16_features())
    models.alexnet = lambda pretrained=False: types.SimpleNamespace(features=alexnet_features())
    transforms.ToTensor = lambda: to_tensor
    torchvision.models, torchvision.transforms = models, transforms
    for module in (torchvision, models, inception, transforms):
        sys.modules[module.__name__] = module


def to_tensor(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


class Conv(nn.Module):
    """Convolution, batch norm (epsilon 0.001), ReLU."""

    def __init__(self, narrow, wide, size, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(narrow, wide, size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(wide, eps=0.001)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class InceptionA(nn.Module):
    def __init__(self, narrow, pool_features):
        super().__init__()
        self.branch1x1 = Conv(narrow, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = Conv(narrow, 48, 1), Conv(48, 64, 5, padding=2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(narrow, 64, 1), Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, padding=1)
        self.branch_pool = Conv(narrow, pool_features, 1)


class InceptionB(nn.Module):
    def __init__(self):
        super().__init__()
        self.branch3x3 = Conv(288, 384, 3, 2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(288, 64, 1), Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, 2)

    def forward(self, x):
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, 2)], 1)


class InceptionC(nn.Module):
    def __init__(self, narrow, channels_7x7):
        super().__init__()
        c, row, column = channels_7x7, {"padding": (0, 3)}, {"padding": (3, 0)}
        self.branch1x1 = Conv(narrow, 192, 1)
        self.branch7x7_1, self.branch7x7_2 = Conv(narrow, c, 1), Conv(c, c, (1, 7), **row)
        self.branch7x7_3 = Conv(c, 192, (7, 1), **column)
        self.branch7x7dbl_1, self.branch7x7dbl_2 = Conv(narrow, c, 1), Conv(c, c, (7, 1), **column)
        self.branch7x7dbl_3, self.branch7x7dbl_4 = Conv(c, c, (1, 7), **row), Conv(c, c, (7, 1), **column)
        self.branch7x7dbl_5 = Conv(c, 192, (1, 7), **row)
        self.branch_pool = Conv(narrow, 192, 1)


class InceptionD(nn.Module):
    def __init__(self):
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = Conv(768, 192, 1), Conv(192, 320, 3, 2)
        self.branch7x7x3_1, self.branch7x7x3_2 = Conv(768, 192, 1), Conv(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Conv(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Conv(192, 192, 3, 2)

    def forward(self, x):
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, F.max_pool2d(x, 3, 2)], 1)


class InceptionE(nn.Module):
    def __init__(self, narrow):
        super().__init__()
        row, column = {"padding": (0, 1)}, {"padding": (1, 0)}
        self.branch1x1, self.branch3x3_1 = Conv(narrow, 320, 1), Conv(narrow, 384, 1)
        self.branch3x3_2a, self.branch3x3_2b = Conv(384, 384, (1, 3), **row), Conv(384, 384, (3, 1), **column)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(narrow, 448, 1), Conv(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Conv(384, 384, (1, 3), **row)
        self.branch3x3dbl_3b = Conv(384, 384, (3, 1), **column)
        self.branch_pool = Conv(narrow, 192, 1)


class InceptionV3(nn.Module):
    """The trunk; pytorch-fid replaces the blocks whose pools differ and adds their forward passes."""

    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3, self.Conv2d_2a_3x3 = Conv(3, 32, 3, 2), Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1, self.Conv2d_4a_3x3 = Conv(64, 80, 1), Conv(80, 192, 3)
        for name in ("5b", "5c", "5d", "6b", "6c", "6d", "6e", "7b", "7c"):
            setattr(self, f"Mixed_{name}", nn.Identity())
        self.Mixed_6a, self.Mixed_7a = InceptionB(), InceptionD()
        self.fc = nn.Linear(2048, 1008)


def _features(widths, size, stride, padding):
    layers, narrow = [], 3
    for width in widths:
        if width is None:
            layers.append(nn.MaxPool2d(size, stride))
        else:
            layers += [nn.Conv2d(narrow, width, 3, padding=padding), nn.ReLU(inplace=True)]
            narrow = width
    return nn.Sequential(*layers)


def vgg16_features():
    m = None
    return _features([64, 64, m, 128, 128, m, 256, 256, 256, m, 512, 512, 512, m, 512, 512, 512, m], 2, 2, 1)


def alexnet_features():
    pool = [nn.MaxPool2d(3, 2) for _ in range(3)]
    convs = [
        nn.Conv2d(3, 64, 11, 4, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.Conv2d(256, 256, 3, padding=1),
    ]
    relu = [nn.ReLU(inplace=True) for _ in range(5)]
    return nn.Sequential(
        convs[0], relu[0], pool[0], convs[1], relu[1], pool[1], convs[2], relu[2], convs[3], relu[3],
        convs[4], relu[4], pool[2],
    )  # fmt: skip
