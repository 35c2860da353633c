"""What the course's ops compute, by plain loops in float64 NumPy and Python: slow, obvious, and independent of the ops.

Each takes the op's arrays and options and returns y. Letters as in the documentation: N, H, W, C, F, K, ... The oracles
of xpnet's other ops are in tests/oracles.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

__all__ = [
    "ACTIVATIONS",
    "batch_norm",
    "conv2d",
    "each",
    "im2col",
    "linear",
    "lines",
    "local_response_norm",
    "log_softmax",
    "lrn_across",
    "lrn_within",
    "max_pool2d",
    "moments",
    "pair",
    "perceptron_pass",
    "pool",
    "reduced",
    "relu",
    "sgd_steps",
    "softmax",
    "softmax_cross_entropy",
    "starts",
    "two_layers",
    "windows",
]

Numbers = np.ndarray


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """Two numbers of one or two."""
    return value if isinstance(value, tuple) else (value, value)


def each(function: Callable[..., float]) -> Callable[..., Numbers]:
    """Apply a function of Python floats to every element (with broadcasting, for two arrays)."""

    def apply(*arrays: Any, **options: Any) -> Numbers:
        """Element by element."""
        grids = np.broadcast_arrays(*arrays)
        y = np.zeros(grids[0].shape)
        for at in np.ndindex(*y.shape):
            y[at] = function(*(g[at].item() for g in grids), **options)
        return y

    return apply


def reduced(values: Numbers, reduction: str) -> Numbers:
    """A loss's reduction over all elements."""
    if reduction == "none":
        return values
    return np.sum(values) / (values.size if reduction == "mean" else 1)


# Activations.

relu = each(lambda x: x if x > 0 else 0.0)
leaky_relu = each(lambda x, slope=0.01: x if x > 0 else slope * x)
sigmoid = each(lambda x: 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x)))
tanh = each(math.tanh)
gelu = each(lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))
ACTIVATIONS = {None: np.asarray, "relu": relu, "leaky_relu": leaky_relu, "sigmoid": sigmoid, "tanh": tanh, "gelu": gelu}


def lines(x: Numbers, axis: int) -> Iterator[tuple[tuple[Any, ...], list[float]]]:
    """Every one-dimensional line of x along an axis: where it is, and its numbers."""
    for at in np.ndindex(*x.shape[:axis], *x.shape[axis + 1 :]):
        where = (*at[:axis], slice(None), *at[axis:])
        yield where, x[where].tolist()


def log_softmax(x: Numbers, axis: int = -1) -> Numbers:
    """Logarithms of softmax, along an axis."""
    y = np.zeros(x.shape)
    for where, line in lines(x, axis % x.ndim):
        top = max(line)
        total = math.log(math.fsum(math.exp(v - top) for v in line))
        y[where] = [v - top - total for v in line]
    return y


def softmax(x: Numbers, axis: int = -1) -> Numbers:
    """Exponentials over their sum."""
    return np.exp(log_softmax(x, axis))


def softmax_cross_entropy(
    logits: Numbers,
    labels: Numbers,
    label_smoothing: float = 0.0,
    class_weights: Numbers | None = None,
    reduction: str = "mean",
) -> Numbers:
    """Mean over integer labels is weighted by the weight of each sample's class; over soft targets it is plain."""
    N, K = logits.shape
    weights = np.ones(K) if class_weights is None else class_weights
    log_p = log_softmax(logits)
    losses = np.zeros(N)
    for n in range(N):
        for j in range(K):
            target = float(labels[n] == j) if labels.ndim == 1 else labels[n, j]
            target = (1 - label_smoothing) * target + label_smoothing / K
            losses[n] -= weights[j] * target * log_p[n, j]
    if reduction == "mean":
        return losses.sum() / (sum(weights[k] for k in labels) if labels.ndim == 1 else N)
    return reduced(losses, reduction)


# Linear maps and convolution.


def linear(x: Numbers, w: Numbers, b: Numbers | None = None, activation: str | None = None) -> Numbers:
    """Sums of products, a row of w for each output."""
    y = np.zeros((*x.shape[:-1], w.shape[0]))
    for *at, m in np.ndindex(*y.shape):
        row = x[tuple(at)]
        y[(*at, m)] = sum(row[d] * w[m, d] for d in range(len(row))) + (0 if b is None else b[m])
    return ACTIVATIONS[activation](y)


def two_layers(x: Numbers, w1: Numbers, b1: Numbers, w2: Numbers, b2: Numbers) -> Numbers:
    """Two linear layers, ReLU between them."""
    return linear(linear(x, w1, b1, "relu"), w2, b2)


def im2col(x: Numbers, KH: int, KW: int, S: int) -> Numbers:
    """The windows of images as rows, (N*OH*OW, KH*KW*C)."""
    N, H, W, C = x.shape
    corners = [(n, i, j) for n in range(N) for i in range(0, H - KH + 1, S) for j in range(0, W - KW + 1, S)]
    taps = [(p, q, c) for p in range(KH) for q in range(KW) for c in range(C)]
    return np.array([[x[n, i + p, j + q, c] for p, q, c in taps] for n, i, j in corners]).reshape(-1, len(taps))


def conv2d(
    x: Numbers,
    w: Numbers,
    b: Numbers | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    flip: bool = False,
    activation: str | None = None,
) -> Numbers:
    """Windows times filters."""
    (N, H, W, _), (F, KH, KW, CG) = x.shape, w.shape
    (SH, SW), (PH, PW), (DH, DW) = pair(stride), pair(padding), pair(dilation)
    rows = range(0, H + 2 * PH - DH * (KH - 1), SH)
    columns = range(0, W + 2 * PW - DW * (KW - 1), SW)
    y = np.zeros((N, len(rows), len(columns), F))
    for n, i, j, f in np.ndindex(*y.shape):
        first = f // (F // groups) * CG  # the group's first channel
        total = 0.0 if b is None else b[f].item()
        for p, q in np.ndindex(KH, KW):
            r, s = rows[i] + p * DH - PH, columns[j] + q * DW - PW
            if 0 <= r < H and 0 <= s < W:
                weights = w[f, KH - 1 - p, KW - 1 - q] if flip else w[f, p, q]
                for c in range(CG):
                    total += weights[c].item() * x[n, r, s, first + c].item()
        y[n, i, j, f] = total
    return ACTIVATIONS[activation](y)


# Pooling.


def starts(size: int, kernel: int, stride: int, padding: int, ceil_mode: bool) -> list[int]:
    """Where windows begin. In ceil mode one more may hang over the end, if it begins inside the image or before it."""
    found, at = [], -padding
    while at + kernel <= size + padding:
        found.append(at)
        at += stride
    if ceil_mode and found and found[-1] + kernel < size + padding and at < size:
        found.append(at)
    return found


def windows(x: Numbers, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool) -> Iterator[tuple[Any, Any, int]]:
    """Each output place, the window's own rows and columns, and its area including padding but not what lies beyond."""
    (KH, KW), (PH, PW) = pair(kernel_size), pair(padding)
    SH, SW = pair(kernel_size if stride is None else stride)
    H, W = x.shape[1:3]
    for i, top in enumerate(starts(H, KH, SH, PH, ceil_mode)):
        for j, left in enumerate(starts(W, KW, SW, PW, ceil_mode)):
            inside = [(r, s) for r in range(top, top + KH) for s in range(left, left + KW) if 0 <= r < H and 0 <= s < W]
            area = (min(top + KH, H + PH) - top) * (min(left + KW, W + PW) - left)
            yield (i, j), inside, area


def pool(x: Numbers, value: Callable[[list[float], int], float], *settings: Any) -> Numbers:
    """One number a window, of its pixels and its area."""
    found = list(windows(x, *settings))
    (i, j), *_ = found[-1]
    y = np.zeros((x.shape[0], i + 1, j + 1, x.shape[3]))
    for (i, j), inside, area in found:
        for n, c in np.ndindex(x.shape[0], x.shape[3]):
            y[n, i, j, c] = value([x[n, r, s, c].item() for r, s in inside], area)
    return y


def max_pool2d(x: Numbers, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False) -> Numbers:
    """The largest pixel of each window."""
    return pool(x, lambda values, area: max(values), kernel_size, stride, padding, ceil_mode)


# Normalization.


def local_response_norm(
    x: Numbers,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 2.0,
    region: str = "across",
    average: bool = False,
) -> Numbers:
    """Each number over the strength of its neighbours."""
    _, H, W, C = x.shape
    before, after = size // 2, (size - 1) // 2
    n_window = size if region == "across" else size * size
    scale = alpha / n_window if average else alpha
    y = np.zeros(x.shape)
    for n, i, j, c in np.ndindex(*x.shape):
        if region == "across":
            window = [x[n, i, j, d] for d in range(c - before, c + after + 1) if 0 <= d < C]
        else:
            rows, columns = range(i - before, i + after + 1), range(j - before, j + after + 1)
            window = [x[n, r, s, c] for r in rows for s in columns if 0 <= r < H and 0 <= s < W]
        y[n, i, j, c] = x[n, i, j, c] / (k + scale * sum(v * v for v in window)) ** beta
    return y


def lrn_across(x: Numbers, size: int, alpha: float, beta: float, k: float) -> Numbers:
    """Local response normalization across channels."""
    return local_response_norm(x, size, alpha, beta, k)


def lrn_within(x: Numbers, size: int, alpha: float, beta: float, k: float) -> Numbers:
    """Local response normalization within a channel."""
    return local_response_norm(x, size, alpha, beta, k, "within")


def moments(x: Numbers) -> tuple[Numbers, Numbers]:
    """Mean and biased variance of each channel."""
    columns = [x[..., c].reshape(-1).tolist() for c in range(x.shape[-1])]
    means = [sum(v) / len(v) for v in columns]
    variances = [sum((a - m) ** 2 for a in v) / len(v) for v, m in zip(columns, means, strict=True)]
    return np.array(means), np.array(variances)


def batch_norm(
    x: Numbers, gamma: Numbers, beta: Numbers, mean: Numbers, var: Numbers, eps: float = 1e-5, training: bool = False
) -> Numbers:
    """With training, mean and var are x's own, and follow x when it is disturbed."""
    if training:
        mean, var = moments(x)
    y = np.zeros(x.shape)
    for at in np.ndindex(*x.shape):
        c = at[-1]
        y[at] = gamma[c] * (x[at] - mean[c]) / math.sqrt(var[c] + eps) + beta[c]
    return y


# Learning.


def perceptron_pass(w: Numbers, b: float, x: Numbers, t: Numbers, lr: float) -> tuple[Numbers, float, int]:
    """One pass of Rosenblatt's rule: the new weights, the new bias, and the number of mistakes."""
    weights, mistakes = w.tolist(), 0
    for row, target in zip(x.tolist(), t.tolist(), strict=True):
        y = 1 if sum(a * v for a, v in zip(weights, row, strict=True)) + b > 0 else 0
        if y != target:
            mistakes += 1
            weights = [a + lr * (target - y) * v for a, v in zip(weights, row, strict=True)]
            b += lr * (target - y)
    return np.array(weights), b, mistakes


def sgd_steps(w: float, v: float, gradients: list[float], rates: list[float], momentum: float) -> tuple[float, float]:
    """Some steps of gradient descent with momentum on one number: the new weight and velocity."""
    for g, lr in zip(gradients, rates, strict=True):
        v = momentum * v + g
        w -= lr * v
    return w, v
