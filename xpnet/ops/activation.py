"""Activations, the functions a neuron applies to its sum, on any shape. Each op returns (y, vjp).

Where y is enough for the gradient only y is kept, so a fused linear and activation keeps no sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from xpnet import kernels
from xpnet.backend import Array, namespace
from xpnet.ops import checks
from xpnet.ops.arithmetic import masked

__all__ = [
    "ACTIVATIONS",
    "activated",
    "gelu",
    "leaky_relu",
    "log_softmax",
    "logistic",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
    "threshold",
]


def relu(x: Array) -> tuple[Array, Any]:
    """Keep what is positive.

        y = max(x, 0)

    Args:
        x: any shape, real floating.
    Returns:
        y: like x.
        vjp: (dy, needs) -> (dx,), dx = dy where y > 0, else 0.
    Cost: keeps y.
    Source: Nair and Hinton (2010).
    """
    checks.floating("relu", x)
    return _relu(x)


@kernels.op("relu")
def _relu(x: Array) -> tuple[Array, Any]:
    xp = namespace(x)
    y = xp.maximum(x, 0.0)

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return (masked(dy, y > 0.0) if needs[0] else None,)

    return y, vjp


def leaky_relu(x: Array, *, slope: float = 0.01) -> tuple[Array, Any]:
    """Keep what is positive, and a little of what is not.

        y = x where x > 0, else slope * x

    Args:
        x: any shape, real floating.
        slope: the slope below zero, usually 0 <= slope < 1.
    Returns:
        y: like x.
        vjp: (dy, needs) -> (dx,).
    Cost: keeps x.
    Source: Maas, Hannun and Ng (2013).
    """
    checks.floating("leaky_relu", x)
    return _leaky_relu(x, checks.number("leaky_relu", "slope", slope))


@kernels.op("leaky_relu")
def _leaky_relu(x: Array, slope: float) -> tuple[Array, Any]:
    xp = namespace(x)

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        if not needs[0]:
            return (None,)
        above = xp.astype(x > 0.0, x.dtype)
        return (dy * (above + slope * (1.0 - above)),)

    return xp.maximum(x, 0.0) + slope * xp.minimum(x, 0.0), vjp


def sigmoid(x: Array) -> tuple[Array, Any]:
    """Squash to (0, 1).

        y = 1 / (1 + exp(-x))

    to the dtype's precision for any x.

    Args:
        x: any shape, real floating.
    Returns:
        y: like x.
        vjp: (dy, needs) -> (dx,), dx = dy * y * (1 - y).
    Cost: keeps y.
    """
    checks.floating("sigmoid", x)
    return _sigmoid(x)


def logistic(xp: Any, x: Array) -> Array:
    """Return 1 / (1 + exp(-x)) as e / (1 + e), e = exp(x), which keeps the digits of what is near 0.

    Where e would overflow, x is replaced by a number whose result rounds to 1 as well.
    """
    e = xp.exp(xp.clip(x, -math.inf, math.log(float(xp.finfo(x.dtype).max)) - 0.1))
    e /= 1.0 + e
    return e


@kernels.op("sigmoid")
def _sigmoid(x: Array) -> tuple[Array, Any]:
    xp = namespace(x)
    y = logistic(xp, x)

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return (dy * (y * (1.0 - y)) if needs[0] else None,)

    return y, vjp


def tanh(x: Array) -> tuple[Array, Any]:
    """Squash to (-1, 1).

        y = tanh(x)

    Args:
        x: any shape, real floating.
    Returns:
        y: like x.
        vjp: (dy, needs) -> (dx,), dx = dy * (1 - y^2).
    Cost: keeps y.
    """
    checks.floating("tanh", x)
    return _tanh(x)


@kernels.op("tanh")
def _tanh(x: Array) -> tuple[Array, Any]:
    xp = namespace(x)
    y = xp.tanh(x)

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return (dy * (1.0 - y * y) if needs[0] else None,)

    return y, vjp


def gelu(x: Array) -> tuple[Array, Any]:
    """Multiply x by the approximate probability that a standard normal is below it (the tanh form).

        y = x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))

    Args:
        x: any shape, real floating.
    Returns:
        y: like x.
        vjp: (dy, needs) -> (dx,).
    Cost: keeps x. The tanh form differs from the exact one by at most 5e-4.
    Source: Hendrycks and Gimpel (2016).
    """
    checks.floating("gelu", x)
    return _gelu(x)


@kernels.op("gelu")
def _gelu(x: Array) -> tuple[Array, Any]:
    xp = namespace(x)
    root = math.sqrt(2.0 / math.pi)
    near = xp.clip(x, -30.0, 30.0)  # beyond, y is 0 or x; the cube is finite in float16 too

    def t_of(near: Array) -> Array:
        t = near * near
        t *= 0.044715 * root
        t += root
        t *= near
        return xp.tanh(t)

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        if not needs[0]:
            return (None,)
        near = xp.clip(x, -30.0, 30.0)
        t = t_of(near)
        slope = root * (1.0 + 3.0 * 0.044715 * (near * near))
        return (dy * (0.5 * (1.0 + t) + 0.5 * near * (1.0 - t * t) * slope),)

    y = t_of(near)
    y += 1.0
    y *= 0.5
    y *= xp.clip(x, -30.0, math.inf)  # minus infinity too gives 0
    return y, vjp


@kernels.op("threshold")
def threshold(x: Array) -> tuple[Array, Any]:
    """Decide yes or no, as the first perceptron did.

        y = 1 where x > 0, else 0

    The derivative is 0 or undefined, so the vjp uses that of y = x instead: the error of the output, y - t, corrects
    the sum, which makes Rosenblatt's rule a gradient step.

    Args:
        x: sums, any shape, real floating.
    Returns:
        y: zeros and ones, like x; 0 where x is NaN.
        vjp: (dy, needs) -> (dx,), dx = dy everywhere.
    Cost: keeps nothing.
    Source: Rosenblatt (1958); Bengio, Leonard and Courville (2013) for the estimator, "straight-through".
    """
    xp = checks.floating("threshold", x)
    return xp.astype(x > 0.0, x.dtype), lambda dy, needs: (dy if needs[0] else None,)


@kernels.op("softmax")
def softmax(x: Array, *, axis: int = -1) -> tuple[Array, Any]:
    """Turn scores into probabilities.

        y_k = exp(x_k) / sum over j of exp(x_j)

    Args:
        x: scores, any shape of rank 1 or more, real floating.
        axis: the axis that sums to 1.
    Returns:
        y: like x.
        vjp: (dy, needs) -> (dx,), dx = y * (dy - sum(dy * y)).
    Raises:
        ShapeError: x has no such axis, or it is of length 0.
    Cost: keeps y.
    """
    xp = checks.floating("softmax", x)
    checks.not_empty("softmax", x, checks.axes("softmax", x, axis))
    y = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    y /= xp.sum(y, axis=axis, keepdims=True)

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return (y * (dy - xp.sum(dy * y, axis=axis, keepdims=True)) if needs[0] else None,)

    return y, vjp


@kernels.op("log_softmax")
def log_softmax(x: Array, *, axis: int = -1) -> tuple[Array, Any]:
    """Turn scores into log-probabilities, without underflow.

        y_k = x_k - log(sum over j of exp(x_j))

    Args:
        x: scores, any shape of rank 1 or more, real floating.
        axis: the axis whose exponentials sum to 1.
    Returns:
        y: like x.
        vjp: (dy, needs) -> (dx,), dx = dy - exp(y) * sum(dy).
    Raises:
        ShapeError: x has no such axis, or it is of length 0.
    Cost: keeps y.
    """
    xp = checks.floating("log_softmax", x)
    checks.not_empty("log_softmax", x, checks.axes("log_softmax", x, axis))
    y = x - xp.max(x, axis=axis, keepdims=True)
    y -= xp.log(xp.sum(xp.exp(y), axis=axis, keepdims=True))

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return (dy - xp.exp(y) * xp.sum(dy, axis=axis, keepdims=True) if needs[0] else None,)

    return y, vjp


ACTIVATIONS: dict[str, Callable[..., tuple[Array, Any]]] = {
    "relu": relu,
    "leaky_relu": leaky_relu,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "gelu": gelu,
}


def activated(op: str, linear: tuple[Array, Any], activation: str) -> tuple[Array, Any]:
    """Put an activation after (z, vjp) of a linear op that no kernel computes together with it."""
    checks.choice(op, "activation", activation, ACTIVATIONS)
    z, z_vjp = linear
    y, vjp = ACTIVATIONS[activation](z)
    return y, lambda dy, needs: z_vjp(vjp(dy, (True,))[0], needs)
