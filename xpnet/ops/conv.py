"""Convolution as the notes define it: unroll the pixels under each window (im2col), then one matrix product.

Letters: N batch; H, W height, width; C channels in; F filters; KH, KW kernel; SH, SW stride; PH, PW padding; DH, DW
dilation; G groups; OH, OW output.

Columns are KH*KW times the image, so they are made for a tile at a time (some images, or some rows of one), under a
byte budget, multiplied at once and dropped; the backward pass makes them again. Training memory is activations.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, NamedTuple

from xpnet import kernels
from xpnet.backend import Array, namespace, set_at
from xpnet.errors import ConfigError, ShapeError
from xpnet.ops import checks, windows
from xpnet.ops.activation import activated
from xpnet.ops.windows import Axis

__all__ = ["column_budget", "conv2d"]

Pair = int | tuple[int, int]

_BUDGET: contextvars.ContextVar[int] = contextvars.ContextVar("xpnet_column_budget", default=32 << 20)


@contextlib.contextmanager
def column_budget(size: int) -> Iterator[None]:
    """Bound the bytes of unrolled columns that a convolution holds at a time, within a with-block (default 32 MB).

    One row of one image's windows is the least that is unrolled, whatever the budget.
    """
    if size < 1:
        raise ConfigError("column_budget", "the budget is at least 1 byte", size=size)
    token = _BUDGET.set(size)
    try:
        yield
    finally:
        _BUDGET.reset(token)


class Tile(NamedTuple):
    """Some images, some of their output rows, and the pixels those rows touch."""

    images: slice
    rows: slice
    pixels: tuple[int, int]
    size: tuple[int, int]  # images, output rows


def _tiles(n: int, rows: Axis, row_bytes: int, budget: int) -> Iterator[Tile]:
    """Cut n images of rows.out output rows into tiles whose columns, row_bytes a row, stay under the budget."""
    fits = max(1, budget // max(1, row_bytes))  # output rows
    some = max(1, fits // rows.out)
    high = rows.out if fits >= rows.out else fits
    for i in range(0, n, some):
        images = slice(i, min(n, i + some))
        for r in range(0, rows.out, high):
            stop = min(rows.out, r + high)
            yield Tile(images, slice(r, stop), rows.span(r, stop), (images.stop - i, stop - r))


def conv2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    flip: bool = False,
    activation: str | None = None,
) -> tuple[Array, Any]:
    """Slide a bank of filters over a batch of images (cross-correlation, unless flip turns each filter by 180 degrees).

        y[n,i,j,f] = act(b[f] + sum over p,q,c of w[f,p,q,c] * xz[n, i*SH + p*DH, j*SW + q*DW, c])

    where xz is x with PH, PW zeros on each side; with G groups, filters of group g see channels of group g only.

    Args:
        x: images, (N, H, W, C), real floating.
        w: filters, (F, KH, KW, C/G), dtype and device of x.
        b: bias, (F,), or None.
        stride, padding, dilation: an integer or a pair (vertical, horizontal), >= 1, >= 0, >= 1.
        groups: G, divides C and F.
        flip: True makes it convolution in the mathematical sense: w[f, KH-1-p, KW-1-q, c] above.
        activation: None, "relu", "leaky_relu", "sigmoid", "tanh" or "gelu".
    Returns:
        y: (N, OH, OW, F), OH = (H + 2*PH - DH*(KH-1) - 1) // SH + 1, OW likewise.
        vjp: (dy, needs) -> (dx, dw, db), each shaped like its input, None where not needed.
    Raises:
        ShapeError: ranks or channels disagree, groups do not divide, or the dilated kernel exceeds the padded image.
        ConfigError: a stride, padding or dilation out of range, an unknown activation.
    Cost: N*OH*OW*F*KH*KW*C/G multiply-adds, the same again for each of dx and dw; keeps x, w, and y if activated.
    Source: Chellapilla, Puri and Simard (2006), for the unrolling.
    """
    checks.floating("conv2d", x, w, b)
    rows, cols = _lay("conv2d", x, w, b, stride, padding, dilation, groups)
    return _conv2d(x, w, b, rows, cols, groups, flip, _BUDGET.get(), activation)


@kernels.op("conv2d")
def _conv2d(
    x: Array, w: Array, b: Array | None, rows: Axis, cols: Axis, groups: int, flip: bool, budget: int,
    activation: str | None,
) -> tuple[Array, Any]:  # fmt: skip
    if activation is not None:
        return activated("conv2d", _conv2d(x, w, b, rows, cols, groups, flip, budget, None), activation)
    xp = namespace(x)
    n, channels, filters = x.shape[0], w.shape[3], w.shape[0] // groups
    bank = xp.flip(w, axis=(1, 2)) if flip else w
    banks = [xp.reshape(bank[g * filters : (g + 1) * filters, ...], (filters, -1)) for g in range(groups)]
    span = cols.span(0, cols.out)
    row_bytes = cols.out * rows.k * cols.k * channels * max(1, xp.finfo(x.dtype).bits // 8)

    def columns(tile: Tile, g: int) -> Array:
        part = x[tile.images, :, :, g * channels : (g + 1) * channels]
        laid = windows.unroll(xp, windows.padded(xp, part, tile.pixels, span), rows, cols, tile.size[1])
        return xp.reshape(laid, (-1, rows.k * cols.k * channels))  # (n*oh*OW, KH*KW*C/G)

    z = xp.empty((n, rows.out, cols.out, filters * groups), dtype=x.dtype, device=x.device)
    for tile in _tiles(n, rows, row_bytes, budget):
        for g in range(groups):
            y = xp.reshape(columns(tile, g) @ banks[g].T, (*tile.size, cols.out, filters))
            if b is not None:
                y += b[g * filters : (g + 1) * filters]
            z = set_at(z, (tile.images, tile.rows, slice(None), slice(g * filters, (g + 1) * filters)), y)

    def vjp(dz: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        dx = xp.zeros(x.shape, dtype=x.dtype, device=x.device) if needs[0] else None
        dbanks = [xp.zeros(m.shape, dtype=w.dtype, device=w.device) for m in banks] if needs[1] else []
        for tile in _tiles(n, rows, row_bytes, budget) if needs[0] or needs[1] else ():
            for g in range(groups):
                part = dz[tile.images, tile.rows, :, g * filters : (g + 1) * filters]
                dpart = xp.reshape(part, (-1, filters))  # (n*oh*OW, F/G)
                if needs[1]:
                    dbanks[g] += dpart.T @ columns(tile, g)
                if needs[0]:
                    laid = xp.reshape(dpart @ banks[g], (*tile.size, cols.out, -1))  # (n, oh, OW, KH*KW*C/G)
                    size = (tile.size[0], tile.pixels[1] - tile.pixels[0], span[1] - span[0], channels)
                    dtile = windows.fold(xp, laid, rows, cols, size)
                    dx = _add_group(dx, g, groups, tile, dtile, span)
        dw = None
        if needs[1]:
            dw = xp.reshape(dbanks[0] if groups == 1 else xp.concat(dbanks, axis=0), w.shape)
            dw = xp.flip(dw, axis=(1, 2)) if flip else dw
        return dx, dw, xp.sum(dz, axis=(0, 1, 2)) if b is not None and needs[2] else None

    return z, vjp


def _add_group(dx: Array, g: int, groups: int, tile: Tile, dtile: Array, span: tuple[int, int]) -> Array:
    """Add one group's input gradient of a tile to its channels of dx."""
    if groups == 1:
        return windows.crop_into(dx, tile.images, dtile, tile.pixels, span)
    mine = (slice(None), slice(None), slice(None), slice(g * dtile.shape[3], (g + 1) * dtile.shape[3]))
    return set_at(dx, mine, windows.crop_into(dx[mine], tile.images, dtile, tile.pixels, span))


def _lay(
    op: str, x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> tuple[Axis, Axis]:
    """Check a convolution's shapes and lay its windows over rows and columns."""
    checks.images(op, x)
    if w.ndim != 4 or min(w.shape[:3]) < 1:
        raise ShapeError(op, "w is (F, KH, KW, C/G), none of the first three 0", w=w.shape)
    if not isinstance(groups, int) or groups < 1:
        raise ConfigError(op, "groups is an integer >= 1", groups=groups)
    if x.shape[3] % groups or w.shape[0] % groups:
        raise ShapeError(op, "G divides C and F", C=x.shape[3], F=w.shape[0], groups=groups)
    if x.shape[3] != w.shape[3] * groups:
        raise ShapeError(op, "x is (N, H, W, C) and w is (F, KH, KW, C/G)", x=x.shape, w=w.shape, groups=groups)
    if b is not None and b.shape != (w.shape[0],):
        raise ShapeError(op, "b is (F,) and w is (F, KH, KW, C/G)", b=b.shape, w=w.shape)
    strides = checks.pair(op, "stride", stride, 1)
    pads = checks.pair(op, "padding", padding, 0)
    return windows.axes(op, x, (w.shape[1], w.shape[2]), strides, pads, checks.pair(op, "dilation", dilation, 1))
