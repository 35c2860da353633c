"""The update rules, each a pure function.

A rule takes flat arrays and returns flat arrays. It writes by augmented assignment to p and to the arrays of its
state, which it owns; where arrays cannot be written (jax) the same lines make new ones. It never writes g.
``lr`` and ``t`` may be 0-dimensional arrays.

Below, p is the parameter, g its gradient (clipped, with weight decay added), t the number of the update, from 1.
"""

from __future__ import annotations

import math
from typing import Any

from xpnet.backend import Array, namespace
from xpnet.optim.update import State

__all__ = ["RULES", "adagrad_rule", "adam_rule", "remaining", "rmsprop_rule", "sgd_rule"]


def sgd_rule(
    p: Array, g: Array, state: State, lr: float, t: int, *, momentum: float = 0.0, nesterov: bool = False
) -> tuple[Array, State]:
    """Go down the gradient, or down its decaying sum.

        v = momentum * v + g
        p = p - lr * (g + momentum * v) where nesterov, else p - lr * v

    >>> import numpy as np
    >>> sgd_rule(np.asarray([1.0]), np.asarray([4.0]), {"velocity": np.asarray([2.0])}, 0.1, 2, momentum=0.5)
    (array([0.5]), {'velocity': array([5.])})
    """
    if not momentum:
        p -= lr * g
        return p, state
    v = state["velocity"]
    v *= momentum
    v += g
    if nesterov:
        p -= lr * (g + momentum * v)
    else:
        p -= lr * v
    return p, {"velocity": v}


def rmsprop_rule(
    p: Array, g: Array, state: State, lr: float, t: int, *, rho: float = 0.9, eps: float = 1e-8, momentum: float = 0.0
) -> tuple[Array, State]:
    """Divide the gradient by the root of the decaying mean of its square.

        s = rho * s + (1 - rho) * g**2
        u = g / (sqrt(s) + eps)
        v = momentum * v + u
        p = p - lr * v

    >>> import numpy as np
    >>> rmsprop_rule(np.asarray([1.0]), np.asarray([2.0]), {"square_mean": np.asarray([4.0])}, 0.5, 2, eps=0.0)
    (array([0.5]), {'square_mean': array([4.])})
    """
    s = state["square_mean"]
    s *= rho
    s += (1 - rho) * g * g
    root = namespace(p).sqrt(s)
    root += eps
    u = g / root
    if not momentum:
        u *= lr
        p -= u
        return p, {"square_mean": s}
    v = state["velocity"]
    v *= momentum
    v += u
    p -= lr * v
    return p, {"square_mean": s, "velocity": v}


def adagrad_rule(p: Array, g: Array, state: State, lr: float, t: int, *, eps: float = 1e-10) -> tuple[Array, State]:
    """Divide the gradient by the root of the sum of all its squares.

        s = s + g**2
        p = p - lr * g / (sqrt(s) + eps)

    >>> import numpy as np
    >>> adagrad_rule(np.asarray([1.0]), np.asarray([3.0]), {"square_sum": np.asarray([16.0])}, 0.5, 2)
    (array([0.7]), {'square_sum': array([25.])})
    """
    s = state["square_sum"]
    s += g * g
    root = namespace(p).sqrt(s)
    root += eps
    u = g / root
    u *= lr
    p -= u
    return p, {"square_sum": s}


def adam_rule(
    p: Array, g: Array, state: State, lr: float, t: int, *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8
) -> tuple[Array, State]:
    """Divide the decaying mean of the gradient by the root of that of its square, both corrected for their zero start.

        m = beta1 * m + (1 - beta1) * g
        s = beta2 * s + (1 - beta2) * g**2
        p = p - lr * m / (1 - beta1**t) / (sqrt(s / (1 - beta2**t)) + eps)

    >>> import numpy as np
    >>> zero = np.asarray([0.0]); p, _ = adam_rule(np.asarray([1.0]), np.asarray([-7.0]),
    ...     {"first_moment": zero, "second_moment": zero + 0}, 0.25, 1)
    >>> p.round(6)
    array([1.25])
    """
    m, s = state["first_moment"], state["second_moment"]
    m *= beta1
    m += (1 - beta1) * g
    s *= beta2
    s += (1 - beta2) * g * g
    root = namespace(p).sqrt(s)
    root *= remaining(beta2, t) ** -0.5
    root += eps
    u = m / root
    u *= lr / remaining(beta1, t)
    p -= u
    return p, {"first_moment": m, "second_moment": s}


def remaining(beta: float, t: int | Array) -> Any:
    """Return 1 - beta**t, the weight that a decaying mean has after t updates from 0; exact in single precision too."""
    if isinstance(t, int) or not beta:
        return 1 - beta**t
    return -namespace(t).expm1(t * math.log(beta))


RULES = {"sgd": sgd_rule, "rmsprop": rmsprop_rule, "adagrad": adagrad_rule, "adam": adam_rule}
