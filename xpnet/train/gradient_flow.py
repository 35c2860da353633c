"""The norm of each layer's gradient while a network trains."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.autograd import Tensor
from xpnet.backend import Array, Backend
from xpnet.nn import Module, Parameter
from xpnet.train.callbacks import Callback, Training

__all__ = ["GradientFlow"]


class GradientFlow(Callback):
    """Record the norm of each layer's gradient while a Trainer trains.

        flow = GradientFlow()
        Trainer(model, callbacks=[flow]).fit(train, epochs=1)
        flow.norms[-1]                      # of the last step, a number a layer
        viz.gradient_flow(flow)

    A layer's gradient is the joint one of its own parameters, weights and bias; a layer without parameters is not
    listed, one without a gradient has 0. Norms stay on the device until an epoch ends or they are read.

    Args:
        every: record each step whose number is a multiple of it, >= 1; only these run eagerly, the others may be
            replays.
        keep: the most steps to keep, >= 2; when there are more, every second one is dropped and every is doubled, so
            that the record spans the whole training.
    Raises:
        ConfigError: every or keep is out of range.
    Cost: two passes over each recorded gradient; keep * layers numbers.
    """

    def __init__(self, every: int = 1, keep: int = 1000) -> None:
        self.every = arguments.count("GradientFlow", "every", every)
        self.keep = arguments.count("GradientFlow", "keep", keep, 2)
        self.layers: tuple[str, ...] = ()
        self._parameters: list[list[Parameter]] = []
        self._seen = 0
        self._kept: list[tuple[int, np.ndarray | Array]] = []  # (step, norms of the parameters)
        self._backend: Backend | None = None  # of those that are still on the device
        self._on_device = 0  # how many, at the end of the list

    @property
    def steps(self) -> np.ndarray:
        """The numbers of the recorded steps, from 0: int64, (S,), ascending."""
        return np.array([step for step, _ in self._kept], np.int64)

    @property
    def norms(self) -> np.ndarray:
        """The Euclidean norm of each layer's gradient at each recorded step: float64, (S, L), as steps, layers.

        Cost: one copy from the device, if there are new ones.
        """
        self._fetch()
        sizes = [len(group) for group in self._parameters]
        if not self._kept:
            return np.zeros((0, len(sizes)))
        each = np.stack([norms for _, norms in self._kept]).astype(np.float64)  # (S, parameters)
        parts = np.split(each, np.cumsum(sizes)[:-1], axis=1)
        return np.stack([np.sqrt(np.sum(part * part, axis=1)) for part in parts], axis=1)

    def on_start(self, trainer: Training) -> None:
        """Find the model's layers; drop the record if they changed."""
        groups = _by_layer(trainer.model)
        parameters = list(groups.values())
        if [[id(p) for p in g] for g in parameters] != [[id(p) for p in g] for g in self._parameters]:
            self.layers, self._parameters = tuple(groups), parameters
            self._seen, self._on_device = 0, 0
            self._kept.clear()

    def reads_gradients(self, trainer: Training) -> bool:
        """Whether the number of the next step is a multiple of every."""
        return self._seen % self.every == 0

    def on_gradients(self, trainer: Training, gradients: dict[Tensor, Array]) -> None:
        """Record the norms of this step."""
        backend = trainer.model.backend
        xp, device = backend.xp, backend.device
        none = xp.zeros((), dtype=xp.float32, device=device)
        norms = [_norm(xp, gradients[p]) if p in gradients else none for group in self._parameters for p in group]
        if not norms:
            return
        self._kept.append((self._seen, xp.stack(norms)))
        self._backend, self._on_device = backend, self._on_device + 1
        if len(self._kept) > self.keep:
            self._thin()

    def on_step(self, trainer: Training) -> None:
        """Count the step."""
        self._seen += 1

    def on_epoch(self, trainer: Training, record: dict[str, Any]) -> None:
        """Copy what is on the device to the host."""
        self._fetch()

    def on_end(self, trainer: Training) -> None:
        """Copy what is on the device to the host: the model may move before the next fit."""
        self._fetch()

    def _fetch(self) -> None:
        if self._backend is None or not self._on_device:
            return
        start = len(self._kept) - self._on_device
        new = self._backend.to_numpy(self._backend.xp.stack([norms for _, norms in self._kept[start:]]))
        self._kept[start:] = [(step, row) for (step, _), row in zip(self._kept[start:], new, strict=True)]
        self._on_device = 0

    def _thin(self) -> None:
        """Drop every second step, and record half as often from now on."""
        self.every *= 2
        start = len(self._kept) - self._on_device
        self._on_device = sum(step % self.every == 0 for step, _ in self._kept[start:])
        self._kept = [(step, norms) for step, norms in self._kept if step % self.every == 0]


def _by_layer(model: Module) -> dict[str, list[Parameter]]:
    """The parameters that each layer owns, in the order of definition; a shared one counts once."""
    groups: dict[str, list[Parameter]] = {}
    for path, state in model.states().items():
        if isinstance(state, Parameter):
            groups.setdefault(path.rpartition(".")[0] or type(model).__name__, []).append(state)
    return groups


def _norm(xp: Any, g: Array) -> Array:
    """The Euclidean norm of an array, (); scaled by the largest element, as squares of gradients vanish in float32."""
    g = xp.astype(g, xp.float32, copy=False)
    if not math.prod(g.shape):
        return xp.sum(g)
    top = xp.max(xp.abs(g))
    scaled = g / xp.where(top > 0, top, xp.ones_like(top))
    return top * xp.sqrt(xp.sum(scaled * scaled))
