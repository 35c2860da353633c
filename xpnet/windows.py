"""Windows that slide over images, for convolution and pooling.

OH = floor((H + 2*PH - DH*(KH-1) - 1) / SH) + 1        (ceil instead of floor in ceil mode; OW likewise)

``axes`` says how windows lie on an image, ``tiles`` cuts the work into pieces. In standard code ``unroll`` (im2col)
lays the pixels under each window side by side, and ``fold`` is its adjoint. Unrolling goes one axis at a time, columns
first and then rows, so that KH + KW slices are copied instead of KH * KW and the second copy moves runs of KW*C
numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from xpnet.backend import Array, add_at, set_at
from xpnet.errors import ShapeError

__all__ = ["Axis", "Tile", "axes", "crop_into", "fold", "out_size", "padded", "tiles", "unroll"]


class Axis(NamedTuple):
    """How windows lie along one image axis: n pixels, out windows of k taps, d apart, every s pixels, p padding."""

    n: int
    k: int
    s: int
    p: int
    d: int
    out: int

    @property
    def reach(self) -> int:
        """Pixels from the first to the last that a window touches, both counted."""
        return self.d * (self.k - 1) + 1

    def span(self, first: int = 0, stop: int | None = None) -> tuple[int, int]:
        """Pixels that windows first .. stop-1 touch, all by default; may begin under 0 and end past n."""
        last = (self.out if stop is None else stop) - 1
        return first * self.s - self.p, last * self.s - self.p + self.reach

    def tap(self, tap: int, out: int | None = None) -> slice:
        """The pixels, from the first of ``span``, that one tap of each window touches, or of the first ``out``."""
        start = tap * self.d
        return slice(start, start + self.s * ((self.out if out is None else out) - 1) + 1, self.s)

    def counts(self, with_padding: bool) -> list[int]:
        """How many pixels each window covers, of the padded image or of the image alone."""
        low, high = (-self.p, self.n + self.p) if with_padding else (0, self.n)
        starts = (i * self.s - self.p for i in range(self.out))
        return [min(start + self.k, high) - max(start, low) for start in starts]


def out_size(n: int, k: int, s: int, p: int, d: int = 1, *, ceil_mode: bool = False) -> int:
    """Count the windows along an axis; in ceil mode the last starts before the right padding."""
    room = n + 2 * p - d * (k - 1) - 1
    if not ceil_mode:
        return room // s + 1
    out = -(-room // s) + 1
    return out - 1 if (out - 1) * s >= n + p else out


@lru_cache(maxsize=1024)
def axes(
    op: str,
    shape: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
    *,
    ceil_mode: bool = False,
) -> tuple[Axis, Axis]:
    """Lay windows over images of shape (N, H, W, C), rows and columns; ShapeError if one exceeds the padded image."""
    laid = []
    for n, k, s, p, d in zip(shape[1:3], kernel, stride, padding, dilation, strict=True):
        if d * (k - 1) + 1 > n + 2 * p:
            rule, do = "a dilated kernel that fits in the padded image", "pad more or use a smaller kernel"
            raise ShapeError(op, rule, do, x=tuple(shape), kernel_size=kernel, padding=padding, dilation=dilation)
        laid.append(Axis(n, k, s, p, d, out_size(n, k, s, p, d, ceil_mode=ceil_mode)))
    return laid[0], laid[1]


class Tile(NamedTuple):
    """Images i .. j-1, and rows r .. s-1 of their output."""

    i: int
    j: int
    r: int
    s: int

    @property
    def place(self) -> tuple[slice, slice]:
        """Where the tile lies in (N, OH, ...)."""
        return slice(self.i, self.j), slice(self.r, self.s)

    @property
    def size(self) -> tuple[int, int]:
        """Images and rows."""
        return self.j - self.i, self.s - self.r


def tiles(first: int, stop: int, out: int, most: int) -> Iterator[Tile]:
    """Cut images first .. stop-1, of out rows each, into tiles of at most so many rows, but at least one."""
    images, high = max(1, most // max(1, out)), max(1, min(most, out))
    for i in range(first, stop, images):
        for r in range(0, out, high):
            yield Tile(i, min(stop, i + images), r, min(out, r + high))


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
