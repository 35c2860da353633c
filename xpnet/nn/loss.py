"""Losses on tensors: the ops of xpnet.ops.loss, recorded on the tape. Scores are tensors, labels arrays or tensors."""

from __future__ import annotations

from typing import Any

from xpnet import ops
from xpnet.autograd import Tensor, apply
from xpnet.backend import Array

__all__ = [
    "binary_cross_entropy",
    "hinge_loss",
    "mean_squared_error",
    "perceptron_loss",
    "softmax_cross_entropy",
]


def softmax_cross_entropy(logits: Tensor, labels: Tensor | Array, **options: Any) -> Tensor:
    """Softmax and cross-entropy of logits (N, K) against labels (N,); options as ops.softmax_cross_entropy takes."""
    return apply(ops.softmax_cross_entropy, logits, labels, **options)


def binary_cross_entropy(logits: Tensor, targets: Tensor | Array, **options: Any) -> Tensor:
    """Sigmoid and cross-entropy of logits against targets of 0 to 1; options as ops.binary_cross_entropy takes."""
    return apply(ops.binary_cross_entropy, logits, targets, **options)


def mean_squared_error(y: Tensor, target: Tensor | Array, **options: Any) -> Tensor:
    """The average of (y - target)^2; options as ops.mean_squared_error takes."""
    return apply(ops.mean_squared_error, y, target, **options)


def hinge_loss(scores: Tensor, labels: Tensor | Array, **options: Any) -> Tensor:
    """How far the right class is from winning by a margin; options as ops.hinge_loss takes."""
    return apply(ops.hinge_loss, scores, labels, **options)


def perceptron_loss(scores: Tensor, labels: Tensor | Array, **options: Any) -> Tensor:
    """How far the right class is from winning; options as ops.perceptron_loss takes."""
    return apply(ops.perceptron_loss, scores, labels, **options)
