"""What one training step computes, apart from how it is run: loss, gradients, update."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xpnet.autograd import Tensor
from xpnet.backend import Array
from xpnet.errors import ShapeError
from xpnet.nn import Module
from xpnet.optim import Optimizer
from xpnet.train.precision import Precision

__all__ = ["EagerStep"]


class EagerStep:
    """Run a step op by op: the model's scores, the loss, the walk back, the update.

    Args:
        model: takes (N, ...), gives scores.
        loss: takes scores and labels, gives one number.
        optimizer: of the model's parameters.
        classes: K of the labels, to hold the scores to; 0: not known.
        look: called with the gradients of each step, before the update.
        precision: "fp32", "tf32" or "fp16"; see xpnet.train.precision.
    Raises:
        ConfigError: the model's backend does not compute in the precision.
    """

    def __init__(
        self,
        model: Module,
        loss: Callable[..., Tensor],
        optimizer: Optimizer,
        classes: int = 0,
        look: Callable[[dict[Tensor, Array]], None] | None = None,
        precision: str = "fp32",
    ) -> None:
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.classes = classes
        self.look = look
        self.precision = Precision(precision, model, optimizer)

    def __call__(self, x: Array, y: Array) -> Array:
        """Train on one batch.

        Args:
            x: examples, (N, ...), on the model's backend.
            y: labels, (N,).
        Returns: the batch's loss before the update, (), still on the device. Batch norm and dropout do as model.train()
            or model.eval() said.
        Raises:
            ShapeError: there are fewer scores than classes (for two classes one score may do).
        """
        optimizer = self.optimizer
        loss = self.compute(x, y, optimizer.rates(), optimizer.steps + 1)
        optimizer.steps += 1
        return loss

    def compute(self, x: Array, y: Array, lr: Array | Sequence[float], t: Array | int) -> Array:
        """Do the device's part of a step, which may be recorded; the caller increases ``optimizer.steps``.

        Args:
            x, y: as on call.
            lr, t: as Optimizer.update takes them.
        Returns: the batch's loss, ().
        """
        with self.precision.computing():
            loss, gradients = self.differentiate(self.precision.inputs(x), y)
        if self.look:
            self.look(self.precision.plain(gradients))
        self.optimizer.update(gradients, lr, t)
        return loss

    def differentiate(self, x: Array, y: Array) -> tuple[Array, dict[Tensor, Array]]:
        """Return a batch's loss, (), and its gradients; both as the precision has them."""
        value = self.measure(self.model(Tensor(x)), y)
        return value.data, self.precision.backward(value)

    def measure(self, scores: Tensor, y: Array) -> Tensor:
        """Compare scores with labels: the loss, of the batch or of a part of it."""
        if scores.ndim == 2 and scores.shape[1] < self.classes and self.classes > 2:
            raise ShapeError("fit", "the model gives a score a class", scores=scores.shape, K=self.classes)
        return self.loss(self.precision.scores(scores), y)
