"""A stand-in for a model's parameters: what an optimizer asks of them, and no more."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backend import Backend, backend_of

SHAPES = {"fc1.weight": (3, 4), "fc1.bias": (3,), "scale": (), "conv.weight": (2, 1, 5, 2), "conv.bias": (2,)}


class Parameter:
    def __init__(self, path: str, data: Any) -> None:
        self.path = path
        self.data = data
        self.grad: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)


def values(seed: int) -> dict[str, np.ndarray]:
    """Normal float64 numbers for each shape, exact in float32 too."""
    draw = np.random.default_rng(seed)
    return {path: np.asarray(draw.normal(size=shape).astype(np.float32), np.float64) for path, shape in SHAPES.items()}


def parameters(backend: Backend, dtype: Any = np.float32, seed: int = 0) -> list[Parameter]:
    return [Parameter(path, backend.from_numpy(x.astype(dtype))) for path, x in values(seed).items()]


def gradients(made: list[Parameter], seed: int, *absent: str) -> dict[Parameter, Any]:
    """A gradient for each parameter that is not absent, on its backend and in its dtype."""
    drawn, found = values(1000 + seed), {}
    for p in made:
        if p.path not in absent:
            backend = backend_of(p.data)
            found[p] = backend.from_numpy(drawn[p.path].astype(host(p).dtype))
    return found


def host(p: Parameter) -> np.ndarray:
    return backend_of(p.data).to_numpy(p.data)


def hosts(made: list[Parameter]) -> dict[str, np.ndarray]:
    return {p.path: np.array(host(p)) for p in made}
