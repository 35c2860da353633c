"""xpnet's training step: eager, float32, images channels last."""

from __future__ import annotations

import math
from typing import Any

from serve import Job, batch_of, serve

import xpnet
from xpnet import nn, optim
from xpnet.backend import get_backend, use_backend
from xpnet.train.step import EagerStep


def build(request: dict[str, Any]) -> Job:
    """Build the model with xpnet.nn, optim.SGD and softmax cross-entropy, each as it comes."""
    backend = get_backend(request["device"])
    x, y = (backend.from_numpy(a) for a in batch_of(request))
    with use_backend(backend):
        model = nn.Sequential(*[_layer(*layer) for layer in request["layers"]])
    model.train()
    optimizer = optim.SGD(model.parameters(), lr=request["lr"], momentum=request["momentum"])
    step = EagerStep(model, nn.softmax_cross_entropy, optimizer)
    count = sum(math.prod(p.shape) for p in model.parameters())

    def wait(loss: Any) -> float:
        backend.synchronize()
        return float(backend.to_numpy(loss))

    version = getattr(xpnet, "__version__", "unknown")
    return Job(version, count, lambda: step(x, y), wait)


def _layer(kind: str, *sizes: int) -> nn.Module:
    match kind:
        case "linear":
            return nn.Linear(sizes[0], sizes[1])
        case "conv":
            channels, filters, kernel, padding = sizes
            return nn.Conv2d(channels, filters, kernel_size=kernel, padding=padding)
        case "relu":
            return nn.ReLU()
        case "pool":
            return nn.MaxPool2d(sizes[0])
        case "flatten":
            return nn.Flatten()
    raise ValueError(f"no such layer: {kind}")


if __name__ == "__main__":
    serve(build)
