"""Arithmetic element by element, with broadcasting. Each op returns (y, vjp).

Either operand of a binary op may be a Python number; its gradient is None. A gradient is summed back over the axes
along which its operand was broadcast.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

from xpnet import kernels
from xpnet.backend import Array
from xpnet.errors import ConfigError, DTypeError, ShapeError, nearest
from xpnet.ops import checks
from xpnet.ops.arithmetic import masked, sum_to

__all__ = [
    "abs",
    "add",
    "cast",
    "clip",
    "divide",
    "exp",
    "log",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "power",
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
    if b is None:
        raise checks.missing(op, "b")
    xp = checks.floating(op, a, b)
    checks.broadcasts(op, a, b)
    return xp


def _binary(xp: Any, y: Array, a: Operand, b: Operand, to_da: Slope, to_db: Slope) -> tuple[Array, Any]:
    """Pair y with the vjp of a binary op whose partial gradients, before unbroadcasting, are given.

    Of a and b it keeps the shapes; the map to the gradient of a Python number is dropped with what it holds.
    """
    sides = [None if type(x) in _NUMBERS else (x.shape, slope) for x, slope in ((a, to_da), (b, to_db))]

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return tuple(
            sum_to(xp, side[1](dy), side[0]) if side and need else None for side, need in zip(sides, needs, strict=True)
        )

    return y, vjp


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
    """Divide: y = a / b. Arguments and results as for add; keeps b and y."""
    xp = _operands("divide", a, b)
    y = a / b
    return _binary(xp, y, a, b, lambda dy: dy / b, lambda dy: -(dy / b) * y)  # b * b may overflow, or be 0


@kernels.op("maximum")
def maximum(a: Operand, b: Operand) -> tuple[Array, Any]:
    """Take the larger: y = max(a, b); on ties the whole gradient goes to a. As for add; keeps a and b."""
    xp = _operands("maximum", a, b)
    return _binary(xp, xp.maximum(a, b), a, b, lambda dy: masked(dy, a >= b), lambda dy: masked(dy, a < b))


@kernels.op("minimum")
def minimum(a: Operand, b: Operand) -> tuple[Array, Any]:
    """Take the smaller: y = min(a, b); on ties the whole gradient goes to a. As for add; keeps a and b."""
    xp = _operands("minimum", a, b)
    return _binary(xp, xp.minimum(a, b), a, b, lambda dy: masked(dy, a <= b), lambda dy: masked(dy, a > b))


def _unary(y: Array, to_dx: Callable[[Array], Array]) -> tuple[Array, Any]:
    return y, lambda dy, needs: (to_dx(dy) if needs[0] else None,)


@kernels.op("power")
def power(a: Any, exponent: Any) -> tuple[Array, Any]:
    """Raise to a constant power, or a constant to a power: y = a^exponent. One of them is a Python number.

    Args:
        a: any shape, real floating; positive unless the exponent is a whole number. Or a number above 0.
        exponent: a number; or an array as a.
    Returns: y, and vjp: (dy, needs) -> (da, None), da = dy * exponent * a^(exponent - 1), 0 for a^0. Keeps a. Of a
        number a (None, dexponent), dexponent = dy * y * ln(a). Keeps y.
    Raises:
        ConfigError: a is a number not above 0. DTypeError: both are arrays.
    """
    if type(a) in _NUMBERS or isinstance(a, Integral):
        checks.floating("power", exponent)
        if not 0 < (base := float(a)) < math.inf:
            raise ConfigError("power", "a base above 0, of an array as exponent", base=a)
        y = base**exponent
        return y, lambda dy, needs: (None, dy * y * math.log(base) if needs[1] else None)
    xp = checks.floating("power", a)
    if type(exponent) not in _NUMBERS and not isinstance(exponent, Integral):
        kind = type(exponent).__name__
        raise DTypeError("power", "a Python number as exponent", "use exp and log", exponent=kind)
    p = float(exponent)
    slope = (lambda: p * a ** (p - 1.0)) if p else (lambda: xp.zeros_like(a))
    return a**p, lambda dy, needs: (dy * slope() if needs[0] else None, None)


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
    return _unary(xp.abs(x), lambda dy: masked(dy, x > 0.0) - masked(dy, x < 0.0))


@kernels.op("clip")
def clip(x: Array, low: float | None = None, high: float | None = None) -> tuple[Array, Any]:
    """Limit to a range: y = min(max(x, low), high).

    Args:
        x: any shape, real floating.
        low, high: Python numbers, low <= high, or None for no limit.
    Returns: y, and vjp: (dy, needs) -> (dx, None, None), dx = dy where low <= x <= high, else 0. Keeps x.
    Raises:
        ConfigError: low above high, or a limit that is NaN or no number.
    """
    xp = checks.floating("clip", x)
    for name, limit in (("low", low), ("high", high)):
        if limit is not None and not (isinstance(limit, Real) and limit == limit):
            raise ConfigError("clip", "numbers or None as limits", **{name: repr(limit)})
    if low is not None and high is not None and low > high:
        raise ConfigError("clip", "low <= high", low=low, high=high)
    y = x if low is None else xp.maximum(x, float(low))
    y = y if high is None else xp.minimum(y, float(high))

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return (masked(dy, x == y) if needs[0] else None, None, None)

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
    target = getattr(xp, dtype, None) if isinstance(dtype, str) and dtype in _FLOATING else None
    if target is None:
        names = [name for name in _FLOATING if hasattr(xp, name)]
        raise DTypeError(
            "cast", "a real floating dtype of the backend", nearest(str(dtype), names), dtype=checks.shown(dtype)
        )
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
    if mask is None:
        raise checks.missing("where", "mask")
    checks.shared("where", a if type(b) in _NUMBERS else b, mask)
    checks.boolean("where", "mask", mask)
    for side in (a, b):
        if type(side) not in _NUMBERS and not checks.fits(mask.shape, side.shape):
            raise ShapeError(
                "where", "mask, a and b that broadcast together", mask=tuple(mask.shape), a=tuple(side.shape)
            )
    y = xp.where(mask, a, b)
    _, both = _binary(xp, y, a, b, lambda dy: masked(dy, mask), lambda dy: masked(dy, ~mask))
    return y, lambda dy, needs: (None, *both(dy, needs[1:]))
