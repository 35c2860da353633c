"""How windows lie on images, for ops and kernels: Axis, and the tiles in which columns (im2col) are made.

OH = floor((H + 2*PH - DH*(KH-1) - 1) / SH) + 1        (ceil instead of floor in ceil mode; OW likewise)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Axis", "Tile", "tiles"]


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
