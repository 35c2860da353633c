"""Arrays as CuPy's: NumPy's memory and arithmetic, behind a wall that NumPy's functions do not see through.

While a stream is being captured the host may read nothing, and what arrays do is recorded on a tape: a replay does it
again, into the same memory.
"""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from emulator.tape import TAPE

__all__ = ["FIRST", "NAMESPACE", "Array", "current_device", "on_device", "wrap"]

FIRST = "emulated:0"
_current = [FIRST]


def current_device() -> str:
    """The device that new memory and launches go to."""
    return _current[-1]


@contextlib.contextmanager
def on_device(device: str) -> Iterator[None]:
    """Make another device the current one within a with-block."""
    _current.append(device)
    try:
        yield
    finally:
        _current.pop()


class Array:
    """An array on the emulated device; use its namespace, as with any other."""

    __slots__ = ("__weakref__", "_a", "device")
    __array_ufunc__ = None
    __module__ = "emulator"

    def __init__(self, memory: np.ndarray, device: str = "") -> None:
        self._a = memory
        self.device = device or current_device()

    dtype = property(lambda self: self._a.dtype)
    shape = property(lambda self: self._a.shape)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    nbytes = property(lambda self: self._a.nbytes)
    itemsize = property(lambda self: self._a.itemsize)
    strides = property(lambda self: self._a.strides)
    flags = property(lambda self: self._a.flags)
    T = property(lambda self: wrap(self._a.T, self.device))
    mT = property(lambda self: wrap(self._a.mT, self.device))

    def __len__(self) -> int:
        return len(self._a)

    def __repr__(self) -> str:
        return f"emulated {self._a!r}"

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return NAMESPACE

    # To the host.

    def get(self) -> np.ndarray:
        """Copy to the host; the host waits for the device."""
        TAPE.host_reads()
        return self._a.copy()

    def _number(self) -> Any:
        TAPE.host_reads()
        return self._a

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("implicit conversion to a NumPy array is not allowed; use .get()")

    def __bool__(self) -> bool:
        return bool(self._number())

    def __int__(self) -> int:
        return int(self._number())

    def __float__(self) -> float:
        return float(self._number())

    def __index__(self) -> int:
        return operator.index(self._number())

    # Parts.

    def __getitem__(self, index: Any) -> Array:
        return call(operator.getitem, self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        same_device(self, value)
        target, index, value = self._a, bare(index), bare(value)
        TAPE.do(lambda: operator.setitem(target, index, value))

    def set(self, host: np.ndarray, stream: Any = None) -> None:
        """Copy from the host, on a stream of copies where one is given."""
        target = self._a
        if stream is not None:
            stream.copy(target, host)
        else:
            TAPE.do(lambda: np.copyto(target, host))


def _binary(function: Callable[..., Any], swapped: bool) -> Callable[[Array, Any], Any]:
    def method(self: Array, other: Any) -> Any:
        if not isinstance(other, Array | bool | int | float | np.generic):
            return NotImplemented
        return call(function, other, self) if swapped else call(function, self, other)

    return method


def _in_place(function: Callable[..., Any]) -> Callable[[Array, Any], Any]:
    def method(self: Array, other: Any) -> Any:
        if not isinstance(other, Array | bool | int | float | np.generic):
            return NotImplemented
        same_device(self, other)
        target, other = self._a, bare(other)
        TAPE.do(lambda: function(target, other, out=target))
        return self

    return method


_OPERATORS = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide, "floordiv": np.floor_divide,
    "mod": np.remainder, "pow": np.power, "matmul": np.matmul, "and": np.bitwise_and, "or": np.bitwise_or,
    "xor": np.bitwise_xor, "lshift": np.left_shift, "rshift": np.right_shift,
}  # fmt: skip
for _name, _function in _OPERATORS.items():
    setattr(Array, f"__{_name}__", _binary(_function, swapped=False))
    setattr(Array, f"__r{_name}__", _binary(_function, swapped=True))
    setattr(Array, f"__i{_name}__", _in_place(_function))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Array, f"__{_name}__", _binary(getattr(operator, _name), swapped=False))
for _name in ("neg", "pos", "abs", "invert"):
    setattr(
        Array,
        f"__{_name}__",
        functools.partialmethod(lambda self, function: call(function, self), getattr(operator, _name)),
    )
Array.__hash__ = object.__hash__  # type: ignore[method-assign]


class Namespace:
    """NumPy's functions on such arrays; its creation functions make them, and all results are arrays, as CuPy's are."""

    __version__ = np.__version__
    __name__ = "emulator"

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        if name in ("isdtype", "finfo", "iinfo", "can_cast", "result_type"):
            return lambda *args, **options: found(*bare(args), **options)
        if not callable(found) or isinstance(found, type):
            return found
        if name in ("empty", "zeros", "ones", "full", "arange", "linspace", "eye"):
            make = lambda *args, device=None, **options: made(found, device or "", *args, **options)  # noqa: E731
        elif name in ("empty_like", "zeros_like", "ones_like", "full_like"):
            make = lambda x, *args, device=None, **options: made(found, x.device, x._a, *args, **options)  # noqa: E731
        else:
            make = lambda *args, **options: call(found, *args, **options)  # noqa: E731
        setattr(self, name, make)
        return make

    def __array_namespace_info__(self) -> Any:
        info = np.__array_namespace_info__()
        info.devices = lambda: ["emulated:0", "emulated:1"]
        return info

    def asarray(self, x: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Array:
        """Make an array of numbers, of the host's memory, or of an array."""
        if isinstance(x, Array):
            return call(lambda a: np.asarray(a, dtype=dtype, copy=copy), x)
        TAPE.host_reads()
        return wrap(aligned(np.array(x, dtype=dtype)), device or "")

    def astype(self, x: Array, dtype: Any, *, copy: bool = True, device: Any = None) -> Array:
        """Cast."""
        return call(lambda a: np.astype(a, dtype, copy=copy), x)


NAMESPACE = Namespace()


def wrap(result: Any, device: str) -> Any:
    """Make arrays of NumPy's results, in tuples too; its scalars become arrays of rank 0."""
    if isinstance(result, np.ndarray):
        return Array(result, device)
    if isinstance(result, np.generic):
        return Array(np.array(result), device)
    if isinstance(result, tuple | list):
        return type(result)(wrap(r, device) for r in result)
    return result


def bare(x: Any) -> Any:
    """The NumPy array behind an array; in tuples and lists too."""
    if isinstance(x, Array):
        return x._a
    if type(x) in (tuple, list):
        return type(x)(map(bare, x))
    if isinstance(x, np.ndarray) and x.ndim:
        raise TypeError(f"Unsupported type {type(x)}")
    return x


def same_device(*arguments: Any) -> str:
    """The device that all arrays among the arguments are on; ValueError, as from CuPy, where they are on two."""
    found = {a.device for a in _arrays(arguments)}
    if len(found) > 1:
        raise ValueError(f"array device must be same as the current device, got {sorted(found)}")
    return found.pop()


def _arrays(x: Any) -> list[Array]:
    if isinstance(x, Array):
        return [x]
    return [a for part in x for a in _arrays(part)] if type(x) in (tuple, list) else []


def aligned(memory: np.ndarray) -> np.ndarray:
    """Move memory that was just made to where CuPy's pool would have it, at a multiple of 512 bytes; views stay."""
    if memory.base is not None or not memory.size or not memory.flags.c_contiguous or not memory.ctypes.data % 512:
        return memory
    block = np.empty(memory.nbytes + 512, np.uint8)
    start = -block.ctypes.data % 512
    moved = block[start : start + memory.nbytes].view(memory.dtype).reshape(memory.shape)
    moved[...] = memory
    return moved


def made(function: Callable[..., np.ndarray], device: str, *arguments: Any, **options: Any) -> Array:
    """Make an array of numbers; a replay gives it the same ones again, unless they were undefined."""
    array = Array(aligned(function(*arguments, **options)), device)
    if TAPE.open and not function.__name__.startswith("empty"):
        first = array._a.copy()
        TAPE.record(lambda: np.copyto(array._a, first))
    return array


def call(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Do what a function of NumPy does to such arrays; a view of an argument stays one, anything else is made anew."""
    device = same_device(*arguments, *options.values())
    args, kwargs = bare(arguments), {name: bare(value) for name, value in options.items()}
    with np.errstate(all="ignore"):
        result = function(*args, **kwargs)
    inputs = [a._a for a in _arrays(arguments)]
    if isinstance(result, np.ndarray) and not any(result is a for a in inputs):
        result = aligned(result)
    parts = result if isinstance(result, tuple | list) else [result]
    wrapped = wrap(result, device)
    if TAPE.open and not all(any(np.may_share_memory(part, a) for a in inputs) for part in map(np.asarray, parts)):
        targets = [w._a for w in (wrapped if isinstance(wrapped, tuple | list) else [wrapped])]

        def replay() -> None:
            with np.errstate(all="ignore"):
                new = function(*args, **kwargs)
            for target, value in zip(targets, new if isinstance(new, tuple | list) else [new], strict=True):
                np.copyto(target, value)

        TAPE.record(replay)
    return wrapped
