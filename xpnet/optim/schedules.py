"""Learning rates that change as training goes on.

Each schedule is a frozen dataclass: it prints as the call that makes it, and is called with the number of updates made
so far, from 0. Any function from that number to a rate is a schedule too.

>>> schedule = warmup(cosine(0.1, steps=90), steps=10)
>>> schedule
warmup(after=cosine(lr=0.1, steps=90, floor=0.0), steps=10)
>>> [round(schedule(step), 4) for step in (0, 9, 10, 55, 100)]
[0.0091, 0.0909, 0.1, 0.05, 0.0]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from xpnet.arguments import count, number
from xpnet.errors import ConfigError

__all__ = ["Rate", "Schedule", "constant", "cosine", "inverse_decay", "one_cycle", "step_decay", "warmup"]

Schedule = Callable[[int], float]
Rate = float | Schedule


@dataclass(frozen=True)
class constant:
    """The same rate at every step.

        lr(t) = lr

    Args:
        lr: the rate, >= 0.
    """

    lr: float

    def __post_init__(self) -> None:
        number("constant", "lr", self.lr, 0)

    def __call__(self, step: int) -> float:
        return self.lr


@dataclass(frozen=True)
class step_decay:
    """A rate multiplied by a factor every so many steps.

        lr(t) = lr * factor ** floor(t / every)

    Args:
        lr: the first rate, >= 0.
        every: steps between two drops, >= 1.
        factor: what the rate is multiplied by, > 0.
    """

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        number("step_decay", "lr", self.lr, 0)
        count("step_decay", "every", self.every)
        number("step_decay", "factor", self.factor, 0, above=True)

    def __call__(self, step: int) -> float:
        return self.lr * self.factor ** (step // self.every)


@dataclass(frozen=True)
class inverse_decay:
    """A rate that falls with the inverse of time, without end.

        lr(t) = lr / (1 + t / every)

    Args:
        lr: the first rate, >= 0.
        every: the steps after which the rate is half the first, >= 1.
    Source: Robbins and Monro (1951).
    """

    lr: float
    every: int

    def __post_init__(self) -> None:
        number("inverse_decay", "lr", self.lr, 0)
        count("inverse_decay", "every", self.every)

    def __call__(self, step: int) -> float:
        return self.lr / (1 + step / self.every)


@dataclass(frozen=True)
class cosine:
    """Half a cosine wave from a rate down to a floor, which then stays.

        lr(t) = floor + (lr - floor) * (1 + cos(pi * min(t, steps) / steps)) / 2

    Args:
        lr: the first rate, >= floor.
        steps: how many steps the decrease takes, >= 1.
        floor: the last rate, >= 0.
    Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts" (2017), section 3, no restart.
    """

    lr: float
    steps: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        number("cosine", "lr", self.lr, 0)
        count("cosine", "steps", self.steps)
        number("cosine", "floor", self.floor, 0)
        if self.floor > self.lr:
            raise ConfigError("cosine", "floor <= lr", floor=self.floor, lr=self.lr)

    def __call__(self, step: int) -> float:
        return _half_wave(self.lr, self.floor, min(step / self.steps, 1.0))


@dataclass(frozen=True)
class warmup:
    """A straight rise to the first rate of a schedule, which then runs from its own step 0.

        lr(t) = after(0) * (t + 1) / (steps + 1) where t < steps, else after(t - steps)

    Args:
        after: the schedule to follow, or a rate >= 0.
        steps: how many steps the rise takes, >= 0.
    Source: Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour" (2017), section 2.2.
    """

    after: Rate
    steps: int

    def __post_init__(self) -> None:
        count("warmup", "steps", self.steps, 0)
        if not callable(self.after):
            number("warmup", "after", self.after, 0)

    def __call__(self, step: int) -> float:
        after = self.after if callable(self.after) else constant(self.after)
        if step < self.steps:
            return after(0) * (step + 1) / (self.steps + 1)
        return after(step - self.steps)


@dataclass(frozen=True)
class one_cycle:
    """A rate that rises to a peak and falls far below its start, both along half a cosine wave, once.

        lr(0) = peak / start_divisor,  lr(r) = peak,  lr(steps - 1) = peak / (start_divisor * end_divisor)

    where r = warm * steps - 1; constant from step steps - 1 on.

    Args:
        peak: the highest rate, >= 0.
        steps: the length of training in steps, >= 2.
        warm: the part of it that rises, 0 < warm < 1.
        start_divisor: peak / first rate, >= 1.
        end_divisor: first rate / last rate, >= 1.
    Source: Smith and Topin, "Super-convergence: very fast training of neural networks using large learning rates"
        (2019); two phases and cosine waves as PyTorch's OneCycleLR has them.
    """

    peak: float
    steps: int
    warm: float = 0.3
    start_divisor: float = 25.0
    end_divisor: float = 1e4

    def __post_init__(self) -> None:
        number("one_cycle", "peak", self.peak, 0)
        count("one_cycle", "steps", self.steps, 2)
        number("one_cycle", "warm", self.warm, 0, 1, above=True)
        number("one_cycle", "start_divisor", self.start_divisor, 1)
        number("one_cycle", "end_divisor", self.end_divisor, 1)

    def __call__(self, step: int) -> float:
        start, last = self.peak / self.start_divisor, self.steps - 1
        top = max(self.warm * self.steps - 1, 0.0)  # under a step of rise there is none
        if step < top:
            return _half_wave(start, self.peak, step / top)
        return _half_wave(self.peak, start / self.end_divisor, min((step - top) / (last - top), 1.0))


def _half_wave(first: float, last: float, part: float) -> float:
    """Go from first (part 0) to last (part 1) along half a cosine wave."""
    return last + (first - last) * (1 + math.cos(math.pi * part)) / 2
