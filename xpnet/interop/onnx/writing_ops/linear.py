"""Products with a matrix."""

from __future__ import annotations

from xpnet import ops
from xpnet.interop.graph import Value
from xpnet.interop.onnx.writer import NCHW, Stored, Writer
from xpnet.interop.onnx.writing_ops.elementwise import activate
from xpnet.interop.onnx.writing_ops.registry import writes

__all__: list[str] = []


@writes(ops.linear)
def linear(g: Writer, x: Value, w: Value, b: Value | None = None, activation: str | None = None) -> Stored:
    """Gemm of rows, whose columns may be in another order: the weight's follow. Of images a convolution 1x1."""
    stored = g.get(x)
    shape, rank = g.step.output.shape, len(x.shape)  # type: ignore[union-attr]
    if w.array is None or (b is not None and b.array is None) or x.array is not None:
        return activate(g, _computed(g, x, w, b), activation)
    bias = [] if b is None else [g.get(b).name]
    if rank == 2:
        stored = stored if stored.columns is not None else g.plain(stored)
        order = stored.columns
        weight = g.get(w).name if order is None else g.weight(w, w.array[:, order], ("columns", order.tobytes()))
        name = g.node("Gemm", stored.name, weight, *bias, transB=1)
        return activate(g, g.result(name), activation)
    if rank == 4 and stored.axes == NCHW:
        name = g.node("Conv", stored.name, g.weight(w, w.array[:, :, None, None], "filters"), *bias)
        return activate(g, Stored(name, shape, stored.dtype, NCHW), activation)
    name = g.node("MatMul", g.plain(stored).name, g.weight(w, w.array.T, "transposed"))
    name = g.node("Add", name, *bias) if bias else name
    return activate(g, g.result(name), activation)


def _computed(g: Writer, x: Value, w: Value, b: Value | None) -> Stored:
    """Weights that the model computes from its input."""
    y = g.result(g.node("MatMul", g.plain(x).name, g.ordered(w, (1, 0)).name))
    return y if b is None else g.broadcast("Add", y, b)


@writes(ops.matmul)
def matmul(g: Writer, a: Value, b: Value) -> Stored:
    """MatMul; a constant's rows follow the order of a's columns."""
    left = g.get(a)
    if left.columns is not None and b.array is not None and b.array.ndim == 2:
        order = left.columns
        return g.result(g.node("MatMul", left.name, g.weight(b, b.array[order], ("rows", order.tobytes()))))
    return g.result(g.node("MatMul", g.plain(left).name, g.plain(b).name))
