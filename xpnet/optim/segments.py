"""Segments of a flat array: contiguous slices, each with one gradient, one learning rate and one weight decay."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xpnet.backend import Array, namespace

__all__ = ["GRID", "Segment", "concatenate", "merge"]

# Each parameter starts at a multiple of GRID elements, 128 bytes in half precision: devices read aligned blocks faster.
GRID = 64

# On NumPy an update is several array operations, between which a block of parameter, gradient and state should stay
# in the cache; and a gradient of more than LARGE elements costs more to copy than to update on its own.
BLOCK = 1 << 17
LARGE = 1 << 15


class Segment(NamedTuple):
    """Elements start .. stop of a flat array, their gradient (stop - start elements), and the group they belong to."""

    start: int
    stop: int
    gradient: Array
    group: int


def concatenate(arrays: Sequence[Array], starts: Sequence[int]) -> Array:
    """Join arrays into one flat array in which each begins at its start, counted from the first; zeros fill the gaps.

    Args:
        arrays: at least one, of one dtype and device.
        starts: ascending, each less than GRID after the end of the array before.
    """
    xp, first = namespace(arrays[0]), arrays[0]
    if len(arrays) == 1:
        return xp.reshape(first, (-1,))
    gap = xp.zeros(GRID, dtype=first.dtype, device=first.device)
    pieces, end = [], starts[0]
    for array, start in zip(arrays, starts, strict=True):
        if start > end:
            pieces.append(gap[: start - end])
        flat = xp.reshape(array, (-1,))
        pieces.append(flat)
        end = start + flat.shape[0]
    return xp.concat(pieces)


def merge(segments: Sequence[Segment]) -> list[Segment]:
    """Join neighbouring segments of one group, so that array code takes few calls; on NumPy, cut long ones instead.

    Returns:
        Segments that cover the given ones, each with a flat gradient, (stop - start,).
    """
    runs: list[list[Segment]] = []
    for segment in segments:
        start, stop, gradient, group = segment
        last = runs[-1][-1] if runs else None
        if _is_long(segment):
            flat, cuts = gradient.reshape(-1), [*range(start, stop, BLOCK), stop]
            runs += [[Segment(a, b, flat[a - start : b - start], group)] for a, b in itertools.pairwise(cuts)]
        elif last and not _is_long(last) and last.group == group and start - last.stop < GRID:
            runs[-1].append(segment)
        else:
            runs.append([segment])
    return [
        Segment(
            run[0].start, run[-1].stop, concatenate([s.gradient for s in run], [s.start for s in run]), run[0].group
        )
        for run in runs
    ]


def _is_long(segment: Segment) -> bool:
    return segment.stop - segment.start > LARGE and isinstance(segment.gradient, np.ndarray)
