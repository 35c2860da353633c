"""The Trainer: fit a model to data, evaluate it, predict with it.

    trainer = Trainer(model, seed=0)
    history = trainer.fit(train, test, epochs=5)
    trainer.evaluate(test)["accuracy"]
    model.to("torch")                            # go on elsewhere
    trainer.fit(train, test, epochs=10)          # epochs 6 to 10

Every draw is keyed by the seed, the epoch and the step, so where a run is interrupted or resumed changes nothing.
"""

from __future__ import annotations

import logging
import math
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any

import numpy as np

from xpnet import kernels, nn
from xpnet.autograd import Tensor
from xpnet.backend import Array, is_out_of_memory, keep_freed_memory, shut_down_workers
from xpnet.data import Augment, Dataset, Feed, Normalize, from_arrays
from xpnet.errors import CheckpointError, ConfigError, DeviceError, DivergedError, ShapeError
from xpnet.nn import Module
from xpnet.nn.predict import predictor
from xpnet.optim import SGD, Optimizer
from xpnet.train import metrics
from xpnet.train.callbacks import Callback
from xpnet.train.checkpoint import Checkpoint
from xpnet.train.device_errors import device_errors, largest_batch, out_of_memory_advice
from xpnet.train.interrupt import Interrupt
from xpnet.train.precision import check_precision, input_dtype
from xpnet.train.runner import Runner
from xpnet.train.sharding import check_threads
from xpnet.train.step import Step

__all__ = ["Trainer"]

_log = logging.getLogger("xpnet")

Data = Dataset | tuple[np.ndarray, np.ndarray]


class Trainer:
    """Trains one model; a later fit continues where the last one ended.

    Args:
        model: takes (N, ...), gives scores (N, K); it may be moved between calls.
        optimizer: of the model's parameters; momentum SGD with rate 0.05 by default.
        loss: takes scores and labels, gives one number.
        seed: of shuffles, augmentation and dropout, 0 <= seed < 2**64.
        callbacks: what else happens; see xpnet.train.callbacks.
        normalize: how data is brought to a common scale; by default measured on the first training set of bytes.
        capture: record a step and replay it, on a CPU and on CUDA, as Step takes it. None: where that can be done;
            the log says once why not. True: or raise an error. False: never.
        precision: "fp32", "tf32" or "fp16", of the training steps; see xpnet.train.precision.
        threads: on a CPU, how many threads share a batch, with the same result to rounding, as Step takes it. None: as
            many as are of use. 1: no sharding. More: so many, or an error where the model or the loss do not allow it.
    Raises:
        ConfigError: threads is below 1.
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
        capture: bool | None = None,
        precision: str = "fp32",
        threads: int | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer or SGD(model.parameters(), lr=0.05, momentum=0.9)
        self.loss = loss
        self.seed = seed
        self.callbacks = list(callbacks)
        self.normalize = normalize
        self.capture = capture
        self.precision = precision
        self.threads = check_threads(threads)
        self.history: list[dict[str, Any]] = []
        self.epoch = self.step = self.epochs = self.steps = 0
        self.interrupted = False
        self._resumed: dict[str, Any] = {}
        self._stopping = False
        self._used = 0  # bytes of the device's memory before the first step
        self.meter = metrics.LossMeter(model.backend)

    def fit(
        self,
        train: Data,
        test: Data | None = None,
        *,
        epochs: int = 10,
        batch_size: int = 64,
        augment: Augment | None = None,
        keep_memory: bool = True,
    ) -> list[dict[str, Any]]:
        """Train until a number of epochs, counted from the trainer's first, are done.

        Args:
            train: the training set, or arrays (x, y): x (N, ...), y (N,) integers.
            test: a set to evaluate after each epoch, or None.
            epochs: >= 0; epochs trained before count.
            batch_size: N, >= 1.
            augment: changes training images at random.
            keep_memory: whether the C library keeps freed memory for the next step, in the whole process and until it
                ends (see backend.keep_freed_memory); on a CPU, steps take up to a third less time.
        Returns:
            The history: for each epoch since the first {epoch, train_loss, test_loss, test_accuracy, seconds}.
        Raises:
            ConfigError: a number out of range. DataError: the data cannot be learned from.
            DivergedError: the loss became NaN or infinite; the model has the values of that step.
            DeviceError: the device's memory does not hold a batch; or DeviceLostError, the device stopped working.
        """
        if epochs < 0:
            raise ConfigError("fit", "epochs >= 0", epochs=epochs)
        check_precision(self.precision, self.model.backend)
        train, backend = _dataset(train), self.model.backend
        if keep_memory and backend.on_host:
            keep_freed_memory()
        kernels.prepare(backend.xp.empty(0, device=backend.device))
        if self.normalize is None and train.x.dtype == np.uint8:
            self.normalize = Normalize.of(train)
        with backend.active(), device_errors("fit"):
            feed = self._feed(train, batch_size, augment)
            self._used = backend.memory().used
            self._fit(feed, test, epochs)
        return self.history

    def _feed(self, train: Dataset, batch_size: int, augment: Augment | None) -> Feed:
        """Serve the training set; where it was to lie on the device and does not fit after all, from the host."""

        def feed(resident: bool | None) -> Feed:
            return Feed(
                train,
                batch_size,
                self.model.backend,
                normalize=self.normalize,
                dtype=input_dtype(self.precision),
                shuffle=True,
                seed=self.seed,
                augment=augment,
                resident=resident,
            )

        try:
            return feed(None)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)  # they hold what was there already
        _log.warning("the training set has no room on %s: batches come from the host", self.model.backend.spec)
        return feed(False)

    def _fit(self, feed: Feed, test: Data | None, epochs: int) -> None:
        self.epochs, self.steps = epochs, len(feed)
        self.interrupted = self._stopping = False
        classes = len(feed.dataset.classes)
        step = Step(
            self.model,
            self.loss,
            self.optimizer,
            classes,
            precision=self.precision,
            threads=self.threads,
            capture=self.capture,
        )
        runner = Runner(step, feed, self.seed, self.capture)
        with Interrupt() as interrupt, np.errstate(all="ignore"):  # a loss that diverges is an error, once
            try:
                for callback in self.callbacks:
                    callback.on_start(self)
                while self.epoch < epochs and not self._stopping:
                    step.gradient_hook = self._show if self._gradient_readers() else None
                    if not self._train_epoch(runner, interrupt):
                        break
                    self._close_epoch(test, feed.batch_size)
                    if interrupt.asked and self.epoch < epochs:
                        self.interrupted = True
                        break
            finally:
                self.model.eval()
                shut_down_workers()
                for callback in self.callbacks:
                    callback.on_end(self)

    def _train_epoch(self, runner: Runner, interrupt: Interrupt) -> bool:
        """Train the rest of an epoch; False if it was interrupted, then with everything saved for the next fit."""
        before = self._resumed
        self.meter = metrics.LossMeter(self.model.backend, before.get("loss_sum", 0.0), before.get("examples", 0))
        self._began = time.perf_counter() - before.get("seconds", 0.0)
        self._resumed = {}
        self.model.train()
        with closing(self._steps(runner)) as steps:
            for examples, loss in steps:
                self.step += 1
                self.meter.add(self.step, examples, loss)
                if self.callbacks:
                    self._guarded(self._tell_of_step)
                if interrupt.asked and self.step < self.steps:
                    self._guarded(self.meter.read)
                    self._resumed = self._progress()
                    self.interrupted = True
                    return False
        self._guarded(self.meter.read)
        return True

    def _steps(self, runner: Runner) -> Generator[tuple[int, Array | metrics.Slot], None, None]:
        """Run the rest of an epoch; the error of a step without memory says which batch size to try."""
        model, feed, backend = self.model, runner.feed, self.model.backend
        shape = feed.dataset.shape
        with (
            out_of_memory_advice("fit", feed.batch_size, lambda: largest_batch(model, shape, backend, self._used)),
            closing(runner.epoch(self.epoch, self.step)) as steps,
        ):
            yield from steps

    def _gradient_readers(self) -> list[Callback]:
        """The callbacks that define on_gradients."""
        mute = Callback.on_gradients
        return [c for c in self.callbacks if getattr(c.on_gradients, "__func__", None) is not mute]

    def _show(self, gradients: dict[Tensor, Array]) -> None:
        for callback in self._gradient_readers():
            callback.on_gradients(self, gradients)

    def _tell_of_step(self) -> None:
        for callback in self.callbacks:
            callback.on_step(self)

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
                got = {"epoch": self.epoch + 1, "step": self.step, "test_loss": figures["loss"]}
                raise DivergedError.event("loss", "the test loss is not finite", "lower lr", **got)
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
        scores, loss, K = [], 0.0, len(data.classes)
        with self.model.backend.active(), device_errors("evaluate"):
            for part, out in self._scored(data.x, batch_size):
                if out.ndim != 2 or out.shape[1] < K:
                    raise ShapeError("evaluate", "a score for each class", scores=out.shape, K=K)
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
        with self.model.backend.active(), device_errors("predict"):
            each = np.concatenate([out.numpy() for _, out in self._scored(x, batch_size)])
        each = np.exp(each - each.max(axis=1, keepdims=True))
        return each / each.sum(axis=1, keepdims=True)

    def _scored(self, x: np.ndarray, batch_size: int) -> Iterator[tuple[slice, Tensor]]:
        """Go over examples of the host in batches, and give the model's scores of each, as nn.Module.predict does.

        A batch that there is no memory for is halved, and so are those after it.
        """
        if batch_size < 1:
            raise ConfigError("predict", "batch_size >= 1", batch_size=batch_size)
        if not len(x):
            raise ShapeError("predict", "x of shape (N, ...), N >= 1", x=x.shape)
        start, score = 0, predictor(self.model)
        while start < len(x):
            part = slice(start, min(start + batch_size, len(x)))
            try:
                with out_of_memory_advice("predict", batch_size):
                    scores = score(self._scaled(x[part]))
            except DeviceError:
                if batch_size == 1:
                    raise
                batch_size //= 2
                continue
            yield part, Tensor(scores)
            start = part.stop

    def _scaled(self, x: np.ndarray) -> Array:
        backend = self.model.backend
        scale = self.normalize or (lambda a: backend.xp.astype(a, backend.xp.float32))
        return scale(backend.from_numpy(x))

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
        """Continue from a checkpoint: the next fit goes on from there, bit for bit on the same backend.

        Raises:
            CheckpointError: it is of another model or optimizer, or holds no progress of a training.
        """
        try:
            progress, history, scale = (checkpoint.meta[k] for k in ("progress", "history", "normalize"))
            epoch, step, seed = (progress[k] for k in ("epoch", "step", "seed"))
        except KeyError as error:
            raise CheckpointError("resume", "a checkpoint made by a Trainer", missing=error) from error
        checkpoint.restore(self.model, self.optimizer)
        self.epoch, self.step, self.seed = epoch, step, seed
        self._resumed = progress if step else {}
        self.history = list(history)
        self.normalize = Normalize.from_json(scale) if scale else None


def _dataset(data: Data) -> Dataset:
    return data if isinstance(data, Dataset) else from_arrays(*data)
