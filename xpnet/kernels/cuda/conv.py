"""conv2d on CUDA: by cuDNN where it has plans, else the windows of a tile of images are unrolled and multiplied.

The columns of all tiles share one piece of memory, within the budget. Gradients are gathered, and summed tile after
tile in one order, so a re-run gives the same bits.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from xpnet.backend import namespace
from xpnet.kernels.cuda import cudnn, driver
from xpnet.kernels.cuda.activation import FUSED, activate, pass_back
from xpnet.kernels.cuda.driver import DeviceArray, Gradients, Needs, Result
from xpnet.kernels.cuda.gemm import matmul
from xpnet.windows import Axis, Tile, tiles

__all__ = ["conv2d"]

_NAMES = ("h", "w", "c", "oh", "ow", "kh", "kw", "sh", "sw", "ph", "pw", "dh", "dw", "channels", "ld")
_WINDOWS = np.dtype([(name, np.int64) for name in _NAMES])  # the struct of unroll.cu
_EACH = 4  # packs, about, that a thread unrolls of one window


@driver.kernel("conv2d")
def conv2d(
    x: DeviceArray, w: DeviceArray, b: DeviceArray | None, rows: Axis, cols: Axis, groups: int, flip: bool, budget: int,
    activation: str | None,
) -> Result:  # fmt: skip
    """Convolve as ops.conv2d does; rows and cols are the windows laid by the op."""
    if activation not in FUSED:
        return NotImplemented
    b = None if b is None else driver.contiguous(b)
    planned, unrolled = cudnn.convolution(x, w, rows, cols, flip), None
    y = planned and planned.forward(b, activation)
    if y is None:
        planned, unrolled = None, _Unrolled(x, w, rows, cols, groups, flip, budget)
        y = unrolled.forward(b, activation)

    def vjp(dy: DeviceArray, needs: Needs) -> Gradients:
        dz, db = pass_back(driver.contiguous(dy), y, activation, b is not None and needs[2])
        dx = planned.input_gradient(dz) if planned and needs[0] else None
        dw = planned.filter_gradient(dz) if planned and needs[1] else None
        left = needs[0] and dx is None, needs[1] and dw is None
        if any(left):
            products = unrolled or _Unrolled(x, w, rows, cols, groups, flip, budget)
            others = products.gradients(dz, left)
            dx, dw = others[0] if left[0] else dx, others[1] if left[1] else dw
        return dx, dw, db

    return y, vjp


class _Unrolled:
    """A convolution as products: filters are the rows of a bank (F, ld), windows the rows of columns (P, ld).

    Rows are padded with zeros to a length, ld, that tensor cores can read. A 1x1 convolution of stride 1 needs no
    columns: its windows are the pixels.
    """

    def __init__(
        self, x: DeviceArray, w: DeviceArray, rows: Axis, cols: Axis, groups: int, flip: bool, budget: int
    ) -> None:
        self.x, self.w = driver.contiguous(x), driver.contiguous(w)
        self.rows, self.cols, self.groups, self.flip = rows, cols, groups, flip
        self.xp, n = namespace(x), x.shape[0]
        self.filters, self.channels = w.shape[0] // groups, w.shape[3]
        self.taps = rows.k * cols.k
        self.direct = self.taps == rows.s == cols.s == 1 and rows.p == cols.p == 0
        taken, unit = self.taps * self.channels, 16 // x.itemsize
        self.ld = taken if self.direct else -(-taken // unit) * unit
        self.pack = 1 if self.channels % unit else unit  # numbers that are moved at a time
        self.plain = self.ld == taken and (self.taps == 1 or not flip)  # the filters lie as the bank does
        self.bank = self.xp.reshape(self.w, (w.shape[0], taken)) if self.plain else self._laid_bank()
        self.windows = _windows(rows, cols, x.shape[3], self.channels, self.ld)
        row_bytes = max(1, cols.out * self.ld * x.itemsize)
        self.tiles = list(tiles(0, n, rows.out, n * rows.out if self.direct else budget // row_bytes))

    def _laid_bank(self) -> DeviceArray:
        bank = driver.empty((self.w.shape[0], self.ld), self.w.dtype)
        sizes = self.w.shape[0], self.taps, self.channels, self.ld, self.flip
        driver.launch("unroll", "lay_filters", self.w.dtype, bank.size, self.w, bank, *sizes)
        return bank

    def _columns(self) -> DeviceArray | None:
        """Memory for the columns of the largest tile."""
        if self.direct or not self.tiles:
            return None
        most = max(math.prod(tile.size) for tile in self.tiles) * self.cols.out
        return driver.empty((most, self.ld), self.x.dtype)

    def _unroll(self, tile: Tile, group: int, columns: Any) -> DeviceArray:
        """The windows of a tile, in the channels of a group, as rows: written into columns, or x itself."""
        first = group * self.channels
        if self.direct:
            return self.xp.reshape(self.x, (-1, self.x.shape[3]))[:, first : first + self.channels]
        count = math.prod(tile.size) * self.cols.out
        lanes = min(32, _floor_of_2(self.ld // self.pack // _EACH))
        sizes = *_first_and_count(tile), first, lanes, self.windows
        driver.launch("unroll", "unroll", self.x.dtype, count * lanes, self.x, columns, *sizes)
        return columns[:count, :]

    def _of(self, flat: DeviceArray, tile: Tile, group: int) -> DeviceArray:
        """The part of y, or of its gradient, (N*OH*OW, F), that a tile and a group of filters make."""
        start = (tile.i * self.rows.out + tile.r) * self.cols.out
        count = math.prod(tile.size) * self.cols.out
        return flat[start : start + count, group * self.filters : (group + 1) * self.filters]

    def forward(self, b: DeviceArray | None, activation: str | None) -> DeviceArray:
        """Return y, bias and activation included."""
        f = self.filters
        y = driver.empty((self.x.shape[0], self.rows.out, self.cols.out, f * self.groups), self.x.dtype)
        if not self.tiles:
            return y
        flat, columns, alone = self.xp.reshape(y, (-1, f * self.groups)), self._columns(), self.groups == 1
        also = {"bias": b, "activation": activation} if alone else {}
        for tile in self.tiles:
            for g in range(self.groups):
                windows = self._unroll(tile, g, columns)  # (P, ld)
                matmul(windows, self.bank[g * f : (g + 1) * f, :].T, self._of(flat, tile, g), **also)
        if not alone and (b is not None or activation is not None):  # groups share the rows of y
            activate(y, activation, b, out=y)
        return y

    def gradients(self, dz: DeviceArray, needs: Needs) -> Gradients:
        """Return the gradients of x and w, where needed, for that of y before its activation, in row-major order."""
        if not self.tiles:
            dx, dw = (driver.zeros(a.shape, a.dtype) for a in (self.x, self.w))
            return dx if needs[0] else None, dw if needs[1] else None
        f, flat, columns = self.filters, self.xp.reshape(dz, (-1, self.w.shape[0])), self._columns()
        whole = self.tiles[0].size[1] == self.rows.out  # each pixel is in one tile only
        make, wide = driver.empty if whole else driver.zeros, np.float32 if self.x.itemsize == 2 else self.x.dtype
        dx = make(self.x.shape, self.x.dtype) if needs[0] else None
        dbank = driver.empty((self.w.shape[0], self.ld), wide) if needs[1] else None  # summed over the tiles
        for tile in self.tiles:
            for g in range(self.groups):
                dpart, mine = self._of(flat, tile, g), slice(g * f, (g + 1) * f)  # (P, F/G)
                if dbank is not None:
                    matmul(dpart.T, self._unroll(tile, g, columns), dbank[mine, :], add=tile is not self.tiles[0])
                if dx is not None:
                    self._pass_back(dpart, self.bank[mine, :], dx, tile, g, columns, not whole)
        return dx, None if dbank is None else self._filters(dbank)

    def _pass_back(
        self, dz: DeviceArray, bank: DeviceArray, dx: DeviceArray, tile: Tile, group: int, columns: Any, add: bool
    ) -> None:
        """Write a tile's input gradient, or add it where other tiles touch the same pixels."""
        first = group * self.channels
        if self.direct:
            matmul(dz, bank, self.xp.reshape(dx, (-1, dx.shape[3]))[:, first : first + self.channels])
            return
        matmul(dz, bank, columns[: dz.shape[0], :])
        top, bottom = self.rows.span(tile.r, tile.s) if add else (0, self.rows.n)
        top, bottom = max(0, top), min(self.rows.n, bottom)
        if top < bottom:
            numbers = tile.size[0] * (bottom - top) * self.cols.n * self.channels
            sizes = *_first_and_count(tile), first, top, bottom - top, add, self.windows
            driver.launch("unroll", "fold", dx.dtype, numbers // self.pack, columns, dx, *sizes)

    def _filters(self, dbank: DeviceArray) -> DeviceArray:
        """The filters' gradient, out of the bank's."""
        if self.plain and dbank.dtype == self.w.dtype:
            return self.xp.reshape(dbank, self.w.shape)
        dw = driver.empty(self.w.shape, self.w.dtype)
        sizes = self.w.shape[0], self.taps, self.channels, self.ld, self.flip
        driver.launch("unroll", "take_filters", self.w.dtype, dw.size, dbank, dw, *sizes)
        return dw


def _first_and_count(tile: Tile) -> tuple[int, int, int, int]:
    """The first image and how many, the first row of windows and how many, as kernels take them."""
    return tile.i, tile.size[0], tile.r, tile.size[1]


@lru_cache(maxsize=1024)
def _windows(rows: Axis, cols: Axis, c: int, channels: int, ld: int) -> np.ndarray:
    """The struct Windows of unroll.cu."""
    pairs = [getattr(axis, name) for name in ("out", "k", "s", "p", "d") for axis in (rows, cols)]
    return np.array([(rows.n, cols.n, c, *pairs, channels, ld)], _WINDOWS)


def _floor_of_2(n: int) -> int:
    """The largest power of two up to n, at least 1."""
    return 1 << max(0, n.bit_length() - 1)
