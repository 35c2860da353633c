"""The losses of single steps, for callbacks that write them: read from the device once a second, with those before."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

from xpnet.train.callbacks import Training

__all__ = ["StepLoss", "StepLosses"]

_PAUSE = 1.0  # seconds between two readings


class StepLoss(NamedTuple):
    """One step: the number of its update from 1, its loss, and the learning rate of each group."""

    update: int
    loss: float
    rates: list[float]


class StepLosses:
    """Gives each loss of every n-th update once, and each that is not finite.

    Args:
        every: n, >= 1.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._old: object = None
        self._before = -1  # not begun

    def start(self, trainer: Training) -> None:
        """Begin with the steps of a fit."""
        self._old = trainer.meter
        self._begin(trainer)

    def after_step(self, trainer: Training) -> list[StepLoss]:
        """Return new losses, about once a second; else none."""
        update = self._before + trainer.step
        if update % self.every == 0:
            self._rates[update] = trainer.optimizer.rates(trainer.optimizer.steps - 1)
        if (now := time.monotonic()) - self._last < _PAUSE:
            return []
        self._last = now
        trainer.meter.read()
        return self.new(trainer)

    def after_epoch(self, trainer: Training) -> list[StepLoss]:
        """Return new losses; the next steps are of another epoch."""
        found = self.new(trainer)
        self._old = trainer.meter
        self._begin(trainer)
        return found

    def new(self, trainer: Training) -> list[StepLoss]:
        """Return the losses that were read since the last call."""
        found: list[StepLoss] = []
        if self._before < 0 or trainer.meter is self._old:
            return found
        losses = trainer.meter.losses
        for step in range(self._seen + 1, next(reversed(losses), 0) + 1):
            update = self._before + step
            if step in losses and (update % self.every == 0 or not math.isfinite(losses[step])):
                rates = self._rates.pop(update, None) or trainer.optimizer.rates(update - 1)
                found.append(StepLoss(update, losses[step], rates))
            self._seen = step
        return found

    def _begin(self, trainer: Training) -> None:
        self._before = trainer.optimizer.steps - trainer.step  # updates before the epoch
        self._seen, self._last = 0, time.monotonic()
        self._rates: dict[int, list[float]] = {}
