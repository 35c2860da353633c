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
from functools import cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import available_cores, empty, launch, limit_threads, run_parallel
from xpnet.errors import ConfigError
from xpnet.kernels import register
from xpnet.kernels.numpy import unrolling
from xpnet.kernels.numpy.activation import act_grad, as_rows, bias_act
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


@register("conv2d", "numpy", recordable=True)
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
    if len(job.parts) == 1:
        job.forward(flat, b, activation, *job.parts[0])
    else:
        launch(run_parallel, [partial(job.forward, flat, b, activation, *part) for part in job.parts])

    def vjp(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        dx = empty(x.shape, x.dtype) if needs[0] else None
        dw = empty(w.shape, w.dtype) if needs[1] else None
        db = empty(b.shape, b.dtype) if b is not None and needs[2] else None
        dbank = None if dw is None else dw.reshape(job.bank.shape)
        for a in (dx, dbank, db):
            if a is not None and (a is dx or not y.size):
                launch(a.fill, 0)
        rows = as_rows(dy, w.shape[0])
        if len(job.parts) == 1:
            job.backward(rows, flat, activation, dx, dbank, db, *job.parts[0])
        else:
            sums = [(dbank, db)] + [
                tuple(None if a is None else empty(a.shape, a.dtype) for a in (dbank, db)) for _ in job.parts[1:]
            ]
            works = [
                partial(job.backward, rows, flat, activation, dx, *mine, *part)
                for mine, part in zip(sums, job.parts, strict=True)
            ]
            launch(run_parallel, works)
            for others in sums[1:]:
                for total, one in zip(sums[0], others, strict=True):
                    if total is not None:
                        launch(np.add, total, one, total)
        if dw is None or not flip:
            return dx, dw, db
        turned = empty(w.shape, w.dtype)
        launch(np.copyto, turned, dw[:, ::-1, ::-1, :])
        return dx, turned, db

    return y, vjp


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
        n, macs = x.shape[0], x.shape[0] * rows.out * cols.out * bank.size
        parts = max(1, min(available_cores(), n, macs // _APART))
        self.parts = list(pairwise(n * i // parts for i in range(parts + 1)))  # images of a thread each

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
                launch(self._gemm(len(out)), self.columns(tile, g), self.bank[mine].T, out[:, mine])
            self.loops.bias_act(out, b, activation)

    def backward(self, dy: Any, y: Any, activation: str | None, dx: Any, dbank: Any, db: Any, i: int, j: int) -> None:
        """Of images i .. j: add to dx, write the filters' and the bias's gradients; each where it is given.

        Args: dy and y (N*OH*OW, F), dx like x, dbank like bank, db (F,).
        """
        for count, (tile, pixels) in enumerate(self.tiles(i, j)):
            sums = db if not count or db is None else scratch("sums", db.shape, db.dtype)
            dz = self.loops.act_grad(dy[pixels], y[pixels], activation, sums)
            if sums is not db:
                launch(np.add, db, sums, db)
            for g in range(self.groups):
                mine = slice(g * self.f, (g + 1) * self.f)
                dout = dz[:, mine]  # (P, F/G)
                if dbank is not None:
                    self._product(dbank[mine], dout, self.columns(tile, g), bool(count))
                if dx is not None:
                    out = scratch("columns", (len(dout), self.k), dout.dtype)
                    launch(self._gemm(len(dout)), dout, self.bank[mine], out)  # (P, KH*KW*C/G)
                    self.loops.fold(out, tile, self.rows, self.cols, g * self.c, self.c, dx)

    def _gemm(self, pixels: int) -> Any:
        """The function that multiplies the columns of so many pixels by a group's filters."""
        return limit_threads(np.matmul, pixels, self.k, self.f)

    def _product(self, dbank: Any, dout: Any, columns: Any, add: bool) -> None:
        """Write dout.T @ columns into dbank, (F/G, KH*KW*C/G), or add it."""
        if not add and not self.by_tap:
            launch(self._gemm(len(dout)), dout.T, columns, dbank)
            return
        part = scratch("product", dbank.shape[::-1] if self.by_tap else dbank.shape, dbank.dtype)
        if self.by_tap:
            launch(self._gemm(len(dout)), columns.T, dout, part)
            part = part.T
        else:
            launch(self._gemm(len(dout)), dout.T, columns, part)
        if add:
            launch(np.add, dbank, part, dbank)
        else:
            launch(np.copyto, dbank, part)
