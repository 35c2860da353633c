"""Batch and layer normalization."""

from __future__ import annotations

import contextlib
import functools
import operator
from typing import Any

import numpy as np
import pytest

from tests import oracles
from tests.harness import check_op, float64_ok, float_types, integers, put, raises, sample, tolerance
from xpnet import kernels, ops
from xpnet.backend import namespace
from xpnet.errors import DTypeError, ShapeError
from xpnet.ops.normalization import joint_batch_norm, merge_moments

X = sample(2, 5, 7, 6)  # (N, H, W, C)


def _torch_batch_norm(x, gamma, beta, mean, var, eps=1e-5, training=False):
    from torch.nn.functional import batch_norm

    moved = x.movedim(-1, 1) if x.ndim > 2 else x
    y = batch_norm(moved, None if training else mean, None if training else var, gamma, beta, training, 0.0, eps)
    return y.movedim(1, -1) if x.ndim > 2 else y


SHAPES = [(2, 5, 7, 3), (5, 3)]


def channels(c: int) -> list[np.ndarray]:
    """gamma, beta, mean and a positive var."""
    return [sample(c, seed=1), sample(c, seed=2), sample(c, seed=3), sample(c, seed=4, low=0.2, high=3)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_with_running_moments_agrees_with_its_definition_and_with_autograd(backend, shape):
    check_op(
        ops.batch_norm,
        [sample(*shape), *channels(3)],
        {"eps": 0.1},
        backend,
        oracle=oracles.batch_norm,
        torch_oracle=_torch_batch_norm,
        differentiable=[0, 1, 2],
        linear=[0, 1, 2],
        batch=[0],
        length=140,
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_in_training_differentiates_through_the_moments(backend, shape):
    x = sample(*shape)
    gamma, beta, _, _ = channels(3)
    options = {"eps": 0.1, "training": True}

    @functools.wraps(ops.batch_norm)
    def with_moments(x, gamma, beta, mean, var, **options):
        return ops.batch_norm(x, gamma, beta, *ops.moments(x), **options)

    check_op(
        with_moments,
        [x, gamma, beta, np.zeros(3), np.ones(3)],
        options,
        backend,
        oracle=oracles.batch_norm,
        torch_oracle=_torch_batch_norm,
        differentiable=[0, 1, 2],
        length=140,
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_of_three_parts_is_that_of_the_whole_batch_and_so_are_its_gradients(backend, shape):
    """One of the parts may be empty. The float64 oracle and autograd know nothing of parts."""
    n, inner = shape[0], int(np.prod(shape[1:-1]))
    cuts = [(0, 1), (1, n // 2), (n // 2, n)]

    @functools.wraps(ops.batch_norm)
    def in_parts(x, gamma, beta, _, __, eps, training):
        xp, parts = namespace(x), [x[a:b, ...] for a, b in cuts]
        merged = xp.zeros((1 + 2 * gamma.shape[0],), dtype=gamma.dtype, device=backend.device)
        for part in parts:
            count = part.shape[0] * inner
            mean, var = ops.moments(part) if count else (xp.zeros_like(gamma), xp.zeros_like(gamma))
            row = xp.concat([xp.full_like(mean[:1], count), mean, var * count])
            merged = merge_moments(merged, row)
        c = gamma.shape[0]
        mean, var = merged[1 : 1 + c], merged[1 + c :] / (n * inner)
        sums, total = [], []

        def reduce(values):
            sums.append(values)
            return total[0] if total else values

        found = [
            joint_batch_norm(part, gamma, beta, mean, var, count=n * inner, reduce=reduce, eps=eps) for part in parts
        ]

        def vjp(dy, needs):
            total.clear()
            sums.clear()
            for (_, each), (a, b) in zip(found, cuts, strict=True):  # what each part sends
                each(dy[a:b, ...], (True, True, True, False, False))
            total.append(functools.reduce(operator.add, sums))
            gradients = [each(dy[a:b, ...], needs) for (_, each), (a, b) in zip(found, cuts, strict=True)]
            dx, dgamma, dbeta, *_ = zip(*gradients, strict=True)
            summed = [
                functools.reduce(operator.add, d) if need else None
                for d, need in ((dgamma, needs[1]), (dbeta, needs[2]))
            ]
            return xp.concat(list(dx)) if needs[0] else None, *summed, None, None

        return xp.concat([y for y, _ in found]), vjp

    gamma, beta, _, _ = channels(shape[-1])
    check_op(
        in_parts,
        [sample(*shape), gamma, beta, np.zeros(shape[-1]), np.ones(shape[-1])],
        {"eps": 0.1, "training": True},
        backend,
        oracle=oracles.batch_norm,
        torch_oracle=_torch_batch_norm,
        differentiable=[0, 1, 2],
        length=140,
    )


def test_merged_moments_are_those_of_both_parts_also_far_from_zero_and_of_an_empty_one(backend):
    """n, means and sums of squared deviations, against float64; a mean of 1000 would lose the variance otherwise."""

    def row(x):
        return np.concatenate([[len(x)], x.mean(axis=0), ((x - x.mean(axis=0)) ** 2).sum(axis=0)])

    a, b = sample(7, 3, seed=1) + 1000, 2 * sample(4, 3, seed=2) + 1000
    for dtype in float_types(backend):
        if dtype == np.float16:
            continue  # 1000 leaves it no digits
        put_rows = [put(backend, row(x), dtype) for x in (a, b)]
        got = backend.to_numpy(merge_moments(*put_rows))
        assert got.dtype == dtype
        want = row(np.concatenate([a, b]))
        np.testing.assert_allclose(got, want, rtol=1e-3 if dtype == np.float32 else 1e-9)
        empty = put(backend, np.zeros(7), dtype)
        for pair in ((put_rows[0], empty), (empty, put_rows[0])):
            np.testing.assert_array_equal(backend.to_numpy(merge_moments(*pair)), backend.to_numpy(put_rows[0]))
        assert not backend.to_numpy(merge_moments(empty, empty)).any()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_moments_are_the_mean_and_the_biased_variance_of_each_channel(backend, shape):
    x = sample(*shape)
    for dtype in float_types(backend):
        for got, want in zip(ops.moments(put(backend, x, dtype)), oracles.moments(x), strict=True):
            np.testing.assert_allclose(backend.to_numpy(got), want, rtol=0, atol=4 * tolerance(dtype, 70))
            assert backend.to_numpy(got).dtype == dtype


def test_the_variance_of_numbers_far_from_zero_is_not_lost(backend):
    """E[x^2] - E[x]^2 in float32 would be off by whole units here, and could be negative."""
    x = 1000 + sample(200, 1)
    _, var = ops.moments(put(backend, x, np.float32))
    np.testing.assert_allclose(backend.to_numpy(var), x.astype(np.float32).astype(np.float64).var(0), rtol=1e-3)


def test_running_moments_move_to_the_newest_and_stay_the_same_arrays(backend):
    given = [put(backend, np.array(values), np.float32) for values in ([1.0, -2.0], [2.0, 8.0], [3.0, 2.0], [4.0, 0.0])]
    mean, var = ops.running_moments(*given, count=5, momentum=0.25)
    assert backend.to_numpy(mean).tolist() == [1.5, -1.0]
    assert backend.to_numpy(var).tolist() == [2.75, 6.0]  # 4 is 5 of 4 unbiased
    if backend.name != "jax":  # whose arrays cannot be written
        assert mean is given[0]
        assert var is given[1]
    assert backend.to_numpy(given[2]).tolist() == [3, 2]


@pytest.mark.parametrize("count", [0, 1])
def test_a_batch_without_a_variance_leaves_running_moments_as_they_are(backend, count):
    given = [put(backend, np.array([v]), np.float32) for v in (0.0, 1.0, np.nan, np.nan)]
    mean, var = ops.running_moments(*given, count=count, momentum=0.5)
    assert (backend.to_numpy(mean).item(), backend.to_numpy(var).item()) == (0.0, 1.0)


@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 1, 3)])
def test_batch_norm_in_training_refuses_one_number_a_channel(backend, shape):
    x, one = put(backend, np.ones(shape), np.float32), put(backend, np.ones(3), np.float32)
    with pytest.raises(ShapeError, match="batch_norm: expected more than one number a channel in training, got x"):
        ops.batch_norm(x, one, one, *ops.moments(x), training=True)


def test_moments_of_nothing_are_refused(backend):
    with pytest.raises(ShapeError, match="moments: expected at least one number of each channel, got x"):
        ops.moments(put(backend, np.ones((0, 3)), np.float32))


@pytest.mark.parametrize("shape", [(0, 3), (0, 2, 2, 3), (2, 0, 3)])
def test_normalizations_of_nothing_give_nothing_and_zero_gradients(backend, shape):
    x, one = put(backend, np.ones(shape), np.float32), put(backend, np.ones(3), np.float32)
    for y, vjp in (ops.batch_norm(x, one, one, one, one, training=True), ops.layer_norm(x, one, one)):
        dx, dgamma, dbeta = vjp(y, (True,) * 5)[:3]
        assert tuple(y.shape) == tuple(dx.shape) == shape
        assert not backend.to_numpy(dgamma).any()
        assert not backend.to_numpy(dbeta).any()


def half(backend, values):
    """Values in float16 on a backend that has it."""
    if not hasattr(backend.xp, "float16"):
        pytest.skip(f"{backend.spec} has no float16")
    return backend.from_numpy(values.astype(np.float16))


def rounded_once(backend, got, want, dtype: Any = np.float16):
    """The result has a dtype, and is what it should be but for one rounding to it, and those of float32 on the way."""
    assert got.dtype == getattr(backend.xp, np.dtype(dtype).name)
    atol = 1e-5 * max(1.0, np.abs(want).max())
    np.testing.assert_allclose(backend.to_numpy(got), want, rtol=np.finfo(dtype).eps, atol=atol)


def test_moments_of_float16_are_of_float32(backend):
    x = (300 + 20 * sample(4000, 3)).astype(np.float16)  # sums over 65504, and squares
    for got, want in zip(ops.moments(half(backend, x)), (x.astype(float).mean(0), x.astype(float).var(0)), strict=True):
        rounded_once(backend, got, want, np.float32)


@pytest.mark.parametrize("training", [False, True], ids=["running", "training"])
def test_batch_norm_of_float16_computes_in_float32(backend, training):
    torch = pytest.importorskip("torch")
    x, gamma, beta, dy = (300 + 20 * sample(700, 3), *channels(3)[:2], sample(700, 3, seed=1))
    x, gamma, beta, dy = (a.astype(np.float16) for a in (x, gamma, beta, dy))
    mean, var = x.astype(np.float64).mean(0), x.astype(np.float64).var(0)
    moments = [put(backend, a, np.float32) for a in (mean, var)]
    arrays = [half(backend, a) for a in (x, gamma, beta)]
    y, vjp = ops.batch_norm(*arrays, *moments, eps=0.1, training=training)
    grads = vjp(half(backend, dy), (True,) * 5)

    t, g, b = (torch.from_numpy(a.astype(np.float64)).requires_grad_() for a in (x, gamma, beta))
    kept = (None, None) if training else tuple(map(torch.from_numpy, (mean, var)))
    want = torch.nn.functional.batch_norm(t, *kept, g, b, training, 0.0, 0.1)
    want.backward(torch.from_numpy(dy.astype(np.float64)))
    rounded_once(backend, y, want.detach().numpy())
    for got, tensor in zip(grads[:3], (t, g, b), strict=True):
        rounded_once(backend, got, tensor.grad.numpy())
    assert grads[3:] == (None, None)


def test_batch_norm_of_float16_with_moments_of_float16_computes_in_float32_too(backend):
    arrays = [half(backend, a) for a in (sample(5, 3), *channels(3))]
    exact = [backend.to_numpy(a).astype(np.float64) for a in arrays]
    y, _ = ops.batch_norm(*arrays, eps=1e-9)  # which is 0 in float16
    rounded_once(backend, y, oracles.batch_norm(*exact, eps=1e-9))


def test_layer_norm_of_float16_computes_in_float32(backend):
    torch = pytest.importorskip("torch")
    x, gamma, beta, dy = (300 + 20 * sample(4, 700), *(sample(700, seed=s) for s in (1, 2)), sample(4, 700, seed=3))
    x, gamma, beta, dy = (a.astype(np.float16) for a in (x, gamma, beta, dy))
    y, vjp = ops.layer_norm(*(half(backend, a) for a in (x, gamma, beta)), eps=0.1)
    grads = vjp(half(backend, dy), (True,) * 3)
    tensors = [torch.from_numpy(a.astype(np.float64)).requires_grad_() for a in (x, gamma, beta)]
    want = torch.nn.functional.layer_norm(tensors[0], (700,), *tensors[1:], 0.1)
    want.backward(torch.from_numpy(dy.astype(np.float64)))
    rounded_once(backend, y, want.detach().numpy())
    for got, tensor in zip(grads, tensors, strict=True):
        rounded_once(backend, got, tensor.grad.numpy())


@pytest.mark.parametrize(
    ("x", "mean", "var"), [("float64", "float32", "float32"), ("float32", "float64", "float32")], ids=str
)
def test_moments_narrower_than_the_numbers_or_of_two_dtypes_are_an_error(x, mean, var):
    moments = np.zeros(3, mean), np.ones(3, var)
    with raises(DTypeError, "batch_norm", f"x {x}", f"mean {mean}", f"var {var}"):
        ops.batch_norm(np.zeros((2, 3), x), np.ones(3, x), np.zeros(3, x), *moments)


def test_moments_wider_than_the_numbers_are_computed_with(backend):
    if not float64_ok(backend):
        pytest.skip(f"{backend.spec} has no float64")
    x, gamma, beta, mean, var = (put(backend, a, np.float32) for a in (sample(5, 3), *channels(3)))
    wide = [backend.xp.astype(a, backend.xp.float64) for a in (mean, var)]
    y, vjp = ops.batch_norm(x, gamma, beta, *wide, eps=0.1)
    rounded_once(backend, y, oracles.batch_norm(sample(5, 3), *channels(3), eps=0.1), np.float32)
    assert [g.dtype for g in vjp(x, (True,) * 3)[:3]] == [backend.xp.float32] * 3


def _torch_layer_norm(x, gamma, beta, eps=1e-5):
    from torch.nn.functional import layer_norm

    return layer_norm(x, (x.shape[-1],), gamma, beta, eps)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layer_norm_agrees_with_its_definition_and_with_autograd(backend, shape):
    gamma, beta, _, _ = channels(3)
    check_op(
        ops.layer_norm,
        [sample(*shape), gamma, beta],
        {"eps": 0.1},
        backend,
        oracle=oracles.layer_norm,
        torch_oracle=_torch_layer_norm,
        linear=[1, 2],
        batch=[0],
        length=140,
    )


@pytest.mark.parametrize("which", [1, 2, 3, 4])
def test_batch_norm_with_another_number_of_channels_is_an_error(which):
    arrays = [X, *channels(6)]
    arrays[which] = sample(4)
    with raises(ShapeError, "batch_norm", (2, 5, 7, 6), (4,)):
        ops.batch_norm(*arrays)


def test_layer_norm_with_another_number_of_features_is_an_error():
    with raises(ShapeError, "layer_norm", (2, 5, 7, 6), (4,)):
        ops.layer_norm(X, sample(4), sample(6))


@pytest.mark.parametrize(("name", "count"), [("batch_norm", 4), ("layer_norm", 2)])
def test_normalizing_integers_is_an_error(backend, name, count):
    x = backend.from_numpy(integers(2, 5, 7, 6, high=9))
    parameters = [put(backend, a, np.float32) for a in channels(6)[:count]]
    with raises(DTypeError, name, "int64"):
        getattr(ops, name)(x, *parameters)


# A mean that is large beside the deviation.


@pytest.mark.parametrize("rows", [64, 1000])
@pytest.mark.parametrize("folders", [None, (), ("numba",)])
def test_normalizing_numbers_far_from_zero_is_right_to_their_own_rounding(backend, rows, folders):
    if folders is not None and backend.name != "numpy":
        pytest.skip("the other kernel sets are NumPy's")
    values = (np.random.default_rng(0).normal(size=(rows, 4, 4, 3)) + 1e4).astype(np.float32)
    exact, one, zero = values.astype(float), put(backend, np.ones(3), np.float32), put(backend, np.zeros(3), np.float32)
    x = put(backend, values, np.float32)
    rounding = 2 * np.spacing(np.float32(1e4))  # of the numbers and of their mean
    with kernels.disable(*folders) if folders is not None else contextlib.nullcontext():
        mean, var = ops.moments(x)
        y, vjp = ops.batch_norm(x, one, zero, mean, var, training=True)
        _, dgamma, _ = vjp(y, (True, True, True, False, False))[:3]
        normal, _ = ops.layer_norm(x, one, zero)
        level, _ = ops.moments(put(backend, np.full((rows, 50, 3), 1e7), np.float32))
        kept, _ = ops.batch_norm(x, one, zero, mean, var)
    given = (exact - backend.to_numpy(mean).astype(float)) / np.sqrt(backend.to_numpy(var).astype(float) + 1e-5)
    for found in (y, kept):  # by these moments: the difference of x and the mean is exact
        np.testing.assert_allclose(backend.to_numpy(found), given, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(backend.to_numpy(var), exact.var((0, 1, 2)), rtol=1e-5)
    right = (exact - exact.mean((0, 1, 2))) / np.sqrt(exact.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(backend.to_numpy(y), right, atol=rounding)
    np.testing.assert_allclose(backend.to_numpy(dgamma), (right * right).sum((0, 1, 2)), rtol=1e-4)
    within = np.sqrt(exact.var(-1, keepdims=True) + 1e-5)
    off = (backend.to_numpy(normal) - (exact - exact.mean(-1, keepdims=True)) / within) * within
    assert np.abs(off).max() < rounding
    assert backend.to_numpy(level).tolist() == [1e7] * 3


def test_layer_norm_of_no_numbers_is_an_error(backend):
    none = put(backend, np.ones(0), np.float32)
    with pytest.raises(ShapeError, match="layer_norm: expected at least one number along the axes"):
        ops.layer_norm(put(backend, np.ones((2, 0)), np.float32), none, none)
