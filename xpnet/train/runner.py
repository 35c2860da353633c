"""How the batches of an epoch become training steps.

On the host a step is called with each batch. On a device whose work is recorded, a step reads what changes from step to
step in device memory, and moves it on itself: which batch, which draws, which rate. So a replayed step is one launch,
and the host waits for nothing; see DeviceCounters.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator
from typing import Any

from xpnet import random
from xpnet.backend import Array
from xpnet.capture import Captured
from xpnet.data import several
from xpnet.data.batches import Batches
from xpnet.nn.context import modes
from xpnet.train.counters import DeviceCounters
from xpnet.train.metrics.average import Slot, batch_weight
from xpnet.train.step import Step

__all__ = ["Runner"]

Steps = Generator[tuple[float, Array | Slot], None, None]


class Runner:
    """Trains on the batches of a feed.

    Args:
        step: what a step computes.
        feed: serves the batches.
        seed: of the draws made within a step.
        capture: None or True: use device counters where the feed's backend records work for a device; then the step's
            own recordings are not used. False: never.
    """

    def __init__(self, step: Step, feed: Batches, seed: int, capture: bool | None = None) -> None:
        self.step = step
        self.feed = feed
        self.seed = seed
        self.counters: DeviceCounters | None = None
        self._size = 0  # of the batch under way
        self._label_weight = batch_weight(step.loss)
        self._is_part = step.processes.communicator.size > 1  # of each batch, that the feed serves
        recorder = feed.backend.recorder()
        if capture is not False and recorder is not None and recorder.is_device and feed.counted:
            optimizer, steps = step.optimizer, feed.steps or 0
            self.counters = DeviceCounters(feed.backend, steps, optimizer.flat.dtype, len(optimizer.groups))
            self._captured: Captured = step.capture(self._counted, capture, feed, log_level=logging.WARNING)

    def epoch(self, epoch: int, start: int) -> Steps:
        """Train on the batches of an epoch from a step on.

        Args:
            epoch, start: from 0.
        Returns:
            An iterator that trains one step each time it is asked: (weight, loss), what the batch weighs in the epoch's
            average and the loss, still on the device. Closing it early leaves model and optimizer as after the last
            step.
        """
        steps = self._from_host(epoch, start) if self.counters is None else self._from_counters(epoch, start)
        weights = self.feed.batch_weights(epoch, self._label_weight)
        return steps if weights is None else self._weighted(steps, start, weights)

    def _weighted(self, steps: Steps, start: int, weights: Callable[[int], float]) -> Steps:
        """Replace the number of examples of each step by the weight of its batch, which the host knows."""
        with contextlib.closing(steps):
            for step, (_, loss) in enumerate(steps, start):
                yield weights(step), loss

    def _from_host(self, epoch: int, start: int) -> Steps:
        with _closing(self.feed.epoch(epoch, start)) as batches:
            for step, (x, y) in enumerate(batches, start):
                n = several.count(x) if isinstance(x, tuple | dict) else x.shape[0]
                if self._is_part:
                    n = self.feed.size(step)
                with random.use(random.StepContext(self.seed, epoch, step)):
                    loss = self.step(x, y, n)
                yield n, loss

    def _from_counters(self, epoch: int, start: int) -> Steps:
        feed, counters, optimizer = self.feed, self.counters, self.step.optimizer
        assert counters is not None
        total = feed.steps or 0
        optimizer.sync()
        set_rates, updates = self._set_rates(), optimizer.steps
        counters.begin(epoch, start, self._rates(total - start), updates + 1)
        with contextlib.ExitStack() as stack:
            batches: Any = None
            if feed.resident:
                feed.begin(epoch)
            else:
                batches = stack.enter_context(_closing(feed.raw(epoch, start)))
            for step in range(start, total):
                if optimizer.steps != updates or self._set_rates() != set_rates:  # changed by a callback
                    set_rates, updates = self._set_rates(), optimizer.steps
                    counters.schedule(step, self._rates(total - step), updates + 1)
                size = feed.size(step)
                batch = () if batches is None else next(batches)
                self._size = size
                if self._is_part and self.step.joint is not None:
                    self.step.joint.begin(size, optimizer.rates(), updates)
                self._captured(*batch, key=(size, modes()), eager=self.step.is_eager(self._captured))
                optimizer.steps = updates = updates + 1
                yield size, Slot(counters.losses, step)

    def _counted(self, *raw: Array) -> None:
        """Train on the batch that the counters name, or on a raw one, and advance the counters."""
        feed, counters = self.feed, self.counters
        assert counters is not None
        with random.use(random.StepContext(self.seed, counters.epoch, counters.step)):
            if raw:
                x, y = feed.finish_batch(*raw)
            else:
                x, y = feed.batch_at(counters.step, counters.epoch, self._size)
            loss = self.step.compute(x, y, counters.rate, counters.t, self._size)
        counters.advance(loss)

    def _set_rates(self) -> list[Any]:
        """The rates and schedules that are set."""
        optimizer = self.step.optimizer
        return [optimizer.lr, *(group.lr for group in optimizer.groups)]

    def _rates(self, steps: int) -> list[list[float]]:
        """The learning rates of each of the next steps."""
        optimizer = self.step.optimizer
        return [optimizer.rates(optimizer.steps + i) for i in range(steps)]


@contextlib.contextmanager
def _closing(batches: Any) -> Generator[Any, None, None]:
    try:
        yield batches
    finally:
        getattr(batches, "close", lambda: None)()
