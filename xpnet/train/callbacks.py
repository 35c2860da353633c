"""Callbacks: functions that a Trainer calls while it trains. They read the trainer; none changes what a step computes::

    on_start(trainer)                   before the first step
    on_gradients(trainer, gradients)    before the update, in each step or those of reads_gradients
    on_step(trainer)                    after each step; see trainer.epoch, trainer.step, trainer.meter
    on_epoch(trainer, record)           after each epoch, with its figures
    on_end(trainer)                     at the end, also when training was interrupted or failed

A callback may call trainer.stop().

Where several processes train together, callbacks are called in all of them, with the same figures: so those that steer
decide alike, and may call trainer.evaluate. Those whose ``everywhere`` is False, which write files or print, are called
in the first process only; what they evaluate is computed by that process alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from xpnet import arguments
from xpnet.autograd import Tensor
from xpnet.backend import Array
from xpnet.errors import ConfigError, DivergedError
from xpnet.nn import Module
from xpnet.optim import Optimizer
from xpnet.output import to_json
from xpnet.train.checkpoint import Checkpoint, check_finite, write_checkpoint
from xpnet.train.history import History
from xpnet.train.metrics.average import LossMeter
from xpnet.train.metrics.classes import is_lower_better
from xpnet.train.tasks.base import Task
from xpnet.writing import FileLock, append, remove_parts, write_atomically

__all__ = ["BestCheckpoint", "Callback", "EarlyStopping", "JsonLines", "SaveCheckpoint", "Training", "best_epoch",
           "gradient_readers", "reads_some"]  # fmt: skip


class Training(Protocol):
    """What a callback may use of a Trainer."""

    model: Module
    optimizer: Optimizer
    history: History  # a record for each epoch that is done
    epoch: int  # epochs and steps of this epoch that are done
    step: int
    shape: Any  # of an example of the training set; of several inputs a tuple or dictionary of shapes
    epochs: int  # how many there are
    steps: int | None  # None: of a stream, before its first epoch has ended
    meter: LossMeter
    interrupted: int  # the signal, such as SIGINT, that ended training early; 0: none
    task: Task | None  # what is learned
    inferred: bool  # whether the data decided it

    def stop(self) -> None:
        """End training after this epoch."""

    def describe(self) -> str:
        """Say in a line what is learned."""
        ...

    def checkpoint(self, **meta: Any) -> Checkpoint:
        """Return all that a resumed run needs."""
        ...

    def evaluate(self, data: Any, *, batch_size: int = 256) -> dict[str, Any]:
        """Measure the model on data; training is not affected."""
        ...


class Callback:
    """Methods that do nothing, for subclasses to override.

    Attributes:
        everywhere: whether it is called in each of several processes, or in the first only.
    """

    everywhere: bool = True

    def on_start(self, trainer: Training) -> None:
        """Called before the first step."""

    def on_gradients(self, trainer: Training, gradients: dict[Tensor, Array]) -> None:
        """Called with the gradient of each parameter, before the update; do not write to them."""

    def reads_gradients(self, trainer: Training) -> bool:
        """Whether on_gradients is called in the next step; True in each by default.

        A step whose gradients are read runs eagerly. One whose gradients are not may be a replay.
        """
        return True

    def on_step(self, trainer: Training) -> None:
        """Called after each step."""

    def on_epoch(self, trainer: Training, record: dict[str, Any]) -> None:
        """Called after each epoch with its figures; see Trainer.fit."""

    def on_end(self, trainer: Training) -> None:
        """Called at the end, also after an error."""


def gradient_readers(callbacks: Iterable[Callback]) -> list[Callback]:
    """Return the callbacks that define on_gradients."""
    return [c for c in callbacks if _defines(c, "on_gradients")]


def reads_some(callback: Callback) -> bool:
    """Whether a callback defines in which steps it reads the gradients."""
    return _defines(callback, "reads_gradients")


def _defines(callback: Callback, name: str) -> bool:
    return getattr(getattr(callback, name, None), "__func__", None) not in (None, getattr(Callback, name))


class _Writer(Callback):
    """Holds the lock of the file it writes while a trainer trains."""

    everywhere = False

    def __init__(self, path: str | Path, lock: FileLock | None = None) -> None:
        self.path = arguments.path(type(self).__name__, "path", path)
        self._lock = FileLock(self.path) if lock is None else None  # None: the caller holds it

    def on_start(self, trainer: Training) -> None:
        """Take the lock."""
        if self._lock is not None:
            self._lock.acquire()
            remove_parts(self.path.parent, (self.path.name,))

    def on_end(self, trainer: Training) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.release()

    def save(self, trainer: Training, **meta: Any) -> None:
        """Write a checkpoint; the last one stays where the weights are not finite.

        Raises:
            DivergedError: they are not.
        """
        checkpoint = trainer.checkpoint(**meta)
        parts = {"weights": ("the weights are", checkpoint.model),
                 "optimizer": ("the optimizer's state is", checkpoint.optimizer)}  # fmt: skip
        for where, (what, arrays) in parts.items():
            what = f"{what} not finite: the checkpoint before is kept"
            check_finite(arrays, DivergedError.event(where, what, "lower lr", epoch=trainer.epoch))
        write_checkpoint(self.path, checkpoint)


class SaveCheckpoint(_Writer):
    """Save the run to ``checkpoint.safetensors`` in a folder: after epochs, and when training ends or is interrupted.

    Args:
        folder: the run's folder, which exists.
        meta: JSON values to save beside the arrays.
        lock: of the checkpoint, held by the caller; by default it is held while a trainer trains.
        every: after how many epochs it is saved, >= 1.
        steps: after how many steps it is saved besides, >= 1; None: not within an epoch.
    Raises:
        CheckpointError: another process or trainer saves there, when training begins.
        DivergedError: weights or the optimizer's state are not finite; the checkpoint before is kept.
    """

    def __init__(
        self,
        folder: str | Path,
        meta: dict[str, Any] | None = None,
        lock: FileLock | None = None,
        *,
        every: int = 1,
        steps: int | None = None,
    ) -> None:
        super().__init__(arguments.path("SaveCheckpoint", "folder", folder) / "checkpoint.safetensors", lock)
        self.meta = {} if meta is None else arguments.mapping("SaveCheckpoint", "meta", meta)
        self.every = arguments.count("SaveCheckpoint", "every", every)
        self.steps = arguments.optional(arguments.count)("SaveCheckpoint", "steps", steps)
        self._unsaved = False

    def on_step(self, trainer: Training) -> None:
        """Save, if so many steps were made; at the end of an epoch on_epoch does."""
        done = trainer.epoch * (trainer.steps or 0) + trainer.step
        if self.steps and (trainer.steps is None or trainer.step < trainer.steps) and done % self.steps == 0:
            self.save(trainer, **self.meta)

    def on_epoch(self, trainer: Training, record: dict[str, Any]) -> None:
        """Save, if so many epochs were trained."""
        self._unsaved = trainer.epoch % self.every != 0
        if not self._unsaved:
            self.save(trainer, **self.meta)

    def on_end(self, trainer: Training) -> None:
        """Save what was trained since, unless training failed."""
        try:
            if trainer.interrupted or (self._unsaved and sys.exc_info()[0] is None):
                self.save(trainer, **self.meta)
        finally:
            super().on_end(trainer)


class BestCheckpoint(_Writer):
    """Keep the checkpoint of the best epoch.

    Args:
        path: the file to write.
        monitor: the figure to compare; of losses and errors (rmse, mae, mse) the lowest is best, else the highest. Of
            equal epochs the first is best.
        meta: JSON values to save beside the arrays.
    """

    def __init__(self, path: str | Path, monitor: str = "test_accuracy", meta: dict[str, Any] | None = None) -> None:
        super().__init__(path)
        self.monitor = arguments.text("BestCheckpoint", "monitor", monitor)
        self.meta = {} if meta is None else arguments.mapping("BestCheckpoint", "meta", meta)
        self.best: float | None = None

    def on_start(self, trainer: Training) -> None:
        """Read the best figure of a resumed run."""
        super().on_start(trainer)
        epoch = best_epoch(trainer.history, self.monitor)
        self.best = trainer.history[epoch - 1][self.monitor] if epoch else None

    def on_epoch(self, trainer: Training, record: dict[str, Any]) -> None:
        """Save if this epoch is better than all before."""
        value = _figure("BestCheckpoint", record, self.monitor)
        if value != value:  # NaN
            return
        if self.best is None or (value < self.best if is_lower_better(self.monitor) else value > self.best):
            self.save(trainer, **self.meta)
            self.best = value


def best_epoch(history: Sequence[Mapping[str, Any]], monitor: str) -> int:
    """Return the first epoch, from 1, with the best of a figure; 0 where none has it."""
    sign = 1.0 if is_lower_better(monitor) else -1.0
    found = [
        (sign * r[monitor], r["epoch"]) for r in history if r.get(monitor) is not None and r[monitor] == r[monitor]
    ]
    return min(found)[1] if found else 0


class EarlyStopping(Callback):
    """Stop when a figure has not improved for some epochs.

    Args:
        patience: how many epochs to wait, >= 1.
        monitor: the figure to compare; of losses and errors (rmse, mae, mse) lower is better, else higher.
        least: the change that counts as improvement, >= 0.
    """

    def __init__(self, patience: int = 5, monitor: str = "test_loss", least: float = 0.0) -> None:
        name = type(self).__name__
        self.patience = arguments.count(name, "patience", patience)
        self.monitor = arguments.text(name, "monitor", monitor)
        self.least = arguments.not_negative(name, "least", least)

    def on_start(self, trainer: Training) -> None:
        """Stop the trainer at once, if it was resumed after it had stopped."""
        if all(r.get(self.monitor) is not None for r in trainer.history):
            self._stop(trainer)

    def on_epoch(self, trainer: Training, record: dict[str, Any]) -> None:
        """Stop the trainer if the last `patience` epochs of its history did not improve."""
        _figure("EarlyStopping", record, self.monitor)
        self._stop(trainer)

    def _stop(self, trainer: Training) -> None:
        sign = 1.0 if is_lower_better(self.monitor) else -1.0
        best, waited = float("inf"), 0
        for r in trainer.history:
            value = sign * r[self.monitor]
            best, waited = (value, 0) if value < best - self.least else (best, waited + 1)
        if waited >= self.patience:
            trainer.stop()


class JsonLines(_Writer):
    """Write the figures of each epoch as a line of JSON; a resumed run first rewrites the lines of its history.

    Args:
        path: the file to write.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)

    def on_start(self, trainer: Training) -> None:
        """Write the lines of the epochs already trained."""
        super().on_start(trainer)
        write_atomically(self.path, "".join(to_json(r) + "\n" for r in trainer.history).encode())

    def on_epoch(self, trainer: Training, record: dict[str, Any]) -> None:
        """Add a line."""
        append(self.path, (to_json(record) + "\n").encode())


def _figure(callback: str, record: dict[str, Any], monitor: str) -> float:
    value = record.get(monitor)
    if value is None:
        raise ConfigError(callback, f"monitor to be one of {', '.join(sorted(record))}", monitor=monitor)
    return value
