"""Functions of ONNX that no layer of xpnet needs, as ops: (y, vjp) of arrays, in calls of the standard only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.backend import Array, backend_of
from xpnet.ops import checks
from xpnet.ops.activation import logistic
from xpnet.ops.arithmetic import masked, sum_to

__all__ = [
    "ROUNDED",
    "SMOOTH",
    "cumulative_sum",
    "divide_rest",
    "divide_unless_0",
    "erf",
    "hard_steps",
    "power",
    "root",
    "scatter",
    "softplus",
    "take",
    "take_along",
]

Op = Callable[..., tuple[Array, Any]]
Slope = Callable[[Any, Array, Array], Array]  # (xp, x, y) -> dy/dx


def _smooth(name: str, slope: Slope) -> Op:
    """Return the op of a function of the standard with a derivative."""

    def op(x: Array) -> tuple[Array, Any]:
        xp = checks.floating(name, x)
        y = getattr(xp, name)(x)
        return y, lambda dy, needs: (dy * slope(xp, x, y) if needs[0] else None,)

    op.__name__ = name
    return op


def _rounded(name: str) -> Op:
    """Return the op of a function of the standard whose derivative is 0."""

    def op(x: Array) -> tuple[Array, Any]:
        xp = checks.floating(name, x)
        return getattr(xp, name)(x), lambda dy, needs: (xp.zeros_like(dy) if needs[0] else None,)

    op.__name__ = name
    return op


SMOOTH: dict[str, Op] = {
    name: _smooth(name, slope)
    for name, slope in {
        "sin": lambda xp, x, y: xp.cos(x),
        "cos": lambda xp, x, y: -xp.sin(x),
        "tan": lambda xp, x, y: 1.0 + y * y,
        "asin": lambda xp, x, y: 1.0 / xp.sqrt(1.0 - x * x),
        "acos": lambda xp, x, y: -1.0 / xp.sqrt(1.0 - x * x),
        "atan": lambda xp, x, y: 1.0 / (1.0 + x * x),
        "sinh": lambda xp, x, y: xp.cosh(x),
        "cosh": lambda xp, x, y: xp.sinh(x),
        "asinh": lambda xp, x, y: 1.0 / xp.sqrt(x * x + 1.0),
        "acosh": lambda xp, x, y: 1.0 / xp.sqrt(x * x - 1.0),
        "atanh": lambda xp, x, y: 1.0 / (1.0 - x * x),
    }.items()
}
ROUNDED: dict[str, Op] = {name: _rounded(name) for name in ("ceil", "floor", "round", "sign")}

_A = (3.16112374387056560e00, 1.13864154151050156e02, 3.77485237685302021e02, 3.20937758913846947e03,
      1.85777706184603153e-1)  # fmt: skip
_B = (2.36012909523441209e01, 2.44024637934444173e02, 1.28261652607737228e03, 2.84423683343917062e03)
_C = (5.64188496988670089e-1, 8.88314979438837594e00, 6.61191906371416295e01, 2.98635138197400131e02,
      8.81952221241769090e02, 1.71204761263407058e03, 2.05107837782607147e03, 1.23033935479799725e03,
      2.15311535474403846e-8)  # fmt: skip
_D = (1.57449261107098347e01, 1.17693950891312499e02, 5.37181101862009858e02, 1.62138957456669019e03,
      3.29079923573345963e03, 4.36261909014324716e03, 3.43936767414372164e03, 1.23033935480374942e03)  # fmt: skip


def erf(x: Array) -> tuple[Array, Any]:
    """Integrate the normal density, scaled: y = 2/sqrt(pi) * integral of exp(-t^2) from 0 to x.

    Source: Cody (1969), rational approximations; the error is below 1e-9, that of the dtype in float32.
    """
    xp = checks.floating("erf", x)
    size = xp.clip(xp.abs(x), 0.0, 6.0)
    near = xp.clip(size, 0.0, 0.46875)
    square = near * near
    top, bottom = _A[4] * square, square
    for a, b in zip(_A[:3], _B[:3], strict=True):
        top, bottom = (top + a) * square, (bottom + b) * square
    inner = near * (top + _A[3]) / (bottom + _B[3])
    far = xp.clip(size, 0.46875, 6.0)
    top, bottom = _C[8] * far, far
    for c, d in zip(_C[:7], _D[:7], strict=True):
        top, bottom = (top + c) * far, (bottom + d) * far
    outer = 1.0 - xp.exp(-far * far) * (top + _C[7]) / (bottom + _D[7])
    y = xp.where(size <= 0.46875, inner, outer)
    y = xp.where(x < 0.0, -y, y)
    y = xp.where(x != x, x, y)
    rate = 2.0 / math.sqrt(math.pi)
    return y, lambda dy, needs: (dy * (rate * xp.exp(-x * x)) if needs[0] else None,)


def take(x: Array, indices: np.ndarray, *, axis: int) -> tuple[Array, Any]:
    """Take elements along an axis: y[.., i, ..] = x[.., indices[i], ..].

    Args:
        x: any shape, real floating.
        indices: of the host, one axis, each within the axis of x.
        axis: counted from 0.
    Returns: y, and vjp: (dy, needs) -> (dx, None): the sum of what was taken from each place, added up on the host.
    """
    xp = checks.floating("take", x)
    backend, shape = backend_of(x), x.shape
    y = xp.take(x, backend.from_numpy(np.ascontiguousarray(indices, np.int64)), axis=axis)

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        if not needs[0]:
            return None, None
        g = backend.to_numpy(dy)
        dx = np.zeros(shape, g.dtype)
        place: Any = ((slice(None),) * axis) + (indices,)
        np.add.at(dx, place, g)
        return backend.from_numpy(dx), None

    return y, vjp


def take_along(x: Array, places: np.ndarray) -> tuple[Array, Any]:
    """Take elements of the flattened array: y[i] = x.ravel()[places[i]], of any shape. vjp as for take."""
    xp = checks.floating("take_along", x)
    y, back = take(xp.reshape(x, (-1,)), places.reshape(-1), axis=0)
    shape, size = x.shape, places.shape

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        dx = back(xp.reshape(dy, (-1,)), (needs[0], False))[0]
        return None if dx is None else xp.reshape(dx, shape), None

    return xp.reshape(y, size), vjp


def cumulative_sum(x: Array, *, axis: int, reverse: bool) -> tuple[Array, Any]:
    """Sum the numbers up to each place along an axis, or, reversed, from it on."""
    xp = checks.floating("cumulative_sum", x)

    def summed(a: Array, backwards: bool) -> Array:
        if not backwards:
            return xp.cumulative_sum(a, axis=axis)
        return xp.flip(xp.cumulative_sum(xp.flip(a, axis=axis), axis=axis), axis=axis)

    return summed(x, reverse), lambda dy, needs: (summed(dy, not reverse) if needs[0] else None,)


def power(a: Array, b: Array) -> tuple[Array, Any]:
    """Raise to a power of each place: y = a^b of one shape; db is 0 where a is not positive."""
    xp = checks.floating("power", a, b)
    y = a**b

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        positive = a > 0.0
        da = dy * masked(b * a ** (b - 1.0), b != 0.0) if needs[0] else None
        db = dy * masked(y * xp.log(xp.where(positive, a, xp.ones_like(a))), positive) if needs[1] else None
        return da, db

    return y, vjp


def softplus(x: Array) -> tuple[Array, Any]:
    """Return log(1 + exp(x)), as max(x, 0) + log(1 + exp(-|x|)); dx = dy / (1 + exp(-x))."""
    xp = checks.floating("softplus", x)
    y = xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))
    return y, lambda dy, needs: (dy * logistic(xp, x) if needs[0] else None,)


def divide_unless_0(a: Array, b: Array) -> tuple[Array, Any]:
    """Divide a by b, which broadcasts to it; 0 where b is 0, and no gradient there."""
    xp, mask = checks.floating("divide", a, b), b != 0.0
    inverse = masked(1.0 / xp.where(mask, b, xp.ones_like(b)), mask)
    y = a * inverse
    return y, lambda dy, needs: (dy * inverse, sum_to(xp, -(dy * y) * inverse, b.shape) if needs[1] else None)


def root(x: Array) -> tuple[Array, Any]:
    """Take the square root; its derivative at 0 is defined as 0."""
    xp = checks.floating("root", x)
    y = xp.sqrt(x)
    return y, lambda dy, needs: (dy * masked(0.5 / xp.where(y > 0.0, y, xp.ones_like(y)), y > 0.0),)


def hard_steps(x: Array, *, low: float, high: float) -> tuple[Array, Any]:
    """Keep x where it is outside of low .. high, and 0 within."""
    checks.floating("hard_steps", x)
    mask = (x < low) | (x > high)
    return masked(x, mask), lambda dy, needs: (masked(dy, mask) if needs[0] else None,)


def divide_rest(a: Array, b: Array, *, truncated: bool) -> tuple[Array, Any]:
    """Return what remains of a after division by b, with the sign of b, or of a where truncated. da = dy."""
    xp = checks.floating("divide_rest", a, b)
    y = a - xp.trunc(a / b) * b if truncated else xp.remainder(a, b)
    return y, lambda dy, needs: (dy, -dy * (xp.trunc(a / b) if truncated else xp.floor(a / b)))


def scatter(x: Array, new: Array, *, places: np.ndarray, add: bool) -> tuple[Array, Any]:
    """Put numbers at places of the flattened x, or add them there; of several at one place, the last stays.

    It is computed on the host.
    """
    checks.floating("scatter", x, new)
    backend, shape = backend_of(x), x.shape
    flat = places.reshape(-1)
    values = backend.to_numpy(new).reshape(-1)
    y = backend.to_numpy(x).reshape(-1).copy()
    if add:
        np.add.at(y, flat, values)
    else:
        y[flat] = values

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        g = backend.to_numpy(dy).reshape(-1).copy()
        dnew = g[flat]
        if not add:
            last = np.full(g.shape, -1)
            last[flat] = np.arange(flat.size)
            dnew = np.where(last[flat] == np.arange(flat.size), dnew, 0.0).astype(g.dtype)
            g[flat] = 0.0
        dx = backend.from_numpy(g.reshape(shape)) if needs[0] else None
        return dx, backend.from_numpy(dnew.reshape(new.shape)) if needs[1] else None

    return backend.from_numpy(y.reshape(shape)), vjp
