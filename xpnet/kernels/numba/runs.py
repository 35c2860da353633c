"""Short runs of numbers, copied eight at a time.

A loop over a run is compiled to copy dozens of numbers at once and the rest one by one, so a run of 30 is slow; eight
copies in a row become one load and one store. Indices of flat arrays are unsigned (``at``): no check for
negative ones is compiled.
"""

from __future__ import annotations

import numba
from numba import uintp as at  # a place in a flat array

__all__ = ["at", "clear", "copy", "eight"]


@numba.njit
def eight(x, a, y, b):
    """Copy eight numbers of x from a on into y from b on: one load and one store."""
    a, b, one = at(a), at(b), at(1)
    v0, v1, v2, v3 = x[a], x[a + one], x[a + at(2)], x[a + at(3)]
    v4, v5, v6, v7 = x[a + at(4)], x[a + at(5)], x[a + at(6)], x[a + at(7)]
    y[b], y[b + one], y[b + at(2)], y[b + at(3)] = v0, v1, v2, v3
    y[b + at(4)], y[b + at(5)], y[b + at(6)], y[b + at(7)] = v4, v5, v6, v7


@numba.njit(inline="always")
def copy(y, b, x, a, run):
    """Copy a run of x from a on into y from b on; and up to seven numbers after it, if both arrays are long enough.

    So the runs of y must be copied in order: each overwrites what the one before wrote too much.
    """
    if a + run + at(8) <= at(len(x)) and b + run + at(8) <= at(len(y)):
        for t in range(at(0), run, at(8)):
            eight(x, a + t, y, b + t)
    else:
        for t in range(run):
            y[b + t] = x[a + t]


@numba.njit(inline="always")
def clear(y, b, run):
    """Write a run of zeros into y from b on."""
    for t in range(run):
        y[b + t] = 0
