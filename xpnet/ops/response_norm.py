"""Local response normalization, by which neighbours inhibit each other. Returns (y, vjp)."""

from __future__ import annotations

from typing import Any

from xpnet import kernels
from xpnet.arguments import MOST
from xpnet.backend import Array, namespace
from xpnet.ops import checks

__all__ = ["local_response_norm"]


def local_response_norm(
    x: Array,
    *,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 2.0,
    region: str = "across",
    average: bool = False,
) -> tuple[Array, Any]:
    """Divide each number by the strength of its neighbours (local response normalization).

        y = x / (k + alpha * S)^beta,  S = sum over neighbours of x^2

    Across channels, the neighbours of channel c are channels c - size//2 .. c + (size-1)//2 of the same pixel; within a
    channel, they are the size x size square about the pixel. Neighbours outside the image count as 0.

    Args:
        x: images, (N, H, W, C), real floating.
        size: the window's width, >= 1.
        alpha, beta, k: as above; the defaults are AlexNet's.
        region: "across" channels or "within" a channel.
        average: False multiplies the sum by alpha (AlexNet, TensorFlow); True by alpha / n, n the window's numbers
            (Caffe, PyTorch, ONNX).
    Returns:
        y: like x.
        vjp: (dy, needs) -> (dx,).
    Raises:
        ShapeError: x is not of rank 4. ConfigError: size under 1 or an unknown region.
    Cost: size (across) or 2 * size (within) additions a number; keeps x only. In float16 this code's squares of
        numbers from 256 on overflow: cast x first.
    Source: Krizhevsky, Sutskever and Hinton (2012), section 3.3.
    """
    op = "local_response_norm"
    checks.floating(op, x)
    checks.images(op, x)
    checks.choice(op, "region", region, ("across", "within"))
    size = checks.count(op, "size", size, 1, MOST)
    alpha, beta, k = (checks.number(op, *pair) for pair in (("alpha", alpha), ("beta", beta), ("k", k)))
    return _local_response_norm(x, size, alpha, beta, k, region, checks.flag(op, "average", average))


@kernels.op("local_response_norm")
def _local_response_norm(
    x: Array, size: int, alpha: float, beta: float, k: float, region: str, average: bool
) -> tuple[Array, Any]:
    xp = namespace(x)
    axes = (3,) if region == "across" else (1, 2)
    rate = alpha / size ** len(axes) if average else alpha
    before, after = size // 2, (size - 1) // 2

    def base() -> Array:
        s = x * x
        for axis in axes:
            s = _window_sum(xp, s, axis, before, after)
        return k + rate * s

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        if not needs[0]:
            return (None,)
        d = base()
        direct = dy * d**-beta
        spread = direct * x / d
        for axis in axes:
            spread = _window_sum(xp, spread, axis, after, before)
        return (direct - (2.0 * rate * beta) * x * spread,)

    return x * base() ** -beta, vjp


def _window_sum(xp: Any, x: Array, axis: int, before: int, after: int) -> Array:
    """Sum, at each place along an axis, the numbers from `before` places before it to `after` places after it."""
    n = x.shape[axis]
    ahead = (slice(None),) * axis

    def zeros(width: int) -> Array:
        return xp.zeros((*x.shape[:axis], width, *x.shape[axis + 1 :]), dtype=x.dtype, device=x.device)

    wide = xp.concat([zeros(before), x, zeros(after)], axis=axis)
    total = wide[(*ahead, slice(0, n), ...)]
    for i in range(1, before + after + 1):
        total = total + wide[(*ahead, slice(i, i + n), ...)]
    return total
