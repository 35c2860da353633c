"""Max-pooling of NumPy arrays by each folder of kernels: what the op's own tests, on small arrays, do not reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.harness import integers, sample
from xpnet import ops
from xpnet.backend import use_cores

FLOAT, DOUBLE = np.float32, np.float64
dtypes = pytest.mark.parametrize("dtype", [FLOAT, DOUBLE], ids=["float", "double"])

WINDOWS: dict[str, dict[str, Any]] = {
    "in pairs": {"kernel_size": 2},
    "overlapping": {"kernel_size": 3, "stride": 2},
    "padded": {"kernel_size": 3, "stride": 2, "padding": 1},
    "of five": {"kernel_size": (5, 4), "stride": (2, 3), "padding": (2, 1), "ceil_mode": True},
    "far apart": {"kernel_size": (1, 2), "stride": 3},
}
windows = pytest.mark.parametrize("case", WINDOWS)


pytestmark = pytest.mark.usefixtures("folder")


def pooled(x: np.ndarray, dy: np.ndarray | None = None, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """y, and dx of dy or of some numbers; options as max_pool2d's."""
    y, vjp = ops.max_pool2d(x, **options)
    return y, vjp(sample(*y.shape, seed=1).astype(x.dtype) if dy is None else dy, (True,))[0]


def by_hand(x: np.ndarray, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False) -> Any:
    """y and dx, window by window: numpy's argmax is the first in row-major order."""
    kh, kw = np.broadcast_to(kernel_size, 2)
    sh, sw = np.broadcast_to(kernel_size if stride is None else stride, 2)
    ph, pw = np.broadcast_to(padding, 2)
    n, h, w, c = x.shape
    starts = []
    for size, k, s, p in ((h, kh, sh, ph), (w, kw, sw, pw)):
        last = size + p - 1 if ceil_mode else size + p - k
        last = min(last, -(-(size + 2 * p - k) // s) * s - p)
        starts.append(range(-p, last + 1, s))
    y = np.zeros((n, len(starts[0]), len(starts[1]), c), x.dtype)
    dy, dx = sample(*y.shape, seed=1).astype(x.dtype), np.zeros_like(x)
    for i, top in enumerate(starts[0]):
        for j, left in enumerate(starts[1]):
            high, wide = slice(max(0, top), top + kh), slice(max(0, left), left + kw)
            window = x[:, high, wide]
            pixels = window.reshape(n, -1, c)
            y[:, i, j] = pixels.max(1)
            rows, cols = np.divmod(pixels.argmax(1), window.shape[2])
            for image, channel in np.ndindex(n, c):
                r, q = rows[image, channel] + high.start, cols[image, channel] + wide.start
                dx[image, r, q, channel] += dy[image, i, j, channel]
    return y, dx


@dtypes
@windows
@pytest.mark.parametrize("channels", [1, 3, 4, 5, 6, 8, 9, 15, 16, 33])
def test_ties_go_to_the_first_pixel_however_many_channels_there_are(case, channels, dtype):
    x = integers(3, 7, 9, channels, high=4).astype(dtype)
    for got, want in zip(pooled(x, **WINDOWS[case]), by_hand(x, **WINDOWS[case]), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=8 * np.finfo(dtype).eps)
        assert got.dtype == dtype


@windows
@pytest.mark.parametrize("channels", [3, 6, 20])
def test_a_window_with_a_nan_is_nan_and_gives_all_of_its_gradient_to_a_nan(case, channels):
    x = sample(1, 6, 9, channels).astype(FLOAT)
    clean, _ = pooled(x, **WINDOWS[case])
    where = np.zeros(x.shape, bool)
    where[0, 2, 3, 1] = where[0, 3, 3, 2] = True
    x[where] = np.nan
    touched = pooled(where.astype(FLOAT), **WINDOWS[case])[0] == 1
    y, dx = pooled(x, np.ones(clean.shape, FLOAT), **WINDOWS[case])
    np.testing.assert_array_equal(y, np.where(touched, np.nan, clean))
    assert dx.sum() == y.size
    assert dx[where].sum() == touched.sum()


@windows
def test_an_infinite_gradient_stays_where_it_belongs(case):
    x = sample(1, 6, 9, 6).astype(FLOAT)
    y, vjp = ops.max_pool2d(x, **WINDOWS[case])
    dy = np.zeros_like(y)
    dy[0, 1, 1, 4] = np.inf
    (dx,) = vjp(dy, (True,))
    assert np.isinf(dx).sum() == np.count_nonzero(dx) == 1  # a NaN would be counted, too


@windows
def test_numbers_of_minus_infinity_are_pooled(case):
    y, dx = pooled(np.full((1, 6, 9, 6), -np.inf, FLOAT), **WINDOWS[case])
    assert np.all(y == -np.inf)
    np.testing.assert_allclose(dx.sum(), sample(*y.shape, seed=1).sum(), atol=1e-4)


@windows
@pytest.mark.parametrize("channels", [6, 20])
def test_a_shard_computes_what_the_whole_did_and_so_do_two_cores(case, channels):
    x = sample(5, 60, 61, channels).astype(FLOAT)
    with use_cores(1):
        y, dx = pooled(x, **WINDOWS[case])
        dy = sample(*y.shape, seed=1).astype(FLOAT)
        for got, want in zip(pooled(x[1:4], dy[1:4], **WINDOWS[case]), (y, dx), strict=True):
            assert np.array_equal(got, want[1:4])
    with use_cores(2):
        for got, want in zip(pooled(x, dy, **WINDOWS[case]), (y, dx), strict=True):
            assert np.array_equal(got, want)


@windows
def test_a_result_is_not_touched_by_the_next_call(case):
    first = pooled(sample(2, 6, 9, 6).astype(FLOAT), **WINDOWS[case])
    kept = [a.copy() for a in first]
    pooled(sample(2, 6, 9, 6, seed=5).astype(FLOAT), **WINDOWS[case])
    for a, b in zip(first, kept, strict=True):
        assert np.array_equal(a, b)
