"""Sums, means, maxima and minima over axes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests import oracles
from tests.harness import check_op, few_on_jax, integers, put, raises, sample
from xpnet import ops
from xpnet.errors import DTypeError, ShapeError

X = sample(2, 5, 7)
ORACLES = {
    "sum": oracles.reduction(math.fsum),
    "mean": oracles.reduction(lambda v: math.fsum(v) / len(v)),
    "max": oracles.reduction(max),
    "min": oracles.reduction(min),
}


def _torch(name):
    def run(x, axis=None, keepdims=False):
        import torch

        function = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax, "min": torch.amin}[name]
        axis = tuple(range(x.ndim)) if axis is None else axis
        return function(x, dim=axis, keepdim=keepdims)

    return run


TORCH = {name: _torch(name) for name in ORACLES}
names = pytest.mark.parametrize("name", ORACLES)


@names
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2), (-1, 0), (0, 1, 2)], ids=str)
def test_a_reduction_agrees_with_its_definition_and_with_autograd(backend, name, axis, keepdims):
    few_on_jax(backend, axis == (0, 2) or (not keepdims and axis in (None, 1)))
    along = (axis,) if isinstance(axis, int) else axis
    batch = [0] if along is not None and 0 not in along and name in ("sum", "mean") else []
    check_op(
        getattr(ops, name),
        [X],
        {"axis": axis, "keepdims": keepdims},
        backend,
        oracle=ORACLES[name],
        torch_oracle=TORCH[name],
        linear=[0] if name in ("sum", "mean") else [],
        batch=batch,
        length=70,
    )


@names
def test_a_reduction_takes_all_axes_unless_told(backend, name):
    y, _ = getattr(ops, name)(put(backend, X, np.float32))
    assert y.shape == ()


@names
def test_a_reduction_over_no_axes_changes_nothing(backend, name):
    if backend.name == "torch" and name != "sum":
        pytest.skip("torch takes an empty tuple for all axes in some reductions")
    y, vjp = getattr(ops, name)(put(backend, X, np.float32), axis=())
    np.testing.assert_allclose(backend.to_numpy(y), X)
    (dx,) = vjp(y, (True,))
    np.testing.assert_allclose(backend.to_numpy(dx), X)


@pytest.mark.parametrize("name", ["max", "min"])
def test_ties_share_the_gradient_evenly(backend, name):
    x = np.array([[1.0, 1.0, 1.0], [0.0, 2.0, 2.0]]) * (1 if name == "max" else -1)
    _, vjp = getattr(ops, name)(put(backend, x, np.float32), axis=1)
    (dx,) = vjp(put(backend, np.array([3.0, 4.0]), np.float32), (True,))
    assert backend.to_numpy(dx).tolist() == [[1, 1, 1], [0, 2, 2]]


@names
@pytest.mark.parametrize("axis", [3, -4, (0, 3)])
def test_reducing_an_axis_that_is_not_there_is_an_error(name, axis):
    with raises(ShapeError, name, axis, (2, 5, 7)):
        getattr(ops, name)(X, axis=axis)


@names
@pytest.mark.parametrize("axis", [(1, 1), (1, -2)], ids=str)
def test_reducing_an_axis_twice_is_an_error(name, axis):
    with raises(ShapeError, name, axis, (2, 5, 7)):
        getattr(ops, name)(X, axis=axis)


@pytest.mark.parametrize("name", ["max", "min", "mean"])
def test_the_largest_and_the_mean_of_no_numbers_are_errors(name):
    with raises(ShapeError, name, (0, 3)):
        getattr(ops, name)(np.zeros((0, 3)), axis=0)


@pytest.mark.parametrize("name", ["sum", "mean"])
def test_reducing_integers_is_an_error(backend, name):
    with raises(DTypeError, name, "int64"):
        getattr(ops, name)(backend.from_numpy(integers(5, 7, high=9)))
