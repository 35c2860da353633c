"""All parameters of a model in one flat array: an update is one pass over it, a reduction one call."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from xpnet.backend import Array, Backend, backend_of, namespace
from xpnet.errors import CheckpointError, ConfigError, DTypeError, ShapeError

__all__ = ["FlatBuffer", "Run", "Trainable"]

# On NumPy an update is several array operations, between which a block of parameter, gradient and state should stay
# in the cache; and a gradient of more elements than LARGE costs more to copy than to update on its own.
BLOCK = 1 << 17
LARGE = 1 << 15

# Each parameter starts at a multiple of so many elements, as far from each other as a device wants to read them: 128
# bytes in half precision. The gaps hold zeros.
GRID = 64


class Trainable(Protocol):
    """What is asked of a parameter."""

    data: Array
    grad: Array | None
    path: str

    @property
    def shape(self) -> tuple[int, ...]: ...


class Run(NamedTuple):
    """A stretch of the flat array to be updated at once: its gradient, (stop - start,), and its parameters' age."""

    start: int
    stop: int
    gradient: Array
    age: int


class FlatBuffer:
    """One flat array for a list of parameters, each of whose ``data`` is a view of its part of it.

    Where the backend's arrays cannot be written (jax), ``data`` is a copy instead, made anew by each ``replace``. When
    ``data`` was replaced by somebody (a model moved, weights loaded), ``refresh`` takes the new values in.

    Args:
        parameters: of one backend and one real floating dtype; one that comes twice is kept once.
    Raises:
        ConfigError: there are none, or their backends or dtypes differ.
        DTypeError: they are not real floating.
    Cost: one copy of the parameters, each up to GRID - 1 elements longer; the gradient's buffer when first needed.
    """

    value: Array

    def __init__(self, parameters: Iterable[Trainable]) -> None:
        self.parameters: tuple[Trainable, ...] = tuple({id(p): p for p in parameters}.values())
        if not self.parameters:
            raise ConfigError("FlatBuffer", "there is at least one parameter", parameters=0)
        self.shapes = [tuple(p.shape) for p in self.parameters]
        self.bounds: list[tuple[int, int]] = []
        self.size = 0  # gaps included
        for shape in self.shapes:
            start = -(-self.size // GRID) * GRID
            self.size = start + math.prod(shape)
            self.bounds.append((start, self.size))
        self._bound: list[Array] = [None] * len(self.parameters)  # what each data was when last seen
        self.refresh()

    # The values.

    def refresh(self) -> bool:
        """Take in every parameter whose data was replaced since; the flat array stays where it is if it can.

        Returns:
            Whether backend or dtype became others.
        Raises:
            ConfigError, DTypeError: as on construction. ShapeError: a parameter's shape became another.
        """
        for p, seen in zip(self.parameters, self._bound, strict=True):
            if p.data is not seen:
                return self._pack()
        return False

    def _pack(self) -> bool:
        data = [p.data for p in self.parameters]
        for p, x, shape in zip(self.parameters, data, self.shapes, strict=True):
            if tuple(x.shape) != shape:
                raise ShapeError(p.path, "a parameter keeps its shape", shape=tuple(x.shape), before=shape)
        backend, dtype = self._common(data)
        flat = self._lay(backend, data)  # a copy, so values may be swapped among parameters
        moved = self._bound[0] is None or backend != self.backend or dtype != self.dtype
        if moved:
            self.backend, self.xp, self.dtype = backend, backend.xp, dtype
            self.in_place = _writes_through(backend)
            self._gradient: np.ndarray | None = None
            self._slots: list[np.ndarray] = []
        if moved or not self.in_place:
            self.value = flat
        else:
            self.value[...] = flat
        self._bind()
        return moved

    def _lay(self, backend: Backend, parts: Sequence[Array | None]) -> Array:
        """Join arrays, one a parameter and at least one of them there, with zeros for None and in the gaps."""
        xp, first = backend.xp, next(x for x in parts if x is not None)
        longest = max([GRID, *(math.prod(s) for s, x in zip(self.shapes, parts, strict=True) if x is None)])
        none = xp.zeros(longest, dtype=first.dtype, device=backend.device)
        pieces, done = [], 0
        for (start, stop), x in zip(self.bounds, parts, strict=True):
            if start > done:
                pieces.append(none[: start - done])
            pieces.append(none[: stop - start] if x is None else xp.reshape(x, (-1,)))
            done = stop
        return xp.concat(pieces)

    def _common(self, data: list[Array]) -> tuple[Backend, Any]:
        first = backend_of(data[0])
        for p, x in zip(self.parameters, data, strict=True):
            if (backend := backend_of(x)) != first:
                raise ConfigError(
                    "FlatBuffer",
                    "parameters of one optimizer live on one backend",
                    "move the whole model with Module.to",
                    **{self.parameters[0].path: first.spec, p.path: backend.spec},
                )
            if x.dtype != data[0].dtype:
                raise ConfigError(
                    "FlatBuffer",
                    "parameters of one optimizer have one dtype",
                    **{self.parameters[0].path: data[0].dtype, p.path: x.dtype},
                )
        if not first.xp.isdtype(data[0].dtype, "real floating"):
            raise DTypeError(self.parameters[0].path, "parameters are real floating", dtype=data[0].dtype)
        return first, data[0].dtype

    def _bind(self) -> None:
        self._bound = self._views(self.value)
        for p, view in zip(self.parameters, self._bound, strict=True):
            p.data = view

    def _views(self, flat: Array) -> list[Array]:
        reshape = self.xp.reshape
        return [reshape(flat[a:b], s) for (a, b), s in zip(self.bounds, self.shapes, strict=True)]

    @contextlib.contextmanager
    def standing_in(self, dtype: str) -> Iterator[None]:
        """Let copies in another dtype stand in for every parameter's ``data`` within a with-block; refresh first.

        Args:
            dtype: the name of a floating dtype of the backend.
        Cost: one pass over the flat array, which makes the copies anew each time: they are never out of date.
        """
        copies = self._views(self.xp.astype(self.value, getattr(self.xp, dtype)))
        for p, view in zip(self.parameters, copies, strict=True):
            p.data = view
        try:
            yield
        finally:
            for p, own in zip(self.parameters, self._bound, strict=True):
                p.data = own

    def replace(self, value: Array) -> None:
        """Give all parameters new values.

        Args:
            value: (size,), of the backend and dtype of the parameters.
        """
        if self.in_place:
            self.value[...] = value
        else:
            self.value = value
            self._bind()

    # The gradients.

    def gather(self, gradients: Sequence[Array | None]) -> Array:
        """Lay gradients, one a parameter, into one flat array; None counts as zeros.

        Returns:
            (size,), zeros in the gaps. On NumPy it is one buffer, written anew by each call.
        Raises:
            ShapeError, DTypeError, DeviceError: a gradient does not match its parameter.
        """
        self.check(gradients)
        if self.xp is np:
            buffer = self._buffer()
            for slot, g in zip(self._slots, gradients, strict=True):
                np.multiply(0 if g is None else g, 1, out=slot)
            return buffer
        return self.zeros() if all(g is None for g in gradients) else self._lay(self.backend, gradients)

    def runs(self, gradients: Sequence[Array | None], ages: Sequence[int]) -> list[Run]:
        """Split the flat array into stretches of neighbours that have a gradient and are of equal age.

        On NumPy the gradient of a large parameter is used where it lies, and stretches are at most BLOCK long;
        elsewhere a stretch is as long as can be, so that it takes few calls.

        Args:
            gradients: at least one that is not None, each as check wants it.
            ages: of each parameter.
        """
        host = self.xp is np
        whole = self._buffer() if host else self._lay(self.backend, gradients)
        runs: list[Run] = []
        start = stop = age = -1
        for i, g in enumerate(gradients):
            a, b = self.bounds[i]
            large = host and b - a > LARGE
            if start >= 0 and (g is None or large or ages[i] != age):
                runs.append(Run(start, stop, whole[start:stop], age))
                start = -1
            if g is None:
                continue
            if large:
                flat = self.xp.reshape(g, (-1,))
                cuts = range(a, b, BLOCK)
                runs.extend(Run(c, min(c + BLOCK, b), flat[c - a : min(c + BLOCK, b) - a], ages[i]) for c in cuts)
                continue
            if host:
                np.multiply(g, 1, out=self._slots[i])  # not a plain copy: on AMD, 13 times slower at some alignments
            start, stop, age = (a if start < 0 else start), b, ages[i]
        if start >= 0:
            runs.append(Run(start, stop, whole[start:stop], age))
        return runs

    def _buffer(self) -> np.ndarray:
        if self._gradient is None:
            self._gradient = buffer = np.zeros(self.size, dtype=self.dtype)
            self._slots = [buffer[a:b].reshape(s) for (a, b), s in zip(self.bounds, self.shapes, strict=True)]
        return self._gradient

    def check(self, gradients: Sequence[Array | None], *others: str) -> None:
        """See whether gradients, one a parameter or None, have shape, backend and dtype of their parameters.

        Args:
            gradients: one a parameter, or None.
            others: names of dtypes that will do as well, if the backend has them.
        Raises:
            ShapeError, DTypeError, DeviceError: one has not.
        """
        kind, dtype = type(self.value), self.dtype
        for p, g, shape in zip(self.parameters, gradients, self.shapes, strict=True):
            if g is None or (type(g) is kind and g.dtype is dtype and g.shape == shape):
                continue
            if type(g) is not kind:
                namespace(self.value, g)  # says which backends meet
            if g.shape != shape:
                raise ShapeError(p.path, "a gradient has its parameter's shape", gradient=tuple(g.shape), shape=shape)
            if g.dtype not in (dtype, *(getattr(self.xp, name, None) for name in others)):
                raise DTypeError(p.path, "a gradient has its parameter's dtype", gradient=g.dtype, dtype=dtype)

    # To and from named arrays.

    def zeros(self) -> Array:
        """Return (size,) zeros beside the parameters, as an optimizer's state begins."""
        return self.xp.zeros(self.size, dtype=self.dtype, device=self.backend.device)

    def from_host(self, flat: np.ndarray) -> Array:
        """Return a flat NumPy array, (size,), on the backend and in the dtype of the parameters."""
        dtype = self.backend.to_numpy(self.value[0:0]).dtype
        return self.backend.from_numpy(np.asarray(flat).astype(dtype))

    def named(self) -> dict[str, int]:
        """Return the place in the list of each parameter by its path.

        Raises:
            ConfigError: two parameters have one path.
        """
        path, times = Counter(p.path for p in self.parameters).most_common(1)[0]
        if times > 1:
            raise ConfigError("FlatBuffer", "each parameter has its own path", path=repr(path), times=times)
        return {p.path: i for i, p in enumerate(self.parameters)}

    def split(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Cut a flat host array, (size,), into one array a parameter, by path and in its shape."""
        return {path: flat[slice(*self.bounds[i])].reshape(self.shapes[i]) for path, i in self.named().items()}

    def join(self, arrays: Mapping[str, Any]) -> np.ndarray:
        """Lay named host arrays into one flat host array, (size,).

        Raises:
            CheckpointError: one has not its parameter's shape. KeyError: one is missing.
        """
        flat: np.ndarray | None = None
        for path, i in self.named().items():
            part = np.asarray(arrays[path])
            if part.shape != self.shapes[i]:
                raise CheckpointError(
                    path, "an array has its parameter's shape", array=part.shape, parameter=self.shapes[i]
                )
            if flat is None:
                flat = np.zeros(self.size, part.dtype)
            flat[slice(*self.bounds[i])] = part.reshape(-1)
        assert flat is not None, "there is at least one parameter"
        return flat


def _writes_through(backend: Backend) -> bool:
    """Whether an augmented assignment to a reshaped slice changes the array it was cut from."""
    xp = backend.xp
    probe = xp.zeros(3, dtype=xp.float32, device=backend.device)
    view = xp.reshape(probe[1:2], (1, 1))
    view += 1.0
    return bool(xp.all(probe[1:2] == 1.0))
