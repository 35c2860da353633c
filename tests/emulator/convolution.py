"""Convolution and its two gradients by their definition, as cuDNN states it, and what it demands of their sizes.

Images and gradients are (N, C, H, W), filters (F, C/G, KH, KW); sums are taken tap by tap, in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

__all__ = ["COMPUTE", "ask", "check"]


def ask(condition: object, why: str, error: type[Exception] = ValueError) -> None:
    """Raise an error that says why, unless a condition holds."""
    if not condition:
        raise error(why)


def check(operation: str, dim: dict[str, list[int]], geometry: dict[str, Any]) -> None:
    """Hold the sizes of an operation's tensors against each other."""
    if operation in ("bias", "relu"):
        ask(dim["result"] == dim["input"], f"{operation} keeps the sizes, got {dim}")
        if operation == "bias":
            ask(dim["bias"] == [1, dim["input"][1], 1, 1], f"a number a filter, got {dim}")
        return
    x = dim["result" if operation == "conv_dgrad" else "image"]
    w = dim[{"conv_fprop": "weight", "conv_dgrad": "filter", "conv_wgrad": "result"}[operation]]
    y = dim["result" if operation == "conv_fprop" else "loss"]
    names = {"pre_padding", "post_padding", "stride", "dilation"}
    ask(set(geometry) == names, f"{names} are all given, got {set(geometry)}")
    ask(all(isinstance(v, list) and len(v) == 2 for v in geometry.values()), f"lists of two, got {geometry}", TypeError)
    ask(x[1] % w[1] == 0 and w[0] % (x[1] // w[1]) == 0, f"groups divide channels and filters, got {x}, {w}")
    for i in range(2):
        before, after, s, d = (geometry[n][i] for n in ("pre_padding", "post_padding", "stride", "dilation"))
        size = (x[2 + i] + before + after - d * (w[2 + i] - 1) - 1) // s + 1
        ask(y[2 + i] == size, f"results have {size} rows or columns, got {y}")
    ask((y[0], y[1]) == (x[0], w[0]), f"results are (N, F, OH, OW), got {y} for {x}, {w}")


def _taps(w: list[int], y: list[int], how: dict[str, Any]) -> Iterator[Any]:
    """Each tap of the filters, with the pixels of a padded image that it touches."""
    (sh, sw), (dh, dw) = how["stride"], how["dilation"]
    for p, q in np.ndindex(w[2], w[3]):
        yield (
            p,
            q,
            (slice(None), slice(None), slice(p * dh, p * dh + sh * y[2], sh), slice(q * dw, q * dw + sw * y[3], sw)),
        )


def _padded(x: np.ndarray, w: list[int], y: list[int], how: dict[str, Any]) -> np.ndarray:
    """The image with its padding, and as much more behind it as the slices of _taps reach."""
    (top, left), (sh, sw), (dh, dw) = how["pre_padding"], how["stride"], how["dilation"]
    high = max(x.shape[2] + 2 * top, (w[2] - 1) * dh + sh * y[2])
    wide = max(x.shape[3] + 2 * left, (w[3] - 1) * dw + sw * y[3])
    padded = np.zeros((*x.shape[:2], high, wide))
    padded[:, :, top : top + x.shape[2], left : left + x.shape[3]] = x
    return padded


def _grouped(array: np.ndarray, axis: int, groups: int) -> list[np.ndarray]:
    return np.split(array, groups, axis=axis)


def _forward(given: dict[str, np.ndarray], dim: list[int], how: dict[str, Any]) -> np.ndarray:
    x, w = given["image"], given["weight"]
    groups = x.shape[1] // w.shape[1]
    parts = []
    for xg, wg in zip(_grouped(_padded(x, list(w.shape), dim, how), 1, groups), _grouped(w, 0, groups), strict=True):
        taps = _taps(list(w.shape), dim, how)
        parts.append(sum(np.einsum("nchw,fc->nfhw", xg[pixels], wg[:, :, p, q]) for p, q, pixels in taps))
    return np.concatenate(parts, axis=1)


def _images(given: dict[str, np.ndarray], dim: list[int], how: dict[str, Any]) -> np.ndarray:
    dy, w = given["loss"], given["filter"]
    groups = dim[1] // w.shape[1]
    whole = _padded(np.zeros(dim), list(w.shape), list(dy.shape), how)
    for dx, dyg, wg in zip(*(_grouped(a, i, groups) for a, i in ((whole, 1), (dy, 1), (w, 0))), strict=True):
        for p, q, pixels in _taps(list(w.shape), list(dy.shape), how):
            dx[pixels] += np.einsum("nfhw,fc->nchw", dyg, wg[:, :, p, q])  # dx is a view of whole
    top, left = how["pre_padding"]
    return whole[:, :, top : top + dim[2], left : left + dim[3]]


def _filters(given: dict[str, np.ndarray], dim: list[int], how: dict[str, Any]) -> np.ndarray:
    x, dy = given["image"], given["loss"]
    groups = x.shape[1] // dim[1]
    dw = np.zeros(dim)
    whole = _padded(x, dim, list(dy.shape), how)
    for xg, dyg, dwg in zip(*(_grouped(a, i, groups) for a, i in ((whole, 1), (dy, 1), (dw, 0))), strict=True):
        for p, q, pixels in _taps(dim, list(dy.shape), how):
            dwg[:, :, p, q] = np.einsum("nfhw,nchw->fc", dyg, xg[pixels])
    return dw


COMPUTE: dict[str, Callable[..., np.ndarray]] = {
    "conv_fprop": _forward,
    "conv_dgrad": _images,
    "conv_wgrad": _filters,
    "bias": lambda given, dim, how: given["input"] + given["bias"],
    "relu": lambda given, dim, how: np.maximum(given["input"], 0.0),
}
