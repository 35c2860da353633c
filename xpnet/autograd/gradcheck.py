"""Gradients compared with central differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xpnet import random
from xpnet.arguments import function, number, shown
from xpnet.autograd.tensor import Tensor, backward, no_grad
from xpnet.backend import Array, backend_of, namespace
from xpnet.errors import ConfigError, DTypeError, XpnetError
from xpnet.ops.checks import shared

__all__ = ["gradcheck"]


def gradcheck(
    f: Callable[..., Tensor], *arrays: Array, eps: float = 1e-6, tolerance: float = 1e-6, seed: int = 0
) -> float:
    """Compare the gradient of f with a central difference along one random direction.

        (L(a + eps*v) - L(a - eps*v)) / (2*eps) ~ sum of v * dL/da,  L = sum(r * f(a))

    where v and r are random normal.

    Args:
        f: takes tensors, returns a tensor; smooth near the arrays.
        arrays: float64 arrays of any namespace.
        eps: the length of the difference, relative to v's elements of about 1.
        tolerance: how far the two may differ, relative to the larger of them and 1.
        seed: which directions are drawn.
    Returns:
        The relative difference.
    Raises:
        DTypeError: an array is not float64. XpnetError: the two differ by more than the tolerance.
    Cost: three forward passes and one backward. The difference's own error is about eps^2 + 1e-16 / eps.
    """
    function("gradcheck", "f", f)
    eps, tolerance = number("gradcheck", "eps", eps, 0, above=True), number("gradcheck", "tolerance", tolerance, 0)
    if not arrays:
        raise ConfigError("gradcheck", "at least one array", arrays=0)
    for a in arrays:
        shared("gradcheck", a)
    xp = namespace(*arrays)
    for a in arrays:
        if a.dtype != xp.float64:
            raise DTypeError("gradcheck", "float64 arrays", dtype=a.dtype)

    def draw(purpose: str, like: Array) -> Array:
        v = random.normal(random.Key(seed, "gradcheck/" + purpose), like.shape).astype(np.float64)
        return backend_of(like).from_numpy(v)

    directions = [draw(str(i), a) for i, a in enumerate(arrays)]
    leaves = [Tensor(a, requires_grad=True) for a in arrays]
    y = f(*leaves)
    if not isinstance(y, Tensor):
        raise ConfigError("gradcheck", "f that returns a Tensor", returned=shown(y))
    weights = draw("weights", y.data)
    gradients = backward(y, weights)
    along = 0.0
    for leaf, v in zip(leaves, directions, strict=True):
        if leaf in gradients:
            along += Tensor(xp.sum(gradients[leaf] * v)).item()

    def moved(by: float) -> float:
        with no_grad():
            z = f(*(Tensor(a + by * v) for a, v in zip(arrays, directions, strict=True)))
        return Tensor(xp.sum(z.data * weights)).item()

    slope = (moved(eps) - moved(-eps)) / (2.0 * eps)
    error = abs(slope - along) / max(1.0, abs(slope), abs(along))
    if not error <= tolerance:
        raise XpnetError(
            "gradcheck", "a gradient that agrees with the central difference", gradient=along, difference=slope
        )
    return error
