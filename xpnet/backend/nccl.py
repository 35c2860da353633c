"""NCCL, by CuPy: GPUs of several processes exchange arrays by themselves, one GPU a process.

Calls are queued on the current stream, so a CUDA graph can record them, and the host does not wait.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from xpnet.errors import ConfigError, DeviceError, DTypeError

if TYPE_CHECKING:
    from xpnet.backend.base import Array

__all__ = ["NCCL"]


class NCCL:
    """What NCCL does with a backend's arrays; ``connect`` comes first.

    Args:
        device: of the arrays; a context that makes it the current one.
        place: names the GPU among those of its machine.
    Raises:
        DeviceError: CuPy finds no NCCL.
    """

    def __init__(self, device: AbstractContextManager[Any], place: str) -> None:
        import cupy

        with warnings.catch_warnings():  # of several lines, where the library is missing
            warnings.simplefilter("ignore")
            from cupy.cuda import nccl
        self._nccl: Any = nccl
        self._stream: Callable[[], Any] = cupy.cuda.get_current_stream
        self._device, self.place = device, place
        self._comm: Any = None
        if not self._nccl.available:
            do = "pip install 'xpnet[nccl]' (nvidia-nccl-cu12 for cuda12), or reduce on the host by mpi"
            raise DeviceError.event("nccl", "CuPy finds no NCCL", do)

    def new_id(self) -> bytes:
        """Return what all processes give to ``connect``; one of them makes it."""
        return bytes(self._nccl.get_unique_id())

    def connect(self, identity: bytes, rank: int, size: int) -> None:
        """Meet the other processes, all of which call this.

        Raises:
            DeviceError: NCCL could not.
        """
        self._rank = rank
        try:
            with self._device:
                self._comm = self._nccl.NcclCommunicator(size, identity, rank)
        except self._nccl.NcclError as error:
            do = "NCCL_DEBUG=INFO says more; --communicator mpi goes without NCCL"
            raise DeviceError.event("nccl", "the GPUs cannot reach each other", do, error=error) from error

    def allreduce(self, array: Array) -> None:
        """Replace an array by the sum over the processes."""
        kinds = {"float16": self._nccl.NCCL_FLOAT16, "float32": self._nccl.NCCL_FLOAT32}
        kinds["float64"] = self._nccl.NCCL_FLOAT64
        if str(array.dtype) not in kinds:
            raise DTypeError("allreduce", "an array, real floating", dtype=array.dtype)
        place, kind = _pointer(array), kinds[str(array.dtype)]
        self._comm.allReduce(place, place, array.size, kind, self._nccl.NCCL_SUM, self._stream().ptr)

    def broadcast(self, array: Array, root: int) -> None:
        """Replace an array by that of one process."""
        place = _pointer(array)
        self._comm.broadcast(place, place, array.nbytes, self._nccl.NCCL_UINT8, root, self._stream().ptr)

    def exchange(self, outgoing: Sequence[Sequence[Array]], incoming: Sequence[Sequence[Array]]) -> None:
        """Send arrays to each process, and fill others from each: one group, so that none waits for another."""
        byte, stream = self._nccl.NCCL_UINT8, self._stream().ptr
        self._nccl.groupStart()
        try:
            for peer, arrays in enumerate(outgoing):
                for array in arrays:
                    self._comm.send(_pointer(array), array.nbytes, byte, peer, stream)
            for peer, arrays in enumerate(incoming):
                for array in arrays:
                    self._comm.recv(_pointer(array), array.nbytes, byte, peer, stream)
        finally:
            self._nccl.groupEnd()

    def allgather_segments(self, array: Array, counts: Sequence[int]) -> None:
        """Fill an array, 1-D, of which each process has one segment."""
        byte, stream, start = self._nccl.NCCL_UINT8, self._stream().ptr, _pointer(array)
        sizes = [count * array.itemsize for count in counts]
        if len(set(sizes)) == 1:
            self._comm.allGather(start + self._rank * sizes[0], start, sizes[0], byte, stream)
            return
        self._nccl.groupStart()
        try:
            for root, size in enumerate(sizes):
                if size:
                    self._comm.broadcast(start, start, size, byte, root, stream)
                start += size
        finally:
            self._nccl.groupEnd()


def _pointer(array: Array) -> int:
    if not array.flags.c_contiguous:
        raise ConfigError("nccl", "a contiguous array", strides=array.strides)
    return array.data.ptr
