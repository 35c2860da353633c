"""Run by test_nccl: xpnet's NCCL, through CuPy's own module, between threads with memory of the host."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import types

import emulator
import numpy as np
import pytest
from distributed.threaded import Threaded, run

from xpnet.backend import get_backend, register_backend
from xpnet.backend.nccl import NCCL as Collectives
from xpnet.data.part import Part
from xpnet.distributed import PlainReduction, Tree, TreeReduction, merge_nodes
from xpnet.distributed.nccl import NCCL, connect
from xpnet.distributed.tree import Node
from xpnet.errors import ConfigError, DeviceError, DTypeError

ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)  # what CuPy's module links to
emulator.Array.data = property(lambda self: types.SimpleNamespace(ptr=self._a.ctypes.data))  # type: ignore[attr-defined]
STREAM = 77
register_backend("emulator", emulator.open_emulator)
backend = get_backend("emulator")


def collectives(place: str) -> Collectives:
    made = Collectives(contextlib.nullcontext(), place)
    made._stream = lambda: types.SimpleNamespace(ptr=STREAM)
    return made


class OfRank:
    """The backend of one process, on a GPU of its own."""

    spec = "cuda:0"

    def __init__(self, rank: int, collectives: Collectives | None) -> None:
        self._collectives = collectives

    def collectives(self) -> Collectives | None:
        return self._collectives

    def __eq__(self, other: object) -> bool:
        return other == backend


def joined(host: Threaded) -> NCCL:
    return connect(host, OfRank(host.rank, collectives(str(host.rank))))  # type: ignore[arg-type]


def device(values: object, dtype: str = "float32") -> emulator.Array:
    return backend.from_numpy(np.asarray(values, dtype))


def reduce(communicator: NCCL, length: int, examples: int | None, dtype: str) -> None:
    rank, size = communicator.rank, communicator.size
    leaves = np.random.default_rng(length).standard_normal((8, length)).astype(dtype)
    part, tree = Part.of(8, rank, size), Tree(8, examples)
    nodes = [device(tree.sum(n, lambda i: leaves[i].copy(), np.add), dtype) for n in tree.nodes(part.first, part.stop)]
    out = nodes[0] if nodes else device(leaves[0], dtype)
    values = device(np.ones((len(nodes), 2)))
    found = TreeReduction(communicator, 8, bucket=256)(out, nodes, values, device([1.0]), examples)
    assert found.total is out
    assert out.get().tobytes() == tree.sum(Node(0, 8), lambda i: leaves[i], np.add).tobytes()
    assert found.flags is not None
    assert found.values is not None
    assert found.flags.get() == size
    known = sum(len(tree.nodes(*Part.of(8, r, size)[1:])) for r in range(size))
    assert found.values.get().tolist() == [known] * 2
    assert merge_nodes(communicator, tree, values, lambda a, b: a + b).get().tolist() == [known] * 2


def work(host: Threaded) -> None:
    communicator = joined(host)
    rank, size = communicator.rank, communicator.size
    assert (communicator.name, communicator.takes(backend), communicator.takes(get_backend("cpu"))) == ("nccl", 1, 1)
    for dtype in ("float32", "float64"):
        x = device([rank, 1], dtype)
        assert communicator.allreduce(x) is x
        assert x.get().tolist() == [size * (size - 1) / 2, size]
    for dtype in ("int64", "float16", "bool"):
        x = device([rank % 2] * 3, dtype)
        assert communicator.broadcast(x, size - 1) is x
        assert (x.get() == (size - 1) % 2).all()
    assert communicator.allreduce(np.ones(2)).tolist() == [size] * 2  # by the host
    for wrong, error in ((device([1], "int64"), DTypeError), (device(np.ones((4, 4)))[:, ::2], ConfigError)):
        with pytest.raises(error):
            communicator.allreduce(wrong)
    for counts in ([3] * size, [5 * r for r in range(size)]):
        line = device(np.full(sum(counts), -1.0))
        line[sum(counts[:rank]) : sum(counts[: rank + 1])] = rank
        communicator.allgather_segments(line, counts)
        assert line.get().tolist() == [float(r) for r in range(size) for _ in range(counts[r])]

    for length, examples, dtype in ((1, None, "float32"), (100, 3, "float16"), (1000, None, "float32")):
        reduce(communicator, length, examples, dtype)
    flat = device(np.arange(100.0))
    assert (
        PlainReduction(communicator, bucket=64)(flat, [flat]).total.get().tolist() == (np.arange(100.0) * size).tolist()
    )


def refused(host: Threaded) -> str:
    """What is raised where two processes have one GPU, or one has no NCCL."""
    try:
        connect(host, OfRank(host.rank, collectives("3") if how == "gpu" or host.rank else None))  # type: ignore[arg-type]
    except (ConfigError, DeviceError) as error:
        return str(error)
    return ""


for size in (1, 2, 3):
    run(size, work)
how = "gpu"
(first, second) = run(2, refused)
assert first == second
assert "nccl: expected one process a GPU, got ranks (0, 1), machine" in first, first
how = "library"
(first, second) = run(2, refused)
assert first == second
assert "nccl: a process cannot use it: rank 0, problem cuda:0 has no NCCL; use a backend" in first, first
with pytest.raises(DeviceError, match="nccl: the GPUs cannot reach each other: error "):
    collectives("0").connect(bytes(128), 0, 1)
sys.stdout.write("done\n")
