"""Captured steps beside eager ones: models, batches, and trainings of both kinds on the same batches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tests.train.fitting import digits, some_digits, trainer
from xpnet import models, nn, optim, random
from xpnet.optim import OPTIMIZERS, make_optimizer
from xpnet.train import Step, Trainer

IMAGE, CLASSES = (8, 8, 1), 10
Batch = tuple[np.ndarray, np.ndarray]


def built(name: str) -> Callable[[], nn.Module]:
    return lambda: models.build(name, IMAGE, CLASSES)


def mlp(activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    return nn.Sequential(
        flatten=nn.Flatten(), hidden=nn.Linear(64, 12), act=activation(), scores=nn.Linear(12, CLASSES)
    )


def everything() -> nn.Sequential:
    """A net of kernels that launch, ops in standard code, views, sums of gradients and draws."""
    body = nn.Sequential(
        conv1=nn.Conv2d(4, 4, 3, padding=1), norm1=nn.BatchNorm(4), relu=nn.ReLU(), conv2=nn.Conv2d(4, 4, 3, padding=1)
    )
    return nn.Sequential(
        conv=nn.Conv2d(1, 4, 3, padding=1),
        norm=nn.BatchNorm(4),
        relu=nn.ReLU(),
        block=nn.Residual(body),
        lrn=nn.LocalResponseNorm(3, alpha=0.5),
        pool=nn.MaxPool2d(3, stride=2, padding=1),
        drop=nn.Dropout(0.3),
        flatten=nn.Flatten(),
        layer=nn.LayerNorm(64),
        scores=nn.Linear(64, CLASSES),
    )


def the_rest() -> nn.Sequential:
    """A net of the layers that are not in everything, one of them used twice."""
    twice = nn.Linear(6, 6, bias="augmented")
    return nn.Sequential(
        conv=nn.Conv2d(1, 4, 3, padding=1, flip=True, dilation=2, bias=False),
        leak=nn.LeakyReLU(0.2),
        block=nn.Residual(nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.PadChannels(1, 1)),
        pool=nn.AvgPool2d(3, stride=2, padding=1),
        gap=nn.GlobalAvgPool2d(),
        first=twice,
        soft=nn.Softmax(),
        second=twice,
        scores=nn.Linear(6, CLASSES, bias=False),
        log=nn.LogSoftmax(),
    )


MODELS: dict[str, Callable[[], nn.Module]] = {
    "softmax": built("softmax"),
    **{f"mlp of {act.__name__}": partial(mlp, act) for act in (nn.ReLU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.GELU)},
    "lenet5": built("lenet5"),
    "everything": everything,
    "the rest": the_rest,
}
RULES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in OPTIMIZERS},
    "decay": ("momentum", {"weight_decay": 0.1}),
    "clip_norm": ("nesterov", {"clip_norm": 0.1}),
    "clip_value": ("adam", {"clip_value": 0.01, "weight_decay": 0.1}),
    "rmsprop with momentum": ("rmsprop", {"momentum": 0.8}),
    "a schedule": ("adamw", {"lr": optim.warmup(optim.cosine(0.05, steps=9), steps=3)}),
}


def batch(i: int, n: int = 5) -> Batch:
    draw = np.random.default_rng([i, n])
    return draw.normal(size=(n, *IMAGE)).astype(np.float32), draw.integers(0, CLASSES, n)


class Training:
    """A model with its optimizer and its step, and the losses so far."""

    def __init__(
        self,
        model: nn.Module,
        capture: bool | None = None,
        optimizer: str | Callable[..., Any] = "momentum",
        loss: Any = nn.softmax_cross_entropy,
        rule: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.model: Any = model.initialize(3).train()
        make = partial(make_optimizer, optimizer) if isinstance(optimizer, str) else optimizer
        self.optimizer = make(self.model.parameters(), **(rule or {}))
        self.step = Step(self.model, loss, self.optimizer, capture=capture, **{"threads": 1, **options})
        self.losses: list[Any] = []
        self.seen: list[Any] = []  # by a gradient hook

    def state(self) -> dict[str, np.ndarray]:
        return {**self.model.state_dict(), **self.optimizer.state_dict()[0], "losses": np.asarray(self.losses)}


def pair(make: Callable[[], nn.Module] = mlp, capture: bool | None = None, **how: Any) -> list[Training]:
    """The captured training, and the eager one."""
    return [Training(make(), capture, **how), Training(make(), False, **how)]


def assert_alike(trainings: list[Training]) -> None:
    ours, theirs = (training.state() for training in trainings)
    assert ours.keys() == theirs.keys()
    for name, want in theirs.items():
        assert ours[name].dtype == want.dtype, name
        np.testing.assert_array_equal(ours[name], want, err_msg=name)
    assert trainings[0].optimizer.state_dict()[1] == trainings[1].optimizer.state_dict()[1]


def go(trainings: list[Training], steps: range, sizes: tuple[int, ...] = (5,), in_context: bool = False) -> None:
    """Train each on the same batches, of sizes in turn, and compare all after each step."""
    for i in steps:
        for training in trainings:
            given = batch(i, sizes[i % len(sizes)])
            with random.use(random.StepContext(7, i // 4, i % 4) if in_context else None):
                training.losses.append(training.step(*given))
        assert_alike(trainings)


def fitted(capture: bool | None, model: Any, callbacks: Any = (), **options: Any) -> Trainer:
    fit = trainer(model() if callable(model) else model, optimizer="adam", callbacks=callbacks, capture=capture)
    fit.fit(some_digits(70), digits()[1].take(np.arange(30)), epochs=3, batch_size=16, **options)
    return fit


class Counts:
    recorded = verified = replayed = 0

    @property
    def all(self) -> tuple[int, int, int]:
        return self.recorded, self.verified, self.replayed
