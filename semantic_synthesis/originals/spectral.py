"""Completes the spectral norms of files from PyTorch before 1.0.1, and renames those of its younger form."""

from collections.abc import Mapping

import numpy as np

_YOUNGER = {
    ".parametrizations.weight.original": ".weight_orig",
    ".parametrizations.weight.0._u": ".weight_u",
    ".parametrizations.weight.0._v": ".weight_v",
}


def complete_spectral_norms(
    tensors: Mapping[str, np.ndarray], path: str
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """State dict with weight_orig, weight_u and weight_v for every spectral norm.

    The form of torch.nn.utils.parametrizations has the same tensors under other names.
    Old files also hold `weight` = weight_orig / sigma and lack weight_v; v is then the shortest
    vector with W v = u, scaled to u . W v = sigma. Returns (tensors, {dropped tensor: reason}).
    Errors: ValueError where neither weight_v nor weight tells sigma.
    """
    tensors = {_older_name(name): tensor for name, tensor in tensors.items()}
    completed, dropped = dict(tensors), {}
    for name in tensors:
        if not name.endswith(".weight_orig"):
            continue
        stem = name.removesuffix("_orig")
        divided = completed.pop(stem, None)
        if divided is not None:
            dropped[stem] = "weight_orig / sigma, computed anew from weight_orig, weight_u and weight_v"
        if f"{stem}_v" in tensors:
            continue
        if divided is None or f"{stem}_u" not in tensors:
            raise ValueError(
                f"{path}: {name} has neither {stem}_v nor {stem} and {stem}_u; its spectral norm is unknown"
            )
        completed[f"{stem}_v"] = _right_vector(tensors[name], divided, tensors[f"{stem}_u"])
    return completed, dropped


def _older_name(name):
    for younger, older in _YOUNGER.items():
        if name.endswith(younger):
            return name.removesuffix(younger) + older
    return name


def _right_vector(kernel, divided, u):
    """float32 [I*kh*kw]: v = W^+ u, scaled so that u . W v = mean(kernel / divided)."""
    kernel, divided, u = (np.asarray(array, np.float64) for array in (kernel, divided, u))
    weighty = np.abs(divided) > 0.01 * np.abs(divided).max()  # ratios of tiny numbers are rounding noise
    sigma = np.mean(kernel[weighty] / divided[weighty])
    matrix = kernel.reshape(len(u), -1)  # [O,I*kh*kw]
    if matrix.shape[0] <= matrix.shape[1]:
        v = matrix.T @ (np.linalg.pinv(matrix @ matrix.T, hermitian=True) @ u)
    else:
        v = np.linalg.pinv(matrix.T @ matrix, hermitian=True) @ (matrix.T @ u)
    return np.float32(v * (sigma / (u @ (matrix @ v))))
