"""CLADE's original tensors (spec of INADE, section 12) find their places; the options show in their shapes."""

import numpy as np
import pytest
import reference_inade as reference

from semantic_synthesis import runs
from semantic_synthesis.config import Config
from semantic_synthesis.convert import ConvertOptions, convert

torch = pytest.importorskip("torch", reason="writing .pth files needs PyTorch")


def norm_shapes(name, channels, classes, edges, positions):
    affine = f"{name}.class_specified_affine"
    found = {f"{affine}.weight": (classes, channels), f"{affine}.bias": (classes, channels)}
    for part in ("dist_conv_w", "dist_conv_b") if positions else ():
        found |= {f"{affine}.{part}.weight": (1, 2, 1, 1), f"{affine}.{part}.bias": (1,)}
    if edges:
        found |= {f"{name}.inst_conv.weight": (1, 1, 1, 1), f"{name}.inst_conv.bias": (1,)}
    statistics = f"{name}.param_free_norm"
    return found | {
        f"{statistics}.running_mean": (channels,),
        f"{statistics}.running_var": (channels,),
        f"{statistics}.num_batches_tracked": (),
    }


def shapes(filters, classes, edges, positions):
    """A CLADE generator of normal depth without encoder; with edges every convolution has one more input."""
    plain = reference.generator_shapes(filters, classes, 1, 1, cells=1)
    found = {"fc.weight": (16 * filters, classes + edges, 3, 3), "fc.bias": (16 * filters,)}
    for name, shape in plain.items():
        if ".norm_" in name:
            if name.endswith("running_mean"):
                norm = name.removesuffix(".param_free_norm.running_mean")
                found |= norm_shapes(norm, shape[0], classes, edges, positions)
        elif name.endswith("weight_orig"):
            found[name] = (shape[0], shape[1] + edges, *shape[2:])
        elif name.endswith("weight_v"):
            kernel = 1 if "conv_s" in name else 9
            found[name] = (shape[0] + edges * kernel,)
        elif not name.startswith("fc."):
            found[name] = shape
    return found


@pytest.mark.parametrize("edges", [0, 1])
@pytest.mark.parametrize("positions", [False, True])
def test_convert(edges, positions, tmp_path):
    tensors = reference.filled(shapes(2, 5, edges, positions))
    path = tmp_path / "best_net_G.pth"
    torch.save({name: torch.tensor(array) for name, array in tensors.items()}, path)
    run_dir = tmp_path / "run"
    options = ConvertOptions(
        method="clade",
        source=str(path),
        checkpoint_dir=str(run_dir),
        crop_size=64,
        aspect_ratio=1.0,
        num_upsampling_layers="normal",
    )
    convert(options)
    config = Config.load(run_dir)
    assert (config.num_classes, config.no_instance, config.class_positions) == (5, not edges, positions)
    arrays = dict(np.load(run_dir / "weights.npz"))
    at, affine = "generator/up_2/norm_s", "up_2.norm_s.class_specified_affine"
    np.testing.assert_array_equal(arrays[f"{at}/scale"], tensors[f"{affine}.weight"])
    np.testing.assert_array_equal(arrays[f"{at}/shift"], tensors[f"{affine}.bias"])
    if edges:
        np.testing.assert_array_equal(
            arrays[f"{at}/edge_kernel"], tensors["up_2.norm_s.inst_conv.weight"].ravel()
        )
        np.testing.assert_array_equal(arrays[f"{at}/edge_bias"], tensors["up_2.norm_s.inst_conv.bias"])
    if positions:
        for part, letter in (("scale", "w"), ("shift", "b")):
            theirs = f"{affine}.dist_conv_{letter}"
            np.testing.assert_array_equal(
                arrays[f"{at}/{part}_position_kernel"], tensors[f"{theirs}.weight"].ravel()
            )
            np.testing.assert_array_equal(arrays[f"{at}/{part}_position_bias"], tensors[f"{theirs}.bias"])
    _, model = runs.open_run(str(run_dir))
    label = np.arange(64 * 64).reshape(1, 64, 64) // 900
    layout = {"label": label.astype(np.int32), "instance": label.astype(np.int32)}
    picture = model.synthesize(layout, {}).numpy()
    assert np.isfinite(picture).all() and picture.std() > 1e-4
