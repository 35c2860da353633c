"""The threshold: zeros and ones forward, and the error unchanged on the way back."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import check_op, float_types, put, raises, sample
from xpnet import ops
from xpnet.errors import DTypeError


def definition(x):
    return np.asarray([1.0 if value > 0 else 0.0 for value in x.ravel()]).reshape(x.shape)


def forward(x):
    """The op without its way back, which is no derivative: no difference along a direction can check it."""
    return ops.threshold(x)[0], lambda dy, needs: (None,)


@pytest.mark.parametrize("shape", [(2, 5, 7), (5, 3), (4,)], ids=str)
def test_threshold_says_one_above_zero_and_zero_elsewhere(backend, shape):
    check_op(forward, [sample(*shape)], {}, backend, oracle=definition, differentiable=(), batch=[0], length=1)


def test_zero_itself_is_no_yes_and_neither_is_nan(backend):
    y, _ = ops.threshold(put(backend, np.array([-np.inf, -0.0, 0.0, 1e-30, np.inf, np.nan]), np.float32))
    assert backend.to_numpy(y).tolist() == [0, 0, 0, 1, 1, 0]


def test_the_error_of_the_answer_becomes_the_correction_of_the_sum(backend):
    for dtype in float_types(backend):
        _, vjp = ops.threshold(put(backend, np.array([-3.0, 0.0, 2.0]), dtype))
        dy = np.array([1.0, -1.0, 0.5])
        (dx,) = vjp(put(backend, dy, dtype), (True,))
        assert dx.dtype == getattr(backend.xp, np.dtype(dtype).name)
        assert backend.to_numpy(dx).tolist() == dy.tolist()


def test_a_gradient_that_is_not_needed_is_none(backend):
    _, vjp = ops.threshold(put(backend, np.array([1.0]), np.float32))
    assert vjp(put(backend, np.array([1.0]), np.float32), (False,)) == (None,)


def test_the_threshold_of_integers_is_an_error(backend):
    with raises(DTypeError, "threshold", "int64"):
        ops.threshold(backend.from_numpy(np.arange(3)))
