"""A small array of each process, sent to each other process along with other messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from xpnet.backend import Array, backend_of
from xpnet.data.part import Part
from xpnet.distributed.communicator import Communicator
from xpnet.distributed.tree import Node, Tree

__all__ = ["Gathering", "Messages", "merge_nodes", "nodes_of_processes", "rows_by_node"]

Messages = list[list[Array]]  # by process


class Gathering:
    """Memory for an array of each process; it is filled by the exchange that the messages are part of.

    Args:
        communicator: takes the array's backend.
        own: the array of this process.
        shapes: of each process's array, in their order.
    """

    def __init__(self, communicator: Communicator, own: Array, shapes: Sequence[tuple[int, ...]]) -> None:
        backend, self._rank = backend_of(own), communicator.rank
        self.arrays = [backend.xp.empty(shape, dtype=own.dtype, device=backend.device) for shape in shapes]
        self.arrays[self._rank] = own
        self._flat = [backend.xp.reshape(array, (-1,)) for array in self.arrays]

    def append_to(self, outgoing: Messages, incoming: Messages) -> None:
        """Add the arrays to the messages of an exchange; empty ones are not sent."""
        own = self._flat[self._rank]
        for peer, array in enumerate(self._flat):
            if peer != self._rank:
                outgoing[peer] += [own] if own.shape[0] else []
                incoming[peer] += [array] if array.shape[0] else []


@lru_cache(maxsize=64)
def nodes_of_processes(tree: Tree, size: int) -> list[list[Node]]:
    """Return the nodes that each of P processes has, by Part.of."""
    parts = [Part.of(tree.shards, rank, size) for rank in range(size)]
    return [tree.nodes(part.first, part.stop) for part in parts]


def merge_nodes(communicator: Communicator, tree: Tree, values: Array, merge: Callable[[Array, Array], Array]) -> Array:
    """Combine small arrays of all processes' nodes along the tree; every process gets the result.

    Args:
        communicator: of the processes.
        tree: over the shards.
        values: (k, E), a row for each of this process's nodes; k may be 0.
        merge: returns the combination of two rows: of (n, mean, M2) of two halves, for example.
    Returns:
        (E,).
    Cost: a message from each process to each other.
    """
    owners, backend = nodes_of_processes(tree, communicator.size), backend_of(values)
    direct = communicator.takes(backend)
    gathering = Gathering(
        communicator,
        values if direct else backend.to_numpy(values),
        [(len(nodes), values.shape[1]) for nodes in owners],
    )
    outgoing: Messages = [[] for _ in owners]
    incoming: Messages = [[] for _ in owners]
    gathering.append_to(outgoing, incoming)
    communicator.exchange(outgoing, incoming)
    found = gathering.arrays if direct else [backend.from_numpy(a) for a in gathering.arrays]
    return tree.combine(rows_by_node(owners, found), merge)


def rows_by_node(owners: Sequence[Sequence[Node]], arrays: Sequence[Array]) -> dict[Node, Array]:
    """Return the row of each node, (E,), from each process's (k, E)."""
    pairs = zip(owners, arrays, strict=True)
    return {node: array[i, :] for nodes, array in pairs for i, node in enumerate(nodes)}
