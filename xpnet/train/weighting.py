"""The weighted mean of a loss over examples: what sample weights do to it.

loss = sum over n of w[n] * loss[n] / sum over n of w[n]
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from xpnet.autograd import Tensor
from xpnet.backend import Array, namespace, record_call
from xpnet.errors import ConfigError, ShapeError
from xpnet.nn.guard import is_custom
from xpnet.train.inputs import check_tensor

__all__ = ["WeightedLoss"]


class WeightedLoss:
    """A loss that takes weights too: scores, targets, shares -> one number.

    Args:
        loss: of xpnet.nn; or a custom one that takes ``reduction="none"``, and then gives one number an example or
            more, or ``weights``, (N,), which are 1 on average, and then gives the mean of weights times losses.
        sums: whether the loss adds up its examples.
    Raises, on call:
        ConfigError: the loss takes neither.
    """

    def __init__(self, loss: Callable[..., Any], *, sums: bool = False) -> None:
        self._loss, self._sums = loss, sums
        self._takes: str | None = None

    def shares(self, weights: Array, dtype: Any = None) -> Array:
        """Return the weights of a batch, (N,), divided by their mean; shards and parts of it are added up then.

        Args:
            weights: (N,).
            dtype: in which that is computed; None: their own.
        """
        if dtype is not None and weights.dtype != dtype:
            weights = record_call(namespace(weights).astype, weights, dtype)
        return weights if self._sums else record_call(_shares, weights)

    def __call__(self, scores: Tensor, targets: Any, shares: Array) -> Any:
        """Return the weighted loss of a batch, of which shares gave the weights, or of a part of it."""
        if self._takes is None:
            self._takes = _argument(self._loss)
        if shares.dtype != scores.dtype:
            shares = record_call(namespace(shares).astype, shares, scores.dtype)
        if self._takes == "weights":
            return self._loss(scores, targets, weights=shares)
        each = check_tensor("fit", "a loss", partial(self._loss, reduction="none")(scores, targets))
        n = shares.shape[0]
        if each.shape[:1] != (n,):
            rule = "a loss that gives a number an example for reduction='none'"
            raise ShapeError("fit", rule, loss=tuple(each.shape), N=n)
        if len(each.shape) > 1:
            rows = each.reshape(n, -1)
            each = rows.sum(axis=1) if self._sums else rows.mean(axis=1)
        each = each * Tensor(shares)
        return each.sum() if self._sums else each.mean()


def _argument(loss: Callable[..., Any]) -> str:
    """Return by which argument a loss is weighted."""
    if not is_custom(loss):
        return "reduction"
    try:
        names = inspect.signature(loss).parameters
    except (TypeError, ValueError):
        names = {}
    for name in ("weights", "reduction"):
        if name in names:
            return name
    name = getattr(loss, "__name__", type(loss).__name__)
    do = "give the loss an argument weights, (N,), 1 on average"
    raise ConfigError("fit", "a loss that takes weights or reduction, for sample weights", do, loss=name)


def _shares(weights: Array) -> Array:
    xp = namespace(weights)
    total = xp.sum(weights, dtype=weights.dtype)
    return weights * (weights.shape[0] / xp.where(total > 0, total, xp.ones_like(total)))
