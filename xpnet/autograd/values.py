"""How a tensor is read: as a number, a truth value, text or an array, and compared. Nothing of it is on the tape."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from xpnet.autograd.observing import observer
from xpnet.backend import Array, Backend, backend_of, namespace, record_call, this_thread
from xpnet.errors import DTypeError, ShapeError
from xpnet.ops import checks

if TYPE_CHECKING:
    from xpnet.autograd.tensor import Tensor

__all__ = ["Values", "all_of", "any_of", "argmax_of", "plain"]

# Of NumPy's functions that operators call: the methods of a tensor on the left, and on the right.
_OPERATORS = {
    "add": ("__add__", "__radd__"),
    "subtract": ("__sub__", "__rsub__"),
    "multiply": ("__mul__", "__rmul__"),
    "divide": ("__truediv__", "__rtruediv__"),
    "matmul": ("__matmul__", "__rmatmul__"),
    "power": ("__pow__", "__rpow__"),
    "equal": ("__eq__", "__eq__"),
    "not_equal": ("__ne__", "__ne__"),
    "less": ("__lt__", "__gt__"),
    "less_equal": ("__le__", "__ge__"),
    "greater": ("__gt__", "__lt__"),
    "greater_equal": ("__ge__", "__le__"),
}


class _OnClass:
    """What NumPy calls with a tensor: found on the class. On a tensor it is None: CuPy then calls the tensor itself."""

    def __get__(self, tensor: Any, kind: Any) -> Any:
        return _from_numpy if tensor is None else None


def _from_numpy(tensor: Any, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
    """Leave operators between an array of NumPy and a tensor to the tensor; its other functions are not on the tape."""
    name = ufunc.__name__
    if method == "__call__" and not options and name in _OPERATORS:
        first, second = inputs
        is_left = isinstance(first, Values)
        return getattr(first if is_left else second, _OPERATORS[name][not is_left])(second if is_left else first)
    do = "write a = a + t for a += t" if name in _OPERATORS else _advice(tensor, name)
    raise DTypeError(f"np.{name}", "arrays of NumPy", do, x=type(tensor).__name__)


def _advice(tensor: Any, name: str) -> str:
    return f"write t.{name}()" if callable(getattr(type(tensor), name, None)) else "apply it to t.numpy()"


def _read(given: Any) -> Any:
    """Return what a function of NumPy is given with arrays in the place of tensors."""
    if isinstance(given, list | tuple):
        return type(given)(map(_read, given)) if type(given) in (list, tuple) else given
    if isinstance(given, dict):
        return {name: _read(value) for name, value in given.items()}
    return np.asarray(given) if isinstance(given, Values) else given


def plain(x: Any) -> Any:
    """Return NumPy's scalars and arrays of rank 0 as Python's numbers, which take the tensor's library and dtype."""
    return x.item() if isinstance(x, (np.generic, np.ndarray)) and not x.ndim else x


class Values:
    """The base of Tensor: how its array is read. Equality is elementwise; a tensor is hashed by identity.

    A tensor that needs no gradient is read by NumPy (np.asarray) and by each library that has DLPack (from_dlpack),
    in the same memory. It is not an array of the standard itself, so it has no __array_namespace__: its array, t.data,
    is one.
    """

    __slots__ = ()
    __array_ufunc__ = _OnClass()

    data: Array
    requires_grad: bool

    def __array_function__(self, function: Any, types: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Compute a function of NumPy, such as np.sum, of tensors that need no gradient; DTypeError of others."""
        name = function.__name__
        if name in ("shape", "ndim", "size") and len(args) == 1:
            return getattr(self, name)
        if self.requires_grad and callable(getattr(type(self), name, None)):
            raise DTypeError(f"np.{name}", "tensors that need no gradient", _advice(self, name), requires_grad=True)
        return function(*_read(args), **_read(options))

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's sizes."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """The array's rank."""
        return len(self.shape)

    @property
    def dtype(self) -> Any:
        """The array's dtype."""
        return self.data.dtype

    @property
    def backend(self) -> Backend:
        """The backend the array lives on."""
        return backend_of(self.data)

    def numpy(self) -> np.ndarray:
        """Copy the array to the host. A call that is recorded cannot: a replay would not run what depends on it."""
        program = this_thread.program
        if program is not None:
            program.unsupported("Tensor.numpy")
        if (seen_by := observer()) is not None:
            seen_by.read("Tensor.numpy", self)
        return self.backend.to_numpy(self.data)

    def item(self) -> Any:
        """Copy the one number that the array holds to the host: a float, or an int or bool of such an array."""
        return self._one("item")

    def _one(self, where: str, do: str = "") -> Any:
        if math.prod(self.shape) != 1:
            raise ShapeError(where, "a tensor of one number", do, x=self.shape)
        return self.numpy().item()

    def __float__(self) -> float:
        return float(self._one("float"))

    def __int__(self) -> int:
        return int(self._one("int"))

    def __index__(self) -> int:
        number = self._one("index")
        if type(number) is not int:
            raise DTypeError("index", "a tensor of an integer dtype", dtype=self.dtype)
        return number

    def __bool__(self) -> bool:
        return bool(self._one("bool", "the truth of several numbers is ambiguous: use t.any() or t.all()"))

    def __round__(self, digits: int | None = None) -> Any:
        return round(self._one("round"), digits)

    def __format__(self, form: str) -> str:
        return format(self._one("format", "format t.numpy() or parts of it"), form) if form else str(self)

    def __dlpack_device__(self) -> tuple[int, int]:
        self._without_gradient("__dlpack__")
        return self.data.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> Any:
        """Export the array, as the library it is of does; a tensor that needs a gradient is an error."""
        self._without_gradient("__dlpack__")
        return self.data.__dlpack__(**options)

    def _without_gradient(self, where: str) -> None:
        """Raise where values would leave the tape, or a recording."""
        program = this_thread.program
        if program is not None:
            program.unsupported(where)
        if (seen_by := observer()) is not None:
            seen_by.read(where, cast("Tensor", self))
        if self.requires_grad:  # what another library computes of it would have no gradient
            do = "write t.numpy() for its values, or t.detach()"
            raise DTypeError(where, "a tensor without requires_grad", do, requires_grad=True)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        self._without_gradient("np.asarray")
        try:
            return np.array(self.data, dtype) if copy else np.asarray(self.data, dtype, copy=copy)
        except (TypeError, RuntimeError) as error:  # of a device's array; ValueError: copy=False
            do = "t.numpy() copies it"
            raise DTypeError("np.asarray", "a tensor on the host", do, backend=self.backend.spec) from error

    def __repr__(self) -> str:
        kind, array = type(self).__name__, self.backend.to_numpy(self.data)
        text = np.array2string(array, separator=", ", prefix=kind + "(")
        shape = "" if array.size <= np.get_printoptions()["threshold"] else f", shape={tuple(self.shape)}"
        place = "" if self.backend.on_host else f", {self.backend.spec}"
        return f"{kind}({text}{shape}, {array.dtype}{place}{', requires_grad=True' * self.requires_grad})"

    def __len__(self) -> int:
        if not self.ndim:
            raise ShapeError("Tensor", "a tensor of rank 1 or more for len()", x=self.shape)
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        tensor = cast("Tensor", self)
        return (tensor[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        found = self == value
        return bool(found.any()) if isinstance(found, Values) else False

    __hash__ = object.__hash__  # tensors are keys of gradients: a dictionary finds them by identity

    def __eq__(self, other: object) -> Any:
        return self._compared(operator.eq, other)

    def __ne__(self, other: object) -> Any:
        return self._compared(operator.ne, other)

    def __lt__(self, other: Any) -> Tensor:
        return self._compared(operator.lt, other)

    def __le__(self, other: Any) -> Tensor:
        return self._compared(operator.le, other)

    def __gt__(self, other: Any) -> Tensor:
        return self._compared(operator.gt, other)

    def __ge__(self, other: Any) -> Tensor:
        return self._compared(operator.ge, other)

    def _compared(self, compare: Callable[[Any, Any], Any], other: Any) -> Any:
        """Compare element by element; what is neither a number nor an array is left to Python."""
        a, b = self.data, other.data if isinstance(other, Values) else plain(other)
        if not isinstance(b, bool | int | float):
            if not hasattr(b, "shape"):
                return NotImplemented
            checks.shared("compare", a, b)
            checks.broadcasts("compare", a, b)
        return self._read(compare, a, b)

    def any(self) -> Tensor:
        """Whether any element is true, or not 0."""
        return self._read(any_of, self.data)

    def all(self) -> Tensor:
        """Whether all elements are true, or not 0."""
        return self._read(all_of, self.data)

    def argmax(self, axis: int | None = None) -> Tensor:
        """Return where the largest element is: along an axis, or in the flattened array."""
        (axis,) = (None,) if axis is None else checks.axes("argmax", self.data, axis)
        return self._read(argmax_of, self.data, axis)

    def _read(self, function: Callable[..., Any], *arguments: Any) -> Tensor:
        """Return a function's array as a tensor without a gradient."""
        try:
            array = record_call(function, *arguments)
        except TypeError as error:
            raise DTypeError("compare", "numbers that compare", dtypes=", ".join(map(_kind, arguments))) from error
        found = self._new(array)
        if (seen_by := observer()) is not None:
            seen_by.applied(function, arguments, {}, found)
        return found

    def _new(self, array: Array) -> Tensor:
        """Return a tensor of an array."""
        raise NotImplementedError


def any_of(x: Array) -> Array:
    """Whether any element is true."""
    return namespace(x).any(x)


def all_of(x: Array) -> Array:
    """Whether all elements are true."""
    return namespace(x).all(x)


def argmax_of(x: Array, axis: int | None) -> Array:
    """Where the largest element is, along an axis or in the flattened array."""
    return namespace(x).argmax(x, axis=axis)


def _kind(x: Any) -> str:
    return str(getattr(x, "dtype", type(x).__name__))
