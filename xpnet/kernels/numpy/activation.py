"""Bias and ReLU after the products of linear and conv2d, for NumPy: in place, their gradients in few passes.

There are no kernels of separate activations: NumPy would take as long for them as for the reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from xpnet.backend import empty, launch, limit_threads
from xpnet.kernels.numpy.arrays import Array

__all__ = ["FUSED", "act_grad", "bias_act", "column_sums", "long_rows"]

FUSED = (None, "relu")  # what bias_act and act_grad apply

_BLOCK = 1 << 15  # numbers worked on at a time
_SUMMED = 256  # rows that one product sums
_SHORT = 32  # numbers in a row that is better joined with others, and rows for which that pays
_WIDE = 1 << 12  # numbers in a row, at least, that a vector a channel is added to


def bias_act(z: Array, b: Array | None, activation: str | None) -> None:
    """Add a bias to the rows of z and apply an activation, in place.

    Args:
        z: (P, F), in row-major order and written.
        b: (F,), or None.
        activation: one of FUSED.
    """
    if b is not None:
        if len(b) > _SHORT or len(z) < _SHORT:
            launch(np.add, z, b, z)
        else:
            launch(_add_to_long_rows, z, b)
    if activation == "relu":
        launch(_relu, z)


def _relu(z: Array) -> None:
    np.maximum(z, 0.0, out=z)


def _add_to_long_rows(z: Array, b: Array) -> None:
    for (part,), (wide,) in long_rows([z], [b]):
        part += wide


def act_grad(dy: Array, y: Array, activation: str | None, db: Array | None) -> Array:
    """Return the gradient before an activation that gave y, and write its sums over the rows into db.

    Args:
        dy: (P, F), not written; returned itself if activation is None.
        y: like dy; unused if activation is None.
        activation: one of FUSED.
        db: (F,), written, or None.
    """
    dz = dy
    if activation == "relu":
        dz = empty(dy.shape, dy.dtype)
        launch(_relu_gradient, dy, y, dz)
    if db is not None:
        launch(column_sums, dz, db)
    return dz


def _relu_gradient(dy: Array, y: Array, dz: Array) -> None:
    bits = f"i{dz.itemsize}"  # a product of bits with 0 or 1: np.where is slow, and infinity times 0 is NaN
    np.copyto(dz.view(bits), np.greater(y, 0.0))
    np.multiply(dz.view(bits), dy.view(bits), dz.view(bits))


def long_rows(arrays: Sequence[Array], vectors: Sequence[Array]) -> Iterator[tuple[list[Array], list[Array]]]:
    """Join short rows into long ones, and repeat vectors as often, so that NumPy loops over few long rows.

    The parts fit the cache.

    Args:
        arrays: (P, C) each; those to be written must be in row-major order.
        vectors: (C,) each.
    Yields:
        Parts of the arrays, (n, K*C) each, and the vectors, (K*C,) each.
    """
    rows, columns = arrays[0].shape
    fold = max(1, min(rows, _WIDE // max(1, columns)))
    whole = rows // fold * fold
    wide = [np.broadcast_to(v, (fold, columns)).reshape(-1) for v in vectors] if fold > 1 else list(vectors)
    step = max(1, _BLOCK // max(1, fold * columns)) * fold
    for at in range(0, whole, step):
        yield [a[at : min(whole, at + step)].reshape(-1, fold * columns) for a in arrays], wide
    if whole < rows:
        yield [a[whole:] for a in arrays], list(vectors)


def column_sums(x: Array, out: Array) -> None:
    """Write the sums over the rows of x, (P, C), into out, (C,), by products of blocks with ones.

    The sums of blocks are added in float64: rounding errors are those of a block.
    """
    rows, columns = x.shape
    fold = min(rows, 256 // max(1, columns))
    if fold < 2 or not x.flags.c_contiguous:
        _row_sums(x, out)
        return
    whole = rows // fold * fold
    sums = np.empty(fold * columns, x.dtype)
    _row_sums(x[:whole].reshape(-1, fold * columns), sums)
    np.add.reduce(sums.reshape(fold, columns), axis=0, out=out)
    if whole < rows:
        out += np.add.reduce(x[whole:], axis=0)


def _row_sums(x: Array, out: Array) -> None:
    rows, columns = x.shape
    if rows <= _SUMMED:
        limit_threads(np.matmul, 1, rows, columns)(np.ones(rows, dtype=x.dtype), x, out)
        return
    count, rest = divmod(rows, _SUMMED)
    blocks = x[: rows - rest].reshape(count, _SUMMED, columns)
    sums = np.add.reduce(np.matmul(np.ones(_SUMMED, x.dtype), blocks), axis=0, dtype=np.float64)
    out[...] = sums + np.matmul(np.ones(rest, x.dtype), x[rows - rest :]) if rest else sums
