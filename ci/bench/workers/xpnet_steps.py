"""xpnet's training step as Trainer.fit runs it, or model.predict; images channels last.

On a CPU the Trainer's feed is replaced by one that gives the same batch again, for no peer gathers batches either. On
a GPU the data set lies on the device and gathering is part of the step. A request may say capture and precision, as the
Trainer takes them, and false for cudnn or fast, to do without cuDNN or without numba.
"""

import contextlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from serve import Done, Job, batch_of, repeated

import xpnet
from xpnet import models, nn, optim
from xpnet.backend import get_backend, use_backend
from xpnet.data import Dataset, Feed
from xpnet.train import Callback, Trainer, fitting

ENDLESS = 10**9
NUMBERS = 1 << 28  # of a data set on a GPU, at most


class SameBatch(Feed):
    """Serve one batch over and over, where it lies; of several processes each has its rows."""

    def __len__(self) -> int:
        return ENDLESS

    def size(self, step: int) -> int:
        """Return the number of examples of the whole batch."""
        return len(self.dataset.x)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[tuple[Any, Any]]:
        """Iterate over the batches of an epoch that does not end."""
        x, y = self.dataset.x, self.dataset.y
        rows = slice(*self.part.rows(len(x))) if hasattr(self, "part") else slice(None)  # older versions had none
        return itertools.repeat((x[rows], y[rows]))


class InTurn(Callback):
    """Count steps, and ask for the next count when one is reached, which comes when it is this process's turn."""

    def __init__(self, counts: Iterator[int]) -> None:
        self.counts, self.left = counts, next(counts)

    def on_step(self, trainer: Any) -> None:
        """Count a step."""
        self.left -= 1
        if self.left == 0:
            self.left = next(self.counts, 0)
            if self.left == 0:
                raise Done


def build(request: dict[str, Any]) -> Job:
    """Build the model, and what trains it or predicts with it."""
    for option, package in (("cudnn", "cudnn"), ("fast", "numba")):
        if not request.get(option, True):
            sys.modules[package] = None  # type: ignore[assignment]  # as if it were not installed
    if "root" in request and Path(xpnet.__file__).parents[1] != Path(request["root"]):
        raise ImportError(f"expected xpnet of {request['root']}, got {xpnet.__file__}")
    backend, model, (x, y) = get_backend(request["device"]), network(request), batch_of(request)
    if request["task"] == "inference":
        given = backend.from_numpy(x)
        return repeated(
            model.parameter_count, lambda: model.predict(given), lambda y: float(backend.to_numpy(y).mean())
        )
    optimizer = optim.SGD(model.parameters(), lr=request["lr"], momentum=request["momentum"])
    more = {"shards": request["shards"]} if "shards" in request else {}
    fitted = Trainer(model, optimizer, capture=request.get("capture"), precision=request["precision"], **more)
    steps, on_host = 1, backend.xp is np
    if on_host:
        fitting.Feed = SameBatch  # type: ignore[misc]
    else:
        steps = max(1, min(1000, NUMBERS // x.size))
    names = tuple(str(k) for k in range(request["classes"]))
    data = Dataset(np.tile(x, (steps, *[1] * (x.ndim - 1))), np.tile(y, steps), names, "benchmark")

    def run(counts: Iterator[int]) -> None:
        fitted.callbacks = [InTurn(counts)]
        with contextlib.suppress(Done):
            fitted.fit(data, epochs=ENDLESS, batch_size=len(x))

    def wait() -> float:
        backend.synchronize()
        return fitted.meter.read()

    def peak() -> float:
        return (backend.memory().peak - data.x.nbytes) / 2**20

    return Job(model.parameter_count, run, wait, None if on_host else peak)


def network(request: dict[str, Any]) -> nn.Sequential:
    """Build xpnet's own model of a request, less the layers that the peers' models do not have."""
    getattr(xpnet.backend, "keep_freed_memory", bool)()  # older versions did so whenever a backend was opened
    with use_backend(get_backend(request["device"])):
        made = models.recipe(request["model"]).build(tuple(request["sample"]), request["classes"], **request["options"])
        layers = {name: layer for name, layer in made.children() if name not in request["without"]}
        return nn.Sequential(**layers).initialize()
