"""A function that gets the figures of a training: for MLflow, Weights & Biases, or a list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet import arguments
from xpnet.output import counted
from xpnet.train.callbacks import Callback, Training
from xpnet.train.step_losses import StepLosses

__all__ = ["Log"]


class Log(Callback):
    """Call a function with the figures of each epoch.

        Log(lambda figures, step: mlflow.log_metrics(figures, step=step))

    Args:
        function: takes figures, {"train_loss": 0.31, "test_accuracy": 0.97, ..., "epoch": 1.0, "seconds": 2.5}, those
            of the history that are numbers, and the number of updates made. Its errors end the training, which may be
            resumed.
        every: n >= 1, also call it with {"loss": ..., "lr": ...} of every n-th update; about once a second, when losses
            are read from the device. None: epochs only.
    """

    everywhere = False

    def __init__(self, function: Callable[[dict[str, float], int], Any], every: int | None = None) -> None:
        self.function = arguments.function("Log", "function", function)
        self.every = arguments.optional(arguments.count)("Log", "every", every)
        self._losses = StepLosses(self.every) if self.every else None

    def on_start(self, trainer: Training) -> None:
        """Begin to record the losses of steps."""
        if self._losses:
            self._losses.start(trainer)

    def on_step(self, trainer: Training) -> None:
        """Call the function with losses that were read."""
        if self._losses:
            self._call_each(self._losses.after_step(trainer))

    def on_epoch(self, trainer: Training, record: dict[str, Any]) -> None:
        """Call the function with the epoch's figures."""
        if self._losses:
            self._call_each(self._losses.after_epoch(trainer))
        self._call({k: float(v) for k, v in record.items() if arguments.is_number(v)}, trainer.optimizer.steps)

    def on_end(self, trainer: Training) -> None:
        """Call the function with the losses up to an interruption."""
        if self._losses:
            self._call_each(self._losses.new(trainer))

    def _call_each(self, losses: list[Any]) -> None:
        for each in losses:
            self._call({"loss": each.loss, "lr": each.rates[0]}, each.update)

    def _call(self, figures: dict[str, float], step: int) -> None:
        try:
            self.function(figures, step)
        except Exception as error:
            error.add_note(f"raised by the function of train.Log, after {counted(step, 'update')}")
            raise
