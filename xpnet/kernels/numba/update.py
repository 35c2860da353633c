"""An optimizer's update for NumPy arrays, compiled: one pass over parameters, state and gradients where they lie."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from xpnet.backend import as_contiguous, launch, split
from xpnet.kernels import register
from xpnet.kernels.numba.compiling import FLOATS, compiled

__all__ = ["update"]

_LEAST = 1 << 17  # the fewest numbers worth a thread
_SUMMED = 1 << 16  # numbers whose squares are summed at a time
_LANES = 64


@register("update", "numba", recordable=True)
def update(value: Any, work: Any) -> Any:
    """Update parameters and state in place, as optim.update.update defines it.

    Each number is the same bit for bit as by the definition, on any number of cores; only the norm that clip_norm asks
    for is summed in another order.

    Args:
        value: the parameters, (size,), float32 or float64.
        work: an optim.update.Update.
    """
    loop, segments = _loop(work), work.segments
    dtypes = {value.dtype, *(s.gradient.dtype for s in segments)}
    if loop is None or work.scaling is not None or len(dtypes) > 1 or value.dtype not in FLOATS:
        return NotImplemented
    rows = [(as_contiguous(g).reshape(-1), start, stop - start, group) for start, stop, g, group in segments]
    function, numbers_of = loop
    bound = math.inf if work.clip_value is None else work.clip_value

    def run() -> None:
        scale = 1.0 if work.clip_norm is None else _scale([g for g, *_ in rows], work.clip_norm)
        t, numbers = int(work.t), []
        for rate, decay in zip(work.rates, work.decays, strict=True):
            lr = float(rate)
            decayed = (0.0, 1.0 - lr * decay) if work.decoupled else (decay, 1.0)
            numbers.append((scale, bound, *decayed, *numbers_of(lr, t)))
        if value.size < 2 * _LEAST:
            for g, start, n, group in rows:
                function(value, g, start, 0, n, *numbers[group])
            return

        def part(first: int, last: int) -> None:
            for g, start, n, group in rows:
                low, high = max(start, first), min(start + n, last)
                if low < high:
                    function(value, g, low, low - start, high - low, *numbers[group])

        split(value.size, _LEAST, part)

    launch(run)
    return None


def _loop(work: Any) -> tuple[Callable[..., None], Callable[[float, int], tuple[Any, ...]]] | None:
    """The loop of a rule, and its arguments from the rate on, made from the rate and the number of the update."""
    c, states = work.constants, tuple(work.state.values())
    if work.formula == "sgd" and not c[0]:
        return _sgd, lambda lr, t: (lr,)
    if work.formula == "sgd":
        return _momentum, lambda lr, t: (lr, *states, c[0], int(c[1]))
    if work.formula == "rmsprop":
        square, velocity = states if len(states) == 2 else (*states, *states)
        return _rmsprop, lambda lr, t: (lr, square, velocity, c[0], 1.0 - c[0], c[1], c[2])
    if work.formula == "adagrad":
        return _adagrad, lambda lr, t: (lr, *states, c[0])
    if work.formula == "adam":
        return _adam, lambda lr, t: (
            *(lr / (1 - c[0] ** t), *states),
            *(c[0], 1.0 - c[0], c[1], 1.0 - c[1], (1 - c[1] ** t) ** -0.5, c[2]),
        )
    return None


def _scale(gradients: list[Any], limit: float) -> float:
    """The factor that brings the norm of all gradients down to a limit, as optim.clipping.norm_scale has it."""
    norm = math.sqrt(sum(map(_square_sum, gradients))) + 1e-6
    return 1.0 if norm < limit else limit / norm  # NaN stays


def _square_sum(g: Any) -> float:
    """The sum of the squares of a gradient: of segments of a fixed length, so the same on any number of cores."""
    sums = np.empty(-(-g.size // _SUMMED), g.dtype)
    split(len(sums), 4, lambda first, last: _squares(g, first, last, sums))
    return float(np.add.reduce(sums, dtype=np.float64))


# The loops. Each prepares the gradient first: scaled, bounded, decayed. Where that is not wanted, scale is 1, bound
# infinite, decay 0 and keep 1, which changes no number.


@numba.njit(nogil=True, error_model="numpy")
def _prepared(g, p, scale, bound, decay):
    """The gradient that the rule receives."""
    g = g * scale
    g = bound if g > bound else g
    g = -bound if g < -bound else g
    return g + decay * p if decay else g


@compiled("T1, T1, i, i, i, d, d, d, d, d")
def _sgd(value, gradient, start, first, n, scale, bound, decay, keep, lr):
    p, g, f = value[start : start + n], gradient[first : first + n], value.dtype.type
    scale, bound, decay, keep, lr = f(scale), f(bound), f(decay), f(keep), f(lr)
    for i in range(n):
        x = p[i] * keep
        p[i] = x - lr * _prepared(g[i], x, scale, bound, decay)


@compiled("T1, T1, i, i, i, d, d, d, d, d, T1, d, i")
def _momentum(value, gradient, start, first, n, scale, bound, decay, keep, lr, velocity, momentum, nesterov):
    p, g, v, f = value[start : start + n], gradient[first : first + n], velocity[start : start + n], value.dtype.type
    scale, bound, decay, keep, lr, momentum = f(scale), f(bound), f(decay), f(keep), f(lr), f(momentum)
    for i in range(n):
        x = p[i] * keep
        d = _prepared(g[i], x, scale, bound, decay)
        new = v[i] * momentum + d
        v[i] = new
        p[i] = x - lr * (d + momentum * new if nesterov else new)


@compiled("T1, T1, i, i, i, d, d, d, d, d, T1, T1, d, d, d, d")
def _rmsprop(
    value, gradient, start, first, n, scale, bound, decay, keep, lr, square, velocity, rho, rest, eps, momentum
):
    p, g, f = value[start : start + n], gradient[first : first + n], value.dtype.type
    s, v = square[start : start + n], velocity[start : start + n]
    scale, bound, decay, keep, lr = f(scale), f(bound), f(decay), f(keep), f(lr)
    rho, rest, eps, momentum = f(rho), f(rest), f(eps), f(momentum)
    for i in range(n):
        x = p[i] * keep
        d = _prepared(g[i], x, scale, bound, decay)
        mean = s[i] * rho + rest * d * d
        s[i] = mean
        u = d / (np.sqrt(mean) + eps)
        if momentum:
            u = v[i] * momentum + u
            v[i] = u
        p[i] = x - lr * u


@compiled("T1, T1, i, i, i, d, d, d, d, d, T1, d")
def _adagrad(value, gradient, start, first, n, scale, bound, decay, keep, lr, square, eps):
    p, g, s, f = value[start : start + n], gradient[first : first + n], square[start : start + n], value.dtype.type
    scale, bound, decay, keep, lr, eps = f(scale), f(bound), f(decay), f(keep), f(lr), f(eps)
    for i in range(n):
        x = p[i] * keep
        d = _prepared(g[i], x, scale, bound, decay)
        total = s[i] + d * d
        s[i] = total
        p[i] = x - d / (np.sqrt(total) + eps) * lr


@compiled("T1, T1, i, i, i, d, d, d, d, d, T1, T1, d, d, d, d, d, d")
def _adam(
    value,
    gradient,
    start,
    first,
    n,
    scale,
    bound,
    decay,
    keep,
    lr,
    mean,
    square,
    beta1,
    rest1,
    beta2,
    rest2,
    grown,
    eps,
):
    p, g, f = value[start : start + n], gradient[first : first + n], value.dtype.type
    m, s = mean[start : start + n], square[start : start + n]
    scale, bound, decay, keep, lr = f(scale), f(bound), f(decay), f(keep), f(lr)
    beta1, rest1, beta2, rest2, grown, eps = f(beta1), f(rest1), f(beta2), f(rest2), f(grown), f(eps)
    for i in range(n):
        x = p[i] * keep
        d = _prepared(g[i], x, scale, bound, decay)
        new, power = m[i] * beta1 + rest1 * d, s[i] * beta2 + rest2 * d * d
        m[i], s[i] = new, power
        p[i] = x - new / (np.sqrt(power) * grown + eps) * lr


@compiled("T1, i, i, T1")
def _squares(x, first, last, out):
    for run in range(first, last):
        part = x[run * _SUMMED : (run + 1) * _SUMMED]
        total = np.zeros(_LANES, x.dtype)
        for start in range(0, len(part), _LANES):
            few = part[start : start + _LANES]
            for i in range(len(few)):
                total[i] += few[i] * few[i]
        out[run] = total.sum()
