"""The emulated driver and the backend on top of it."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from emulator import compiler
from emulator.array import FIRST, NAMESPACE, Array
from emulator.tape import TAPE
from xpnet import kernels
from xpnet.backend import Backend
from xpnet.errors import DeviceError
from xpnet.kernels.cuda import driver

__all__ = ["EmulatedDriver", "open_emulator"]


class EmulatedDriver:
    """A driver.Driver on the host.

    Args:
        descending: run blocks and threads in descending order, which changes nothing unless a barrier is missing.
    """

    def __init__(self, descending: bool = False) -> None:
        self.descending = descending

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Of NaN, or of numbers no one would expect: memory that is not written shows."""
        memory = np.empty(shape, dtype)
        memory.view(np.uint8 if memory.ndim else memory.dtype).fill(0xFF if memory.ndim else np.array(-1).astype(dtype))
        return Array(memory)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        array = Array(np.empty(shape, dtype))
        array[...] = 0
        return array

    def contiguous(self, x: Array) -> Array:
        if x.flags.c_contiguous:
            return x
        copy = Array(np.empty(x.shape, x.dtype), x.device)
        copy[...] = x
        return copy

    def pointer(self, x: Array) -> int:
        return x._a.ctypes.data

    def function(self, family: str, name: str, flags: tuple[str, ...]) -> driver.Launch:
        entry = getattr(compiler.library(family, flags), f"host_{name}")
        kinds = compiler.kernels(family)[name].parameters

        def launch(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
            assert len(grid) == len(block) == 1, "grids and blocks have one axis"
            assert grid[0] < 2**31, "a grid has fewer than 2^31 blocks"
            assert block[0] % 32 == 0, "a block is whole warps"
            assert block[0] <= 1024, "a block has at most 1024 threads"
            assert len(arguments) == len(kinds), f"{name} takes {len(kinds)} arguments, got {len(arguments)}"
            values = [_value(kind, a) for kind, a in zip(kinds, arguments, strict=True)]
            pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))

            def work(kept: Any = arguments) -> None:
                entry(grid[0], block[0], self.descending, pointers)

            work.values = values  # type: ignore[attr-defined]
            TAPE.launches.append(f"{family}.{name}")
            TAPE.do(work)

        return launch

    def stream(self) -> int:
        return 0


_WHOLE = {"long long": ctypes.c_int64, "double": ctypes.c_double}


def _value(kind: str, argument: Any) -> Any:
    """An argument's bytes, as the kernel's parameter holds them."""
    if kind.endswith("*"):
        assert isinstance(argument, Array | None), f"{kind} takes an array, got {type(argument)}"
        if argument is None:
            return ctypes.c_void_p(None)
        assert argument.flags.c_contiguous, "arrays of a launch are contiguous"
        return ctypes.c_void_p(argument._a.ctypes.data)
    if kind in _WHOLE:
        wanted = np.int64 if kind == "long long" else np.float64
        assert type(argument) is wanted, f"{kind} takes {wanted.__name__}, got {type(argument)}"
        return _WHOLE[kind](argument.item())
    assert isinstance(argument, np.ndarray), f"{kind} is passed by value, got {type(argument)}"
    assert argument.size == 1, f"{kind} is passed by value, got {argument.shape}"
    return (ctypes.c_char * argument.nbytes).from_buffer_copy(argument.tobytes())


class _Emulator(Backend):
    def from_numpy(self, array: np.ndarray) -> Array:
        return self.xp.asarray(array, device=self.device)

    def to_numpy(self, array: Array) -> np.ndarray:
        return array.get()

    def recorder(self) -> _Recorder:
        return _Recorder()


class _Recorder:
    """A backend.Recorder: the tape."""

    def warm(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        TAPE.begin()
        try:
            result = work()
        finally:
            again = TAPE.end()

        def replay() -> None:
            for do in again:
                do()

        return result, replay


def open_emulator(device: str | None) -> Backend:
    """Open the emulated device, and put its driver behind the door."""
    if not compiler.available():
        raise DeviceError("get_backend", "the emulator compiles kernels with g++", "apt install g++", device=device)
    place = device or FIRST
    if place not in ("emulated:0", "emulated:1"):
        raise DeviceError("get_backend", "the device is emulated:0 or emulated:1", device=device)
    driver.put(EmulatedDriver())
    kernels.lend(Array, "cuda")
    return _Emulator("emulator", NAMESPACE, place)
