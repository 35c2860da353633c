"""How training goes by default: batches and epochs by the number of examples; and that it stops on a plateau."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpnet import arguments
from xpnet.data import Dataset
from xpnet.errors import ConfigError
from xpnet.optim import cosine
from xpnet.train import Callback, Trainer
from xpnet.train.callbacks import Training
from xpnet.train.metrics.classes import is_lower_better
from xpnet.train.tables import decay_of

__all__ = ["Plan", "Plateau", "default_batch", "default_decay", "default_epochs", "plan"]

_STEPS, _FEWEST, _MOST = 800, 15, 200
_MANY = 20_000  # examples


def default_batch(n: int) -> int:
    """Return how many examples a batch has, of n: 64, or 128 of 20,000 and more; all if they are fewer."""
    return min(n, 64 if n < _MANY else 128)


def default_decay(optimizer: Any, n: int) -> float:
    """Return the weight decay with n examples: of AdamW as of tables, of others 0."""
    return decay_of(n) if optimizer == "adamw" else 0.0


def default_epochs(steps: int) -> int:
    """Return how many epochs of so many steps: as many as make 800 steps, but 15 at least, and 200 at most."""
    return min(_MOST, max(_FEWEST, -(-_STEPS // steps)))


@dataclass(frozen=True)
class Plan:
    """How a network is trained in one call.

    Args:
        epochs: how many more. batch_size: of a step. steps: of an epoch.
        lr: the rate, or the first one. cosine: whether it falls along half a cosine wave. decay: of the weights.
        validation: the fraction that is held out; None: nothing.
        patience: after how many epochs without a better loss training stops; None: it does not. least: see Plateau.
        progress: whether it is shown.
    """

    epochs: int
    batch_size: int
    steps: int
    lr: float
    cosine: bool
    decay: float
    validation: float | None
    patience: int | None
    least: float
    progress: bool

    def run(self, trainer: Trainer, data: Dataset) -> None:
        """Train; the trainer's rate is constant afterwards, and it has no callbacks."""
        optimizer, held = trainer.optimizer, self.validation is not None
        if self.cosine:
            optimizer.lr = _After(cosine(self.lr, self.epochs * self.steps), optimizer.steps)
        if self.patience is not None:
            monitor = "validation_loss" if held else "train_loss"
            trainer.callbacks = [Plateau(monitor, self.patience, self.least, held)]
        try:
            epochs = trainer.epoch + self.epochs
            options = {"epochs": epochs, "batch_size": self.batch_size, "progress": self.progress}
            trainer.fit(data, validation=self.validation, **options)
        finally:
            trainer.callbacks, optimizer.lr = [], self.lr


def plan(net: Any, n: int, step: bool) -> Plan:
    """Read from an estimator's parameters how it trains on n examples; in a step, for one epoch at a constant rate.

    Raises:
        ConfigError: a parameter is out of range.
    """
    where, validation = "partial_fit" if step else "fit", None
    fraction = arguments.number(where, "validation_fraction", net.validation_fraction, 0, 1, above=True)
    if arguments.boolean(where, "early_stopping", net.early_stopping) and not step:
        if n < 2:
            raise ConfigError(where, "two examples or more, with early_stopping=True", N=n)
        validation, n = fraction, max(1, n - max(1, round(fraction * n)))
    size = default_batch(n) if net.batch_size == "auto" else net.batch_size
    size = min(arguments.positive(where, "batch_size", size), n)
    epochs = default_epochs(-(-n // size)) if net.max_epochs == "auto" else net.max_epochs
    epochs = arguments.positive(where, "max_epochs", epochs)
    schedule = arguments.choice(where, "schedule", net.schedule, ("constant", "cosine"))
    patience = arguments.positive(where, "n_iter_no_change", net.n_iter_no_change)
    return Plan(
        epochs=1 if step else epochs,
        batch_size=size,
        steps=-(-n // size),
        lr=arguments.not_negative(where, "lr", net.lr),
        cosine=schedule == "cosine" and not step,
        decay=default_decay(net.optimizer, n) if net.weight_decay == "auto" else net.weight_decay,
        validation=validation,
        patience=None if step else patience,
        least=arguments.not_negative(where, "tol", net.tol),
        progress=bool(net.verbose),
    )


class _After:
    """A schedule that begins at a step."""

    def __init__(self, schedule: Any, start: int) -> None:
        self._schedule, self._start = schedule, start

    def __call__(self, step: int) -> float:
        return self._schedule(max(0, step - self._start))


class Plateau(Callback):
    """Stops training after some epochs without a better figure; counted from the start of this fit.

    Args:
        monitor: the figure, such as "train_loss".
        patience: how many epochs.
        least: the change that counts as better, >= 0.
        restore: whether the model gets back the values of its best epoch, which are kept in memory.
    """

    def __init__(self, monitor: str, patience: int, least: float, restore: bool) -> None:
        self._monitor, self._patience, self._least, self._restore = monitor, patience, least, restore
        self._sign = 1.0 if is_lower_better(monitor) else -1.0
        self._best, self._waited = float("inf"), 0
        self._values: dict[str, Any] | None = None

    def on_epoch(self, trainer: Training, record: dict[str, Any]) -> None:
        """Compare the figure with the best so far."""
        value = self._sign * record[self._monitor]
        self._waited = 0 if value < self._best - self._least else self._waited + 1
        if value < self._best:
            self._best = value
            if self._restore:
                self._values = trainer.model.state_dict()
        if self._waited >= self._patience:
            trainer.stop()

    def on_end(self, trainer: Training) -> None:
        """Give the model the values of its best epoch."""
        if self._values is not None:
            trainer.model.load_state_dict(self._values)
