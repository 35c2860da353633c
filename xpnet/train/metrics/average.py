"""The average loss of an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from xpnet import arguments, nn
from xpnet.backend import Array, Backend
from xpnet.data import host
from xpnet.errors import DivergedError

__all__ = ["LossMeter", "Slot", "batch_weight", "is_sum", "needs_each_class"]


def is_sum(loss: Callable[..., Any]) -> bool:
    """Whether a loss adds up its examples: a loss of xpnet.nn with reduction="sum"."""
    loss, options = _unwrapped(loss)
    return nn.is_average(loss) and options.get("reduction") == "sum"


def needs_each_class(loss: Callable[..., Any]) -> bool:
    """Whether a loss takes a score for each of the labels 0..K-1, also where K is 2: those of xpnet.nn do."""
    return _unwrapped(loss)[0] in (nn.softmax_cross_entropy, nn.hinge_loss, nn.perceptron_loss)


def _unwrapped(loss: Any) -> tuple[Any, dict[str, Any]]:
    """Return the function in a functools.partial, also a nested one, and its options."""
    options: dict[str, Any] = {}
    while isinstance(loss, partial):
        loss, options = loss.func, {**loss.keywords, **options}
    return loss, options


def batch_weight(loss: Callable[..., Any]) -> Callable[[np.ndarray], float] | None:
    """Return what a batch weighs in the average of an epoch, from its labels (N,); None: its number of examples.

    It is the sum of v[label] for a cross-entropy with class weights v, whose mean divides by it; and what a custom loss
    with a method weigh(labels) says.
    """
    if callable(weigh := getattr(loss, "weigh", None)):
        return weigh  # pyright: ignore[reportReturnType]
    loss, options = _unwrapped(loss)
    v = options.get("class_weights")
    if loss is not nn.softmax_cross_entropy or v is None or options.get("reduction", "mean") != "mean":
        return None
    weights = host("fit", v).astype(np.float64)
    return lambda labels: float(weights[labels].sum())


class Slot(NamedTuple):
    """One number in an array on the device: buffer[place]."""

    buffer: Array
    place: int


class LossMeter:
    """The average loss of an epoch; the losses of the steps stay on the device until the average is read.

    Args:
        backend: where the losses are.
        total, count: the weighted sum of losses and the weight before, when an epoch is resumed.
        sums: whether the losses are sums over examples, to be added up, and no means.
    """

    def __init__(self, backend: Backend, total: float = 0.0, count: float = 0, *, sums: bool = False) -> None:
        self.backend = arguments.instance("LossMeter", "backend", backend, kind=Backend, rule="a Backend")
        for name, value in (("total", total), ("count", count)):
            arguments.number("LossMeter", name, value)
        self.total = total
        self.count = count
        self.sums = arguments.boolean("LossMeter", "sums", sums)
        self.losses: dict[int, float] = {}  # by step, of those that were read: also the one that is not finite
        self._pending: list[tuple[int, float, Array | Slot]] = []

    def add(self, step: int, weight: float, loss: Array | Slot) -> None:
        """Add the mean loss of a step over its examples; nothing is copied.

        Args:
            step: its number, for messages.
            weight: what the batch weighs in the average: N, or as batch_weight says.
            loss: (), on the device; or the slot that holds it, which must not change until it is read.
        """
        self._pending.append((step, weight, loss))

    def read(self) -> float:
        """Copy the losses to the host, and return the average so far.

        Raises:
            DivergedError: a step's loss was NaN or infinite; the message names the first.
        Cost: one transfer for any number of steps (one a buffer, of slots); sums are in the order of steps, whenever
            read.
        """
        if self._pending:
            losses = self._fetched([loss for _, _, loss in self._pending])
            for (step, weight, _), loss in zip(self._pending, losses, strict=True):
                self.losses[step] = loss
                if not math.isfinite(loss):
                    raise DivergedError.event("loss", "the loss is not finite", "lower lr", step=step, loss=loss)
                self.total += loss if self.sums else loss * weight
                self.count = 1 if self.sums else self.count + weight
            self._pending.clear()
        return self.total / self.count if self.count else 0.0

    def _fetched(self, losses: list[Array | Slot]) -> list[float]:
        xp, to_numpy = self.backend.xp, self.backend.to_numpy
        single = [loss for loss in losses if not isinstance(loss, Slot)]
        host = self.backend.on_host  # where np.stack is slow
        join = np.asarray if host else lambda each: xp.stack([xp.asarray(x) for x in each])
        singles = iter(to_numpy(join(single)).tolist() if single else ())
        buffers = {id(loss.buffer): loss.buffer for loss in losses if isinstance(loss, Slot)}
        read = {key: to_numpy(buffer).tolist() for key, buffer in buffers.items()}
        return [read[id(loss.buffer)][loss.place] if isinstance(loss, Slot) else next(singles) for loss in losses]
