"""How long each op of a training step takes xpnet, forward and backward, and what it must compute and move.

    {"do": "measure", "name": ..., "batch": ..., "device": ..., "precision": ..., ...}
        -> {"ops": [{"op", "kind", "count", "task", "flops", "numbers", "ms"}]}

An op is timed alone, by recording many calls and replaying them, so that Python's time does not count; where nothing
can be recorded, by calling it. Equal layers with equal inputs are timed once; count says how many there are.
"""

import math
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from xpnet_steps import network

from xpnet import nn, optim, random
from xpnet.autograd import Tensor, backward
from xpnet.backend import Backend, get_backend
from xpnet.train.precision import Precision
from xpnet.viz import summarize

CALLS, SECONDS = 10, 0.02  # of an op in a recording; of replays


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Time the layers of a model one by one, then the loss and the update."""
    backend, batch = get_backend(request["device"]), request["batch"]
    model = network(request).train()
    dtype = np.float16 if request["precision"] == "fp16" else np.float32
    optimizer = optim.SGD(model.parameters(), lr=request["lr"], momentum=request["momentum"])
    precision = Precision(request["precision"], model, optimizer)
    layers, found, learned = dict(model.modules()), {}, False  # whether a layer before has weights, so dx is wanted
    with random.use(random.StepContext(0, 0, 0)), precision.computing():
        for row in summarize(model, tuple(request["sample"]), batch).layers:
            layer = layers.get(row.name)
            if layer is None or isinstance(layer, nn.Residual | nn.Flatten):  # a sum or another shape
                continue
            if (key := (repr(layer), row.input)) in found:
                for op in found[key]:
                    op["count"] += 1
                continue
            weights, wanted = sum(math.prod(p.shape) for p in layer.parameters()), learned or not layer.parameters()
            learned = learned or weights > 0
            x, y = batch * math.prod(row.input), batch * math.prod(row.output)
            saved = batch * layer.cost(row.input).saved
            numbers = (
                x + y + weights,
                y + saved + weights + (x + weights if wanted else 0),
            )  # each array in or out, once
            values = np.random.default_rng(0).standard_normal((batch, *row.input)).astype(dtype)
            given = Tensor(backend.from_numpy(values), requires_grad=wanted)
            dy = backend.from_numpy(values.ravel()[:1].repeat(y).reshape(batch, *row.output))
            ms = _both(backend, lambda layer=layer, given=given: layer(given), dy)
            flops = row.flops_forward * batch, row.flops_backward * batch
            found[key] = _rows(row.name, " ".join((row.kind, *row.details)), flops, numbers, ms)
    numbers = batch * request["classes"]
    scores = Tensor(backend.from_numpy(np.zeros((batch, request["classes"]), np.float32)), requires_grad=True)
    labels = backend.from_numpy(np.arange(batch) % request["classes"])
    ms = _both(backend, lambda: nn.softmax_cross_entropy(scores, labels), None)
    found["loss"] = _rows("loss", "softmax cross-entropy", (0, 0), (numbers, 2 * numbers), ms)
    gradients = {p: backend.xp.zeros_like(p.data) for p in model.parameters()}
    numbers = 5 * model.parameter_count  # parameter and momentum are read and written, the gradient is read
    ms = (_ms(backend, lambda: optimizer.update(gradients, optimizer.rates(), 1)),)
    found["update"] = _rows("update", "momentum", (0,), (numbers,), ms)
    return {"ops": [op for ops in found.values() for op in ops]}


def _rows(name: str, kind: str, *figures: Any) -> list[dict[str, Any]]:
    """The passes of an op: flops, numbers and ms of each."""
    passes = zip(("forward", "backward"), *figures, strict=False)
    keys = ("op", "kind", "count", "task", "flops", "numbers", "ms")
    return [dict(zip(keys, (name, kind, 1, *each), strict=True)) for each in passes]


def _both(backend: Backend, forward: Callable[[], Tensor], dy: Any) -> tuple[float, float]:
    """Milliseconds forward, and backward: the time of both less the former."""
    ahead = _ms(backend, forward)
    return ahead, max(0.0, _ms(backend, lambda: backward(forward(), dy)) - ahead)


def _ms(backend: Backend, work: Callable[[], Any]) -> float:
    """Milliseconds that the device takes for a call."""
    recorder, calls, replay = backend.recorder(), 1, work
    if recorder is not None and recorder.is_device:
        with recorder.warm():
            for _ in range(2):
                work()
        calls = CALLS
        _, replay = recorder.record(lambda: [(work(), None)[1] for _ in range(CALLS)])
    replay()
    backend.synchronize()
    start, done = perf_counter(), 0
    while done == 0 or perf_counter() - start < SECONDS:
        for _ in range(4):
            replay()
        backend.synchronize()
        done += 4 * calls
    return (perf_counter() - start) * 1e3 / done
