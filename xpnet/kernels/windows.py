"""How windows lie on images, for ops and kernels: Axis, and the tiles in which columns (im2col) are made.

OH = floor((H + 2*PH - DH*(KH-1) - 1) / SH) + 1        (ceil instead of floor in ceil mode; OW likewise)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from xpnet.errors import ShapeError

__all__ = ["Axis", "Tile", "axes", "out_size", "tiles"]


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
