"""Activations and softmax."""

from __future__ import annotations

import numpy as np
import pytest

from tests import oracles
from tests.harness import agree, check_op, float_types, put, raises, sample
from xpnet import ops
from xpnet.errors import DTypeError, ShapeError

X = sample(2, 5, 7, low=-3, high=3)


def _torch(name):
    def run(x, slope=0.01, axis=-1):
        import torch.nn.functional as F

        settings = {"leaky_relu": [slope], "softmax": [axis], "log_softmax": [axis]}
        return F.gelu(x, approximate="tanh") if name == "gelu" else getattr(F, name)(x, *settings.get(name, []))

    return run


NAMES = ["relu", "leaky_relu", "sigmoid", "tanh", "gelu", "softmax", "log_softmax"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("relu", {}),
        ("leaky_relu", {}),
        ("leaky_relu", {"slope": 0.4}),
        ("sigmoid", {}),
        ("tanh", {}),
        ("gelu", {}),
        ("softmax", {}),
        ("softmax", {"axis": 1}),
        ("log_softmax", {}),
        ("log_softmax", {"axis": 0}),
    ],
    ids=str,
)
def test_an_activation_agrees_with_its_definition_and_with_autograd(backend, name, options):
    batch = () if options.get("axis") == 0 else (0,)
    oracle = getattr(oracles, name)
    check_op(getattr(ops, name), [X], options, backend, oracle=oracle, torch_oracle=_torch(name), batch=batch, length=8)


def test_relu_has_no_slope_at_zero(backend):
    _, vjp = ops.relu(put(backend, np.array([-1.0, 0.0, 1.0]), np.float32))
    (dx,) = vjp(put(backend, np.array([5.0, 5.0, 5.0]), np.float32), (True,))
    assert backend.to_numpy(dx).tolist() == [0, 0, 5]


def test_relu_does_not_hide_a_nan(backend):
    y, _ = ops.relu(put(backend, np.array([np.nan, -1.0]), np.float32))
    assert np.isnan(backend.to_numpy(y)).tolist() == [True, False]


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "sigmoid", "tanh", "gelu"])
@pytest.mark.parametrize("first", [0, 1, 3])
def test_an_activation_of_part_of_an_array_is_that_part_of_its_activation(backend, name, first):
    """Where the part begins, and how long it is, must not matter: kernels move several numbers at a time."""
    x, dy = (put(backend, sample(23, seed=i), np.float32) for i in (0, 1))
    whole, whole_vjp = getattr(ops, name)(x)
    part, part_vjp = getattr(ops, name)(x[first : first + 18])
    agree(backend.to_numpy(part), backend.to_numpy(whole)[first : first + 18], np.float32, 1, "y")
    (dx,), (dpart,) = whole_vjp(dy, (True,)), part_vjp(dy[first : first + 18], (True,))
    agree(backend.to_numpy(dpart), backend.to_numpy(dx)[first : first + 18], np.float32, 1, "dx")


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "gelu", "softmax", "log_softmax"])
def test_large_inputs_do_not_overflow(backend, name):
    x = np.array([[-1e4, -90.0, 0.0, 90.0, 1e4]])
    far = {"sigmoid": [0, 0, 0.5, 1, 1], "tanh": [-1, -1, 0, 1, 1], "gelu": [0, 0, 0, 90, 1e4]}
    far |= {"softmax": [0, 0, 0, 0, 1], "log_softmax": [-2e4, -10090, -1e4, -9910, 0]}
    with np.errstate(over="raise", invalid="raise"):
        y, vjp = getattr(ops, name)(put(backend, x, np.float32))
        (dx,) = vjp(put(backend, np.ones_like(x), np.float32), (True,))
    np.testing.assert_allclose(backend.to_numpy(y)[0], far[name], rtol=1e-6, atol=1e-30)
    assert np.all(np.isfinite(backend.to_numpy(dx)))


def test_softmax_of_a_masked_class_is_zero(backend):
    y, vjp = ops.softmax(put(backend, np.array([[0.0, -np.inf, 0.0]]), np.float32))
    (dx,) = vjp(put(backend, np.array([[1.0, 2.0, 3.0]]), np.float32), (True,))
    np.testing.assert_allclose(backend.to_numpy(y), [[0.5, 0, 0.5]])
    np.testing.assert_allclose(backend.to_numpy(dx), [[-0.5, 0, 0.5]])


def test_softmax_keeps_working_on_one_class(backend):
    y, _ = ops.softmax(put(backend, sample(2, 1), np.float32))
    assert backend.to_numpy(y).tolist() == [[1], [1]]


@pytest.mark.parametrize("name", NAMES)
def test_an_activation_of_integers_is_an_error(backend, name):
    with raises(DTypeError, name, "int64"):
        getattr(ops, name)(backend.from_numpy(np.arange(6).reshape(2, 3)))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("axis", [3, -4])
def test_softmax_over_an_axis_that_is_not_there_is_an_error(name, axis):
    with raises(ShapeError, name, axis, (2, 5, 7)):
        getattr(ops, name)(X, axis=axis)


def _threshold(x):
    return np.asarray([1.0 if value > 0 else 0.0 for value in x.ravel()]).reshape(x.shape)


def _forward(x):
    """The op without its vjp, which is no derivative: a difference along a direction does not agree with it."""
    return ops.threshold(x)[0], lambda dy, needs: (None,)


@pytest.mark.parametrize("shape", [(2, 5, 7), (5, 3), (4,)], ids=str)
def test_threshold_says_one_above_zero_and_zero_elsewhere(backend, shape):
    check_op(_forward, [sample(*shape)], {}, backend, oracle=_threshold, differentiable=(), batch=[0], length=1)


def test_the_threshold_of_zero_and_of_nan_is_zero(backend):
    y, _ = ops.threshold(put(backend, np.array([-np.inf, -0.0, 0.0, 1e-30, np.inf, np.nan]), np.float32))
    assert backend.to_numpy(y).tolist() == [0, 0, 0, 1, 1, 0]


def test_the_threshold_passes_the_gradient_through(backend):
    for dtype in float_types(backend):
        _, vjp = ops.threshold(put(backend, np.array([-3.0, 0.0, 2.0]), dtype))
        dy = np.array([1.0, -1.0, 0.5])
        (dx,) = vjp(put(backend, dy, dtype), (True,))
        assert dx.dtype == getattr(backend.xp, np.dtype(dtype).name)
        assert backend.to_numpy(dx).tolist() == dy.tolist()


def test_a_gradient_of_the_threshold_that_is_not_needed_is_none(backend):
    _, vjp = ops.threshold(put(backend, np.array([1.0]), np.float32))
    assert vjp(put(backend, np.array([1.0]), np.float32), (False,)) == (None,)
