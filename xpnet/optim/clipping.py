"""Bounds on the gradient, computed where the gradient lives: nothing here waits for the device."""

from __future__ import annotations

from collections.abc import Sequence

from xpnet.arguments import number, shown
from xpnet.backend import Array, namespace
from xpnet.errors import ConfigError

__all__ = ["clip_norm", "clip_value", "norm_scale"]


def clip_norm(gradient: Array, limit: float) -> Array:
    """Shrink a gradient whose Euclidean norm exceeds a limit; its direction stays.

        y = g * min(1, limit / (||g|| + 1e-6))

    Args:
        gradient: any shape, real floating; not written.
        limit: the largest norm, > 0.
    Returns:
        An array like gradient. NaN in the gradient makes all of it NaN.
    Cost: two passes over the gradient.
    Source: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks" (2013), algorithm 1.
    """
    return gradient * norm_scale([gradient], limit)


def norm_scale(parts: Sequence[Array], limit: float) -> Array:
    """Return the factor that reduces the joint norm of several arrays to a limit.

        scale = limit / max(limit, sqrt(sum over parts of sum(g**2)) + 1e-6)

    Args:
        parts: the parts of one gradient, at least one, of one dtype and device; not written.
        limit: the largest norm, > 0.
    Returns:
        A 0-dimensional array, 0 <= scale <= 1, on the device of the parts.
    """
    if not isinstance(parts, list | tuple) or not parts:
        raise ConfigError("norm_scale", "parts that are a list of arrays", parts=shown(parts))
    xp = namespace(parts[0])
    limit = number("clip_norm", "limit", limit, 0, above=True)
    total = xp.sum(parts[0] * parts[0])
    for part in parts[1:]:
        total = total + xp.sum(part * part)
    return limit / xp.maximum(xp.sqrt(total) + 1e-6, xp.full_like(total, limit))


def clip_value(gradient: Array, limit: float) -> Array:
    """Bound each element of a gradient to [-limit, limit].

        y = min(max(g, -limit), limit)

    Args:
        gradient: any shape, real floating; not written.
        limit: the largest magnitude, > 0.
    Returns:
        An array like gradient; NaN stays NaN.
    """
    limit = number("clip_value", "limit", limit, 0, above=True)
    xp = namespace(gradient)  # not clip: CuPy's, by array-api-compat, waits for the device
    return xp.minimum(xp.maximum(gradient, -limit), limit)
