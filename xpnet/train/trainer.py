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
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from typing import Any

import numpy as np

from xpnet import arguments, kernels, nn
from xpnet.autograd import Tensor
from xpnet.backend import Array, is_out_of_memory, keep_freed_memory, shut_down_workers
from xpnet.data import Augment, Dataset, Feed, Normalize, Scale
from xpnet.errors import CheckpointError, ConfigError, DivergedError
from xpnet.nn import Module
from xpnet.optim import SGD, Optimizer
from xpnet.train import inputs, metrics
from xpnet.train.callbacks import Callback, gradient_readers
from xpnet.train.checkpoint import Checkpoint
from xpnet.train.device_errors import device_errors, largest_batch, out_of_memory_advice
from xpnet.train.interrupt import Interrupt
from xpnet.train.precision import check_precision, input_dtype
from xpnet.train.runner import Runner
from xpnet.train.scoring import Scoring
from xpnet.train.sharding import check_threads
from xpnet.train.step import Step

__all__ = ["Trainer"]

_log = logging.getLogger("xpnet")

_MOST = (1 << 31) - 1  # examples of a batch


class Trainer:
    """Trains one model; a later fit continues where the last one ended.

    Args:
        model: takes (N, ...), gives scores (N, K), or (N, 1) or (N,) for two classes; it may be moved between calls.
        optimizer: of the model's parameters; momentum SGD with rate 0.05 by default.
        loss: takes scores and labels, gives one number.
        seed: of shuffles, augmentation and dropout, 0 <= seed < 2**64.
        callbacks: what else happens; see xpnet.train.callbacks.
        normalize: how data is normalized; by default measured on the first training set, if that is of pixels. Data on
            another scale is brought to that of the first training set before: see xpnet.data.scale.
        capture: record a step and replay it, on a CPU and on CUDA, as Step takes it. None: where that can be done;
            the log says once why not. True: or raise an error. False: never.
        precision: "fp32", "tf32" or "fp16", of the training steps; see xpnet.train.precision.
        threads: on a CPU, how many threads share a batch, with the same result to rounding, as Step takes it. None: as
            many as are of use. 1: no sharding. More: so many, or an error where the model or the loss do not allow it.
    Raises:
        ConfigError: an argument is of another kind or out of range, or the optimizer has no parameter of the model.
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
        self.model = inputs.check_kind("model", model, Module)
        self.optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9) if optimizer is None else optimizer
        trained = set(map(id, inputs.check_kind("optimizer", self.optimizer, Optimizer).parameters))
        self._others = [p for p in model.parameters() if id(p) not in trained]  # which the optimizer leaves as they are
        if len(self._others) == len(model.parameters()):
            raise ConfigError("Trainer", "an optimizer of the model's parameters", optimizer="of other parameters")
        inputs.check_normalize(normalize)
        check_precision(precision)
        self.loss = arguments.function("Trainer", "loss", loss)
        self.seed = arguments.count("Trainer", "seed", seed, 0, (1 << 64) - 1)
        self.callbacks = inputs.read_callbacks(callbacks)
        self.normalize = normalize
        self.scale: Scale | None = None  # of the first training set
        self.classes: tuple[str, ...] = ()  # likewise
        self.capture = arguments.optional(arguments.boolean)("Trainer", "capture", capture)
        self.precision = precision
        self.threads = check_threads(threads)
        self.history: list[dict[str, Any]] = []
        self.epoch = self.step = self.epochs = self.steps = 0
        self.interrupted = 0
        self._resumed: dict[str, Any] = {}
        self._batches: list[int] | None = None  # batch size and examples of the epoch under way
        self._stopping = False
        self._used = 0  # bytes of the device's memory before the first step
        self.meter = self._meter()

    def fit(
        self,
        train: inputs.Data,
        test: Any = None,
        *,
        epochs: int = 10,
        batch_size: int = 64,
        augment: Augment | None = None,
        keep_memory: bool = True,
    ) -> list[dict[str, Any]]:
        """Train until a number of epochs, counted from the trainer's first, are done.

        Args:
            train: the training set, or a tuple of arrays (x, y): x (N, ...), y (N,) integers, of any library, or lists.
            test: a set to evaluate after each epoch, likewise, or None. fit(x, y) is fit((x, y)).
            epochs: >= 0; epochs trained before count: if all are done, nothing is trained, and the log says so.
            batch_size: N, >= 1.
            augment: changes training images at random.
            keep_memory: whether the C library keeps freed memory for the next step, in the whole process and until it
                ends (see backend.keep_freed_memory); on a CPU, steps take up to a third less time.
        Returns:
            The history: for each epoch since the first {epoch, train_loss, test_loss, test_accuracy, seconds}.
        Raises:
            ConfigError: a number out of range; or parameters were added to the model after the Trainer was made.
            DataError: the data cannot be learned from. ShapeError: the model does not take its shape.
            DivergedError: the loss became NaN or infinite; the model has the values of that step.
            DeviceError: the device's memory does not hold a batch; or DeviceLostError, the device stopped working.
        """
        epochs = arguments.count("fit", "epochs", epochs, 0)
        batch_size = arguments.count("fit", "batch_size", batch_size, 1, _MOST)
        if augment is not None and not callable(augment):
            raise ConfigError("fit", "augment, an Augment or None", augment=arguments.shown(augment))
        check_precision(self.precision, self.model.backend)
        inputs.check_parameters(self.model, (*self.optimizer.parameters, *self._others))
        train, test = inputs.read_sets(train, test, self.model)
        backend = self.model.backend
        if 0 < epochs <= self.epoch:
            text = "fit: nothing is trained: %d epochs are done already, and epochs=%d is the total; ask for more"
            _log.warning(text, self.epoch, epochs)
        if arguments.boolean("fit", "keep_memory", keep_memory) and backend.on_host:
            keep_freed_memory()
        kernels.prepare(backend.xp.empty(0, device=backend.device))
        if self.classes:
            inputs.check_names("fit", train, self.classes)
        if self.scale is None and not self.history:
            self.scale, self.classes = Scale.of(train.x, train.white), train.classes
            if self.normalize is None and self.scale.normalized:
                self.normalize = Normalize.of(train)
        with backend.active(), device_errors("fit"):
            feed = self._feed(train, batch_size, augment)
            self._used = backend.memory().used
            self._fit(feed, test, epochs)
        return self.history

    def _feed(self, train: Dataset, batch_size: int, augment: Augment | None) -> Feed:
        """Serve the training set; where it was to lie on the device and does not fit after all, from the host."""

        normalize = self._scoring().normalization("fit", train.x, declared=train.white)

        def feed(resident: bool | None) -> Feed:
            return Feed(
                train,
                batch_size,
                self.model.backend,
                normalize=normalize,
                dtype=input_dtype(self.model, self.precision),
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

    def _fit(self, feed: Feed, test: Dataset | None, epochs: int) -> None:
        self.epochs, self.steps = epochs, len(feed)
        batches = [feed.batch_size, len(feed.dataset)]
        if self.step and (self.step > len(feed) or self._batches not in (None, batches)):
            text = "fit: epoch %d begins anew: it was interrupted with other batches or another training set"
            _log.warning(text, self.epoch + 1)
            self.step, self._resumed = 0, {}
        self._batches = batches
        self.interrupted, self._stopping = 0, False
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
                    step.gradient_hook = self._show if gradient_readers(self.callbacks) else None
                    if not self._run_epoch(runner, interrupt, test):
                        break
                    if interrupt.asked and self.epoch < epochs:
                        self.interrupted = interrupt.asked
                        break
            finally:
                self.model.eval()
                shut_down_workers()
                for callback in self.callbacks:
                    callback.on_end(self)

    def _run_epoch(self, runner: Runner, interrupt: Interrupt, test: Dataset | None) -> bool:
        """Train and close an epoch; False if it was interrupted. After an error, the next fit goes on where it was."""
        epoch = self.epoch
        try:
            if not self._train_epoch(runner, interrupt):
                return False
            self._close_epoch(test, runner.feed.batch_size)
        except BaseException:
            if self.epoch == epoch:
                try:
                    self._resumed = self._progress()
                except Exception:  # the losses are not finite, or lost
                    self.step, self._resumed = 0, {}
            raise
        return True

    def _train_epoch(self, runner: Runner, interrupt: Interrupt) -> bool:
        """Train the rest of an epoch; False if it was interrupted, then with everything saved for the next fit."""
        before = self._resumed
        self.meter = self._meter(before.get("loss_sum", 0.0), before.get("examples", 0))
        self._began = time.perf_counter() - before.get("seconds", 0.0)
        self._resumed = {}
        self.model.train()
        with closing(self._steps(runner)) as steps:
            for weight, loss in steps:
                self.step += 1
                self.meter.add(self.step, weight, loss)
                for callback in self.callbacks:
                    self._guarded(lambda callback=callback: callback.on_step(self))
                if interrupt.asked and self.step < self.steps:
                    self._guarded(self.meter.read)
                    self._resumed = self._progress()
                    self.interrupted = interrupt.asked
                    return False
        self._guarded(self.meter.read)
        return True

    def _steps(self, runner: Runner) -> Generator[tuple[float, Array | metrics.Slot], None, None]:
        """Run the rest of an epoch; the error of a step without memory says which batch size to try."""
        model, feed, backend = self.model, runner.feed, self.model.backend
        shape = feed.dataset.shape
        with (
            out_of_memory_advice("fit", feed.batch_size, lambda: largest_batch(model, shape, backend, self._used)),
            closing(runner.epoch(self.epoch, self.step)) as steps,
        ):
            yield from steps

    def _show(self, gradients: dict[Tensor, Array]) -> None:
        for callback in gradient_readers(self.callbacks):
            callback.on_gradients(self, gradients)

    def _guarded(self, read: Callable[[], Any]) -> None:
        """Read the loss, and say in which epoch it was that it stopped being finite."""
        try:
            read()
        except DivergedError as error:
            error.got = {"epoch": self.epoch + 1, **error.got}
            raise

    def _close_epoch(self, test: Dataset | None, batch_size: int) -> None:
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

    def evaluate(self, data: inputs.Data, *, batch_size: int = 256) -> dict[str, Any]:
        """Measure the model on data, as it predicts: no dropout, running averages.

        Args:
            data: a set, or a tuple of arrays (x, y) as fit takes it; brought to the scale of the training set.
            batch_size: N, >= 1; the figures do not depend on it, but for rounding.
        Returns:
            {loss, accuracy, top5_accuracy (None under 6 classes), confusion: (K, K), scores: (N, K)}. The loss is that
            of all examples at once. An example with a score that is NaN counts as wrong; confusion leaves it out.
        Raises:
            DataError: the scale of the data cannot be told, or its classes are not those of the training set.
            ShapeError: there is no score for a class. ConfigError: batch_size is below 1.
        """
        return self._scoring().evaluate(data, batch_size)

    def predict(self, x: Any, *, batch_size: int = 256, white: float | None = None) -> np.ndarray:
        """Say the probability of each class.

        Args:
            x: examples, (N, ...), arrays of any library or lists; brought to the scale of the training set.
            batch_size: N, >= 1.
            white: the value of full brightness of x; None: it is decided by the values, see xpnet.data.scale.
        Returns:
            (N, K), rows that sum to 1: the softmax of the model's scores. For one score an example, its sigmoid: the
            probability of class 1, (N, 1) or (N,) as the scores.
        Raises:
            ConfigError: batch_size is below 1, or white not above 0. DataError: the scale of x cannot be told.
            ShapeError, DTypeError: x is no array of numbers (N, ...), N >= 1.
        """
        white = None if white is None else arguments.number("predict", "white", white, 0, above=True)
        return self._scoring().predict(x, batch_size, white)

    def _scoring(self) -> Scoring:
        return Scoring(self.model, self.loss, self.normalize, self.scale, self.classes)

    def _meter(self, total: float = 0.0, count: float = 0) -> metrics.LossMeter:
        return metrics.LossMeter(self.model.backend, total, count, sums=metrics.is_sum(self.loss))

    def _progress(self) -> dict[str, Any]:
        meter = self.meter if self.step else self._meter()
        meter.read()  # what is still on the device
        seconds = time.perf_counter() - self._began if self.step else 0.0
        return {
            "epoch": self.epoch,
            "step": self.step,
            "loss_sum": meter.total,
            "examples": meter.count,
            "batches": self._batches if self.step else None,
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
            scale=self.scale.to_json() if self.scale else None,
            **{"classes": list(self.classes), **meta},
        )

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint: the next fit goes on from there, bit for bit on the same backend.

        Raises:
            CheckpointError: it is of another model or optimizer, or holds no progress of a training.
        """
        arguments.instance(
            "resume", "checkpoint", checkpoint, kind=Checkpoint, rule="a Checkpoint", do="read_checkpoint reads a file"
        )
        try:
            progress, history, _ = (checkpoint.meta[k] for k in ("progress", "history", "normalize"))
            epoch, step, seed = (progress[k] for k in ("epoch", "step", "seed"))
        except KeyError as error:
            raise CheckpointError("resume", "a checkpoint made by a Trainer", missing=error) from error
        checkpoint.restore(self.model, self.optimizer)
        self.epoch, self.step, self.seed = epoch, step, seed
        self._resumed = progress if step else {}
        self._batches = progress.get("batches")
        self.history = list(history)
        self.take_scale(checkpoint.meta)

    def take_scale(self, meta: Mapping[str, Any]) -> None:
        """Read from the JSON of a checkpoint the classes, on which scale data is, and how it is normalized.

        A checkpoint of xpnet 0.6 or older says no scale: then data is taken as it is.
        """
        arguments.mapping("take_scale", "meta", meta)
        normalize, scale = meta.get("normalize"), meta.get("scale")
        self.normalize = Normalize.from_json(normalize) if normalize else None
        self.scale = Scale.from_json(scale) if scale else None
        self.classes = tuple(meta.get("classes") or ())
