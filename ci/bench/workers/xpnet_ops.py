"""How long each op of a training step takes xpnet on the device, forward and back, and what it must compute and move.

    {"do": "measure", "layers": ..., "sample": ..., "classes": ..., "batch": ..., "device": ..., "precision": ...,
     "lr": ..., "momentum": ...}    -> {"ops": [{"name", "kind", "count", "flops", "numbers", "ms"}]}

flops, numbers and ms are lists: forward, and back where there is a way back. An op is timed alone, by recording many
calls and replaying them, so that what Python takes does not count; where nothing can be recorded, by calling it. Layers
alike, with inputs alike, are timed once; count says how many there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from serve import answer, batch_of
from xpnet_steps import network

from xpnet import nn, optim, random
from xpnet.autograd import Tensor, backward
from xpnet.backend import Backend, get_backend, use_backend
from xpnet.train.step import EagerStep
from xpnet.viz import summarize

CALLS = 10  # of an op in a recording
SECONDS = 0.02  # of replays


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Time the layers of a model one by one, then the loss and the update."""
    backend, batch = get_backend(request["device"]), request["batch"]
    with use_backend(backend):
        model = network(request["layers"]).initialize().train()
    optimizer = optim.SGD(model.parameters(), lr=request["lr"], momentum=request["momentum"])
    step = EagerStep(model, nn.softmax_cross_entropy, optimizer, precision=request["precision"])
    half = request["precision"] == "fp16"
    x, y = (backend.from_numpy(a) for a in batch_of(request))
    ops: dict[Any, dict[str, Any]] = {}
    layers, found = dict(model.modules()), False  # whether a layer before has weights, so that somebody wants dx
    with random.use(random.StepContext(0, 0, 0)), step.precision.computing():
        for row in summarize(model, tuple(request["sample"]), batch).layers:
            layer = layers.get(row.name)
            if layer is None or isinstance(layer, nn.Residual | nn.Flatten):  # a sum or another shape
                continue
            learned, found = found, found or bool(layer.parameters())
            key = (repr(layer), row.input)
            if key in ops:
                ops[key]["count"] += 1
                continue
            ops[key] = _op(backend, layer, row, batch, half, learned or not layer.parameters())
        scores = step.precision.scores(model(Tensor(step.precision.inputs(x))))
        gradients = step.precision.backward(step.loss(scores, y))
    classes = Tensor(scores.data, requires_grad=True)
    moved = batch * request["classes"]
    every = sum(math.prod(p.shape) for p in model.parameters())
    ops["loss"] = {
        "name": "loss",
        "kind": "softmax cross-entropy",
        "count": 1,
        "flops": [0, 0],
        "numbers": [moved, 2 * moved],
        "ms": list(_both(backend, lambda: step.loss(classes, y), None)),
    }
    ops["update"] = {
        "name": "update",
        "kind": "momentum",
        "count": 1,
        "flops": [0],
        "numbers": [5 * every],  # parameter and momentum are read and written, the gradient is read
        "ms": [_ms(backend, lambda: optimizer.update(gradients))],
    }
    return {"ops": list(ops.values())}


def _op(backend: Backend, layer: nn.Module, row: Any, batch: int, half: bool, learned: bool) -> dict[str, Any]:
    """Time one layer, and count the numbers that it must move: each array that goes in or out, once."""
    shape = (batch, *row.input)
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float16 if half else np.float32)
    x = Tensor(backend.from_numpy(values), requires_grad=learned)
    came, went, own = (
        math.prod(shape),
        batch * math.prod(row.output),
        sum(math.prod(p.shape) for p in layer.parameters()),
    )
    kept = batch * layer.cost(row.input).saved
    back = went + kept + own + (came + own if learned else 0)
    dy = backend.from_numpy(values.ravel()[:1].repeat(went).reshape(batch, *row.output))
    return {
        "name": row.name,
        "kind": " ".join((row.kind, *row.details)),
        "count": 1,
        "flops": [row.flops_forward * batch, row.flops_backward * batch],
        "numbers": [came + went + own, back],
        "ms": list(_both(backend, lambda: layer(x), dy)),
    }


def _both(backend: Backend, forward: Callable[[], Tensor], dy: Any) -> tuple[float, float]:
    """Milliseconds forward, and back: that of both, less the former's."""
    ahead = _ms(backend, forward)
    return ahead, max(0.0, _ms(backend, lambda: backward(forward(), dy)) - ahead)


def _ms(backend: Backend, work: Callable[[], Any]) -> float:
    """Milliseconds that the device takes for a call."""
    recorder, calls = backend.recorder(), 1
    if recorder is not None:
        with recorder.warm():
            for _ in range(2):
                work()
        _, again = recorder.record(lambda: [(work(), None)[1] for _ in range(CALLS)])
        calls = CALLS
    else:
        again = work
    again()
    backend.synchronize()
    start, done = perf_counter(), 0
    while done == 0 or perf_counter() - start < SECONDS:
        for _ in range(4):
            again()
        backend.synchronize()
        done += 4 * calls
    return (perf_counter() - start) * 1e3 / done


if __name__ == "__main__":
    answer(measure)
