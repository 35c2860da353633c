"""batch_norm and moments on the host: each folder's kernels against float64 and the op's own code."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from tests.harness import agree
from xpnet import kernels, ops
from xpnet.backend import use_cores

FOLDERS = ["numpy", *(["numba"] if importlib.util.find_spec("numba") else [])]
folders = pytest.mark.parametrize("folder", FOLDERS)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
# small; rows that do not fill the last piece, of few channels and of many; more than one block
SHAPES = [(5, 3), (12007, 3), (2, 61, 17, 20), (50, 700), (300001, 1), (90001, 7)]


@pytest.fixture(autouse=True)
def any_size(monkeypatch):
    """NumPy's kernels take few numbers too."""
    monkeypatch.setattr("xpnet.kernels.numpy.normalization._FEW", 1)


def only(folder):
    """Kernels of one folder alone."""
    return kernels.disable(*({"numba", "numpy"} - {folder}))


def draw(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def close(got, want, dtype, terms):
    """Agree to the rounding of a sum of so many terms, relative to the largest."""
    scale = max(1.0, np.abs(want).max())
    np.testing.assert_allclose(got, want, rtol=0, atol=scale * np.finfo(dtype).eps * (16 + 4 * terms**0.5))
    assert got.dtype == dtype


@folders
@dtypes
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_moments_are_those_of_a_wide_sum(folder, shape, dtype):
    x = draw(*shape, dtype=dtype) * 3 + 5
    with only(folder):
        mean, var = ops.moments(x)
    flat = x.astype(np.float64).reshape(-1, shape[-1])
    close(mean, flat.mean(0), dtype, len(flat))
    close(var, flat.var(0), dtype, len(flat))


@pytest.mark.skipif("numba" not in FOLDERS, reason="numba is not installed")
def test_the_variance_of_many_numbers_far_from_zero_is_not_lost():
    x = 4096 + draw(600_000, 1)
    _, var = ops.moments(x)
    np.testing.assert_allclose(var, x.astype(np.float64).var(0), rtol=1e-4)


@folders
@dtypes
@pytest.mark.parametrize("training", [False, True], ids=["running", "training"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_both_ways_is_that_of_the_op_in_float64(folder, shape, training, dtype):
    c = shape[-1]
    x, dy = draw(*shape, dtype=dtype) * 2 + 1, draw(*shape, seed=1, dtype=dtype)
    gamma, beta = draw(c, seed=2, dtype=dtype), draw(c, seed=3, dtype=dtype)
    mean, var = (x.reshape(-1, c).mean(0), x.reshape(-1, c).var(0)) if training else (beta + 1, gamma**2)
    given = [x, gamma, beta, mean, var]
    with only(folder):
        y, vjp = ops.batch_norm(*given, eps=0.1, training=training)
        grads = vjp(dy, (True,) * 5)
    with kernels.disable():
        want, vjp_want = ops.batch_norm(*(a.astype(np.float64) for a in given), eps=0.1, training=training)
        grads_want = vjp_want(dy.astype(np.float64), (True,) * 5)
    close(y, want, dtype, 1)
    for got, exact in zip(grads[:3], grads_want[:3], strict=True):
        close(got, exact, dtype, x.size // c)
    assert grads[3:] == (None, None)


@folders
@pytest.mark.parametrize("training", [False, True], ids=["running", "training"])
def test_only_the_gradients_asked_for_are_made_and_are_the_same(folder, training):
    x, dy, v = draw(9, 5), draw(9, 5, seed=1), draw(5, seed=2)
    with only(folder):
        _, vjp = ops.batch_norm(x, v, v, v, v * v, training=training)
    everything = vjp(dy, (True,) * 5)
    for i in range(3):
        some = vjp(dy, tuple(j == i for j in range(5)))
        np.testing.assert_array_equal(some[i], everything[i])
        assert [g is None for g in some].count(True) == 4


@pytest.mark.skipif("numba" not in FOLDERS, reason="numba is not installed")
def test_any_number_of_cores_gives_the_same_bits():
    x, dy, v = draw(90001, 7), draw(90001, 7, seed=1), draw(7, seed=2)
    ran = []
    for cores in (1, 2, 3):
        with use_cores(cores):
            mean, var = ops.moments(x)
            y, vjp = ops.batch_norm(x, v, v, mean, var, training=True)
            ran.append((mean, var, y, *vjp(dy, (True,) * 5)[:3]))
    for other in ran[1:]:
        for ours, theirs in zip(ran[0], other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@folders
def test_a_channel_with_nan_is_the_only_one_that_is(folder):
    x, v = draw(600, 5), draw(5, seed=2)
    x[400, 2] = np.nan
    with only(folder), np.errstate(invalid="ignore"):
        mean, var = ops.moments(x)
        y, _ = ops.batch_norm(x, v, v, mean, var, training=True)
    assert np.isnan(var).tolist() == np.isnan(y).all(axis=0).tolist() == [False, False, True, False, False]


@folders
def test_inputs_may_be_strided_or_read_only_and_are_not_written(folder):
    x, dy, v = draw(40, 6), draw(40, 6, seed=1), draw(6, seed=2)
    wide = np.zeros((40, 12), np.float32)
    wide[:, ::2] = x
    fixed = x.copy()
    fixed.flags.writeable = False
    with only(folder):
        y, vjp = ops.batch_norm(x, v, v, v, v * v, training=True)
        want = vjp(dy, (True,) * 5)
        for given in (wide[:, ::2], fixed, np.asfortranarray(x)):
            z, vjp = ops.batch_norm(given, v, v[::-1].copy()[::-1], v, v * v, training=True)
            agree(z, y, np.float32, 40, "y")
            for got, exact in zip(vjp(np.asfortranarray(dy), (True,) * 5)[:3], want[:3], strict=True):
                agree(got, exact, np.float32, 40, "gradient")
            np.testing.assert_array_equal(given, x)
