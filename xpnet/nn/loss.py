"""Losses on tensors: the ops of xpnet.ops.loss, recorded on the tape. Scores are tensors, labels arrays or tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from xpnet import ops
from xpnet.autograd import Tensor, apply
from xpnet.backend import Array

__all__ = [
    "averages_examples",
    "binary_cross_entropy",
    "hinge_loss",
    "is_average",
    "mean_squared_error",
    "perceptron_loss",
    "softmax_cross_entropy",
]

F = TypeVar("F", bound=Callable[..., Any])


def averages_examples(loss: F) -> F:
    """Mark a loss as an average over the examples, each of which counts alike, whatever the others are.

        @nn.averages_examples
        def loss(scores, labels):
            return nn.softmax_cross_entropy(scores, labels) + 0.1 * (scores * scores).mean()

    A Trainer may compute such a loss of parts of a batch, in several threads; an unmarked one of whole batches only.
    The losses here are marked.
    """
    loss.averages_examples = True  # type: ignore[attr-defined]
    return loss


def is_average(loss: Callable[..., Any]) -> bool:
    """Tell whether a loss is marked as an average over the examples, and functools.partial did not change that.

    It does with a reduction other than "mean", with class weights, and with arguments that have no name.
    """
    marked = bool(getattr(loss, "averages_examples", False))
    if marked or not isinstance(loss, partial):
        return marked
    plain = loss.keywords.get("reduction", "mean") == "mean" and loss.keywords.get("class_weights") is None
    return plain and not loss.args and is_average(loss.func)


@averages_examples
def softmax_cross_entropy(logits: Tensor, labels: Tensor | Array, **options: Any) -> Tensor:
    """Softmax and cross-entropy of logits (N, K) against labels (N,); options as ops.softmax_cross_entropy takes."""
    return apply(ops.softmax_cross_entropy, logits, labels, **options)


@averages_examples
def binary_cross_entropy(logits: Tensor, targets: Tensor | Array, **options: Any) -> Tensor:
    """Sigmoid and cross-entropy of logits against targets of 0 to 1; options as ops.binary_cross_entropy takes."""
    return apply(ops.binary_cross_entropy, logits, targets, **options)


@averages_examples
def mean_squared_error(y: Tensor, target: Tensor | Array, **options: Any) -> Tensor:
    """The average of (y - target)^2; options as ops.mean_squared_error takes."""
    return apply(ops.mean_squared_error, y, target, **options)


@averages_examples
def hinge_loss(scores: Tensor, labels: Tensor | Array, **options: Any) -> Tensor:
    """How far the correct class is from exceeding the others by a margin; options as ops.hinge_loss takes."""
    return apply(ops.hinge_loss, scores, labels, **options)


@averages_examples
def perceptron_loss(scores: Tensor, labels: Tensor | Array, **options: Any) -> Tensor:
    """How far the score of the correct class is from the highest; options as ops.perceptron_loss takes."""
    return apply(ops.perceptron_loss, scores, labels, **options)
