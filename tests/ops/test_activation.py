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


def _sigmoid(x):
    return np.where(x > 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def _gelu(x):
    with np.errstate(over="ignore", invalid="ignore"):
        y = x * _sigmoid(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    return np.where(x < -30, 0.0, y)


def _gelu_slope(x):
    near = np.clip(x, -30, 30)
    return (_gelu(near + 1e-5) - _gelu(near - 1e-5)) / 2e-5


WIDE = {
    "relu": (lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0)),
    "leaky_relu": (lambda x: np.where(x > 0, x, 0.01 * x), lambda x: np.where(x > 0, 1, 0.01)),
    "sigmoid": (_sigmoid, lambda x: _sigmoid(x) * _sigmoid(-x)),
    "tanh": (np.tanh, lambda x: 4 * _sigmoid(2 * x) * _sigmoid(-2 * x)),
    "gelu": (_gelu, _gelu_slope),
}


@pytest.mark.parametrize("name", WIDE)
def test_an_activation_is_right_from_minus_infinity_to_infinity(backend, name):
    """Values to their own precision, so that their logarithms are right too, but gelu's to 1e-6 as slopes are."""
    function, slope = WIDE[name]
    edges = [-np.inf, -3e38, -1e20, -1e4, -20.0, -17.0, 0.0, 17.0, 1e4, 1e20, 3e38, np.inf]
    x = np.concatenate([edges, np.linspace(-100, 100, 173)]).astype(np.float32).astype(np.float64)
    with np.errstate(over="raise", invalid="raise"):
        y, vjp = getattr(ops, name)(put(backend, x, np.float32))
        (dx,) = vjp(put(backend, np.ones_like(x), np.float32), (True,))
    np.testing.assert_allclose(backend.to_numpy(y), function(x), rtol=2e-5, atol=1e-6 if name == "gelu" else 1e-37)
    np.testing.assert_allclose(backend.to_numpy(dx), slope(x), rtol=0, atol=2e-6)
    nan, _ = getattr(ops, name)(put(backend, np.array([np.nan, 1.0]), np.float32))
    assert np.isnan(backend.to_numpy(nan)).tolist() == [True, False]


def test_the_sigmoid_of_float16_keeps_its_small_values(backend):
    if not hasattr(backend.xp, "float16"):
        pytest.skip(f"{backend.spec} has no float16")
    x = np.array([-60000, -12, -8, 0, 8, 12, 60000], np.float16)
    y, _ = ops.sigmoid(backend.from_numpy(x))
    np.testing.assert_allclose(backend.to_numpy(y), _sigmoid(x.astype(float)), rtol=4e-3, atol=6e-8)


@pytest.mark.parametrize("op", [ops.linear, ops.conv2d], ids=["linear", "conv2d"])
def test_the_sigmoid_within_another_op_keeps_its_small_values(backend, op):
    x, ones = np.array([-20.0, -9.0, -4.0]), (1,) if op is ops.linear else (1, 1, 1)
    images = put(backend, x.reshape(3, *ones), np.float32)
    y, _ = op(images, put(backend, np.ones((1, *ones)), np.float32), activation="sigmoid")
    np.testing.assert_allclose(backend.to_numpy(y).reshape(3), _sigmoid(x), rtol=2e-5)


def test_log_softmax_of_logits_as_large_as_float32_allows_is_right(backend):
    x = np.array([[3e38, 3e38, 2e38], [-np.inf, 1, 1]])
    y, vjp = ops.log_softmax(put(backend, x, np.float32))
    (dx,) = vjp(put(backend, np.ones_like(x), np.float32), (True,))
    half = np.log(0.5)
    np.testing.assert_allclose(backend.to_numpy(y), [[half, half, -1e38], [-np.inf, half, half]], rtol=1e-6)
    assert np.isfinite(backend.to_numpy(dx)).all()


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize(("shape", "axis"), [((2, 0), -1), ((0, 5), 0), ((3, 0, 2), 1)])
def test_softmax_over_an_axis_of_length_0_is_an_error_and_over_another_is_empty(backend, name, shape, axis):
    x = put(backend, np.zeros(shape), np.float32)
    with raises(ShapeError, name, shape):
        getattr(ops, name)(x, axis=axis)
    other = next(a for a in range(len(shape)) if shape[a])
    y, vjp = getattr(ops, name)(x, axis=other)
    assert tuple(y.shape) == tuple(vjp(y, (True,))[0].shape) == shape


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
@pytest.mark.parametrize("axis", [3, -4, 1.0, "1", True])
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
