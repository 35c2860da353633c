"""An imported graph as a Module: it computes the nodes in order on tensors, and frees values after their last use."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from xpnet import arguments, ops
from xpnet.autograd import Tensor, apply, no_grad
from xpnet.backend import is_out_of_memory
from xpnet.errors import ConfigError, DataError, DeviceError, ShapeError, XpnetError
from xpnet.interop.onnx.layer import Layer, Row, cost_of
from xpnet.interop.onnx.limits import Budget
from xpnet.interop.onnx.node import Node
from xpnet.interop.onnx.run import Run
from xpnet.interop.onnx.values import LAST, Value, is_host
from xpnet.nn import Cost, Module, Stage
from xpnet.nn.context import inference
from xpnet.nn.state import State
from xpnet.output import counted

__all__ = ["Graph", "Plan", "Port", "compute_node"]

_FAILURES = (ArithmeticError, AttributeError, LookupError, MemoryError, NotImplementedError, RuntimeError, TypeError,
             ValueError)  # fmt: skip


class Port(NamedTuple):
    """An input or output of a graph.

    Args:
        name: of the value.
        dtype: of its elements, by NumPy's name.
        shape: its sizes in ONNX's own order, None for those that are free; None where the rank is not known.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass
class Plan:
    """What a graph computes, but for its arrays that are learned or kept.

    Args:
        title: the file's name, for messages.
        nodes: in an order in which each follows those whose outputs it takes.
        constants: arrays of the host by name.
        inputs, outputs: of the graph.
        dtype: the floating dtype that the file computes in.
        images_last: whether images come, and go, channels last.
        budget: bounds each value of a pass.
        metadata: what the file says of itself.
        free_batch: whether the number of examples is free where the file fixes it.
    """

    title: str
    nodes: list[Node]
    constants: dict[str, np.ndarray]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    dtype: str
    images_last: bool
    budget: Budget
    metadata: dict[str, str] = field(default_factory=dict)
    free_batch: bool = False
    weights: dict[str, tuple[str, str, tuple[int, ...] | None]] = field(default_factory=dict)  # layer, state, order
    last: list[list[str]] = field(default_factory=list)  # names that no node after this one takes
    costs: dict[tuple[int, ...], tuple[list[Any], Cost]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        seen = {port.name for port in self.outputs}
        for node in reversed(self.nodes):
            names = [*node.inputs, *node.outputs]
            self.last.append([n for n in dict.fromkeys(names) if n and n not in seen])
            seen.update(names)
        self.last.reverse()


class Graph(Module):
    """The network of an ONNX file.

    Its layers are in ``layers``, by the names of their nodes: those with weights or other arrays, and dropouts.
    ``load_onnx`` makes it.

    Args:
        plan: the nodes.
        layers: by the name of their node.
    """

    kind = "onnx"

    def __init__(self, plan: Plan, layers: dict[str, Layer]) -> None:
        self.plan = plan
        self.layers = layers

    @property
    def input_shape(self) -> tuple[int | None, ...] | None:
        """The shape of one example, None for sizes that are free; None where the file does not say it."""
        shape = self.plan.inputs[0].shape if self.plan.inputs else None
        if not shape:
            return None
        return shape[2:] + shape[1:2] if self.plan.images_last and len(shape) == 4 else shape[1:]

    @property
    def metadata(self) -> dict[str, str]:
        """What the file says of itself, by key."""
        return dict(self.plan.metadata)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Compute the outputs: a Tensor, or a tuple where the graph has several."""
        plan, given = self.plan, self._given(inputs, named)
        fixed = plan.inputs[0].shape[0] if plan.inputs and plan.inputs[0].shape else None
        n = given[0].shape[0] if given and given[0].shape else None
        if fixed is None or n in (fixed, None):
            return self._outputs(given)
        if plan.free_batch:
            return self._freed(fixed, n, given)
        if self.training or not fixed or n % fixed or len(plan.outputs) > 1 or not n:
            do = "give such batches, or load it with free_batch=True"
            raise ShapeError(plan.title, f"N = {fixed}, as the file fixes it", do, N=n)
        parts = [self._outputs([x[i : i + fixed] for x in given]) for i in range(0, n, fixed)]
        return parts[0] if len(parts) == 1 else apply(ops.concat, *parts)

    def _freed(self, fixed: int, n: int, given: list[Tensor]) -> Any:
        """Compute a batch of another size than the file fixes."""
        found = self._outputs(given, batch=(fixed, n))
        for y, port in zip(found if isinstance(found, tuple) else (found,), self.plan.outputs, strict=True):
            if port.shape and port.shape[0] == fixed and y.shape[:1] != (n,):
                do = "omit free_batch: a size within the graph depends on the number of examples"
                raise ShapeError(self.plan.title, f"N = {n} in {port.name}", do, **{port.name: tuple(y.shape)})
        return found

    def _given(self, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> list[Tensor]:
        """Check the inputs, and return them in the order of the graph."""
        plan = self.plan
        wanted = [port.name for port in plan.inputs]
        if named:
            unknown = [name for name in named if name not in wanted]
            rest = [name for name in wanted if name not in named]
            if unknown or len(inputs) != len(rest):
                raise ConfigError(plan.title, f"inputs {', '.join(wanted)}", inputs=", ".join(named))
            places = dict(zip(rest, inputs, strict=True)) | dict(named)
            inputs = tuple(places[name] for name in wanted)
        if len(inputs) != len(wanted):
            raise ConfigError(plan.title, f"{counted(len(wanted), 'input')}: {', '.join(wanted)}", inputs=len(inputs))
        given = [x if isinstance(x, Tensor) else Tensor(x) for x in inputs]
        for i, (port, x) in enumerate(zip(plan.inputs, given, strict=True)):
            shape = port.shape
            if shape is None:
                continue
            if plan.images_last and len(shape) == 4:
                shape = (shape[0], *shape[2:], shape[1])
            sizes = zip(shape[i == 0 :] if shape else (), x.shape[i == 0 :], strict=False)
            if x.ndim != len(shape) or any(n not in (None, m) for n, m in sizes):
                text = ", ".join(
                    "N" if n is None and not k else "?" if n is None else str(n) for k, n in enumerate(shape)
                )
                raise ShapeError(plan.title, f"{port.name} of shape ({text})", **{port.name: tuple(x.shape)})
        return given

    def _outputs(self, given: list[Tensor], trace: Any = None, batch: tuple[int, int] | None = None) -> Any:
        plan = self.plan
        run = self._run(given)
        run.batch = batch
        values: dict[str, Value | np.ndarray | None] = {"": None}
        for port, x in zip(plan.inputs, given, strict=True):
            if port.dtype.startswith("float"):
                values[port.name] = Value(x, LAST if plan.images_last and x.ndim == 4 else None)
            else:
                values[port.name] = x.numpy()
        for name, (layer, state, order) in plan.weights.items():
            values[name] = Value(getattr(self.layers[layer], state), order)
        with np.errstate(all="ignore"):
            for node, done in zip(plan.nodes, plan.last, strict=True):
                inputs = [values[n] if n in values else plan.constants[n] for n in node.inputs]
                run.layer, before = self.layers.get(node.name), run.macs
                results = compute_node(run, node, inputs)
                values.update(zip(node.outputs, results, strict=False))
                if trace is not None:
                    trace(node, run.layer, inputs, results, run.macs - before)
                run.budget.keep(results)
                for name in done:
                    run.budget.drop(values.pop(name, None))
        found = []
        for port in plan.outputs:
            value = values[port.name] if port.name in values else plan.constants[port.name]
            if isinstance(value, Value):
                found.append(value.arranged(LAST if plan.images_last and value.tensor.ndim == 4 else None))
            else:
                assert value is not None, "an output has a value"
                found.append(Tensor(run.backend.from_numpy(value)))
        return found[0] if len(found) == 1 else tuple(found)

    def _run(self, given: list[Tensor]) -> Run:
        """Return the pass for inputs: where they are, in the dtype of the model or else of theirs."""
        floating = [x for x, port in zip(given, self.plan.inputs, strict=True) if port.dtype.startswith("float")]
        state: State | None = next(iter(self.states().values()), None)
        backend = state.backend if state is not None else given[0].backend if given else self.backend
        dtype = state.dtype_ if state is not None else _name(floating[0].dtype) if floating else self.plan.dtype
        size = sum(math.prod(x.shape) for x in given)
        return Run(self.plan.budget.for_inputs(4 * size), backend, (self.plan.dtype, dtype), self.training)

    def predict(self, x: Any, *, batch_size: int = 256) -> Any:
        """Compute the scores of examples in evaluation mode, as Module.predict; of a graph with one output."""
        if len(self.plan.outputs) != 1:
            names = ", ".join(port.name for port in self.plan.outputs)
            do = "choose one: load_onnx(path, output=...), or call the model, which returns all"
            raise ConfigError("predict", "a model of one output", do, outputs=names)
        return super().predict(x, batch_size=batch_size)

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Return the cost of one example of a shape, from one pass on zeros."""
        return self._traced(shape)[1]

    def stages(self, shape: tuple[int, ...], kept: bool = False) -> Iterator[Stage]:
        """Go over the nodes that compute, from one pass on zeros."""
        for row in self._traced(shape)[0]:
            node, layer, sizes, macs = row
            reader = node.reader
            part = Row(layer, reader.kind, reader.family, facts(node, layer))
            object.__setattr__(part, "path", node.name)
            cost = cost_of(sizes, macs)
            yield Stage(node.name, part, sizes[0], cost, cost.saved, True)

    def _traced(self, shape: tuple[int, ...]) -> tuple[list[Any], Cost]:
        shape = arguments.shape("cost", "shape", shape)
        if shape not in self.plan.costs:
            rows: list[Any] = []

            def trace(node: Node, layer: Any, inputs: list[Any], results: tuple[Any, ...], macs: int) -> None:
                floating = [v for v in inputs if isinstance(v, Value) and not isinstance(v.tensor, State)]
                if floating and isinstance(results[0], Value):
                    rows.append((node, layer, (_example(floating[0]), _example(results[0])), macs // batch))

            port = self.plan.inputs[0] if self.plan.inputs else None
            batch = (port.shape[0] if port is not None and port.shape else None) or 1
            if len(self.plan.inputs) != 1:
                raise ShapeError(self.plan.title, "a graph of one input", inputs=len(self.plan.inputs))
            try:
                self.plan.budget.check((batch, *shape))
            except XpnetError as error:
                error.where = self.plan.title
                raise
            zeros = np.zeros((batch, *shape), self.plan.inputs[0].dtype)
            dtype = next((state.dtype_ for state in self.states().values()), zeros.dtype.name)
            zeros = zeros.astype(dtype) if zeros.dtype.kind == "f" else zeros
            with inference(), no_grad():
                found = self._outputs(self._given((self.backend.from_numpy(zeros),), {}), trace)
            output = tuple((found[0] if isinstance(found, tuple) else found).shape[1:])
            if len(output) == 3 and not self.plan.images_last:
                output = (*output[1:], output[0])
            total = Cost(output, sum(row[3] for row in rows), sum(math.prod(row[2][1]) for row in rows))
            self.plan.costs[shape] = rows, total
        return self.plan.costs[shape]


def facts(node: Node, layer: Layer | None) -> tuple[str, ...]:
    """Return the attributes of a node that summaries show, such as "3x3" and "stride 2"."""
    found = []
    kernel = node.attributes.get("kernel_shape")
    if isinstance(kernel, list) and kernel:
        found.append("x".join(map(str, kernel)))
    strides = node.attributes.get("strides")
    if isinstance(strides, list) and any(s != 1 for s in strides):
        found.append("stride " + "x".join(map(str, strides if len(set(strides)) > 1 else strides[:1])))
    if node.attributes.get("group", 1) != 1:
        found.append(counted(node.attributes["group"], "group"))
    return tuple(found)


def compute_node(run: Run, node: Node, inputs: list[Value | np.ndarray | None]) -> tuple[Any, ...]:
    """Compute the outputs of a node; of arrays of the host alone, on the host.

    Raises:
        XpnetError: with the node in its message, whatever went wrong.
    """
    on_host = all(x is None or is_host(x) for x in inputs)
    try:
        results = node.reader.function(run.on_host() if on_host else run, node, *inputs)
        results = results if isinstance(results, tuple) else (results,)
        if len(results) < len(node.outputs) and any(node.outputs[len(results) :]):
            raise DataError("onnx", f"{counted(len(results), 'output')}, all that are read", outputs=len(node.outputs))
        return tuple([_kept(r, on_host) for r in results])
    except XpnetError as error:
        if error.where == "onnx":
            error.where = node.where
        elif error.where != node.where:
            error.path = error.path or node.where
        raise
    except _FAILURES as error:
        if is_out_of_memory(error):
            raise DeviceError.event(node.where, "out of memory", "use smaller batches or inputs") from error
        raise DataError.event(node.where, "cannot be computed", error=f"{type(error).__name__}: {error}") from error


def _kept(result: Any, on_host: bool) -> Any:
    """A result as a graph keeps it: what was computed of arrays of the host is one, of any rank."""
    if on_host and isinstance(result, Value):
        result = result.arranged(None).data
    return np.asarray(result) if isinstance(result, np.generic) else result


def _example(value: Value) -> tuple[int, ...]:
    """The shape of one example, of images with their channels last."""
    shape = value.shape
    return (*shape[2:], shape[1]) if len(shape) == 4 else shape[1:]


def _name(dtype: Any) -> str:
    return str(dtype).rpartition(".")[2]
