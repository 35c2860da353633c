"""The functions of ONNX that are ops here: values and gradients, on every backend."""

from __future__ import annotations

import math

import numpy as np
import pytest

import xpnet
from tests.interop.onnx.graphs import rng, write
from xpnet import Tensor, gradcheck
from xpnet.autograd import apply
from xpnet.interop.onnx import functions

make = pytest.importorskip("onnx.helper").make_node
X = rng(3).uniform(0.1, 0.9, (3, 4))
SMOOTH = [*functions.SMOOTH.items(), ("erf", functions.erf), ("softplus", functions.softplus)]


@pytest.mark.parametrize(("name", "op"), SMOOTH, ids=[name for name, _ in SMOOTH])
def test_smooth_functions_have_their_values_and_gradients(name, op):
    x = X + 1.0 if name == "acosh" else X
    exact = {"softplus": lambda v: math.log1p(math.exp(v))}.get(name) or getattr(math, name)
    for points in (x, x - 0.7 if name in ("erf", "softplus", "sin", "atan", "asinh") else x):
        y = apply(op, Tensor(points))
        np.testing.assert_allclose(y.numpy(), np.vectorize(exact)(points), rtol=1e-12, atol=1e-14)
        gradcheck(lambda t: apply(op, t), points)


def test_erf_is_exact_to_rounding_everywhere():
    x = np.concatenate([np.linspace(-7, 7, 20_001), [np.inf, -np.inf, np.nan]])
    wanted = np.array([math.erf(v) for v in x])
    np.testing.assert_allclose(functions.erf(x)[0], wanted, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(functions.erf(x.astype("f"))[0], wanted, rtol=2e-6, atol=2e-7)


def test_the_slope_of_softplus_at_0_is_a_half():
    t = Tensor(np.zeros(1), requires_grad=True)
    apply(functions.softplus, t).sum().backward()
    np.testing.assert_array_equal(t.grad, [0.5])


GRADIENTS = {
    "power": lambda t: apply(functions.power, t, t + 0.5),
    "divide_rest": lambda t: apply(functions.divide_rest, t * 3.0, t * 0.3 + 1.0, truncated=False),
    "take": lambda t: apply(functions.take, t, np.array([2, 0, 2, 1]), axis=0),
    "take along": lambda t: apply(functions.take_along, t, places=np.array([[0, 5, 5], [11, 2, 0]])),
    "cumulative_sum": lambda t: apply(functions.cumulative_sum, t, axis=1, reverse=True),
    "scatter": lambda t: apply(functions.scatter, t, t[0] * 2.0, places=np.array([1, 1, 7, 3]), add=False),
    "scatter added": lambda t: apply(functions.scatter, t, t[0] * 2.0, places=np.array([1, 1, 7, 3]), add=True),
    "divide_unless_0": lambda t: apply(functions.divide_unless_0, t, t[:, :1]),
    "root": lambda t: apply(functions.root, t),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_are_those_of_differences(name):
    gradcheck(GRADIENTS[name], X)


def test_functions_stay_on_their_backend(backend):
    x = backend.from_numpy(X.astype("f"))
    for op in (*functions.SMOOTH.values(), *functions.ROUNDED.values(), functions.erf, functions.softplus):
        y, vjp = op(x + 1.0 if op is functions.SMOOTH["acosh"] else x)
        (dx,) = vjp(y, (True,))
        for a in (y, dx):
            assert (a.dtype, a.shape) == (x.dtype, x.shape)
            assert xpnet.backend.backend_of(a).spec == backend.spec
    t = Tensor(x)
    wanted = np.array([[X[0, 0], X[2, 3]]])
    found = apply(functions.take_along, t, places=np.array([[0, 11]]))
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6)
    assert found.backend.spec == backend.spec


KINDS = {
    "LpNormalization": ([make("LpNormalization", ["x"], ["y"], axis=1)], {}),
    "a mask": ([make("Greater", ["x", "c"], ["m"]), make("Where", ["m", "x", "d"], ["y"])],
               {"c": np.float32(0.5), "d": np.float32(-1)}),
    "the largest": ([make("ArgMax", ["x"], ["a"], axis=1), make("Cast", ["a"], ["y"], to=1)], {}),
    "sorted": ([make("TopK", ["x", "k"], ["y", "i"], axis=1)], {"k": np.array([2])}),
    "shapes": ([make("Shape", ["x"], ["s"]), make("Cast", ["s"], ["f"], to=1), make("ReduceProd", ["f"], ["p"]),
                make("Div", ["x", "p"], ["y"])], {}),
    "resized": ([make("Unsqueeze", ["x", "axes"], ["a"]), make("Resize", ["a", "", "", "t"], ["y"], mode="linear")],
                {"axes": np.array([1, 2]), "t": np.array([3, 1, 2, 9])}),
    "twice": ([make("Exp", ["x"], ["e"]), make("Sin", ["e"], ["y"])], {}),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_predictions_that_are_repeated_follow_their_input(tmp_path, name):
    """A prediction that is recorded and replayed computes everything anew."""
    nodes, arrays = KINDS[name]
    path = write(tmp_path / "m.onnx", nodes, {"x": [3, 4]}, ["y"], arrays, opset=18)
    model, first = xpnet.load_onnx(path), X.astype("f")
    for _ in range(6):
        model.predict(first)
    second = first[::-1, ::-1] * 3 - 1
    np.testing.assert_allclose(model.predict(second), model(second).numpy(), rtol=1e-6)
