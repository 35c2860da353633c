"""The one door from these kernels to a device: memory, compilation, launches.

A kernel's file names no other. CuPy is behind the door; the tests put a stand-in there that runs the same .cu files,
compiled for the host, on NumPy's memory.

    y = driver.empty(x.shape, x.dtype)
    driver.launch("activation", "relu", x.dtype, x.size, x, y, x.size)
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

__all__ = [
    "CuPyDriver",
    "Driver",
    "blocks",
    "contiguous",
    "current",
    "empty",
    "flags",
    "launch",
    "put",
    "source",
    "supports",
    "use",
    "zeros",
]

_KINDS = {"float32": "XPNET_FLOAT", "float64": "XPNET_DOUBLE", "float16": "XPNET_HALF"}
_DRAWING = ("batches", "dropout")  # families that draw at random
_WIDE = 2**30  # elements: from there on arrays are counted in 64 bits, for a counter must not pass 2^31 by a grid
_THREADS = 256  # in a block
_MOST_BLOCKS = 1 << 20  # of a grid whose threads take several elements each

Launch = Callable[[tuple[int, ...], tuple[int, ...], tuple[Any, ...]], None]


class Driver(Protocol):
    """What a device must be able to do; arguments of a launch are arrays, np.int64 and np.float64."""

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array of undefined values."""
        ...

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array of zeros."""
        ...

    def contiguous(self, x: Any) -> Any:
        """x itself where its elements lie in row-major order without gaps, else a copy that does."""
        ...

    def pointer(self, x: Any) -> int:
        """The address of an array's first element."""
        ...

    def function(self, family: str, name: str, flags: tuple[str, ...]) -> Launch:
        """A kernel of a family, compiled with some macros defined: (grid, block, arguments) queues it."""
        ...

    def stream(self) -> int:
        """The handle of the stream that work goes to."""
        ...

    def device(self) -> int:
        """The number of the device that work goes to."""
        ...

    def capturing(self) -> bool:
        """Whether work is being written down for a graph: then the host may not wait for the device."""
        ...

    def library(self, name: str) -> Any:
        """A library of NVIDIA's, such as "cublasLt", loaded; OSError where there is none."""
        ...

    def model(self) -> str:
        """What the device is, so that a plan made for it is not taken for one of another kind."""
        ...

    def cudnn(self) -> Any:
        """The module of cuDNN's frontend; ModuleNotFoundError where it is not installed."""
        ...


class CuPyDriver(Driver):
    """CuPy's devices: NVRTC compiles, and CuPy keeps what it compiled on disk."""

    def __init__(self) -> None:
        import cupy

        self._cupy = cupy

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self._cupy.empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self._cupy.zeros(shape, dtype)

    def contiguous(self, x: Any) -> Any:
        return x if x.flags.c_contiguous else self._cupy.ascontiguousarray(x)  # which makes (1,) of ()

    def pointer(self, x: Any) -> int:
        return x.data.ptr

    def function(self, family: str, name: str, flags: tuple[str, ...]) -> Launch:
        options = ("-std=c++17", *(f"-D{flag}" for flag in flags))
        return self._cupy.RawModule(code=source(family), backend="nvrtc", options=options).get_function(name)

    def stream(self) -> int:
        return self._cupy.cuda.get_current_stream().ptr

    def device(self) -> int:
        return self._cupy.cuda.runtime.getDevice()

    def capturing(self) -> bool:
        return self._cupy.cuda.get_current_stream().is_capturing()

    def library(self, name: str) -> Any:
        try:
            pathfinder = importlib.import_module("cuda.pathfinder")  # by which CuPy finds its own
            return ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib(name).abs_path)
        except (ImportError, RuntimeError):  # DynamicLibNotFoundError is a RuntimeError
            return ctypes.CDLL(f"lib{name}.so.{self._cupy.cuda.runtime.runtimeGetVersion() // 1000}")

    def model(self) -> str:
        is_ = self._cupy.cuda.runtime.getDeviceProperties(self.device())
        return f"{is_['name'].decode()}, {is_['major']}.{is_['minor']}, {is_['multiProcessorCount']} multiprocessors"

    def cudnn(self) -> Any:
        return importlib.import_module("cudnn")


_driver: Driver | None = None


def current() -> Driver:
    """Return the driver in use; CuPy's unless a test has put another in its place."""
    global _driver
    if _driver is None:
        _driver = CuPyDriver()
    return _driver


def put(driver: Driver | None) -> None:
    """Put another driver behind the door, for every thread; None: CuPy's, when it is next asked for."""
    global _driver
    _driver = driver
    _function.cache_clear()


@contextlib.contextmanager
def use(driver: Driver) -> Iterator[Driver]:
    """Put another driver behind the door within a with-block, for every thread."""
    before = _driver  # which may be none yet, and CuPy not here
    put(driver)
    try:
        yield driver
    finally:
        put(before)


def source(family: str) -> str:
    """Return the whole text of a family: what all share, then its own."""
    files = ["common.cuh", *(["philox.cuh"] if family in _DRAWING else []), f"{family}.cu"]
    return "\n".join(f'#line 1 "{file}"\n{(Path(__file__).parent / file).read_text()}' for file in files)


def flags(dtype: Any, wide: bool = False) -> tuple[str, ...]:
    """Return the macros that make a family compute with a dtype, and count in 64 bits where wide."""
    return (_KINDS[np.dtype(dtype).name], *(["XPNET_WIDE"] if wide else []))


def supports(*arrays: Any) -> bool:
    """Whether the kernels compute with these arrays' dtypes; None is passed over."""
    return all(x is None or np.dtype(x.dtype).name in _KINDS for x in arrays)


def empty(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return an array of undefined values, in row-major order, on the current device."""
    return current().empty(shape, dtype)


def zeros(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return an array of zeros, in row-major order, on the current device."""
    return current().zeros(shape, dtype)


def contiguous(x: Any) -> Any:
    """Return x itself where its elements lie in row-major order without gaps, else a copy that does."""
    return current().contiguous(x)


def launch(family: str, name: str, dtype: Any, n: int, *arguments: Any, threads: int = _THREADS) -> None:
    """Queue a kernel that goes over n elements by FOR_EACH; nothing is queued where n is 0.

    Args:
        family: the .cu file, without its ending.
        name: the kernel in it.
        dtype: of T.
        n: elements to go over, a thread each up to 2^20 blocks.
        arguments: arrays, which must be contiguous, whole numbers, numbers and truth values, in the kernel's order.
        threads: in a block.
    """
    if n:
        grid = min(-(-n // threads), _MOST_BLOCKS)
        _queue(family, name, dtype, n, grid, threads, arguments)


def blocks(family: str, name: str, dtype: Any, n: int, *arguments: Any, threads: int = _THREADS) -> None:
    """Queue a kernel that works in whole blocks, n of them of some threads each; nothing is queued where n is 0."""
    if n:
        _queue(family, name, dtype, n, n, threads, arguments)


def _queue(family: str, name: str, dtype: Any, n: int, grid: int, threads: int, arguments: tuple[Any, ...]) -> None:
    wide = n >= _WIDE or any(getattr(a, "size", 0) >= _WIDE for a in arguments)
    _function(family, name, flags(dtype, wide))((grid,), (threads,), tuple(map(_packed, arguments)))


def _packed(argument: Any) -> Any:
    if isinstance(argument, float):
        return np.float64(argument)
    if isinstance(argument, int):
        return np.int64(argument)
    return argument


@cache
def _function(family: str, name: str, flags: tuple[str, ...]) -> Launch:
    return current().function(family, name, flags)
