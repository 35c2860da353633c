"""Loss and gradients of a batch, computed in parts, one after the other: the memory is that of a part.

    loss, gradients = accumulate(compute, x, y, parts, context)

A part of n of N examples weighs n/N, so the result is that of the whole batch, to rounding, where no layer couples
examples. Parts draw what the whole batch would.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from xpnet import random
from xpnet.autograd import Tensor
from xpnet.backend import Array, record_call
from xpnet.data import several

__all__ = ["accumulate"]

Gradients = dict[Tensor, Array]


def accumulate(
    compute: Callable[[Any, Any, float], tuple[Array, Gradients]],
    x: Any,
    y: Any,
    parts: int,
    context: random.StepContext,
    *,
    sums: bool = False,
) -> tuple[Array, Gradients]:
    """Return a batch's loss, (), and its gradients.

    Args:
        compute: takes the examples and targets of a part and what it weighs; gives its loss and gradients times that.
        x, y: the batch: an array, or several.
        parts: how many, or one an example.
        context: the step that draws belong to.
        sums: whether the loss is a sum over examples: then each part weighs 1.
    """
    n = several.count(x)
    parts = min(parts, n)
    loss: Array = None
    total: Gradients = {}
    owned: set[Tensor] = set()  # those that are new arrays: a gradient may be shared, or a view
    for i in range(parts):
        start, stop = i * n // parts, (i + 1) * n // parts
        with random.use(context._replace(row=context.row + start)):
            value, gradients = compute(
                several.rows(x, start, stop), several.rows(y, start, stop), 1.0 if sums else (stop - start) / n
            )
        loss = value if loss is None else record_call(operator.add, loss, value)
        for p in list(gradients):
            g = gradients.pop(p)
            if p in total:
                total[p] = record_call(operator.iadd if p in owned else operator.add, total[p], g)
                owned.add(p)
            else:
                total[p] = g
    return loss, total
