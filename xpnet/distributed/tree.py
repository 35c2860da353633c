"""The order in which the shards of a batch are summed: one balanced binary tree, whoever computes the shards.

A sum of floats depends on its order. Eight shards are therefore always summed as::

    ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7))

A node of the tree is a range of shards; the halves of a node are its children. A worker, which is a thread or a
process, has consecutive shards. It sums the largest nodes that lie within them, and what the workers found is combined
along the rest of the tree:

    tree = Tree(8)
    nodes = {node: tree.sum(node, gradient_of_shard, add) for node in tree.nodes(2, 5)}    # (2, 4) and (4, 5)
    total = tree.combine({**nodes, **nodes_of_the_others}, add)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from xpnet.data.part import Part

__all__ = ["Node", "Tree"]

T = TypeVar("T")


class Node(NamedTuple):
    """The shards first .. stop - 1."""

    first: int
    stop: int

    @property
    def halves(self) -> tuple[Node, Node]:
        """The node's children, of which the first may have one shard more."""
        middle = (self.first + self.stop + 1) // 2
        return Node(self.first, middle), Node(middle, self.stop)


class Tree(NamedTuple):
    """The tree over the shards of a batch. Shards without examples are left out of every sum.

    Args:
        shards: V, >= 1.
        examples: N, of the batch, >= 1; None: no shard is empty.
    """

    shards: int
    examples: int | None = None

    def is_empty(self, node: Node) -> bool:
        """Return whether no shard of a node has examples."""
        if self.examples is None:
            return False
        start, stop = Part(self.shards, *node).rows(self.examples)
        return start == stop

    def nodes(self, first: int, stop: int) -> list[Node]:
        """Return the largest nodes with examples within the shards first .. stop - 1, in the order of the shards."""
        found: list[Node] = []

        def search(node: Node) -> None:
            if node.first >= stop or node.stop <= first or self.is_empty(node):
                return
            if first <= node.first and node.stop <= stop:
                found.append(node)
            else:
                for half in node.halves:
                    search(half)

        search(Node(0, self.shards))
        return found

    def sum(
        self,
        node: Node,
        leaf: Callable[[int], T],
        add: Callable[[T, T], T],
        iadd: Callable[[T, T], T] | None = None,
        owned: bool = False,
    ) -> T:
        """Sum the shards of a node.

        Args:
            node: with examples.
            leaf: returns the value of a shard; called once for each shard with examples, in their order.
            add: returns a new value, the sum of two.
            iadd: returns the sum of two, and may write it into the first; None: add.
            owned: whether the leaves may be written too. Otherwise only sums are.
        Cost: at most log2(V) + 1 values, rounded up, exist at a time.
        """
        return self._sum(node, lambda n: leaf(n.first), lambda n: n.stop - n.first == 1, add, iadd or add, owned)[0]

    def combine(
        self,
        values: Mapping[Node, T],
        add: Callable[[T, T], T],
        iadd: Callable[[T, T], T] | None = None,
        owned: bool = False,
    ) -> T:
        """Sum the nodes of all workers; add, iadd and owned as in ``sum``.

        Args:
            values: of each worker's ``nodes``.
        Raises:
            KeyError: a shard with examples is in none of the nodes.
        """
        return self._sum(Node(0, self.shards), values.__getitem__, self._is_known(values), add, iadd or add, owned)[0]

    def _is_known(self, values: Mapping[Node, T]) -> Callable[[Node], bool]:
        return lambda node: node in values or node.stop - node.first == 1

    def _sum(
        self,
        node: Node,
        value: Callable[[Node], T],
        ends: Callable[[Node], bool],
        add: Callable[[T, T], T],
        iadd: Callable[[T, T], T],
        owned: bool,
    ) -> tuple[T, bool]:
        """Return the sum of a node, and whether it may be written."""
        if ends(node):
            return value(node), owned
        left, right = node.halves
        if self.is_empty(left) or self.is_empty(right):
            return self._sum(right if self.is_empty(left) else left, value, ends, add, iadd, owned)
        total, writable = self._sum(left, value, ends, add, iadd, owned)
        other, _ = self._sum(right, value, ends, add, iadd, owned)
        return (iadd if writable else add)(total, other), True
