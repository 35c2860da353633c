"""The emulated driver and the backend on top of it."""

from __future__ import annotations

import contextlib
import ctypes
import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from emulator import blas, compiler
from emulator.array import FIRST, NAMESPACE, Array, current_device, on_device
from emulator.staging import DelayedStaging, SpoiledBuffers
from emulator.tape import TAPE
from xpnet import kernels
from xpnet.backend import PRECISIONS, Backend
from xpnet.errors import DeviceError
from xpnet.kernels.cuda import driver

__all__ = ["EmulatedDriver", "open_emulator"]


class EmulatedDriver:
    """What driver.Driver does for CuPy, on the host.

    Args:
        descending: run blocks and threads in descending order, which changes nothing unless a barrier is missing.
    """

    def __init__(self, descending: bool = False) -> None:
        self.descending = descending
        self.libraries: dict[str, Any] = {"cublasLt": blas.Blas()}

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Of NaN, or of numbers no one would expect: memory that is not written shows. It is aligned as CuPy's is."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        block = np.full(size + 512 + 2 * _MARGIN, 0xFF, np.uint8)
        start = _MARGIN + -(block.ctypes.data + _MARGIN) % 512
        _blocks[block.ctypes.data] = (start, size)
        weakref.finalize(block, _blocks.pop, block.ctypes.data)
        return Array(block[start : start + size].view(dtype).reshape(shape))

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
        if TAPE.open:
            TAPE.record(lambda kept=x: None)  # what is used by address lives as long as the tape
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
                if any(isinstance(a, Array) and not _margins_hold(a._a) for a in kept):
                    raise compiler.Failure(f"{name}: it writes outside of an array")

            work.values = values  # type: ignore[attr-defined]
            TAPE.launches.append(f"{family}.{name}")
            TAPE.do(work)

        return launch

    def stream(self) -> int:
        return 0

    def device(self) -> int:
        return 0

    def capturing(self) -> bool:
        return TAPE.open

    def library(self, name: str) -> Any:
        if name not in self.libraries:
            raise OSError(f"the emulator has no {name}")
        return self.libraries[name]

    def model(self) -> str:
        return "emulated"

    def cudnn(self) -> Any:
        if "cudnn" not in self.libraries:  # unless a test puts its stand-in there
            raise ModuleNotFoundError("No module named 'cudnn'", name="cudnn")
        return self.libraries["cudnn"]


_MARGIN = 256  # bytes on either side of what driver.empty gives
_blocks: dict[int, tuple[int, int]] = {}  # where in a block of memory an array begins, and its bytes; by address


def _margins_hold(memory: np.ndarray) -> bool:
    """Whether nothing has written around an array that driver.empty gave."""
    block: Any = memory
    while isinstance(getattr(block, "base", None), np.ndarray):
        block = block.base
    found = _blocks.get(block.ctypes.data)
    if found is None:
        return True
    start, size = found
    return bool((block[:start] == 0xFF).all() and (block[start + size :] == 0xFF).all())


_WHOLE = {"long long": ctypes.c_int64, "double": ctypes.c_double}


def _value(kind: str, argument: Any) -> Any:
    """An argument's bytes, as the kernel's parameter holds them."""
    if kind.endswith("*"):
        assert isinstance(argument, Array | None), f"{kind} takes an array, got {type(argument)}"
        if argument is None:
            return ctypes.c_void_p(None)
        assert argument.device == current_device(), f"{argument.device} while {current_device()} is the current device"
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
    precisions = PRECISIONS

    def from_numpy(self, array: np.ndarray) -> Array:
        return self.xp.asarray(array, device=self.device)

    def to_numpy(self, array: Array) -> np.ndarray:
        return array.get()

    def active(self) -> contextlib.AbstractContextManager[None]:
        return on_device(self.device)

    def recorder(self) -> _Recorder:
        return _Recorder()

    def staging_buffers(self, parts: Any, slots: int = 3) -> SpoiledBuffers:
        return SpoiledBuffers(DelayedStaging(self.device), parts, slots)


class _Recorder:
    """A backend.Recorder: the tape."""

    is_device, warm_calls, nbytes = True, 3, 0

    def warm(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        TAPE.begin()
        try:
            result = work()
        finally:
            work_items = TAPE.end()

        def replay() -> None:
            for do in work_items:
                do()

        return result, replay


def open_emulator(device: str | None) -> Backend:
    """Open the emulated device, and set its driver."""
    if not compiler.available():
        raise DeviceError("get_backend", "the emulator compiles kernels with g++", "apt install g++", device=device)
    place = device or FIRST
    if place not in ("emulated:0", "emulated:1"):
        raise DeviceError("get_backend", "the device is emulated:0 or emulated:1", device=device)
    driver.set_driver(EmulatedDriver())
    kernels.register_array_type(Array, "cuda")
    return _Emulator("emulator", NAMESPACE, place)
