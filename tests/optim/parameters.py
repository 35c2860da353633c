"""Parameters without a model, their gradients, and comparisons, for the tests of optimizers."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backend import Backend, backend_of
from xpnet.optim import OPTIMIZERS, Adam, RMSprop

# each optimizer plainly, and with constants so large that each is seen
TABLE: dict[str, tuple[Any, dict[str, Any]]] = {
    **{name: (OPTIMIZERS[name], {"lr": 0.1}) for name in OPTIMIZERS},
    "rmsprop with momentum": (RMSprop, {"lr": 0.1, "rho": 0.6, "eps": 0.1, "momentum": 0.7}),
    "adam with small betas": (Adam, {"lr": 0.1, "beta1": 0.6, "beta2": 0.8, "eps": 0.1}),
    "adam without a memory": (Adam, {"lr": 0.1, "beta1": 0.0, "beta2": 0.0, "eps": 0.1}),
}
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


def agree(got: dict[str, np.ndarray], want: dict[str, np.ndarray], dtype: Any) -> None:
    assert got.keys() == want.keys()
    for path, x in want.items():
        assert got[path].dtype == dtype
        assert got[path].shape == x.shape
        np.testing.assert_allclose(got[path], x, rtol=0, atol=100 * np.finfo(dtype).eps, err_msg=path)


def absent(step: int) -> tuple[str, ...]:
    """One parameter never has a gradient, one only from the third step on."""
    return ("scale", *(["fc1.weight"] if step < 2 else []))
