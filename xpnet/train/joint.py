"""Loss and gradients of a batch, of which each process computes a part, or one process its virtual shards.

    joint = Joint(processes, optimizer.flat)
    loss, gradients = joint(compute, x, y, n)   # the same in every process

What this process computes may be recorded, apart from the reduction:

    small = joint.local(compute, x, y, n)       # the flat gradients are in joint.gradients(n)
    loss, gradients = joint.reduce(small, joint.gradients(n), n)
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import numpy as np

from xpnet import random
from xpnet.backend import Array, empty, launch, set_at
from xpnet.data import several
from xpnet.data.part import Part
from xpnet.distributed.reduction import PlainReduction, Reduction, TreeReduction
from xpnet.nn import Module
from xpnet.nn.context import use_part
from xpnet.optim.flat import FlatBuffer
from xpnet.train.lockstep import BatchShard, LockStep, buffers_of, synchronizing
from xpnet.train.processes import Processes
from xpnet.train.virtual import NodeSum, Rows, VirtualShards, cuts_of, flattened, own_rows, terms_of

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
        self.signal = 0  # the signal that some process was sent, as of the last step
        self._flat, self._sums, self._pieces = flat, sums, pieces
        self._communicator = processes.communicator
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
        self._out: Array | None = None

    @property
    def alone(self) -> bool:
        """Whether a whole step may be recorded: of several processes, the host reads what they sum."""
        return self._communicator.size == 1

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
        nodes = self._nodes(compute, x, y, n)
        if self._communicator.size == 1:
            (total,) = nodes
            self._keep(total.kept)
            return total.loss, self._by_parameter(total.gradient, total.found)
        return self.reduce(self._small(nodes), [node.gradient for node in nodes], n)

    def local(self, compute: Rows, x: Any, y: Any, n: int) -> Array:
        """Return of each node that this process computes the loss, and which gradients it has, (k, E)."""
        return self._small(self._nodes(compute, x, y, n))

    def gradients(self, n: int) -> list[Array]:
        """Return the arrays, on the host, in which the last call left the gradients of the nodes."""
        return self._memory() if self._virtual is None else self._virtual.gradients(n)

    def written(self) -> list[Array]:
        """Return the arrays that ``local`` writes."""
        return [out for out in [self._out] if out is not None] if self._virtual is None else self._virtual.buffers

    def reduce(self, small: Array, gradients: list[Array], n: int) -> tuple[Array, Gradients]:
        """Sum over the processes; see __call__.

        Args:
            small: as local returns it.
            gradients: flat, of each node; they are written.
            n: N.
        """
        backend, own = self._flat.backend, self.own_signal()
        flags = backend.from_numpy(np.asarray([own == number for number in _SIGNALS], np.float32))
        out = gradients[0] if gradients else self._zeros()
        found = self._reduction(out, gradients, small, flags, n)
        values, counts = backend.to_numpy(found.values), backend.to_numpy(found.flags)
        self.signal = next((int(number) for number, flag in zip(_SIGNALS, counts, strict=True) if flag), 0)
        loss, end = found.values[0, ...], 1 + len(self._flat.parameters)  # type: ignore[index]
        self._keep(found.values[end:] if len(values) > end else None)  # type: ignore[index]
        return loss, self._by_parameter(found.total, [bool(count) for count in values[1:end]])

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
        if not flat.backend.on_host:
            return [NodeSum(loss, flattened(flat, arrays), [g is not None for g in arrays], kept)]
        (gradient,) = self._memory()
        for view, g in zip(flat.views(gradient), arrays, strict=True):
            if g is None:
                launch(view.fill, 0)
            else:
                launch(np.copyto, view, g)
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

    def _small(self, nodes: Sequence[NodeSum]) -> Array:
        """Return of each node the loss, for each parameter whether it has a gradient, and what layers keep, (k, E)."""
        flat, xp, backend = self._flat, self._flat.xp, self._flat.backend
        found = np.asarray([node.found for node in nodes], bool).reshape(len(nodes), len(flat.parameters))
        buffers = [] if self._is_sync else [s for layer in self.layers for s in buffers_of(layer)]
        size = 1 + found.shape[1] + sum(math.prod(s.shape) for s in buffers)
        if flat.backend.on_host:
            small = empty((len(nodes), size), flat.dtype)
            launch(_fill, small, found, [node.loss for node in nodes], [node.kept for node in nodes])
            return small
        if not nodes:
            return xp.zeros((0, size), dtype=flat.dtype, device=backend.device)
        flags = xp.astype(backend.from_numpy(found.astype(np.float32)), flat.dtype)
        losses = xp.stack([xp.reshape(xp.astype(node.loss, flat.dtype), (1,)) for node in nodes])
        kept = [xp.astype(xp.stack([node.kept for node in nodes]), flat.dtype)] if buffers else []
        return xp.concat([losses, flags, *kept], axis=1)

    def _by_parameter(self, gradient: Array, found: list[bool]) -> Gradients:
        flat = self._flat
        return {p: g for p, g, has in zip(flat.parameters, flat.views(gradient), found, strict=True) if has}

    def _memory(self) -> list[Array]:
        """Return the one flat gradient of a process on the host without virtual shards."""
        if self._out is None or self._out.dtype != self._flat.dtype:
            self._out = self._flat.zeros()
        return [self._out]

    def _zeros(self) -> Array:
        """Return memory for the sum, where this process has no node."""
        memory = None if self._virtual is None else self._virtual.memory(1)[0]
        return self._flat.zeros() if memory is None else memory


def _fill(small: np.ndarray, found: np.ndarray, losses: list[Any], kept: list[Any]) -> None:
    end = 1 + found.shape[1]
    for row, loss, values in zip(small, losses, kept, strict=True):
        row[0] = loss
        if values is not None:
            row[end:] = values
    small[:, 1:end] = found
