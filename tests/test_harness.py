"""Each check of the harness is seen to fail on the bug that it is there for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.harness import check_op, float64_ok, raises, sample, tolerance
from xpnet.backend import Backend, get_backend, namespace
from xpnet.errors import ConfigError, DTypeError

X, W = sample(5, 3), sample(3, 4, seed=1)


def product(x: Any, w: Any, then: Callable[[Any], Any] | None = None) -> Any:
    """A right op: y = x @ w, then perhaps something that spoils it."""
    xp = namespace(x, w)

    def vjp(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        dx = xp.matmul(dy, xp.matrix_transpose(w)) if needs[0] else None
        dw = xp.matmul(xp.matrix_transpose(x), dy) if needs[1] else None
        return dx, dw

    return xp.matmul(x, w), vjp


def oracle(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.array([[sum(a * b for a, b in zip(row, column, strict=True)) for column in w.T] for row in x]).reshape(
        len(x), w.shape[1]
    )


def torch_product(x: Any, w: Any) -> Any:
    return x @ w


def check(op: Any, backend: Backend, **options: Any) -> None:
    settings = {"oracle": oracle, "linear": [0, 1], "batch": [0], "length": 5} | options
    check_op(op, [X, W], {}, backend, **settings)


def test_a_right_op_passes(backend):
    check(product, backend, torch_oracle=torch_product)


NUMPY = get_backend("numpy")


def spoilt(forward: Callable[..., Any] = lambda y, x, w: y, backward: Callable[..., Any] = lambda g, *_: g) -> Any:
    """The right op, with its result or its gradients passed through a bug."""

    def op(x: Any, w: Any) -> Any:
        y, vjp = product(x, w)
        return forward(y, x, w), lambda dy, needs: backward(vjp(dy, needs), dy, needs, x, w)

    return op


def writes_input(y, x, w):
    x[...] = 0.0
    return y


def writes_dy(grads, dy, needs, x, w):
    dy[...] = 0.0
    return grads


def needs_everything(grads, dy, needs, x, w):
    return product(x, w)[1](dy, (True, True))


def swaps_with_needs(grads, dy, needs, x, w):
    return grads if all(needs) else tuple(None if g is None else 2 * g for g in grads)


def contiguous_only(y, x, w):
    return x.reshape(-1)[: y.size].reshape(-1)[:0].sum() + (y if x.flags.c_contiguous else -y)


def writes_broadcast(grads, dy, needs, x, w):
    return grads if dy.flags.writeable else (grads[0] * 2, grads[1])


BUGS = {
    "a wrong value": (spoilt(lambda y, x, w: y * 1.001), "forward float32"),
    "a value wrong in float64 only": (
        spoilt(lambda y, x, w: y.astype(np.float32).astype(y.dtype)),
        "forward float64",
    ),
    "a NaN": (spoilt(lambda y, x, w: y + np.where(y == y.max(), np.nan, 0).astype(y.dtype)), "forward float32"),
    "another dtype": (spoilt(lambda y, x, w: y.astype(np.float64)), "forward float32 on numpy:cpu: dtype"),
    "another shape": (spoilt(lambda y, x, w: y[None]), "forward float32 on numpy:cpu: shape"),
    "a list": (spoilt(lambda y, x, w: y.tolist()), "namespace"),
    "a modified input": (spoilt(writes_input), "input 0 was modified, forward"),
    "a modified dy": (spoilt(backward=writes_dy), "input 2 was modified, backward"),
    "a wrong factor": (spoilt(backward=lambda g, *_: tuple(2 * a for a in g)), "gradient 0 along a direction"),
    "swapped elements": (
        spoilt(backward=lambda g, *_: (g[0], None if g[1] is None else g[1][::-1])),
        "gradient 1 along a direction",
    ),
    "a gradient of another dtype": (
        spoilt(backward=lambda g, *_: tuple(None if a is None else a.astype(np.float64) for a in g)),
        "gradient 0, float32 on numpy:cpu: dtype",
    ),
    "a gradient of another shape": (
        spoilt(backward=lambda g, *_: tuple(None if a is None else a.reshape(-1) for a in g)),
        "gradient 0, float32 on numpy:cpu: shape",
    ),
    "a gradient too few": (spoilt(backward=lambda g, *_: g[:1]), "one gradient an input"),
    "a gradient too many": (spoilt(backward=lambda g, *_: (*g, g[0])), "inputs it was not given"),
    "a list of gradients": (spoilt(backward=lambda g, *_: list(g)), "one gradient an input"),
    "no gradient": (spoilt(backward=lambda g, *_: (None, g[1])), "gradient 0 for needs (True, True)"),
    "a gradient that was not needed": (spoilt(backward=needs_everything), "for needs (False, False)"),
    "other values for other needs": (spoilt(backward=swaps_with_needs), "changes with needs"),
    "wrong for views": (spoilt(contiguous_only), "inputs on numpy:cpu"),
    "wrong for a broadcast dy": (spoilt(backward=writes_broadcast), "gradient 0 of broadcast inputs"),
    "wrong for one sample": (spoilt(lambda y, x, w: y if len(x) > 1 else 2 * y), "forward float64"),
    "a gradient out of no samples": (
        spoilt(backward=lambda g, dy, needs, x, w: (g[0], g[1] if len(x) or g[1] is None else g[1] + 1)),
        "gradient 1, N=0",
    ),
}


@pytest.mark.parametrize("bug", BUGS)
def test_the_harness_catches(bug):
    op, message = BUGS[bug]
    with pytest.raises(AssertionError) as caught:
        check(op, NUMPY)
    assert message in str(caught.value)


def test_the_harness_catches_a_gradient_that_only_torch_contradicts():
    """Off along directions that the one direction tried is orthogonal to."""
    v = sample(5, 3, seed=1)

    def orthogonal(grads, dy, needs, x, w):
        extra = sample(5, 3, seed=9)
        extra -= v * (extra * v).sum() / (v * v).sum()
        return (grads[0] + extra.astype(x.dtype), grads[1])

    with pytest.raises(AssertionError, match="gradient 0 element by element"):
        check(spoilt(backward=orthogonal), NUMPY, torch_oracle=torch_product)


def test_the_harness_catches_an_oracle_that_torch_contradicts():
    with pytest.raises(AssertionError, match="the oracle against torch"):
        check(product, NUMPY, torch_oracle=lambda x, w: x @ w + 1e-6)


def test_the_harness_catches_a_wrong_adjoint():
    """The oracle is made wrong in the same way as the op, so that only the identity is left to tell."""

    def squares(x: Any, w: Any) -> Any:
        return product(x, w)[0] ** 2, lambda dy, needs: product(x, w)[1](2 * dy * product(x, w)[0], needs)

    with pytest.raises(AssertionError, match="adjoint identity of input 0"):
        check(squares, NUMPY, oracle=lambda x, w: oracle(x, w) ** 2)


def test_the_harness_catches_a_result_on_another_device():
    pytest.importorskip("array_api_strict")
    strict = get_backend("array-api-strict:device1")

    def loses_device(y, x, w):
        xp = strict.xp
        return xp.asarray(y, device=xp.Device("CPU_DEVICE"))

    with pytest.raises(AssertionError, match=r"forward .*: device"):
        check(spoilt(loses_device), strict)
    with pytest.raises(AssertionError, match=r"gradient 0, .*: device"):
        check(spoilt(backward=lambda g, *_: (loses_device(g[0], X, W), g[1])), strict)


@pytest.mark.parametrize("read", [bool, float, int])
def test_the_harness_catches_an_op_that_reads_a_number(read):
    pytest.importorskip("array_api_strict")
    strict = get_backend("array-api-strict:device1")

    def reads(y, x, w):
        read(y[0, 0])
        return y

    with pytest.raises(AssertionError, match="reads an array's number"):
        check(spoilt(reads), strict)


def test_float64_is_missing_where_the_device_has_none(backend):
    assert float64_ok(backend) == (str(backend.device) != "array_api_strict.Device('no_float64')")


def test_the_tolerance_grows_with_the_sum_and_shrinks_with_the_precision():
    assert tolerance(np.float32, 10) < tolerance(np.float32, 1000) < 1e-3
    assert tolerance(np.float64, 1000) < 1e-12


def test_samples_are_distinct_and_away_from_zero():
    x = sample(2, 5, 7, 3)
    assert len(np.unique(x)) == x.size
    assert np.abs(x).min() > 5e-4
    assert not np.intersect1d(sample(5, 7), sample(5, 7, seed=1)).size


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("pool", "size is positive", size=0),
        ConfigError("conv", "size is positive", size=3),
        ConfigError("conv", "size is positive, not 0"),
        DTypeError("conv", "size is positive", size=0),
    ],
    ids=["place", "value", "form", "kind"],
)
def test_the_error_check_catches_another(error):
    with pytest.raises((AssertionError, pytest.fail.Exception, DTypeError)), raises(ConfigError, "conv", 0):
        raise error
