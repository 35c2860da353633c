"""The service "update": new values for a flat array of parameters and for an optimizer's state.

The function here is the reference, in standard calls; kernels compute the same in one pass. Before the rule, each
gradient is prepared: divided by the loss scale, clipped, and weight decay is added.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from xpnet import kernels
from xpnet.backend import Array, library, namespace, set_at
from xpnet.optim.clipping import clip_value, norm_scale
from xpnet.optim.flat import GRID, concatenate
from xpnet.optim.loss_scale import LossScale

__all__ = ["Segment", "State", "Update", "merge", "update"]

# On NumPy an update is several array operations, between which a block of parameter, gradient and state should stay
# in the cache; and a gradient of more than LARGE elements costs more to copy than to update on its own.
BLOCK = 1 << 17
LARGE = 1 << 15

State = dict[str, Array]


class Segment(NamedTuple):
    """Elements start .. stop of a flat array, their gradient (stop - start elements), and the group they belong to."""

    start: int
    stop: int
    gradient: Array
    group: int


class Update(NamedTuple):
    """All that one update needs besides the flat array of the parameters.

    Args:
        rule: (p, g, state, lr, t) -> (p, state); see Optimizer.rule.
        formula: a key of rules.RULES where that is the rule, else "": then no kernel knows it.
        constants: the rule's numbers, as kernels take them.
        segments: one for each parameter that has a gradient; gradients may be float16 under scaling.
        state: flat arrays by name, in the order of the optimizer's state_names.
        rates: the learning rate of each group: numbers, or 0-dimensional arrays.
        t: the number of this update, from 1: an int, or an int64 array, ().
        decays: the weight decay of each group; decoupled: taken off the parameter, times the rate.
        clip_norm, clip_value: bounds on the gradient, or None.
        scaling: what the loss was multiplied by, or None.
    """

    rule: Callable[..., tuple[Array, State]]
    formula: str
    constants: tuple[float, ...]
    segments: Sequence[Segment]
    state: State
    rates: Sequence[Any]
    t: Any
    decays: Sequence[float]
    decoupled: bool
    clip_norm: float | None
    clip_value: float | None
    scaling: LossScale | None


@kernels.service("update")
def update(value: Array, work: Update) -> tuple[Array, State] | None:
    """Update parameters and state, in place where arrays can be written.

    Args:
        value: the parameters, (size,).
        work: all else. Arrays among its numbers are read now.
    Returns:
        None where all was written in place, else the new parameters and state. Where gradients of a scaled loss
        overflowed, both are as before.
    """
    xp, before, state, scaling = namespace(value), value, dict(work.state), work.scaling
    segments, rates, t, finite = work.segments, work.rates, work.t, None
    if library(value).on_host:
        rates, t = [float(rate) for rate in rates], int(t)
    elif not isinstance(t, int):
        t = xp.astype(t, value.dtype)
    if scaling is not None:
        factor = xp.astype(1.0 / scaling.value, value.dtype)
        segments = [s._replace(gradient=xp.astype(s.gradient, value.dtype) * factor) for s in segments]
        finite = scaling.finite([s.gradient for s in segments])
        t = t - xp.astype(scaling.skipped, value.dtype)
    segments = merge(segments)
    scale = None if work.clip_norm is None else norm_scale([s.gradient for s in segments], work.clip_norm)
    for start, stop, g, group in segments:
        lr, decay, here = rates[group], work.decays[group], slice(start, stop)
        old_p, old = value[here], {name: x[here] for name, x in state.items()}
        p, new = old_p, dict(old)
        if finite is not None:  # the old values may have to stay
            p, new = xp.asarray(p, copy=True), {name: xp.asarray(x, copy=True) for name, x in old.items()}
        if scale is not None:
            g = g * scale
        elif work.clip_value is not None:
            g = clip_value(g, work.clip_value)
        if decay and work.decoupled:
            p *= 1 - lr * decay
        elif decay:
            g = g + decay * p
        p, new = work.rule(p, g, new, lr, t)
        if finite is not None:
            p, new = xp.where(finite, p, old_p), {name: xp.where(finite, new[name], old[name]) for name in old}
        if p is not old_p:
            value = set_at(value, here, p)
        for name, x in new.items():
            if x is not old[name]:
                state[name] = set_at(state[name], here, x)
    if scaling is not None and finite is not None:
        scaling.renew(finite)
    return None if value is before else (value, state)


def merge(segments: Sequence[Segment]) -> list[Segment]:
    """Join neighbouring segments of one group, so that array code takes few calls; on NumPy, cut long ones instead.

    Returns:
        Segments that cover the given ones, each with a flat gradient, (stop - start,).
    """
    runs: list[list[Segment]] = []
    for segment in segments:
        start, stop, gradient, group = segment
        last = runs[-1][-1] if runs else None
        if _is_long(segment):
            flat, cuts = gradient.reshape(-1), [*range(start, stop, BLOCK), stop]
            runs += [[Segment(a, b, flat[a - start : b - start], group)] for a, b in itertools.pairwise(cuts)]
        elif last and not _is_long(last) and last.group == group and start - last.stop < GRID:
            runs[-1].append(segment)
        else:
            runs.append([segment])
    return [
        Segment(
            run[0].start, run[-1].stop, concatenate([s.gradient for s in run], [s.start for s in run]), run[0].group
        )
        for run in runs
    ]


def _is_long(segment: Segment) -> bool:
    return segment.stop - segment.start > LARGE and isinstance(segment.gradient, np.ndarray)
