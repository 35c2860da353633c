"""What one training step computes: loss, gradients, update; sharded over threads and recorded where that can be done.

step = Step(model, loss, optimizer)
for x, y in batches:
    value = step(x, y)

Of several processes, each gives its own rows of every batch:

step = Step(model, loss, optimizer, communicator=get_communicator())
for x, y in batches:
    rows = slice(*step.processes.part.rows(len(x)))
    value = step(x[rows], y[rows], len(x))
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Sequence
from typing import Any

from xpnet import arguments, random
from xpnet.autograd import Tensor, backward
from xpnet.backend import Array, namespace, record_call
from xpnet.capture import Captured
from xpnet.data import several
from xpnet.distributed import Communicator, single
from xpnet.errors import ConfigError, ShapeError, XpnetError
from xpnet.nn import Module
from xpnet.nn.context import modes, watching
from xpnet.nn.guard import ModelGuard
from xpnet.optim import Optimizer
from xpnet.train import accumulation
from xpnet.train.inputs import check_tensor
from xpnet.train.joint import Joint
from xpnet.train.joint_capture import JointCaptured
from xpnet.train.metrics.average import is_sum, needs_each_class
from xpnet.train.precision import Precision
from xpnet.train.processes import read_processes
from xpnet.train.sharding import UNSHARDED, Division, check_threads, differentiate, divide, unsharded_reason
from xpnet.train.tasks import Task
from xpnet.train.virtual import check_divisible, usable_threads
from xpnet.train.weighting import WeightedLoss

__all__ = ["Step"]

SMALL = 600_000_000  # multiply-adds of a step, forward, below which it is recorded: above, Python is little of the time
_MOST_BYTES = 1 << 29  # of all recordings on the host

_log = logging.getLogger("xpnet")


class Step:
    """Train on one batch at a call.

    Args:
        model: takes (N, ...), gives scores.
        loss: takes scores and labels, gives one number.
        optimizer: of the model's parameters.
        classes: K of the labels, to compare the number of scores with; 0: not known.
        precision: "fp32", "tf32" or "fp16"; see xpnet.train.precision.
        threads: of a CPU, each of which computes some examples of a batch; see xpnet.train.sharding. None: one a core,
            where the work is enough for that and the model and the loss are known to allow it. 1: never. More: so many.
        capture: record steps and replay them; see xpnet.capture. None: where that can be done, and on the host only
            small steps without custom modules and losses. True: or raise an error. False: never. Python code of the
            model and the loss does not run in a replay.
        task: compares scores with targets that are no labels of classes; None: the loss gets both as they are.
        accumulate: in how many parts of N / accumulate examples, one after the other, a batch is computed: the memory
            is that of a part, and the update that of the batch. Batch norm sees the parts.
        communicator, shards, batch_norm: as a Trainer takes them; without communicator, this process is alone.
    Raises:
        ConfigError: the model's backend does not compute in the precision; threads is below 1, or more than 1 and steps
            cannot be sharded; or the loss or a layer does not allow virtual shards.
    """

    def __init__(
        self,
        model: Module,
        loss: Callable[..., Tensor],
        optimizer: Optimizer,
        classes: int = 0,
        *,
        precision: str = "fp32",
        threads: int | None = None,
        capture: bool | None = None,
        task: Task | None = None,
        accumulate: int = 1,
        communicator: Communicator | str | None = None,
        shards: int | None = None,
        batch_norm: str = "sync",
    ) -> None:
        self.model = arguments.instance("Step", "model", model, kind=Module, rule="a Module")
        self._loss = arguments.function("Step", "loss", loss)
        self.optimizer = arguments.instance("Step", "optimizer", optimizer, kind=Optimizer, rule="an Optimizer")
        self.classes = arguments.count("Step", "classes", classes, 0)
        kind = (Task, type(None))
        self._task = arguments.instance("Step", "task", task, kind=kind, rule="a Task or None")
        self._compares = task is not None and task.labelled is not True
        self._of_inputs = task is not None and task.of_inputs
        self.precision = Precision(precision, model, optimizer)
        given = single() if communicator is None else communicator
        self.processes = read_processes("Step", given, shards, batch_norm, model.backend)
        self.threads = self._usable(check_threads(threads))
        self.accumulate = arguments.count("Step", "accumulate", accumulate)
        self._sums = is_sum(loss)
        how = {"threads": self.threads, "pieces": self.accumulate, "sums": self._sums}
        is_joint = self.processes.virtual or self.processes.communicator.size > 1
        self.joint = Joint(self.processes, optimizer.flat, model, **how) if is_joint else None
        if self.joint is not None and self.processes.communicator.rank == 0:
            for line in self.processes.lines(normalizes=bool(self.joint.layers)):
                _log.info("steps are computed by %s", line)
        self._n = 0  # N of the batch under way
        self._fewest = 1 if needs_each_class(loss) else 2  # classes that may have one score together
        self._weighted = WeightedLoss(loss, sums=self._sums)
        self._of_several: Captured | None = None
        self._form: list[Any] = []
        self.gradient_hook: Callable[[dict[Tensor, Array]], None] | None = None  # called before each update
        self.hook_is_rare = False  # it is called in single steps, whose eager run needs no explanation
        recorder = model.backend.recorder()
        self._on_device = recorder is not None and recorder.is_device
        self._divisions: dict[tuple[int, ...], Division] = {}
        arguments.optional(arguments.boolean)("Step", "capture", capture)
        self.captured = self.capture(self._with_numbers, capture, worth=self._is_small, max_bytes=_MOST_BYTES)

    def capture(self, function: Callable[..., Any], capture: bool | None, *others: Any, **options: Any) -> Captured:
        """Capture a function that computes this step.

        Args:
            function: calls ``compute``.
            capture: as Captured takes it.
            others: objects that the function reads besides.
            options: as Captured takes them.
        """
        guard = ModelGuard(
            self.model,
            self.loss,
            self.optimizer,
            others=(self.precision, *others),
            strict=capture is True,
            unsupported=self._unsupported(),
        )
        options |= {"where": "fit", "capture": capture}
        if self.joint is None or self.joint.alone:
            return Captured(function, guard, **options)
        return JointCaptured(function, guard, agree=self.joint.agree, **options)

    loss = property(lambda self: self._loss, doc="The loss; as model and optimizer, it cannot be replaced.")

    def __call__(self, x: Array, y: Array, n: int | None = None) -> Array:
        """Train on one batch.

        Args:
            x: examples, (N, ...), on the model's backend; or a tuple or dictionary of them, the model's arguments.
                Where several processes train: those of ``processes.part``, of which there may be none.
            y: labels, (N,), or targets, (N, ...); or (y, weights) with what each example of the whole batch weighs in
                the mean, (N,).
            n: N, of the whole batch; None: it is found out, in several processes by a message.
        Returns: the batch's loss before the update, (), still on the device. Batch norm and dropout do as model.train()
            or model.eval() set.
        Raises:
            ShapeError: there are fewer scores than classes (for two classes one score may do); or x, y are not as many
                rows as ``processes.part`` has of N.
            ConfigError: N, the learning rate, the number of updates or what is trained differs between processes.
            XpnetError: another process failed in this step; its own error is raised there.
        """
        optimizer, now = self.optimizer, random.current()
        if now is None and (self.joint or self.accumulate > 1 or (self.threads != 1 and self._shards(x) > 1)):
            # the updates made name the draws: layers that count their calls would count shards
            with random.use(random.StepContext(0, 0, optimizer.steps)):
                return self(x, y, n)
        if self.joint is not None:
            self._n = self.joint.count(x) if n is None else n
        rates = optimizer.rates()
        if self.joint is not None and not self.joint.alone:
            self.joint.begin(self._n, rates, optimizer.steps, x, y)
        numbers = rates[0] if len(rates) == 1 else rates, optimizer.steps + 1
        captured, arrays, form = self.captured, (x, y), None
        if isinstance(x, tuple | dict) or isinstance(y, tuple):
            captured, arrays, form = self._flattened(x, y)
        is_eager = False
        if self.gradient_hook is not None or watching():
            is_eager = self.is_eager(captured)
        if (is_eager or captured.capture is False) and (self.joint is None or self.joint.alone):
            loss = self.compute(x, y, *numbers, self._n)
        elif now is None:
            loss = captured(*arrays, numbers=numbers, key=(modes(), form))
        else:
            key = modes(), form, now.seed, now.row, self._n
            loss = captured(*arrays, numbers=(*numbers, now.epoch, now.step), key=key, eager=is_eager)
        optimizer.steps += 1
        return loss

    def is_eager(self, captured: Captured) -> bool:
        """Whether the next step must not be a replay; the log says why, unless only single steps are.

        Raises:
            ConfigError: it must not be one, and capture is required.
        """
        if watching():
            captured.explain("nn.watch reads what layers give")
        elif self.gradient_hook is None:
            return False
        elif not self.hook_is_rare:
            captured.explain("a callback reads the gradients")
        return True

    def compute(self, x: Array, y: Array, lr: Array | Sequence[float], t: Array | int, n: int = 0) -> Array:
        """Do the device's part of a step; the caller increases ``optimizer.steps``.

        Args:
            x, y: as on call.
            lr, t: as Optimizer.update takes them.
            n: N, where several processes train or there are virtual shards.
        Returns: the batch's loss, ().
        """
        with self.precision.computing():
            weights, joint = None, self.joint
            if isinstance(y, tuple):
                y, weights = y
            x, y = self.precision.inputs(x), x if self._of_inputs else y
            if weights is not None:
                shares = self._weighted.shares(weights, self.optimizer.flat.dtype)
                y = y, shares if joint is None else shares[slice(*joint.part.rows(n)), ...]
            loss, gradients = self.differentiate(x, y) if joint is None else joint(self._rows, x, y, n)
        if self.gradient_hook is not None:
            self.gradient_hook(self.precision.plain(gradients))
        self.optimizer.update(gradients, lr, t)
        return loss

    def _rows(self, x: Any, y: Any, share: float) -> tuple[Array, dict[Tensor, Array]]:
        """Return what some rows add to loss and gradients: a virtual shard, or all rows of this process."""
        if not several.count(x):  # layers that see the whole batch meet, forward and backward
            scores = several.call(self.model, x, Tensor)
            backward(scores, namespace(scores.data).zeros_like(scores.data))
            return namespace(scores.data).zeros((), dtype=scores.dtype, device=scores.data.device), {}
        if self.processes.virtual or self.accumulate == 1 or (self.joint is not None and self.joint.meets):
            return self.differentiate(x, y, share)
        context = random.current()
        assert context is not None
        return accumulation.accumulate(
            lambda x, y, part: self.differentiate(x, y, part * share), x, y, self.accumulate, context, sums=self._sums
        )

    def _unsupported(self) -> str:
        """Return why steps cannot be recorded, as far as that is known; "" if they may be."""
        if self.joint is not None and (reason := self.joint.unsupported):
            return reason
        if self._on_device:
            return ""
        return "" if self.precision.name == "fp32" else f"it computes in {self.precision.name}"

    def differentiate(self, x: Array, y: Array, share: float | None = None) -> tuple[Array, dict[Tensor, Array]]:
        """Return a batch's loss, (), and its gradients; both as the precision has them.

        Args:
            x, y: as on call.
            share: what both are multiplied by, of a part of a batch.
        """
        context = random.current()
        if share is None and self.accumulate > 1:
            assert context is not None
            return accumulation.accumulate(self.differentiate, x, y, self.accumulate, context, sums=self._sums)
        if context is None or self._shards(x) < 2:
            several_inputs = isinstance(x, tuple | dict)
            value = self.measure(several.call(self.model, x, Tensor) if several_inputs else self.model(Tensor(x)), y)
            if share is None:
                return value.data, self.precision.backward(value)
            return record_call(operator.mul, value.data, share), self.precision.backward(value, share)
        division = self.division(several.shape(x))
        weight = 1.0 if share is None else share
        return differentiate(self.model, self.measure, self.precision.backward, x, y, division, context, weight)

    def measure(self, scores: Tensor, y: Array) -> Tensor:
        """Compare scores with labels: the loss, of the batch or of a shard."""
        shape = (scores if isinstance(scores, Tensor) else check_tensor("fit", "a model", scores)).data.shape
        if len(shape) < 3 and self.classes > max((self._fewest, *shape[1:])):
            do = "for a loss of other scores, task='custom'"
            raise ShapeError("fit", "a score for each class", do, scores=shape, K=self.classes)
        scores, weights = self.precision.scores(scores), None
        if isinstance(y, tuple):
            y, weights = y
        if self._compares:
            scores, y = self._task.compare("fit", scores, y)
        value = self._loss(scores, y) if weights is None else self._weighted(scores, y, weights)
        return value if isinstance(value, Tensor) else check_tensor("fit", "a loss", value)

    def division(self, shape: tuple[Any, ...]) -> Division:
        """Return how a batch of a shape, (N, ...), or one a shape of several, is sharded; decided when first met."""
        found = self._divisions.get(shape)
        if found is None:
            found = UNSHARDED if self.threads == 1 else divide(self.model, shape, self.threads)
            self._divisions[shape] = found
            if self.threads != 1:
                n = shape[0] if isinstance(shape[0], int) else shape[0][0]
                _log.info("steps of %d examples are computed %s", n, found.describe(self.model))
        return found

    def _shards(self, x: Array) -> int:
        """In how many parts a batch is computed; layers that are watched see all of it."""
        return 1 if self.processes.virtual or watching() else self.division(several.shape(x)).shards

    def _usable(self, threads: int | None) -> int | None:
        """A number of threads, or 1 where steps cannot be sharded."""
        if self.processes.virtual:
            return usable_threads(self.model, self.loss, threads, self.processes.communicator.size)
        if self.processes.communicator.size > 1:
            check_divisible(self.model, self.loss)
        if threads == 1 or not (reason := unsharded_reason(self.model, self.loss, threads)):
            return threads
        if threads:
            raise ConfigError("fit", f"a step that threads={threads} can shard", "use threads=None", reason=reason)
        if self.model.backend.splits:
            _log.info("steps are computed unsharded: %s", reason)
        return 1

    def _with_numbers(self, x: Array, y: Array, lr: Any, t: Any, *place: Any) -> Array:
        """Compute with the numbers that change from step to step, which are arrays where the step is recorded."""
        if self._on_device and hasattr(lr, "shape"):
            lr = namespace(lr).astype(lr, self.optimizer.flat.dtype)
        if not place:
            return self.compute(x, y, lr, t)
        now = random.current()
        assert now is not None
        with random.use(now._replace(epoch=place[0], step=place[1])):
            return self.compute(x, y, lr, t, self._n)

    def _flattened(self, x: Any, y: Any) -> tuple[Captured, tuple[Array, ...], Any]:
        """Return what is called with the arrays of a batch that has several, the arrays, and the key of their form."""
        if self._of_several is None:
            worth, capture = self._are_small, self.captured.capture
            self._of_several = self.capture(self._several_with_numbers, capture, worth=worth, max_bytes=_MOST_BYTES)
        self._form = [several.like(each, range(len(several.each(each)))) for each in (x, y)]  # of the call to come
        return self._of_several, (*several.each(x), *several.each(y)), (several.form(x), several.form(y))

    def _several_with_numbers(self, *given: Any) -> Array:
        """Compute with the arrays of a batch and the numbers after them."""
        x, y = self._form
        inputs, both = len(several.each(x)), len(several.each(x)) + len(several.each(y))
        return self._with_numbers(several.like(x, given[:inputs]), several.like(y, given[inputs:both]), *given[both:])

    def _are_small(self, *arrays: Array) -> bool:
        """Whether recording steps of several arrays pays: of their model's cost nothing is known."""
        return self._on_device

    def _is_small(self, x: Array, y: Array) -> bool:
        """Whether recording steps of a shape pays; on a device it always does."""
        try:
            return self._on_device or x.shape[0] * self.model.cost(tuple(x.shape[1:])).macs < SMALL
        except (NotImplementedError, XpnetError):
            return False
