"""Planned steps beside eager ones: models, batches, and runners that train on the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tests.train.fitting import digits, some_digits, trainer
from xpnet import models, nn, optim, random
from xpnet.optim import OPTIMIZERS, make_optimizer
from xpnet.train import EagerStep, Trainer
from xpnet.train.planned import PlannedStep

IMAGE, CLASSES = (8, 8, 1), 10
Batch = tuple[np.ndarray, np.ndarray]


def built(name: str) -> Callable[[], nn.Module]:
    return lambda: models.build(name, IMAGE, CLASSES)


def mlp(activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    return nn.Sequential(
        flatten=nn.Flatten(), hidden=nn.Linear(64, 12), act=activation(), scores=nn.Linear(12, CLASSES)
    )


def everything() -> nn.Sequential:
    """A net of what kernels launch, of what is computed anew, of views, sums of gradients and draws."""
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
    """A net of the layers that everything lacks, one of them used twice."""
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


class Runner:
    """A model with its optimizer and its step, and the losses so far."""

    def __init__(
        self,
        kind: type[EagerStep],
        model: nn.Module,
        optimizer: str | Callable[..., Any] = "momentum",
        loss: Any = nn.softmax_cross_entropy,
        rule: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.model: Any = model.initialize(3).train()
        make = partial(make_optimizer, optimizer) if isinstance(optimizer, str) else optimizer
        self.optimizer = make(self.model.parameters(), **(rule or {}))
        self.step = kind(self.model, loss, self.optimizer, **options)
        self.losses: list[Any] = []
        self.seen: list[Any] = []  # by who looks

    def state(self) -> dict[str, np.ndarray]:
        return {**self.model.state_dict(), **self.optimizer.state_dict()[0], "losses": np.asarray(self.losses)}


def pair(make: Callable[[], nn.Module] = mlp, plan: bool | None = None, **how: Any) -> list[Runner]:
    """The planned runner, and the one that is eager."""
    return [Runner(PlannedStep, make(), plan=plan, **how), Runner(EagerStep, make(), **how)]


def assert_alike(runners: list[Runner]) -> None:
    ours, theirs = (runner.state() for runner in runners)
    assert ours.keys() == theirs.keys()
    for name, want in theirs.items():
        assert ours[name].dtype == want.dtype, name
        np.testing.assert_array_equal(ours[name], want, err_msg=name)
    assert runners[0].optimizer.state_dict()[1] == runners[1].optimizer.state_dict()[1]


def go(runners: list[Runner], steps: range, sizes: tuple[int, ...] = (5,), moments: bool = False) -> None:
    """Train each on the same batches, of sizes in turn, and compare all after each step."""
    for i in steps:
        for runner in runners:
            given = batch(i, sizes[i % len(sizes)])
            if moments:
                with random.use(random.StepContext(7, i // 4, i % 4)):
                    runner.losses.append(runner.step(*given))
            else:
                runner.losses.append(runner.step(*given))
        assert_alike(runners)


def fitted(capture: bool | None, model: Any, callbacks: Any = (), **options: Any) -> Trainer:
    fit = trainer(model() if callable(model) else model, optimizer="adam", callbacks=callbacks, capture=capture)
    fit.fit(some_digits(70), digits()[1].take(np.arange(30)), epochs=3, batch_size=16, **options)
    return fit


class Counts:
    noted = proven = replayed = 0

    @property
    def all(self) -> tuple[int, int, int]:
        return self.noted, self.proven, self.replayed
