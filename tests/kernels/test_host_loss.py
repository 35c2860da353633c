"""softmax_cross_entropy on the host: each folder's kernel against a sum in float64."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from xpnet import kernels, ops

FOLDERS = ["numpy", *(["numba"] if importlib.util.find_spec("numba") else [])]
folders = pytest.mark.parametrize("folder", FOLDERS)


def only(folder):
    """Kernels of one folder alone."""
    return kernels.disable(*({"numba", "numpy"} - {folder}))


def draw(n, classes, dtype=np.float32):
    generator = np.random.default_rng([n, classes])
    return generator.normal(size=(n, classes)).astype(dtype) * 3, generator.integers(0, classes, n)


@folders
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 10), (1, 1), (64, 10), (7, 1000)], ids=str)
def test_loss_and_gradient_are_those_of_the_definition(folder, shape, dtype):
    z, labels = draw(*shape, dtype=dtype)
    with only(folder):
        loss, vjp = ops.softmax_cross_entropy(z, labels)
        dz, _ = vjp(np.asarray(2.5, dtype), (True, False))
    wide = np.exp(z.astype(np.float64))
    share = wide / wide.sum(1, keepdims=True)
    rows = np.arange(shape[0])
    np.testing.assert_allclose(loss, -np.log(share[rows, labels]).mean(), rtol=30 * np.finfo(dtype).eps, atol=1e-6)
    share[rows, labels] -= 1
    np.testing.assert_allclose(dz, share * 2.5 / shape[0], rtol=0, atol=30 * np.finfo(dtype).eps)
    assert loss.dtype == dz.dtype == dtype
    assert loss.shape == ()


@folders
@pytest.mark.parametrize("bad", [-1, 10, -(2**62), 2**62])
@pytest.mark.parametrize("classes", [10, 1])
def test_a_label_that_is_no_class_makes_the_loss_and_its_row_of_the_gradient_nan(folder, classes, bad):
    z, labels = draw(5, classes)
    labels[[1, 4]] = bad
    given = labels.copy()
    with only(folder):
        loss, vjp = ops.softmax_cross_entropy(z, labels)
        dz, _ = vjp(np.float32(1.0), (True, False))
    assert np.isnan(loss)
    assert np.isnan(dz).all(1).tolist() == np.isnan(dz).any(1).tolist() == [False, True, False, False, True]
    assert np.array_equal(labels, given)


@folders
@pytest.mark.parametrize("place", [0, 4])
@pytest.mark.parametrize("bad", [np.nan, np.inf], ids=str)
def test_scores_that_are_not_finite_are_not_hidden(folder, bad, place):
    z, labels = draw(3, 10)
    z[1, place] = bad
    with only(folder), np.errstate(invalid="ignore"):
        loss, vjp = ops.softmax_cross_entropy(z, labels)
        dz, _ = vjp(np.float32(1), (True, False))
    assert np.isnan(loss)
    assert np.isnan(dz).any(axis=1).tolist() == [False, True, False]


@folders
def test_scores_may_be_strided_or_read_only_and_are_not_written(folder):
    z, labels = draw(6, 10)
    wide = np.zeros((6, 20), np.float32)
    wide[:, ::2] = z
    fixed = z.copy()
    fixed.flags.writeable = labels.flags.writeable = False
    with only(folder):
        want = ops.softmax_cross_entropy(z, labels)[0]
        for given in (wide[:, ::2], fixed, np.asfortranarray(z)):
            loss, vjp = ops.softmax_cross_entropy(given, labels)
            assert loss == want
            np.testing.assert_array_equal(vjp(np.float32(1), (True, False))[0], vjp(np.float32(1), (True, False))[0])
            np.testing.assert_array_equal(given, z)


@pytest.mark.skipif("numba" not in FOLDERS, reason="numba is not installed")
def test_gradients_of_a_part_of_the_batch_are_those_of_the_whole():
    z, labels = draw(8, 10)
    _, vjp = ops.softmax_cross_entropy(z, labels)
    _, vjp_of_part = ops.softmax_cross_entropy(z[2:6], labels[2:6])
    whole, part = vjp(np.float32(1), (True, False))[0], vjp_of_part(np.float32(0.5), (True, False))[0]
    np.testing.assert_array_equal(part, whole[2:6])
