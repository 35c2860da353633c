"""Sums over many terms: of every op that adds over axes, none may lose digits as the number of terms grows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.harness import few_on_jax, put, sample
from xpnet import get_backend, kernels, ops
from xpnet.ops.arithmetic import average, total

R = 300 * 301  # of 0.1, NumPy's sum over rows is off by a thousandth
ROWS, IMAGE, FEW = (R, 3), (1, 300, 301, 3), (4000, 3)  # a row costs the emulated device most


def _batch_norm(x, dy, one):
    return ops.batch_norm(x, one, one, one, one, training=True)[1](dy, (True,) * 5)


def _linear(x, dy, one):
    w = one[None, :] * one[:, None]
    return [ops.linear(x, w, one, activation=a)[1](dy, (False, False, True))[2] for a in (None, "relu")]


def _conv2d(x, dy, one):
    w = one[:, None, None, None] * one
    return [ops.conv2d(x, w, one, activation=a)[1](dy, (False, False, True))[2] for a in (None, "relu")]


ALL, SCALE = (True,) * 5, -0.9 / math.sqrt(1 + 1e-5)
SUMS = {  # a shape, and a function of x and dy, both 0.1, and three ones: arrays of `times` the sum of a channel
    "sum of rows": (ROWS, 1, lambda x, dy, one: [ops.sum(x, axis=0)[0], ops.sum(x)[0] / 3]),
    "sum of pixels": (IMAGE, 1, lambda x, dy, one: [ops.sum(x, axis=a)[0] for a in ((1, 2), (0, 1, 2))]),
    "sum over axes apart": ((300, 3, 301), 1, lambda x, dy, one: [ops.sum(x, axis=(0, 2), keepdims=True)[0]]),
    "mean": (IMAGE, 1 / R, lambda x, dy, one: [ops.mean(x, axis=a)[0] for a in (None, (0, 1, 2), (-2, 1))]),
    "global average": (IMAGE, 1 / R, lambda x, dy, one: [ops.global_avg_pool2d(x)[0]]),
    "gradient of broadcasting": (ROWS, 1, lambda x, dy, one: [ops.add(x, one)[1](dy, (False, True))[1]]),
    "bias of linear": (ROWS, 1, _linear),
    "bias of conv2d": (IMAGE, 1, _conv2d),
    "moments": (IMAGE, 1 / R, lambda x, dy, one: [ops.moments(x)[0]]),
    "shift of batch norm": (IMAGE, 1, lambda x, dy, one: [_batch_norm(x, dy, one)[2]]),
    "scale of batch norm": (IMAGE, SCALE, lambda x, dy, one: [_batch_norm(x, dy, one)[1]]),
    "shift of layer norm": (FEW, 1, lambda x, dy, one: [ops.layer_norm(x, one, one)[1](dy, ALL)[2]]),
}


def _check(backend, case):
    shape, times, compute = SUMS[case]
    x, one = put(backend, np.full(shape, 0.1), np.float32), put(backend, np.ones(3), np.float32)
    want = float(np.float32(0.1)) * math.prod(shape) / 3 * times
    for found in compute(x, x, one):
        np.testing.assert_allclose(backend.to_numpy(found).astype(float), want, rtol=1e-5)


@pytest.mark.parametrize("case", SUMS)
def test_sums_of_many_equal_numbers_keep_their_digits(backend, case):
    few_on_jax(backend, case in ("sum of rows", "bias of conv2d", "moments"))
    _check(backend, case)


@pytest.mark.parametrize("case", SUMS)
@pytest.mark.parametrize("folders", [(), ("numba",)])
def test_sums_keep_their_digits_with_fewer_kernels(case, folders):
    with kernels.disable(*folders):
        _check(get_backend("cpu"), case)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2), ()])
@pytest.mark.parametrize("shape", [(2, 700, 3), (257, 2, 300), (129, 1, 128), (0, 4, 200), (1, 1, 1)])
def test_totals_and_averages_are_those_of_any_axes(backend, axes, shape):
    few_on_jax(backend, chosen=shape == (2, 700, 3) and axes in ((1,), (0, 2)))
    values = sample(*shape, seed=3)
    x = put(backend, values, np.float32)
    for keep in (False, True):
        got = total(backend.xp, x, axes, keep)
        want = values.astype(np.float32).astype(float).sum(axis=axes, keepdims=keep)
        assert tuple(got.shape) == want.shape
        assert got.dtype == x.dtype
        np.testing.assert_allclose(backend.to_numpy(got), want, rtol=1e-5, atol=1e-5 * math.sqrt(values.size + 1))
        if all(shape[a] for a in axes):
            count = math.prod([shape[a] for a in axes])
            np.testing.assert_allclose(backend.to_numpy(average(backend.xp, x, axes, keep)), want / count, atol=1e-4)


def test_sums_of_float16_are_computed_in_float32():
    x = np.full((3000, 2), 300, np.float16)
    assert average(np, x, (0,)).tolist() == [300, 300]
    assert average(np, x, (0,)).dtype == np.float16
