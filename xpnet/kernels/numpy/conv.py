"""conv2d for NumPy's arrays: a tile of columns (im2col) at a time, multiplied at once while the cache holds it.

Forward, the product of a tile is written in place, and bias and activation follow while it is in the cache. Backward, a
tile of dy gives dz and its bias sum; with the columns, unrolled once more, the gradient of the filters; and that of the
columns, which is folded onto the images. Images are shared among the cores, unless the step already is.

With one channel and stride 1 the columns are laid out a tap a row, (KH*KW, P), so that whole image rows are copied;
else a window a row, (P, KH*KW*C), in runs of KW*C numbers. Letters as in ops.conv2d; P is the tile's output pixels.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import as_rows, available_cores, copied, empty, launch, limit_threads, run_parallel, scratch
from xpnet.errors import ConfigError
from xpnet.kernels import register
from xpnet.kernels.numpy import windows
from xpnet.kernels.numpy.activation import FUSED, act_grad, bias_act, column_sums
from xpnet.kernels.numpy.arrays import Array, Gradients, Needs, Result
from xpnet.windows import Axis, Tile, tiles

__all__ = ["Loops", "conv2d", "convolve"]

_PIXELS = 1024  # a product of fewer rows does not reach the speed of the processor
_APART = 4 << 20  # multiply-adds that are worth a thread


class Loops(NamedTuple):
    """The loops beside the products; compiled ones are drop-ins for those of NumPy.

    Args:
        unroll: see windows.unroll.
        fold: see windows.fold.
        bias_act: adds a bias to (P, F) and applies an activation, in place.
        act_grad: dz, (P, F), of dy, y and an activation; writes its sum over P into db, (F,), if that is given.
    """

    unroll: Callable[..., None]
    fold: Callable[..., None]
    bias_act: Callable[..., None]
    act_grad: Callable[..., Array]


_NUMPY = Loops(windows.unroll, windows.fold, bias_act, act_grad)


@cache
def _cache() -> int:
    """Bytes of a tile's columns: what a core's own cache holds, or XPNET_CACHE."""
    given = os.environ.get("XPNET_CACHE", "")
    if given:
        if not given.isdecimal() or not int(given):
            raise ConfigError("XPNET_CACHE", "a number of bytes >= 1", XPNET_CACHE=given)
        return int(given)
    try:
        return os.sysconf("SC_LEVEL2_CACHE_SIZE") or 1 << 20
    except (AttributeError, OSError, ValueError):  # not Linux
        return 1 << 20


@register("conv2d", "numpy", recordable=True)
def conv2d(
    x: Array, w: Array, b: Array | None, rows: Axis, cols: Axis, groups: int, flip: bool, budget: int,
    activation: str | None,
) -> Result:  # fmt: skip
    """Convolve as ops.conv2d does; rows and cols are the windows laid by the op."""
    return convolve(_NUMPY, x, w, b, rows, cols, groups, flip, budget, activation)


def convolve(
    loops: Loops, x: Array, w: Array, b: Array | None, rows: Axis, cols: Axis, groups: int, flip: bool, budget: int,
    activation: str | None,
) -> Result:  # fmt: skip
    """Convolve with given loops; the columns of each thread take at most the budget of bytes."""
    if activation not in FUSED:
        return NotImplemented
    bank = copied(w[:, ::-1, ::-1]) if flip else w if w.flags.c_contiguous else copied(w)
    job = _Convolution(loops, x, bank.reshape(w.shape[0], -1), rows, cols, groups, budget)
    y = empty((x.shape[0], rows.out, cols.out, w.shape[0]), x.dtype)
    flat = y.reshape(-1, w.shape[0])  # (N*OH*OW, F)
    job.run([partial(job.forward, flat, b, activation, *part) for part in job.parts])

    def vjp(dy: Array, needs: Needs) -> Gradients:
        dx = empty(x.shape, x.dtype) if needs[0] else None
        dbank = empty(job.bank.shape, w.dtype) if needs[1] else None
        db = empty(b.shape, b.dtype) if b is not None and needs[2] else None
        for a in (dx, dbank, db):
            if a is not None and (a is dx or not y.size):
                launch(a.fill, 0)
        sums = [(dbank, db)] + [
            tuple(None if a is None else empty(a.shape, a.dtype) for a in (dbank, db)) for _ in job.parts[1:]
        ]
        dout = as_rows(dy, w.shape[0])
        pairs = zip(sums, job.parts, strict=True)
        job.run([partial(job.backward, dout, flat, activation, dx, *mine, *part) for mine, part in pairs])
        for others in sums[1:]:
            for total, one in zip(sums[0], others, strict=True):
                if total is not None:
                    launch(np.add, total, one, total)
        dw = None if dbank is None else dbank.reshape(w.shape)
        return dx, copied(dw[:, ::-1, ::-1]) if dw is not None and flip else dw, db

    return y, vjp


class _Convolution:
    """One convolution's shapes and filters (F, KH*KW*C/G), and its work on images i .. j-1."""

    def __init__(self, loops: Loops, x: Array, bank: Array, rows: Axis, cols: Axis, groups: int, budget: int) -> None:
        self.loops, self.x, self.bank, self.rows, self.cols, self.groups = loops, x, bank, rows, cols, groups
        self.f, self.c = bank.shape[0] // groups, x.shape[3] // groups
        self.k = bank.shape[1]
        self.by_tap = x.shape[3] == 1 and cols.s == 1
        row_bytes = max(1, cols.out * self.k * x.itemsize)
        self.most = min(budget, max(_cache(), _PIXELS * self.k * x.itemsize)) // row_bytes  # rows of a tile
        n, macs = x.shape[0], x.shape[0] * rows.out * cols.out * bank.size
        parts = max(1, min(n, macs // _APART))
        parts = min(parts, available_cores()) if parts > 1 else 1
        self.parts = list(pairwise(n * i // parts for i in range(parts + 1)))  # images of a thread each

    def run(self, tasks: list[Callable[[], None]]) -> None:
        """Run the tasks of all parts: in this thread, where they launch their work, or each in a thread."""
        if len(tasks) == 1:
            tasks[0]()
        else:
            launch(run_parallel, tasks)

    def tiles(self, i: int, j: int) -> Iterator[tuple[Tile, slice]]:
        """The tiles of images i .. j-1, and which of the N*OH*OW output pixels are theirs."""
        for tile in tiles(i, j, self.rows.out, self.most):
            start = (tile.i * self.rows.out + tile.r) * self.cols.out
            yield tile, slice(start, start + math.prod(tile.size) * self.cols.out)

    def columns(self, tile: Tile, g: int) -> Array:
        """The unrolled windows of a tile in group g, (P, KH*KW*C/G), valid until the next call."""
        p = math.prod(tile.size) * self.cols.out
        out = scratch("columns", (self.k, p) if self.by_tap else (p, self.k), self.x.dtype)
        self.loops.unroll(self.x, tile, self.rows, self.cols, g * self.c, self.c, out, self.by_tap)
        return out.T if self.by_tap else out

    def forward(self, y: Array, b: Array | None, activation: str | None, i: int, j: int) -> None:
        """Write images i .. j-1 into y, (N*OH*OW, F)."""
        for tile, pixels in self.tiles(i, j):
            out = y[pixels]
            for g in range(self.groups):
                mine = slice(g * self.f, (g + 1) * self.f)
                launch(self._gemm(len(out)), self.columns(tile, g), self.bank[mine].T, out[:, mine])
            self.loops.bias_act(out, b, activation)

    def backward(
        self, dy: Array, y: Array, activation: str | None, dx: Array | None, dbank: Array | None, db: Array | None,
        i: int, j: int,
    ) -> None:  # fmt: skip
        """Of images i .. j-1: add to dx, write the gradients of filters and bias; each where it is given.

        Args: dy and y (N*OH*OW, F), dx like x, dbank like bank, db (F,).
        """
        tiles = list(self.tiles(i, j))
        sums = None if db is None else [db] if len(tiles) == 1 else scratch("sums", (len(tiles), *db.shape), db.dtype)
        for count, (tile, pixels) in enumerate(tiles):
            dz = self.loops.act_grad(dy[pixels], y[pixels], activation, None if sums is None else sums[count])
            for g in range(self.groups):
                mine = slice(g * self.f, (g + 1) * self.f)
                dout = dz[:, mine]  # (P, F/G)
                if dbank is not None:
                    self._product(dbank[mine], dout, self.columns(tile, g), bool(count))
                if dx is not None:
                    out = scratch("columns", (len(dout), self.k), dout.dtype)
                    launch(self._gemm(len(dout)), dout, self.bank[mine], out)  # (P, KH*KW*C/G)
                    self.loops.fold(out, tile, self.rows, self.cols, g * self.c, self.c, dx)
        if len(tiles) > 1 and sums is not None:
            launch(column_sums, sums, db)

    def _gemm(self, pixels: int) -> Callable[..., Any]:
        """The function that multiplies the columns of so many pixels by a group's filters."""
        return limit_threads(np.matmul, pixels, self.k, self.f)

    def _product(self, dbank: Array, dout: Array, columns: Array, add: bool) -> None:
        """Write dout.T @ columns into dbank, (F/G, KH*KW*C/G), or add it."""
        gemm = self._gemm(len(dout))
        if not add and not self.by_tap:
            launch(gemm, dout.T, columns, dbank)
            return
        part = scratch("product", dbank.shape[::-1] if self.by_tap else dbank.shape, dbank.dtype)
        launch(gemm, *((columns.T, dout) if self.by_tap else (dout.T, columns)), part)
        part = part.T if self.by_tap else part
        if add:
            launch(np.add, dbank, part, dbank)
        else:
            launch(np.copyto, dbank, part)
