"""The arrays of a model: parameters and buffers, which are made when they are first needed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnet.arguments import choice, function
from xpnet.arguments import shape as read_shape
from xpnet.autograd import Tensor
from xpnet.backend import Array, Backend, backend_of, current_backend, is_out_of_memory, namespace
from xpnet.errors import DeviceError, DTypeError, ShapeError
from xpnet.nn.initializers import Initializer, zeros
from xpnet.ops.checks import is_floating, shared
from xpnet.random import Key

__all__ = ["DTYPES", "Buffer", "Parameter", "State"]

DTYPES = ("float16", "float32", "float64")  # of parameters and buffers


class State(Tensor):
    """An array that a model keeps, made when first needed; see Parameter and Buffer.

    Args:
        shape: its sizes, each >= 0.
        initializer: makes its first values from a key and the shape.
        dtype: "float32" or another real floating dtype's name.
    """

    __slots__ = ("_owner", "_place", "backend_", "dtype_", "initializer", "path", "seed", "shape_")

    def __init__(self, shape: tuple[int, ...], initializer: Initializer = zeros, dtype: str = "float32") -> None:
        kind = type(self).__name__
        self.shape_ = read_shape(kind, "shape", shape)
        self.initializer = function(kind, "initializer", initializer)
        self.dtype_ = choice(kind, "dtype", dtype, DTYPES)
        self.backend_ = current_backend()
        self.path = self._place = ""
        self._owner: Any = None  # see Module
        self.seed = 0
        self.grad = None
        self.node = None
        self.requires_grad = isinstance(self, Parameter)

    def __getattr__(self, name: str) -> Any:  # reached only while data is not made
        if name != "data":
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        try:
            first = self.initializer(Key(self.seed, "init/" + self._place), self.shape_)
            self.data = self.backend_.from_numpy(np.asarray(first).astype(self.dtype_, copy=False))
        except Exception as error:
            if isinstance(error, DeviceError) or not is_out_of_memory(error):
                raise
            got = {"shape": self.shape_, "numbers": f"{math.prod(self.shape_):,}"}
            what, do = "out of memory for its first values", "use smaller layers or inputs"
            raise DeviceError.event(self.path or type(self).__name__, what, do, **got) from error
        return self.data

    @property
    def made(self) -> bool:
        """Whether the array exists."""
        try:
            object.__getattribute__(self, "data")
        except AttributeError:
            return False
        return True

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's sizes."""
        return self.shape_

    @property
    def backend(self) -> Backend:
        """The backend the array lives on, or will."""
        return backend_of(self.data) if self.made else self.backend_

    def reset(self, seed: int) -> None:
        """Drop the array, to be made from a seed when it is next needed."""
        self.seed, self.grad = seed, None
        if self.made:
            self.backend_ = self.backend
            del self.data

    def assign(self, values: Any, where: str) -> None:
        """Set the values from an array or tensor of any backend; dtype and backend of the state stay.

        Args:
            values: shaped like the state, real floating.
            where: named in errors.
        Raises:
            ShapeError: the shape differs. DTypeError: values is not an array of real floating numbers.
        """
        self.data = self.received(values, where)

    def received(self, values: Any, where: str) -> Array:
        """Return the array that assign sets; the state itself stays. Arguments and errors as for assign."""
        values = values.data if isinstance(values, Tensor) else values
        shared(where, values)  # raises if it is not an array
        if tuple(values.shape) != self.shape:
            raise ShapeError(where, f"values of shape {self.shape}", shape=tuple(values.shape))
        if not is_floating(values):
            raise DTypeError(where, "values of a real floating dtype", dtype=values.dtype)
        on_host = values if isinstance(values, np.ndarray) else backend_of(values).to_numpy(values)
        return self.backend.from_numpy(on_host.astype(self.dtype_))

    def holds_nan(self) -> bool:
        """Tell whether a value is NaN; the array stays where it is."""
        xp = namespace(self.data)
        return bool(xp.any(xp.isnan(self.data)))

    def moved(self, backend: Backend | None, dtype: str | None) -> Array | None:
        """Copy the array to another backend, or cast it; None if it is not made yet. The state itself stays."""
        if not self.made:
            return None
        values = self.numpy()
        return (backend or self.backend).from_numpy(values if dtype is None else values.astype(dtype))

    def place(self, array: Array | None, backend: Backend | None, dtype: str | None) -> None:
        """Take what moved returned; if that is None, remember where and in which dtype to make the array."""
        if array is not None:
            self.data = array
        self.backend_, self.dtype_, self.grad = backend or self.backend_, dtype or self.dtype_, None

    def as_float64(self) -> np.ndarray:
        """Copy the values to the host in float64."""
        return self.numpy().astype(np.float64)

    def fill(self, values: np.ndarray, like: State) -> None:
        """Set the values, in the dtype and on the backend of another state."""
        dtype = like.numpy().dtype
        self.place(like.backend.from_numpy(np.ascontiguousarray(values, dtype)), like.backend, dtype.name)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles hold the values, on the host, and no gradient."""
        attributes = (
            self.dtype_,
            self.backend,
            self.path,
            self._place,
            self._owner is True or None,
            self.seed,
            self.requires_grad,
        )
        return _restore, (type(self), self.shape_, self.initializer, attributes, self.numpy() if self.made else None)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path or '?'}: {self.shape_} on {self.backend.spec})"


def _restore(
    kind: type[State], shape: tuple[int, ...], initializer: Initializer, attributes: tuple[Any, ...], values: Any
) -> State:
    state = kind(shape, initializer)
    state.dtype_, state.backend_, state.path, state._place, state._owner, state.seed, state.requires_grad = attributes
    if values is not None:
        state.data = state.backend_.from_numpy(values)
    return state


class Parameter(State):
    """An array that training changes by its gradient. Arguments as for State."""

    __slots__ = ()


class Buffer(State):
    """An array that a model keeps and saves but no gradient changes, such as a running mean. Arguments as for State."""

    __slots__ = ()
    is_buffer = True  # optimizers refuse it
