"""Module: what every layer and model is. Parameters and layers are found by attribute.

    class Scale(nn.Module):
        def __init__(self, features):
            self.factor = nn.Parameter((features,), nn.ones)

        def forward(self, x):
            return x * self.factor

A parameter's array is made when it is first needed, from the seed and the parameter's path, so building a model
allocates nothing and the same seed gives the same weights on every backend.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from xpnet.autograd import Tensor
from xpnet.backend import Array, Backend, backend_of, current_backend, get_backend
from xpnet.errors import CheckpointError, ConfigError, XpnetError, nearest
from xpnet.nn.cost import Cost
from xpnet.nn.state import Parameter, State
from xpnet.random import Key, random_bits

__all__ = ["Module", "Stage", "inference", "watch", "watching"]

Self = TypeVar("Self", bound="Module")

_watched: contextvars.ContextVar[dict[str, Tensor] | None] = contextvars.ContextVar("xpnet_watched", default=None)
_inference: contextvars.ContextVar[bool] = contextvars.ContextVar("xpnet_inference", default=False)
_changes = 0


class Stage(NamedTuple):
    """One layer at its place in a model, for one example.

    Args:
        path: where it is, such as "stage1.body.conv2".
        layer: the module.
        input: the shape that comes in.
        cost: what it costs by itself.
        saved: numbers it keeps that no layer before it keeps already; their sum is what the model keeps.
        kept: whether its output is among the numbers kept so far.
    """

    path: str
    layer: Module
    input: tuple[int, ...]
    cost: Cost
    saved: int
    kept: bool


class Module:
    """A layer or a model: parameters, buffers and layers (or lists of layers) as attributes, and a ``forward``.

    Configuration is set and checked in ``__init__``; ``forward`` names one op or a few. Calling the module runs
    forward, and an error within says which layer it came from.

    ``across_batch`` says whether what it gives for one example depends on the others of the batch, as with BatchNorm;
    only models without such modules are trained in several threads. Say False of a module of your own whose forward
    treats each example alone; None, the default, is not known where forward is your own, and False where it is xpnet's.
    """

    path: str = ""
    across_batch: bool | None = None
    _training: bool = True

    @property
    def training(self) -> bool:
        """Whether the module is in training mode: a new one is, until eval, and none is within nn.inference()."""
        return self._training and not _inference.get()

    @training.setter
    def training(self, mode: bool) -> None:
        object.__setattr__(self, "_training", mode)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if type(self).__module__.startswith("xpnet."):  # what a module of one's own notes, it reads itself
            _note_change()
        for path, part in _parts(name, value):
            _note_change()
            part.path = _join(self.path, path)
            if isinstance(part, Module):
                part.states()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        _note_change()

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Compute the output; every module defines its own."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        try:
            y = self.forward(*inputs, **options)
        except XpnetError as error:
            error.path = error.path or self.path
            raise
        seen = _watched.get()
        if seen is not None:
            seen[self.path] = y
        return y

    def predict(self, x: Any, *, batch_size: int = 256) -> Any:
        """Compute the output for examples as in inference, whatever mode the model is in, and without a tape.

        Each BatchNorm is folded into the layer beside it where that gives the same. While the model is in inference
        (eval), what was folded is kept until parameters or averages are replaced or an optimizer updates any. A write
        of your own into the array of a folded layer is not seen then: give the layer a new array instead. Layers that
        are not folded may be written to at any time.

        Args:
            x: (N, ...), real floating, on the same scale as the examples that the model was trained with: on the host,
                then in any precision; or on the model's backend. Bytes are refused, since the scale is not known here;
                Trainer.predict knows it.
            batch_size: how many examples are computed at once, >= 1. On a CPU the threads share them.
        Returns:
            The model's scores, such as (N, K); on the host, as a NumPy array, where x was.
        Raises:
            ConfigError: batch_size. DTypeError: x holds bytes. Otherwise as the layers do.
        Cost: the layers' multiply-adds; memory of the activations of one batch, layer by layer. The first prediction,
            and the first after a change, folds the norms.
        """
        from xpnet.nn.predict import predict

        return predict(self, x, batch_size)

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Work out output shape, multiply-adds and saved numbers for one example of a shape, computing nothing.

        Args:
            shape: the input without N, such as (H, W, C) or (D,).
        Raises:
            ShapeError: the layer cannot take such an input.
        """
        raise NotImplementedError(f"{type(self).__name__} does not know its cost")

    def stages(self, shape: tuple[int, ...], kept: bool = False) -> Iterator[Stage]:
        """Go over the layers that compute, in their order, from shapes alone; a module is one by default.

        Args:
            shape: the input of one example.
            kept: whether the input is kept for the backward pass by a layer before.
        Raises:
            ShapeError: a layer cannot take what comes in.
        """
        cost = self.cost(shape)
        twice = math.prod(shape) if kept and "x" in cost.keeps else 0
        yield Stage(self.path, self, shape, cost, cost.saved - twice, "y" in cost.keeps or (kept and "=" in cost.keeps))

    def _own_states(self) -> Iterator[tuple[str, State]]:
        return ((n, s) for n, s in vars(self).items() if isinstance(s, State))

    def children(self) -> Iterator[tuple[str, Module]]:
        """Go over the layers directly within this one, with their names."""
        for name, value in vars(self).items():
            for path, part in _parts(name, value):
                if isinstance(part, Module):
                    yield path, part

    def modules(self) -> Iterator[tuple[str, Module]]:
        """Go over this module and all within it, with their paths, outermost first; the paths are set on the way."""
        yield self.path, self
        for name, child in self.children():
            object.__setattr__(child, "path", _join(self.path, name))
            yield from child.modules()

    def states(self) -> dict[str, State]:
        """Return parameters and buffers by path; one that is shared appears once."""
        found: dict[str, State] = {}
        seen: set[State] = set()
        for path, module in self.modules():
            for name, state in module._own_states():
                if state not in seen:
                    seen.add(state)
                    state.path = _join(path, name)
                    found[state.path] = state
        return found

    def parameters(self) -> list[Parameter]:
        """Return the parameters of this module and all within it, in the order they were defined."""
        return [s for s in self.states().values() if isinstance(s, Parameter)]

    @property
    def parameter_count(self) -> int:
        """How many numbers training changes."""
        return sum(math.prod(p.shape) for p in self.parameters())

    @property
    def backend(self) -> Backend:
        """The backend the model lives on: its parameters', or the default for a model without any."""
        for state in self.states().values():
            return state.backend
        return current_backend()

    def initialize(self, seed: int = 0) -> Module:
        """Give every parameter and buffer its first values again, from a seed and the parameter's path.

        Args:
            seed: 0 <= seed < 2**64. Without a call to initialize, it is 0.
        Returns: the module itself.
        Raises:
            ConfigError: the seed is out of range.
        """
        random_bits(Key(seed, "init"), 0)
        for state in self.states().values():
            state.forget(seed)
        return self

    def to(self: Self, backend: str | Backend | None = None, *, dtype: str | None = None) -> Self:
        """Move the model to a backend, cast it, or both; values stay.

        Args:
            backend: "cpu", "torch", ... as get_backend takes, or None to stay.
            dtype: "float32", "float64", ... or None to keep.
        Returns: the module itself.
        Raises:
            DeviceError, ConfigError: as get_backend. Nothing has moved then.
        """
        target = None if backend is None else get_backend(backend)
        if dtype is not None and dtype not in ("float16", "float32", "float64"):
            hint = nearest(dtype, ("float16", "float32", "float64"))
            raise ConfigError("to", 'dtype "float16", "float32" or "float64"', hint, dtype=repr(dtype))
        states = self.states().values()
        arrays = [state.moved(target, dtype) for state in states]
        for state, array in zip(states, arrays, strict=True):
            state.settle(array, target, dtype)
        return self

    def train(self: Self, mode: bool = True) -> Self:
        """Switch this module and all within it to training: dropout drops, batch norm uses the batch."""
        modules = [module for _, module in self.modules()]
        if mode or any(module._training for module in modules):
            _note_change()  # its values will, or what it computes did
        for module in modules:
            object.__setattr__(module, "_training", mode)
        return self

    def eval(self: Self) -> Self:
        """Switch this module and all within it to evaluation: dropout passes x on, batch norm uses its averages."""
        return self.train(False)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copy parameters and buffers to the host, by path."""
        return {path: state.numpy() for path, state in self.states().items()}

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Set parameters and buffers from arrays by path, of any backend; dtype and backend of the model stay.

        Raises:
            CheckpointError: a name is missing or unknown, or a shape differs. Nothing has changed then.
        """
        states = self.states()
        missing, unknown = states.keys() - arrays.keys(), arrays.keys() - states.keys()
        if missing or unknown:
            raise CheckpointError(
                "load_state_dict",
                "the arrays are the model's",
                missing=sorted(missing)[:3] or "none",
                unknown=sorted(unknown)[:3] or "none",
            )
        for path, state in states.items():
            if tuple(arrays[path].shape) != state.shape:
                raise CheckpointError(
                    "load_state_dict",
                    f"{path} has the model's shape",
                    model=state.shape,
                    found=tuple(arrays[path].shape),
                )
        for path, state in states.items():
            values = arrays[path]
            if not isinstance(values, np.ndarray):
                values = backend_of(values).to_numpy(values)
            state.data = state.backend.from_numpy(values.astype(state.dtype_))

    def __repr__(self) -> str:
        shown = {k: v for k, v in vars(self).items() if k != "path" and not k.startswith("_")}
        plain = ((k, v) for k, v in shown.items() if isinstance(v, int | float | str | tuple))
        inner = [f"  {name}: {child!r}".replace("\n", "\n  ") for name, child in self.children()]
        return "\n".join([f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in plain)})", *inner])


@contextlib.contextmanager
def inference() -> Iterator[None]:
    """Put every module into evaluation mode within a with-block, in this thread and task only.

        with nn.inference():
            scores = model(x)

    No module is written to: another thread may train the same model meanwhile.
    """
    token = _inference.set(True)
    try:
        yield
    finally:
        _inference.reset(token)


@contextlib.contextmanager
def watch() -> Iterator[dict[str, Tensor]]:
    """Keep what each layer gives that is called within a with-block, in this thread and task only.

        with nn.watch() as seen:
            model(x)
        seen["conv1"]

    Returns:
        A dictionary from path to output, in the order of calls; of a layer called twice the last output. Within the
        block activations are computed by themselves, so that the sums before them are seen too.
    """
    seen: dict[str, Tensor] = {}
    token = _watched.set(seen)
    try:
        yield seen
    finally:
        _watched.reset(token)


def changes() -> int:
    """How often modules of this process were given or lost parts or settings; what was made of them may be old then."""
    return _changes


def _note_change() -> None:
    global _changes
    _changes += 1


def watching() -> bool:
    """Tell whether a watch is on."""
    return _watched.get() is not None


def _join(*names: str) -> str:
    return ".".join(n for n in names if n)


def _parts(name: str, value: Any) -> Iterator[tuple[str, Module | State]]:
    """The modules and states in an attribute: itself, or the modules of a list or tuple."""
    if isinstance(value, Module | State):
        yield name, value
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            if isinstance(item, Module):
                yield f"{name}.{i}", item
