"""What each op computes, by plain loops in float64 NumPy and Python: slow, obvious, and independent of xpnet.

Each takes the op's arrays and options and returns y. Letters as in the documentation: N, H, W, C, F, K, ... Those that
the exercises need too are in xpnet/exercises/oracles.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.exercises.oracles import (
    ACTIVATIONS,
    batch_norm,
    conv2d,
    each,
    gelu,
    leaky_relu,
    linear,
    lines,
    local_response_norm,
    log_softmax,
    max_pool2d,
    moments,
    pair,
    pool,
    reduced,
    relu,
    sigmoid,
    softmax,
    softmax_cross_entropy,
    starts,
    tanh,
    windows,
)

__all__ = [
    "ACTIVATIONS",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy",
    "conv2d",
    "dropout",
    "each",
    "gelu",
    "global_avg_pool2d",
    "hinge_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "lines",
    "local_response_norm",
    "log_softmax",
    "matmul",
    "max_pool2d",
    "mean_squared_error",
    "moments",
    "pair",
    "perceptron_loss",
    "pool",
    "reduced",
    "reduction",
    "relu",
    "sigmoid",
    "softmax",
    "softmax_cross_entropy",
    "starts",
    "tanh",
    "windows",
]

Numbers = np.ndarray


def dropout(x: Numbers, mask: Numbers, rate: float) -> Numbers:
    return each(lambda v, keep: v / (1 - rate) if keep else 0.0)(x, mask)


def matmul(a: Numbers, b: Numbers) -> Numbers:
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = np.broadcast_to(a, (*batch, *a.shape[-2:])), np.broadcast_to(b, (*batch, *b.shape[-2:]))
    y = np.zeros((*batch, a.shape[-2], b.shape[-1]))
    for *at, i, j in np.ndindex(*y.shape):
        y[(*at, i, j)] = sum(a[(*at, i, k)] * b[(*at, k, j)] for k in range(a.shape[-1]))
    return y


# Pooling and normalization.


def avg_pool2d(
    x: Numbers,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Numbers:
    def average(values: list[float], area: int) -> float:
        return sum(values) / (area if count_include_pad else len(values))

    return pool(x, average, kernel_size, stride, padding, ceil_mode)


def global_avg_pool2d(x: Numbers) -> Numbers:
    N, H, W, C = x.shape
    return np.array([[x[n, :, :, c].sum() / (H * W) for c in range(C)] for n in range(N)]).reshape(N, C)


def layer_norm(x: Numbers, gamma: Numbers, beta: Numbers, eps: float = 1e-5) -> Numbers:
    y = np.zeros(x.shape)
    for where, line in lines(x, x.ndim - 1):
        m = sum(line) / len(line)
        v = sum((a - m) ** 2 for a in line) / len(line)
        y[where] = [g * (a - m) / math.sqrt(v + eps) + b for a, g, b in zip(line, gamma, beta, strict=True)]
    return y


# Losses.


def binary_cross_entropy(logits: Numbers, targets: Numbers, reduction: str = "mean") -> Numbers:
    def one(z: float, t: float) -> float:
        log1p = math.log1p(math.exp(-abs(z)))
        return t * (max(-z, 0) + log1p) + (1 - t) * (max(z, 0) + log1p)

    return reduced(each(one)(logits, targets), reduction)


def mean_squared_error(y: Numbers, target: Numbers, reduction: str = "mean") -> Numbers:
    return reduced(each(lambda a, b: (a - b) ** 2)(y, target), reduction)


def hinge_loss(scores: Numbers, labels: Numbers, margin: float = 1.0, reduction: str = "mean") -> Numbers:
    losses = np.zeros(scores.shape[0])
    for n, label in enumerate(labels.tolist()):
        if scores.ndim == 1:
            losses[n] = max(0.0, margin - label * scores[n])
        else:
            others = [j for j in range(scores.shape[1]) if j != label]
            losses[n] = sum(max(0.0, margin + scores[n, j] - scores[n, label]) for j in others)
    return reduced(losses, reduction)


def perceptron_loss(scores: Numbers, labels: Numbers, reduction: str = "mean") -> Numbers:
    losses = np.zeros(scores.shape[0])
    for n, label in enumerate(labels.tolist()):
        losses[n] = max(0.0, -label * scores[n]) if scores.ndim == 1 else max(scores[n]) - scores[n, label]
    return reduced(losses, reduction)


# Reductions, by name.


def reduction(fold: Callable[[list[float]], float]) -> Callable[..., Numbers]:
    """Fold the elements that share the axes that stay."""

    def apply(x: Numbers, axis: Any = None, keepdims: bool = False) -> Numbers:
        axes = range(x.ndim) if axis is None else [a % x.ndim for a in (axis if isinstance(axis, tuple) else (axis,))]
        y = np.zeros([1 if a in axes else s for a, s in enumerate(x.shape)])
        for at in np.ndindex(*y.shape):
            block = x[tuple(slice(None) if a in axes else i for a, i in enumerate(at))]
            y[at] = fold(block.reshape(-1).tolist())
        return y if keepdims else y.reshape([s for a, s in enumerate(x.shape) if a not in axes])

    return apply
