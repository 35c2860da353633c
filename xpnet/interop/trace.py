"""A model as a graph of ops, found by running it: what each op was given, and within which layers it was called.

    graph = trace("export_onnx", model, (28, 28, 1))
    for step in graph.steps:
        print(step.path, step.name, [v.shape for v in step.values], "->", step.output.shape)

The model runs twice, on other numbers of examples and other values: what differs between the runs is what depends on
them. A size that does is a Batch; an array that an op takes, and that neither run computed by ops, is a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from xpnet.autograd import Tensor
from xpnet.backend import Array, backend_of
from xpnet.data import several
from xpnet.errors import ConfigError
from xpnet.interop.forward_pass import Applied, Number, Pass, forward_pass, is_several
from xpnet.interop.graph import Batch, Graph, Size, Step, Value, name_of
from xpnet.nn import Module

__all__ = ["Batch", "Graph", "Size", "Step", "Value", "trace"]

_EXAMPLES = 2, 5  # of the two runs: halves, remainders and limits of these are no multiples of N plus a number


def trace(
    where: str,
    model: Module,
    shape: Any,
    *,
    batch: int | None = None,
    before: Sequence[Callable[[Tensor], Tensor] | None] = (),
    after: Callable[[Tensor], Tensor] | None = None,
) -> Graph:
    """Run a model in evaluation mode, without a tape, and return the ops that compute its output.

    The model's layers are copied before, and its parameters are not written.

    Args:
        where: whose call it is, for messages.
        model: on any backend.
        shape: of one example; a tuple of such shapes, or a dictionary, where the model takes several inputs.
        batch: the number of examples, if it is fixed; None: any, so the sizes that depend on it are found.
        before: applied to the inputs, in turn, and after: applied to each output; parts of the graph.
    Raises:
        ConfigError: forward reads values of its input, or depends on them or on the number of examples in a way that no
            graph of ops has; or it fails, or gives no Tensor. Otherwise as the layers do.
    Cost: two forward passes, of 7 examples in total unless batch is given.
    """
    counts = _EXAMPLES if batch is None else (batch, batch)
    shapes = list(several.each(shape)) if is_several(shape) else [shape]
    first, second = (forward_pass(where, model, shape, shapes, n, i, before, after) for i, n in enumerate(counts))
    return _Merge(where, model, first, second, counts).graph(several.like(shape, shapes) if len(shapes) > 1 else shape)


class _Merge:
    """Two runs as one graph."""

    def __init__(self, where: str, model: Module, first: Pass, second: Pass, counts: tuple[int, int]) -> None:
        self.where, self.first, self.second, self.counts = where, first, second, counts
        self.states = {id(state.data): state for state in model.states().values()}
        self.constants: dict[int, Value] = {}
        self.values: list[Value] = []

    def graph(self, form: Any) -> Graph:
        names = list(form) if isinstance(form, dict) else [""] if not is_several(form) else map(str, range(len(form)))
        pairs = list(zip(self.first.computed, self.second.computed, strict=False))
        inputs = dict(zip(names, [self._value(a, b, None) for a, b in pairs], strict=False))
        self.values = list(inputs.values())
        steps = list(self._steps())
        outputs, last = {}, self.first.steps[-1] if self.first.steps else None
        if self.first.outputs.keys() != self.second.outputs.keys():
            raise self._differs(last, "outputs")
        for name, output in self.first.outputs.items():
            outputs[name] = self._merged(output, self.second.outputs[name], last)
        return Graph(inputs, steps, outputs)

    def _steps(self) -> Iterator[Step]:
        a = b = None
        for a, b in zip(self.first.steps, self.second.steps, strict=False):
            if a.function is not b.function or len(a.inputs) != len(b.inputs) or a.options.keys() != b.options.keys():
                raise self._differs(a, f"whether {name_of(a.function)} or {name_of(b.function)} is computed")
            given = tuple([self._merged(x, y, a) for x, y in zip(a.inputs, b.inputs, strict=True)])
            options = {name: self._merged(x, b.options[name], a) for name, x in a.options.items()}
            output = self._value(self.first.computed[a.output], self.second.computed[b.output], a)
            self.values.append(output)
            yield Step(a.function, given, options, output, a.layers)
        if len(self.first.steps) != len(self.second.steps):
            raise self._differs(a, "how many ops are computed after it")

    def _value(self, a: Array, b: Array, step: Applied | None) -> Value:
        if len(a.shape) != len(b.shape):
            raise self._differs(step, "the rank of the result")
        sizes = [self._size(m, n, step) for m, n in zip(a.shape, b.shape, strict=True)]
        return Value(tuple(sizes), str(a.dtype).rpartition(".")[2])  # torch.float32

    def _size(self, a: int, b: int, step: Applied | None) -> Size:
        if a == b:
            return int(a)
        n1, n2 = self.counts
        times, rest = divmod(b - a, n2 - n1) if n1 != n2 else (0, 1)
        if rest:
            raise self._differs(step, f"a size, {a} and {b},")
        return Batch(times, a - times * n1)

    def _merged(self, a: Any, b: Any, step: Applied | None) -> Any:
        """What both runs were given, as part of the graph."""
        if isinstance(a, Number) and isinstance(b, Number) and a == b and a.at < len(self.values):
            return self.values[a.at]
        if type(a) is not type(b) or isinstance(a, Number):
            raise self._differs(step, "what it is given")
        if hasattr(a, "shape") and hasattr(a, "dtype"):
            return self._constant(a, b, step)
        if isinstance(a, tuple | list) and len(a) == len(b):
            return tuple([self._merged(x, y, step) for x, y in zip(a, b, strict=True)])
        if isinstance(a, slice):
            return slice(*(self._merged(getattr(a, n), getattr(b, n), step) for n in ("start", "stop", "step")))
        if isinstance(a, int) and isinstance(b, int) and not isinstance(a, bool):
            return self._size(a, b, step)
        if a == b or (a != a and b != b):
            return a
        raise self._differs(step, "what it is given")

    def _constant(self, a: Array, b: Array, step: Applied | None) -> Value:
        if id(a) in self.constants:
            return self.constants[id(a)]
        value = self._value(a, b, step)
        array = backend_of(a).to_numpy(a)
        if a is not b:
            pair = [array, backend_of(b).to_numpy(b)]
            for axis, size in enumerate(value.shape):
                if isinstance(size, Batch):
                    ones = [each[(slice(None),) * axis + (slice(0, 1),)] for each in pair]
                    if not all(
                        np.array_equal(one.repeat(n.shape[axis], axis), n) for one, n in zip(ones, pair, strict=True)
                    ):
                        raise self._differs(step, "an array that it takes")
                    pair = ones
            if not np.array_equal(pair[0], pair[1], equal_nan=pair[0].dtype.kind == "f"):
                raise self._differs(step, "an array that it takes, not computed by ops or random,")
            array = pair[0]
        value.array, value.state = array, self.states.get(id(a))
        self.constants[id(a)] = value
        return value

    def _differs(self, step: Applied | None, what: str) -> ConfigError:
        fixed = self.counts[0] == self.counts[1]
        on = "the model's input" if fixed else "the values or the number of examples of the model's input"
        do = "compute it by xpnet.ops of tensors"
        return ConfigError.event(
            self.where, f"{what} depends on {on}", do, op="the first" if step is None else step.place
        )
