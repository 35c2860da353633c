"""Loss and gradients of a batch in virtual shards, each computed by itself, and summed along one tree.

    shards = VirtualShards(optimizer.flat, Part(8, 0, 8))
    nodes = shards(compute, x, y, n, context)   # of the tree: one where this process has all shards

What a shard computes depends on its rows alone: its own copy of them, one thread for it and for its products. What is
added to what is given by the tree. So the sums have the same bits on any number of threads and processes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from xpnet import random
from xpnet.autograd import Tensor
from xpnet.backend import (
    Array,
    backend_of,
    can_limit_blas,
    cores,
    empty,
    empty_aligned,
    launch,
    record_call,
    run_alone,
    split,
)
from xpnet.backend.pool import ArrayPool
from xpnet.data import several
from xpnet.data.part import Part
from xpnet.distributed import Communicator
from xpnet.distributed.tree import Node, Tree
from xpnet.errors import ConfigError
from xpnet.nn import Module, is_average
from xpnet.nn.context import use_part
from xpnet.optim.flat import FlatBuffer
from xpnet.train.flat_gradients import FlatGradients, cast
from xpnet.train.lockstep import BatchShard, LockStep, run_in_step
from xpnet.train.metrics.average import is_sum

__all__ = [
    "NodeSum",
    "Rows",
    "VirtualShards",
    "check_divisible",
    "cuts_of",
    "own_rows",
    "terms_of",
    "unshardable_reason",
    "usable_threads",
]

_LEAST = 1 << 17  # the fewest numbers worth a thread, of sums of gradients

Gradients = dict[Any, Array]  # by parameter
Rows = Callable[[Any, Any, float], tuple[Array, Gradients]]  # (examples, targets, what they weigh) -> times that


def check_divisible(model: Module, loss: Callable[..., Tensor]) -> None:
    """Raise where several processes without virtual shards would not compute what one does.

    Raises:
        ConfigError: the loss may be no average over examples, or a layer may depend on other examples of the batch.
    """
    if reason := unshardable_reason(model, loss):
        raise ConfigError("fit", "a step that several processes can compute", "use one process", reason=reason)


def usable_threads(model: Module, loss: Callable[..., Tensor], threads: int | None, size: int = 1) -> int | None:
    """Return how many threads may compute virtual shards at once; None: one a core.

    Args:
        model, loss, threads: of the step.
        size: how many processes there are.
    Raises:
        ConfigError: the model or the loss cannot be computed in shards; or threads is above 1 and the backend divides
            work among threads itself.
    """
    if reason := unshardable_reason(model, loss):
        do = "use shards=1" if size == 1 else "use one process, and shards=1"
        raise ConfigError("fit", "a step that virtual shards can compute", do, reason=reason)
    if not model.backend.splits:
        if (threads or 1) > 1:
            reason = f"{model.backend.spec} divides work among threads itself"
            raise ConfigError("fit", f"a step that threads={threads} can shard", "use threads=None", reason=reason)
        return 1
    return 1 if threads is None and not can_limit_blas() else threads


def unshardable_reason(model: Module, loss: Callable[..., Tensor]) -> str:
    """Return why a step cannot be computed in virtual shards; "" if it can."""
    if not (is_average(loss) or is_sum(loss)):
        return "the loss is not known to be an average over examples (see nn.averages_examples)"
    for path, module in model.modules():
        where = f"{path or 'the model'} ({type(module).__name__})"
        if module.across_batch and not module.synchronizes:
            return f"{where} depends on other examples of the batch"
        if module.across_batch is None:
            return f"{where} does not say across_batch = False"
    return ""


class NodeSum(NamedTuple):
    """The sum of the shards of a node of the tree.

    Args:
        loss: (), times what the shards weigh.
        gradient: of all parameters, flat, with zeros for those that have none.
        found: whether each parameter has a gradient.
        kept: the new buffers of layers that see one shard, (E,), times what the shards weigh; else None.
    """

    loss: Array
    gradient: Array
    found: list[bool]
    kept: Array = None


class VirtualShards:
    """Computes the virtual shards of a process.

    Args:
        flat: the parameters that are trained.
        part: the shards that this process computes.
        threads: how many compute at once; None: one a core.
        pieces: in how many pieces a shard is computed, one after the other, or one an example: less memory.
        sums: whether the loss is a sum over examples: then each piece weighs 1.
        layers: those that depend on the other examples of a batch.
        communicator: of the processes, all of whose shards these layers see; None: a layer sees one shard.
    """

    def __init__(
        self,
        flat: FlatBuffer,
        part: Part,
        *,
        threads: int | None = None,
        pieces: int = 1,
        sums: bool = False,
        layers: Sequence[Module] = (),
        communicator: Communicator | None = None,
    ) -> None:
        self._flat, self._part, self._layers, self._communicator = flat, part, layers, communicator
        self._threads, self._pieces, self._sums = threads, pieces, sums
        self._pool = ArrayPool()  # of gradients of dense layers
        self.memory = FlatGradients(flat)

    def __call__(self, compute: Rows, x: Any, y: Any, n: int, context: random.StepContext) -> list[NodeSum]:
        """Return the sums of the nodes of Tree(V, N) that this process computes: none, if it has no rows.

        Args:
            compute: takes examples and targets of some rows, and what they weigh in the batch; gives loss and gradients
                times that.
            x, y: the rows of this process, an array each or several.
            n: N, of the whole batch.
            context: the step that draws belong to.
        """
        if self._layers and self._communicator is not None:
            return self._in_step(self._communicator, compute, x, y, n, context)
        tree, groups, nodes = self._plan(n)

        def group(nodes: list[tuple[Node, Array]]) -> list[NodeSum]:
            shard = partial(self._shard, compute, x, y, n, context)
            with self._pool.in_use():
                return [self._node(tree, node, out, shard) for node, out in nodes]

        found = [node for each in run_alone([partial(group, each) for each in groups]) for node in each]
        known = {
            node: total for (node, _), total in zip([node for each in groups for node in each], found, strict=True)
        }
        return [_combined(tree, node, known) for node in nodes]

    def _plan(self, n: int) -> tuple[Tree, list[list[tuple[Node, Array]]], list[Node]]:
        """Return the tree, the nodes that each thread sums with the memory for that, and those that they make up."""
        (_, first, stop), tree = self._part, Tree(self._part.shards, n)
        start, end = self._part.rows(n)
        threads = max(1, min(self._threads or cores(), stop - first, end - start))
        bounds = [first + i * (stop - first) // threads for i in range(threads + 1)]
        groups = [nodes for a, b in pairwise(bounds) if (nodes := tree.nodes(a, b))]
        outs = iter(self.memory.arrays(sum(map(len, groups))))
        return tree, [[(node, next(outs)) for node in nodes] for nodes in groups], tree.nodes(first, stop)

    def _node(self, tree: Tree, node: Node, out: Array, shard: Callable[[int], _Terms]) -> NodeSum:
        """Compute the shards of a node, one after the other."""
        views = self.memory.views(out)

        def leaf(i: int) -> _Terms:
            nonlocal views
            terms = shard(i)
            terms.views, views = views, None  # the sum of a node grows from its first shard
            return terms

        terms = tree.sum(node, leaf, _Terms.add)
        return NodeSum(
            terms.loss,
            self.memory.fill(out, terms.arrays, terms.views),
            [g is not None for g in terms.arrays],
            terms.kept,
        )

    def _in_step(
        self, communicator: Communicator, compute: Rows, x: Any, y: Any, n: int, context: random.StepContext
    ) -> list[NodeSum]:
        """Do what a call does with shards that wait for each other in layers; one has no rows where there are none."""
        (v, first, stop), tree, offset = self._part, Tree(self._part.shards, n), self._part.rows(n)[0]
        cuts = cuts_of(v, n, self._pieces)
        shards = [i for i in range(first, stop) if cuts[i][0] < cuts[i][-1]] or [first]
        lockstep = LockStep(communicator, self._part, shards, self._threads or cores())
        active = self._flat.backend.active

        def shard(i: int) -> _Terms | None:
            part, total = BatchShard(lockstep, i, is_first=i == shards[0]), None
            for k, (a, b) in enumerate(pairwise(cuts[i])):
                part.resize(sum(each[k + 1] - each[k] for each in cuts), b - a)
                with random.use(context._replace(row=context.row + a)), use_part(part):
                    share = 1.0 if self._sums else (b - a) / n
                    found = compute(own_rows(x, a - offset, b - offset), own_rows(y, a - offset, b - offset), share)
                if a < b:
                    terms = terms_of(self._flat, *found)
                    total = terms if total is None else total.add(terms)
            return total

        terms = dict(zip(shards, run_in_step(lockstep, [partial(shard, i) for i in shards], active), strict=True))
        nodes = tree.nodes(first, stop)
        outs = self.memory.arrays(len(nodes))
        return [self._node(tree, node, out, terms.__getitem__) for node, out in zip(nodes, outs, strict=True)]

    def _shard(self, compute: Rows, x: Any, y: Any, n: int, context: random.StepContext, i: int) -> _Terms:
        """Compute the loss and the gradients of a shard, times what it weighs."""
        offset, _ = self._part.rows(n)
        start, stop = Part(self._part.shards, i, i + 1).rows(n)
        pieces, part = min(self._pieces, stop - start), BatchShard(None, i)
        total: _Terms | None = None
        for k in range(pieces):
            a, b = start + k * (stop - start) // pieces, start + (k + 1) * (stop - start) // pieces
            with random.use(context._replace(row=context.row + a)), use_part(part) if self._layers else nullcontext():
                share = 1.0 if self._sums else (b - a) / n
                found = compute(own_rows(x, a - offset, b - offset), own_rows(y, a - offset, b - offset), share)
            terms = terms_of(self._flat, *found)
            total = terms if total is None else total.add(terms)
        assert total is not None
        if self._layers:
            total.kept = part.averages(self._layers, (stop - start) / n)
        return total


class _Terms:
    """A sum of gradients that grows.

    Args:
        loss: ().
        arrays: a gradient for each parameter, or None; they are not written.
        dtype: of the sums.
    """

    def __init__(self, loss: Array, arrays: list[Array | None], dtype: Any) -> None:
        self.loss = loss
        self.arrays = [None if g is None else cast(g, dtype) for g in arrays]
        self.owned = [False] * len(arrays)
        self.views: list[Array] | None = None  # where the sums are to lie
        self.kept: Array = None  # what layers keep, (E,), times what it weighs

    def add(self, other: _Terms) -> _Terms:
        """Add other terms, and return this sum."""
        self.loss = record_call(operator.add, self.loss, other.loss)
        self.kept = None if self.kept is None or other.kept is None else self.kept + other.kept
        for k, (a, b) in enumerate(zip(self.arrays, other.arrays, strict=True)):
            if a is None:
                self.arrays[k], self.owned[k] = b, other.owned[k]
            elif b is not None:
                view = None if self.views is None else self.views[k]
                self.arrays[k], self.owned[k] = _add(a, b, self.owned[k], view), True
        return self


def terms_of(flat: FlatBuffer, loss: Array, gradients: Gradients) -> _Terms:
    """Return the loss and the gradients of some rows, to be summed."""
    return _Terms(loss, [gradients.get(p) for p in flat.parameters], flat.dtype)


def cuts_of(shards: int, n: int, pieces: int) -> list[list[int]]:
    """Return for each shard where its pieces start, and where the last one stops: as many pieces in all shards."""
    bounds = [Part(shards, i, i + 1).rows(n) for i in range(shards)]
    pieces = max(1, min(pieces, max(b - a for a, b in bounds)))
    return [[a + k * (b - a) // pieces for k in range(pieces + 1)] for a, b in bounds]


def _combined(tree: Tree, node: Node, known: dict[Node, NodeSum]) -> NodeSum:
    """Sum the nodes of the threads up to a node."""
    if node in known:
        return known[node]
    halves = [_combined(tree, half, known) for half in node.halves if not tree.is_empty(half)]
    if len(halves) == 1:
        return halves[0]
    left, right = halves
    found = [a or b for a, b in zip(left.found, right.found, strict=True)]
    loss = record_call(operator.add, left.loss, right.loss)
    kept = None if left.kept is None else left.kept + right.kept
    launch(_add_flat, left.gradient, right.gradient)
    return NodeSum(loss, left.gradient, found, kept)


def _add_flat(total: Array, other: Array) -> None:
    """Add to a flat array, in several threads."""

    def add(start: int, stop: int) -> None:
        total[start:stop] += other[start:stop]

    split(total.shape[0], _LEAST, add)


def _add(a: Array, b: Array, owned: bool, view: Array | None) -> Array:
    """Return a + b: in the view if there is one, else in a if it may be written."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        out = view if view is not None else a if owned else empty(a.shape, a.dtype)
        launch(np.add, a, b, out)
        return out
    return record_call(operator.iadd if owned else operator.add, a, b)


def own_rows(x: Any, start: int, stop: int) -> Any:
    """Return some rows of each array, laid out and aligned alike, whatever x is a part of."""
    return several.like(x, [_copied(array[start:stop, ...]) for array in several.each(x)])


def _copied(x: Array) -> Array:
    if not isinstance(x, np.ndarray):
        return backend_of(x).xp.asarray(x, copy=True)
    if x.flags.c_contiguous and x.ctypes.data % 64 == 0:
        return x
    copy = empty_aligned(x.shape, x.dtype)
    launch(np.copyto, copy, x)
    return copy
