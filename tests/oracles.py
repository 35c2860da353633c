"""What each op computes, by plain loops in float64 NumPy and Python: slow, obvious, and independent of xpnet.

Each takes the op's arrays and options and returns y. Letters as in the documentation: N, H, W, C, F, K, ...
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Numbers = np.ndarray


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def each(function: Callable[..., float]) -> Callable[..., Numbers]:
    """Apply a function of Python floats to every element (with broadcasting, for two arrays)."""

    def apply(*arrays: Any, **options: Any) -> Numbers:
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
    y = np.zeros(x.shape)
    for where, line in lines(x, axis % x.ndim):
        top = max(line)
        total = math.log(math.fsum(math.exp(v - top) for v in line))
        y[where] = [v - top - total for v in line]
    return y


def softmax(x: Numbers, axis: int = -1) -> Numbers:
    return np.exp(log_softmax(x, axis))


def dropout(x: Numbers, mask: Numbers, rate: float) -> Numbers:
    return each(lambda v, keep: v / (1 - rate) if keep else 0.0)(x, mask)


# Linear maps and convolution.


def linear(x: Numbers, w: Numbers, b: Numbers | None = None, activation: str | None = None) -> Numbers:
    y = np.zeros((*x.shape[:-1], w.shape[0]))
    for *at, m in np.ndindex(*y.shape):
        row = x[tuple(at)]
        y[(*at, m)] = sum(row[d] * w[m, d] for d in range(len(row))) + (0 if b is None else b[m])
    return ACTIVATIONS[activation](y)


def matmul(a: Numbers, b: Numbers) -> Numbers:
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = np.broadcast_to(a, (*batch, *a.shape[-2:])), np.broadcast_to(b, (*batch, *b.shape[-2:]))
    y = np.zeros((*batch, a.shape[-2], b.shape[-1]))
    for *at, i, j in np.ndindex(*y.shape):
        y[(*at, i, j)] = sum(a[(*at, i, k)] * b[(*at, k, j)] for k in range(a.shape[-1]))
    return y


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
    found = list(windows(x, *settings))
    (i, j), *_ = found[-1]
    y = np.zeros((x.shape[0], i + 1, j + 1, x.shape[3]))
    for (i, j), inside, area in found:
        for n, c in np.ndindex(x.shape[0], x.shape[3]):
            y[n, i, j, c] = value([x[n, r, s, c].item() for r, s in inside], area)
    return y


def max_pool2d(x: Numbers, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False) -> Numbers:
    return pool(x, lambda values, area: max(values), kernel_size, stride, padding, ceil_mode)


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


def moments(x: Numbers) -> tuple[Numbers, Numbers]:
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


def layer_norm(x: Numbers, gamma: Numbers, beta: Numbers, eps: float = 1e-5) -> Numbers:
    y = np.zeros(x.shape)
    for where, line in lines(x, x.ndim - 1):
        m = sum(line) / len(line)
        v = sum((a - m) ** 2 for a in line) / len(line)
        y[where] = [g * (a - m) / math.sqrt(v + eps) + b for a, g, b in zip(line, gamma, beta, strict=True)]
    return y


# Losses.


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
