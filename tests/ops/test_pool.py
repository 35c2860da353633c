"""Max, average and global average pooling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import oracles
from tests.harness import check_op, few_on_jax, integers, put, raises, sample
from xpnet import kernels, ops
from xpnet.errors import ConfigError, DTypeError, ShapeError

X = sample(2, 5, 7, 3)  # (N, H, W, C)
WIDE = sample(1, 5, 7, 8)  # kernels may take several channels at a time

GEOMETRIES = {
    "apart": {"kernel_size": 2},
    "apart with a remainder": {"kernel_size": (3, 2)},
    "overlapping": {"kernel_size": 3, "stride": 2},
    "overlapping, stride 1": {"kernel_size": (2, 3), "stride": 1},
    "kernel is the image": {"kernel_size": (5, 7)},
    "kernel is one pixel": {"kernel_size": 1},
    "stride beyond the kernel": {"kernel_size": (1, 2), "stride": (3, 4)},
    "padded": {"kernel_size": (3, 2), "stride": (2, 2), "padding": (1, 1)},
    "padded beyond the image": {"kernel_size": (6, 8), "stride": 3, "padding": (3, 4)},
    "ceil": {"kernel_size": 2, "ceil_mode": True},
    "ceil, overlapping": {"kernel_size": (3, 4), "stride": (3, 2), "ceil_mode": True},
    "ceil, padded": {"kernel_size": 3, "stride": 2, "padding": (1, 0), "ceil_mode": True},
    "ceil, a last window in the padding is dropped": {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
    "ceil, stride beyond the kernel": {"kernel_size": 2, "stride": (3, 5), "ceil_mode": True},
}
ON_JAX = ("overlapping", "ceil, padded")


def _torch_pool(name):
    def run(x, kernel_size, stride=None, padding=0, ceil_mode=False, **options):
        import torch.nn.functional as F

        y = getattr(F, name)(x.permute(0, 3, 1, 2), kernel_size, stride, padding, ceil_mode=ceil_mode, **options)
        return y.permute(0, 2, 3, 1)

    return run


MAX: dict[str, Any] = {"oracle": oracles.max_pool2d, "torch_oracle": _torch_pool("max_pool2d"), "length": 9}
AVG: dict[str, Any] = {"oracle": oracles.avg_pool2d, "torch_oracle": _torch_pool("avg_pool2d"), "length": 50}


@pytest.mark.parametrize("case", GEOMETRIES)
def test_max_pool2d_agrees_with_its_definition_and_with_autograd(backend, case):
    few_on_jax(backend, case in ON_JAX)
    check_op(ops.max_pool2d, [X], GEOMETRIES[case], backend, **MAX, batch=[0])


@pytest.mark.parametrize("count_include_pad", [True, False], ids=["with padding", "without padding"])
@pytest.mark.parametrize("case", GEOMETRIES)
def test_avg_pool2d_agrees_with_its_definition_and_with_autograd(backend, case, count_include_pad):
    few_on_jax(backend, case in ON_JAX)
    options = {**GEOMETRIES[case], "count_include_pad": count_include_pad}
    check_op(ops.avg_pool2d, [X], options, backend, **AVG, linear=[0], batch=[0])


@pytest.mark.parametrize("case", ["overlapping", "padded beyond the image", "ceil, padded"])
def test_pooling_many_channels_agrees_with_its_definition_and_with_autograd(backend, case):
    few_on_jax(backend, False)
    check_op(ops.max_pool2d, [WIDE], GEOMETRIES[case], backend, **MAX, batch=[0])
    options = {**GEOMETRIES[case], "count_include_pad": False}
    check_op(ops.avg_pool2d, [WIDE], options, backend, **AVG, linear=[0])


@pytest.mark.parametrize("shape", [(2, 1, 1, 3), (2, 3, 4, 40), (1, 20, 15, 1)], ids=str)
def test_global_avg_pool2d_takes_images_of_any_shape(backend, shape):
    few_on_jax(backend, shape[3] == 40)
    check_op(
        ops.global_avg_pool2d, [sample(*shape)], {}, backend, oracle=oracles.global_avg_pool2d, linear=[0], length=300
    )


@pytest.mark.parametrize("channels", [3, 8])
@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d", "global_avg_pool2d"])
def test_pooling_float16_rounds_once(backend, name, channels):
    few_on_jax(backend, channels == 3)
    if not hasattr(backend.xp, "float16"):
        pytest.skip(f"{backend.spec} has no float16")
    exact = 40.0 * sample(2, 5, 7, channels).astype(np.float16)
    x = backend.from_numpy(exact)
    options = {} if name.startswith("global") else {"kernel_size": 3, "stride": 2, "padding": 1}
    y, vjp = getattr(ops, name)(x, **options)
    want, want_vjp = getattr(ops, name)(exact.astype(np.float64), **options)
    assert y.dtype == backend.xp.float16
    terms = 1 if kernels.find(name, x) else 35  # the ops' own code adds in float16
    np.testing.assert_allclose(backend.to_numpy(y), want, rtol=terms * 6e-4, atol=terms * 6e-4)
    dy = sample(*want.shape, seed=1).astype(np.float16)
    (dx,), (want_dx,) = vjp(backend.from_numpy(dy), (True,)), want_vjp(dy.astype(np.float64), (True,))
    assert dx.dtype == backend.xp.float16
    np.testing.assert_allclose(backend.to_numpy(dx), want_dx, rtol=terms * 6e-4, atol=terms * 6e-4)


def test_global_avg_pool2d_is_the_mean_over_height_and_width(backend):
    check_op(
        ops.global_avg_pool2d, [X], {}, backend, oracle=oracles.global_avg_pool2d, linear=[0], batch=[0], length=35
    )


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_the_stride_is_the_kernel_size_unless_given(name):
    y, _ = getattr(ops, name)(X, kernel_size=(2, 3))
    z, _ = getattr(ops, name)(X, kernel_size=(2, 3), stride=(2, 3))
    assert np.array_equal(y, z)


def test_on_a_tie_the_gradient_goes_to_the_first_maximum_in_the_window(backend):
    x = np.array([[1.0, 3.0, 3.0], [3.0, 3.0, 2.0]]).reshape(1, 2, 3, 1)
    _, vjp = ops.max_pool2d(put(backend, x, np.float32), kernel_size=2, stride=1)
    (dx,) = vjp(put(backend, np.array([10.0, 100.0]).reshape(1, 1, 2, 1), np.float32), (True,))
    assert backend.to_numpy(dx)[0, ..., 0].tolist() == [[0, 110, 0], [0, 0, 0]]


@pytest.mark.parametrize("channels", [3, 8])
def test_ties_of_one_channel_say_nothing_of_the_others(backend, channels):
    few_on_jax(backend, channels == 3)
    x = integers(2, 5, 6, channels, high=3).astype(np.float32)  # three values: ties everywhere
    dy = sample(2, 2, 3, channels)
    want = np.zeros(x.shape)
    for n, i, j, c in np.ndindex(*dy.shape):
        window = x[n, 2 * i : 2 * i + 3, 2 * j - 1 if j else 0 : 2 * j + 2, c]
        row, col = np.unravel_index(np.argmax(window), window.shape)  # the first in row-major order
        want[n, 2 * i + row, (2 * j - 1 if j else 0) + col, c] += dy[n, i, j, c]
    _, vjp = ops.max_pool2d(put(backend, x, np.float32), kernel_size=3, stride=2, padding=(0, 1))
    np.testing.assert_allclose(backend.to_numpy(vjp(put(backend, dy, np.float32), (True,))[0]), want, atol=1e-6)


def test_where_all_of_a_window_ties_the_gradient_goes_to_its_first_pixel(backend):
    _, vjp = ops.max_pool2d(put(backend, np.zeros((1, 4, 4, 1)), np.float32), kernel_size=2)
    (dx,) = vjp(put(backend, np.ones((1, 2, 2, 1)), np.float32), (True,))
    want = [[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert backend.to_numpy(dx)[0, ..., 0].tolist() == want


def test_padding_never_wins_over_a_negative_pixel(backend):
    x = np.full((1, 3, 3, 1), -5.0)
    y, vjp = ops.max_pool2d(put(backend, x, np.float32), kernel_size=3, stride=2, padding=1, ceil_mode=True)
    assert np.all(backend.to_numpy(y) == -5)
    (dx,) = vjp(y, (True,))
    assert backend.to_numpy(dx).sum() == backend.to_numpy(y).sum()


@pytest.mark.parametrize("channels", [1, 3, 8, 40])
def test_no_gradient_goes_to_padding_where_all_pixels_are_minus_infinity(backend, channels):
    few_on_jax(backend, channels == 3)
    x = np.full((2, 4, 5, channels), -np.inf)
    y, vjp = ops.max_pool2d(put(backend, x, np.float32), kernel_size=(3, 2), stride=(2, 1), padding=1)
    want = np.zeros(x.shape)  # the first pixel of each window: its corner, or what of the image is nearest to that
    for i, j in np.ndindex(*y.shape[1:3]):
        want[:, max(0, 2 * i - 1), max(0, j - 1)] += 1
    ones = put(backend, np.ones(tuple(y.shape)), np.float32)
    np.testing.assert_array_equal(backend.to_numpy(vjp(ones, (True,))[0]), want)


@pytest.mark.parametrize("channels", [1, 5, 8, 40])
@pytest.mark.parametrize("options", [{"kernel_size": 2}, {"kernel_size": 3, "stride": 1, "padding": 1}])
def test_the_gradient_of_a_window_with_a_nan_goes_to_the_nan(backend, channels, options):
    few_on_jax(backend, channels == 5 and "padding" in options)
    x = sample(2, 6, 6, channels, seed=4)
    x[0, 2, 3, 0] = x[1, 5, 5, channels - 1] = np.nan
    y, vjp = ops.max_pool2d(put(backend, x, np.float32), **options)
    dy = np.ones(tuple(y.shape))
    dx = backend.to_numpy(vjp(put(backend, dy, np.float32), (True,))[0])
    for place in ((0, 2, 3, 0), (1, 5, 5, channels - 1)):
        assert dx[place] == np.isnan(backend.to_numpy(y)[place[0], ..., place[3]]).sum() > 0
    assert dx.sum() == dy.size


@pytest.mark.parametrize("shape", [(2, 0, 3, 1), (2, 3, 0, 1)])
@pytest.mark.parametrize("pool", ["max_pool2d", "avg_pool2d", "global_avg_pool2d"])
def test_pooling_images_without_pixels_is_an_error(backend, pool, shape):
    options = {} if pool == "global_avg_pool2d" else {"kernel_size": 2, "padding": 1}
    with pytest.raises(ShapeError, match=f"{pool}: expected images of one pixel at least, got x"):
        getattr(ops, pool)(put(backend, np.ones(shape), np.float32), **options)


def test_max_pool2d_does_not_hide_a_nan(backend):
    x = np.array([[1.0, np.nan], [2.0, 3.0]]).reshape(1, 2, 2, 1)
    y, _ = ops.max_pool2d(put(backend, x, np.float32), kernel_size=2)
    assert np.isnan(backend.to_numpy(y)).all()


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_a_window_larger_than_the_padded_image_is_an_error(name):
    with raises(ShapeError, name, "8", "7"):
        getattr(ops, name)(X, kernel_size=(2, 8))


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_padding_beyond_half_the_window_is_an_error(name):
    with raises(ConfigError, name, 2, 3):
        getattr(ops, name)(X, kernel_size=3, padding=2)


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize(
    ("setting", "value"), [("kernel_size", 0), ("stride", 0), ("stride", (2, -1)), ("padding", -1)]
)
def test_a_pooling_setting_below_its_least_value_is_an_error(name, setting, value):
    with raises(ConfigError, name, setting, value):
        getattr(ops, name)(X, **{"kernel_size": 2, setting: value})


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d", "global_avg_pool2d"])
def test_pooling_an_array_that_is_no_batch_of_images_is_an_error(name):
    options = {} if name.startswith("global") else {"kernel_size": 2}
    with raises(ShapeError, name, (5, 7, 3)):
        getattr(ops, name)(X[0], **options)


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d", "global_avg_pool2d"])
def test_pooling_integers_is_an_error(backend, name):
    options = {} if name.startswith("global") else {"kernel_size": 2}
    with raises(DTypeError, name, "int64"):
        getattr(ops, name)(backend.from_numpy(integers(2, 5, 7, 3, high=9)), **options)
