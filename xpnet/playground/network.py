"""The network, the loss and the training steps of the plane, as the settings say.

code.py writes the same in Python for the user; a test runs that and compares the losses.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from xpnet import nn
from xpnet.autograd import Tensor, backward
from xpnet.backend import Array, Backend
from xpnet.optim import make_optimizer
from xpnet.playground.settings import ACTIVATIONS, Settings

__all__ = ["Training", "build_network", "make_loss"]

Loss = Callable[[Tensor, Any], Tensor]


def build_network(settings: Settings, classes: int) -> nn.Sequential:
    """Build linear layers with the activation between them: scores (N, K) of features (N, D)."""
    layers: list[nn.Module] = []
    size = len(settings.features)
    for neurons in settings.layers:
        layers.append(nn.Linear(size, neurons, bias=settings.bias))
        if settings.activation != "none":
            layers.append(getattr(nn, ACTIVATIONS[settings.activation])())
        size = neurons
    return nn.Sequential(*layers, nn.Linear(size, classes, bias=settings.bias)).initialize(seed=settings.seed)


def make_loss(settings: Settings, classes: int, backend: Backend) -> Loss:
    """Return the loss of scores (N, K) and labels (N,) of the host."""
    if settings.loss == "squared error":
        one_hot = np.eye(classes, dtype=np.float32)
        return lambda scores, labels: nn.mean_squared_error(scores, backend.from_numpy(one_hot[labels]))
    loss: Loss = {
        "cross-entropy": nn.softmax_cross_entropy,
        "hinge": nn.hinge_loss,
        "perceptron": nn.perceptron_loss,
    }[settings.loss]
    return lambda scores, labels: loss(scores, backend.from_numpy(labels))


class Training:
    """Trains a network step by step; the same settings give the same steps.

    Args:
        settings: of the plane; those with another learning rate may be set between steps.
        x: features of the training points, (N, D). labels: their classes, (N,).
        classes: K.
        backend: where it is computed.
    """

    def __init__(self, settings: Settings, x: np.ndarray, labels: np.ndarray, classes: int, backend: Backend) -> None:
        self.x, self.labels, self.backend = x, labels, backend
        self.model = build_network(settings, classes).to(backend)
        self.loss = make_loss(settings, classes, backend)
        self.optimizer = make_optimizer(
            settings.optimizer, self.model.parameters(), lr=lambda step: self.settings.rate_at(step)
        )
        self.step, self.gradients = 0, dict[Tensor, Array]()  # steps that are done; gradients of the last one
        self._weights = [p for p in self.model.parameters() if p.path.endswith("weight")]
        self.settings, self._batches = settings, self._draw_batches()

    @property
    def epoch(self) -> int:
        """How many times all points were learned from."""
        return self.step // -(-len(self.x) // self.settings.batch)

    def _draw_batches(self) -> Iterator[np.ndarray]:
        batch = self.settings.batch
        for epoch in itertools.count():
            order = np.random.default_rng([self.settings.seed, epoch]).permutation(len(self.x))
            for start in range(0, len(order), batch):
                yield order[start : start + batch]

    def advance(self) -> None:
        """Make one step of gradient descent on the next batch."""
        rows = next(self._batches)
        loss = self.loss(self.model(Tensor(self.backend.from_numpy(self.x[rows]))), self.labels[rows])
        if self.settings.penalty == "L2":
            loss = loss + self.settings.penalty_rate * sum((w**2).sum() for w in self._weights)
        elif self.settings.penalty == "L1":
            loss = loss + self.settings.penalty_rate * sum(abs(w).sum() for w in self._weights)
        self.gradients = backward(loss)
        self.optimizer.step(self.gradients)
        self.step += 1

    def gradient_norms(self) -> list[float]:
        """Return the root mean square of the last step's gradient of each layer's weights; none before the first."""
        found = [self.backend.to_numpy(self.gradients[w]) for w in self._weights if w in self.gradients]
        return [float(np.sqrt(np.mean(np.square(g.astype(np.float64))))) for g in found]
