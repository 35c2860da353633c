"""Module: what every layer and model is. Parameters and layers are found by attribute.

    class Scale(nn.Module):
        def __init__(self, features):
            self.factor = nn.Parameter((features,), nn.ones)

        def forward(self, x):
            return x * self.factor

A parameter's array is made when it is first needed, from the seed and the parameter's path, so building a model
allocates nothing and the same seed gives the same weights on every backend. That path is the one in the model, even
where a part of it is used first, alone or within another module; ``initialize`` settles it for good.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from xpnet.arguments import boolean, choice, optional
from xpnet.autograd import Tensor
from xpnet.backend import Array, Backend, current_backend, get_backend
from xpnet.errors import XpnetError
from xpnet.nn.context import count_change, in_inference, watching
from xpnet.nn.description import Description
from xpnet.nn.showing import as_html, written
from xpnet.nn.state import DTYPES
from xpnet.random import Key, random_bits

if TYPE_CHECKING:
    from xpnet.nn.saving import Difference

__all__ = ["Module"]

Self = TypeVar("Self", bound="Module")

_CALLS = ("forward", "__call__")  # what decides how a module is called


class Module(Description):
    """A layer or a model: parameters, buffers and layers as attributes, and a ``forward``.

    Parameters, buffers and layers may also be in lists, tuples and dicts, nested. Configuration is set and checked in
    ``__init__``; ``forward`` names one op or a few. Calling the module runs forward; an error says in which layer.

    What a module says of itself to summaries, pictures, threads and folding is in Description. A subclass with a
    forward of its own inherits it, except what holds for one forward only: across_batch, synchronizes, conv_form,
    fuses, fused and in_sequence.
    """

    _training: bool = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        theirs = [vars(c) for c in cls.__mro__ if not c.__module__.startswith(("xpnet.", "builtins"))]
        cls.is_custom = any(n in _CALLS or isinstance(v, property) for names in theirs for n, v in names.items())
        if "forward" in vars(cls):
            for name in ("across_batch", "synchronizes", "conv_form", "fuses", "fused", "in_sequence"):
                if name not in vars(cls):
                    setattr(cls, name, getattr(Module, name))

    @property
    def training(self) -> bool:
        """Whether the module is in training mode: a new one is, until eval, and none is within nn.inference()."""
        return self._training and not in_inference()

    @training.setter
    def training(self, mode: bool) -> None:
        object.__setattr__(self, "_training", mode)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Compute the output; every module defines its own."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def __call__(self, *inputs: Any, **options: Any) -> Tensor:
        watch = watching()
        if watch is not None and watch.before is not None:
            watch.before(self)
        try:
            y = self.forward(*inputs, **options)
        except XpnetError as error:
            error.path = error.path or self.path
            raise
        if watch is not None:
            watch.after(self, inputs[0] if inputs else next(iter(options.values()), None), y)
        return y

    def predict(self, x: Any, *, batch_size: int = 256) -> Any:
        """Compute the output for examples in evaluation mode, whatever mode the model is in, and without a tape.

        The layers are called; batches of a shape that comes again are recorded and replayed, where that can be done.
        Whatever is written to parameters and averages counts from the next prediction. Several threads may predict with
        one model at once.

        Args:
            x: (N, ...), real floating, on the same scale as the examples that the model was trained with: on the host,
                then of any library and precision; or on the model's backend. Bytes are an error, since their scale is
                not known; Trainer.predict knows it.
            batch_size: how many examples are computed at once, >= 1. On a CPU the threads share them.
        Returns:
            The model's scores, such as (N, K); on the host, as a NumPy array, where x was.
        Raises:
            ConfigError: batch_size. DTypeError: x holds bytes. Otherwise as the layers do.
        Cost: the layers' multiply-adds; memory of one batch's activations, layer by layer; recordings of up to 16 MB.
        """
        from xpnet.nn.predict import predict

        return predict(self, x, batch_size)

    @property
    def backend(self) -> Backend:
        """The backend the model lives on: its parameters', or the default for a model without any."""
        for state in self.states().values():
            return state.backend
        return current_backend()

    def initialize(self: Self, seed: int = 0) -> Self:
        """Set every parameter and buffer to its initial values, drawn from a seed and the parameter's path.

        Args:
            seed: 0 <= seed < 2**64. Without a call to initialize, it is 0.
        Returns: the module itself.
        Raises:
            ConfigError: the seed is out of range.
        """
        random_bits(Key(seed, "init"), 0)
        for state in self._keyed(True).values():
            state.reset(seed)
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
        optional(partial(choice, known=DTYPES))("to", "dtype", dtype)
        states = self.states().values()
        arrays = [state.moved(target, dtype) for state in states]
        for state, array in zip(states, arrays, strict=True):
            state.place(array, target, dtype)
        return self

    def train(self: Self, mode: bool = True) -> Self:
        """Switch this module and all within it to training: dropout drops, batch norm uses the batch."""
        mode, modules = boolean("train", "mode", mode), [module for _, module in self.modules()]
        if mode or any(module._training for module in modules):
            count_change()  # its values will, or what it computes did
        for module in modules:
            object.__setattr__(module, "_training", mode)
        return self

    def eval(self: Self) -> Self:
        """Switch this module and all within it to evaluation: dropout passes x on, batch norm uses its averages."""
        return self.train(False)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copy parameters and buffers to the host, by path from this module on: a layer's fit a layer that is alone."""
        return {self.below(path): state.numpy() for path, state in self.states().items()}

    def below(self, path: str) -> str:
        """Return a path within this module, from this module on."""
        return path.removeprefix(self.path + ".") if self.path else path

    def load_state_dict(self, arrays: Mapping[str, Array], *, strict: bool = True) -> Difference:
        """Set parameters and buffers from arrays by path, of any backend; dtype and backend of the model stay.

        Args:
            arrays: named as state_dict names them.
            strict: whether each name must be in both; else what is in one alone is passed over.
        Returns:
            What was passed over: (missing, unexpected), names.
        Raises:
            CheckpointError: a name is missing or unknown, or not one is known; or a shape differs. DTypeError: values
                are no real floating numbers. Nothing has changed then. Values that are NaN are loaded; the log names
                the first array.
        """
        from xpnet.nn.saving import load_arrays

        return load_arrays(self, arrays, strict)

    def save(self, path: str | Path) -> None:
        """Write the model to a safetensors file: the values, and for layers of xpnet how they are built.

        xpnet.load reads it. Where layers are of other classes, it needs such a model to load into: no code is stored.

        Args:
            path: the file, in a folder that exists; replaced whole where there is one.
        Raises:
            CheckpointError: the folder cannot be written to.
        """
        from xpnet.nn.saving import save

        save(self, path)

    def __repr__(self) -> str:
        inner = [f"  {name}: {child!r}".replace("\n", "\n  ") for name, child in self.children()]
        return "\n".join([written(self), *inner])

    def _repr_html_(self) -> str:
        return as_html(self)
