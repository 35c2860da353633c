"""Loss and gradients of a batch, of which each process computes a part, or one process its virtual shards.

    joint = Joint(processes, optimizer.flat, model)
    loss, gradients = joint(compute, x, y, n)   # the same in every process

All of it is work that can be recorded: the loss stays where it is computed, and the host reads nothing. What the host
has to know comes by messages of its own. Before each step: what each process would do, whether one was sent a signal or
has a wrong batch, and a checksum of what must be the same in all. In calls that are no replays, after the gradients:
which parameters have one in some process, which are trained, and whether a process raised an error.
"""

from __future__ import annotations

import math
import signal
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import numpy as np

from xpnet import random
from xpnet.backend import Array, record_call, set_at
from xpnet.data import several
from xpnet.data.part import Part
from xpnet.distributed import aborting
from xpnet.distributed.faults import GRACE
from xpnet.distributed.reduction import PlainReduction, Reduction, TreeReduction
from xpnet.errors import ConfigError, ShapeError, XpnetError
from xpnet.nn import Module
from xpnet.nn.context import use_part
from xpnet.optim.flat import FlatBuffer
from xpnet.output import counted
from xpnet.recordings import Stage
from xpnet.train.flat_gradients import FlatGradients
from xpnet.train.lockstep import BatchShard, LockStep, buffers_of, synchronizing
from xpnet.train.processes import Processes
from xpnet.train.virtual import NodeSum, Rows, VirtualShards, cuts_of, own_rows, terms_of

__all__ = ["Joint"]

Gradients = dict[Any, Array]  # by parameter

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Joint:
    """Computes the part of this process, and sums over the processes.

    Args:
        processes: of the training.
        flat: the parameters that are trained.
        model: where layers depend on other examples of the batch.
        threads, pieces, sums: as VirtualShards takes them.
    """

    def __init__(
        self,
        processes: Processes,
        flat: FlatBuffer,
        model: Module,
        *,
        threads: int | None = None,
        pieces: int = 1,
        sums: bool = False,
    ) -> None:
        self.part: Part = processes.part
        self.own_signal: Callable[[], int] = int  # returns the signal that this process was sent; 0: none
        self.signal = 0  # the signal that some process was sent, as of the start of the last step
        self._stage = Stage.EAGER  # of all processes
        self._common = np.zeros(2)  # N, updates made and learning rates of the step, which are the same in all
        self._error: Exception | None = None  # what is wrong with the batch of this process
        self._found: dict[int, tuple[list[bool], list[bool]]] = {}  # by N: which gradients this process has, and some
        self._flat, self._sums, self._pieces = flat, sums, pieces
        self._communicator = processes.communicator
        recorder = flat.backend.recorder()
        self._on_device = recorder is not None and recorder.is_device
        self._virtual: VirtualShards | None = None
        self.layers = synchronizing(model)
        self._is_sync = processes.batch_norm == "sync"
        if processes.virtual:
            self._virtual = VirtualShards(
                flat,
                self.part,
                threads=threads,
                pieces=pieces,
                sums=sums,
                layers=self.layers,
                communicator=self._communicator if self._is_sync else None,
            )
            self._reduction: Reduction = TreeReduction(self._communicator, self.part.shards)
        else:
            self._reduction = PlainReduction(self._communicator)
        self._memory = FlatGradients(flat) if self._virtual is None else self._virtual.memory

    @property
    def alone(self) -> bool:
        """Whether there is one process."""
        return self._communicator.size == 1

    @property
    def unsupported(self) -> str:
        """Why steps cannot be recorded; "" if they may be."""
        if not self._communicator.takes(self._flat.backend):
            return f"the processes sum on the host what {self._flat.backend.spec} computes"
        in_threads = self.meets and self.part.stop - self.part.first > 1  # one for each shard that waits for others
        return "layers depend on the whole batch" if (in_threads if self._on_device else self.layers) else ""

    @property
    def meets(self) -> bool:
        """Whether layers wait for what they depend on of the other shards."""
        return bool(self.layers) and self._is_sync

    def count(self, x: Any) -> int:
        """Return N, the number of examples of the batch of which x are the rows of this process."""
        n = several.count(x)
        if self._communicator.size == 1:
            return n
        return sum(int.from_bytes(each) for each in self._communicator.allgather_bytes(n.to_bytes(8)))

    def __call__(self, compute: Rows, x: Any, y: Any, n: int) -> tuple[Array, Gradients]:
        """Return the loss of a batch of N examples, (), and its gradients.

        Args:
            compute: takes examples and targets of some rows, and what they weigh in the batch; gives loss and gradients
                times that. With virtual shards it is called for each of them, or each piece of one; else for all rows
                of this process, or each piece of them where layers wait for the other processes.
            x, y: the rows of this process.
            n: N.
        """
        try:
            nodes = self._nodes(compute, x, y, n)
        except Exception as error:
            self._report(error)
            raise
        if self._communicator.size == 1:
            (total,) = nodes
            self._keep(total.kept)
            return total.loss, self._by_parameter(total.gradient, total.found)
        found = self._agree_on_found([any(each) for each in zip(*(node.found for node in nodes), strict=True)], n)
        out = nodes[0].gradient if nodes else self._memory.arrays(1)[0]
        total, values = self._reduction(out, [node.gradient for node in nodes], self._values(nodes), n)
        assert values is not None
        self._keep(values[1:] if values.shape[0] > 1 else None)
        return values[0, ...], self._by_parameter(total, found)

    def begin(self, n: int, rates: Sequence[float], updates: int, x: Any = None, y: Any = None) -> None:
        """Set what ``agree`` compares; called before each step of several processes.

        Args:
            n, rates, updates: N, the learning rates and the number of updates made, the same in all processes.
            x, y: the rows of this process, as Step takes them; None: they are known to be right.
        """
        self._common, self._error = np.array([n, updates, *rates], np.float64), None
        if x is None:
            return
        start, stop = self.part.rows(n)
        y, weights = y if isinstance(y, tuple) else (y, None)
        for name, count, a, b in (
            ("x", several.count(x), start, stop),
            ("y", _length(y), start, stop),
            ("weights", _length(weights), 0, n),
        ):
            if count is not None and count != b - a:
                rule = f"{counted(b - a, 'row')} of {name} in process {self._communicator.rank}, for a batch of N = {n}"
                do = f"give rows {a}:{b}" + (", slice(*step.processes.part.rows(N))" if name != "weights" else "")
                self._error = ShapeError("Step", rule, do, rows=count)
                return

    def agree(self, stage: Stage, error: Exception | None = None) -> set[Stage]:
        """Send the other processes what this one would do, and whether it was sent a signal.

        Args:
            stage: what it would do.
            error: what it raises instead.
        Returns:
            What each of them would do; ``signal`` is set, the same in each.
        Raises:
            The error, if there is one, or that of ``begin``; ConfigError: N, the updates made or the learning rates are
            not the same in all; XpnetError: another process raises an error.
        """
        error, self._error = error or self._error, None
        checksum = zlib.crc32(self._common.tobytes())
        sent = np.zeros(len(Stage) + len(_SIGNALS) + 2)
        sent[stage], sent[-2], sent[-1] = 1, error is not None, checksum
        if own := self.own_signal():
            sent[len(Stage) + _SIGNALS.index(own)] = 1
        *counts, failed, checksums = self._communicator.allreduce(sent).tolist()
        if error is not None:
            raise error
        if checksums != checksum * self._communicator.size:
            what = "the processes differ in N, in the learning rate or in the number of updates"
            n, updates, *rates = self._common.tolist()
            raise ConfigError.event("fit", what, "give each process the same", N=int(n), lr=rates, updates=int(updates))
        self._check_others(failed)
        self.signal = next((int(s) for s, count in zip(_SIGNALS, counts[len(Stage) :], strict=True) if count), 0)
        stages = {each for each, count in zip(Stage, counts, strict=False) if count}
        self._stage = stage if len(stages) == 1 else Stage.EAGER
        return stages

    def _agree_on_found(self, found: list[bool], n: int) -> list[bool]:
        """Return which parameters have a gradient in some process.

        While a device's work is recorded nothing is sent: it is as in the last call of such a batch, or an error.
        """
        found = found or [False] * len(self._flat.parameters)
        if self._stage is Stage.RECORD and self._on_device:
            before, some = self._found.get(n, ([], []))
            if found != before:
                what = "which parameters have a gradient changes from call to call"
                raise ConfigError.event("fit", what, "use capture=False", before=sum(before), now=sum(found))
            return some
        some = [bool(count) for count in self._exchange_found(found)]
        self._found[n] = found, some
        return some

    def _exchange_found(self, found: list[bool], *, failed: bool = False) -> list[float]:
        """Return how many processes have a gradient of each parameter; raise an error where one failed, or differs."""
        trained = [getattr(p, "requires_grad", True) for p in self._flat.parameters]
        checksum = zlib.crc32(bytes(trained))
        *counts, failures, checksums = self._communicator.allreduce(
            np.array([*found, failed, checksum], float)
        ).tolist()
        if not failed:
            if checksums != checksum * self._communicator.size:
                what, do = "the processes differ in which parameters are trained", "set requires_grad alike in each"
                raise ConfigError.event("fit", what, do, trained=sum(trained))
            self._check_others(failures)
        return counts

    def _report(self, error: Exception) -> None:
        """Report an error of this process to the others; where they wait for its numbers, end all."""
        if self._communicator.size == 1 or (self._stage is Stage.RECORD and self._on_device):
            return  # the next message carries what happens while a device is recorded
        if self.meets or self._stage in (Stage.VERIFY, Stage.REPLAY):
            with aborting(self._communicator):
                raise error
        self._exchange_found([False] * len(self._flat.parameters), failed=True)

    def _check_others(self, failed: float) -> None:
        """Raise an error if other processes raise one, after the time in which theirs, uncaught, ends all."""
        if failed:
            time.sleep(GRACE)
            raise XpnetError.event("fit", "another process failed in this step")

    def _keep(self, kept: Array | None) -> None:
        """Give layers that see one shard the mean of what they keep of each."""
        start = 0
        for state in [] if kept is None else [s for layer in self.layers for s in buffers_of(layer)]:
            stop = start + math.prod(state.shape)
            state.data = set_at(state.data, ..., self._flat.xp.reshape(kept[start:stop], state.shape))  # type: ignore[index]
            start = stop

    def _nodes(self, compute: Rows, x: Any, y: Any, n: int) -> list[NodeSum]:
        context = random.current()
        assert context is not None
        if self._virtual is not None:
            return self._virtual(compute, x, y, n, context)
        count, flat = several.count(x), self._flat
        loss, found, kept = flat.xp.zeros((), dtype=flat.dtype, device=flat.backend.device), {}, None
        if self.meets:
            loss, arrays = self._lockstep(compute, x, y, n, context)
        else:
            part = BatchShard(None, self.part.first)
            if count:
                with (
                    random.use(context._replace(row=context.row + self.part.rows(n)[0])),
                    use_part(part) if self.layers else nullcontext(),
                ):
                    loss, found = compute(x, y, 1.0 if self._sums else count / n)
            kept = part.averages(self.layers, count / n) if self.layers else None
            arrays = [found.get(p) for p in flat.parameters]
        gradient = self._memory.fill(self._memory.arrays(1)[0], arrays)
        return [NodeSum(loss, gradient, [g is not None for g in arrays], kept)]

    def _lockstep(
        self, compute: Rows, x: Any, y: Any, n: int, context: random.StepContext
    ) -> tuple[Array, list[Array | None]]:
        """Return loss and gradients, one a parameter, of rows whose layers wait for the other processes.

        All have as many pieces, also of no rows, so that all wait as often.
        """
        first, offset, total = self.part.first, self.part.rows(n)[0], None
        cuts = cuts_of(self.part.shards, n, self._pieces)
        lockstep = LockStep(self._communicator, self.part, [first], 1)
        part = BatchShard(lockstep, first, is_first=True)
        for k, (a, b) in enumerate(pairwise(cuts[first])):
            part.resize(sum(each[k + 1] - each[k] for each in cuts), b - a)
            with random.use(context._replace(row=context.row + a)), lockstep, use_part(part):
                share = 1.0 if self._sums else (b - a) / n
                if len(cuts[first]) == 2:
                    terms = terms_of(self._flat, *compute(x, y, share))
                else:
                    own_x, own_y = own_rows(x, a - offset, b - offset), own_rows(y, a - offset, b - offset)
                    terms = terms_of(self._flat, *compute(own_x, own_y, share))
            total = terms if total is None else total.add(terms)
        assert total is not None
        return total.loss, total.arrays

    def _values(self, nodes: Sequence[NodeSum]) -> Array:
        """Return of each node the loss, and what layers keep of it, (k, E)."""
        flat = self._flat
        buffers = [] if self._is_sync else [s for layer in self.layers for s in buffers_of(layer)]
        if not nodes:
            size = 1 + sum(math.prod(s.shape) for s in buffers)
            return flat.xp.zeros((0, size), dtype=flat.dtype, device=flat.backend.device)
        kept = [node.kept for node in nodes] if buffers else []
        return record_call(_rows, flat.xp, flat.dtype, len(nodes), *(node.loss for node in nodes), *kept)

    def _by_parameter(self, gradient: Array, found: list[bool]) -> Gradients:
        flat = self._flat
        return {p: g for p, g, has in zip(flat.parameters, flat.views(gradient), found, strict=True) if has}


def _length(array: Any) -> int | None:
    """Return the length of the first axis of what has axes."""
    shape = getattr(array, "shape", ())
    return shape[0] if shape else None


def _rows(xp: Any, dtype: Any, count: int, *arrays: Array) -> Array:
    """Return losses, (), and what layers keep with each, (E - 1,), as one array, (k, E)."""
    losses = xp.astype(xp.stack([xp.reshape(a, (1,)) for a in arrays[:count]]), dtype, copy=False)
    if len(arrays) == count:
        return losses
    return xp.concat([losses, xp.astype(xp.stack(arrays[count:]), dtype)], axis=1)
