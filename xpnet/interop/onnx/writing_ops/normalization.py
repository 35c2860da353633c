"""Normalization of a batch, of an example's features, and by neighbours."""

from __future__ import annotations

import numpy as np

from xpnet import ops
from xpnet.interop.graph import Value
from xpnet.interop.onnx.writer import NCHW, Operand, Stored, Writer
from xpnet.interop.onnx.writing_ops.elementwise import unary
from xpnet.interop.onnx.writing_ops.reduction import reduced
from xpnet.interop.onnx.writing_ops.registry import writes

__all__: list[str] = []


@writes(ops.batch_norm)
def batch_norm(
    g: Writer,
    x: Value,
    gamma: Value,
    beta: Value,
    mean: Value,
    var: Value,
    *,
    eps: float = 1e-5,
    training: bool = False,
) -> Stored:
    """BatchNormalization of images and rows; of others the same by arithmetic, since its channels are axis 1."""
    vectors = [v.array for v in (gamma, beta, mean, var)]
    rank, stored = len(x.shape), g.get(x)
    if rank not in (2, 4) or any(v is None for v in vectors):
        scale = g.broadcast("Div", gamma, unary(g, "Sqrt", g.broadcast("Add", g.get(var), eps)))
        return g.broadcast("Add", g.broadcast("Mul", g.broadcast("Sub", stored, mean), scale), beta)
    if rank == 4:
        stored, names = g.ordered(stored, NCHW), [g.get(v).name for v in (gamma, beta, mean, var)]
    else:
        stored = stored if stored.columns is not None else g.plain(stored)
        names = [_in_order(g, v, stored.columns) for v in (gamma, beta, mean, var)]
    return g.like(g.node("BatchNormalization", stored.name, *names, epsilon=eps), stored)


def _in_order(g: Writer, vector: Value, order: np.ndarray | None) -> str:
    if order is None or vector.array is None:
        return g.get(vector).name
    return g.weight(vector, vector.array[order], ("columns", order.tobytes()))


@writes(ops.layer_norm)
def layer_norm(g: Writer, x: Value, gamma: Value, beta: Value, *, eps: float = 1e-5) -> Stored:
    """LayerNormalization where the features lie last in the file, else by arithmetic."""
    stored = g.get(x)
    stored = g.plain(stored) if stored.columns is not None else stored
    if stored.at(-1) == len(stored.axes) - 1:
        name = g.node("LayerNormalization", stored.name, g.get(gamma).name, g.get(beta).name, epsilon=eps, axis=-1)
        return g.like(name, stored)
    centred = g.broadcast("Sub", stored, reduced(g, "ReduceMean", stored, (-1,), True))
    var = reduced(g, "ReduceMean", g.broadcast("Mul", centred, centred), (-1,), True)
    normal = g.broadcast("Div", centred, unary(g, "Sqrt", g.broadcast("Add", var, eps)))
    return g.broadcast("Add", g.broadcast("Mul", normal, gamma), beta)


@writes(ops.local_response_norm)
def local_response_norm(
    g: Writer,
    x: Value,
    *,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 2.0,
    region: str = "across",
    average: bool = False,
) -> Stored:
    """LRN, which multiplies by alpha / size; with even windows, which it lays otherwise, or within a channel, by
    arithmetic."""
    numbers = size if region == "across" else size * size
    rate = alpha / numbers if average else alpha
    stored = g.ordered(x, NCHW)
    if region == "across" and size % 2 and x.dtype == "float32":
        name = g.node("LRN", stored.name, size=size, alpha=rate * size, beta=float(beta), bias=float(k))
        return g.like(name, stored)
    squares = g.broadcast("Mul", stored, stored)
    sums = _across(g, squares, size) if region == "across" else _within(g, squares, size)
    base: Operand = g.broadcast("Add", g.broadcast("Mul", sums, rate), k)
    return g.broadcast("Div", stored, g.broadcast("Pow", base, beta))


def _across(g: Writer, x: Stored, size: int) -> Stored:
    """The sum over the window of each channel: a convolution 1x1 with ones."""
    c = x.shape[3]
    assert isinstance(c, int)
    apart = np.arange(c)[None, :] - np.arange(c)[:, None]
    ones = (apart >= -(size // 2)) & (apart <= (size - 1) // 2)  # (C, C): which channels each one sees
    return g.like(g.node("Conv", x.name, g.constant(ones[:, :, None, None], x.dtype)), x)


def _within(g: Writer, x: Stored, size: int) -> Stored:
    """The sum over the square about each pixel."""
    before, after = size // 2, (size - 1) // 2
    padded = g.node("Pad", x.name, g.integers([0, 0, before, before, 0, 0, after, after]))
    name = g.node("AveragePool", padded, kernel_shape=[size, size], strides=[1, 1])
    return g.broadcast("Mul", g.like(name, x), float(size * size))
