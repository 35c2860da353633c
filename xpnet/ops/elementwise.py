"""Arithmetic element by element, with broadcasting. Each is (y, vjp).

Either operand of a binary op may be a Python number; its gradient is None. A gradient is summed back over the axes
along which its operand was broadcast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet import kernels, random
from xpnet.backend import Array, backend_of
from xpnet.errors import ConfigError, DTypeError, ShapeError, nearest
from xpnet.ops import checks
from xpnet.ops.broadcast import sum_to
from xpnet.ops.masking import masked

__all__ = [
    "abs",
    "add",
    "cast",
    "clip",
    "divide",
    "dropout",
    "exp",
    "log",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "power",
    "random_dropout",
    "sqrt",
    "square",
    "subtract",
    "where",
]

Operand = Any  # an array or a Python number
Slope = Callable[[Array], Array]
_FLOATING = ("float16", "float32", "float64", "bfloat16")
_NUMBERS = (int, float)  # by type: numpy.float64, an array of rank 0, is a subclass of float


def _operands(op: str, a: Operand, b: Operand) -> Any:
    if type(a) in _NUMBERS:
        return checks.floating(op, b)
    if type(b) in _NUMBERS:
        return checks.floating(op, a)
    xp = checks.floating(op, a, b)
    checks.broadcasts(op, a, b)
    return xp


def _binary(xp: Any, y: Array, a: Operand, b: Operand, to_da: Slope, to_db: Slope) -> tuple[Array, Any]:
    """Pair y with the vjp of a binary op whose partial gradients, before unbroadcasting, are given.

    Of a and b it keeps the shapes; the map to a number's gradient is dropped, and with it what it holds.
    """
    sides = [None if type(x) in _NUMBERS else (x.shape, slope) for x, slope in ((a, to_da), (b, to_db))]

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return tuple(
            sum_to(xp, side[1](dy), side[0]) if side and need else None for side, need in zip(sides, needs, strict=True)
        )

    return y, vjp


def _mask(op: str, xp: Any, mask: Array) -> None:
    if not xp.isdtype(mask.dtype, "bool"):
        raise DTypeError(op, "mask is boolean", mask=mask.dtype)


def _rate(op: str, rate: float) -> None:
    if not 0.0 <= rate < 1.0:
        raise ConfigError(op, "0 <= rate < 1", rate=rate)


@kernels.op("add")
def add(a: Operand, b: Operand) -> tuple[Array, Any]:
    """Add: y = a + b.

    Args:
        a, b: arrays that broadcast together, or one Python number.
    Returns: y, and vjp: (dy, needs) -> (da, db). Keeps shapes only.
    """
    xp = _operands("add", a, b)
    return _binary(xp, a + b, a, b, lambda dy: dy, lambda dy: dy)


@kernels.op("subtract")
def subtract(a: Operand, b: Operand) -> tuple[Array, Any]:
    """Subtract: y = a - b. Arguments and results as for add."""
    xp = _operands("subtract", a, b)
    return _binary(xp, a - b, a, b, lambda dy: dy, lambda dy: -dy)


@kernels.op("multiply")
def multiply(a: Operand, b: Operand) -> tuple[Array, Any]:
    """Multiply: y = a * b. Arguments and results as for add; keeps a and b."""
    xp = _operands("multiply", a, b)
    return _binary(xp, a * b, a, b, lambda dy: dy * b, lambda dy: dy * a)


@kernels.op("divide")
def divide(a: Operand, b: Operand) -> tuple[Array, Any]:
    """Divide: y = a / b. Arguments and results as for add; keeps a and b."""
    xp = _operands("divide", a, b)
    return _binary(xp, a / b, a, b, lambda dy: dy / b, lambda dy: -dy * a / (b * b))


@kernels.op("maximum")
def maximum(a: Operand, b: Operand) -> tuple[Array, Any]:
    """Take the larger: y = max(a, b); on ties the whole gradient goes to a. As for add; keeps a and b."""
    xp = _operands("maximum", a, b)
    return _binary(xp, xp.maximum(a, b), a, b, lambda dy: masked(xp, dy, a >= b), lambda dy: masked(xp, dy, a < b))


@kernels.op("minimum")
def minimum(a: Operand, b: Operand) -> tuple[Array, Any]:
    """Take the smaller: y = min(a, b); on ties the whole gradient goes to a. As for add; keeps a and b."""
    xp = _operands("minimum", a, b)
    return _binary(xp, xp.minimum(a, b), a, b, lambda dy: masked(xp, dy, a <= b), lambda dy: masked(xp, dy, a > b))


def _unary(y: Array, to_dx: Callable[[Array], Array]) -> tuple[Array, Any]:
    return y, lambda dy, needs: (to_dx(dy) if needs[0] else None,)


@kernels.op("power")
def power(a: Array, exponent: float) -> tuple[Array, Any]:
    """Raise to a constant power: y = a^exponent.

    Args:
        a: any shape, real floating; positive unless the exponent is a whole number.
        exponent: a Python number.
    Returns: y, and vjp: (dy, needs) -> (da, None), da = dy * exponent * a^(exponent - 1). Keeps a.
    """
    checks.floating("power", a)
    if type(exponent) not in _NUMBERS:
        raise DTypeError(
            "power", "the exponent is a Python number", "use exp and log", exponent=type(exponent).__name__
        )
    p = float(exponent)
    return a**p, lambda dy, needs: (dy * (p * a ** (p - 1.0)) if needs[0] else None, None)


@kernels.op("negative")
def negative(x: Array) -> tuple[Array, Any]:
    """Negate: y = -x, dx = -dy."""
    checks.floating("negative", x)
    return _unary(-x, lambda dy: -dy)


@kernels.op("exp")
def exp(x: Array) -> tuple[Array, Any]:
    """Exponentiate: y = e^x, dx = dy * y. Keeps y."""
    y = checks.floating("exp", x).exp(x)
    return _unary(y, lambda dy: dy * y)


@kernels.op("log")
def log(x: Array) -> tuple[Array, Any]:
    """Take the natural logarithm: y = ln(x), dx = dy / x. Keeps x."""
    return _unary(checks.floating("log", x).log(x), lambda dy: dy / x)


@kernels.op("sqrt")
def sqrt(x: Array) -> tuple[Array, Any]:
    """Take the square root: y = x^(1/2), dx = dy / (2 y). Keeps y."""
    y = checks.floating("sqrt", x).sqrt(x)
    return _unary(y, lambda dy: 0.5 * dy / y)


@kernels.op("square")
def square(x: Array) -> tuple[Array, Any]:
    """Square: y = x^2, dx = 2 x dy. Keeps x."""
    checks.floating("square", x)
    return _unary(x * x, lambda dy: 2.0 * x * dy)


@kernels.op("abs")
def abs(x: Array) -> tuple[Array, Any]:
    """Take the magnitude: y = |x|, dx = dy * sign(x), 0 at 0. Keeps x."""
    xp = checks.floating("abs", x)
    return _unary(xp.abs(x), lambda dy: dy * xp.sign(x))


@kernels.op("clip")
def clip(x: Array, low: float | None = None, high: float | None = None) -> tuple[Array, Any]:
    """Limit to a range: y = min(max(x, low), high).

    Args:
        x: any shape, real floating.
        low, high: Python numbers, or None for no limit.
    Returns: y, and vjp: (dy, needs) -> (dx, None, None), dx = dy where low <= x <= high, else 0. Keeps x.
    """
    xp = checks.floating("clip", x)
    y = x if low is None else xp.maximum(x, float(low))
    y = y if high is None else xp.minimum(y, float(high))

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return (masked(xp, dy, x == y) if needs[0] else None, None, None)

    return y, vjp


@kernels.op("cast")
def cast(x: Array, dtype: str) -> tuple[Array, Any]:
    """Convert to another real floating dtype: y = x, rounded to what the dtype holds.

    Args:
        x: any shape, real floating.
        dtype: its name, such as "float32".
    Returns: y, x itself where it is of that dtype; and vjp: (dy, needs) -> (dx, None), dy in the dtype of x.
    Raises:
        DTypeError: the backend has no such real floating dtype.
    """
    xp, own = checks.floating("cast", x), x.dtype
    target = getattr(xp, dtype, None) if dtype in _FLOATING else None
    if target is None:
        names = [name for name in _FLOATING if hasattr(xp, name)]
        raise DTypeError("cast", "the backend has the dtype", nearest(dtype, names), dtype=repr(dtype))
    y = x if own == target else xp.astype(x, target)
    return y, lambda dy, needs: (xp.astype(dy, own, copy=False) if needs[0] else None, None)


@kernels.op("where")
def where(mask: Array, a: Operand, b: Operand) -> tuple[Array, Any]:
    """Choose: y = a where mask, else b.

    Args:
        mask: boolean, broadcast with a and b.
        a, b: arrays that broadcast together, or one Python number.
    Returns: y, and vjp: (dy, needs) -> (None, da, db). Keeps mask.
    """
    xp = _operands("where", a, b)
    _mask("where", xp, mask)
    for side in (a, b):
        if type(side) not in _NUMBERS and not checks.fits(mask.shape, side.shape):
            raise ShapeError("where", "mask, a and b broadcast together", mask=tuple(mask.shape), a=tuple(side.shape))
    y = xp.where(mask, a, b)
    _, both = _binary(xp, y, a, b, lambda dy: masked(xp, dy, mask), lambda dy: masked(xp, dy, ~mask))
    return y, lambda dy, needs: (None, *both(dy, needs[1:]))


@kernels.op("dropout")
def dropout(x: Array, mask: Array, *, rate: float) -> tuple[Array, Any]:
    """Drop what a mask says, and scale the rest so that the expectation stays.

        y = x / (1 - rate) where mask, else 0

    Args:
        x: any shape, real floating.
        mask: boolean, shaped like x: True keeps.
        rate: the probability with which the mask was drawn False, 0 <= rate < 1.
    Returns:
        y: like x.
        vjp: (dy, needs) -> (dx, None).
    Raises:
        ShapeError: mask is shaped otherwise. DTypeError: it is not boolean. ConfigError: rate out of range.
    Cost: keeps the mask.
    Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov (2014).
    """
    xp = checks.floating("dropout", x)
    _mask("dropout", xp, mask)
    if mask.shape != x.shape:
        raise ShapeError("dropout", "mask is shaped like x", x=tuple(x.shape), mask=tuple(mask.shape))
    _rate("dropout", rate)
    scale = 1.0 / (1.0 - rate)
    return (
        masked(xp, scale * x, mask),
        lambda dy, needs: (masked(xp, scale * dy, mask) if needs[0] else None, None),
    )


def random_dropout(x: Array, *, key: random.Key, rate: float, start: int = 0) -> tuple[Array, Any]:
    """Drop elements at random, by the draw that a key names, and scale the rest so that the expectation stays.

        y = x / (1 - rate) where random.keep_mask(key, shape of x, rate, start), else 0

    Args:
        x: any shape, real floating.
        key: names the draw. Its epoch and step may be 0-d int64 arrays on x's device where a kernel draws there.
        rate: the probability of dropping an element, 0 <= rate < 1.
        start: how many elements of the draw precede x, >= 0, where x is a part of a batch.
    Returns:
        y: like x, the same elements kept on every backend.
        vjp: (dy, needs) -> (dx,).
    Raises:
        ConfigError: rate or start out of range.
    Cost: keeps the mask, or nothing where a kernel draws it again.
    Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov (2014).
    """
    checks.floating("random_dropout", x)
    _rate("random_dropout", rate)
    if start < 0:
        raise ConfigError("random_dropout", "start >= 0", start=start)
    return _random_dropout(x, key, rate, start)


@kernels.op("random_dropout")
def _random_dropout(x: Array, key: random.Key, rate: float, start: int) -> tuple[Array, Any]:
    mask = backend_of(x).from_numpy(random.keep_mask(key, tuple(x.shape), rate, start))
    y, vjp = dropout(x, mask, rate=rate)
    return y, lambda dy, needs: vjp(dy, (needs[0], False))[:1]
