"""A model as a graph of ops: what trace returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from xpnet.nn import Module
from xpnet.nn.state import State

__all__ = ["Batch", "Graph", "Size", "Step", "Value", "name_of"]


class Batch(NamedTuple):
    """A size that depends on N, the number of examples: times * N + plus."""

    times: int = 1
    plus: int = 0


Size = int | Batch


@dataclass(eq=False)
class Value:
    """An array of the graph: an input, what a step computes, or a constant.

    Args:
        shape: its sizes.
        dtype: its name, such as "float32".
        array: of a constant, its numbers on the host, with size 1 on axes along which N equal parts lie; else None.
        state: of a constant, the parameter or buffer that holds it, if one does.
    """

    shape: tuple[Size, ...]
    dtype: str
    array: np.ndarray | None = None
    state: State | None = None


@dataclass(eq=False)
class Step:
    """One op: output = function(*inputs, **options).

    Args:
        function: such as ops.conv2d, or operator.gt for a comparison.
        inputs: values, and what else the op was given: numbers, tuples. A size in them may be a Batch.
        options: by name; the same kinds of values.
        output: what it computes.
        layers: the layers within which it was called, outermost first.
    """

    function: Callable[..., Any]
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    output: Value
    layers: tuple[Module, ...]

    @property
    def name(self) -> str:
        """The function's name."""
        return name_of(self.function)

    @property
    def values(self) -> list[Value]:
        """The inputs that are arrays."""
        return [v for v in self.inputs if isinstance(v, Value)]

    @property
    def path(self) -> str:
        """The path of the innermost layer; "" for the model itself."""
        return self.layers[-1].path if self.layers else ""

    @property
    def where(self) -> str:
        """Path and name, for messages."""
        return f"{self.path} ({self.name})" if self.path else self.name


@dataclass(eq=False)
class Graph:
    """A model as steps in the order of their calls.

    Args:
        inputs: one, or as many as the model takes, by name if it takes them so.
        steps: the ops whose result depends on an input.
        outputs: by name, or "" for the one that a model returns.
    """

    inputs: dict[str, Value]
    steps: list[Step]
    outputs: dict[str, Value]


def name_of(function: Callable[..., Any]) -> str:
    """Return a function's name."""
    return getattr(function, "__name__", type(function).__name__)
