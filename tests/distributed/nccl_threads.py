"""Run by test_nccl: xpnet's NCCL, through CuPy's own module, between threads with memory of the host."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import types
from typing import Any

import emulator
import numpy as np
import pytest
from distributed.threaded import Threaded, run
from emulator import TAPE

from xpnet import nn
from xpnet.backend import get_backend, register_backend
from xpnet.backend.nccl import NCCL as Collectives
from xpnet.data.part import Part
from xpnet.distributed import Communicator, PlainReduction, Tree, TreeReduction, merge_nodes, single
from xpnet.distributed.nccl import NCCL, connect
from xpnet.distributed.tree import Node
from xpnet.errors import ConfigError, DeviceError, DTypeError
from xpnet.optim import Adam
from xpnet.train import Trainer

ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)  # what CuPy's module links to
STREAM = 77
register_backend("emulator", emulator.open_emulator)
backend = get_backend("emulator")


def address(array: emulator.Array) -> types.SimpleNamespace:
    if TAPE.open:
        TAPE.record(lambda kept=array: None)  # what is used by address lives as long as the tape
    return types.SimpleNamespace(ptr=array._a.ctypes.data)


emulator.Array.data = property(address)  # type: ignore[attr-defined]


class Queued:
    """Functions of NCCL that a capture records, as it does those of the real one.

    Args:
        functions: an object that has them.
        names: of those that are queued on a stream.
        done: gets the name of each that was done, and in which capture of its thread it was recorded; 0: in none.
    """

    def __init__(self, functions: Any, names: list[str], done: list[tuple[str, int]]) -> None:
        self._functions, self._names, self._done = functions, names, done

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._functions, name)

        def queue(*arguments: Any) -> None:
            capture = TAPE.captures if TAPE.open else 0
            TAPE.do(lambda: (self._done.append((name, capture)), function(*arguments)))

        return queue if name in self._names else function


class Recorded(Collectives):
    """What xpnet does with NCCL."""

    def __init__(self, place: str) -> None:
        super().__init__(contextlib.nullcontext(), place)
        self._stream = lambda: types.SimpleNamespace(ptr=STREAM)
        self.done: list[tuple[str, int]] = []
        self._nccl = Queued(self._nccl, ["groupStart", "groupEnd"], self.done)

    def connect(self, identity: bytes, rank: int, size: int) -> None:
        super().connect(identity, rank, size)
        self._comm = Queued(self._comm, ["allReduce", "broadcast", "send", "recv", "allGather"], self.done)


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
    return connect(host, OfRank(host.rank, Recorded(str(host.rank))))  # type: ignore[arg-type]


def device(values: object, dtype: str = "float32") -> emulator.Array:
    return backend.from_numpy(np.asarray(values, dtype))


def reduce(communicator: NCCL, length: int, examples: int | None, dtype: str) -> None:
    rank, size = communicator.rank, communicator.size
    leaves = np.random.default_rng(length).standard_normal((8, length)).astype(dtype)
    part, tree = Part.of(8, rank, size), Tree(8, examples)
    nodes = [device(tree.sum(n, lambda i: leaves[i].copy(), np.add), dtype) for n in tree.nodes(part.first, part.stop)]
    out = nodes[0] if nodes else device(leaves[0], dtype)
    values = device(np.ones((len(nodes), 2)))
    found = TreeReduction(communicator, 8, bucket=256)(out, nodes, values, examples)
    assert found.total is out
    assert out.get().tobytes() == tree.sum(Node(0, 8), lambda i: leaves[i], np.add).tobytes()
    assert found.values is not None
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


def trained(communicator: Communicator, shards: int, capture: bool) -> bytes:
    """The weights and the losses of a training, whose batches are of 16 and of 5 examples."""
    model = nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.3), nn.BatchNorm(5), nn.Tanh(), nn.Linear(5, 3))
    draw = np.random.default_rng(0)
    data = draw.normal(size=(53, 6)).astype(np.float32), draw.integers(0, 3, 53)
    optimizer = Adam(model.to(backend).initialize(2).parameters(), 0.01)
    trainer = Trainer(model, optimizer, seed=5, communicator=communicator, shards=shards, capture=capture)
    losses = [record["train_loss"] for record in trainer.fit(data, epochs=5, batch_size=16, progress=False)]
    return b"".join(value.tobytes() for value in model.state_dict().values()) + np.asarray(losses).tobytes()


def whole_steps(host: Threaded) -> list[tuple[bytes, list[tuple[str, int]]]]:
    """Trainings whose steps are eager, and captured: what came out, and what NCCL did."""
    found, communicator = [], joined(host)
    done = communicator._collectives.done  # type: ignore[attr-defined]
    for shards in (1, host.size):  # of which layers see the others'
        for capture in (False, True):
            found.append((trained(communicator, shards, capture), list(done)))
            done.clear()
    return found


def captured_as_eager(size: int) -> None:
    ranks = run(size, whole_steps)
    for eager, captured in ((0, 1), (2, 3)):
        assert len({rank[kind][0] for rank in ranks for kind in (eager, captured)}) == 1
        assert {capture for rank in ranks for _, capture in rank[eager][1]} == {0}
        collective = [[call for call in rank[captured][1] if call[0] not in ("send", "recv")] for rank in ranks]
        assert all(each == collective[0] for each in collective), "captured by all, or by none"
        assert sum(capture > 0 for _, capture in collective[0]) > 20
    assert ranks[0][3][0] == trained(single(), size, False)


def refused(host: Threaded) -> str:
    """What is raised where two processes have one GPU, or one has no NCCL."""
    try:
        connect(host, OfRank(host.rank, Recorded("3") if how == "gpu" or host.rank else None))  # type: ignore[arg-type]
    except (ConfigError, DeviceError) as error:
        return str(error)
    return ""


for size in (1, 2, 3):
    run(size, work)
for size in (2, 4):
    captured_as_eager(size)
how = "gpu"
(first, second) = run(2, refused)
assert first == second
assert "nccl: expected one process a GPU, got ranks (0, 1), machine" in first, first
how = "library"
(first, second) = run(2, refused)
assert first == second
assert "nccl: a process cannot use it: rank 0, problem cuda:0 has no NCCL; use a backend" in first, first
with pytest.raises(DeviceError, match="nccl: the GPUs cannot reach each other: error "):
    Recorded("0").connect(bytes(128), 0, 1)
sys.stdout.write("done\n")
