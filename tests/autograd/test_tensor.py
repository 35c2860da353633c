"""Tensor arithmetic: values, gradients derived by hand, broadcasting, and Python numbers and arrays on either side."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import agree, put, raises, sample
from xpnet import ops
from xpnet.autograd import Tensor, apply, backward
from xpnet.backend import Program, Unsupported
from xpnet.errors import DTypeError, ShapeError, XpnetError

A, B = (2, 1, 3), (4, 1)  # broadcast to (2, 4, 3)


def leaf(backend, array, dtype=np.float32):
    return Tensor(put(backend, array, dtype), requires_grad=True)


def host(backend, array):
    return np.asarray(backend.to_numpy(array), np.float64)


def fold(g, shape):
    """Sum a gradient over the axes that broadcasting stretched."""
    g = np.add.reduce(g, tuple(range(g.ndim - len(shape)))) if g.ndim > len(shape) else g
    for axis, n in enumerate(shape):
        if n == 1:
            g = np.add.reduce(g, axis, keepdims=True)
    return g


# name: the expression, and the partial derivatives with respect to a and b
BINARY = {
    "a + b": (lambda a, b: a + b, lambda a, b: (1.0, 1.0)),
    "a - b": (lambda a, b: a - b, lambda a, b: (1.0, -1.0)),
    "a * b": (lambda a, b: a * b, lambda a, b: (b, a)),
    "a / b": (lambda a, b: a / b, lambda a, b: (1.0 / b, -a / b**2)),
}

# name: the expression, its values in NumPy, its derivative
WITH_NUMBERS = {
    "x + 2": (lambda x: x + 2, lambda x: x + 2.0, lambda x: 1.0),
    "2.5 + x": (lambda x: 2.5 + x, lambda x: 2.5 + x, lambda x: 1.0),
    "x - 2.5": (lambda x: x - 2.5, lambda x: x - 2.5, lambda x: 1.0),
    "2 - x": (lambda x: 2 - x, lambda x: 2.0 - x, lambda x: -1.0),
    "x * 3": (lambda x: x * 3, lambda x: x * 3.0, lambda x: 3.0),
    "1.5 * x": (lambda x: 1.5 * x, lambda x: 1.5 * x, lambda x: 1.5),
    "x / 4": (lambda x: x / 4, lambda x: x / 4.0, lambda x: 0.25),
    "4 / x": (lambda x: 4 / x, lambda x: 4.0 / x, lambda x: -4.0 / x**2),
    "x ** 3": (lambda x: x**3, lambda x: x * x * x, lambda x: 3.0 * x**2),
    "x ** 0.5": (lambda x: x**0.5, np.sqrt, lambda x: 0.5 / np.sqrt(x)),
    "2 ** x": (lambda x: 2**x, lambda x: 2.0**x, lambda x: 2.0**x * np.log(2.0)),
    "-x": (lambda x: -x, lambda x: -x, lambda x: -1.0),
    "abs(-x)": (lambda x: abs(-x), lambda x: x, lambda x: 1.0),
    "exp": (lambda x: x.exp(), np.exp, np.exp),
    "log": (lambda x: x.log(), np.log, lambda x: 1.0 / x),
    "sqrt": (lambda x: x.sqrt(), np.sqrt, lambda x: 0.5 / np.sqrt(x)),
    "clip": (lambda x: x.clip(0.8, 1.6), lambda x: x.clip(0.8, 1.6), lambda x: (x >= 0.8) & (x <= 1.6)),
}


@pytest.mark.parametrize("name", BINARY)
def test_arithmetic_broadcasts_and_sums_its_gradients_back(backend, name):
    f, partial = BINARY[name]
    a, b, dy = sample(*A, seed=1), sample(*B, seed=2, low=0.5), sample(2, 4, 3, seed=3)
    ta, tb = leaf(backend, a), leaf(backend, b)
    y = f(ta, tb)
    gradients = backward(y, put(backend, dy, np.float32))
    agree(y.numpy(), f(a, b), np.float32, 1, name)
    for t, d in zip((ta, tb), partial(a, b), strict=True):
        agree(host(backend, gradients[t]), fold(dy * d, t.shape), np.float32, 8, name)


@pytest.mark.parametrize("name", WITH_NUMBERS)
def test_expressions_with_python_numbers_have_their_derivatives(backend, name):
    f, values, slope = WITH_NUMBERS[name]
    x, dy = sample(2, 3, low=0.5, seed=1), sample(2, 3, seed=2)
    t = leaf(backend, x)
    y = f(t)
    agree(y.numpy(), values(x), np.float32, 4, name)
    agree(host(backend, backward(y, put(backend, dy, np.float32))[t]), dy * slope(x), np.float32, 4, name)


# name: the expression, and the gradient of a (2, 3) tensor x for the dy of y
REARRANGED = {
    "sum": (lambda x: x.sum(), lambda x, dy: np.full((2, 3), dy)),
    "sum over an axis": (lambda x: x.sum(axis=1), lambda x, dy: np.repeat(dy[:, None], 3, 1)),
    "mean": (lambda x: x.mean(axis=0, keepdims=True), lambda x, dy: np.repeat(dy / 2, 2, 0)),
    "max": (lambda x: x.max(axis=1), lambda x, dy: dy[:, None] * (x == x.max(1, keepdims=True))),
    "min": (lambda x: x.min(), lambda x, dy: dy * (x == x.min())),
    "reshape": (lambda x: x.reshape(3, -1), lambda x, dy: dy.ravel().reshape(2, 3)),
    "flatten": (lambda x: x.reshape(2, 3, 1).flatten(), lambda x, dy: dy),
    "permute": (lambda x: x.permute(1, 0), lambda x, dy: dy.T),
    "T": (lambda x: x.T, lambda x, dy: dy.T),
    "a slice": (lambda x: x[:, 1:], lambda x, dy: np.hstack([np.zeros((2, 1)), dy])),
    "a row": (lambda x: x[-1], lambda x, dy: np.stack([np.zeros(3), dy])),
}


@pytest.mark.parametrize("name", REARRANGED)
def test_reductions_and_rearrangements_send_gradients_back_to_where_they_came_from(backend, name):
    f, gradient = REARRANGED[name]
    x = sample(2, 3, seed=1)
    t = leaf(backend, x)
    y = f(t)
    dy = sample(*y.shape, seed=2) if y.shape else np.asarray(1.75)
    agree(host(backend, backward(y, put(backend, dy, np.float32))[t]), gradient(x, dy), np.float32, 6, name)


def test_matmul_has_its_gradients_with_a_plain_array_on_either_side(backend):
    a, b, dy = sample(2, 3, seed=1), sample(3, 4, seed=2), sample(2, 4, seed=3)
    ta, tb, moved = leaf(backend, a), leaf(backend, b), put(backend, dy, np.float32)
    both = backward(ta @ tb, moved)
    left = backward(ta @ tb.data, moved)
    right = backward(apply(ops.matmul, ta.data, tb), moved)
    assert set(left) == {ta}
    assert set(right) == {tb}
    for g, want in [(both[ta], dy @ b.T), (both[tb], a.T @ dy), (left[ta], dy @ b.T), (right[tb], a.T @ dy)]:
        agree(host(backend, g), want, np.float32, 4, "matmul")


@pytest.mark.parametrize("name", BINARY)
def test_an_array_on_the_left_leaves_the_arithmetic_to_the_tensor(backend, name):
    if backend.name == "array-api-strict":
        pytest.skip("its arrays raise on the right operands of others, and leave nothing to them")
    f, partial = BINARY[name]
    a, b = sample(2, 3, seed=1), sample(2, 3, seed=2, low=0.5)
    t = leaf(backend, b)
    y = f(put(backend, a, np.float32), t)
    assert type(y) is Tensor
    agree(y.numpy(), f(a, b), np.float32, 1, name)
    want = np.broadcast_to(partial(a, b)[1], b.shape)
    agree(host(backend, backward(y.sum())[t]), want, np.float32, 1, name)


def test_an_array_on_the_left_of_a_product_leaves_it_to_the_tensor(backend):
    if backend.name == "array-api-strict":
        pytest.skip("its arrays raise on the right operands of others, and leave nothing to them")
    a, b, dy = sample(2, 3, seed=1), sample(3, 4, seed=2), sample(2, 4, seed=3)
    t = leaf(backend, b)
    y = put(backend, a, np.float32) @ t
    agree(y.numpy(), a @ b, np.float32, 4, "matmul")
    agree(host(backend, backward(y, put(backend, dy, np.float32))[t]), a.T @ dy, np.float32, 4, "matmul")


def test_a_numpy_scalar_on_the_left_leaves_the_arithmetic_to_the_tensor():
    t = Tensor(np.ones(3, np.float32), requires_grad=True)
    y = np.float32(2.0) * t
    assert type(y) is Tensor
    assert y.dtype == np.float32


def test_an_exponent_that_needs_a_gradient_is_refused():
    x, p = (Tensor(np.asarray(2.0), requires_grad=True) for _ in range(2))
    with pytest.raises((TypeError, XpnetError)):
        backward(x**p)


# Tensors, and their errors.


def test_a_tensor_tells_what_its_array_is(backend):
    x = sample(2, 3)
    t = Tensor(put(backend, x, np.float32))
    assert (tuple(t.shape), t.ndim, len(t), t.dtype, t.backend) == ((2, 3), 2, 2, t.data.dtype, backend)
    assert np.array_equal(t.numpy(), x.astype(np.float32))
    assert [row.numpy().tolist() for row in t] == x.tolist()
    assert t.sum().item() == pytest.approx(x.sum(), abs=1e-5)
    assert "requires_grad" not in repr(t)
    assert repr(leaf(backend, x)).endswith("requires_grad=True)")


def test_what_numpy_gives_is_a_copy(backend):
    t = Tensor(put(backend, sample(3), np.float32))
    t.numpy()[0] = 100.0
    assert np.array_equal(t.numpy(), sample(3).astype(np.float32))


def test_a_tensor_of_no_array_is_an_error():
    with raises(DTypeError, "Tensor", "list"):
        Tensor([1.0, 2.0])


def test_integers_have_no_gradient(backend):
    with raises(DTypeError, "Tensor", "int64"):
        Tensor(put(backend, np.arange(3)), requires_grad=True)


def test_a_number_has_no_length(backend):
    with raises(ShapeError, "Tensor", "()"):
        len(Tensor(put(backend, np.asarray(1.0), np.float32)))


def test_shapes_in_messages_look_alike_on_every_backend(backend):
    x = Tensor(put(backend, np.ones((2, 3)), np.float32))
    with raises(ShapeError, "matmul", "got a (2, 3), b (2, 3)"):
        x @ x


def test_a_value_that_is_read_while_a_call_is_recorded_is_unsupported():
    x = Tensor(np.ones(3, np.float32))
    with Program().recording(), pytest.raises(Unsupported, match="numpy"):
        x.numpy()
    with Program().recording(), pytest.raises(Unsupported):
        x.sum().item()
