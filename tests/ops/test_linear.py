"""Linear maps and matrix products."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests import oracles
from tests.harness import check_op, integers, put, raises, sample
from xpnet import ops
from xpnet.errors import ConfigError, DeviceError, DTypeError, ShapeError

X, W, B = sample(5, 3), sample(4, 3, seed=1), sample(4, seed=2)


def _torch_linear(x, w, b=None, activation=None):
    from torch.nn.functional import linear

    y = linear(x, w, b)
    return y if activation is None else _torch_activation(activation)(y)


def _torch_activation(name):
    import torch.nn.functional as F

    return (lambda y: F.gelu(y, approximate="tanh")) if name == "gelu" else getattr(F, name)


@pytest.mark.parametrize("bias", [B, None], ids=["bias", "no bias"])
@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 3), (3,)], ids=str)
def test_linear_agrees_with_its_definition_and_with_autograd(backend, shape, bias):
    linear = (0, 1) if bias is None else (0, 1, 2)
    batch = (0,) if len(shape) > 1 else ()
    check_op(
        ops.linear,
        [sample(*shape), W, bias],
        {},
        backend,
        oracle=oracles.linear,
        torch_oracle=_torch_linear,
        linear=linear,
        batch=batch,
        length=10,
    )


def test_linear_may_be_called_without_a_bias(backend):
    check_op(ops.linear, [X, W], {}, backend, oracle=oracles.linear, torch_oracle=_torch_linear, length=5)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "sigmoid", "tanh", "gelu"])
def test_a_fused_activation_equals_the_activation_after_linear(backend, activation):
    check_op(
        ops.linear,
        [X, W, B],
        {"activation": activation},
        backend,
        oracle=oracles.linear,
        torch_oracle=_torch_linear,
        batch=(0,),
        length=10,
    )


def test_a_fused_relu_does_not_hide_a_nan(backend):
    x = np.array([[1.0, 2.0], [np.nan, 2.0], [-3.0, 1.0]])
    w, b = put(backend, np.eye(2), np.float32), put(backend, np.zeros(2), np.float32)
    y, _ = ops.linear(put(backend, x, np.float32), w, b, activation="relu")
    assert np.isnan(backend.to_numpy(y)).any(axis=1).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("a", "b"),
    [((5, 3), (3, 4)), ((2, 5, 3), (2, 3, 4)), ((2, 5, 3), (3, 4)), ((6, 1, 5, 3), (2, 3, 4)), ((1, 1), (1, 1))],
    ids=str,
)
def test_matmul_agrees_with_its_definition_and_with_autograd(backend, a, b):
    def torch_matmul(a, b):
        return a @ b

    check_op(
        ops.matmul,
        [sample(*a), sample(*b, seed=1)],
        {},
        backend,
        oracle=oracles.matmul,
        torch_oracle=torch_matmul,
        linear=[0, 1],
        length=40,
    )


def test_linear_with_features_that_disagree_is_an_error():
    with raises(ShapeError, "linear", (5, 3), (4, 2)):
        ops.linear(X, sample(4, 2))


def test_linear_with_a_bias_of_another_length_is_an_error():
    with raises(ShapeError, "linear", (3,), (4, 3)):
        ops.linear(X, W, sample(3))


def test_linear_with_weights_of_another_rank_is_an_error():
    with raises(ShapeError, "linear", (4, 3, 1)):
        ops.linear(X, sample(4, 3, 1))


def test_linear_of_a_single_number_is_an_error():
    with raises(ShapeError, "linear", ()):
        ops.linear(np.array(1.0), W)


def test_linear_of_integers_is_an_error(backend):
    with raises(DTypeError, "linear", "int64"):
        ops.linear(backend.from_numpy(integers(5, 3, high=9)), put(backend, W, np.float32))


def test_linear_with_two_precisions_is_an_error():
    with raises(DTypeError, "linear", "float32", "float64"):
        ops.linear(X.astype(np.float32), W)


def test_linear_with_an_unknown_activation_is_an_error_that_names_the_nearest():
    with raises(ConfigError, "linear", "'rleu'", "'relu'"):
        ops.linear(X, W, B, activation="rleu")


def test_linear_with_arrays_of_two_libraries_is_an_error(backend):
    if backend.name == "numpy":
        pytest.skip("the other library is NumPy")
    with raises(DeviceError, "linear", "numpy", backend.name):
        ops.linear(put(backend, X, np.float32), W.astype(np.float32))


def test_linear_of_something_that_is_no_array_is_an_error():
    with raises(DTypeError, "linear", "list"):
        ops.linear([[1.0, 2.0, 3.0]], W)


@pytest.mark.parametrize(("a", "b"), [((5, 3), (4, 3)), ((3,), (3, 4)), ((2, 5, 3), (6, 3, 4))], ids=str)
def test_matmul_with_shapes_that_disagree_is_an_error(a, b):
    with raises(ShapeError, "matmul", a, b):
        ops.matmul(sample(*a), sample(*b))


@pytest.mark.parametrize("name", ["linear", "conv2d"])
def test_products_over_no_features_are_zero(backend, name):
    x, b = put(backend, np.ones((2, 3, 3, 0)), np.float32), put(backend, np.ones(4), np.float32)
    w = put(backend, np.ones((4, 0) if name == "linear" else (4, 2, 2, 0)), np.float32)
    y, vjp = getattr(ops, name)(x, w, b)
    dx, dw, db = vjp(y, (True, True, True))
    assert (tuple(dx.shape), tuple(dw.shape)) == (tuple(x.shape), tuple(w.shape))
    assert (backend.to_numpy(y) == 1).all()
    assert (backend.to_numpy(db) == math.prod(y.shape[:-1])).all()
