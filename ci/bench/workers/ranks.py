"""The processes of a worker that mpiexec starts: rank 0 reads requests and answers, the others wait asleep."""

import sys
from collections.abc import Callable, Iterable, Iterator
from time import sleep
from typing import Any

import numpy as np
from mpi4py import MPI

WORLD = MPI.COMM_WORLD


def requests(lines: Iterable[str]) -> Iterator[str]:
    """Yield what rank 0 reads, in every process."""
    if WORLD.rank > 0:
        while line := _receive():
            yield line.decode()
        return
    for line in lines:
        _send(line.encode())
        yield line
    _send(b"")


def agree(value: float) -> float:
    """Return rank 0's value in every process."""
    shared = np.array([value])
    WORLD.Bcast(shared)
    return float(shared[0])


def replying(reply: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """Return what replies in rank 0; in others an error ends all processes."""

    def other(said: dict[str, Any]) -> None:
        if "error" in said:
            print(f"process {WORLD.rank}: {said['error']}", file=sys.stderr, flush=True)
            WORLD.Abort()

    return other if WORLD.rank else reply


def _send(line: bytes) -> None:
    for rank in range(1, WORLD.size):
        WORLD.Send(line, rank)


def _receive() -> bytes:
    status = MPI.Status()
    while not WORLD.Iprobe(0, status=status):  # a receive would keep a core busy while another worker is timed
        sleep(0.001)
    line = bytearray(status.Get_count(MPI.BYTE))
    WORLD.Recv(line, 0)
    return bytes(line)
