"""State dicts of the original INADE and their formula weights (spec of INADE, sections 13 and 14)."""

import numpy as np

BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "weight_u", "weight_v")


def filled(shapes):
    """{tensor name: float32 array}: the fill rule, a sine of index and place in the state dict."""
    found = {}
    for k, (name, shape) in enumerate(shapes.items()):
        size = int(np.prod(shape))
        wave = np.sin(0.37 * np.arange(size) + k)
        kind = name.split(".")[-1]
        if kind in ("weight_u", "weight_v"):
            values = np.full(size, 1 / np.sqrt(size))
        elif kind == "weight_orig":
            values = 0.1 * (1 + 0.5 * wave)
        elif kind == "running_var":
            values = 1 + 0.5 * wave
        elif kind == "num_batches_tracked":
            values = np.zeros(1)
        else:
            values = 0.1 * wave
        found[name] = values.reshape(shape).astype(np.float32)
    return found


def _convolution(name, out, into, size, bias):
    found = {f"{name}.bias": (out,)} if bias else {}
    rows = into * size * size
    return found | {
        f"{name}.weight_orig": (out, into, size, size),
        f"{name}.weight_u": (out,),
        f"{name}.weight_v": (rows,),
    }


def _norm(name, channels, classes, noise):
    statistics = f"{name}.param_free_norm"
    return {
        f"{name}.weight": (classes, channels, 2),
        f"{name}.bias": (classes, channels, 2),
        f"{statistics}.running_mean": (channels,),
        f"{statistics}.running_var": (channels,),
        f"{statistics}.num_batches_tracked": (),
        f"{name}.fc_noise.weight": (channels, noise),
        f"{name}.fc_noise.bias": (channels,),
    }


def generator_shapes(filters, classes, noise, z, cells):
    """{tensor name: shape} of an INADE generator of normal depth, in the state dict's order."""
    widths = [16, 16, 16, 16, 8, 4, 2, 1]
    names = ["head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3"]
    size = 16 * filters * cells
    found = {"fc.weight": (size, z), "fc.bias": (size,)}
    for name, into, out in zip(names, widths, widths[1:], strict=False):
        into, out = into * filters, out * filters
        found |= _convolution(f"{name}.conv_0", min(into, out), into, 3, True)
        found |= _convolution(f"{name}.conv_1", out, min(into, out), 3, True)
        if into != out:
            found |= _convolution(f"{name}.conv_s", out, into, 1, False)
        found |= _norm(f"{name}.norm_0", into, classes, noise)
        found |= _norm(f"{name}.norm_1", min(into, out), classes, noise)
        if into != out:
            found |= _norm(f"{name}.norm_s", into, classes, noise)
    return found | {"conv_img.weight": (3, filters, 3, 3), "conv_img.bias": (3,)}


def encoder_shapes(f, noise):
    """{tensor name: shape} of the instance encoder."""
    convolutions = {
        "layer1": (f, 3),
        "layer2": (2 * f, f),
        "layer3": (4 * f, 2 * f),
        "layer4": (8 * f, 4 * f),
        "middle": (4 * f, 8 * f),
        "up1": (2 * f, 8 * f),
        "up2": (f, 4 * f),
        "up3": (f, 2 * f),
        "scale_conv_mu": (noise, f),
        "scale_conv_var": (noise, f),
        "bias_conv_mu": (noise, f),
        "bias_conv_var": (noise, f),
    }
    found = {}
    for name, (out, into) in convolutions.items():
        found |= {f"{name}.weight": (out, into, 3, 3), f"{name}.bias": (out,)}
    return found


# Section 14, test 2: s_mu, s_logvar, b_mu, b_logvar, one row per id.
ENCODED = (
    ((-0.1225391, -0.1355560), (-0.1667487, -0.1934375), (-0.1436160, -0.1709138), (-0.2316773, -0.2268345)),
    ((0.0037541, 0.0649197), (-0.0119236, 0.0916670), (-0.0140357, 0.0733798), (0.0336327, 0.1594821)),
    ((0.1194146, 0.0815238), (0.1766726, 0.1171436), (0.1552978, 0.1098403), (0.2036850, 0.0940986)),
    ((-0.1031421, -0.1327714), (-0.1351199, -0.1891648), (-0.1152177, -0.1647991), (-0.2031584, -0.2377997)),
)
