"""How the steps of an epoch are run, apart from what a step computes: here one after another, op by op."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Protocol

from xpnet import random
from xpnet.backend import Array
from xpnet.data import Feed
from xpnet.train.metrics import Slot
from xpnet.train.step import EagerStep

__all__ = ["EagerRunner", "Runner"]


class Runner(Protocol):
    """Owns the way from a feed's batches to trained steps; the trainer only counts them."""

    def epoch(self, feed: Feed, epoch: int, start: int) -> Generator[tuple[int, Array | Slot], None, None]:
        """Train on the batches of an epoch from a step on.

        Args:
            feed: serves the batches.
            epoch, start: from 0.
        Returns:
            An iterator that trains one step each time it is asked: (examples, loss), the loss still on the device.
            Closing it early leaves model and optimizer as after the last step it gave.
        """
        ...


class EagerRunner:
    """Run a step after another, each op by op.

    Args:
        step: what a step computes.
        seed: of the draws made within a step.
    """

    def __init__(self, step: EagerStep, seed: int) -> None:
        self.step = step
        self.seed = seed

    def epoch(self, feed: Feed, epoch: int, start: int) -> Generator[tuple[int, Array | Slot], None, None]:
        """Train on the batches of an epoch from a step on; see Runner."""
        with contextlib.ExitStack() as stack:
            batches = feed.epoch(epoch, start)
            stack.callback(getattr(batches, "close", lambda: None))
            for step, (x, y) in enumerate(batches, start):
                with random.use(random.StepContext(self.seed, epoch, step)):
                    loss = self.step(x, y)
                yield x.shape[0], loss
