"""MPI, by mpi4py: the processes that mpiexec started.

Arrays are sent from and to their own memory. Those of libraries other than NumPy are copied to the host and back.
Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Sequence
from functools import cache
from typing import Any, NoReturn

import numpy as np

from xpnet.backend import Array, Backend, backend_of, library, set_at
from xpnet.distributed.communicator import Communicator
from xpnet.distributed.presence import Presence
from xpnet.distributed.shared_memory import unlink_shared
from xpnet.distributed.supervised import tell_joined, tell_joining
from xpnet.errors import ConfigError, DTypeError
from xpnet.libraries import require
from xpnet.output import counted

__all__ = ["MPI", "mpi"]

_LONGEST = 1000  # bytes of what a process says of its failure
_SECONDS = 10.0


@cache
def mpi() -> Communicator:
    """Return the communicator of all processes that mpiexec, or another launcher of MPI, started.

    Raises:
        ConfigError: mpi4py or its MPI is missing, or MPI was started for one thread only.
    Cost: the first call starts MPI, where the program has not: about 0.1 s.
    """
    return MPI(_library())


def _library() -> Any:
    """Import mpi4py.MPI, which starts MPI."""
    settings = require("mpi", "mpi4py", "mpi").rc
    if "mpi4py.MPI" not in sys.modules:
        settings.thread_level = "serialized"  # calls come from one thread at a time: no locks are needed
        tell_joining()
    try:
        from mpi4py import MPI as library
    except (ImportError, RuntimeError) as error:
        what, do = "mpi4py is installed but finds no MPI", "pip install 'xpnet[mpi]', or load the cluster's MPI"
        raise ConfigError.event("mpi", what, do, error=str(error).strip().partition("\n")[0]) from error
    tell_joined()
    if library.Query_thread() < library.THREAD_SERIALIZED:
        do = "let xpnet start MPI, or set mpi4py.rc.thread_level = 'serialized' before it starts"
        raise ConfigError("mpi", "an MPI started for several threads", do, level=library.Query_thread())
    return library


class MPI(Communicator):
    """The processes of MPI's world, by a communicator of their own: a program's own messages do not meet these.

    Args:
        library: the module mpi4py.MPI.
    """

    name = "mpi"

    def __init__(self, library: Any) -> None:
        self._mpi = library
        self._world = library.COMM_WORLD.Dup()
        self._failures = library.COMM_WORLD.Dup()  # whose messages do not meet those of calls under way
        self._presence: Presence | None = None
        self.rank: int = self._world.Get_rank()
        self.size: int = self._world.Get_size()
        unlink_shared()  # a copy of the communicator is made when all have opened what they share

    def _begin(self) -> None:
        if self._presence is not None:
            self._presence.begin()

    @property
    def vendor(self) -> str:
        """The MPI and its version, such as "MPICH 4.3.0"."""
        name, version = self._mpi.get_vendor()
        return f"{name} {'.'.join(map(str, version))}"

    def takes(self, backend: Backend) -> bool:
        """Arrays of NumPy."""
        return backend.on_host

    def allreduce(self, array: Array) -> Array:
        """Sum an array; float16, for which MPI has no arithmetic, is summed in float32."""
        self._begin()
        host = self._to_host(array)
        if host.dtype.kind != "f":
            raise DTypeError("allreduce", "an array, real floating", dtype=host.dtype)
        if host.dtype.itemsize > 2:
            self._world.Allreduce(self._mpi.IN_PLACE, host)
        else:
            wide = host.astype(np.float32)
            self._world.Allreduce(self._mpi.IN_PLACE, wide)
            host[...] = wide
        return _from_host(host, array)

    def broadcast(self, array: Array, root: int = 0) -> Array:
        """Send the bytes of an array."""
        self._begin()
        host = self._to_host(array)
        self._world.Bcast(self._bytes(host), root)
        return _from_host(host, array)

    def allgather(self, array: Array) -> list[Array]:
        """Gather the bytes of arrays."""
        host, backend = self._to_host(array), backend_of(array)
        shapes = [(-1, *host.shape[1:])] * self.size
        found = [data.view(host.dtype).reshape(s) for data, s in zip(self._gather(host), shapes, strict=True)]
        return found if backend.on_host else [backend.from_numpy(a) for a in found]

    def exchange(self, outgoing: Sequence[Sequence[Array]], incoming: Sequence[Sequence[Array]]) -> None:
        """Send and receive all at once; MPI keeps the order of the arrays between two processes."""
        self._begin()
        byte, requests = self._mpi.BYTE, []
        for peer, arrays in enumerate(incoming):
            requests += [self._world.Irecv((a.view(np.uint8), byte), peer) for a in arrays]
        for peer, arrays in enumerate(outgoing):
            requests += [self._world.Isend((a.view(np.uint8), byte), peer) for a in arrays]
        self._mpi.Request.Waitall(requests)

    def allgather_segments(self, array: Array, counts: Sequence[int]) -> None:
        """Gather in place, by messages from each process to each: MPICH's Allgatherv takes four times as long."""
        ends = itertools.accumulate(counts)
        parts = [array[end - count : end] for end, count in zip(ends, counts, strict=True)]
        outgoing = [[parts[self.rank]] if peer != self.rank else [] for peer in range(self.size)]
        self.exchange(outgoing, [[part] if peer != self.rank else [] for peer, part in enumerate(parts)])

    def allgather_bytes(self, data: bytes) -> list[bytes]:
        """Gather byte strings of any lengths."""
        return [a.tobytes() for a in self._gather(np.frombuffer(data, np.uint8))]

    def barrier(self) -> None:
        """Wait for all."""
        self._begin()
        self._world.Barrier()

    def allgather_failures(self, text: str, seconds: float) -> list[str] | None:
        """Gather the first 1000 bytes of texts."""
        data = text.encode()[:_LONGEST].ljust(_LONGEST, b"\0")
        found = np.empty((self.size, _LONGEST), np.uint8)
        request = self._failures.Iallgather(np.frombuffer(data, np.uint8), found)
        end = time.monotonic() + seconds
        while not request.Test():
            if time.monotonic() > end:
                return None
            time.sleep(0.02)
        return [row.tobytes().rstrip(b"\0").decode(errors="replace") for row in found]

    def meet(self, where: str) -> None:
        """Compare the names of the methods, and how many calls each process has begun."""
        names = [where] * self.size if self._presence is None else self._presence.meet(where)
        others = [rank for rank, name in enumerate(names) if name != where]
        if others:
            what = f"all processes have to call it, and {counted(len(others), 'process')} did not"
            did = {f"rank {rank}": names[rank] or "went on, or ended" for rank in others[:3]}
            do = "call it in each process, also where only one prints"
            raise ConfigError.event(where, what, do, **did)

    def watch(self) -> None:
        """Count the calls from here on where the other processes can read the number."""
        self._presence = self._presence or Presence(self._mpi, self._failures)
        unlink_shared()  # what the presence shares

    def leave(self) -> bool:
        """Look how far the others have come, until they leave too."""
        return self._presence is None or self._presence.leave()

    def abort(self, code: int = 1) -> NoReturn:
        """End all processes; what this one has printed is written out, not so in the others."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        with contextlib.suppress(OSError):  # MPICH would add a line without a reason
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        self._mpi.COMM_WORLD.Abort(code)
        time.sleep(_SECONDS)  # it may return before the launcher ends the processes
        os._exit(code)

    def _gather(self, array: np.ndarray) -> list[np.ndarray]:
        """Return the bytes of each process's array."""
        self._begin()
        sizes = np.empty(self.size, np.int64)
        self._world.Allgather(np.array([array.nbytes], np.int64), sizes)
        joined = np.empty(sizes.sum(), np.uint8)
        self._world.Allgatherv(self._bytes(array), (joined, sizes.tolist(), None, self._mpi.BYTE))
        return np.split(joined, np.cumsum(sizes)[:-1])

    def _bytes(self, array: np.ndarray) -> Any:
        return array.reshape(-1).view(np.uint8), self._mpi.BYTE

    def _to_host(self, array: Array) -> np.ndarray:
        found = library(array)
        host = array if found.on_host else np.ascontiguousarray(found.to_numpy(array))
        if not host.flags.c_contiguous:
            raise ConfigError("mpi", "a contiguous array", strides=host.strides)
        return host


def _from_host(host: np.ndarray, array: Array) -> Array:
    """Return the numbers in the array's own memory, or in a new array where it cannot be written."""
    return array if host is array else set_at(array, ..., backend_of(array).from_numpy(host))
