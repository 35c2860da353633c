"""xpnet's training step, eager or recorded and replayed; images channels last.

A request may say mode ("captured": where the backend has a recorder), precision, and cudnn, false to leave cuDNN out.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

from serve import Job, batch_of, serve

import xpnet
from xpnet import nn, optim, random
from xpnet.backend import Backend, get_backend, use_backend
from xpnet.train.step import EagerStep

WARM = 3  # steps before a recording: kernels are compiled, plans are made


def build(request: dict[str, Any]) -> Job:
    """Build the model with xpnet.nn, optim.SGD and softmax cross-entropy, each as it comes."""
    if not request.get("cudnn", True):
        sys.modules["cudnn"] = None  # type: ignore[assignment]  # as if it were not installed
    backend = get_backend(request["device"])
    x, y = (backend.from_numpy(a) for a in batch_of(request))
    with use_backend(backend):
        model = network(request["layers"]).initialize()
    model.train()
    optimizer = optim.SGD(model.parameters(), lr=request["lr"], momentum=request["momentum"])
    eager = EagerStep(model, nn.softmax_cross_entropy, optimizer, precision=request.get("precision", "fp32"))
    count = sum(math.prod(p.shape) for p in model.parameters())

    def wait(loss: Any) -> float:
        backend.synchronize()
        return float(backend.to_numpy(loss))

    def peak() -> float:
        return backend.memory().peak / 2**20

    step = recorded(backend, eager, x, y) if request.get("mode") == "captured" else lambda: eager(x, y)
    version = getattr(xpnet, "__version__", "unknown")
    return Job(version, count, step, wait, peak if request["device"].startswith("cuda") else None)


def recorded(backend: Backend, eager: EagerStep, x: Any, y: Any) -> Callable[[], Any]:
    """Record a step as the trainer does, with rate and count on the device, and return what replays it.

    It is the step itself where the backend records nothing.
    """
    recorder = backend.recorder()
    if recorder is None:
        return lambda: eager(x, y)
    xp, device = backend.xp, backend.device
    epoch, at = (xp.zeros((), dtype=xp.int64, device=device) for _ in range(2))  # draws differ from replay to replay
    rate = xp.full((), eager.optimizer.current_lr, dtype=eager.optimizer.flat.dtype, device=device)

    def work() -> Any:
        nonlocal at
        with random.at(random.Moment(0, epoch, at)):
            loss, _ = eager.compute(x, y, lr=rate, since=at)
        at += 1
        return loss

    with recorder.warm():
        for _ in range(WARM):
            work()
    loss, replay = recorder.record(work)
    kept = work  # the recording reads and writes the memory of all that a step holds

    def step() -> Any:
        _ = kept
        replay()
        return loss

    return step


def network(layers: list[Any]) -> nn.Sequential:
    """Put the layers of a request together."""
    return nn.Sequential(*[_layer(*layer) for layer in layers])


def _layer(kind: str, *given: Any) -> nn.Module:
    match kind:
        case "linear":
            return nn.Linear(given[0], given[1])
        case "conv":
            channels, filters, kernel, padding, stride, groups, bias = (*given, *(1, 1, 1)[len(given) - 4 :])
            return nn.Conv2d(channels, filters, kernel, stride, padding, groups=groups, bias=bool(bias))
        case "relu":
            return nn.ReLU()
        case "pool":
            return nn.MaxPool2d(*given)
        case "flatten":
            return nn.Flatten()
        case "lrn":
            size, alpha, beta, k = given
            return nn.LocalResponseNorm(size=size, alpha=alpha, beta=beta, k=k)
        case "dropout":
            return nn.Dropout(given[0])
        case "norm":
            return nn.BatchNorm(given[0])
        case "average":
            return nn.GlobalAvgPool2d()
        case "residual":
            body, shortcut = given
            return nn.Residual(network(body), network(shortcut) if shortcut else None)
    raise ValueError(f"no such layer: {kind}")


if __name__ == "__main__":
    serve(build)
