"""What these kernels need of a device: memory, compilation, launches.

A kernel's file reaches CuPy through this one alone. The tests set another driver, which runs the same .cu files,
compiled for the host, on NumPy's memory.

    y = driver.empty(x.shape, x.dtype)
    driver.launch("activation", "relu", x.dtype, x.size, x, y, x.size)
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.kernels import register

__all__ = [
    "DeviceArray", "Driver", "Gradients", "Needs", "Result", "Vjp", "blocks", "contiguous", "current", "empty", "flags",
    "kernel", "launch", "pointer", "set_driver", "single", "source", "supports", "use_driver", "zeros",
]  # fmt: skip

DeviceArray = Any  # a cupy.ndarray, or the emulator's array in tests
Needs = tuple[bool, ...]  # which inputs of an op need their gradient
Gradients = tuple[DeviceArray | None, ...]
Vjp = Callable[[DeviceArray, Needs], Gradients]
Result = tuple[DeviceArray, Vjp]  # what an op returns: y, vjp
Launch = Callable[[tuple[int, ...], tuple[int, ...], tuple[Any, ...]], None]  # (grid, block, arguments)

_MACROS = {"float32": "XPNET_FLOAT", "float64": "XPNET_DOUBLE", "float16": "XPNET_HALF"}
_DTYPES = frozenset(map(np.dtype, _MACROS))
_RANDOM = ("batches", "dropout")  # families that draw random numbers
_WIDE = 2**30  # elements from which on kernels count in 64 bits: a counter goes past the end by up to a grid
_THREADS = 256  # in a block
_MOST_BLOCKS = 1 << 20  # of a grid whose threads take several elements each


class Driver:
    """CuPy's devices: NVRTC compiles, and CuPy caches the machine code on disk. Another driver has the same methods."""

    def __init__(self) -> None:
        import cupy

        self._cupy = cupy

    def empty(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        """Return an array of undefined values."""
        return self._cupy.empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        """Return an array of zeros."""
        return self._cupy.zeros(shape, dtype)

    def contiguous(self, x: DeviceArray) -> DeviceArray:
        """Return x itself where its elements lie in row-major order without gaps, else a copy that does."""
        return x if x.flags.c_contiguous else self._cupy.ascontiguousarray(x)  # which makes (1,) of ()

    def pointer(self, x: DeviceArray) -> int:
        """Return the address of an array's first element."""
        return x.data.ptr

    def function(self, family: str, name: str, flags: tuple[str, ...]) -> Launch:
        """Return a kernel of a family, compiled with some macros defined; calling it queues it."""
        options = ("-std=c++17", *(f"-D{flag}" for flag in flags))
        return self._cupy.RawModule(code=source(family), backend="nvrtc", options=options).get_function(name)

    def stream(self) -> int:
        """Return the handle of the current stream."""
        return self._cupy.cuda.get_current_stream().ptr

    def device(self) -> int:
        """Return the number of the current device."""
        return self._cupy.cuda.runtime.getDevice()

    def capturing(self) -> bool:
        """Whether the current stream is captured as a graph: then the host may not wait for the device."""
        return self._cupy.cuda.get_current_stream().is_capturing()

    def library(self, name: str) -> ctypes.CDLL:
        """Load a library of NVIDIA's, such as "cublasLt"; OSError where there is none."""
        try:
            pathfinder = importlib.import_module("cuda.pathfinder")  # by which CuPy finds its own
            return ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib(name).abs_path)
        except (ImportError, RuntimeError):  # DynamicLibNotFoundError is a RuntimeError
            return ctypes.CDLL(f"lib{name}.so.{self._cupy.cuda.runtime.runtimeGetVersion() // 1000}")

    def model(self) -> str:
        """Say what the device is: plans that were made for another kind are not used."""
        gpu = self._cupy.cuda.runtime.getDeviceProperties(self.device())
        return f"{gpu['name'].decode()}, {gpu['major']}.{gpu['minor']}, {gpu['multiProcessorCount']} multiprocessors"

    def cudnn(self) -> Any:
        """Import cuDNN's frontend; ModuleNotFoundError where it is not installed."""
        return importlib.import_module("cudnn")


_driver: Driver | None = None


def current() -> Driver:
    """Return the driver in use: CuPy's unless another was set."""
    global _driver
    if _driver is None:
        _driver = Driver()
    return _driver


def set_driver(driver: Driver | None) -> None:
    """Set the driver of every thread; None: CuPy's, once it is needed."""
    global _driver
    _driver = driver
    _function.cache_clear()


@contextlib.contextmanager
def use_driver(driver: Driver) -> Iterator[Driver]:
    """Set the driver of every thread within a with-block."""
    before = _driver  # may be None, where CuPy is not installed
    set_driver(driver)
    try:
        yield driver
    finally:
        set_driver(before)


def source(family: str) -> str:
    """Return the whole text of a family: what all families share, then its own."""
    files = ["common.cuh", *(["philox.cuh"] if family in _RANDOM else []), f"{family}.cu"]
    texts = [(Path(__file__).parent / file).read_text(encoding="utf-8") for file in files]
    return "\n".join(f'#line 1 "{file}"\n{text}' for file, text in zip(files, texts, strict=True))


@functools.cache
def flags(dtype: Any, wide: bool = False) -> tuple[str, ...]:
    """Return the macros that make a family compute with a dtype, and count in 64 bits where wide."""
    return (_MACROS[np.dtype(dtype).name], *(["XPNET_WIDE"] if wide else []))


def supports(x: DeviceArray, *others: Any) -> bool:
    """Whether the kernels compute with the dtype of x and those of other arrays; integers are indices and labels."""
    if x.dtype not in _DTYPES:
        return False
    return all(a.dtype in _DTYPES or a.dtype.kind in "iu" for a in others if hasattr(a, "dtype"))


def kernel(op: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make the decorated function the CUDA kernel of an op, for arrays of the dtypes that kernels compute with."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @register(op, "cuda", recordable=True)
        @functools.wraps(function)
        def checked(*arguments: Any, **options: Any) -> Any:
            return function(*arguments, **options) if supports(*arguments) else NotImplemented

        return checked

    return decorate


def single(gradient: Callable[[DeviceArray], DeviceArray]) -> Vjp:
    """Return the vjp of an op of one array; gradient takes dy in row-major order."""
    return lambda dy, needs: (gradient(contiguous(dy)) if needs[0] else None,)


def empty(shape: tuple[int, ...], dtype: Any) -> DeviceArray:
    """Return an array of undefined values, in row-major order, on the current device."""
    return current().empty(shape, dtype)


def zeros(shape: tuple[int, ...], dtype: Any) -> DeviceArray:
    """Return an array of zeros, in row-major order, on the current device."""
    return current().zeros(shape, dtype)


def contiguous(x: DeviceArray) -> DeviceArray:
    """Return x itself where its elements lie in row-major order without gaps, else a copy that does."""
    return current().contiguous(x)


def pointer(x: DeviceArray) -> int:
    """Return the address of an array's first element."""
    return current().pointer(x)


def launch(family: str, name: str, dtype: Any, n: int, *arguments: Any, threads: int = _THREADS) -> None:
    """Queue a kernel that goes over n elements by FOR_EACH; nothing is queued where n is 0.

    Args:
        family: the .cu file, without its ending.
        name: the kernel in it.
        dtype: of T.
        n: elements to go over, a thread each up to 2^20 blocks.
        arguments: arrays, which must be contiguous, ints, floats and bools, in the kernel's order.
        threads: in a block.
    """
    _queue(family, name, dtype, n, min(-(-n // threads), _MOST_BLOCKS), threads, arguments)


def blocks(family: str, name: str, dtype: Any, n: int, *arguments: Any, threads: int = _THREADS) -> None:
    """Queue a kernel that works in whole blocks, n of them of some threads each; nothing is queued where n is 0."""
    _queue(family, name, dtype, n, n, threads, arguments)


def _queue(family: str, name: str, dtype: Any, n: int, grid: int, threads: int, arguments: tuple[Any, ...]) -> None:
    if n:
        wide = n >= _WIDE or any(getattr(a, "size", 0) >= _WIDE for a in arguments)
        _function(family, name, flags(dtype, wide))((grid,), (threads,), tuple(map(_scalar, arguments)))


def _scalar(argument: Any) -> Any:
    if isinstance(argument, float):
        return np.float64(argument)
    return np.int64(argument) if isinstance(argument, int) else argument


@functools.cache
def _function(family: str, name: str, flags: tuple[str, ...]) -> Launch:
    return current().function(family, name, flags)
