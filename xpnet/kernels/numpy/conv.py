"""conv2d for NumPy's arrays: a tile of columns (im2col) at a time, multiplied at once while the cache holds it.

Forward, the product of a tile is written where it belongs, and gets its bias and activation while it is hot. Backward,
a tile of dy becomes dz and its bias sum, then with the columns, made again, the filters' gradient, then columns'
gradient, which is folded onto the images. Images are spread over the cores unless a step is already.

With one channel and stride 1 the columns are laid out a tap a row, (KH*KW, P), so that whole image rows are copied;
else a window a row, (P, KH*KW*C), in runs of KW*C numbers. Letters as in ops.conv2d; P is the tile's output pixels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import cores, empty, launch, together
from xpnet.errors import ConfigError
from xpnet.kernels import register
from xpnet.kernels.numpy import unrolling
from xpnet.kernels.numpy.activation import act_grad, bias_act
from xpnet.kernels.numpy.scratch import scratch

__all__ = ["Loops", "conv2d", "convolve"]

_PIXELS = 1024  # a product of fewer rows does not reach the speed of the processor
_APART = 4 << 20  # multiply-adds a core that are worth a thread


class Loops(NamedTuple):
    """What is done to numbers beside products; compiled loops are drop-ins for those of NumPy.

    Args:
        unroll: see unrolling.unroll.
        fold: see unrolling.fold.
        bias_act: adds a bias to (P, F) and applies an activation, in place.
        act_grad: dz, (P, F), of dy, y and an activation; writes its sum over P into db, (F,), if that is given.
    """

    unroll: Callable[..., Any]
    fold: Callable[..., None]
    bias_act: Callable[..., Any]
    act_grad: Callable[..., Any]


_NUMPY = Loops(unrolling.unroll, unrolling.fold, bias_act, act_grad)


@cache
def _cache() -> int:
    """Bytes of a tile's columns: what a core's own cache holds, or XPNET_CACHE."""
    given = os.environ.get("XPNET_CACHE", "")
    if given:
        if not given.isdecimal() or not int(given):
            raise ConfigError("XPNET_CACHE", "it is a number of bytes >= 1", XPNET_CACHE=given)
        return int(given)
    try:
        return os.sysconf("SC_LEVEL2_CACHE_SIZE") or 1 << 20
    except (AttributeError, OSError, ValueError):  # not Linux
        return 1 << 20


@register("conv2d", "numpy")
def conv2d(*arguments: Any) -> tuple[Any, Any]:
    """Convolve as ops.conv2d does; rows and cols are the windows laid by the op."""
    return convolve(_NUMPY, *arguments)


def convolve(
    loops: Loops,
    x: Any,
    w: Any,
    b: Any,
    rows: Any,
    cols: Any,
    groups: int,
    flip: bool,
    budget: int,
    activation: str | None,
) -> tuple[Any, Any]:
    """Convolve with given loops; columns take at most the budget of bytes a thread."""
    if activation not in (None, "relu"):
        return NotImplemented
    bank = w
    if flip or not w.flags.c_contiguous:
        bank = empty(w.shape, w.dtype)
        launch(np.copyto, bank, w[:, ::-1, ::-1, :] if flip else w)
    job = _Convolution(loops, x, bank.reshape(w.shape[0], -1), rows, cols, groups, budget)
    y = empty((x.shape[0], rows.out, cols.out, w.shape[0]), x.dtype)
    flat = y.reshape(-1, w.shape[0])  # (N*OH*OW, F)
    launch(job.spread, lambda i, j: job.forward(flat, b, activation, i, j))

    def vjp(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        dx = empty(x.shape, x.dtype) if needs[0] else None
        dw = empty(w.shape, w.dtype) if needs[1] else None
        db = empty(b.shape, b.dtype) if b is not None and needs[2] else None

        def backward() -> None:
            if dx is not None:
                dx.fill(0)
            parts = job.spread(
                lambda i, j: job.backward(dy, flat, activation, dx, (dw is not None, db is not None), i, j)
            )
            if dw is not None:
                _total([part[0] for part in parts], dw.reshape(job.bank.shape))
            if db is not None:
                _total([part[1] for part in parts], db)

        if any(needs):
            launch(backward)
        if dw is None or not flip:
            return dx, dw, db
        turned = empty(w.shape, w.dtype)
        launch(np.copyto, turned, dw[:, ::-1, ::-1, :])
        return dx, turned, db

    return y, vjp


def _total(parts: list[Any], out: Any) -> None:
    """Write the sum of arrays, in their order."""
    if len(parts) == 1:
        out[...] = parts[0]
    else:
        np.add(parts[0], parts[1], out)
    for part in parts[2:]:
        out += part


class _Convolution:
    """One convolution's shapes and filters (F, KH*KW*C/G); its work on images i .. j."""

    def __init__(self, loops: Loops, x: Any, bank: Any, rows: Any, cols: Any, groups: int, budget: int) -> None:
        self.loops, self.x, self.bank, self.rows, self.cols, self.groups = loops, x, bank, rows, cols, groups
        self.f, self.c = bank.shape[0] // groups, x.shape[3] // groups
        self.k = bank.shape[1]
        self.by_tap = x.shape[3] == 1 and cols.s == 1
        row_bytes = max(1, cols.out * self.k * x.itemsize)
        fits = max(1, min(budget, max(_cache(), _PIXELS * self.k * x.itemsize)) // row_bytes)
        self.images = max(1, fits // max(1, rows.out))
        self.high = min(fits, rows.out)

    def spread(self, work: Callable[[int, int], Any]) -> list[Any]:
        """Do work on all images, some a core where that pays; return what the parts give, in order."""
        n = self.x.shape[0]
        macs = n * self.rows.out * self.cols.out * self.bank.size
        parts = max(1, min(cores(), n, macs // _APART))
        bounds = [n * i // parts for i in range(parts + 1)]
        return together([lambda i=i, j=j: work(i, j) for i, j in pairwise(bounds)])

    def tiles(self, i: int, j: int) -> Iterator[tuple[unrolling.Tile, slice]]:
        """The tiles of images i .. j, and which of the N*OH*OW output pixels are theirs."""
        across = self.cols.out
        for a in range(i, j, self.images):
            for r in range(0, self.rows.out, self.high):
                tile = unrolling.Tile(a, min(j, a + self.images), r, min(self.rows.out, r + self.high))
                start = (a * self.rows.out + r) * across
                yield tile, slice(start, start + (tile.j - a) * (tile.s - r) * across)

    def columns(self, tile: unrolling.Tile, g: int) -> Any:
        """The unrolled windows of a tile in group g, (P, KH*KW*C/G), good until the next."""
        p = (tile.j - tile.i) * (tile.s - tile.r) * self.cols.out
        shape = (self.k, p) if self.by_tap else (p, self.k)
        out = scratch("columns", shape, self.x.dtype)
        self.loops.unroll(self.x, tile, self.rows, self.cols, g * self.c, self.c, out, self.by_tap)
        return out.T if self.by_tap else out

    def forward(self, y: Any, b: Any, activation: str | None, i: int, j: int) -> None:
        """Write images i .. j into y, (N*OH*OW, F)."""
        for tile, pixels in self.tiles(i, j):
            out = y[pixels]
            for g in range(self.groups):
                mine = slice(g * self.f, (g + 1) * self.f)
                np.matmul(self.columns(tile, g), self.bank[mine].T, out=out[:, mine])
            self.loops.bias_act(out, b, activation)

    def backward(
        self, dy: Any, y: Any, activation: str | None, dx: Any, needs: tuple[bool, bool], i: int, j: int
    ) -> tuple[Any, Any]:
        """Add to dx, where given, of images i .. j; return their parts of the filters' and the bias's gradient."""
        flat = dy.reshape(y.shape)  # (N*OH*OW, F)
        dbank = np.zeros(self.bank.shape, dtype=y.dtype) if needs[0] else None
        db: Any = np.zeros(y.shape[1], dtype=y.dtype) if needs[1] else None
        sums: Any = None if db is None else np.empty_like(db)
        for tile, pixels in self.tiles(i, j):
            dz = self.loops.act_grad(flat[pixels], y[pixels], activation, sums)
            if db is not None:
                db += sums
            for g in range(self.groups):
                mine = slice(g * self.f, (g + 1) * self.f)
                dout = dz[:, mine]  # (P, F/G)
                if dbank is not None:
                    self._add_product(dbank[mine], dout, self.columns(tile, g))
                if dx is not None:
                    out = scratch("columns", (len(dout), self.k), dout.dtype)
                    np.matmul(dout, self.bank[mine], out=out)  # (P, KH*KW*C/G)
                    self.loops.fold(out, tile, self.rows, self.cols, g * self.c, self.c, dx)
        return dbank, db

    def _add_product(self, dbank: Any, dout: Any, columns: Any) -> None:
        """Add dout.T @ columns to dbank, (F/G, KH*KW*C/G)."""
        if self.by_tap:
            part = scratch("product", dbank.shape[::-1], dbank.dtype)
            dbank += np.matmul(columns.T, dout, out=part).T
        else:
            dbank += np.matmul(dout.T, columns, out=scratch("product", dbank.shape, dbank.dtype))
