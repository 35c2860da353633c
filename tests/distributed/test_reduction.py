"""Flat arrays of several processes are summed along the tree of the shards, on every backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from distributed.threaded import Threaded, run

from xpnet.backend import Backend
from xpnet.data.part import Part
from xpnet.distributed import single
from xpnet.distributed.gathering import merge_nodes
from xpnet.distributed.reduction import PlainReduction, TreeReduction
from xpnet.distributed.tree import Node, Tree

SHARDS = 8


def shards(length: int, dtype: str = "float32") -> np.ndarray:
    leaves = np.random.default_rng(length).standard_normal((SHARDS, length)).astype(dtype)
    leaves[:, 0] = -0.0  # which a sum with zeros would turn into 0.0
    return leaves


def total(leaves: np.ndarray, examples: int | None) -> np.ndarray:
    """What one process sums, in NumPy."""
    return Tree(SHARDS, examples).sum(Node(0, SHARDS), lambda i: leaves[i], np.add)


def nodes_of(leaves: np.ndarray, tree: Tree, rank: int, size: int) -> list[np.ndarray]:
    part = Part.of(SHARDS, rank, size)
    return [tree.sum(n, lambda i: leaves[i].copy(), np.add) for n in tree.nodes(part.first, part.stop)]


def reduced(
    backend: Backend, size: int, leaves: np.ndarray, small: np.ndarray, examples: int | None, own: bool, direct: bool
) -> list[tuple[bytes, bytes]]:
    """Total and values of each process."""

    def work(communicator: Threaded) -> tuple[bytes, bytes]:
        tree, rank = Tree(SHARDS, examples), communicator.rank
        nodes = [backend.from_numpy(a) for a in nodes_of(leaves, tree, rank, size)]
        values = np.stack([*nodes_of(small, tree, rank, size), small[0]])[:-1]
        out = nodes[0] if own and nodes else backend.from_numpy(np.full_like(leaves[0], np.nan))
        reduce = TreeReduction(communicator, SHARDS, bucket=64)
        found = [backend.to_numpy(a) for a in reduce(out, nodes, backend.from_numpy(values), examples)]
        return found[0].tobytes(), found[1].tobytes()

    return run(size, work, direct)


@pytest.mark.parametrize("examples", [None, 100, 5, 1])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_any_number_of_processes_has_the_bits_of_one(backend: Backend, size: int, examples: int | None) -> None:
    leaves, small = shards(61), shards(17)
    expected = (total(leaves, examples).tobytes(), total(small, examples).tobytes())
    writable = not backend.name.startswith("jax")
    for direct, own in ((False, True), (False, False), (writable, True), (writable, False)):
        found = reduced(backend, size, leaves, small, examples, own, direct)
        assert found == [expected] * size


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_floats_are_summed_in_their_own_dtype(dtype: str) -> None:
    leaves = shards(50, dtype)

    def work(communicator: Threaded) -> np.ndarray:
        nodes = nodes_of(leaves, Tree(SHARDS), communicator.rank, 2)
        return TreeReduction(communicator, SHARDS)(nodes[0], nodes).total

    for found in run(2, work):
        assert found.dtype == dtype
        assert found.tobytes() == total(leaves, None).tobytes()


@pytest.mark.parametrize("length", [1, 2, 16, 17, 100])
def test_buckets_of_any_length_are_cut_for_any_processes(length: int) -> None:
    leaves = shards(length)

    def work(communicator: Threaded) -> tuple[bytes, int]:
        reduce, nodes = TreeReduction(communicator, SHARDS, bucket=64), []
        for _ in range(2):  # the second uses the memory of the first
            nodes = nodes_of(leaves, Tree(SHARDS), communicator.rank, 4)
            assert reduce(nodes[0], nodes).total is nodes[0]
        return nodes[0].tobytes(), communicator.sent

    found = run(4, work)
    assert {data for data, _ in found} == {total(leaves, None).tobytes()}
    assert sum(sent for _, sent in found) == 2 * 3 * 4 * length  # three of four processes send each number once


def test_numbers_that_are_equal_to_rounding_come_from_the_engines_own_sum(backend: Backend) -> None:
    def work(communicator: Threaded) -> list[np.ndarray]:
        flat = backend.from_numpy(leaves[communicator.rank].copy())
        values = backend.from_numpy(np.full((1, 2), communicator.rank, np.float32))
        found = PlainReduction(communicator, bucket=64)(flat, [flat], values)
        return [backend.to_numpy(a) for a in found]

    leaves = shards(61)
    for flat, values in run(3, work, direct=False):
        assert np.allclose(flat, leaves[:3].sum(axis=0), atol=1e-6)
        assert values.tolist() == [3, 3]


def test_one_process_sends_nothing_and_keeps_its_memory(backend: Backend) -> None:
    flat, other = (backend.from_numpy(np.arange(5, dtype=np.float32)) for _ in range(2))
    for reduce in (TreeReduction(single(), 8), PlainReduction(single())):
        assert reduce(flat, [flat], None, 3).total is flat
        assert np.array_equal(backend.to_numpy(reduce(other, [flat * 2]).total), 2 * np.arange(5))


@pytest.mark.parametrize("examples", [None, 3])
def test_statistics_of_the_processes_are_merged_along_the_tree(backend: Backend, examples: int | None) -> None:
    def merge(a: Any, b: Any) -> Any:
        return a + b + a * b  # which depends on the order

    leaves = shards(3)
    expected = Tree(SHARDS, examples).sum(Node(0, SHARDS), lambda i: leaves[i], merge)

    def work(communicator: Threaded) -> bytes:
        part, tree = Part.of(SHARDS, communicator.rank, communicator.size), Tree(SHARDS, examples)
        rows = [tree.sum(n, lambda i: leaves[i], merge) for n in tree.nodes(part.first, part.stop)]
        values = backend.from_numpy(np.stack([*rows, leaves[0]])[:-1])
        return backend.to_numpy(merge_nodes(communicator, tree, values, merge)).tobytes()

    for size in (1, 3, 8):
        assert set(run(size, work, direct=False)) == {expected.tobytes()}


REAL = """
import sys
import numpy as np
from xpnet.data.part import Part
from xpnet.distributed.gathering import merge_nodes
from xpnet.distributed.mpi import mpi
from xpnet.distributed.reduction import PlainReduction, TreeReduction
from xpnet.distributed.tree import Node, Tree

communicator, root = mpi(), Node(0, 8)
part = Part.of(8, communicator.rank, communicator.size)
for length, bucket, dtype in ((1, 64, "float32"), (100, 64, "float16"), (1_000_001, 1 << 20, "float32")):
    leaves = np.random.default_rng(length).standard_normal((8, length)).astype(dtype)
    small = np.random.default_rng(3).standard_normal((8, 2))
    reduce, plain = TreeReduction(communicator, 8, bucket), PlainReduction(communicator, bucket)
    for examples in (None, 3):
        tree = Tree(8, examples)
        here = tree.nodes(part.first, part.stop)
        nodes = [tree.sum(n, lambda i: leaves[i].copy(), np.add) for n in here]
        values = np.array([tree.sum(n, lambda i: small[i], np.add) for n in here]).reshape(-1, 2)
        out = nodes[0] if nodes else np.empty_like(leaves[0])
        found = reduce(out, nodes, values, examples)
        assert found.total is out
        assert out.tobytes() == tree.sum(root, lambda i: leaves[i], np.add).tobytes()
        assert found.values.tobytes() == tree.sum(root, lambda i: small[i], np.add).tobytes()
        merged = merge_nodes(communicator, tree, values, lambda a, b: a + b)
        assert merged.tobytes() == found.values.tobytes()
    mine = leaves[communicator.rank]
    found = plain(mine, [mine], np.ones((1, 2), np.float32))
    expected = np.random.default_rng(length).standard_normal((8, length)).astype(dtype)[: communicator.size]
    assert np.allclose(mine, expected.sum(axis=0, dtype=np.float64), atol=1e-2 if dtype == "float16" else 1e-5)
    assert found.values.tolist() == [communicator.size] * 2
sys.stdout.write(f"rank {communicator.rank} of {communicator.size}\\n")
"""


def test_processes_of_mpi_have_the_bits_of_one(start: Callable[..., Any]) -> None:
    """Of three processes two have three shards, which are two nodes of the tree; two are in test_loops."""
    done = start(3, REAL)
    assert (done.code, done.err) == (0, "")
    assert sorted(done.out.splitlines()) == [f"rank {rank} of 3" for rank in range(3)]
