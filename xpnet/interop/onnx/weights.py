"""Which arrays of a file are parameters, which are buffers, and which layers hold them."""

from __future__ import annotations

import numpy as np

from xpnet.interop.onnx.graph import Plan
from xpnet.interop.onnx.layer import Layer
from xpnet.interop.onnx.limits import Budget
from xpnet.interop.onnx.node import Node
from xpnet.nn import he_normal, ones, zeros
from xpnet.nn.state import DTYPES, Buffer, Parameter, State

__all__ = ["make_layers", "separate", "weights_of"]

Arrays = dict[str, np.ndarray]


def separate(nodes: list[Node], initializers: set[str], arrays: Arrays, budget: Budget) -> list[Node]:
    """Make an initializer that passes an Identity one of its own; return the other nodes.

    torch writes weights of equal values once, such as the biases of an untrained model: each layer learns its own.
    """
    rest = []
    for node in nodes:
        source = node.inputs[0] if node.reader.passes else ""
        if source in initializers and arrays[source].dtype.name in DTYPES:
            budget.charge(arrays[source].nbytes)
            arrays[node.outputs[0]] = arrays[source]
            initializers.add(node.outputs[0])
        else:
            rest.append(node)
    return rest


def weights_of(nodes: list[Node], initializers: set[str], arrays: Arrays) -> set[str]:
    """Return the initializers that layers learn: those are not folded."""
    found = set()
    for node in nodes:
        found |= {
            node.inputs[i]
            for i in node.reader.parameters
            if i < len(node.inputs) and node.inputs[i] in initializers and arrays[node.inputs[i]].dtype.name in DTYPES
        }
    return found


def make_layers(plan: Plan, arrays: Arrays, initializers: set[str]) -> dict[str, Layer]:
    """Make the parameters and buffers of the nodes, and note by which layer each value is held."""
    layers: dict[str, Layer] = {}
    learned: set[str] = set()  # weights, and values that depend on them
    for node in plan.nodes:
        reader, states = node.reader, {}
        follows = any(n in learned for n in node.inputs)
        for i, name in enumerate(node.inputs):
            array = arrays.get(name)
            if array is None or name in plan.weights or array.dtype.name not in DTYPES:
                continue
            if i in reader.parameters:
                slot, kind = reader.parameters[i], Parameter
            elif i in reader.buffers:
                slot, kind = reader.buffers[i], Buffer
            elif array.size > 1:
                learns = reader.learned and follows and name in initializers
                slot, kind = (reader.learned, Parameter) if learns else (f"input{i}", Buffer)
            else:
                continue
            order = reader.order(node, i, array.ndim)
            states[slot] = _state(kind, slot, array, order)
            plan.weights[name] = (node.name, slot, order)
            if kind is Parameter:
                learned.add(name)
        if states or reader.drops:
            layers[node.name] = Layer(reader.kind, reader.family, states, reader.drops)
        if follows or any(n in learned for n in node.inputs):
            learned.update(node.outputs)
    return layers


def _state(kind: type[State], slot: str, array: np.ndarray, order: tuple[int, ...] | None) -> State:
    """Return a parameter or buffer that holds an array, its axes in an order."""
    held = array if order is None else np.transpose(array, order)
    first = he_normal if held.ndim > 1 else ones if slot in ("scale", "var") else zeros  # after initialize()
    state = kind(held.shape, first, array.dtype.name)
    state.data = state.backend_.from_numpy(np.array(held, order="C"))
    return state
