"""What a model keeps: parameters and buffers, whose arrays are made when they are first needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.autograd import Tensor
from xpnet.backend import Array, Backend, backend_of, current_backend
from xpnet.nn.initializers import Initializer, zeros
from xpnet.random import Key

__all__ = ["Buffer", "Parameter", "State"]


class State(Tensor):
    """An array that a model keeps, made when first needed; see Parameter and Buffer.

    Args:
        shape: its sizes, each >= 0.
        initializer: makes its first values from a key and the shape.
        dtype: "float32" or another real floating dtype's name.
    """

    __slots__ = ("backend_", "dtype_", "initializer", "path", "seed", "shape_")

    def __init__(self, shape: tuple[int, ...], initializer: Initializer = zeros, dtype: str = "float32") -> None:
        self.shape_ = tuple(shape)
        self.initializer = initializer
        self.dtype_ = dtype
        self.backend_ = current_backend()
        self.path = ""
        self.seed = 0
        self.grad = None
        self.node = None
        self.requires_grad = isinstance(self, Parameter)

    def __getattr__(self, name: str) -> Any:  # reached only while data is not made
        if name != "data":
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        first = self.initializer(Key(self.seed, "init/" + self.path), self.shape_)
        self.data = self.backend_.from_numpy(np.asarray(first).astype(self.dtype_, copy=False))
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

    def forget(self, seed: int) -> None:
        """Drop the array, to be made again from a seed."""
        self.seed, self.grad = seed, None
        if self.made:
            self.backend_ = self.backend
            del self.data

    def moved(self, backend: Backend | None, dtype: str | None) -> Array | None:
        """Copy the array to another backend, or cast it; None if it is not made yet. The state itself stays."""
        if not self.made:
            return None
        values = self.numpy()
        return (backend or self.backend).from_numpy(values if dtype is None else values.astype(dtype))

    def settle(self, array: Array | None, backend: Backend | None, dtype: str | None) -> None:
        """Take what moved returned, or note where and how the array is to be made."""
        if array is not None:
            self.data = array
        self.backend_, self.dtype_, self.grad = backend or self.backend_, dtype or self.dtype_, None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path or '?'}: {self.shape_} on {self.backend.spec})"


class Parameter(State):
    """An array that training changes by its gradient. Arguments as for State."""

    __slots__ = ()


class Buffer(State):
    """An array that a model keeps and saves but no gradient changes, such as a running mean. Arguments as for State."""

    __slots__ = ()
