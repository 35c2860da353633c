"""The Trainer: fit a model to data, evaluate it, predict with it.

    trainer = Trainer(model, seed=0)
    history = trainer.fit(train, test, epochs=5)
    trainer.evaluate(test)["accuracy"]
    model.to("torch")                            # go on elsewhere
    trainer.fit(train, test, epochs=10)          # epochs 6 to 10

Every draw is keyed by the seed, the epoch and the step, so where a run is interrupted or resumed changes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from xpnet import nn, random
from xpnet.autograd import Tensor, no_grad
from xpnet.backend import Array, Backend, is_out_of_memory
from xpnet.data import Augment, Dataset, Feed, Normalize, from_arrays
from xpnet.errors import CheckpointError, ConfigError, DeviceError, DivergedError, ShapeError
from xpnet.nn import Module
from xpnet.optim import SGD, Optimizer
from xpnet.train import metrics
from xpnet.train.callbacks import Callback
from xpnet.train.checkpoint import Checkpoint
from xpnet.train.interrupt import Interrupt
from xpnet.train.step import EagerStep

__all__ = ["Trainer"]

Data = Dataset | tuple[np.ndarray, np.ndarray]


class Trainer:
    """Trains one model; keeps where it is, so that fit goes on where the last fit ended.

    Args:
        model: takes (N, ...), gives scores (N, K); it may be moved between calls.
        optimizer: of the model's parameters; momentum SGD with rate 0.05 by default.
        loss: takes scores and labels, gives one number.
        seed: of shuffles, augmentation and dropout, 0 <= seed < 2**64.
        callbacks: what else happens; see xpnet.train.callbacks.
        normalize: how data is brought to a common scale; by default measured on the first training set of bytes.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer | None = None,
        loss: Callable[..., Tensor] = nn.softmax_cross_entropy,
        *,
        seed: int = 0,
        callbacks: Iterable[Callback] = (),
        normalize: Normalize | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer or SGD(model.parameters(), lr=0.05, momentum=0.9)
        self.loss = loss
        self.seed = seed
        self.callbacks = list(callbacks)
        self.normalize = normalize
        self.history: list[dict[str, Any]] = []
        self.epoch = self.step = self.epochs = self.steps = 0
        self.interrupted = False
        self._resumed: dict[str, Any] = {}
        self._stopping = False
        self.meter = metrics.LossMeter(model.backend)

    def fit(
        self,
        train: Data,
        test: Data | None = None,
        *,
        epochs: int = 10,
        batch_size: int = 64,
        augment: Augment | None = None,
    ) -> list[dict[str, Any]]:
        """Train until a number of epochs, counted from the trainer's first, are done.

        Args:
            train: the training set, or arrays (x, y): x (N, ...), y (N,) integers.
            test: a set to evaluate after each epoch, or None.
            epochs: >= 0; epochs trained before count.
            batch_size: N, >= 1.
            augment: changes training images at random.
        Returns:
            The history: for each epoch since the first {epoch, train_loss, test_loss, test_accuracy, seconds}.
        Raises:
            ConfigError: a number out of range. DataError: the data cannot be learned from.
            DivergedError: the loss became NaN or infinite; the model has the values of that step.
            DeviceError: the device's memory does not hold a batch.
        """
        if epochs < 0:
            raise ConfigError("fit", "epochs >= 0", epochs=epochs)
        train, backend = _dataset(train), self.model.backend
        if self.normalize is None and train.x.dtype == np.uint8:
            self.normalize = Normalize.of(train)
        feed = Feed(train, batch_size, backend, normalize=self.normalize, shuffle=True, seed=self.seed, augment=augment)
        self.epochs, self.steps = epochs, len(feed)
        self.interrupted = self._stopping = False
        runner = EagerStep(self.model, self.loss, self.optimizer, len(train.classes), self._show)
        with Interrupt() as interrupt, np.errstate(all="ignore"):  # a loss that diverges is an error, once
            try:
                for callback in self.callbacks:
                    callback.on_start(self)
                while self.epoch < epochs and not self._stopping:
                    if not self._train_epoch(runner, feed, backend, interrupt):
                        break
                    self._close_epoch(test, batch_size)
                    if interrupt.asked and self.epoch < epochs:
                        self.interrupted = True
                        break
            finally:
                for callback in self.callbacks:
                    callback.on_end(self)
        return self.history

    def _train_epoch(self, runner: EagerStep, feed: Feed, backend: Backend, interrupt: Interrupt) -> bool:
        """Train the rest of an epoch; False if it was interrupted, then with everything saved for the next fit."""
        before = self._resumed
        self.meter = metrics.LossMeter(backend, before.get("loss_sum", 0.0), before.get("examples", 0))
        self._began = time.perf_counter() - before.get("seconds", 0.0)
        self._resumed = {}
        self.model.train()
        for x, y in _closing(feed.epoch(self.epoch, self.step)):
            with random.at(random.Moment(self.seed, self.epoch, self.step)):
                loss = _with_memory_advice(lambda x=x, y=y: runner(x, y), x.shape[0])
            self.step += 1
            self.meter.add(self.step, x.shape[0], loss)
            self._guarded(lambda: [c.on_step(self) for c in self.callbacks])
            if interrupt.asked and self.step < self.steps:
                self._guarded(self.meter.read)
                self._resumed = self._progress()
                self.interrupted = True
                return False
        self._guarded(self.meter.read)
        return True

    def _show(self, gradients: dict[Tensor, Array]) -> None:
        for callback in self.callbacks:
            callback.on_gradients(self, gradients)

    def _guarded(self, read: Callable[[], Any]) -> None:
        """Read the loss, and say in which epoch it was that it stopped being finite."""
        try:
            read()
        except DivergedError as error:
            error.got = {"epoch": self.epoch + 1, **error.got}
            raise

    def _close_epoch(self, test: Data | None, batch_size: int) -> None:
        record: dict[str, Any] = {"epoch": self.epoch + 1, "train_loss": self.meter.read()}
        if test is not None:
            figures = self.evaluate(test, batch_size=max(batch_size, 256))
            if not math.isfinite(figures["loss"]):
                raise DivergedError(
                    "loss",
                    "the loss stays finite",
                    "lower the learning rate with --lr",
                    epoch=self.epoch + 1,
                    step=self.step,
                    test_loss=figures["loss"],
                )
            record |= {"test_loss": figures["loss"], "test_accuracy": figures["accuracy"]}
        record["seconds"] = round(time.perf_counter() - self._began, 3)
        self.epoch, self.step = self.epoch + 1, 0
        self.history.append(record)
        for callback in self.callbacks:
            callback.on_epoch(self, record)

    def stop(self) -> None:
        """End training after the epoch under way."""
        self._stopping = True

    def evaluate(self, data: Data, *, batch_size: int = 256) -> dict[str, Any]:
        """Measure the model on data, as it predicts: no dropout, running averages.

        Args:
            data: a set, or arrays (x, y).
            batch_size: N, >= 1.
        Returns:
            {loss, accuracy, top5_accuracy (None under 6 classes), confusion: (K, K), scores: (N, K)}.
        """
        data = _dataset(data)
        scores, loss = [], 0.0
        for part, out in self._scored(data.x, batch_size):
            if out.ndim != 2 or out.shape[1] < len(data.classes):
                raise ShapeError("evaluate", "the model gives a score a class", scores=out.shape, K=len(data.classes))
            labels = self.model.backend.from_numpy(data.y[part])
            loss += self.loss(out, labels).item() * len(data.y[part])
            scores.append(out.numpy())
        every, labels = np.concatenate(scores), data.y
        return {
            "loss": loss / len(labels),
            "accuracy": metrics.accuracy(every, labels),
            "top5_accuracy": metrics.top_k_accuracy(every, labels, 5) if every.shape[1] > 5 else None,
            "confusion": metrics.confusion_matrix(np.argmax(every, axis=1), labels, every.shape[1]),
            "scores": every,
        }

    def predict(self, x: np.ndarray, *, batch_size: int = 256) -> np.ndarray:
        """Say the probability of each class.

        Args:
            x: examples on the host, (N, ...), as the training data was: bytes are normalized likewise.
            batch_size: N, >= 1.
        Returns:
            (N, K), rows that sum to 1: the softmax of the model's scores.
        """
        each = np.concatenate([out.numpy() for _, out in self._scored(x, batch_size)])
        each = np.exp(each - each.max(axis=1, keepdims=True))
        return each / each.sum(axis=1, keepdims=True)

    def _scored(self, x: np.ndarray, batch_size: int) -> Iterator[tuple[slice, Tensor]]:
        """Go over examples of the host in batches, and give the model's scores of each, without a tape."""
        if batch_size < 1:
            raise ConfigError("predict", "batch_size >= 1", batch_size=batch_size)
        if not len(x):
            raise ShapeError("predict", "x is (N, ...), N >= 1", x=x.shape)
        backend, was = self.model.backend, self.model.training
        self.model.eval()
        try:
            with no_grad():
                for start in range(0, len(x), batch_size):
                    part = slice(start, min(start + batch_size, len(x)))
                    batch = backend.from_numpy(x[part])
                    scale = self.normalize or (lambda a: backend.xp.astype(a, backend.xp.float32))
                    yield part, self.model(Tensor(scale(batch)))
        finally:
            self.model.train(was)

    def _progress(self) -> dict[str, Any]:
        meter = self.meter if self.step else metrics.LossMeter(self.model.backend)
        meter.read()  # what is still on the device
        seconds = time.perf_counter() - self._began if self.step else 0.0
        return {
            "epoch": self.epoch,
            "step": self.step,
            "loss_sum": meter.total,
            "examples": meter.count,
            "seconds": seconds,
            "seed": self.seed,
        }

    def checkpoint(self, **meta: Any) -> Checkpoint:
        """Copy all that a resume needs: parameters, buffers, optimizer state, counters, history, normalization."""
        scale = self.normalize.to_json() if self.normalize else None
        return Checkpoint.of(
            self.model,
            self.optimizer,
            progress=self._resumed or self._progress(),
            history=list(self.history),
            normalize=scale,
            **meta,
        )

    def resume(self, checkpoint: Checkpoint) -> None:
        """Take up where a checkpoint was made; the next fit goes on from there, bit for bit on the same backend.

        Raises:
            CheckpointError: it is of another model or optimizer, or holds no training to go on with.
        """
        try:
            progress, history, scale = (checkpoint.meta[k] for k in ("progress", "history", "normalize"))
            epoch, step, seed = (progress[k] for k in ("epoch", "step", "seed"))
        except KeyError as error:
            raise CheckpointError("resume", "the checkpoint was made by a Trainer", missing=error) from error
        checkpoint.restore(self.model, self.optimizer)
        self.epoch, self.step, self.seed = epoch, step, seed
        self._resumed = progress if step else {}
        self.history = list(history)
        self.normalize = Normalize.from_json(scale) if scale else None


def _dataset(data: Data) -> Dataset:
    return data if isinstance(data, Dataset) else from_arrays(*data)


def _closing(batches: Iterator[Any]) -> Iterator[Any]:
    """Go over batches, and close their source however the loop ends."""
    try:
        yield from batches
    finally:
        getattr(batches, "close", lambda: None)()


def _with_memory_advice(run: Callable[[], Array], batch: int) -> Array:
    """Run a step; when the device is out of memory, say which batch size was too much and which to try."""
    try:
        return run()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        advice = f"try --batch-size {max(1, batch // 2)}" if batch > 1 else "use a smaller model"
        raise DeviceError("fit", "a step fits in the device's memory", advice, batch_size=batch) from error
