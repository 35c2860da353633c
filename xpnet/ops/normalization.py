"""Batch and layer normalization: to a common scale by the statistics of the batch or of each example.

Statistics of float16 numbers are computed and kept in float32: squares overflow at 256, and a sum of ones stops growing
at 2048.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from xpnet import kernels
from xpnet.backend import Array, namespace, set_at
from xpnet.errors import DTypeError, ShapeError
from xpnet.ops import checks
from xpnet.ops.arithmetic import at_least_float32, average, cast, total

__all__ = ["batch_norm", "joint_batch_norm", "layer_norm", "merge_moments", "moments", "running_moments"]


def moments(x: Array) -> tuple[Array, Array]:
    """Measure mean and biased variance of each channel, over all axes but the last.

    Args:
        x: (..., C), real floating.
    Returns: mean and variance, each (C,), of x's dtype, of float16 numbers in float32.
    Raises:
        ShapeError: x is of rank 1, or holds no number of a channel.
    Cost: four passes over x. Both are of x - mean, and the mean is corrected by what is left: nothing is cancelled,
        however far the mean lies from 0.
    """
    checks.floating("moments", x)
    checks.channels("moments", x)
    if not math.prod(x.shape[:-1]):
        raise ShapeError("moments", "at least one number of each channel", x=tuple(x.shape))
    return _moments(x)


@kernels.service("moments")
def _moments(x: Array) -> tuple[Array, Array]:
    xp = namespace(x)
    x = cast(xp, x, at_least_float32(xp, x.dtype))
    over = tuple(range(x.ndim - 1))
    mean = average(xp, x, over)
    centred = x - mean
    off = average(xp, centred, over)
    var = average(xp, centred * centred, over) - off * off
    return mean + off, xp.maximum(var, xp.zeros_like(var))


def running_moments(
    mean: Array, var: Array, new_mean: Array, new_var: Array, *, count: int, momentum: float
) -> tuple[Array, Array]:
    """Update running averages of moments, in place where a library's arrays can be written.

        mean <- (1 - momentum) * mean + momentum * new_mean
        var  <- (1 - momentum) * var  + momentum * new_var * count / (count - 1)

    Args:
        mean, var: the averages, (C,), owned by the caller; not to be used afterwards, only what is returned.
        new_mean, new_var: the moments of this batch, (C,), the variance biased, of any real floating dtype.
        count: numbers of each channel in this batch, >= 0. Of under two there is no variance: nothing changes then.
        momentum: the weight of the newest, 0 < momentum <= 1.
    Returns: the new mean and var, in their dtype.
    """
    checks.floating("running_moments", mean, var)
    for name, array in {"var": var, "new_mean": new_mean, "new_var": new_var}.items():
        if array is None:
            raise checks.missing("running_moments", name)
    checks.shared("running_moments", mean, new_mean, new_var)
    if mean.shape != new_mean.shape or not mean.shape == var.shape == new_var.shape:
        got = {"mean": mean.shape, "var": var.shape, "new_mean": new_mean.shape, "new_var": new_var.shape}
        raise ShapeError("running_moments", "averages and moments of one shape", **got)
    count = checks.count("running_moments", "count", count, 0)
    momentum = checks.number("running_moments", "momentum", momentum, 0, 1, closed=True)
    if count < 2:
        return mean, var
    keep, renew = 1.0 - momentum, (momentum, momentum * count / (count - 1))
    return _running_moments(mean, var, new_mean, new_var, keep, renew)


@kernels.service("running_moments")
def _running_moments(
    mean: Array, var: Array, new_mean: Array, new_var: Array, keep: float, renew: tuple[float, float]
) -> tuple[Array, Array]:
    xp = namespace(mean)
    sums = [
        keep * old + share * cast(xp, newest, old.dtype)
        for old, newest, share in zip((mean, var), (new_mean, new_var), renew, strict=True)
    ]
    return set_at(mean, (slice(None),), sums[0]), set_at(var, (slice(None),), sums[1])


def batch_norm(
    x: Array, gamma: Array, beta: Array, mean: Array, var: Array, *, eps: float = 1e-5, training: bool = False
) -> tuple[Array, Any]:
    """Normalize each channel by a mean and variance, then scale and shift it.

        y = gamma * (x - mean) / sqrt(var + eps) + beta

    Args:
        x: (..., C), real floating.
        gamma, beta: scale and shift, (C,), dtype of x.
        mean, var: (C,): x's own moments in training, else those kept from training; of x's dtype or wider. All is
            computed in their dtype, and in float32 at least.
        eps: > 0.
        training: whether mean and var depend on x, so that dx includes the gradient through them.
    Returns:
        y: like x.
        vjp: (dy, needs) -> (dx, dgamma, dbeta, None, None).
    Raises:
        ShapeError: a vector is not (C,), or training with one number a channel, whose variance is 0.
        DTypeError: mean and var are narrower than x.
    Cost: three passes over x forward, about six backward; keeps x.
    Source: Ioffe and Szegedy (2015).
    """
    xp = checks.floating("batch_norm", x, gamma, beta)
    _of_dtype_or_wider("batch_norm", xp, x, mean, var)
    checks.channels("batch_norm", x, gamma=gamma, beta=beta, mean=mean, var=var)
    eps, training = checks.number("batch_norm", "eps", eps, 0), checks.flag("batch_norm", "training", training)
    if training and math.prod(x.shape[:-1]) == 1:
        rule, do = "more than one number a channel in training", "use running averages, or a larger batch"
        raise ShapeError("batch_norm", rule, do, x=tuple(x.shape))
    return _batch_norm(x, gamma, beta, mean, var, eps, training)


@kernels.op("batch_norm")
def _batch_norm(
    x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float, training: bool
) -> tuple[Array, Any]:
    xp = namespace(x)
    over, own = tuple(range(x.ndim - 1)), x.dtype
    wide = at_least_float32(xp, mean.dtype)
    gamma, beta, mean, var = (cast(xp, a, wide) for a in (gamma, beta, mean, var))
    inverse = 1.0 / xp.sqrt(var + eps)  # (C,)
    scale = gamma * inverse
    y = cast(xp, x, wide) - mean  # first, for both may be large
    y *= scale
    y += beta

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        dy = cast(xp, dy, wide)
        normal = (cast(xp, x, wide) - mean) * inverse
        dbeta = total(xp, dy, over)
        dgamma = total(xp, dy * normal, over)
        dx = None
        if needs[0]:
            dx = dy * scale
            if training:
                count = max(1, math.prod(x.shape[:-1]))
                dx -= scale * (dbeta / count) + normal * (scale * (dgamma / count))
            dx = cast(xp, dx, own)
        dgamma, dbeta = (cast(xp, d, own) if need else None for d, need in ((dgamma, needs[1]), (dbeta, needs[2])))
        return dx, dgamma, dbeta, None, None

    return cast(xp, y, own), vjp


def merge_moments(a: Array, b: Array) -> Array:
    """Combine the statistics of two parts of a batch.

        n = na + nb,  d = mb - ma,  mean = ma + d * nb / n,  M2 = M2a + M2b + d^2 * na * nb / n

    Args:
        a, b: (1 + 2C,): n, how many numbers of each channel, then their means, then the sums of the squares of what
            they differ from these. Zeros are of no numbers, and change nothing.
    Returns: (1 + 2C,), of the two parts together.
    Source: Chan, Golub and LeVeque (1979).
    """
    xp = checks.floating("merge_moments", a, b)
    c = (a.shape[0] - 1) // 2
    na, nb = a[:1], b[:1]
    share = nb / xp.maximum(na + nb, xp.ones_like(na))
    d = b[1 : 1 + c] - a[1 : 1 + c]
    return xp.concat([na + nb, a[1 : 1 + c] + d * share, a[1 + c :] + b[1 + c :] + d * d * (na * share)])


def joint_batch_norm(
    x: Array,
    gamma: Array,
    beta: Array,
    mean: Array,
    var: Array,
    *,
    count: int,
    reduce: Callable[[Array], Array],
    eps: float = 1e-5,
) -> tuple[Array, Any]:
    """Normalize a part of a batch by the moments of the whole batch, as batch_norm does in training.

    Args:
        x: the part, (..., C); it may be empty.
        gamma, beta, mean, var, eps: as batch_norm takes them; the moments are of the whole batch.
        count: how many numbers of each channel the whole batch has, > 1.
        reduce: returns the sum of an array, (2C,), over all parts; the backward pass calls it once, with the part's own
            sums of dy * xhat and of dy.
    Returns:
        y: like x.
        vjp: (dy, needs) -> (dx, dgamma, dbeta, None, None); dgamma and dbeta are sums over the part alone.
    Cost: a pass over x more than batch_norm, backward.
    Source: Zhang et al., "Context encoding for semantic segmentation" (2018), for synchronized statistics.
    """
    xp = checks.floating("joint_batch_norm", x, gamma, beta)
    own, wide = x.dtype, at_least_float32(xp, mean.dtype)
    gamma, beta, wide_x = (cast(xp, a, wide) for a in (gamma, beta, x))
    y, inner = batch_norm(wide_x, gamma, beta, mean, var, eps=eps)

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        dx, dgamma, dbeta, *_ = inner(cast(xp, dy, wide), (needs[0], True, True, False, False))
        if needs[0]:
            c = dgamma.shape[0]
            sums = reduce(xp.concat([dgamma, dbeta]))
            inverse = 1.0 / xp.sqrt(var + eps)
            scale = gamma * inverse
            slope = scale * inverse * (sums[:c] / count)
            dx = cast(xp, dx - (scale * (sums[c:] / count) + (wide_x - mean) * slope), own)
        return dx, cast(xp, dgamma, own) if needs[1] else None, cast(xp, dbeta, own) if needs[2] else None, None, None

    return cast(xp, y, own), vjp


def _of_dtype_or_wider(op: str, xp: Any, x: Array, mean: Array, var: Array) -> None:
    """Raise unless mean and var share x's library, and one dtype that is x's or wider."""
    if mean is None or var is None:
        raise checks.missing(op, "mean" if mean is None else "var")
    checks.shared(op, x, mean, var)
    if mean.dtype == var.dtype == x.dtype:
        return
    if mean.dtype != var.dtype or not checks.is_floating(mean) or xp.result_type(x, mean) != mean.dtype:
        raise DTypeError(op, "mean and var of one dtype, x's or wider", x=x.dtype, mean=mean.dtype, var=var.dtype)


def layer_norm(x: Array, gamma: Array, beta: Array, *, eps: float = 1e-5) -> tuple[Array, Any]:
    """Normalize the last axis of each example by its own mean and variance, then scale and shift it.

        y = gamma * (x - mean(x)) / sqrt(var(x) + eps) + beta

    Args:
        x: (..., C), real floating.
        gamma, beta: scale and shift, (C,).
        eps: > 0.
    Returns:
        y: like x.
        vjp: (dy, needs) -> (dx, dgamma, dbeta).
    Raises:
        ShapeError: a vector is not (C,), or C is 0.
    Cost: about six passes over x forward and back; keeps x and two numbers a row.
    Source: Ba, Kiros and Hinton (2016).
    """
    checks.floating("layer_norm", x, gamma, beta)
    checks.channels("layer_norm", x, gamma=gamma, beta=beta)
    checks.not_empty("layer_norm", x, (x.ndim - 1,))
    return _layer_norm(x, gamma, beta, checks.number("layer_norm", "eps", eps, 0))


@kernels.op("layer_norm")
def _layer_norm(x: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Any]:
    xp = namespace(x)
    over, own = tuple(range(x.ndim - 1)), x.dtype
    wide = at_least_float32(xp, own)
    gamma, beta = cast(xp, gamma, wide), cast(xp, beta, wide)
    mean = xp.mean(cast(xp, x, wide), axis=-1, keepdims=True)
    centred = cast(xp, x, wide) - mean
    inverse = 1.0 / xp.sqrt(xp.mean(centred * centred, axis=-1, keepdims=True) + eps)  # (..., 1)
    y = centred * inverse * gamma + beta
    del centred

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        dy = cast(xp, dy, wide)
        normal = (cast(xp, x, wide) - mean) * inverse
        dx = None
        if needs[0]:
            g = dy * gamma
            along = xp.mean(g * normal, axis=-1, keepdims=True)
            dx = cast(xp, inverse * (g - xp.mean(g, axis=-1, keepdims=True) - normal * along), own)
        dgamma = cast(xp, total(xp, dy * normal, over), own) if needs[1] else None
        return dx, dgamma, cast(xp, total(xp, dy, over), own) if needs[2] else None

    return cast(xp, y, own), vjp
