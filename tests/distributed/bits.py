"""Small trainings of every kind, whose weights are compared bit for bit between numbers of processes and threads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.train.fitting import digits, some_digits
from xpnet import models, nn
from xpnet.optim import make_optimizer
from xpnet.train import Trainer, read_checkpoint

IMAGE = (8, 8, 1)


def cnn() -> nn.Sequential:
    return nn.Sequential(
        conv1=nn.Conv2d(1, 6, 3, padding=1),
        relu1=nn.ReLU(),
        drop1=nn.Dropout(0.2),
        conv2=nn.Conv2d(6, 6, 3, padding=1),
        relu2=nn.ReLU(),
        pool=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        drop=nn.Dropout(0.3),
        scores=nn.Linear(96, 10),
    )


def built(name: str) -> Callable[[], nn.Module]:
    return lambda: models.build(name, IMAGE, 10)


# 101 digits in batches of 33: the last has 2, fewer than there are shards
KINDS: dict[str, dict[str, Any]] = {
    "mlp": {"model": built("mlp")},
    "lenet5": {"model": built("lenet5"), "optimizer": "adam", "augment": True},
    "cnn": {"model": cnn, "optimizer": "momentum", "weights": True, "accumulate": 2},
    "resnet20": {"model": built("resnet20"), "examples": 35},
    "resnet20 local": {"model": built("resnet20"), "examples": 35, "batch_norm": "local"},
}


def train(
    model: Callable[[], nn.Module],
    optimizer: str = "momentum",
    examples: int = 101,
    augment: bool = False,
    weights: bool = False,
    epochs: int = 2,
    resume: str = "",
    **options: Any,
) -> Trainer:
    """Train some epochs, or the rest of them from a checkpoint."""
    net = model().initialize(3)
    trainer = Trainer(net, make_optimizer(optimizer, net.parameters(), 0.01), seed=3, **options)
    if resume:
        trainer.resume(read_checkpoint(resume))
    weighing = np.random.default_rng(0).uniform(0, 2, examples).astype(np.float32) if weights else None
    change = "light" if augment else None
    trainer.fit(
        some_digits(examples), digits()[1].take(np.arange(40)), epochs=epochs, batch_size=33, augment=change,
        sample_weight=weighing,
    )  # fmt: skip
    return trainer


def digest(trainer: Trainer) -> str:
    """Return a checksum of weights, averages and the optimizer's state, and the figures of the last epoch."""
    found = hashlib.sha256()
    for arrays in (trainer.model.state_dict(), trainer.optimizer.state_dict()[0]):
        for name in sorted(arrays):
            found.update(arrays[name].tobytes())
    figures = {name: value for name, value in trainer.history[-1].items() if name != "seconds"}
    return f"{found.hexdigest()[:16]} {figures}"
