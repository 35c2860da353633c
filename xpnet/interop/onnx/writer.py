"""The nodes and arrays of an ONNX file, as they are added; and in which order the file holds the axes of each value.

xpnet's images are (N, H, W, C), ONNX's (N, C, H, W). Each value carries the order of its axes in the file, so an op
says which order it needs and the rest follow it: axis arguments are translated, weights are permuted once, and a
Transpose is written only where the order in memory counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpnet.errors import ConfigError
from xpnet.interop.graph import Batch, Size, Step, Value

__all__ = ["NCHW", "Operand", "Stored", "Writer"]

NCHW = (0, 3, 1, 2)
_SHARED = 64  # numbers of a constant that is looked for among those that are there


@dataclass(frozen=True, eq=False)
class Stored:
    """A value in the file.

    Args:
        name: of it in the file.
        shape: the sizes of the model's value.
        dtype: its name.
        axes: axis i in the file is axis axes[i] of the model's value.
        columns: of rows (N, D): column j in the file is column columns[j] of the model's; None: they are in order.
    """

    name: str
    shape: tuple[Size, ...]
    dtype: str
    axes: tuple[int, ...]
    columns: np.ndarray | None = None

    @property
    def is_plain(self) -> bool:
        """Whether axes and columns are in the model's order."""
        return self.columns is None and self.axes == tuple(range(len(self.axes)))

    def at(self, axis: int) -> int:
        """Return the axis in the file of an axis of the model's, which may be negative."""
        return self.axes.index(axis % len(self.axes))


Operand = Value | Stored | int | float


class Writer:
    """Writes nodes, one op of a model at a time.

    Args:
        onnx: the library.
        where: whose call it is, for messages.
        opset: of the nodes.
    """

    def __init__(self, onnx: Any, where: str, opset: int) -> None:
        self.onnx, self.where, self.opset = onnx, where, opset
        self.nodes: list[Any] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.step: Step | None = None
        self.first_input = ""
        self._renamed: dict[str, str] = {}  # what has the name of an output
        self._names: set[str] = set()
        self._stored: dict[int, Stored] = {}
        self._known: dict[Any, str] = {}  # small constants by content, and values in another order by name and order

    # Names, nodes and constants

    def unique(self, name: str) -> str:
        """Return a name that nothing in the file has."""
        found, number = name, 1
        while found in self._names:
            number += 1
            found = f"{name}_{number}"
        self._names.add(found)
        return found

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, named after the layer, and return the name of its output."""
        path = self.step.path if self.step is not None else ""
        name = self.unique(f"{path}/{op}" if path else op)
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def output(self, name: str, output: str) -> None:
        """Give a value the name of an output; one that no node computes, or that is an output already, is copied."""
        name = self._renamed.get(name, name)
        if name in self._renamed.values() or not any(name in node.output for node in self.nodes):
            self.nodes.append(self.onnx.helper.make_node("Identity", [name], [output], name=output))
            return
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [output if found == name else found for found in names]
        self._renamed[name] = output

    def constant(self, array: Any, dtype: str = "", name: str = "") -> str:
        """Add an array, and return its name; a small one that is there already is used again."""
        array = np.asarray(array, dtype or None)
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= _SHARED and not name else None
        if key is not None and key in self._known:
            return self._known[key]
        path = self.step.path if self.step is not None else ""
        found = self.unique(name or (f"{path}/constant" if path else "constant"))
        self.arrays[found] = np.ascontiguousarray(array).reshape(array.shape)
        if key is not None:
            self._known[key] = found
        return found

    def integers(self, numbers: Sequence[int]) -> str:
        """Add integers, such as axes or sizes."""
        return self.constant(list(numbers), "int64")

    def unsupported(self, what: str, do: str) -> ConfigError:
        """Return the error of an op that has no form in a file."""
        assert self.step is not None
        return ConfigError.event(self.where, what, do, op=self.step.name, layer=self.step.path or "the model")

    # Values

    def keep(self, value: Value, stored: Stored) -> None:
        """Remember how a value is stored."""
        self._stored[id(value)] = stored

    def result(self, name: str, axes: tuple[int, ...] | None = None, columns: np.ndarray | None = None) -> Stored:
        """Return the output of the present op; in the model's order unless axes say another one."""
        assert self.step is not None
        value = self.step.output
        return Stored(name, value.shape, value.dtype, axes or tuple(range(len(value.shape))), columns)

    def like(self, name: str, x: Stored) -> Stored:
        """Return a value stored as x is."""
        return replace(x, name=name)

    def get(self, x: Operand) -> Stored:
        """Return how a value is stored; a constant is added, with all its rows."""
        if isinstance(x, Stored):
            return x
        assert isinstance(x, Value), "numbers are constants of an op's own"
        if id(x) in self._stored:
            return self._stored[id(x)]
        assert x.array is not None
        name = self.constant(x.array, name=self._state_name(x))
        if any(isinstance(size, Batch) for size in x.shape):
            name = self.node("Expand", name, self.sizes(x.shape))
        self._stored[id(x)] = Stored(name, x.shape, x.dtype, tuple(range(len(x.shape))))
        return self._stored[id(x)]

    def weight(self, value: Value, array: np.ndarray, form: Any) -> str:
        """Add the array of a constant in a form that says how it differs from the model's; each form once."""
        key = ("weight", id(value), form)
        if key not in self._known:
            self._known[key] = self.constant(array, name=self._state_name(value))
        return self._known[key]

    def _state_name(self, value: Value) -> str:
        return value.state.path if value.state is not None else ""

    def ordered(self, x: Operand, axes: tuple[int, ...]) -> Stored:
        """Return a value with its axes in an order; a Transpose where it has another one."""
        if isinstance(x, Value) and x.array is not None and not any(isinstance(n, Batch) for n in x.shape):
            return Stored(self.weight(x, x.array.transpose(axes), axes), x.shape, x.dtype, axes)
        x = self._columns_in_order(self.get(x))
        if x.axes == axes:
            return x
        key = ("ordered", x.name, x.axes, axes)
        if key not in self._known:
            kept, wanted = ([a for a in order if x.shape[a] != 1] for order in (x.axes, axes))
            if kept == wanted:  # only axes of size 1 move: the same memory
                self._known[key] = self.node("Reshape", x.name, self.sizes([x.shape[a] for a in axes], inferred=True))
            else:
                self._known[key] = self.node("Transpose", x.name, perm=[x.axes.index(a) for a in axes])
        return replace(x, name=self._known[key], axes=axes)

    def plain(self, x: Operand) -> Stored:
        """Return a value in the model's own order."""
        x = self.get(x)
        return self.ordered(x, tuple(range(len(x.shape))))

    def _columns_in_order(self, x: Stored) -> Stored:
        if x.columns is None:
            return x
        key = ("columns", x.name)
        if key not in self._known:
            self._known[key] = self.node("Gather", x.name, self.integers(np.argsort(x.columns).tolist()), axis=1)
        return replace(x, name=self._known[key], columns=None)

    # Sizes

    def sizes(self, shape: Sequence[Size], inferred: bool = False) -> str:
        """Add sizes, as integers; those that depend on N are computed, unless ``inferred`` lets one of them be -1."""
        depend = [n for n in shape if isinstance(n, Batch)]
        if not depend or (inferred and len(depend) == 1 and 0 not in shape):
            return self.integers([-1 if isinstance(n, Batch) else n for n in shape])
        parts = [self._size(n) if isinstance(n, Batch) else self.integers([n]) for n in shape]
        return self.node("Concat", *parts, axis=0)

    def _size(self, size: Batch) -> str:
        if size not in self._known:
            found = self.node("Shape", self.first_input, start=0, end=1)
            if size.times != 1:
                found = self.node("Mul", found, self.integers([size.times]))
            if size.plus:
                found = self.node("Add", found, self.integers([size.plus]))
            self._known[size] = found
        return self._known[size]

    # Broadcasting

    def broadcast(self, op: str, *operands: Operand, dtype: str = "", **attributes: Any) -> Stored:
        """Add a node of operands that broadcast together, brought to the order of one of them.

        Args:
            op: such as "Add".
            operands: values and numbers, at least one of them no constant.
            dtype: of the result; by default that of the operands, of which boolean masks are none.
        """
        arrays = [x for x in operands if isinstance(x, Value | Stored)]
        traced = [self.get(x) for x in arrays if isinstance(x, Stored) or x.array is None]
        rank = max(len(x.shape) for x in arrays)
        kind = next((x.dtype for x in arrays if x.dtype != "bool"), "bool")
        full = [x for x in traced if len(x.shape) == rank]
        lead = next((x for x in full if not x.is_plain), full[0] if full else None)
        axes = tuple(range(rank)) if lead is None else lead.axes
        columns = None if lead is None else lead.columns
        if not all(x.shape[-1:] in ((), (1,)) or _same(x.columns, columns) for x in traced):
            columns = None  # they are in several orders
        shape = self._shape_of(arrays, rank)
        rows = self._shape_of(traced, rank)
        names = [self._aligned(x, axes, columns, kind, rows) for x in operands]
        return Stored(self.node(op, *names, **attributes), shape, dtype or kind, axes, columns)

    def _shape_of(self, arrays: Sequence[Value | Stored], rank: int) -> tuple[Size, ...]:
        shape: list[Size] = [1] * rank
        for x in arrays:
            for i, n in enumerate(x.shape, rank - len(x.shape)):
                shape[i] = n if n != 1 else shape[i]
        return tuple(shape)

    def _aligned(
        self, x: Operand, axes: tuple[int, ...], columns: np.ndarray | None, kind: str, rows: tuple[Size, ...]
    ) -> str:
        if isinstance(x, Batch):
            raise self.unsupported("a number that depends on the number of examples", "export with a fixed batch")
        if isinstance(x, int | float):
            return self.constant(np.asarray(x).astype(kind))
        rank, shape_of_x = len(axes), x.shape
        missing = rank - len(shape_of_x)
        if isinstance(x, Value) and x.array is not None:
            array = x.array
            pairs = zip(shape_of_x, rows[missing:], strict=True)
            if all(isinstance(m, Batch) for n, m in pairs if isinstance(n, Batch)):  # something else has the N rows
                if columns is not None and array.shape and array.shape[-1] == len(columns):
                    array = array[..., columns]
                whole = array.reshape((1,) * missing + array.shape).transpose(axes)
                while whole.ndim and whole.shape[0] == 1:  # ONNX broadcasts leading axes
                    whole = whole[0]
                return self.weight(x, whole, (axes, None if columns is None else columns.tobytes()))
        x = self.get(x)
        if not missing:
            if x.columns is not None and _same(x.columns, columns):
                return x.name
            return self.ordered(x, axes).name
        x = self.plain(x)
        if axes == tuple(range(rank)):
            return x.name
        wide = (*(1,) * missing, *x.shape)
        name = self.node("Reshape", x.name, self.sizes(wide, inferred=True))
        return self.ordered(Stored(name, wide, x.dtype, tuple(range(rank))), axes).name


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))
