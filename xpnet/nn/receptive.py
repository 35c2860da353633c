"""Receptive fields: which rows and columns of the image each output depends on, from shapes alone.

Each place of an output is traced to the first and the last pixel that it depends on, along each axis separately, so
padding, uneven ends and ceil mode count as they are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Field", "pair_text", "window_details"]

_LARGEST = 1 << 13  # pixels along an axis that are traced; more would take long
_NONE = 1 << 20  # the first pixel of a place that sees none

Pair = tuple[int, int]
Range = tuple[np.ndarray, np.ndarray]  # first and last pixel along one axis


class Field(NamedTuple):
    """First and last pixel seen from each place, along H and along W; a place that sees none has last < first.

    Args:
        first, last: a pair of integer arrays each, as long as the output is high and wide.
        flat: whether the places have been laid out as one row of features.
    """

    first: tuple[np.ndarray, np.ndarray]
    last: tuple[np.ndarray, np.ndarray]
    flat: bool = False

    @classmethod
    def of_image(cls, shape: tuple[int, ...]) -> Field | None:
        """Return the field of an image (H, W, C), where each place sees itself; None for other data."""
        if len(shape) != 3 or max(shape[:2]) > _LARGEST:
            return None
        rows, columns = (np.arange(n) for n in shape[:2])
        return cls((rows, columns), (rows, columns))

    @property
    def size(self) -> Pair:
        """Rows and columns that the place which sees most of them sees."""
        rows, columns = (max(0, int((b - a).max()) + 1) for a, b in zip(self.first, self.last, strict=True))
        return rows, columns

    def windows(self, output: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Field:
        """Return the field of windows over these places; output is the shape (OH, OW, ...) that they give."""
        geometry = zip(output[:2], kernel, stride, padding, dilation, strict=True)
        return self._of([_window(*axis, *g) for axis, g in zip(self._axes(), geometry, strict=True)])

    def along(self, axis: int) -> Field:
        """Return the field of outputs that depend on all places along an axis; 0: H, 1: W, others: no change."""
        return self._of([_all(*pixels) if axis == i else pixels for i, pixels in enumerate(self._axes())])

    def whole(self) -> Field:
        """Return the field of outputs that depend on all places."""
        (top, left), (bottom, right), _ = self
        return Field((top.min()[None], left.min()[None]), (bottom.max()[None], right.max()[None]), True)

    def features(self) -> Field:
        """Return the field of outputs that depend on all features of their place, or of the row of features."""
        return self.whole() if self.flat else self

    def joined(self, other: Field | None) -> Field | None:
        """Return the field of a sum whose terms have these two; None if one is not known."""
        if other is None:
            return None
        top, left = (np.minimum(a, b) for a, b in zip(self.first, other.first, strict=True))
        bottom, right = (np.maximum(a, b) for a, b in zip(self.last, other.last, strict=True))
        return Field((top, left), (bottom, right), self.flat)

    def _axes(self) -> list[Range]:
        return list(zip(self.first, self.last, strict=True))

    def _of(self, axes: list[Range]) -> Field:
        (top, bottom), (left, right) = axes
        return Field((top, left), (bottom, right), self.flat)


def _all(first: np.ndarray, last: np.ndarray) -> Range:
    return np.full_like(first, first.min()), np.full_like(last, last.max())


def _window(first: np.ndarray, last: np.ndarray, out: int, k: int, s: int, p: int, d: int) -> Range:
    """The pixels that `out` windows see, of k taps d apart, every s places, with p of padding."""
    n = len(first)
    places = np.arange(out)[:, None] * s - p + np.arange(k) * d  # (out, k)
    inside = (places >= 0) & (places < n)
    places = np.clip(places, 0, n - 1)
    return np.where(inside, first[places], _NONE).min(axis=1), np.where(inside, last[places], -1).max(axis=1)


def window_details(kernel: Pair, stride: Pair, padding: Pair) -> list[str]:
    """Return a window in words, such as ["3x3", "stride 2", "pad 1"]; stride 1 and padding 0 are left out."""
    usual = (("stride", stride, (1, 1)), ("pad", padding, (0, 0)))
    return ["x".join(map(str, kernel)), *(f"{name} {pair_text(value)}" for name, value, u in usual if value != u)]


def pair_text(value: Pair) -> str:
    """Return a pair in words: one number where both are equal."""
    return str(value[0]) if value[0] == value[1] else f"{value[0]}x{value[1]}"
