"""Dropout, by a given mask or by a draw. Each op returns (y, vjp)."""

from __future__ import annotations

from typing import Any

from xpnet import kernels, random
from xpnet.backend import Array, backend_of
from xpnet.errors import ShapeError
from xpnet.ops import checks
from xpnet.ops.arithmetic import masked

__all__ = ["dropout", "random_dropout"]


@kernels.op("dropout")
def dropout(x: Array, mask: Array, *, rate: float) -> tuple[Array, Any]:
    """Drop the elements a mask excludes, and scale the others to keep the expectation.

        y = x / (1 - rate) where mask, else 0

    Args:
        x: any shape, real floating.
        mask: boolean, shaped like x: True keeps.
        rate: the probability with which the mask was drawn False, 0 <= rate < 1.
    Returns:
        y: like x.
        vjp: (dy, needs) -> (dx, None).
    Raises:
        ShapeError: mask has another shape. DTypeError: it is not boolean. ConfigError: rate out of range.
    Cost: keeps the mask.
    Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov (2014).
    """
    checks.floating("dropout", x)
    if mask is None:
        raise checks.missing("dropout", "mask")
    checks.shared("dropout", x, mask)
    checks.boolean("dropout", "mask", mask)
    if mask.shape != x.shape:
        raise ShapeError("dropout", "mask shaped like x", x=tuple(x.shape), mask=tuple(mask.shape))
    scale = 1.0 / (1.0 - checks.number("dropout", "rate", rate, 0, 1))
    return (
        masked(scale * x, mask),
        lambda dy, needs: (masked(scale * dy, mask) if needs[0] else None, None),
    )


def random_dropout(x: Array, *, key: random.Key, rate: float, start: int = 0) -> tuple[Array, Any]:
    """Drop random elements, drawn by a key, and scale the others to keep the expectation.

        y = x / (1 - rate) where mask, else 0

    where the mask is random.keep_mask(key, x.shape, rate, start).

    Args:
        x: any shape, real floating.
        key: the draw's key. Its epoch and step may be 0-d int64 arrays on x's device where a kernel draws there.
        rate: the probability of dropping an element, 0 <= rate < 1.
        start: how many elements of the draw precede x, >= 0, where x is part of a batch.
    Returns:
        y: like x, the same elements kept on every backend.
        vjp: (dy, needs) -> (dx,).
    Raises:
        ConfigError: rate or start out of range.
    Cost: keeps the mask, or nothing where a kernel draws it once more.
    Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov (2014).
    """
    checks.floating("random_dropout", x)
    rate = checks.number("random_dropout", "rate", rate, 0, 1)
    start = checks.count("random_dropout", "start", start, 0)
    random.cipher_key(key)
    return _random_dropout(x, key, rate, start)


@kernels.op("random_dropout")
def _random_dropout(x: Array, key: random.Key, rate: float, start: int) -> tuple[Array, Any]:
    mask = backend_of(x).from_numpy(random.keep_mask(key, tuple(x.shape), rate, start))
    y, vjp = dropout(x, mask, rate=rate)
    return y, lambda dy, needs: vjp(dy, (needs[0], False))[:1]
