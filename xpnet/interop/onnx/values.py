"""The values of a graph: floating tensors with an order of axes, and arrays of the host.

ONNX keeps images as (N, C, H, W), xpnet as (N, H, W, C). A value remembers in which order its axes lie in memory, so a
chain of convolutions, activations and poolings keeps channels last, and a Transpose of the graph moves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet.autograd import Tensor

__all__ = ["LAST", "Value", "is_host", "shape_of"]

LAST = (0, 2, 3, 1)  # of images (N, C, H, W) that lie channels last


class Value:
    """A floating tensor of a graph.

    Args:
        tensor: its elements.
        order: axis i of the tensor is axis order[i] of the value; None: they are the same.
    """

    __slots__ = ("_other", "order", "tensor")

    def __init__(self, tensor: Tensor, order: Sequence[int] | None = None) -> None:
        self.tensor = tensor
        order = None if order is None or list(order) == sorted(order) else tuple(order)
        self.order: tuple[int, ...] | None = order
        self._other: tuple[Any, Tensor] | None = None  # the last other order asked for, and the tensor in it

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes in the value's own order."""
        sizes = self.tensor.shape
        return tuple(sizes) if self.order is None else tuple(sizes[self.order.index(i)] for i in range(len(sizes)))

    @property
    def dtype(self) -> Any:
        """The dtype of the elements."""
        return self.tensor.dtype

    def axis(self, axis: int) -> int:
        """Return where an axis of the value lies in the tensor."""
        return axis if self.order is None else self.order.index(axis)

    def axes(self) -> tuple[int, ...]:
        """Return the order, spelled out."""
        return self.order if self.order is not None else tuple(range(self.tensor.ndim))

    def arranged(self, order: tuple[int, ...] | None) -> Tensor:
        """Return the tensor with its axes in another order; None: in the value's own."""
        wanted = tuple(range(self.tensor.ndim)) if order is None else order
        if wanted == self.axes():
            return self.tensor
        if self._other is None or self._other[0] != wanted:
            places = tuple(self.axis(a) for a in wanted)
            self._other = wanted, self.tensor.permute(*places)
        return self._other[1]

    def like(self, tensor: Tensor) -> Value:
        """Return a tensor of the same axes as a value."""
        return Value(tensor, self.order)


def is_host(value: Any) -> bool:
    """Whether a value is an array of the host."""
    return isinstance(value, np.ndarray)


def shape_of(value: Value | np.ndarray) -> tuple[int, ...]:
    """Return the sizes of a value."""
    return tuple(value.shape)
