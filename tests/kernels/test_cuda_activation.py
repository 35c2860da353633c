"""Bias, activation and their gradients on CUDA: sizes that no block holds, every dtype, any order of threads."""

from __future__ import annotations

import numpy as np
import pytest
from emulator.tape import TAPE

from tests.harness import put, sample
from xpnet import ops
from xpnet.kernels.cuda.activation import FUSED, activate, pass_back

EPS = {np.float16: 1e-3, np.float32: 1.2e-7, np.float64: 2.3e-16}
dtypes = pytest.mark.parametrize("dtype", EPS, ids=["half", "float", "double"])
# rows, columns; one block for all rows, several, several for a row, whole packs and not, and one of each
SIZES = [(1, 1), (64, 10), (700, 10), (3, 128), (130, 128), (900, 96), (5, 1000), (600, 264), (9000, 3), (4100, 1)]
sizes = pytest.mark.parametrize("size", SIZES, ids=str)


def _activated(name, z):
    return {
        None: z,
        "relu": np.maximum(z, 0),
        "leaky_relu": np.where(z > 0, z, 0.01 * z),
        "sigmoid": 1 / (1 + np.exp(-z)),
        "tanh": np.tanh(z),
    }[name]


def _slope(name, y):
    return {
        None: np.ones_like(y),
        "relu": y > 0,
        "leaky_relu": np.where(y > 0, 1, 0.01),
        "sigmoid": y * (1 - y),
        "tanh": 1 - y * y,
    }[name]


@dtypes
@sizes
def test_sums_over_the_rows_are_those_of_float64(emulated, size, dtype):
    dy, y = sample(*size).astype(dtype), sample(*size, seed=1, low=-1, high=1).astype(dtype)
    for name in (None, "relu", "tanh") if size[0] > 500 else FUSED:
        dz, db = pass_back(put(emulated, dy, dtype), put(emulated, y, dtype), name, True)
        want = dy.astype(float) * _slope(name, y.astype(float))
        np.testing.assert_allclose(emulated.to_numpy(dz), want, rtol=4 * EPS[dtype], atol=4 * EPS[dtype])
        scale = np.abs(want).sum(axis=0).max() / np.sqrt(size[0]) + np.abs(want.sum(axis=0)).max()
        np.testing.assert_allclose(emulated.to_numpy(db), want.sum(axis=0), rtol=0, atol=8 * EPS[dtype] * scale)


def test_few_rows_take_one_launch_and_many_take_two(emulated):
    for rows, launches in ((300, ["activate_back_sum"]), (900, ["activate_back_sum", "sum_chunks"])):
        TAPE.launches.clear()
        pass_back(*(put(emulated, sample(rows, 32, seed=i), np.float32) for i in (0, 1)), "relu", True)
        assert TAPE.launches == [f"activation.{name}" for name in launches]


def test_what_is_not_asked_for_is_not_computed(emulated):
    dy, y = (put(emulated, sample(5, 32, seed=i), np.float32) for i in (0, 1))
    dz, db = pass_back(dy, y, None, False)
    assert dz is dy
    assert db is None
    assert not TAPE.launches
    _, db = pass_back(dy, y, "relu", False)
    assert db is None
    assert TAPE.launches == ["activation.activate_back"]


def test_nan_in_a_gradient_is_left_out_where_relu_was_off(emulated):
    """As the op's own code has it: what a mask leaves out is not multiplied by 0."""
    dy, y = np.ones((3, 2)), np.array([[1.0, 0.0]] * 3)
    dy[1, 1] = np.nan
    dz, db = pass_back(put(emulated, dy, np.float32), put(emulated, y, np.float32), "relu", True)
    assert emulated.to_numpy(dz)[0].tolist() == [1, 0]
    assert emulated.to_numpy(db).tolist() == [3, 0]


@dtypes
@pytest.mark.parametrize("size", [(5, 7), (6, 16), (3, 2, 24), (9,)], ids=str)
def test_bias_and_activation_in_place_or_not(emulated, size, dtype):
    x, b = sample(*size, low=-3, high=3).astype(dtype), sample(size[-1], seed=1).astype(dtype)
    for name in FUSED:
        for bias in (None, b):
            z = put(emulated, x, dtype)
            y = activate(z, name, None if bias is None else put(emulated, bias, dtype))
            want = _activated(name, x.astype(float) + (0 if bias is None else bias.astype(float)))
            np.testing.assert_allclose(emulated.to_numpy(y), want, rtol=8 * EPS[dtype], atol=8 * EPS[dtype])
            assert np.array_equal(emulated.to_numpy(z), x)
            same = activate(z, name, None if bias is None else put(emulated, bias, dtype), out=z)
            assert same is z
            assert np.array_equal(emulated.to_numpy(z), emulated.to_numpy(y))


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "sigmoid", "tanh", "gelu"])
def test_activations_of_float16_are_those_of_float64_rounded(emulated, name):
    x, dy = (sample(5, 13, seed=i, low=-4, high=4).astype(np.float16) for i in (0, 1))
    y, vjp = getattr(ops, name)(put(emulated, x, np.float16))
    (dx,) = vjp(put(emulated, dy, np.float16), (True,))
    want, want_vjp = getattr(ops, name)(x.astype(np.float64))
    for got, exact in ((y, want), (dx, want_vjp(dy.astype(np.float64), (True,))[0])):
        assert got.dtype == np.float16
        np.testing.assert_allclose(emulated.to_numpy(got).astype(float), exact, rtol=4e-3, atol=2e-3)
