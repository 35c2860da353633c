"""NCCL: the GPUs of the processes exchange arrays by themselves. MPI starts them, and moves what is on the host.

Two runs on GPUs of one kind may differ in the last bits of ``allreduce``, whose order of sums is NCCL's; a
TreeReduction has its own order, and the same bits.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from functools import cache
from typing import NoReturn

from xpnet.backend import Array, Backend, backend_of, get_backend
from xpnet.backend.nccl import NCCL as Collectives
from xpnet.distributed.communicator import Communicator
from xpnet.distributed.mpi import mpi
from xpnet.errors import ConfigError, DeviceError

__all__ = ["NCCL", "nccl"]


@cache
def nccl(backend: str | Backend = "cuda") -> Communicator:
    """Return the communicator of all processes of MPI, each of which has one GPU.

    Args:
        backend: of this process's GPU, as get_backend takes it.
    Raises:
        ConfigError: the backend's arrays are not on a GPU of CuPy; mpi4py is missing; two processes have one GPU.
        DeviceError: a process finds no NCCL, or the GPUs do not reach each other.
    """
    return connect(mpi(), get_backend(backend))


def connect(host: Communicator, backend: Backend) -> NCCL:
    """Meet the other processes, all of which call this; errors are raised in each."""
    collectives, problem = None, ""
    try:
        collectives = backend.collectives()
        if collectives is None:
            problem = f"{backend.spec} has no NCCL; use a backend on a GPU by CuPy, or the communicator mpi"
    except DeviceError as error:
        problem = str(error)
    place = [platform.node(), collectives.place if collectives else "", problem]
    places = [json.loads(data) for data in host.allgather_bytes(json.dumps(place).encode())]
    for rank, (node, gpu, problem) in enumerate(places):
        if problem:
            raise DeviceError.event("nccl", "a process cannot use it", rank=rank, problem=problem)
        if (first := places.index([node, gpu, ""])) != rank:
            do = "give each process a GPU of its own, such as --device cuda:N for process N of a machine"
            raise ConfigError("nccl", "one process a GPU", do, ranks=(first, rank), machine=node, gpu=gpu)
    assert collectives is not None
    identity = host.allgather_bytes(collectives.new_id() if host.rank == 0 else b"")[0]
    collectives.connect(identity, host.rank, host.size)
    return NCCL(host, backend, collectives)


class NCCL(Communicator):
    """The processes of another communicator, whose GPUs are connected.

    Args:
        host: moves everything but the backend's arrays.
        backend: of the GPU.
        collectives: connected.
    """

    name = "nccl"

    def __init__(self, host: Communicator, backend: Backend, collectives: Collectives) -> None:
        self._host, self._backend, self._collectives = host, backend, collectives
        self.rank, self.size = host.rank, host.size

    def takes(self, backend: Backend) -> bool:
        """Arrays of the GPU, and of NumPy."""
        return backend == self._backend or self._host.takes(backend)

    def allreduce(self, array: Array) -> Array:
        """Sum on the GPU."""
        if not self._is_own(array):
            return self._host.allreduce(array)
        self._collectives.allreduce(array)
        return array

    def broadcast(self, array: Array, root: int = 0) -> Array:
        """Send from GPU to GPU."""
        if not self._is_own(array):
            return self._host.broadcast(array, root)
        self._collectives.broadcast(array, root)
        return array

    def allgather(self, array: Array) -> list[Array]:
        """Gather by the host, as the sizes may differ."""
        return self._host.allgather(array)

    def exchange(self, outgoing: Sequence[Sequence[Array]], incoming: Sequence[Sequence[Array]]) -> None:
        """Send and receive all at once."""
        arrays = (a for messages in (outgoing, incoming) for each in messages for a in each)
        own = self._is_own(next(arrays, None))
        (self._collectives if own else self._host).exchange(outgoing, incoming)

    def allgather_segments(self, array: Array, counts: Sequence[int]) -> None:
        """Gather in place."""
        (self._collectives if self._is_own(array) else self._host).allgather_segments(array, counts)

    def allgather_bytes(self, data: bytes) -> list[bytes]:
        """Gather by the host."""
        return self._host.allgather_bytes(data)

    def barrier(self) -> None:
        """Wait by the host, which does not wait for its GPU."""
        self._host.barrier()

    def allgather_failures(self, text: str, seconds: float) -> list[str] | None:
        """Gather by the host."""
        return self._host.allgather_failures(text, seconds)

    def meet(self, where: str) -> None:
        """Meet by the host."""
        self._host.meet(where)

    def watch(self) -> None:
        """Watch the host's calls."""
        self._host.watch()

    def leave(self) -> bool:
        """Leave by the host."""
        return self._host.leave()

    def abort(self, code: int = 1) -> NoReturn:
        """End all processes by the host."""
        self._host.abort(code)

    def _is_own(self, array: Array | None) -> bool:
        return array is not None and backend_of(array) == self._backend
