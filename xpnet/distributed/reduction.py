"""The sum of the processes' gradients, in place, in buckets of 4 MB.

    reduce = TreeReduction(communicator, shards=8)
    flat = reduce(flat, nodes, examples=N).total                # the same bits for every number of processes
    flat = PlainReduction(communicator)(flat, [flat]).total     # equal to rounding

A bucket is so small that it stays in the processor's cache from one step of its reduction to the next.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from xpnet.backend import Array, Backend, backend_of, namespace, set_at
from xpnet.distributed.communicator import Communicator
from xpnet.distributed.gathering import Gathering, Messages, nodes_of_processes, rows_by_node
from xpnet.distributed.tree import Node, Tree

__all__ = ["BUCKET", "PlainReduction", "Reduced", "Reduction", "TreeReduction"]

BUCKET = 4 << 20  # bytes


class Reduced(NamedTuple):
    """What every process has after a reduction.

    Args:
        total: the sum of the flat arrays, (S,).
        values: the sum of the small arrays of the nodes, (E,), or None.
        flags: the sum of the small arrays of the processes, (F,), or None.
    """

    total: Array
    values: Array | None = None
    flags: Array | None = None


class Reduction(Protocol):
    """Sums flat arrays over the processes."""

    def __call__(
        self,
        out: Array,
        nodes: Sequence[Array],
        values: Array | None = None,
        flags: Array | None = None,
        examples: int | None = None,
    ) -> Reduced:
        """Return the sums over all processes, the same in each. All arrays are of one backend.

        Args:
            out: (S,), contiguous, real floating; gets the sum where its memory can be written. It may be one of the
                nodes, which saves a copy.
            nodes: k arrays like out, which this process found; they are written over.
            values: small numbers of each node that are summed as the nodes are, such as the loss: (k, E).
            flags: small numbers of this process, summed in the order of the processes: (F,). Values and flags may be
                written over too.
            examples: N, of the batch; None: no shard is empty.
        """
        ...


class TreeReduction:
    """Sums the nodes of the processes along the tree over the shards: the same bits for every number of processes.

    Each process sums one part of each bucket: it receives that part of the others' nodes, and sends them the sum. The
    small arrays travel with the last bucket.

    Args:
        communicator: of P processes.
        shards: V >= P; process r has those of Part.of(V, r, P).
        bucket: bytes that are reduced at a time.
    Cost: with one node a process, 2 (P - 1) / P times S numbers are sent and as many received; memory for one bucket.
    """

    def __init__(self, communicator: Communicator, shards: int, bucket: int = BUCKET) -> None:
        self._communicator, self._shards, self._bucket = communicator, shards, bucket
        self._buffers: tuple[Any, list[Array]] = (None, [])

    def __call__(
        self,
        out: Array,
        nodes: Sequence[Array],
        values: Array | None = None,
        flags: Array | None = None,
        examples: int | None = None,
    ) -> Reduced:
        """Sum; see Reduction. The nodes are this process's of Tree(V, N), in their order; there may be none."""
        backend = backend_of(out)
        if self._communicator.size == 1:
            (node,) = nodes
            total = out if node is out else set_at(out, ..., node)
            return Reduced(total, None if values is None else values[0, :], flags)
        if self._communicator.takes(backend):
            return self._reduce(out, nodes, values, flags, Tree(self._shards, examples))
        on_host = [backend.to_numpy(a) for a in nodes]
        flat = on_host[0] if on_host else backend.to_numpy(out)
        values, flags = (None if a is None else backend.to_numpy(a) for a in (values, flags))
        found = self._reduce(flat, on_host, values, flags, Tree(self._shards, examples))
        total, values, flags = (None if a is None else backend.from_numpy(a) for a in found)
        return Reduced(set_at(out, ..., total), values, flags)

    def _reduce(
        self, out: Array, nodes: Sequence[Array], values: Array | None, flags: Array | None, tree: Tree
    ) -> Reduced:
        communicator, rank, size = self._communicator, self._communicator.rank, self._communicator.size
        owners, total = nodes_of_processes(tree, size), out.shape[0]
        shapes = [] if values is None else [(len(each), values.shape[1]) for each in owners]
        of_nodes = None if values is None else Gathering(communicator, values, shapes)
        of_processes = None if flags is None else Gathering(communicator, flags, [flags.shape] * size)

        length = max(size, _numbers(self._bucket, out))  # of a bucket
        foreign = sum(map(len, owners)) - len(nodes)
        buffers = self._work(backend_of(out), out.dtype, foreign, -(-min(length, total) // size))
        for start in range(0, max(1, total), length):
            stop = min(start + length, total)
            bounds = [start + i * (stop - start) // size for i in range(size + 1)]
            parts = list(itertools.starmap(slice, itertools.pairwise(bounds)))  # one a process
            counts = [part.stop - part.start for part in parts]
            target = out[parts[rank]]
            own = [target if a is out else a[parts[rank]] for a in nodes]
            others = iter(buffers)
            received = [
                [next(others)[: counts[rank]] for _ in each] if r != rank else [] for r, each in enumerate(owners)
            ]
            outgoing: Messages = [[a[part] for a in nodes] if r != rank else [] for r, part in enumerate(parts)]
            incoming: Messages = [list(each) for each in received]
            if stop == total:
                for gathering in filter(None, (of_nodes, of_processes)):
                    gathering.append_to(outgoing, incoming)
            communicator.exchange(outgoing, incoming)
            received[rank] = own
            _sum_into(target, dict(zip(itertools.chain(*owners), itertools.chain(*received), strict=True)), tree)
            communicator.allgather_segments(out[start:stop], counts)

        return Reduced(
            out,
            tree.combine(rows_by_node(owners, of_nodes.arrays), operator.add) if of_nodes else None,
            functools.reduce(operator.add, of_processes.arrays) if of_processes else None,
        )

    def _work(self, backend: Backend, dtype: Any, count: int, length: int) -> list[Array]:
        """Return memory to receive nodes in, (length,) each; on the host it is the same in the next call."""
        key, buffers = self._buffers
        if key != (dtype, count, length):
            buffers = [backend.xp.empty(length, dtype=dtype, device=backend.device) for _ in range(count)]
            if backend.on_host:
                self._buffers = (dtype, count, length), buffers
        return buffers


class PlainReduction:
    """Sums one array a process: on a device by the engine's own allreduce, on the host by a tree over the processes.

    Messages from each process to each take half the time of MPICH's Allreduce or less, and as many bytes. Where a
    process has no examples, its array is zeros.

    Args:
        communicator: of the processes.
        bucket: bytes that are reduced at a time.
    """

    def __init__(self, communicator: Communicator, bucket: int = BUCKET) -> None:
        self._communicator, self._bucket = communicator, bucket
        self._tree = TreeReduction(communicator, communicator.size, bucket)

    def __call__(
        self,
        out: Array,
        nodes: Sequence[Array],
        values: Array | None = None,
        flags: Array | None = None,
        examples: int | None = None,
    ) -> Reduced:
        """Sum; see Reduction. There is one node."""
        (node,), backend = nodes, backend_of(out)
        if self._communicator.size == 1 or backend.on_host or not self._communicator.takes(backend):
            return self._tree(out, nodes, values, flags)
        sum_up, length = self._communicator.allreduce, _numbers(self._bucket, node)
        for start in range(0, node.shape[0], length):
            sum_up(node[start : min(start + length, node.shape[0])])
        total = out if node is out else set_at(out, ..., node)
        values = None if values is None else sum_up(values[0, :])
        return Reduced(total, values, None if flags is None else sum_up(flags))


def _numbers(nbytes: int, like: Array) -> int:
    """Return how many numbers of an array's dtype are so many bytes, >= 1."""
    return max(1, 8 * nbytes // namespace(like).finfo(like.dtype).bits)


def _sum_into(target: Array, values: Mapping[Node, Array], tree: Tree) -> None:
    """Sum nodes, which are written over, into an array, which may be one of them."""

    def add(a: Array, b: Array) -> Array:
        if b is target:  # so that the sum need not be copied; a + b and b + a have the same bits
            a, b = b, a
        a += b
        return a

    total = tree.combine(values, add)
    if total is not target:
        target[...] = total
