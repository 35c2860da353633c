"""Losses: how wrong the scores of a batch are, as one number to minimize. Each op returns (y, vjp).

reduction: "mean" over the N examples, "sum", or "none" for one number an example.

A label that is no class makes the loss of its example NaN, and with it the mean and the sum; so is its example's part
of the gradient, and no other. This holds on every backend, for no op may read a number. Data sets are checked when they
are made. To leave an example out, leave it out of the batch, or give soft targets, which are zero for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from xpnet import kernels
from xpnet.backend import Array, namespace
from xpnet.errors import ShapeError
from xpnet.ops import checks
from xpnet.ops.activation import logistic
from xpnet.ops.arithmetic import masked

__all__ = [
    "binary_cross_entropy",
    "hinge_loss",
    "mean_squared_error",
    "perceptron_loss",
    "softmax_cross_entropy",
]

_REDUCTIONS = ("mean", "sum", "none")


def _reduce(
    op: str, xp: Any, each: Array, reduction: str, unknown: Array | None = None, count: Any = None
) -> tuple[Array, Callable[[Array], Array]]:
    """Reduce one loss an example to y; also the map from dy to the weight of each example's gradient, () or like each.

    unknown, added to both, is NaN for an example whose label is no class, else 0; count is what the mean divides by.
    """
    checks.choice(op, "reduction", reduction, _REDUCTIONS)
    n = math.prod(each.shape) if count is None else count
    each = each if unknown is None else each + unknown
    y = each if reduction == "none" else xp.sum(each, dtype=each.dtype)

    def weigh(dy: Array) -> Array:
        dy = dy / n if reduction == "mean" else dy
        return dy if unknown is None else dy + unknown

    return y / n if reduction == "mean" else y, weigh


def _column(xp: Any, weight: Array) -> Array:
    """Weights of examples, () or (N,), in a shape that broadcasts with rows of K."""
    return xp.reshape(weight, (-1, 1)) if weight.ndim == 1 else weight


def _classes(xp: Any, labels: Array, classes: int, dtype: Any) -> tuple[Array, Array]:
    """Where labels (N,) of any integer dtype are which class, (N, K), and 0 or, for a label that is none, NaN, (N,)."""
    every = xp.arange(classes, device=labels.device)  # of the device's own integers, which need not have 64 bits
    labels = xp.astype(labels, every.dtype, copy=False)
    none = xp.zeros(labels.shape, dtype=dtype, device=labels.device)
    unknown = xp.where((labels < 0) | (labels >= classes), math.nan, none)
    return xp.reshape(labels, (-1, 1)) == every, unknown


def softmax_cross_entropy(
    logits: Array,
    labels: Array,
    *,
    label_smoothing: float = 0.0,
    class_weights: Array | None = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """Measure how improbable the right classes are, softmax and cross-entropy in one.

        y = mean over n of  -sum over k of v[k] * t[n,k] * log softmax(logits)[n,k]

    where t is one-hot of the labels, or the soft targets, after smoothing: t <- (1 - s) * t + s / K, and v the class
    weights (1 unless given). With integer labels and weights the mean divides by the sum of v[labels].

    Args:
        logits: scores, (N, K), real floating.
        labels: classes, (N,), integers in 0 .. K-1; or soft targets, (N, K), dtype of logits, rows that sum to 1.
            A label that is no class makes the loss and its row of the gradient NaN.
        label_smoothing: s, 0 <= s <= 1.
        class_weights: v, (K,), dtype of logits, or None.
        reduction: "mean", "sum" or "none".
    Returns:
        y: () or, for "none", (N,).
        vjp: (dy, needs) -> (dlogits, None), dlogits = (softmax * sum_k(v t) - v t) / N for "mean".
    Raises:
        ShapeError: ranks or sizes disagree, or K is 0. ConfigError: smoothing outside 0..1, unknown reduction.
    Cost: keeps log-probabilities and targets, 2*N*K numbers. Finite for any finite logits whose differences are finite
        (log-sum-exp); a logit of -infinity adds nothing where its target is 0. In float16 this code's sum over many
        classes is poor: cast the scores first.
    """
    op = "softmax_cross_entropy"
    checks.floating(op, logits, class_weights)
    if labels is None:
        raise checks.missing(op, "labels")
    checks.shared(op, logits, labels)
    if logits.ndim != 2 or labels.ndim not in (1, 2) or labels.shape != logits.shape[: labels.ndim]:
        raise ShapeError(
            op, "logits of shape (N, K) and labels of shape (N,) or (N, K)", logits=logits.shape, labels=labels.shape
        )
    if not logits.shape[1]:
        checks.not_empty(op, logits, (1,))
    if class_weights is not None and class_weights.shape != logits.shape[1:]:
        raise ShapeError(op, "class_weights of shape (K,)", class_weights=class_weights.shape, logits=logits.shape)
    if type(label_smoothing) is not float or label_smoothing:
        label_smoothing = checks.number(op, "label_smoothing", label_smoothing, 0, 1, closed=True)
    checks.choice(op, "reduction", reduction, _REDUCTIONS)
    if labels.ndim == 1:
        checks.integer(op, "labels", labels)
    else:
        checks.floating(op, logits, labels)
    return _softmax_cross_entropy(logits, labels, label_smoothing, class_weights, reduction)


@kernels.op("softmax_cross_entropy")
def _softmax_cross_entropy(
    logits: Array, labels: Array, label_smoothing: float, class_weights: Array | None, reduction: str
) -> tuple[Array, Any]:
    op, xp, classes = "softmax_cross_entropy", namespace(logits), logits.shape[1]
    target, right, unknown, count = labels, None, None, None
    if labels.ndim == 1:
        right, unknown = _classes(xp, labels, classes, logits.dtype)
        target = xp.astype(right, logits.dtype)
    if class_weights is not None and labels.ndim == 1:
        count = xp.sum(class_weights * target, dtype=logits.dtype)
    if label_smoothing:
        target, right = (1.0 - label_smoothing) * target + label_smoothing / classes, None
    if class_weights is not None:
        target, right = target * class_weights, None
    logp = logits - xp.max(logits, axis=1, keepdims=True)  # (N, K)
    logp -= xp.log(xp.sum(xp.exp(logp), axis=1, keepdims=True))
    # chosen before they are multiplied: 0 times the logarithm of 0 is NaN
    parts = xp.where(right, logp, 0.0) if right is not None else xp.where(target != 0.0, logp, 0.0) * target
    y, weigh = _reduce(op, xp, -xp.sum(parts, axis=1), reduction, unknown, count)

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        if not needs[0]:
            return (None, None)
        grad = xp.exp(logp)
        if class_weights is not None or labels.ndim == 2:
            grad *= xp.sum(target, axis=1, keepdims=True)
        grad -= target
        grad *= _column(xp, weigh(dy))
        return (grad, None)

    return y, vjp


@kernels.op("binary_cross_entropy")
def binary_cross_entropy(logits: Array, targets: Array, *, reduction: str = "mean") -> tuple[Array, Any]:
    """Measure how improbable yes-or-no targets are, sigmoid and cross-entropy in one.

        y = mean of  max(z, 0) - z * t + log(1 + exp(-|z|))

    where z are the logits.

    Args:
        logits: scores, any shape, real floating.
        targets: t, like logits, 0 <= t <= 1.
        reduction: "mean" over all elements, "sum" or "none".
    Returns:
        y: () or, for "none", like logits.
        vjp: (dy, needs) -> (dlogits, None), dlogits = (sigmoid(z) - t) / n for "mean".
    Raises:
        ShapeError: shapes differ.
    Cost: keeps both inputs. Finite for any logits: infinity counts as the largest finite number.
    """
    op = "binary_cross_entropy"
    xp = checks.floating(op, logits, targets)
    _alike(op, logits=logits, targets=targets)
    most = float(xp.finfo(logits.dtype).max)
    z = xp.clip(logits, -most, most)
    each = xp.maximum(z, 0.0) - z * targets + xp.log1p(xp.exp(-xp.abs(z)))
    y, weigh = _reduce(op, xp, each, reduction)

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return ((logistic(xp, logits) - targets) * weigh(dy) if needs[0] else None, None)

    return y, vjp


@kernels.op("mean_squared_error")
def mean_squared_error(y: Array, target: Array, *, reduction: str = "mean") -> tuple[Array, Any]:
    """Average the squared difference.

        loss = mean of (y - target)^2

    Args:
        y: predictions, any shape, real floating.
        target: like y.
        reduction: "mean" over all elements, "sum" or "none".
    Returns:
        loss: () or, for "none", like y.
        vjp: (dloss, needs) -> (dy, dtarget).
    Raises:
        ShapeError: shapes differ.
    Cost: keeps the difference.
    """
    op = "mean_squared_error"
    xp = checks.floating(op, y, target)
    _alike(op, y=y, target=target)
    difference = y - target
    loss, weigh = _reduce(op, xp, difference * difference, reduction)

    def vjp(dloss: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        grad = 2.0 * difference * weigh(dloss)
        return (grad if needs[0] else None, -grad if needs[1] else None)

    return loss, vjp


@kernels.op("hinge_loss")
def hinge_loss(scores: Array, labels: Array, *, margin: float = 1.0, reduction: str = "mean") -> tuple[Array, Any]:
    """Penalize classes whose score comes within a margin of the right one's.

        y = mean over n of  sum over j != labels[n] of  max(0, margin + s[n,j] - s[n,labels[n]])

    With one score an example and labels of -1 and +1: mean of max(0, margin - t * s).

    Args:
        scores: s, (N, K), or (N,) for two classes, real floating.
        labels: (N,), integers in 0 .. K-1, or -1 and +1 where scores is (N,); others give NaN.
        margin: a finite number, usually above 0.
        reduction: "mean" over the N examples, "sum" or "none".
    Returns:
        y: () or, for "none", (N,).
        vjp: (dy, needs) -> (dscores, None).
    Raises:
        ShapeError: ranks or sizes disagree, or K is 0. DTypeError: labels are not integers.
    Cost: keeps scores and one N*K array.
    Source: Weston and Watkins (1999).
    """
    xp, right, unknown = _scores("hinge_loss", scores, labels)
    margin = checks.number("hinge_loss", "margin", margin)
    if scores.ndim == 1:
        return _binary_margin("hinge_loss", xp, scores, right, unknown, margin, reduction)
    own = xp.sum(xp.where(right, scores, 0.0), axis=1, keepdims=True)  # (N, 1)
    short = xp.where(right, 0.0, xp.maximum(scores - own + margin, 0.0))  # (N, K)
    y, weigh = _reduce("hinge_loss", xp, xp.sum(short, axis=1), reduction, unknown)

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        if not needs[0]:
            return (None, None)
        hit = xp.astype(short > 0.0, scores.dtype)
        own = masked(xp.sum(hit, axis=1, keepdims=True), right)  # (N, K)
        return ((hit - own) * _column(xp, weigh(dy)), None)

    return y, vjp


@kernels.op("perceptron_loss")
def perceptron_loss(scores: Array, labels: Array, *, reduction: str = "mean") -> tuple[Array, Any]:
    """Penalize a class whose score exceeds the right one's; the gradient is Rosenblatt's rule.

        y = mean over n of  max over j of s[n,j]  -  s[n,labels[n]]

    With one score an example and labels of -1 and +1: mean of max(0, -t * s).

    Args:
        scores: s, (N, K), or (N,) for two classes, real floating.
        labels: (N,), integers in 0 .. K-1, or -1 and +1 where scores is (N,); others give NaN.
        reduction: "mean" over the N examples, "sum" or "none".
    Returns:
        y: () or, for "none", (N,).
        vjp: (dy, needs) -> (dscores, None); on ties the first of the largest counts.
    Raises:
        ShapeError: ranks or sizes disagree, or K is 0. DTypeError: labels are not integers.
    Cost: keeps scores and one N*K array.
    Source: Rosenblatt (1958); Collins (2002) for K classes.
    """
    xp, right, unknown = _scores("perceptron_loss", scores, labels)
    if scores.ndim == 1:
        return _binary_margin("perceptron_loss", xp, scores, right, unknown, 0.0, reduction)
    top = xp.max(scores, axis=1, keepdims=True)  # (N, 1)
    each = top[:, 0] - xp.sum(xp.where(right, scores, 0.0), axis=1)  # (N,)
    y, weigh = _reduce("perceptron_loss", xp, each, reduction, unknown)

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        if not needs[0]:
            return (None, None)
        every = xp.arange(scores.shape[1], device=scores.device)
        first = xp.min(xp.where(scores == top, every, scores.shape[1]), axis=1, keepdims=True)  # (N, 1)
        change = xp.astype(every == first, scores.dtype) - xp.astype(right, scores.dtype)  # (N, K)
        return (change * _column(xp, weigh(dy)), None)

    return y, vjp


def _alike(op: str, **arrays: Array) -> None:
    for name, a in arrays.items():
        if a is None:
            raise checks.missing(op, name)
    shapes = {name: a.shape for name, a in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ShapeError(op, " and ".join(shapes) + " of one shape", **shapes)


def _scores(op: str, scores: Array, labels: Array) -> tuple[Any, Array, Array]:
    """Check scores and labels; return the namespace, which class is right (N, K), or the sign (N,), and the unknown."""
    xp = checks.floating(op, scores)
    if labels is None:
        raise checks.missing(op, "labels")
    checks.shared(op, scores, labels)
    if scores.ndim not in (1, 2) or labels.shape != scores.shape[:1]:
        raise ShapeError(
            op, "scores of shape (N, K) or (N,) and labels of shape (N,)", scores=scores.shape, labels=labels.shape
        )
    checks.integer(op, "labels", labels)
    if scores.ndim == 1:
        sign = xp.astype(labels, scores.dtype)
        return xp, sign, xp.where(xp.abs(sign) == 1.0, xp.zeros_like(sign), math.nan)
    checks.not_empty(op, scores, (1,))
    return xp, *_classes(xp, labels, scores.shape[1], scores.dtype)


def _binary_margin(
    op: str, xp: Any, s: Array, t: Array, unknown: Array, margin: float, reduction: str
) -> tuple[Array, Any]:
    """max(0, margin - t * s) for scores (N,) and labels of -1 and +1."""
    short = margin - t * s
    y, weigh = _reduce(op, xp, xp.maximum(short, 0.0), reduction, unknown)

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return (-t * xp.astype(short > 0.0, s.dtype) * weigh(dy) if needs[0] else None, None)

    return y, vjp
