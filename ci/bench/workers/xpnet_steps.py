"""xpnet's training step, eager, recorded and replayed, or run as its Trainer chooses; images channels last.

A request may say mode ("captured": where the backend has a recorder; "chosen"), task: "inference", which is
model.predict, precision, and false for cudnn or fast, to do without cuDNN or without numba.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from serve import Job, batch_of, serve

import xpnet
from xpnet import kernels, nn, optim, random
from xpnet.autograd import Tensor, no_grad
from xpnet.backend import Backend, get_backend, use_backend
from xpnet.train.runner import EagerRunner
from xpnet.train.sharded import ShardedStep, choose_step
from xpnet.train.step import EagerStep

WARM = 3  # steps before a recording: kernels are compiled, plans are made


def build(request: dict[str, Any]) -> Job:
    """Build the model with xpnet.nn, optim.SGD and softmax cross-entropy, each as it comes."""
    for option, package in (("cudnn", "cudnn"), ("fast", "numba")):
        if not request.get(option, True):
            sys.modules[package] = None  # type: ignore[assignment]  # as if it were not installed
    backend = get_backend(request["device"])
    x, y = (backend.from_numpy(a) for a in batch_of(request))
    with use_backend(backend):
        model = network(request["layers"]).initialize()
    count = sum(math.prod(p.shape) for p in model.parameters())

    def wait(loss: Any) -> float:
        backend.synchronize()
        return float(backend.to_numpy(loss))

    def peak() -> float:
        return backend.memory().peak / 2**20

    peak_of_device = peak if request["device"].startswith("cuda") else None
    version = getattr(xpnet, "__version__", "unknown")
    if request.get("task") == "inference":
        predict, how = predicting(model, x)
        return Job(version, count, predict, lambda scores: float(backend.to_numpy(scores).mean()), peak_of_device, how)
    model.train()
    optimizer = optim.SGD(model.parameters(), lr=request["lr"], momentum=request["momentum"])
    eager = EagerStep(model, nn.softmax_cross_entropy, optimizer, precision=request.get("precision", "fp32"))
    step, how = (lambda: eager(x, y)), "whole"
    if request.get("mode") == "captured":
        step, how = recorded(backend, eager, x, y), "captured"
    elif request.get("mode") == "chosen":
        step, how = chosen(eager, x, y)
    return Job(version, count, step, wait, peak_of_device, f"{how}, {loops(x)}")


def chosen(eager: EagerStep, x: Any, y: Any) -> tuple[Callable[[], Any], str]:
    """A step as the Trainer chooses and runs it, and what it chose."""
    step = choose_step(eager.model, eager.loss, eager.optimizer)
    feed = SimpleNamespace(epoch=lambda epoch, start: itertools.repeat((x, y)))
    np.seterr(all="ignore")  # as in Trainer.fit
    steps = EagerRunner(step, seed=0).epoch(feed, 0, 0)  # type: ignore[arg-type]
    parts = step.division(x.shape).parts if isinstance(step, ShardedStep) else 1
    return (lambda: next(steps)[1]), f"in {parts} parts" if parts > 1 else "whole"


def predicting(model: nn.Module, x: Any) -> tuple[Callable[[], Any], str]:
    """model.predict, or the forward pass without a tape where there is none."""
    if hasattr(model, "predict"):
        return (lambda: model.predict(x)), f"predict, {loops(x)}"
    model.eval()

    def scores() -> Any:
        with no_grad():
            return model(Tensor(x)).data

    return scores, f"forward, {loops(x)}"


def loops(x: Any) -> str:
    """Whether compiled loops stand behind the ops of arrays like x."""
    kernels.find("linear", x)  # imports what there is
    numba = sys.modules.get("numba")
    return f"numba {numba.__version__}" if numba and "xpnet.kernels.numba" in sys.modules else "NumPy alone"


def recorded(backend: Backend, eager: EagerStep, x: Any, y: Any) -> Callable[[], Any]:
    """Record a step as the trainer does, with rate and count on the device, and return what replays it.

    It is the step itself where the backend records nothing.
    """
    recorder = backend.recorder()
    if recorder is None:
        return lambda: eager(x, y)
    xp, device = backend.xp, backend.device
    epoch, at = (xp.zeros((), dtype=xp.int64, device=device) for _ in range(2))  # draws differ from replay to replay
    number = xp.ones((), dtype=xp.int64, device=device)
    rate = xp.full((), eager.optimizer.current_lr, dtype=eager.optimizer.flat.dtype, device=device)

    def work() -> Any:
        nonlocal at, number
        with random.use(random.StepContext(0, epoch, at)):
            loss = eager.compute(x, y, rate, number)
        at += 1
        number += 1
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
