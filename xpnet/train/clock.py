"""What changes from one step to the next, on the device: so that a recorded step, replayed, is the next one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet import kernels
from xpnet.backend import Array, Backend, namespace

__all__ = ["Clock"]


class Clock:
    """Step, epoch, learning rate and losses of an epoch in device memory, each always in the same place.

        clock.begin(epoch, 0, rates)
        ...                             # a step, which reads clock.step, clock.epoch and clock.rate
        clock.tick(loss, since)

    Args:
        backend: where; its arrays can be written in place.
        steps: of an epoch, >= 1.
        dtype: of the rates and the losses, a floating type of the backend: the parameters'.
    Cost: 2 * steps numbers. A tick is one launch where there is a kernel for it.
    """

    def __init__(self, backend: Backend, steps: int, dtype: Any) -> None:
        xp, device = backend.xp, backend.device
        self.backend = backend
        self.step: Array = xp.zeros((), dtype=xp.int64, device=device)
        self.epoch: Array = xp.zeros((), dtype=xp.int64, device=device)
        self.rate: Array = xp.zeros((), dtype=dtype, device=device)
        self.rates: Array = xp.zeros(steps + 1, dtype=dtype, device=device)
        self.losses: Array = xp.zeros(steps, dtype=dtype, device=device)

    def begin(self, epoch: int, step: int, rates: Sequence[float]) -> None:
        """Set the clock to a step of an epoch, without waiting for the device.

        Args:
            epoch, step: from 0.
            rates: the learning rate of each step from this one to the epoch's last.
        """
        self.epoch[...] = epoch
        self.step[...] = step
        self.schedule(step, rates)

    def schedule(self, step: int, rates: Sequence[float]) -> None:
        """Lay out other learning rates from a step on, which is the next to be run."""
        table = np.zeros(self.rates.shape[0])
        table[step : step + len(rates)] = rates
        self.rates[...] = self.backend.xp.astype(self.backend.from_numpy(table), self.rates.dtype)
        self.rate[...] = float(table[step])

    def tick(self, loss: Array, since: Array) -> None:
        """Note the loss of the step that is done, and go on to the next: step and since become one more.

        Args:
            loss: (), floating.
            since: (), int64; written in place.
        """
        _tick(loss, self.losses, self.rates, self.rate, self.step, since)


@kernels.service("tick")
def _tick(loss: Array, losses: Array, rates: Array, rate: Array, step: Array, since: Array) -> None:
    xp = namespace(losses)
    each = xp.arange(losses.shape[0], dtype=xp.int64, device=losses.device)
    losses[...] = xp.where(each == step, xp.astype(loss, losses.dtype, copy=False), losses)
    step += 1
    since += 1
    rate[...] = xp.reshape(xp.take(rates, xp.reshape(step, (1,)), axis=0), ())
