"""Shards that are computed in step: each waits where a layer needs what it depends on of all of them.

Each local shard has a thread, of which some compute at a time. Where a layer reduces, the last one to come combines the
values of all shards along the tree, over the processes too. An error in one ends the others, and is raised once.
"""

from __future__ import annotations

import contextvars
import operator
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from xpnet.backend import Array, namespace, use_cores
from xpnet.backend.blas import single_threaded
from xpnet.data.part import Part
from xpnet.distributed import Communicator, Tree, merge_nodes
from xpnet.nn import Module, Parameter
from xpnet.nn.state import State

__all__ = ["BatchShard", "LockStep", "buffers_of", "run_in_step", "synchronizing"]

Merge = Callable[[Array, Array], Array]


class LockStep:
    """Where the shards of a process wait for each other.

    Args:
        communicator: of the processes.
        part: the shards of this process.
        shards: those of them that take part.
        at_once: how many compute at a time.
    """

    def __init__(self, communicator: Communicator, part: Part, shards: Sequence[int], at_once: int) -> None:
        self._communicator, self._part = communicator, part
        self._slots = threading.Semaphore(at_once)
        self._values: dict[int, Array] = {}
        self._merge: Merge = operator.add
        self._result: Array = None
        self._barrier = threading.Barrier(len(shards), self._combine)

    def __enter__(self) -> None:
        self._slots.acquire()

    def __exit__(self, *error: object) -> None:
        self._slots.release()
        if error[0] is not None:
            self._barrier.abort()

    def abort(self) -> None:
        """End the lock step: whoever waits, or comes, raises an error."""
        self._barrier.abort()

    def reduce(self, shard: int, values: Array, merge: Merge) -> Array:
        """Return the combination of the values of all shards; zeros for those that take no part."""
        self._values[shard], self._merge = values, merge
        self._slots.release()
        try:
            self._barrier.wait()
        finally:
            self._slots.acquire()
        return self._result

    def _combine(self) -> None:
        tree, xp = Tree(self._part.shards), namespace(*self._values.values())
        zeros = xp.zeros_like(next(iter(self._values.values())))
        nodes = tree.nodes(self._part.first, self._part.stop)
        rows = [tree.sum(node, lambda i: self._values.get(i, zeros), self._merge) for node in nodes]
        if self._communicator.size > 1:
            self._result = merge_nodes(self._communicator, tree, xp.stack(rows), self._merge)
        else:
            (self._result,) = rows
        self._values = {}


class BatchShard:
    """A nn.context.BatchPart: the computation of one shard, of which layers see all others too, or no other.

    Args:
        lockstep: what joins the shards; None: layers look at the shard alone.
        shard: its number.
        is_first: whether layers keep what they find of the whole batch in this computation.
    """

    def __init__(self, lockstep: LockStep | None, shard: int, *, is_first: bool = False) -> None:
        self.synchronized, self.first = lockstep is not None, is_first
        self._lockstep, self._shard, self._n, self._rows = lockstep, shard, 0, 0
        self._kept: dict[int, list[Array]] = {}  # by the id of a layer

    def resize(self, n: int, rows: int) -> None:
        """Go on with a piece of the batch of N examples, of which this shard has some rows."""
        self._n, self._rows = n, rows

    def averages(self, layers: Sequence[Module], weight: float) -> Array:
        """Return the buffers of layers after this computation, one after the other, (E,), times a weight."""
        arrays = [a for layer in layers for a in self._kept.get(id(layer)) or [s.data for s in buffers_of(layer)]]
        xp = namespace(*arrays)
        return xp.concat([xp.reshape(a, (-1,)) for a in arrays]) * weight

    def whole(self, shape: tuple[int, ...]) -> int:
        """Return how many numbers of each channel the whole batch has."""
        inner = 1
        for size in shape[:-1] if self._rows else shape[1:-1]:
            inner *= size
        return self._n * inner // self._rows if self._rows else self._n * inner

    def reduce(self, values: Array, merge: Merge) -> Array:
        """Return the combination of the values of all shards."""
        assert self._lockstep is not None
        return self._lockstep.reduce(self._shard, values, merge)

    def kept(self, module: Any, arrays: list[Array]) -> list[Array]:
        """Return the buffers of a layer in this computation."""
        if id(module) not in self._kept:
            self._kept[id(module)] = [namespace(a).asarray(a, copy=True) for a in arrays]
        return self._kept[id(module)]

    def keep(self, module: Any, arrays: list[Array]) -> None:
        """Set the buffers of a layer."""
        self._kept[id(module)] = arrays


def synchronizing(model: Module) -> list[Module]:
    """Return the layers of a model that ask what to do about other examples of the batch, each once."""
    found = {id(module): module for _, module in model.modules() if module.across_batch and module.synchronizes}
    return list(found.values())


def buffers_of(layer: Module) -> list[State]:
    """Return the buffers of a layer itself."""
    return [s for _, s in layer.named_parts() if isinstance(s, State) and not isinstance(s, Parameter)]


def run_in_step(
    lockstep: LockStep, tasks: Sequence[Callable[[], Any]], active: Callable[[], AbstractContextManager[Any]]
) -> list[Any]:
    """Run tasks that meet, each in a thread, and return what they returned.

    Args:
        lockstep: that the tasks keep.
        tasks: what each thread calls.
        active: gives the context manager that makes a thread use the device: a Backend's.
    Raises:
        The first error in the order of tasks that is not the end of the lock step.
    """
    results: list[Any] = [None] * len(tasks)
    errors: list[BaseException | None] = [None] * len(tasks)

    def run(i: int) -> None:
        try:
            with active(), lockstep:
                results[i] = tasks[i]()
        except BaseException as error:
            errors[i] = error

    with single_threaded(), use_cores(1):
        if len(tasks) == 1:
            run(0)
        else:
            threads = [
                threading.Thread(target=contextvars.copy_context().run, args=(run, i), name="xpnet")
                for i in range(len(tasks))
            ]
            started = 0
            try:
                for thread in threads:
                    thread.start()
                    started += 1
            finally:
                if started < len(threads):
                    lockstep.abort()
                for thread in threads[:started]:
                    thread.join()
    found = [e for e in errors if e is not None]
    others = [e for e in found if not isinstance(e, threading.BrokenBarrierError)]
    try:
        if found:
            raise (others or found)[0]
        return results
    finally:
        del found, others
        errors.clear()
