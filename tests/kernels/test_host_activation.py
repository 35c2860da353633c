"""Bias, ReLU and linear on the host: each folder's kernels against loops, in any layout, and on any number of cores."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import numpy as np
import pytest

from tests.optim.parameters import Parameter
from xpnet import kernels, ops
from xpnet.backend import use_cores
from xpnet.kernels.numpy import activation as plain
from xpnet.optim import SGD

FOLDERS: dict[str, Any] = {"numpy": plain}
with contextlib.suppress(ImportError):
    FOLDERS["numba"] = importlib.import_module("xpnet.kernels.numba.activation")

folders = pytest.mark.parametrize("folder", FOLDERS)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
SHAPES = [(1, 5), (7, 3), (300, 6), (1023, 20), (64, 300), (0, 4), (5, 1)]
LONG = (70001, 13)  # more than one block of sums


def draw(*shape: int, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def only(folder: str) -> Any:
    """Kernels of one folder alone."""
    return kernels.disable(*({"numba", "numpy"} - {folder}))


@folders
@dtypes
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("shape", [*SHAPES, LONG], ids=str)
def test_a_bias_is_added_to_each_row_and_what_is_negative_cut(folder, shape, activation, dtype) -> None:
    z, b = draw(*shape, dtype=dtype), draw(shape[1], dtype=dtype, seed=1)
    want = z + b
    want = np.where(want > 0, want, 0) if activation else want
    assert FOLDERS[folder].bias_act(z, b, activation) is None
    np.testing.assert_array_equal(z, want)


@folders
def test_without_a_bias_only_the_activation_is_applied(folder) -> None:
    z = draw(7, 3)
    want = np.where(z > 0, z, 0)
    FOLDERS[folder].bias_act(z, None, "relu")
    np.testing.assert_array_equal(z, want)
    FOLDERS[folder].bias_act(z, None, None)
    np.testing.assert_array_equal(z, want)


@folders
def test_nan_and_infinity_go_through_bias_and_relu(folder) -> None:
    z = np.array([[np.nan, -np.inf, np.inf, -0.0], [1, -1, 0, -np.nan]], np.float32)
    FOLDERS[folder].bias_act(z, np.zeros(4, np.float32), "relu")
    np.testing.assert_array_equal(z, np.array([[np.nan, 0, np.inf, 0], [1, 0, 0, np.nan]], np.float32))


@folders
@dtypes
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("shape", [*SHAPES, LONG], ids=str)
def test_gradients_pass_where_the_output_is_positive_and_sum_to_that_of_the_bias(folder, shape, activation, dtype):
    dy, y = draw(*shape, dtype=dtype), np.maximum(draw(*shape, dtype=dtype, seed=1), 0)
    before, db = dy.copy(), np.full(shape[1], 7, dtype)
    dz = FOLDERS[folder].act_grad(dy, y, activation, db)
    want = np.where(y > 0, dy, 0) if activation else dy
    np.testing.assert_array_equal(dz, want)
    np.testing.assert_array_equal(dy, before)
    assert (dz is dy) == (activation is None)
    exact = want.astype(np.float64).sum(0)
    bound = np.finfo(dtype).eps * (16 + shape[0])  # as many roundings, of sums that walk about 0
    assert np.all(np.abs(db - exact) <= bound)
    again = FOLDERS[folder].act_grad(dy, y, activation, None)
    np.testing.assert_array_equal(again, want)


@pytest.mark.skipif("numba" not in FOLDERS, reason="numba is not installed")
@pytest.mark.parametrize("activation", [None, "relu"])
def test_sums_are_the_same_bits_on_any_number_of_cores(activation) -> None:
    dy, y, b = draw(*LONG), np.maximum(draw(*LONG, seed=1), 0), draw(LONG[1], seed=2)
    ran = []
    for cores in (1, 2, 3):
        z, db = draw(*LONG, seed=3), np.empty(LONG[1], np.float32)
        with use_cores(cores):
            dz = FOLDERS["numba"].act_grad(dy, y, activation, db)
            FOLDERS["numba"].bias_act(z, b, activation)
        ran.append((dz, db, z))
    for other in ran[1:]:
        for ours, theirs in zip(ran[0], other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.skipif("numba" not in FOLDERS, reason="numba is not installed")
@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
@pytest.mark.parametrize("n", [0, 1, 17, 600_001])
def test_a_compiled_activation_is_that_of_the_op(name, n) -> None:
    x, dy = draw(n), draw(n, seed=1)
    if n > 9:
        x[:5], dy[7] = [np.nan, np.inf, -np.inf, 0.0, -0.0], np.inf
    op = getattr(ops, name)
    with np.errstate(invalid="ignore"):
        got, got_vjp = op(x)
        with kernels.disable():
            want, want_vjp = op(x)
            (dwant,) = want_vjp(dy, (True,))
        finite = slice(3, None) if name == "leaky_relu" else slice(None)  # of inf the op's own code makes NaN
        np.testing.assert_allclose(got[finite], want[finite], rtol=2e-7, atol=1e-30)
        (dgot,) = got_vjp(dy, (True,))
        keep = np.isfinite(dy)
        np.testing.assert_allclose(dgot[keep], dwant[keep], rtol=2e-7, atol=1e-30)
        assert np.isnan(got[:1]).all() == (n > 9 or not n)


def awkward(a: np.ndarray) -> list[np.ndarray]:
    """The same numbers, strided, read-only, misaligned, and in another order of axes."""
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    wide[..., ::2] = a
    fixed = a.copy()
    fixed.flags.writeable = False
    shifted = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    shifted[...] = a
    return [wide[..., ::2], fixed, shifted, np.asfortranarray(a)]


@folders
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("n", [1, 2, 9])
def test_linear_takes_arrays_that_are_strided_read_only_or_misaligned(folder, n, activation) -> None:
    x, w, b, dy = draw(n, 6), draw(5, 6, seed=1), draw(5, seed=2), draw(n, 5, seed=3)
    sums = x.astype(np.float64) @ w.T.astype(np.float64) + b
    y_want = np.maximum(sums, 0) if activation else sums
    dz = dy * (sums > 0) if activation else dy
    for given in zip(*map(awkward, (x, w, b, dy)), strict=True):
        with only(folder):
            y, vjp = ops.linear(*given[:3], activation=activation)
            grads = vjp(given[3], (True, True, True))
        np.testing.assert_allclose(y, y_want, rtol=1e-5, atol=1e-5)
        for got, want in zip(grads, (dz @ w, dz.T @ x, dz.sum(0)), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
            assert got.shape == want.shape


@folders
def test_a_vjp_may_be_called_twice_and_asked_for_less(folder) -> None:
    x, w, b, dy = draw(4, 6), draw(5, 6, seed=1), draw(5, seed=2), draw(4, 5, seed=3)
    with only(folder):
        _, vjp = ops.linear(x, w, b, activation="relu")
    everything = vjp(dy, (True, True, True))
    for i in range(3):
        some = vjp(dy, tuple(j == i for j in range(3)))
        np.testing.assert_array_equal(some[i], everything[i])
        assert [g is None for g in some].count(True) == 2


@pytest.mark.skipif("numba" not in FOLDERS, reason="numba is not installed")
def test_no_loop_is_compiled_for_another_layout_than_one_piece_that_may_be_written() -> None:
    from numba import types

    from xpnet.kernels.numba.compiling import _loops

    for n in (1, 3):
        x, w, b, labels = draw(n, 6), draw(5, 6, seed=1), draw(5, seed=2), np.zeros(n, np.int64)
        for ax, aw, ab, al in zip(*map(awkward, (x, w, b, labels)), strict=True):
            y, vjp = ops.linear(ax, aw, ab, activation="relu")
            _, plain_vjp = ops.linear(ax, aw, ab)
            for given in awkward(y):
                vjp(given, (True, True, True))
                plain_vjp(given, (True, True, True))
                for op in (ops.relu, ops.leaky_relu):
                    op(ax)[1](awkward(x)[0], (True,))
                ops.softmax_cross_entropy(given, al)[1](np.float32(1), (True, False))
                _, var = ops.moments(given)
                ops.batch_norm(given, ab, ab, ab, var, training=n > 1)[1](given, (True,) * 5)
                made = [Parameter("w", draw(n, 5))]
                SGD(made, 0.1, momentum=0.5, clip_norm=1.0).step({made[0]: given})
    found = [(loop.__name__, t) for loop, _ in _loops for s in loop.signatures for t in s if isinstance(t, types.Array)]
    assert found
    assert [(name, t) for name, t in found if t.layout != "C" or not t.mutable or not t.aligned] == []
