"""Segments: how neighbours are joined and long ones are cut."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.backend import Backend
from xpnet.optim.segments import Segment, concatenate, merge

# start, length, group; between the third and the fourth lies a parameter without a gradient
PLACES = [(0, 12, 0), (64, 3, 0), (128, 64, 1), (256, 5, 1), (320, 1, 1)]


def segments(backend: Backend) -> list[Segment]:
    xp, device = backend.xp, backend.device
    return [
        Segment(start, start + n, xp.full((n, 1), float(start + 1), dtype=xp.float32, device=device), group)
        for start, n, group in PLACES
    ]


def test_neighbours_of_one_group_become_one_segment_with_zeros_in_the_gaps(backend: Backend) -> None:
    found = merge(segments(backend))
    assert [(s.start, s.stop, s.group) for s in found] == [(0, 67, 0), (128, 192, 1), (256, 321, 1)]
    want = np.zeros(67)
    want[:12], want[64:] = 1, 65
    assert np.array_equal(backend.to_numpy(found[0].gradient), want)
    assert all(tuple(s.gradient.shape) == (s.stop - s.start,) for s in found)


def test_long_segments_of_the_host_are_cut_and_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpnet.optim.segments.LARGE", 20)
    monkeypatch.setattr("xpnet.optim.segments.BLOCK", 30)
    long, short = np.arange(70.0), np.ones(2)
    found = merge([Segment(0, 70, long, 0), Segment(128, 130, short, 0)])
    assert [(s.start, s.stop) for s in found] == [(0, 30), (30, 60), (60, 130)]
    assert np.shares_memory(found[1].gradient, long)
    assert found[2].gradient.tolist() == [*range(60, 70), *[0] * 58, 1, 1]


def test_one_array_is_joined_without_a_copy() -> None:
    x = np.ones((2, 3))
    assert np.shares_memory(concatenate([x], [64]), x)
