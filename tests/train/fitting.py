"""Small trainings that the tests of training share."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np

from xpnet import data, models, nn
from xpnet.backend import Backend
from xpnet.data import Dataset
from xpnet.nn import Module
from xpnet.optim import make_optimizer
from xpnet.train import Callback, Checkpoint, Trainer


@cache
def digits() -> tuple[Dataset, Dataset]:
    return data.load("digits")


@cache
def some_digits(n: int) -> Dataset:
    """The first n training digits."""
    return digits()[0].take(np.arange(n))


def noisy_net() -> nn.Sequential:
    """A network whose training draws masks and keeps running averages: all that a resume could lose."""
    return nn.Sequential(
        conv=nn.Conv2d(1, 4, 3, padding=1),
        norm=nn.BatchNorm(4),
        relu=nn.ReLU(),
        pool=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        drop=nn.Dropout(0.3),
        scores=nn.Linear(64, 10),
    )


def trainer(
    model: str | Module = "mlp",
    backend: str | Backend = "numpy",
    optimizer: str = "momentum",
    lr: Any = 0.05,
    callbacks: Iterable[Callback] = (),
    **options: Any,
) -> Trainer:
    """A trainer of digits, its model on a backend with the weights of seed 3."""
    net = models.build(model, (8, 8, 1), 10) if isinstance(model, str) else model
    net = net.to(backend).initialize(3)
    return Trainer(net, make_optimizer(optimizer, net.parameters(), lr), seed=3, callbacks=callbacks, **options)


class Recorded:
    """The softmax cross-entropy, and what it was at each step, still on the device."""

    def __init__(self) -> None:
        self.each: list[Any] = []

    def __call__(self, scores: Any, labels: Any) -> Any:
        value = nn.softmax_cross_entropy(scores, labels)
        self.each.append(value)
        return value

    def numbers(self) -> np.ndarray:
        return np.asarray([value.item() for value in self.each])


class InterruptAt(Callback):
    """Presses Ctrl-C at the end of a step; both numbers from 0."""

    def __init__(self, epoch: int, step: int) -> None:
        self.moment = (epoch, step + 1)

    def on_step(self, trainer: Trainer) -> None:
        if (trainer.epoch, trainer.step) == self.moment:
            signal.raise_signal(signal.SIGINT)


class Script(Callback):
    """Puts figures of a script in the place of an epoch's own."""

    def __init__(self, **figures: list[float]) -> None:
        self.figures = figures

    def on_epoch(self, trainer, record):
        for name, values in self.figures.items():
            record[name] = values[record["epoch"] - 1]


def assert_same_state(got: Checkpoint, want: Checkpoint) -> None:
    """Parameters, buffers and optimizer state bit for bit; counters and history too, but for seconds."""
    for kind in ("model", "optimizer"):
        a, b = getattr(got, kind), getattr(want, kind)
        assert a.keys() == b.keys()
        for name in b:
            assert a[name].dtype == b[name].dtype, name
            np.testing.assert_array_equal(a[name], b[name], err_msg=f"{kind}.{name}")
    assert got.meta["optimizer"] == want.meta["optimizer"]
    assert without_seconds(got.meta["history"]) == without_seconds(want.meta["history"])
    for counter in ("epoch", "step", "loss_sum", "examples", "seed"):
        assert got.meta["progress"][counter] == want.meta["progress"][counter], counter


def without_seconds(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in record.items() if name != "seconds"} for record in history]
