"""Bounds on gradients, on every backend."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.backend import Backend
from xpnet.optim import clip_norm, clip_value, norm_scale


def move(backend: Backend, values: list[float]):
    return backend.from_numpy(np.asarray(values, np.float32))


def test_a_long_gradient_is_shortened_to_the_limit_and_keeps_its_direction(backend: Backend) -> None:
    got = clip_norm(move(backend, [3.0, 0.0, -4.0]), 2.0)
    assert backend.to_numpy(got) == pytest.approx(np.asarray([1.2, 0.0, -1.6]), rel=1e-6)


def test_a_short_gradient_is_left_alone(backend: Backend) -> None:
    assert backend.to_numpy(clip_norm(move(backend, [3.0, 0.0, -4.0]), 5.5)).tolist() == [3.0, 0.0, -4.0]


def test_the_norm_is_that_of_all_parts_together(backend: Backend) -> None:
    scale = norm_scale([move(backend, [1.0, 2.0]), move(backend, [2.0, 4.0, 0.0])], 1.0)
    assert tuple(scale.shape) == ()
    assert float(scale) == pytest.approx(0.2, rel=1e-6)


def test_a_gradient_of_zeros_stays_zero(backend: Backend) -> None:
    assert backend.to_numpy(clip_norm(move(backend, [0.0, 0.0]), 1.0)).tolist() == [0.0, 0.0]


def test_each_element_is_bounded_on_both_sides(backend: Backend) -> None:
    got = clip_value(move(backend, [-9.0, -0.25, 0.0, 0.5, 7.0]), 0.5)
    assert backend.to_numpy(got).tolist() == [-0.5, -0.25, 0.0, 0.5, 0.5]


def test_nan_is_not_hidden(backend: Backend) -> None:
    bad = move(backend, [1.0, float("nan"), 2.0])
    assert np.isnan(backend.to_numpy(clip_norm(bad, 1.0))).all()
    assert np.isnan(backend.to_numpy(clip_value(bad, 1.0))).tolist() == [False, True, False]


def test_clipping_keeps_dtype_and_device(backend: Backend) -> None:
    x = move(backend, [1.0, 2.0])
    for y in (clip_norm(x, 1.0), clip_value(x, 1.0)):
        assert type(y) is type(x)
        assert y.dtype == x.dtype
        assert y.device == x.device
    assert backend.to_numpy(x).tolist() == [1.0, 2.0]
