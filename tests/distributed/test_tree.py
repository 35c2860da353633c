"""The tree of a sum is the same, and so are the bits, whoever sums which shards."""

from __future__ import annotations

import itertools
import math
import operator
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpnet.data.part import Part
from xpnet.distributed.tree import Node, Tree


def written(shards: int, examples: int | None = None) -> str:
    """The tree by its definition: halves, of which the first is the larger; a shard without examples is left out."""

    def build(first: int, stop: int) -> str:
        if stop - first == 1:
            empty = examples is not None and first * examples // shards == stop * examples // shards
            return "" if empty else str(first)
        middle = first + math.ceil((stop - first) / 2)
        parts = [p for p in (build(first, middle), build(middle, stop)) if p]
        return f"({'+'.join(parts)})" if len(parts) == 2 else "".join(parts)

    return build(0, shards)


def join(a: str, b: str) -> str:
    return f"({a}+{b})"


def computed(tree: Tree, bounds: list[tuple[int, int]]) -> str:
    """What workers with these shards come to."""
    known = {node: tree.sum(node, str, join) for part in bounds for node in tree.nodes(*part)}
    return tree.combine(known, join)


@pytest.mark.parametrize("shards", range(1, 11))
def test_every_division_among_workers_sums_one_tree(shards: int) -> None:
    for cuts in itertools.product([False, True], repeat=shards - 1):
        bounds = [0, *(i for i, cut in enumerate(cuts, 1) if cut), shards]
        assert computed(Tree(shards), list(itertools.pairwise(bounds))) == written(shards)


@given(st.data(), st.integers(1, 16), st.one_of(st.none(), st.integers(1, 40)))
def test_any_division_of_any_batch_sums_one_tree(data: st.DataObject, shards: int, examples: int | None) -> None:
    cuts = data.draw(st.sets(st.integers(1, shards - 1))) if shards > 1 else set()
    bounds = sorted({0, *cuts, shards})
    assert computed(Tree(shards, examples), list(itertools.pairwise(bounds))) == written(shards, examples)


def test_eight_shards_are_summed_as_the_documentation_says() -> None:
    assert computed(Tree(8), [(0, 3), (3, 8)]) == "(((0+1)+(2+3))+((4+5)+(6+7)))"
    assert Tree(8).nodes(2, 5) == [Node(2, 4), Node(4, 5)]


@pytest.mark.parametrize("examples", [1, 3, 5, 8, 100])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8])
def test_processes_own_each_shard_that_has_examples_once(size: int, examples: int) -> None:
    tree, parts = Tree(8, examples), [Part.of(8, rank, size) for rank in range(size)]
    owned = [i for part in parts for node in tree.nodes(part.first, part.stop) for i in range(*node)]
    assert owned == sorted(set(owned))
    filled = [i for i in range(8) if Part(8, i, i + 1).rows(examples) != (0, 0) and not tree.is_empty(Node(i, i + 1))]
    assert set(filled) <= set(owned)
    assert sum(b - a for a, b in (Part(8, i, i + 1).rows(examples) for i in filled)) == examples


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("owned", [False, True])
def test_floats_have_the_same_bits_in_every_division(dtype: type, owned: bool) -> None:
    leaves = np.random.default_rng(5).standard_normal((8, 1000)).astype(dtype)
    leaves[:, 0] = -0.0  # which a sum with zeros would turn into 0.0
    (a, b, c, d, e, f, g, h), tree = leaves, Tree(8)
    expected = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for size in range(1, 9):
        parts = [Part.of(8, rank, size) for rank in range(size)]
        made = {
            node: tree.sum(node, lambda i: leaves[i].copy() if owned else leaves[i], np.add, operator.iadd, owned)
            for part in parts
            for node in tree.nodes(part.first, part.stop)
        }
        assert tree.combine(made, np.add, operator.iadd).tobytes() == expected.tobytes()


def test_values_that_are_not_owned_are_not_written() -> None:
    leaves = np.ones((8, 5))
    total = Tree(8).sum(Node(0, 8), lambda i: leaves[i], operator.add, operator.iadd)
    assert (leaves == 1).all()
    assert (total == 8).all()
    halves = {Node(0, 4): leaves[0], Node(4, 8): leaves[1]}
    assert (Tree(8).combine(halves, operator.add, operator.iadd) == 2).all()
    assert (leaves == 1).all()


@pytest.mark.parametrize("shards", [1, 2, 3, 7, 8, 16])
@pytest.mark.parametrize("owned", [False, True])
def test_few_values_exist_at_a_time(shards: int, owned: bool) -> None:
    class Value:
        def __init__(self) -> None:
            alive.add(self)
            most.append(len(alive))

    alive: weakref.WeakSet[Value] = weakref.WeakSet()
    most: list[int] = []
    Tree(shards).sum(Node(0, shards), lambda i: Value(), lambda a, b: Value(), lambda a, b: a, owned)
    assert max(most) <= math.ceil(math.log2(shards)) + 1 + (not owned and shards > 1)  # a sum is made beside its terms


def test_statistics_are_merged_along_the_tree() -> None:
    def merge(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, ...]:
        n, delta = a[0] + b[0], b[1] - a[1]
        return n, a[1] + delta * b[0] / n, a[2] + b[2] + delta * delta * a[0] * b[0] / n

    x = np.random.default_rng(6).standard_normal(37) * 3 + 100
    tree = Tree(8, 37)

    def leaf(i: int) -> tuple[float, ...]:
        rows = x[slice(*Part(8, i, i + 1).rows(37))]
        return len(rows), float(rows.mean()), float(((rows - rows.mean()) ** 2).sum())

    results = set()
    for size in (1, 2, 3, 8):
        parts = [Part.of(8, rank, size) for rank in range(size)]
        known = {node: tree.sum(node, leaf, merge) for part in parts for node in tree.nodes(part.first, part.stop)}
        results.add(tree.combine(known, merge))
    ((n, mean, m2),) = results
    assert n == 37
    assert np.allclose([mean, m2 / n], [x.mean(), x.var()])


def test_a_shard_that_nobody_computed_is_an_error() -> None:
    with pytest.raises(KeyError):
        Tree(4).combine({Node(0, 2): 1.0, Node(2, 3): 1.0}, operator.add)
