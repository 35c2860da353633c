"""One forward pass of a model, and the ops that it called."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from xpnet.autograd import Tensor, no_grad, observe_ops
from xpnet.backend import Array
from xpnet.data import several
from xpnet.errors import ConfigError, XpnetError
from xpnet.interop.graph import name_of
from xpnet.nn import Module, inference
from xpnet.nn.context import observe
from xpnet.output import counted
from xpnet.random import Key, normal

__all__ = ["Applied", "Number", "Pass", "forward_pass", "is_several"]


_SIZES = 100.0, 1.0, 1000.0, 0.1, 10.0  # of the examples that are drawn


def is_several(shape: Any) -> bool:
    """Whether these are shapes of several inputs, in a tuple or dictionary."""
    return isinstance(shape, dict) or (isinstance(shape, tuple) and bool(shape) and isinstance(shape[0], tuple))


class Applied(NamedTuple):
    """A call of an op: of an input that a run computed its number, of others the array or value."""

    function: Callable[..., Any]
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    output: int
    layers: tuple[Module, ...]

    @property
    def place(self) -> str:
        """Name and layer, for messages."""
        path = self.layers[-1].path if self.layers else ""
        return f"{name_of(self.function)} of {path}" if path else name_of(self.function)


class Number(NamedTuple):
    """The number of a value that a run computed."""

    at: int


class Pass:
    """Sees the ops of one forward pass. Arrays are known by identity, and kept so that no other has the same one.

    A write in place is no op. So arrays of NumPy are read-only during the pass, except those of parameters, which
    another thread may train; of arrays of torch the number of writes is compared.
    """

    def __init__(self, where: str, parameters: Iterable[Array]) -> None:
        self.where = where
        self._free = {id(array) for array in parameters}
        self.computed: list[Array] = []  # inputs first
        self.steps: list[Applied] = []
        self.layers: list[Module] = []
        self.outputs: dict[str, Any] = {}
        self._numbers: dict[int, int] = {}
        self._others: list[Any] = []
        self._locked: list[np.ndarray] = []
        self._writes: list[tuple[Array, int, str]] = []

    def computes(self, array: Array) -> int:
        """Give a computed array a number."""
        self._lock(array)
        self._numbers[id(array)] = len(self.computed)
        self.computed.append(array)
        return len(self.computed) - 1

    def _lock(self, array: Any) -> None:
        if isinstance(array, np.ndarray) and array.flags.writeable and id(array) not in self._free:
            array.flags.writeable = False
            self._locked.append(array)
        elif (count := getattr(array, "_version", None)) is not None:
            self._writes.append((array, count, self.layers[-1].path if self.layers else ""))

    def check_writes(self) -> None:
        """Raise ConfigError where an array was written in place."""
        for array, count, path in self._writes:
            if getattr(array, "_version", count) != count and id(array) not in self._free:
                what, do = "an array is written in place, which no graph can", "compute it by xpnet.ops"
                raise ConfigError.event(self.where, what, do, layer=path or "the model")

    def unlock(self) -> None:
        """Let arrays be written again: one may be the model's own."""
        for array in self._locked:
            with contextlib.suppress(ValueError):  # a view of what cannot be written
                array.flags.writeable = True

    def given(self, x: Any) -> Any:
        """Return the number of what was computed; else the array, or what else it is."""
        x = x.data if isinstance(x, Tensor) else x
        return Number(self._numbers[id(x)]) if id(x) in self._numbers else x

    def applied(self, op: Callable[..., Any], inputs: tuple[Any, ...], options: dict[str, Any], y: Any) -> None:
        """See an op: autograd.Observer."""
        while isinstance(op, partial):
            op, inputs, options = op.func, (*op.args, *inputs), {**op.keywords, **options}
        given = tuple(map(self.given, inputs))
        self._others.append((given, y.data))
        for x in given:
            self._lock(x)
        if id(y.data) in self._numbers or not any(isinstance(x, Number) for x in given):
            return  # it passes its input on, or is computed from constants
        self.steps.append(Applied(op, given, options, self.computes(y.data), tuple(self.layers)))

    def read(self, where: str, x: Any) -> None:
        """Raise ConfigError where the values depend on the input."""
        number = self._numbers.get(id(x.data))
        if number is not None:
            made = next((step for step in self.steps if step.output == number), None)
            path = self.layers[-1].path if self.layers else ""
            what = f"{where} reads values that depend on the model's input, which no graph can"
            do = "compute with tensors and xpnet.ops, or leave it out in evaluation mode"
            of = {"layer": path or "the model", "of": "the input" if made is None else f"the result of {made.place}"}
            raise ConfigError.event(self.where, what, do, **of)


def forward_pass(
    where: str, model: Module, form: Any, shapes: Sequence[Any], n: int, seed: int, before: Any, after: Any
) -> Pass:
    """Run a copy of a model on n examples, of zeros or drawn from a seed; other arguments as trace takes them."""
    states = list(model.states().values())
    arrays = [(state, state.data) for state in states]
    run = Pass(where, (array for _, array in arrays))
    dtype, backend = next((state.dtype_ for state in states), "float32"), model.backend
    inputs = []
    for i, shape in enumerate(shapes):
        values = np.zeros((n, *shape))
        if seed:  # of several sizes, so that a limit that values are compared with lies between some
            sizes = np.resize(_SIZES, n).reshape(n, *(1,) * len(shape))
            values = sizes * normal(Key(seed, f"trace/{i}"), values.shape)
        inputs.append(backend.from_numpy(values.astype(dtype)))
    for array in inputs:
        run.computes(array)
    # Custom modules may write to themselves; their parameters are shared, and have their arrays again afterwards.
    copied = copy.deepcopy(model, {id(state): state for state in states})

    first = {id(array): function for array, function in zip(inputs, before, strict=False)}

    def wrapped(array: Array) -> Tensor:
        function = first.get(id(array))
        return Tensor(array) if function is None else function(Tensor(array))

    try:
        x = several.like(form, inputs) if is_several(form) else inputs[0]
        pop = partial(_leave, run.layers)
        with np.errstate(all="ignore"), inference(), no_grad(), observe_ops(run), observe(pop, run.layers.append):
            y = several.call(copied, x, wrapped)
            named = y if isinstance(y, dict) else dict(enumerate(y)) if isinstance(y, tuple | list) else {"": y}
            for name, output in named.items():
                if not isinstance(output, Tensor):
                    rule = "a model that returns a Tensor, or several in a tuple or dictionary"
                    raise ConfigError(where, rule, returned=f"of type {type(output).__name__}")
                run.outputs[str(name)] = run.given(output if after is None else after(output))
        run.check_writes()
    except XpnetError:
        raise
    except Exception as error:
        got = {"shape": shapes[0] if len(shapes) == 1 else tuple(shapes), "error": f"{type(error).__name__}: {error}"}
        raise ConfigError.event(where, f"the model's forward fails on {counted(n, 'example')}", **got) from error
    finally:
        run.unlock()
        for state, array in arrays:
            if state.data is not array:
                state.data = array
    return run


def _leave(layers: list[Module], *call: Any) -> None:
    layers.pop()
