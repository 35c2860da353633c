"""What changes from one step to the next, in device memory: so that a recorded step, replayed, is the next one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet import kernels
from xpnet.backend import Array, Backend, namespace

__all__ = ["DeviceCounters"]


class DeviceCounters:
    """Step, epoch, update, learning rates and losses of an epoch in device memory, each always in the same place.

        counters.begin(epoch, 0, rates, t)
        ...                             # a step, which reads counters.step, .epoch, .t and .rate
        counters.advance(loss)

    Args:
        backend: where; its arrays can be written in place.
        steps: of an epoch, >= 1.
        dtype: of the rates and the losses, a floating type of the backend: the parameters'.
        groups: of the optimizer, each of which has a rate.
    Cost: (1 + groups) * steps numbers. Advancing is one launch where there is a kernel for it.
    """

    def __init__(self, backend: Backend, steps: int, dtype: Any, groups: int = 1) -> None:
        xp, device = backend.xp, backend.device
        self.backend = backend
        self.step: Array = xp.zeros((), dtype=xp.int64, device=device)
        self.epoch: Array = xp.zeros((), dtype=xp.int64, device=device)
        self.t: Array = xp.zeros((), dtype=xp.int64, device=device)
        self.rate: Array = xp.zeros((groups,), dtype=dtype, device=device)
        self.rates: Array = xp.zeros((steps + 1, groups), dtype=dtype, device=device)
        self.losses: Array = xp.zeros(steps, dtype=dtype, device=device)

    def begin(self, epoch: int, step: int, rates: Sequence[Sequence[float]], t: int) -> None:
        """Set the counters to a step of an epoch, without waiting for the device.

        Args:
            epoch, step: from 0.
            rates: the learning rates, one a group, of each step from this one to the epoch's last.
            t: the number of the step's update, from 1.
        """
        self.epoch[...] = epoch
        self.step[...] = step
        self.schedule(step, rates, t)

    def schedule(self, step: int, rates: Sequence[Sequence[float]], t: int) -> None:
        """Set the learning rates from a step on, which is the next to be run, and the number of its update."""
        self.t[...] = t
        n, groups = self.rates.shape
        table = np.zeros((n, groups))
        table[step : step + len(rates)] = np.reshape(rates, (-1, groups))
        self.rates[...] = self.backend.xp.astype(self.backend.from_numpy(table), self.rates.dtype)
        self.rate[...] = self.rates[step, ...]

    def advance(self, loss: Array) -> None:
        """Store the loss of the step that is done, and go on to the next: step and t increase by one.

        Args:
            loss: (), floating.
        """
        _advance(loss, self.losses, self.rates, self.rate, self.step, self.t)


@kernels.service("advance_counters")
def _advance(loss: Array, losses: Array, rates: Array, rate: Array, step: Array, t: Array) -> None:
    xp = namespace(losses)
    each = xp.arange(losses.shape[0], dtype=xp.int64, device=losses.device)
    losses[...] = xp.where(each == step, xp.astype(loss, losses.dtype, copy=False), losses)
    step += 1
    t += 1
    rate[...] = xp.reshape(xp.take(rates, xp.reshape(step, (1,)), axis=0), (-1,))
