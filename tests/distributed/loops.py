"""Loops and streams in several processes, of which each test compares a checksum with that of one process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from xpnet import get_backend, nn
from xpnet.distributed import Communicator
from xpnet.optim import SGD, Adam
from xpnet.train import Step, Trainer

N = 45
X = np.random.default_rng(1).normal(size=(N, 6)).astype(np.float32)
Y = np.random.default_rng(2).integers(0, 3, N)


def net() -> nn.Sequential:
    return nn.Sequential(
        first=nn.Linear(6, 5), drop=nn.Dropout(0.3), norm=nn.BatchNorm(5), act=nn.Tanh(), scores=nn.Linear(5, 3)
    )


def digest(model: nn.Module, figures: Any) -> str:
    """Return a checksum of the weights, and figures."""
    found = hashlib.sha256()
    for value in model.state_dict().values():
        found.update(np.ascontiguousarray(value).tobytes())
    return f"{found.hexdigest()[:16]} {figures}"


def loop(communicator: Communicator, backend: str, is_told: bool) -> str:
    """A loop of the user's own: three lines of it know of processes."""
    where = get_backend(backend)
    model = net().to(where).initialize(1).train()
    step = Step(model, nn.softmax_cross_entropy, Adam(model.parameters(), 0.01), communicator=communicator, shards=8)
    losses = []
    for _ in range(2):
        for start in range(0, N, 20):  # 20, 20 and 5, fewer than shards
            x, y = X[start : start + 20], Y[start : start + 20]
            rows = slice(*step.processes.part.rows(len(x)))
            n = len(x) if is_told else None
            losses.append(float(step(where.from_numpy(x[rows]), where.from_numpy(y[rows]), n)))
    return digest(model, losses)


def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start, stop in ((0, 19), (19, 22), (22, N)):
        yield X[start:stop], Y[start:stop]


def stream(communicator: Communicator, accumulate: int) -> str:
    """A training on a stream, which each process reads whole."""
    model = net().initialize(1)
    trainer = Trainer(
        model, SGD(model.parameters(), 0.05), seed=3, communicator=communicator, shards=8, accumulate=accumulate
    )
    trainer.fit(batches, batches, epochs=2)
    return digest(model, [{k: v for k, v in record.items() if k != "seconds"} for record in trainer.history])


KINDS: dict[str, Callable[[Communicator], str]] = {
    "a loop": lambda communicator: loop(communicator, "cpu", True),
    "a loop that asks for N": lambda communicator: loop(communicator, "cpu", False),
    "a loop on torch": lambda communicator: loop(communicator, "torch", True),
    "a stream": lambda communicator: stream(communicator, 1),
    "a stream, accumulated": lambda communicator: stream(communicator, 2),
}
