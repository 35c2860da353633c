"""The part of a Trainer that goes into a checkpoint and comes from one; see there for what is public."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from xpnet import arguments
from xpnet.autograd import Tensor
from xpnet.data import Normalize, Scale
from xpnet.errors import CheckpointError
from xpnet.train import scaling
from xpnet.train.checkpoint import Checkpoint
from xpnet.train.fitting import Fitting
from xpnet.train.history import History
from xpnet.train.processes import read_processes
from xpnet.train.tasks import Task, saved_task

__all__ = ["Resuming"]

_log = logging.getLogger("xpnet")


class Resuming(Fitting):
    """A Fitting whose state is copied into checkpoints."""

    ema: float | None
    normalize: Any
    scale: Any
    classes: tuple[str, ...]
    _loss: Callable[..., Tensor] | None
    _class_weights: Any
    _shards_given: bool

    def checkpoint(self, **meta: Any) -> Checkpoint:
        """Copy all that a resume needs: parameters, buffers, optimizer state, counters, history, normalization.

        With ema the model's arrays are the averaged weights, and those that are trained are among the optimizer's.
        """
        with self.averaged(False):
            found = Checkpoint.of(
                self.model,
                self.optimizer,
                progress=self._resumed or self._progress(),
                history=list(self.history),
                normalize=scaling.to_json(self.normalize),
                scale=scaling.to_json(self.scale),
                task=self.task.to_json() if self.task else None,
                **{"classes": list(self.classes), **meta},
            )
        return found if self.ema is None else found.averaged(self.model.path)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint: the next fit goes on from there, bit for bit on the same backend.

        Raises:
            CheckpointError: it is of another model, optimizer or task, or holds no progress of a training.
        """
        arguments.instance(
            "resume", "checkpoint", checkpoint, kind=Checkpoint, rule="a Checkpoint", do="read_checkpoint reads a file"
        )
        try:
            progress, history, _ = (checkpoint.meta[k] for k in ("progress", "history", "normalize"))
            epoch, step, seed = (progress[k] for k in ("epoch", "step", "seed"))
        except KeyError as error:
            raise CheckpointError("resume", "a checkpoint made by a Trainer", missing=error) from error
        averaged = any(name.startswith("trained/") for name in checkpoint.optimizer)
        if averaged != (self.ema is not None):
            rule = f"a checkpoint {'without' if averaged else 'with'} averaged weights"
            do = "make the Trainer with an ema" if averaged else "make the Trainer without ema"
            raise CheckpointError("resume", rule, do, ema=self.ema)
        self._saved(checkpoint.meta)  # before anything is changed
        self._take_shards(progress)
        with self.averaged(False):
            checkpoint.trained(self.model.path).restore(self.model, self.optimizer)
        if self.optimizer.average is not None:
            self.optimizer.average.show()
        self.epoch, self.step, self.seed = epoch, step, seed
        self._resumed = progress if step else {}
        self._batches = progress.get("batches")
        self.history = History(history)
        self.take_scale(checkpoint.meta)

    def _take_shards(self, progress: Mapping[str, Any]) -> None:
        """Take the number of virtual shards from a checkpoint, unless it was given: then say where it is another."""
        shards, now = progress.get("shards") or 1, self.processes.shards or 1
        if shards == now or "shards" not in progress:
            return
        if self._shards_given:
            text = "resume: the checkpoint is of a run with shards=%d; with shards=%d it continues with other bits"
            _log.warning(text, shards, now)
        elif shards > 1 or self.processes.communicator.size == 1:
            given = self.processes
            self.processes = read_processes("resume", given.communicator, shards, given.batch_norm)

    def _saved(self, meta: Mapping[str, Any]) -> Task:
        """Return the task of a checkpoint; CheckpointError where this trainer has another."""
        task = saved_task(meta.get("task"), self._loss)
        task.set_class_weights(self._class_weights)
        if self.task is not None and self.task.name != task.name:
            raise CheckpointError("resume", f"a checkpoint of the task {self.task.name}", task=task.name)
        return task

    def take_scale(self, meta: Mapping[str, Any]) -> None:
        """Read from the JSON of a checkpoint the task, the classes, on which scale data is, and how it is normalized.

        A checkpoint of xpnet 0.6 or older says no scale: then data is taken as it is.

        Raises:
            CheckpointError: it is of another task.
        """
        arguments.mapping("take_scale", "meta", meta)
        self.task = self._saved(meta)
        self.loss = self._loss or self.task.loss
        self.normalize = scaling.from_json(meta.get("normalize"), Normalize.from_json)
        self.scale = scaling.from_json(meta.get("scale"), Scale.from_json)
        self.classes = tuple(meta.get("classes") or ())
