"""One number of a feature map, written out: the window, the filter, the products and their sum."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet import nn

__all__ = ["explain_number"]

_TOP = 8  # products of a linear layer that are named


def explain_number(layer: nn.Module, x: np.ndarray, place: tuple[int, int, int]) -> dict[str, Any]:
    """Compute one output of a layer by the formula in its documentation, from its input.

    Args:
        layer: of a LeNet-5.
        x: its input, (H, W, C), or (D,).
        place: row, column and channel of the output; of a vector 0, 0 and the neuron.
    Returns:
        {"kind", "result", ...}: what the result is made of.
    """
    row, column, channel = place
    if isinstance(layer, nn.Conv2d):
        return _convolution(layer, x, row, column, channel)
    if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        return _pooling(layer, x, row, column, channel)
    if isinstance(layer, nn.LocalResponseNorm):
        return _normalization(layer, x, row, column, channel)
    if isinstance(layer, nn.Linear):
        return _sum(layer, x, channel)
    value = float(x[row, column, channel] if x.ndim == 3 else x[channel])
    return {"kind": "relu", "input": value, "result": max(0.0, value)}


def _convolution(layer: nn.Conv2d, x: np.ndarray, row: int, column: int, channel: int) -> dict[str, Any]:
    (kh, kw), (ph, pw) = layer.kernel_size, layer.padding
    window = np.pad(x, ((ph, ph), (pw, pw), (0, 0)))[row : row + kh, column : column + kw]  # (KH, KW, C), stride 1
    kept = layer.weight.numpy()[channel]  # (KH, KW, C)
    used = kept[::-1, ::-1] if layer.flip else kept
    products = (window.astype(np.float64) * used).sum(axis=(0, 1))  # (C,)
    bias = 0.0 if layer.bias is None else float(layer.bias.numpy()[channel])
    return {
        "kind": "convolution" if layer.flip else "correlation",
        "window": _channels(window),
        "filter": _channels(used),
        "kept": _channels(kept),
        "sums": products.tolist(),
        "bias": bias,
        "top": [row - ph, column - pw],
        "result": float(products.sum() + bias),
    }


def _pooling(layer: Any, x: np.ndarray, row: int, column: int, channel: int) -> dict[str, Any]:
    (kh, kw), (sh, sw) = layer.kernel_size, layer.stride
    window = x[row * sh : row * sh + kh, column * sw : column * sw + kw, channel].astype(np.float64)  # (KH, KW)
    is_max = isinstance(layer, nn.MaxPool2d)
    return {
        "kind": "max pooling" if is_max else "average pooling",
        "window": [window.tolist()],
        "top": [row * sh, column * sw],
        "result": float(window.max() if is_max else window.mean()),
    }


def _normalization(layer: nn.LocalResponseNorm, x: np.ndarray, row: int, column: int, channel: int) -> dict[str, Any]:
    low, high = layer.size // 2, (layer.size - 1) // 2 + 1
    if layer.region == "across":
        near = x[row, column, max(0, channel - low) : channel + high][None].astype(np.float64)  # (1, n)
    else:
        near = x[max(0, row - low) : row + high, max(0, column - low) : column + high, channel].astype(np.float64)
    divisor = (layer.k + layer.alpha * float(np.square(near).sum())) ** layer.beta
    value = float(x[row, column, channel])
    return {
        "kind": "response normalization " + ("across channels" if layer.region == "across" else "within a channel"),
        "input": value,
        "window": [near.tolist()],
        "k": layer.k,
        "alpha": layer.alpha,
        "beta": layer.beta,
        "divisor": divisor,
        "result": value / divisor,
    }


def _sum(layer: nn.Linear, x: np.ndarray, neuron: int) -> dict[str, Any]:
    w = layer.weight.numpy()[neuron].astype(np.float64)  # (D,)
    bias = 0.0 if layer.bias is None else float(layer.bias.numpy()[neuron])
    products = w * x
    order = np.argsort(-np.abs(products))[:_TOP]
    return {
        "kind": "weighted sum",
        "terms": [{"from": int(i), "x": float(x[i]), "w": float(w[i]), "product": float(products[i])} for i in order],
        "others": float(products.sum() - products[order].sum()),
        "count": len(products),
        "bias": bias,
        "result": float(products.sum() + bias),
    }


def _channels(x: np.ndarray) -> list[Any]:
    return np.moveaxis(x.astype(np.float64), -1, 0).tolist()
