"""Convolution: unroll the pixels under each window (im2col), then one matrix product.

Letters: N batch; H, W height, width; C channels in; F filters; KH, KW kernel; SH, SW stride; PH, PW padding; DH, DW
dilation; G groups; OH, OW output.

Columns take KH*KW times the memory of the images. So they are made for one tile at a time (some images, or some rows of
one) under a byte budget, multiplied and dropped; the backward pass makes them again.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

from xpnet import kernels, windows
from xpnet.backend import Array, namespace, set_at
from xpnet.errors import ConfigError, ShapeError
from xpnet.ops import checks
from xpnet.ops.activation import activated
from xpnet.ops.arithmetic import total
from xpnet.windows import Axis, Tile, axes, tiles

__all__ = ["column_budget", "conv2d"]

Pair = int | tuple[int, int]

_BUDGET: contextvars.ContextVar[int] = contextvars.ContextVar("xpnet_column_budget", default=32 << 20)


@contextlib.contextmanager
def column_budget(size: int) -> Iterator[None]:
    """Bound the bytes of unrolled columns that a convolution holds at a time, within a with-block (default 32 MB).

    At least one row of one image's windows is unrolled, whatever the budget.
    """
    if size < 1:
        raise ConfigError("column_budget", "a budget of at least 1 byte", size=size)
    token = _BUDGET.set(size)
    try:
        yield
    finally:
        _BUDGET.reset(token)


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
    if w is None:
        raise checks.missing("conv2d", "w")
    flip = checks.flag("conv2d", "flip", flip)
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
    c, f = w.shape[3], w.shape[0] // groups
    inputs = [slice(g * c, (g + 1) * c) for g in range(groups)]
    outputs = [slice(g * f, (g + 1) * f) for g in range(groups)]
    bank = xp.reshape(xp.flip(w, axis=(1, 2)) if flip else w, (w.shape[0], rows.k * cols.k * c))  # (F, KH*KW*C/G)
    across, size = cols.span(), rows.k * cols.k * c
    row_bytes = cols.out * size * (xp.finfo(x.dtype).bits // 8)
    parts = [(t, g) for t in tiles(0, x.shape[0], rows.out, budget // max(1, row_bytes)) for g in range(groups)]

    def columns(tile: Tile, g: int) -> Array:
        images = windows.padded(xp, x[tile.i : tile.j, :, :, inputs[g]], rows.span(tile.r, tile.s), across)
        p = tile.size[0] * tile.size[1] * cols.out
        return xp.reshape(windows.unroll(xp, images, rows, cols, tile.size[1]), (p, size))  # (n*oh*OW, KH*KW*C/G)

    z = xp.empty((x.shape[0], rows.out, cols.out, w.shape[0]), dtype=x.dtype, device=x.device)
    for tile, g in parts:
        y = xp.reshape(columns(tile, g) @ bank[outputs[g], :].T, (*tile.size, cols.out, f))
        if b is not None:
            y += b[outputs[g]]
        z = set_at(z, (*tile.place, slice(None), outputs[g]), y)

    def vjp(dz: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        dx = xp.zeros(x.shape, dtype=x.dtype, device=x.device) if needs[0] else None
        dbanks = [xp.zeros((f, size), dtype=w.dtype, device=w.device) for _ in outputs] if needs[1] else []
        for tile, g in parts if needs[0] or needs[1] else ():
            d = xp.reshape(dz[(*tile.place, slice(None), outputs[g])], (-1, f))  # (n*oh*OW, F/G)
            if needs[1]:
                dbanks[g] += d.T @ columns(tile, g)
            if needs[0]:
                laid = xp.reshape(d @ bank[outputs[g], :], (*tile.size, cols.out, size))
                down = rows.span(tile.r, tile.s)
                shape = (tile.size[0], down[1] - down[0], across[1] - across[0], c)
                images = windows.fold(xp, laid, rows, cols, shape)
                dx = windows.crop_into(dx, tile.place[0], inputs[g], images, down, across)
        dw = None
        if needs[1]:
            dw = xp.reshape(dbanks[0] if groups == 1 else xp.concat(dbanks, axis=0), w.shape)
            dw = xp.flip(dw, axis=(1, 2)) if flip else dw
        return dx, dw, total(xp, dz, (0, 1, 2)) if b is not None and needs[2] else None

    return z, vjp


def _lay(
    op: str, x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> tuple[Axis, Axis]:
    """Check a convolution's shapes and lay its windows over rows and columns."""
    checks.images(op, x)
    if w.ndim != 4 or min(w.shape[:3]) < 1:
        raise ShapeError(op, "w of shape (F, KH, KW, C/G), F, KH and KW >= 1", w=w.shape)
    if not isinstance(groups, int) or groups < 1:
        raise ConfigError(op, "an integer >= 1", groups=groups)
    if x.shape[3] % groups or w.shape[0] % groups:
        raise ShapeError(op, "groups G that divide C and F", C=x.shape[3], F=w.shape[0], groups=groups)
    if x.shape[3] != w.shape[3] * groups:
        raise ShapeError(
            op, "x of shape (N, H, W, C) and w of shape (F, KH, KW, C/G)", x=x.shape, w=w.shape, groups=groups
        )
    if b is not None and b.shape != (w.shape[0],):
        raise ShapeError(op, "b of shape (F,) and w of shape (F, KH, KW, C/G)", b=b.shape, w=w.shape)
    strides = checks.pair(op, "stride", stride, 1)
    pads = checks.pair(op, "padding", padding, 0)
    return axes(op, x.shape, (w.shape[1], w.shape[2]), strides, pads, checks.pair(op, "dilation", dilation, 1))
