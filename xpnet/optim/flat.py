"""All parameters of a model in one flat array: an update is one pass over it, a reduction one call."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xpnet.arguments import shown
from xpnet.backend import Array, Backend, backend_of, namespace, set_at
from xpnet.backend.registry import CHECKED
from xpnet.errors import CheckpointError, ConfigError, DTypeError, ShapeError
from xpnet.optim.groups import Trainable, read_parameters

__all__ = ["GRID", "FlatBuffer", "concatenate"]

# Each parameter starts at a multiple of GRID elements, 128 bytes in half precision: devices read aligned blocks faster.
GRID = 64


class FlatBuffer:
    """One flat array for a list of parameters, each of whose ``data`` is a view of its part of it.

    Where the backend's arrays cannot be written (jax), ``data`` is a copy instead, made anew by each ``assign``. When
    ``data`` was replaced from outside (a model moved, weights loaded), ``sync`` copies the new values in. A copy or a
    pickle of the buffer has its own flat array, which the copied parameters are views of.

    Args:
        parameters: of one backend and one real floating dtype; one that comes twice is kept once.
    Raises:
        ConfigError: there are none, or their backends or dtypes differ.
        DTypeError: they are not real floating.
    Cost: one copy of the parameters, each up to GRID - 1 elements longer.
    """

    value: Array

    def __init__(self, parameters: Iterable[Trainable]) -> None:
        self.parameters: tuple[Trainable, ...] = tuple(
            {id(p): p for p in read_parameters("FlatBuffer", parameters)}.values()
        )
        if not self.parameters:
            raise ConfigError("FlatBuffer", "at least one parameter", parameters=0)
        self.shapes = [tuple(p.shape) for p in self.parameters]
        self.bounds: list[tuple[int, int]] = []
        self.size = 0  # gaps included
        for shape in self.shapes:
            start = -(-self.size // GRID) * GRID
            self.size = start + math.prod(shape)
            self.bounds.append((start, self.size))
        self.bound: list[Array] = [None] * len(self.parameters)  # the data of each parameter after the last sync
        self.sync()

    def __reduce__(self) -> tuple[Any, ...]:
        return FlatBuffer, (self.parameters,)

    # The values.

    def sync(self) -> bool:
        """Copy in the data of every parameter that was given another array; the flat array stays if it can.

        Returns:
            Whether the backend or the dtype changed.
        Raises:
            ConfigError, DTypeError: as on construction. ShapeError: a parameter's shape changed.
        """
        for p, seen in zip(self.parameters, self.bound, strict=True):
            if p.data is not seen:
                return self._pack()
        return False

    def _pack(self) -> bool:
        data = [p.data for p in self.parameters]
        for p, x, shape in zip(self.parameters, data, self.shapes, strict=True):
            if tuple(x.shape) != shape:
                raise ShapeError(p.path, f"data of the shape {shape} that it had", shape=tuple(x.shape))
        backend, dtype = self._common(data)
        if len(data) == 1:
            data = [backend.xp.asarray(data[0], copy=True)]
        flat = concatenate(data, [start for start, _ in self.bounds])  # a copy: parameters may have swapped values
        moved = self.bound[0] is None or backend != self.backend or dtype != self.dtype
        if moved:
            self.backend, self.xp, self.dtype = backend, backend.xp, dtype
        self.value = flat if moved else set_at(self.value, ..., flat)
        self._bind()
        return moved

    def _common(self, data: list[Array]) -> tuple[Backend, Any]:
        first = backend_of(data[0])
        for p, x in zip(self.parameters, data, strict=True):
            if (backend := backend_of(x)) != first:
                got = {self.parameters[0].path: first.spec, p.path: backend.spec}
                raise ConfigError("FlatBuffer", "parameters on one backend", "move the whole model: Module.to", **got)
            if x.dtype != data[0].dtype:
                got = {self.parameters[0].path: data[0].dtype, p.path: x.dtype}
                raise ConfigError("FlatBuffer", "parameters of one dtype", **got)
        if not first.xp.isdtype(data[0].dtype, "real floating"):
            raise DTypeError(self.parameters[0].path, "real floating parameters", dtype=data[0].dtype)
        return first, data[0].dtype

    def _bind(self) -> None:
        self.bound = self.views(self.value)
        for p, view in zip(self.parameters, self.bound, strict=True):
            p.data = view

    def views(self, flat: Array) -> list[Array]:
        """Return the parts of a flat array, (size,), one a parameter and in its shape."""
        reshape = self.xp.reshape
        return [reshape(flat[a:b], s) for (a, b), s in zip(self.bounds, self.shapes, strict=True)]

    @contextlib.contextmanager
    def cast(self, dtype: str) -> Iterator[None]:
        """Replace every parameter's ``data`` by a copy in another dtype within a with-block; sync first.

        Args:
            dtype: the name of a floating dtype of the backend.
        Cost: one pass over the flat array, which makes the copies anew each time: they are never out of date.
        """
        copies = self.views(self.xp.astype(self.value, getattr(self.xp, dtype)))
        for p, view in zip(self.parameters, copies, strict=True):
            p.data = view
        try:
            yield
        finally:
            for p, original in zip(self.parameters, self.bound, strict=True):
                p.data = original

    def assign(self, value: Array) -> None:
        """Give all parameters new values.

        Args:
            value: (size,), of the backend and dtype of the parameters.
        """
        before, self.value = self.value, set_at(self.value, ..., value)
        if self.value is not before:
            self._bind()

    def check(self, gradients: Sequence[Array | None], *others: str) -> None:
        """Check that gradients, one a parameter or None, have shape, backend and dtype of their parameters.

        Args:
            gradients: one a parameter, or None.
            others: names of further dtypes that are accepted, if the backend has them.
        Raises:
            ShapeError, DTypeError, DeviceError: one does not fit.
        """
        kind, dtype = type(self.value), self.dtype
        if kind in CHECKED:
            namespace(self.value, *gradients)
        for p, g, shape in zip(self.parameters, gradients, self.shapes, strict=True):
            if g is None or (type(g) is kind and g.dtype is dtype and g.shape == shape):
                continue
            if type(g) is not kind:
                namespace(self.value, g)  # says which backends meet
            if g.shape != shape:
                raise ShapeError(p.path, f"a gradient of the parameter's shape {shape}", gradient=tuple(g.shape))
            if g.dtype not in (dtype, *(getattr(self.xp, name, None) for name in others)):
                raise DTypeError(p.path, f"a gradient of the parameter's dtype {dtype}", gradient=g.dtype)

    # To and from named arrays.

    def zeros(self) -> Array:
        """Return (size,) zeros beside the parameters, as an optimizer's state begins."""
        return self.xp.zeros(self.size, dtype=self.dtype, device=self.backend.device)

    def from_host(self, flat: np.ndarray) -> Array:
        """Return a flat NumPy array, (size,), on the backend and in the dtype of the parameters."""
        dtype = self.backend.to_numpy(self.value[0:0]).dtype
        return self.backend.from_numpy(np.asarray(flat).astype(dtype))

    def named(self) -> dict[str, int]:
        """Return the index of each parameter by its path.

        Raises:
            ConfigError: two parameters have one path.
        """
        path, times = Counter(p.path for p in self.parameters).most_common(1)[0]
        if times > 1:
            do = "take the parameters of one model, which names them"
            raise ConfigError("FlatBuffer", "a different path for each parameter", do, path=repr(path), times=times)
        return {p.path: i for i, p in enumerate(self.parameters)}

    def split(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Cut a flat host array, (size,), into one array a parameter, by path and in its shape."""
        return {path: flat[slice(*self.bounds[i])].reshape(self.shapes[i]) for path, i in self.named().items()}

    def join(self, arrays: Mapping[str, Any]) -> np.ndarray:
        """Copy named host arrays into one flat host array, (size,).

        Raises:
            CheckpointError: one is no array, or has another shape than its parameter. KeyError: one is missing.
        """
        for path, value in arrays.items():
            if "float" not in str(getattr(value, "dtype", "")):
                raise CheckpointError(path, "a host array of real floating numbers", value=shown(value))
        flat = np.zeros(self.size, np.result_type(*map(np.asarray, arrays.values())))
        for path, i in self.named().items():
            part = np.asarray(arrays[path])
            if part.shape != self.shapes[i]:
                raise CheckpointError(path, f"an array of the parameter's shape {self.shapes[i]}", shape=part.shape)
            flat[slice(*self.bounds[i])] = part.reshape(-1)
        return flat


def concatenate(arrays: Sequence[Array], starts: Sequence[int]) -> Array:
    """Join arrays into one flat array in which each begins at its start, counted from the first; zeros fill the gaps.

    Args:
        arrays: at least one, of one dtype and device.
        starts: ascending, each less than GRID after the end of the array before.
    """
    xp, first = namespace(arrays[0]), arrays[0]
    if len(arrays) == 1:
        return xp.reshape(first, (-1,))
    gap = xp.zeros(GRID, dtype=first.dtype, device=first.device)
    pieces, end = [], starts[0]
    for array, start in zip(arrays, starts, strict=True):
        if start > end:
            pieces.append(gap[: start - end])
        flat = xp.reshape(array, (-1,))
        pieces.append(flat)
        end = start + flat.shape[0]
    return xp.concat(pieces)
