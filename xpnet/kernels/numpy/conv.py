"""conv2d for NumPy: a tile of images is padded into a small buffer, its windows are copied out of one strided view into
columns that stay in the L2 cache, and one product writes the result where it belongs.

With one channel and stride 1 the columns are laid out a tap a row, (KH*KW, P), so that the copy moves whole image rows;
else a window a row, (P, KH*KW*C), in runs of KW*C numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from xpnet.kernels import register

__all__ = ["conv2d"]

_CACHE = 1 << 20  # bytes: about the L2 cache of a core of today


@register("conv2d", "numpy")
def conv2d(
    x: Any, w: Any, b: Any, rows: Any, cols: Any, groups: int, flip: bool, budget: int, activation: str | None
) -> tuple[Any, Any]:
    """Convolve as ops.conv2d does, without an activation; rows and cols are the windows laid by the op.

    Columns take at most the budget of bytes, or what stays in the cache if that is less.
    """
    if activation is not None:
        return NotImplemented
    bank = w[:, ::-1, ::-1, :] if flip else w
    f, c = w.shape[0] // groups, w.shape[3]
    size = min(budget, _CACHE)
    parts = [
        _Part(
            x[..., g * c : (g + 1) * c],
            np.ascontiguousarray(bank[g * f : (g + 1) * f]).reshape(f, -1),
            rows,
            cols,
            size,
        )
        for g in range(groups)
    ]
    z = np.empty((x.shape[0], rows.out, cols.out, w.shape[0]), dtype=x.dtype)
    for g, part in enumerate(parts):
        part.forward(z[..., g * f : (g + 1) * f])
    if b is not None:
        z += b

    def vjp(dz: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        dx = np.zeros(x.shape, dtype=x.dtype) if needs[0] else None
        dbank = np.zeros((w.shape[0], parts[0].bank.shape[1]), dtype=w.dtype) if needs[1] else None
        if needs[0] or needs[1]:
            for g, part in enumerate(parts):
                mine = slice(g * f, (g + 1) * f)
                part.backward(
                    dz[..., mine],
                    None if dx is None else dx[..., g * c : (g + 1) * c],
                    None if dbank is None else dbank[mine],
                )
        dw = None if dbank is None else dbank.reshape(w.shape)
        if dw is not None and flip:
            dw = np.ascontiguousarray(dw[:, ::-1, ::-1, :])
        db = None
        if b is not None and needs[2]:
            flat = dz.reshape(-1, w.shape[0])
            db = np.ones(len(flat), dtype=dz.dtype) @ flat
        return dx, dw, db

    return z, vjp


class _Part:
    """One group's convolution: images (N, H, W, C), filters (F, KH*KW*C)."""

    def __init__(self, x: Any, bank: Any, rows: Any, cols: Any, size: int) -> None:
        self.x, self.bank, self.rows, self.cols = x, bank, rows, cols
        self.by_tap = x.shape[3] == 1 and cols.s == 1
        row_bytes = cols.out * bank.shape[1] * x.itemsize
        fits = max(1, size // max(1, row_bytes))
        self.images = max(1, fits // rows.out)
        self.high = min(fits, rows.out)

    def tiles(self) -> Iterator[tuple[int, int, int, int]]:
        """Images i..j and output rows r..s of each tile."""
        n = self.x.shape[0]
        for i in range(0, n, self.images):
            for r in range(0, self.rows.out, self.high):
                yield i, min(n, i + self.images), r, min(self.rows.out, r + self.high)

    def padded(self, i: int, j: int, r: int, s: int) -> Any:
        """Images i..j with the pixels that output rows r..s touch, (n, HT, WT, C)."""
        (top, bottom), (left, right) = self.rows.span(r, s), self.cols.span(0, self.cols.out)
        _, h, w, c = self.x.shape
        if top >= 0 and left >= 0 and bottom <= h and right <= w:
            return self.x[i:j, top:bottom, left:right]
        tile = np.zeros((j - i, bottom - top, right - left, c), dtype=self.x.dtype)
        put, take = _overlap(top, bottom, h), _overlap(left, right, w)
        tile[:, put[0], take[0]] = self.x[i:j, put[1], take[1]]
        return tile

    def columns(self, i: int, j: int, r: int, s: int) -> Any:
        """The unrolled windows of a tile, (P, KH*KW*C); the memory order is that of by_tap."""
        tile, rows, cols = self.padded(i, j, r, s), self.rows, self.cols
        n, c = j - i, tile.shape[3]
        sn, sh, sw, sc = tile.strides
        if self.by_tap:
            shape = (rows.k, cols.k, n, s - r, cols.out)
            view = as_strided(tile, shape, (sh * rows.d, sw * cols.d, sn, sh * rows.s, sw), writeable=False)
            return np.ascontiguousarray(view).reshape(rows.k * cols.k, -1).T
        shape = (n, s - r, cols.out, rows.k, cols.k, c)
        strides = (sn, sh * rows.s, sw * cols.s, sh * rows.d, sw * cols.d, sc)
        if cols.d == 1 and sw == c * sc:  # taps of a row lie side by side
            shape, strides = (*shape[:4], cols.k * c), (*strides[:4], sc)
        return np.ascontiguousarray(as_strided(tile, shape, strides, writeable=False)).reshape(-1, rows.k * cols.k * c)

    def forward(self, z: Any) -> None:
        """Write the products into z (N, OH, OW, F)."""
        whole = z.flags.c_contiguous
        for i, j, r, s in self.tiles():
            out = z[i:j, r:s]
            if whole and (s - r == self.rows.out or j - i == 1):
                np.matmul(self.columns(i, j, r, s), self.bank.T, out=out.reshape(-1, len(self.bank)))
            else:
                out[...] = (self.columns(i, j, r, s) @ self.bank.T).reshape(out.shape)

    def backward(self, dz: Any, dx: Any, dbank: Any) -> None:
        """Add to the input gradient dx (N, H, W, C) and the filters' gradient dbank (F, KH*KW*C), where given."""
        for i, j, r, s in self.tiles():
            dout = dz[i:j, r:s].reshape(-1, len(self.bank))  # (P, F)
            if dbank is not None:
                dbank += (self.columns(i, j, r, s).T @ dout).T if self.by_tap else dout.T @ self.columns(i, j, r, s)
            if dx is not None:
                self.fold(dout, dx, i, j, r, s)

    def fold(self, dout: Any, dx: Any, i: int, j: int, r: int, s: int) -> None:
        """Add a tile's input gradient: a product a row of taps, summed over rows of pixels, then over columns."""
        rows, cols, c = self.rows, self.cols, self.x.shape[3]
        (top, bottom), (left, right) = rows.span(r, s), cols.span(0, cols.out)
        wide = np.zeros((j - i, bottom - top, cols.out, cols.k * c), dtype=dout.dtype)
        run = cols.k * c
        for p in range(rows.k):
            first = p * rows.d
            part = (dout @ self.bank[:, p * run : (p + 1) * run]).reshape(j - i, s - r, cols.out, run)
            wide[:, first : first + rows.s * (s - r - 1) + 1 : rows.s] += part
        tile = np.zeros((j - i, bottom - top, right - left, c), dtype=dout.dtype)
        if cols.s == cols.d == 1:  # every KW-th window: they lie side by side, so whole windows are added in one run
            for first in range(min(cols.k, cols.out)):
                some = wide[:, :, first :: cols.k]
                stop = first + some.shape[2] * cols.k
                tile[:, :, first:stop].reshape(some.shape, copy=False)[...] += some
        else:
            for q in range(cols.k):
                first = q * cols.d
                tile[:, :, first : first + cols.s * (cols.out - 1) + 1 : cols.s] += wide[..., q * c : (q + 1) * c]
        put, take = _overlap(top, bottom, dx.shape[1]), _overlap(left, right, dx.shape[2])
        dx[i:j, put[1], take[1]] += tile[:, put[0], take[0]]


def _overlap(first: int, stop: int, n: int) -> tuple[slice, slice]:
    """Where pixels first..stop, of which 0..n exist, lie on a tile cut at first, and on the image."""
    low = min(max(first, 0), n)
    high = max(low, min(stop, n))
    return slice(low - first, high - first) if high > low else slice(0, 0), slice(low, high)
