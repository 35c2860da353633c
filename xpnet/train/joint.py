"""Loss and gradients of a batch, of which each process computes a part, or one process its virtual shards.

    joint = Joint(processes, optimizer.flat)
    loss, gradients = joint(compute, x, y, n)   # the same in every process

What this process computes may be recorded, apart from the reduction:

    small = joint.local(compute, x, y, n)       # the flat gradients are in joint.gradients(n)
    loss, gradients = joint.reduce(small, joint.gradients(n), n)
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xpnet import random
from xpnet.backend import Array, Backend, empty, launch
from xpnet.data import several
from xpnet.data.part import Part
from xpnet.distributed.reduction import PlainReduction, Reduction, TreeReduction
from xpnet.optim.flat import FlatBuffer
from xpnet.train.processes import Processes
from xpnet.train.virtual import NodeSum, Rows, VirtualShards, flattened

__all__ = ["Joint"]

Gradients = dict[Any, Array]  # by parameter

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Joint:
    """Computes the part of this process, and sums over the processes.

    Args:
        processes: of the training.
        flat: the parameters that are trained.
        threads, pieces, sums: as VirtualShards takes them.
    """

    def __init__(
        self,
        processes: Processes,
        flat: FlatBuffer,
        *,
        threads: int | None = None,
        pieces: int = 1,
        sums: bool = False,
    ) -> None:
        self.part: Part = processes.part
        self.asked: Callable[[], int] = int  # returns the signal that this process was sent; 0: none
        self.told = 0  # the signal that some process was sent, as of the last step
        self._flat, self._sums = flat, sums
        self._communicator = processes.communicator
        self._virtual: VirtualShards | None = None
        if processes.virtual:
            self._virtual = VirtualShards(flat, self.part, threads=threads, pieces=pieces, sums=sums)
            self._reduction: Reduction = TreeReduction(self._communicator, self.part.shards)
        else:
            self._reduction = PlainReduction(self._communicator)
        self._out: Array | None = None

    def takes(self, backend: Backend) -> bool:
        """Return whether the reduction may be recorded: there is none, or it is of the device's own work."""
        recorder = backend.recorder()
        on_device = recorder is not None and recorder.is_device
        return self._communicator.size == 1 or (on_device and self._communicator.takes(backend))

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
                times that. With virtual shards it is called for each of them, else for all rows of this process.
            x, y: the rows of this process.
            n: N.
        """
        nodes = self._nodes(compute, x, y, n)
        if self._communicator.size == 1:
            (total,) = nodes
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
        backend, asked = self._flat.backend, self.asked()
        flags = backend.from_numpy(np.asarray([asked == number for number in _SIGNALS], np.float32))
        out = gradients[0] if gradients else self._zeros()
        found = self._reduction(out, gradients, small, flags, n)
        values, told = backend.to_numpy(found.values), backend.to_numpy(found.flags)
        self.told = next((int(number) for number, flag in zip(_SIGNALS, told, strict=True) if flag), 0)
        loss = found.values[0, ...]  # type: ignore[index]
        return loss, self._by_parameter(found.total, [bool(count) for count in values[1:]])

    def _nodes(self, compute: Rows, x: Any, y: Any, n: int) -> list[NodeSum]:
        context = random.current()
        assert context is not None
        if self._virtual is not None:
            return self._virtual(compute, x, y, n, context)
        count, flat = several.count(x), self._flat
        if not count:
            loss = flat.xp.zeros((), dtype=flat.dtype, device=flat.backend.device)
            return [NodeSum(loss, self._zeros(), [False] * len(flat.parameters))]
        with random.use(context._replace(row=context.row + self.part.rows(n)[0])):
            loss, found = compute(x, y, 1.0 if self._sums else count / n)
        arrays = [found.get(p) for p in flat.parameters]
        if not flat.backend.on_host:
            gradient = flattened(flat, arrays)
        else:
            (gradient,) = self._memory()
            for view, g in zip(flat.views(gradient), arrays, strict=True):
                if g is None:
                    launch(view.fill, 0)
                else:
                    launch(np.copyto, view, g)
        return [NodeSum(loss, gradient, [g is not None for g in arrays])]

    def _small(self, nodes: Sequence[NodeSum]) -> Array:
        """Return the loss of each node, and for each parameter whether it has a gradient, (k, 1 + parameters)."""
        flat = self._flat
        found = np.asarray([node.found for node in nodes], bool).reshape(len(nodes), len(flat.parameters))
        if flat.backend.on_host:
            small = empty((len(nodes), 1 + found.shape[1]), flat.dtype)
            launch(_fill, small, found, [node.loss for node in nodes])
            return small
        xp, backend = flat.xp, flat.backend
        flags = xp.astype(backend.from_numpy(found.astype(np.float32)), flat.dtype)
        if not nodes:
            return xp.zeros((0, 1 + found.shape[1]), dtype=flat.dtype, device=backend.device)
        losses = xp.stack([xp.reshape(xp.astype(node.loss, flat.dtype), (1,)) for node in nodes])
        return xp.concat([losses, flags], axis=1)

    def _by_parameter(self, gradient: Array, found: list[bool]) -> Gradients:
        flat = self._flat
        return {p: g for p, g, has in zip(flat.parameters, flat.views(gradient), found, strict=True) if has}

    def _memory(self) -> list[Array]:
        """Return the one flat gradient of a process on the host without virtual shards."""
        if self._out is None or self._out.dtype != self._flat.dtype:
            self._out = self._flat.zeros()
        return [self._out]

    def _zeros(self) -> Array:
        """Return the flat gradient of a process that has no examples."""
        if not self._flat.backend.on_host:
            return self._flat.zeros()
        (out,) = self._memory()
        launch(out.fill, 0)
        return out


def _fill(small: np.ndarray, found: np.ndarray, losses: list[Any]) -> None:
    for row, loss in zip(small, losses, strict=True):
        row[0] = loss
    small[:, 1:] = found
