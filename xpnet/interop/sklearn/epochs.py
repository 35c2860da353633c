"""When training ends: how many epochs there are by default, and that it stops where they bring nothing more."""

from __future__ import annotations

from typing import Any

from xpnet.train import Callback
from xpnet.train.callbacks import Training
from xpnet.train.metrics.classes import is_lower_better

__all__ = ["Plateau", "default_epochs"]

_STEPS, _FEWEST, _MOST = 1500, 20, 200


def default_epochs(steps: int) -> int:
    """Return how many epochs of so many steps: as many as make 1500 steps, but 20 at least, and 200 at most."""
    return min(_MOST, max(_FEWEST, -(-_STEPS // steps)))


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
