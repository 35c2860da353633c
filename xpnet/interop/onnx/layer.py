"""A node of an imported graph as a layer: it holds the node's parameters and buffers, and describes it."""

from __future__ import annotations

import math
from typing import Any

from xpnet.nn import Cost, Dropout, Module
from xpnet.nn.state import State

__all__ = ["Layer"]


class Layer(Module):
    """The arrays of one node, by the names of its inputs, such as weight and bias.

    Args:
        kind: of the node, in summaries.
        family: its entry in the legends of pictures.
        states: parameters and buffers by name.
        drops: whether the node is a dropout, whose draws are keyed by the layer's path.
    """

    across_batch = None

    def __init__(self, kind: str, family: str, states: dict[str, State], drops: bool = False) -> None:
        self.kind = kind
        self.family = family
        self.facts: tuple[str, ...] = ()
        for name, state in states.items():
            setattr(self, name, state)
        self.dropout = Dropout(0.0) if drops else None
        self.seen: Any = None

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """A node is computed by its graph."""
        raise NotImplementedError("a node of a graph is computed by the graph")

    def details(self) -> tuple[str, ...]:
        """Return the attributes of the node that are shown."""
        return self.facts


class Row(Module):
    """A node with the figures that a pass over the graph gave, as a stage of a summary.

    Args:
        layer: the node's layer, or None where it holds no arrays.
        kind, family: as of Layer.
        facts: attributes that are shown.
    """

    def __init__(self, layer: Layer | None, kind: str, family: str, facts: tuple[str, ...]) -> None:
        self.kind, self.family, self.facts = kind, family, facts
        object.__setattr__(self, "_layer", layer)

    def parameters(self) -> list[Any]:
        """Return the parameters of the node."""
        layer = vars(self)["_layer"]
        return [] if layer is None else layer.parameters()

    def details(self) -> tuple[str, ...]:
        """Return the attributes that are shown."""
        return self.facts


def cost_of(shapes: tuple[tuple[int, ...], tuple[int, ...]], macs: int) -> Cost:
    """Return the cost of a node from the shapes of its input and output for one example, which it keeps."""
    return Cost(shapes[1], macs, math.prod(shapes[1]), "y")
