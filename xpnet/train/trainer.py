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
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from xpnet import arguments, kernels
from xpnet.autograd import Tensor
from xpnet.backend import keep_freed_memory
from xpnet.data import Augmentation, Dataset, Normalize, several
from xpnet.data.augmentation import read_augment
from xpnet.data.reading import is_set, is_stream, stream_of
from xpnet.distributed import Communicator
from xpnet.distributed.facts import check_agreement
from xpnet.errors import ConfigError
from xpnet.nn import Module
from xpnet.optim import SGD, Optimizer
from xpnet.optim.average import Average
from xpnet.output import counted, figure_text, figure_title
from xpnet.train import inputs, scaling
from xpnet.train.callbacks import Callback
from xpnet.train.class_weights import check_class_weights
from xpnet.train.device_errors import device_errors
from xpnet.train.history import History
from xpnet.train.metrics.custom import Metric, check_metrics
from xpnet.train.precision import check_precision
from xpnet.train.processes import read_processes
from xpnet.train.progress import showing
from xpnet.train.resuming import Resuming
from xpnet.train.same_everywhere import common_facts
from xpnet.train.scoring import Scoring
from xpnet.train.shaping import reshaped_set
from xpnet.train.sharding import check_threads
from xpnet.train.stream_sets import InputSets, StreamSets
from xpnet.train.streams import check_options, open_stream
from xpnet.train.tasks import Task, infer_task, make_task
from xpnet.train.tasks.classification import Classification

__all__ = ["Trainer"]

_log = logging.getLogger("xpnet")

_MOST = (1 << 31) - 1  # examples of a batch


class Trainer(Resuming):
    """Trains one model; a later fit continues where the last one ended.

    Args:
        model: takes (N, ...), gives scores (N, K), or (N, 1) or (N,) for two classes, or as many numbers an example as
            the task needs; it may be moved between calls.
        optimizer: of the model's parameters; momentum SGD with rate 0.05 by default.
        loss: takes scores and targets, gives one number; the task's by default.
        task: what is learned: "classification", "multilabel", "regression", "reconstruction", "custom", or a Task. By
            default it is inferred from the first data, and the log says which: integer labels are classification, a
            0/1 matrix is multilabel, other numbers are regression; with a loss, what is no label is "custom": the loss
            gets targets as they are. See xpnet.train.tasks.
        metrics: further figures by name: functions of scores and targets, both NumPy arrays, that give a number. Scores
            are the model's own; of regression and reconstruction in the units of the targets.
        class_weights: what the examples of each class weigh in the loss of training and of evaluation: "balanced", by
            the inverse of how frequent a class is in the training set; a number for each class; or a dictionary by
            name, in which others weigh 1. The loss of a batch and of a set is the weighted mean. None: all alike.
        seed: of shuffles, augmentation and dropout, 0 <= seed < 2**64.
        callbacks: what else happens; see xpnet.train.callbacks.
        normalize: how data is normalized; by default measured on the first training set, if that is of pixels. Data on
            another scale is brought to that of the first training set before: see xpnet.data.scale.
        capture: record a step and replay it, on a CPU and on CUDA, as Step takes it. None: where that can be done;
            the log says once why not. True: or raise an error. False: never.
        precision: "fp32", "tf32" or "fp16", of the training steps; see xpnet.train.precision.
        threads: on a CPU, how many threads share a batch, with the same result to rounding, as Step takes it. None: as
            many as are of use. 1: no sharding. More: so many, or an error where the model or the loss do not allow it.
        ema: keep an average of the weights with this decay, such as 0.999; see optim.average. Evaluation, prediction
            and the model after fit have the averaged weights, checkpoints both; training goes on with its own.
        accumulate: of how many batches the gradients are averaged before an update, >= 1: a step is then so many
            batches, with the memory of one and the result of one batch of as many examples, to rounding, where no layer
            couples examples. At the end of an epoch a step may be of fewer.
        communicator: of the processes that train together: a Communicator, or "auto", "mpi" or "nccl",
            as distributed.get_communicator takes it. None: "auto", the processes that mpiexec or xpnet launch started,
            or this process alone. All make the same Trainer, and call the same methods in one order; each computes some
            examples of each batch.
        shards: V, into how many virtual shards a batch is divided, >= 1: the run gives the same bits on 1 to V
            processes, with any number of threads. None: 8 where a launcher started the process, else as 1; and as in
            the checkpoint that is resumed. 1: none, which is faster; runs on other numbers of processes and threads are
            equal to rounding.
        batch_norm: with shards or several processes, "sync": normalize by the statistics of the whole batch; or
            "local": by those of each shard, or of the part of each process.
    Raises:
        ConfigError: an argument is of another kind or out of range, or the optimizer has no parameter of the model; or
            there are more processes than shards.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        task: str | Task | None = None,
        metrics: Mapping[str, Metric] | None = None,
        class_weights: Any = None,
        seed: int = 0,
        callbacks: Iterable[Callback] = (),
        normalize: Normalize | None = None,
        capture: bool | None = None,
        precision: str = "fp32",
        threads: int | None = None,
        ema: float | None = None,
        accumulate: int = 1,
        communicator: Communicator | str | None = None,
        shards: int | None = None,
        batch_norm: str = "sync",
    ) -> None:
        self.model = inputs.check_kind("model", model, Module)
        self.optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9) if optimizer is None else optimizer
        trained = set(map(id, inputs.check_kind("optimizer", self.optimizer, Optimizer).parameters))
        self._others = [p for p in model.parameters() if id(p) not in trained]  # which the optimizer leaves as they are
        if len(self._others) == len(model.parameters()):
            raise ConfigError("Trainer", "an optimizer of the model's parameters", optimizer="of other parameters")
        inputs.check_normalize(normalize)
        check_precision(precision)
        self._loss = arguments.optional(arguments.function)("Trainer", "loss", loss)
        self.task, self.inferred = make_task(task, self._loss), False
        self.loss: Callable[..., Tensor] = self._loss or (self.task or Classification()).loss
        self.metrics = check_metrics(metrics, self.task)
        self._class_weights = check_class_weights(class_weights)
        if self.task is not None:
            self.task.set_class_weights(self._class_weights)
        self.seed = arguments.count("Trainer", "seed", seed, 0, (1 << 64) - 1)
        self.callbacks = inputs.read_callbacks(callbacks)
        self.normalize = normalize
        self.scale: Any = None  # of the first training set: a Scale, or one for each of several inputs
        self.classes: tuple[str, ...] = ()  # likewise
        self.capture = arguments.optional(arguments.boolean)("Trainer", "capture", capture)
        self.precision = precision
        self.threads = check_threads(threads)
        self.accumulate = arguments.count("Trainer", "accumulate", accumulate, 1, 1 << 16)
        self.processes = read_processes("Trainer", communicator, shards, batch_norm, model.backend)
        self._shards_given = shards is not None  # or a checkpoint decides it
        self.ema = arguments.optional(arguments.probability)("Trainer", "ema", ema)
        if self.ema is not None:
            self.optimizer.average = Average(self.optimizer.flat, self.ema)
        super().__init__()

    def fit(
        self,
        train: inputs.Data,
        test: Any = None,
        *,
        validation: Any = None,
        sample_weight: Any = None,
        epochs: int = 10,
        batch_size: int = 64,
        steps: int | None = None,
        augment: Augmentation | str | None = None,
        keep_memory: bool = True,
        progress: bool | None = None,
    ) -> History:
        """Train until a number of epochs, counted from the trainer's first, are done.

        Args:
            train: the training set, or a tuple of arrays (x, y): x (N, ...), y (N,) integers, of any library, or lists.
                Or what has a length and gives (x, y) by number, as sets of torch and Hugging Face do: it is read into
                memory, or beyond 4 GB on the way, and shuffled and divided into batches here. Or a stream: what gives
                batches (x, y), or examples, when it is iterated over, such as a data loader, or a function that returns
                a generator. A stream is read again in each epoch, in its own order and batches; the number of classes
                is that of the model's scores, and scale and normalization are those of its first 1,024 examples. A
                generator itself is read once. Pairs in a list are examples or batches, as their shapes say; an error
                where they may be either. x may be a tuple or dictionary of arrays of the same examples, which the
                model's forward takes as arguments.
            test: a set or a stream to evaluate after each epoch, or None. fit(x, y) is fit((x, y)).
            validation: another set to evaluate after each epoch; or a fraction of the training set, above 0, below 1,
                that is not trained on: of each class alike, and the same whenever the trainer has this seed; or None.
            sample_weight: what each training example weighs in the loss, (N,), >= 0: the loss of a batch, of an epoch
                and of a held-out part is the weighted mean. Data that has weights (Dataset.weighted) is weighted too.
            epochs: >= 0; epochs trained before count: if all are done, nothing is trained, and the log says so.
            batch_size: N, >= 1; of a stream, used only where it gives single examples.
            steps: how many batches of a stream make an epoch, needed if it has no end; None: all. The next epoch
                continues a generator with its next batches, and starts all other streams from the beginning.
            augment: changes training images at random: a data.Transform, or none, light or strong, see data.augment;
                classes that are named by one character each, such as digits, are not mirrored.
            keep_memory: whether the C library keeps freed memory for the next step, in the whole process and until it
                ends (see backend.keep_freed_memory); on a CPU, steps take up to a third less time.
            progress: whether to show a bar and a line for each epoch; None: in a terminal and in a notebook.
        Returns:
            The history, a list that shows itself as a table: for each epoch since the first {epoch, train_loss,
            test_loss, test_accuracy, validation_loss, validation_accuracy, seconds}, without those of a set that is not
            given.
        Raises:
            ConfigError: a number out of range; or parameters were added to the model after the Trainer was made.
            DataError: the data cannot be learned from. ShapeError: the model does not take its shape.
            DivergedError: the loss became NaN or infinite; the model has the values of that step.
            DeviceError: the device's memory does not hold a batch; or DeviceLostError, the device stopped working.
        """
        epochs = arguments.count("fit", "epochs", epochs, 0)
        progress = arguments.optional(arguments.boolean)("fit", "progress", progress)
        batch_size = arguments.count("fit", "batch_size", batch_size, 1, _MOST)
        steps = arguments.optional(arguments.positive)("fit", "steps", steps)
        read_augment("fit", augment)  # before anything is read
        check_precision(self.precision, self.model.backend)
        inputs.check_parameters(self.model, (*self.optimizer.parameters, *self._others))
        train, test = inputs.paired(train, test, self.task)
        opened = open_stream(
            "fit", train, *self._known(), self._once, steps=steps, batch_size=batch_size, seed=self.seed
        )
        if opened is not None:
            stream, train = opened
            self._once = stream if stream.once else None
            check_options(stream, epochs - self.epoch, validation, sample_weight, self._class_weights)
        elif steps is not None:
            raise ConfigError("fit", "batches, of which steps are taken", "omit steps", train=arguments.shown(train))
        train, held = inputs.read_sets(
            train, test, validation, self.model, self.task, self._choose, self.seed, sample_weight, self.shape
        )
        head = train
        augment = read_augment("fit", augment, train.classes)
        task = self._choose(train)
        train = task.read("fit", train)
        task.fit(train)
        train = task.weighted(train)
        held = {k: task.read("fit", data) if isinstance(data, Dataset) else data for k, data in held.items()}
        backend = self.model.backend
        if 0 < epochs <= self.epoch:
            text = "fit: nothing is trained: %s done already, and epochs=%d is the total; ask for more"
            _log.warning(text, counted(self.epoch, "epoch") + (" is" if self.epoch == 1 else " are"), epochs)
        if arguments.boolean("fit", "keep_memory", keep_memory) and backend.on_host:
            keep_freed_memory()
        kernels.prepare(backend.xp.empty(0, device=backend.device))
        if self.classes:
            inputs.check_names("fit", train, self.classes)
        if self.scale is None and not self.history:
            self.scale, self.normalize = scaling.measure(train, self.normalize)
            self.classes = train.classes
        with backend.active(), device_errors("fit"):
            if opened is None:
                feed = self._feed(train, batch_size, augment)
            else:
                feed = self._stream_feed(StreamSets(opened[0], head, task, self.scale), augment)
            self._used = backend.memory().used
            if self.processes.communicator.size > 1:
                self.processes.communicator.meet("fit")
                given = {"train": train, "test": held.get("test"), "validation": held.get("validation")}
                given |= {"epochs": epochs, "batch_size": batch_size, "steps": steps, "augment": augment}
                check_agreement(self.processes.communicator, common_facts(self, given))
            with showing(self.callbacks, progress if self.processes.communicator.rank == 0 else False):
                self._fit(feed, held, epochs)
        return self.history

    def __repr__(self) -> str:
        count = counted(self.model.parameter_count, "parameter")
        model = f"{type(self.model).__name__} of {count} on {self.model.backend.spec}"
        figures = {k: v for k, v in (self.history or [{}])[-1].items() if k not in ("epoch", "seconds")}
        last = "".join(f", {figure_title(name)} {figure_text(name, value)}" for name, value in figures.items())
        done = f"{counted(self.epoch, 'epoch')} done{last}"
        return f"Trainer({model}, {self.optimizer!r}; {done})"

    def evaluate(self, data: inputs.Data, *, batch_size: int = 256) -> dict[str, Any]:
        """Measure the model on data, as it predicts: no dropout, running averages.

        Processes that train together all call this, with the same data: each scores some batches, and all return the
        figures that one process would.

        Args:
            data: a set, a stream, or arrays (x, y) as fit takes them; brought to the scale of the training set.
            batch_size: N, >= 1; the figures do not depend on it, but for rounding.
        Returns:
            The loss, which is that of all examples at once, the model's scores, the metrics of the Trainer, and
            of classification: accuracy, balanced_accuracy, macro_f1, top5_accuracy (None under 6 classes), per_class
                {name: {precision, recall, f1, examples}}, confusion (K, K). An example with a score that is NaN counts
                as wrong; confusion leaves it out.
            of multilabel: exact_match, micro_f1, macro_f1, per_label as per_class.
            of regression: rmse, mae, r2, averages over the targets, and of several per_target {name: {rmse, mae, r2}};
                scores in the units of the targets.
            of reconstruction: mse, and each, (N,), that of each example; scores in the units of x: of a data.Lazy
                those of the first examples only, about 128 MB, unless the Trainer has metrics.
        Raises:
            DataError: the scale of the data cannot be inferred, or its classes are not those of the training set.
            ShapeError: there is no score for a class. ConfigError: batch_size is below 1.
        """
        if (opened := open_stream("evaluate", data, *self._known())) is not None:
            sets = StreamSets(*opened, self._choose(opened[1]), self.scale)
            with self.averaged():
                return self._scoring().evaluate(sets, batch_size, True)
        declared = isinstance(data, Dataset)
        images = inputs.images_only("evaluate", data, self.model, self.scale)
        data = inputs.read_dataset("evaluate", data, max(2, len(self.classes)), self.task, images)
        given, data = data.x, reshaped_set("evaluate", data, self.model, self.shape)
        self._choose(data)
        with self.averaged():
            return self._scoring().evaluate(data, batch_size, declared, given)

    def predict(self, x: Any, *, batch_size: int = 256, white: float | None = None) -> np.ndarray:
        """Say what the task predicts: of classes and labels probabilities, else numbers in their own units.

        Processes that train together all call this; see evaluate.

        Args:
            x: examples, (N, ...), arrays of any library or lists; brought to the scale of the training set. Or a set or
                a stream, such as a data loader, of x or of (x, y), whose y is not looked at.
            batch_size: N, >= 1.
            white: the value of full brightness of x; None: it is decided by the values, see xpnet.data.scale.
        Returns:
            of classification: (N, K), rows that sum to 1: the softmax of the model's scores. For one score an example,
                its sigmoid: the probability of class 1, (N, 1) or (N,) as the scores.
            of multilabel: (N, L), the probability of each label.
            of regression: in the shape and the units of the targets. Of reconstruction: in those of x.
            of a custom loss: the scores.
        Raises:
            ConfigError: batch_size is below 1, or white not above 0. DataError: the scale of x cannot be inferred.
            ShapeError, DTypeError: x is no array of numbers (N, ...), N >= 1.
        """
        white = None if white is None else arguments.number("predict", "white", white, 0, above=True)
        if is_stream("predict", x) if isinstance(x, list) else is_set(x):
            size, form = arguments.count("predict", "batch_size", batch_size), several.form(self.scale)
            x = InputSets(stream_of("predict", x, batch_size=size, targets=False, form=form), self.scale, white)
        with self.averaged():
            return self._scoring().predict(x, batch_size, white)

    def _known(self) -> tuple[Module, Task | None, tuple[str, ...], Any, Any]:
        return self.model, self.task, self.classes, self.scale, self.shape

    def _scoring(self) -> Scoring:
        task = self.task or Classification()
        return Scoring(
            self.model,
            self.loss,
            self.normalize,
            self.scale,
            self.classes,
            task,
            self.metrics,
            self.shape,
            self.processes.communicator,
            self.processes.virtual,
        )

    def _choose(self, data: Dataset) -> Task:
        """Return the task; chosen by the data if it is the first."""
        if self.task is None:
            task = infer_task(data, self._loss)
            task.set_class_weights(self._class_weights)
            self.task = task
            self.loss, self.inferred = self._loss or task.loss, True
            _log.info("task %s, of targets %s in %s", self.task.describe(), data.y.shape, data.y.dtype)
        return self.task

    def describe(self) -> str:
        """Say in a line what is learned; "" before it is decided."""
        return self.task.describe() if self.task else ""
