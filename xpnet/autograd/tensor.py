"""Reverse-mode differentiation: tensors that record how they were computed, and the backward pass.

    w = Tensor(array, requires_grad=True)
    loss = ((x @ w - y) ** 2).mean()
    gradients = backward(loss)              # {w: array}; or loss.backward(), then w.grad

An op applied to a tensor that needs a gradient leaves one node on the tape: its vjp, where its inputs came from, and
which of them need a gradient. Nodes hold no tensors but leaves, so an array is freed as soon as no vjp needs it.
"""

from __future__ import annotations

import contextlib
import contextvars
import heapq
import itertools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from xpnet import ops
from xpnet.arguments import boolean, shown
from xpnet.autograd.observing import observer
from xpnet.autograd.values import Values, plain
from xpnet.backend import Array, namespace, record_call, this_thread
from xpnet.errors import ConfigError, DTypeError, ShapeError
from xpnet.ops.checks import floating, is_floating, shared

__all__ = ["Node", "Tensor", "apply", "backward", "has_tape", "no_grad"]

_ARRAYS: set[type] = set()  # of which Tensors were made
_order = itertools.count()
_recording: contextvars.ContextVar[bool] = contextvars.ContextVar("xpnet_recording", default=True)
has_tape = _recording.get  # has_tape() tells whether ops go on the tape: not within no_grad()


class Node:
    """One op on the tape. Later nodes have larger orders, so in descending order a node follows all users of its y."""

    __slots__ = ("needs", "order", "parents", "vjp")

    def __init__(self, vjp: Any, parents: list[Node | Tensor | None], needs: tuple[bool, ...]) -> None:
        self.vjp = vjp
        self.parents = parents
        self.needs = needs
        self.order = next(_order)


class Tensor(Values):
    """One array, and the node that made it.

    Comparisons, float(t), np.asarray(t) and what else reads its values are in Values; they leave nothing on the tape.

    Args:
        data: an array of any namespace.
        requires_grad: whether backward should find its gradient; the array must then be real floating.
    Raises:
        DTypeError: data is no array, or asks for a gradient and is not real floating.
    """

    __slots__ = ("__weakref__", "data", "grad", "node", "requires_grad")

    grad: Array | None
    node: Node | None

    def __init__(self, data: Array, requires_grad: bool = False) -> None:
        if type(data) not in _ARRAYS:
            shared("Tensor", data)
            _ARRAYS.add(type(data))
        if requires_grad is not False and boolean("Tensor", "requires_grad", requires_grad) and not is_floating(data):
            raise DTypeError("Tensor", "a real floating array, since requires_grad is True", dtype=data.dtype)
        self.data = data
        self.grad = None
        self.node = None
        self.requires_grad = requires_grad

    def _new(self, array: Array) -> Tensor:
        return Tensor(array)

    def detach(self) -> Tensor:
        """Return a tensor of the same array without a record of how it was computed."""
        return Tensor(self.data)

    def backward(self) -> None:
        """Add the gradient of this one number to ``.grad`` of each leaf that requires one."""
        for leaf, g in backward(self).items():
            namespace(g, leaf.grad)  # on one device
            leaf.grad = g if leaf.grad is None else leaf.grad + g

    def __add__(self, other: Any) -> Tensor:
        return apply(ops.add, self, plain(other))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Tensor:
        return apply(ops.subtract, self, plain(other))

    def __rsub__(self, other: Any) -> Tensor:
        return apply(ops.subtract, plain(other), self)

    def __mul__(self, other: Any) -> Tensor:
        return apply(ops.multiply, self, plain(other))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Tensor:
        return apply(ops.divide, self, plain(other))

    def __rtruediv__(self, other: Any) -> Tensor:
        return apply(ops.divide, plain(other), self)

    def __pow__(self, exponent: float) -> Tensor:
        return apply(ops.power, self, plain(exponent))

    def __rpow__(self, base: float) -> Tensor:
        return apply(ops.power, plain(base), self)

    def __neg__(self) -> Tensor:
        return apply(ops.negative, self)

    def __matmul__(self, other: Any) -> Tensor:
        return apply(ops.matmul, self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return apply(ops.matmul, other, self)

    def __getitem__(self, index: Any) -> Tensor:
        return apply(ops.getitem, self, index)

    def __abs__(self) -> Tensor:
        return apply(ops.abs, self)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Sum over axes, all by default."""
        return apply(ops.sum, self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Average over axes, all by default."""
        return apply(ops.mean, self, axis=axis, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Take the largest over axes, all by default."""
        return apply(ops.max, self, axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Take the smallest over axes, all by default."""
        return apply(ops.min, self, axis=axis, keepdims=keepdims)

    def exp(self) -> Tensor:
        """Exponentiate each element."""
        return apply(ops.exp, self)

    def log(self) -> Tensor:
        """Take the natural logarithm of each element."""
        return apply(ops.log, self)

    def sqrt(self) -> Tensor:
        """Take the square root of each element."""
        return apply(ops.sqrt, self)

    def clip(self, low: float | None = None, high: float | None = None) -> Tensor:
        """Limit each element to low .. high."""
        return apply(ops.clip, self, low, high)

    def relu(self) -> Tensor:
        """Keep what is positive: ops.relu."""
        return apply(ops.relu, self)

    def leaky_relu(self, slope: float = 0.01) -> Tensor:
        """Keep what is positive, and slope times what is not: ops.leaky_relu."""
        return apply(ops.leaky_relu, self, slope=slope)

    def sigmoid(self) -> Tensor:
        """Squash to (0, 1): ops.sigmoid."""
        return apply(ops.sigmoid, self)

    def tanh(self) -> Tensor:
        """Squash to (-1, 1): ops.tanh."""
        return apply(ops.tanh, self)

    def gelu(self) -> Tensor:
        """Multiply by about the normal distribution function: ops.gelu."""
        return apply(ops.gelu, self)

    def softmax(self, axis: int = -1) -> Tensor:
        """Turn scores into probabilities along an axis: ops.softmax."""
        return apply(ops.softmax, self, axis=axis)

    def log_softmax(self, axis: int = -1) -> Tensor:
        """Turn scores into log-probabilities along an axis: ops.log_softmax."""
        return apply(ops.log_softmax, self, axis=axis)

    def reshape(self, *shape: int | Sequence[int]) -> Tensor:
        """Read the same elements in another shape, t.reshape(2, 3) or t.reshape((2, 3)); one size may be -1."""
        return apply(ops.reshape, self, _one_or_each(shape))

    def flatten(self) -> Tensor:
        """Make one row of features of each example."""
        return apply(ops.flatten, self)

    def permute(self, *axes: int | Sequence[int]) -> Tensor:
        """Reorder the axes, as t.permute(1, 0) or t.permute((1, 0))."""
        return apply(ops.permute_dims, self, _one_or_each(axes))

    @property
    def T(self) -> Tensor:
        """The axes in reverse order: a matrix transposed."""
        return self.permute(*range(self.ndim)[::-1])


def _one_or_each(sizes: tuple[Any, ...]) -> Any:
    return sizes[0] if len(sizes) == 1 and isinstance(sizes[0], tuple | list) else sizes


def apply(op: Callable[..., tuple[Array, Any]], *inputs: Any, **options: Any) -> Tensor:
    """Apply an op to tensors, and leave a node on the tape if any of them needs a gradient.

    Args:
        op: ``op(*arrays, **options) -> (y, vjp)``; one of xpnet.ops or your own.
        inputs: tensors, arrays, or what else the op takes.
        options: passed on to the op.
    Returns:
        y as a Tensor.
    """
    arrays, parents, needs = [], [], []
    for t in inputs:
        parent = None
        if isinstance(t, Tensor):
            parent = t.node or (t if t.requires_grad else None)
            t = t.data
        arrays.append(t)
        parents.append(parent)
        needs.append(parent is not None)
    program = this_thread.program
    if program is not None and not (getattr(op, "__module__", None) or "").startswith("xpnet.ops."):
        program.unsupported(getattr(op, "__name__", type(op).__name__))
    y, vjp = op(*arrays, **options)
    out = Tensor.__new__(Tensor)
    out.data, out.grad = y, None
    out.requires_grad = recorded = True in needs and _recording.get()
    out.node = Node(vjp, parents, tuple(needs)) if recorded else None
    if (seen_by := observer()) is not None:
        seen_by.applied(op, inputs, options, out)
    return out


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Leave nothing on the tape within a with-block, in this thread and task only."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


def backward(y: Tensor, dy: Array | None = None, *, keep_tape: bool = False) -> dict[Tensor, Array]:
    """Run the backward pass from y and return the gradient of every leaf that requires one.

    Nothing is written to tensors or parameters, so several threads may do this with losses of one model.

    Args:
        y: a tensor made of leaves that require gradients; one number, unless dy is given.
        dy: the gradient of y, shaped like it; 1 by default.
        keep_tape: keep the nodes for another backward pass; by default each is freed when it was used.
    Returns:
        A dictionary from leaf tensor to gradient. Arrays may be views or shared: do not write to them.
    Raises:
        ShapeError: y is more than one number and dy is not given, or their shapes differ.
        DeviceError, DTypeError: dy is of another library, device or dtype than y.
        ConfigError: y was made without a tape, or its tape was used and freed.
    Cost: one vjp a node; iterative, so depth is bounded by memory alone.
    """
    if not isinstance(y, Tensor):
        raise DTypeError("backward", "y that is a Tensor", y=shown(y))
    if dy is None:
        if y.data.shape not in ((), (1,)):
            raise ShapeError("backward", "y of one number, or dy", y=y.data.shape)
        dy = y.data**0  # 1, of NaN too, in y's shape and dtype and where y is
    else:
        floating("backward", y.data, dy)
        if dy.shape != y.data.shape:
            raise ShapeError("backward", "dy of the shape of y", dy=dy.shape, y=y.data.shape)
    if y.node is None:
        if y.requires_grad:
            return {y: dy}
        raise ConfigError("backward", "y computed from leaves that require gradients", "see no_grad and requires_grad")
    pending: dict[Any, Array] = {y.node: dy}
    owned: set[Any] = set()  # sums made here, which may be added to in place
    heap = [(-y.node.order, y.node)]
    while heap:
        _, node = heapq.heappop(heap)
        vjp, parents = node.vjp, node.parents
        if vjp is None:
            raise ConfigError.event("backward", "the tape was freed by an earlier backward pass", "pass keep_tape=True")
        gradients = vjp(pending.pop(node), node.needs)
        owned.discard(node)
        if not keep_tape:
            node.vjp, node.parents = None, []
        del vjp
        if len(gradients) < len(parents):
            raise ShapeError("backward", "a gradient of each input", "see the op's vjp", inputs=len(parents))
        for parent, g in zip(parents, gradients, strict=False):  # inputs that were left out have no parent
            if parent is None or g is None:
                continue
            if parent not in pending:
                pending[parent] = g  # borrowed
                if type(parent) is Node:
                    heapq.heappush(heap, (-parent.order, parent))
            elif parent in owned:
                pending[parent] = record_call(operator.iadd, pending[parent], g)
            else:
                pending[parent] = record_call(operator.add, pending[parent], g)
                owned.add(parent)
    return pending
