"""Windows on images for convolution and pooling: padding, unrolling (im2col) and its adjoint.

Unrolling goes one axis at a time, columns first and then rows, so that KH + KW slices are copied instead of KH * KW and
the second copy moves runs of KW*C numbers.
"""

from __future__ import annotations

from typing import Any

from xpnet.backend import Array, add_at, set_at
from xpnet.kernels.windows import Axis

__all__ = ["crop_into", "fold", "padded", "unroll"]


def padded(xp: Any, x: Array, rows: tuple[int, int], cols: tuple[int, int], fill: float = 0.0) -> Array:
    """Cut pixels rows[0] .. rows[1]-1 and cols[0] .. cols[1]-1 out of images, with fill where there are none."""
    (top, bottom), (left, right) = _inside(rows, x.shape[1]), _inside(cols, x.shape[2])
    inside = x[:, top:bottom, left:right, :]
    size = (x.shape[0], rows[1] - rows[0], cols[1] - cols[0], x.shape[3])
    if inside.shape == size:
        return inside
    tile = xp.full(size, fill, dtype=x.dtype, device=x.device)
    return set_at(tile, _place(rows, (top, bottom), cols, (left, right)), inside)


def crop_into(
    dx: Array, images: slice, channels: slice, dtile: Array, rows: tuple[int, int], cols: tuple[int, int]
) -> Array:
    """Adjoint of padded: add a tile's gradient to the pixels and channels of dx that it was cut from."""
    (top, bottom), (left, right) = _inside(rows, dx.shape[1]), _inside(cols, dx.shape[2])
    inside = dtile[_place(rows, (top, bottom), cols, (left, right))]
    return add_at(dx, (images, slice(top, bottom), slice(left, right), channels), inside)


def _inside(span: tuple[int, int], n: int) -> tuple[int, int]:
    """The part of a span of pixels that lies within an axis of n; (first, first) where none does."""
    first = min(max(span[0], 0), n)
    return first, max(first, min(span[1], n))


def _place(
    rows: tuple[int, int], height: tuple[int, int], cols: tuple[int, int], width: tuple[int, int]
) -> tuple[slice, ...]:
    """Where pixels height x width of an image lie on the tile cut out of it at rows x cols."""
    return (
        slice(None),
        *(
            slice(part[0] - span[0], part[1] - span[0]) if part[0] < part[1] else slice(0, 0)
            for span, part in ((rows, height), (cols, width))
        ),
        slice(None),
    )


def unroll(xp: Any, tile: Array, rows: Axis, cols: Axis, out_rows: int) -> Array:
    """Lay the pixels under each window of a padded tile side by side (im2col).

    Args:
        tile: (n, HT, WT, C), where out_rows windows of rows and all of cols fit.
    Returns:
        (n, out_rows, OW, KH*KW*C), the taps in row-major order.
    """
    across = [tile[:, :, cols.tap(q), :] for q in range(cols.k)]
    wide = across[0] if len(across) == 1 else xp.concat(across, axis=3)  # (n, HT, OW, KW*C)
    down = [wide[:, rows.tap(p, out_rows), :, :] for p in range(rows.k)]
    return down[0] if len(down) == 1 else xp.concat(down, axis=3)


def fold(xp: Any, columns: Array, rows: Axis, cols: Axis, size: tuple[int, int, int, int]) -> Array:
    """Adjoint of unroll: sum columns (n, out_rows, OW, KH*KW*C) back onto a tile of the given size (n, HT, WT, C)."""
    n, height, _, c = size
    out_rows, run = columns.shape[1], cols.k * c
    wide = xp.zeros((n, height, cols.out, run), dtype=columns.dtype, device=columns.device)
    for p in range(rows.k):
        place = (slice(None), rows.tap(p, out_rows), slice(None), slice(None))
        wide = add_at(wide, place, columns[:, :, :, p * run : (p + 1) * run])
    tile = xp.zeros(size, dtype=columns.dtype, device=columns.device)
    for q in range(cols.k):
        place = (slice(None), slice(None), cols.tap(q), slice(None))
        tile = add_at(tile, place, wide[:, :, :, q * c : (q + 1) * c])
    return tile
