"""The epochs of a call of Trainer.fit: steps, callbacks, the test after each epoch, and where the next continues."""

from __future__ import annotations

import logging
import math
import time
import traceback
from abc import abstractmethod
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from xpnet.autograd import Tensor
from xpnet.backend import Array, is_out_of_memory, shut_down_workers
from xpnet.data import Augmentation, Dataset, Feed, several
from xpnet.data.batches import Batches
from xpnet.data.feed_several import SeveralFeed
from xpnet.data.feed_stream import StreamFeed
from xpnet.data.stream import Stream
from xpnet.distributed import single
from xpnet.errors import DivergedError
from xpnet.nn import Module
from xpnet.optim import Optimizer
from xpnet.train.callbacks import Callback, gradient_readers, reads_some
from xpnet.train.checkpoint import Checkpoint
from xpnet.train.device_errors import largest_batch, out_of_memory_advice
from xpnet.train.history import History
from xpnet.train.interrupt import Interrupt
from xpnet.train.metrics.average import LossMeter, Slot, is_sum
from xpnet.train.metrics.custom import Metric
from xpnet.train.precision import input_dtype
from xpnet.train.processes import Processes
from xpnet.train.runner import Runner
from xpnet.train.scoring import Scoring
from xpnet.train.step import Step
from xpnet.train.stream_sets import StreamSets
from xpnet.train.tasks import Task

__all__ = ["Fitting"]

_log = logging.getLogger("xpnet")
_UNCHANGED = nullcontext()  # one for all: a step of a small network is short beside the making of with-blocks


class Fitting:
    """The part of a Trainer that goes from epoch to epoch; see there for what is public."""

    model: Module
    optimizer: Optimizer
    loss: Callable[..., Tensor]
    seed: int
    callbacks: list[Callback]
    capture: bool | None
    precision: str
    threads: int | None
    task: Task | None
    inferred: bool
    metrics: Mapping[str, Metric]
    accumulate: int
    processes: Processes

    def __init__(self) -> None:
        self.frozen: list[Module] = []  # modules that stay in evaluation mode
        self.history = History()
        self.epoch = self.step = self.epochs = 0
        self.steps: int | None = 0  # of an epoch; None: not known yet
        self.interrupted = 0
        self.shape: Any = ()  # of an example
        self._readers: list[Callback] = []  # of the next step's gradients
        self._resumed: dict[str, Any] = {}
        self._batches: list[int] | None = None  # batch size and examples of the epoch under way
        self._stopping = False
        self._once: Stream | None = None  # of a generator: the next fit continues it
        self._live: list[Callback] = []  # the callbacks that are called in this process
        self._used = 0  # bytes of the device's memory before the first step
        self.meter = self._meter()

    @abstractmethod
    def evaluate(self, data: Any, *, batch_size: int = 256) -> dict[str, Any]:
        """Measure the model on data."""

    @abstractmethod
    def checkpoint(self, **meta: Any) -> Checkpoint:
        """Copy all that a resume needs."""

    def averaged(self, averaged: bool = True) -> AbstractContextManager[None]:
        """Give the model its averaged weights within a with-block, or those that are trained; without ema, nothing."""
        average = self.optimizer.average
        return nullcontext() if average is None else average.shown(averaged)

    @abstractmethod
    def _scoring(self) -> Scoring: ...

    @abstractmethod
    def describe(self) -> str:
        """Say in a line what is learned."""

    def stop(self) -> None:
        """End training after the epoch under way."""
        self._stopping = True

    def _feed(self, train: Dataset, batch_size: int, augment: Augmentation | None) -> Batches:
        """Serve the training set; where it was to lie on the device and does not fit after all, from the host."""

        normalize = self._scoring().normalization("fit", train.x, declared=train.white)
        if self.task is not None:
            train = replace(train, y=self.task.targets(train.y)) if not train.labelled else train

        kind = SeveralFeed if several.is_several(train.x) or train.weights is not None else Feed

        def feed(resident: bool | None) -> Batches:
            return kind(
                train,
                batch_size * self.accumulate,
                self.model.backend,
                normalize=normalize,
                dtype=input_dtype(self.model, self.precision),
                shuffle=True,
                seed=self.seed,
                augment=augment,
                resident=resident,
                part=self.processes.part,
            )

        try:
            return feed(None)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)  # they hold what was there already
        _log.warning("the training set has no room on %s: batches come from the host", self.model.backend.spec)
        return feed(False)

    def _stream_feed(self, sets: StreamSets, augment: Augmentation | None) -> Batches:
        """Serve a stream."""
        head, task = sets.head, self.task
        return StreamFeed(
            sets,
            self.model.backend,
            normalize=self._scoring().normalization("fit", head.x, declared=head.white),
            dtype=input_dtype(self.model, self.precision),
            seed=self.seed,
            augment=augment,
            joined=self.accumulate,
            targets=None if task is None else task.targets,
            part=self.processes.part,
        )

    def _fit(self, feed: Batches, held: Mapping[str, Any], epochs: int) -> None:
        if self.optimizer.average is not None:
            self.optimizer.average.hide()
        self.epochs, self.steps, self.shape = epochs, feed.steps, feed.layout.shape
        batches = [feed.batch_size, feed.examples or 0]
        if self.step and (self.step > (feed.steps or self.step) or self._batches not in (None, batches)):
            text = "fit: epoch %d starts from its first step: it was begun with other batches or another training set"
            _log.warning(text, self.epoch + 1)
            self.step, self._resumed = 0, {}
        self._batches = batches
        self.interrupted, self._stopping = 0, False
        is_custom = self.task is not None and self.task.labelled is None  # whose scores are not of the classes
        classes = 0 if is_custom else feed.layout.classes
        step = Step(
            self.model,
            self.loss,
            self.optimizer,
            classes,
            precision=self.precision,
            threads=self.threads,
            capture=self.capture,
            task=self.task,
            accumulate=self.accumulate,
            communicator=self.processes.communicator,
            shards=self.processes.shards,
            batch_norm=self.processes.batch_norm,
        )
        runner = Runner(step, feed, self.seed, self.capture)
        is_first = self.processes.communicator.rank == 0
        self._live = self.callbacks if is_first else [c for c in self.callbacks if _is_everywhere(c)]
        with Interrupt() as interrupt, np.errstate(all="ignore"):  # a loss that diverges is an error, once
            if step.joint is not None:
                step.joint.own_signal = lambda: interrupt.asked
            try:
                for callback in self._live:
                    with self._called(callback):
                        callback.on_start(self)
                while self.epoch < epochs and not self._stopping:
                    if not self._run_epoch(runner, interrupt, held):
                        break
                    if (asked := self._asked(runner, interrupt)) and self.epoch < epochs:
                        self.interrupted = asked
                        break
            finally:
                self.model.eval()
                shut_down_workers()
                if self.optimizer.average is not None:
                    self.optimizer.average.show()
                with ExitStack() as ends:  # all are called, whatever one raises
                    for callback in reversed(self._live):
                        ends.callback(self._end, callback)

    def _asked(self, runner: Runner, interrupt: Interrupt) -> int:
        """Return the signal that asks for an end, 0 for none: in several processes the same in all, after each step."""
        joint = runner.step.joint
        return interrupt.asked if joint is None or self.processes.communicator.size == 1 else joint.signal

    def _called(self, callback: Callback) -> AbstractContextManager[None]:
        """Call a callback within a with-block: of one that others do not call, what it evaluates is for it alone."""
        is_shared = self.processes.communicator.size == 1 or _is_everywhere(callback)
        return _UNCHANGED if is_shared else self.alone()

    @contextmanager
    def alone(self) -> Generator[None, None, None]:
        """Evaluate and predict in this process alone within a with-block, which the others do not enter."""
        before = self.processes
        if before.communicator.size > 1:
            self.processes = before._replace(communicator=single())
        try:
            yield
        finally:
            self.processes = before

    def _end(self, callback: Callback) -> None:
        with self._called(callback):
            callback.on_end(self)

    def _run_epoch(self, runner: Runner, interrupt: Interrupt, held: Mapping[str, Any]) -> bool:
        """Train and close an epoch; False if it was interrupted. After an error, the next fit goes on where it was."""
        epoch = self.epoch
        try:
            if not self._train_epoch(runner, interrupt):
                return False
            self._close_epoch(held, runner.feed.batch_size // self.accumulate)
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
        self.steps = runner.feed.steps
        self.model.train()
        for module in self.frozen:
            module.eval()
        readers = gradient_readers(self._live)
        is_alone = self.processes.communicator.size == 1
        runner.step.hook_is_rare = all(map(reads_some, readers))
        self._choose_readers(runner.step, readers)
        with closing(self._steps(runner)) as steps:
            for weight, loss in steps:
                self.step += 1
                if self.steps is not None and self.step > self.steps:  # longer than the epoch before
                    self.steps = None
                self.meter.add(self.step, weight, loss)
                for callback in self._live:
                    with self._called(callback):
                        self._guarded(lambda callback=callback: callback.on_step(self))
                asked = interrupt.asked if is_alone else self._asked(runner, interrupt)
                if asked and (self.steps is None or self.step < self.steps):
                    self._guarded(self.meter.read)
                    self._resumed = self._progress()
                    self.interrupted = asked
                    return False
                if readers:
                    self._choose_readers(runner.step, readers)
        self._guarded(self.meter.read)
        return True

    def _steps(self, runner: Runner) -> Generator[tuple[float, Array | Slot], None, None]:
        """Run the rest of an epoch; the error of a step without memory says which batch size to try."""
        model, feed, backend = self.model, runner.feed, self.model.backend
        shape, size = feed.layout.shape, feed.batch_size // self.accumulate
        with (
            out_of_memory_advice("fit", size, lambda: largest_batch(model, shape, backend, self._used)),
            closing(runner.epoch(self.epoch, self.step)) as steps,
        ):
            yield from steps

    def _choose_readers(self, step: Step, readers: list[Callback]) -> None:
        self._readers = [c for c in readers if not reads_some(c) or c.reads_gradients(self)]
        step.gradient_hook = self._show if self._readers else None

    def _show(self, gradients: dict[Tensor, Array]) -> None:
        for callback in self._readers:
            with self._called(callback):
                callback.on_gradients(self, gradients)

    def _guarded(self, read: Callable[[], Any]) -> None:
        """Read the loss, and say in which epoch it was that it stopped being finite."""
        try:
            read()
        except DivergedError as error:
            error.got = {"epoch": self.epoch + 1, **error.got}
            raise

    def _close_epoch(self, held: Mapping[str, Any], batch_size: int) -> None:
        record: dict[str, Any] = {"epoch": self.epoch + 1, "train_loss": self.meter.read()}
        for name, data in held.items():
            figures = self.evaluate(data, batch_size=max(batch_size, 256))
            if not math.isfinite(figures["loss"]):
                got = {"epoch": self.epoch + 1, "step": self.step, f"{name}_loss": figures["loss"]}
                raise DivergedError.event("loss", f"the {name} loss is not finite", "lower lr", **got)
            assert self.task is not None
            record |= {f"{name}_{key}": figures[key] for key in ("loss", *self.task.recorded, *self.metrics)}
        record["seconds"] = round(time.perf_counter() - self._began, 3)
        self.epoch, self.step = self.epoch + 1, 0
        self.history.append(record)
        for callback in self._live:
            with self._called(callback):
                callback.on_epoch(self, record)

    def _meter(self, total: float = 0.0, count: float = 0) -> LossMeter:
        return LossMeter(self.model.backend, total, count, sums=is_sum(self.loss))

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
            "shards": self.processes.shards,
        }


def _is_everywhere(callback: Callback) -> bool:
    """Whether a callback is called in each process; one that does not say so is."""
    return getattr(callback, "everywhere", True)
