"""Elementwise arithmetic, with broadcasting."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.harness import booleans, check_op, few_on_jax, float64_ok, integers, put, raises, sample
from tests.oracles import each
from xpnet import ops
from xpnet.errors import ConfigError, DeviceError, DTypeError, ShapeError

A, B = sample(5, 7), sample(5, 7, seed=1)
POSITIVE = sample(5, 7, seed=2, low=0.3, high=3)

BINARY = {
    "add": each(lambda a, b: a + b),
    "subtract": each(lambda a, b: a - b),
    "multiply": each(lambda a, b: a * b),
    "divide": each(lambda a, b: a / b),
    "maximum": each(max),
    "minimum": each(min),
}
AFFINE = {"add": [0, 1], "subtract": [0, 1], "multiply": [0, 1], "divide": [0]}
UNARY = {
    "negative": each(lambda x: -x),
    "exp": each(math.exp),
    "log": each(math.log),
    "sqrt": each(math.sqrt),
    "square": each(lambda x: x * x),
    "abs": each(abs),
}


def _torch(name):
    def run(*arrays):
        import torch

        arrays = [a if isinstance(a, torch.Tensor) else torch.tensor(a, dtype=torch.float64) for a in arrays]
        return getattr(torch, name)(*arrays)

    return run


TORCH = {name: _torch(name) for name in (*BINARY, *UNARY)}
binary = pytest.mark.parametrize("name", BINARY)


def check_binary(backend, name, a, b, batch=()):
    linear = [i for i in AFFINE.get(name, []) if isinstance((a, b)[i], np.ndarray)]
    check_op(
        getattr(ops, name),
        [a, b],
        {},
        backend,
        oracle=BINARY[name],
        torch_oracle=TORCH[name],
        linear=linear,
        batch=batch,
        length=40,
    )


@binary
def test_two_arrays_of_one_shape_combine_element_by_element(backend, name):
    check_binary(backend, name, A, B if name != "divide" else POSITIVE, batch=[0, 1])


SHAPES = [((5, 7), (7,)), ((7,), (5, 7)), ((5, 1), (1, 7)), ((2, 1, 3), (5, 1)), ((5, 7), ()), ((2, 3), (2, 1))]


@binary
@pytest.mark.parametrize(("a", "b"), SHAPES, ids=str)
def test_the_gradient_of_a_broadcast_input_is_summed_to_its_shape(backend, name, a, b):
    few_on_jax(backend, (a, b) == SHAPES[3])
    check_binary(backend, name, sample(*a), sample(*b, seed=1, low=0.3, high=3))


@binary
@pytest.mark.parametrize("scalar", [2.5, 3], ids=["float", "int"])
def test_either_operand_may_be_a_python_number(backend, name, scalar):
    few_on_jax(backend, scalar == 3)
    check_binary(backend, name, POSITIVE, scalar)
    check_binary(backend, name, scalar, POSITIVE)


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_on_a_tie_the_whole_gradient_goes_to_the_first_operand(backend, name):
    x = put(backend, np.array([1.0, 2.0]), np.float32)
    _, vjp = getattr(ops, name)(x, put(backend, np.array([1.0, 2.0]), np.float32))
    da, db = vjp(put(backend, np.array([5.0, 6.0]), np.float32), (True, True))
    assert backend.to_numpy(da).tolist() == [5, 6]
    assert backend.to_numpy(db).tolist() == [0, 0]


@pytest.mark.parametrize("name", UNARY)
def test_a_function_of_one_array_agrees_with_its_definition_and_with_autograd(backend, name):
    x = POSITIVE if name in ("log", "sqrt") else A
    linear = [0] if name == "negative" else []
    check_op(
        getattr(ops, name),
        [x],
        {},
        backend,
        oracle=UNARY[name],
        torch_oracle=TORCH[name],
        linear=linear,
        batch=[0],
        length=8,
    )


def test_abs_has_no_slope_at_zero(backend):
    _, vjp = ops.abs(put(backend, np.array([-1.0, 0.0, 1.0]), np.float32))
    (dx,) = vjp(put(backend, np.array([5.0, 5.0, 5.0]), np.float32), (True,))
    assert backend.to_numpy(dx).tolist() == [-5, 0, 5]


POWER = each(lambda x, exponent: x**exponent)


@pytest.mark.parametrize("exponent", [2.0, 3, 0.5, -1.5, 1.0, 0.0])
def test_power_agrees_with_its_definition_and_with_autograd(backend, exponent):
    check_op(
        ops.power,
        [POSITIVE, exponent],
        {},
        backend,
        oracle=POWER,
        torch_oracle=lambda x, exponent: x**exponent,
        batch=[0],
        length=8,
    )


@pytest.mark.parametrize("base", [2, 0.3, 1.0])
def test_a_number_to_the_power_of_an_array_agrees_with_its_definition_and_with_autograd(backend, base):
    few_on_jax(backend, base == 2)
    check_op(ops.power, [base, A], {}, backend, oracle=POWER, torch_oracle=lambda base, x: base**x, batch=[1], length=8)


@pytest.mark.parametrize("base", [0, -1.0, float("inf"), float("nan")])
def test_a_base_is_above_0(base):
    with raises(ConfigError, "power", "base"):
        ops.power(base, A)


@pytest.mark.parametrize("exponent", [2.0, 1.0])
def test_whole_powers_of_negative_numbers_and_zero_have_gradients(backend, exponent):
    y, vjp = ops.power(put(backend, np.array([-2.0, 0.0]), np.float32), exponent)
    dx, _ = vjp(put(backend, np.array([1.0, 1.0]), np.float32), (True, False))
    np.testing.assert_allclose(backend.to_numpy(y), [(-2.0) ** exponent, 0])
    np.testing.assert_allclose(backend.to_numpy(dx), [-4, 0] if exponent == 2 else [1, 1])


@pytest.mark.parametrize("exponent", [0, 0.0, np.int64(0)])
def test_the_power_0_has_no_slope_anywhere(backend, exponent):
    x = put(backend, np.array([-np.inf, -2.0, 0.0, 3.0, np.inf]), np.float32)
    y, vjp = ops.power(x, exponent)
    dx, _ = vjp(put(backend, np.ones(5), np.float32), (True, False))
    assert backend.to_numpy(y).tolist() == [1] * 5
    assert backend.to_numpy(dx).tolist() == [0] * 5


@pytest.mark.parametrize("b", [1e-30, -1e30, 1e38])
def test_the_gradient_of_a_divisor_is_right_where_its_square_is_out_of_range(backend, b):
    y, vjp = ops.divide(put(backend, np.array([2 * b]), np.float32), put(backend, np.array([b]), np.float32))
    da, db = vjp(put(backend, np.array([b]), np.float32), (True, True))
    np.testing.assert_allclose([backend.to_numpy(a)[0] for a in (y, da, db)], [2, 1, -2], rtol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(2, 1), (np.nan, None), (None, "1"), (0, np.nan), ([0], None)])
def test_clip_refuses_limits_that_are_in_the_wrong_order_or_no_numbers(low, high):
    with raises(ConfigError, "clip"):
        ops.clip(A, low, high)


CLIP = each(lambda x, low, high: min(max(x, low), high))


@pytest.mark.parametrize(("low", "high"), [(-0.7131, 1.2117), (0.0, 10.0)])
def test_clip_stops_the_gradient_outside_its_bounds(backend, low, high):
    check_op(
        ops.clip,
        [A, low, high],
        {},
        backend,
        oracle=CLIP,
        torch_oracle=lambda x, low, high: x.clamp(low, high),
        batch=[0],
        length=2,
    )


@pytest.mark.parametrize(("own", "other"), [("float32", "float64"), ("float64", "float32"), ("float16", "float32")])
def test_cast_goes_to_another_dtype_and_its_gradient_comes_back(backend, own, other):
    if not has_dtypes(backend, own, other):
        pytest.skip(f"{backend.spec} has not both of {own} and {other}")
    xp, host = backend.xp, A.astype(own)
    x = backend.from_numpy(host)
    y, vjp = ops.cast(x, other)
    assert y.dtype == getattr(xp, other)
    np.testing.assert_array_equal(backend.to_numpy(y), host.astype(other))
    dy = sample(*A.shape, seed=5).astype(other)
    dx, none = vjp(backend.from_numpy(dy), (True, False))
    assert none is None
    assert dx.dtype == x.dtype
    np.testing.assert_array_equal(backend.to_numpy(dx), dy.astype(own))
    assert vjp(backend.from_numpy(dy), (False, False)) == (None, None)


def has_dtypes(backend, *names):
    """Whether the backend's device has numbers of some dtypes."""
    if backend.name == "array-api-strict":
        return "float16" not in names and ("float64" not in names or float64_ok(backend))
    return all(hasattr(backend.xp, name) for name in names)


def test_a_cast_to_the_same_dtype_copies_nothing():
    x = np.ones(3, np.float32)
    assert ops.cast(x, "float32")[0] is x


@pytest.mark.parametrize("dtype", ["float31", "int64"])
def test_a_cast_to_what_is_no_floating_dtype_is_refused(dtype):
    with raises(DTypeError, "cast", repr(dtype)):
        ops.cast(np.ones(3, np.float32), dtype)


def test_a_cast_of_integers_is_refused():
    with raises(DTypeError, "cast", "int64"):
        ops.cast(np.ones(3, np.int64), "float32")


WHERE = each(lambda mask, a, b: a if mask else b)


def _torch_where(mask, a, b):
    import torch

    return torch.where(mask, a, torch.as_tensor(b, dtype=torch.float64))


@pytest.mark.parametrize(("a", "b"), [((5, 7), (5, 7)), ((5, 7), (7,)), ((5, 1), (1, 7))], ids=str)
def test_where_sends_each_gradient_to_the_array_that_was_taken(backend, a, b):
    check_op(
        ops.where,
        [booleans(5, 7), sample(*a), sample(*b, seed=1)],
        {},
        backend,
        oracle=WHERE,
        torch_oracle=_torch_where,
        linear=[1, 2],
        length=40,
    )


def test_where_takes_a_python_number(backend):
    check_op(ops.where, [booleans(5, 7), A, -3.0], {}, backend, oracle=WHERE, torch_oracle=_torch_where, linear=[1])


@binary
def test_shapes_that_do_not_broadcast_are_an_error(name):
    with raises(ShapeError, name, (5, 7), (5,)):
        getattr(ops, name)(A, sample(5))


@binary
def test_combining_two_precisions_is_an_error(name):
    with raises(DTypeError, name, "float32", "float64"):
        getattr(ops, name)(A.astype(np.float32), B)


@binary
def test_combining_arrays_of_two_libraries_is_an_error(backend, name):
    if backend.name == "numpy":
        pytest.skip("the other library is NumPy")
    with raises(DeviceError, name, "numpy", backend.name):
        getattr(ops, name)(put(backend, A, np.float32), B.astype(np.float32))


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "divide", "power"])
def test_arithmetic_on_integers_is_an_error(backend, name):
    x = backend.from_numpy(integers(5, 7, high=9))
    rest = [2.0] if name in ("divide", "power") else []
    with raises(DTypeError, name, "int64"):
        getattr(ops, name)(x, *rest)


def test_where_with_a_mask_of_numbers_is_an_error():
    with raises(DTypeError, "where", "float64"):
        ops.where(A, A, B)
