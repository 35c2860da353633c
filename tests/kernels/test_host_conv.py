"""conv2d's kernels for NumPy's arrays: odd arrays, several cores, tiles of every size."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import agree, raises, sample
from xpnet import ops
from xpnet.backend import use_cores
from xpnet.errors import ConfigError
from xpnet.kernels.numpy import conv

CASES = {
    "3x3": ((4, 3, 3, 3), {"padding": 1}),
    "5x5 of one channel": ((4, 5, 5, 1), {"padding": 2}),
    "one channel, tall, dilated": ((4, 3, 2, 1), {"dilation": (1, 2), "padding": (3, 1)}),
    "one channel, strided down": ((4, 3, 3, 1), {"stride": (2, 1)}),
    "strided groups": ((4, 3, 2, 2), {"stride": (2, 3), "padding": (1, 0), "groups": 2}),
    "padded past the image": ((2, 1, 1, 3), {"padding": 3}),
}


def _case(name, n=5, dtype=np.float32):
    w, options = CASES[name]
    x = sample(n, 9, 11, w[3] * options.get("groups", 1)).astype(dtype)
    return x, sample(*w, seed=1).astype(dtype), sample(w[0], seed=2).astype(dtype), options


def _both_ways(x, w, b, options, activation="relu"):
    y, vjp = ops.conv2d(x, w, b, activation=activation, **options)
    return [y, *vjp(sample(*y.shape, seed=3).astype(y.dtype), (True, True, True))]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", CASES)
def test_conv2d_on_several_cores_gives_what_one_gives(name, monkeypatch):
    monkeypatch.setattr(conv, "_APART", 1)
    x, w, b, options = _case(name)
    one = _both_ways(x, w, b, options)
    for n in (2, 3, 8):  # 8: more than images
        with use_cores(n):
            several, again = _both_ways(x, w, b, options), _both_ways(x, w, b, options)
        for a, c, d in zip(one, several, again, strict=True):
            agree(c, a, np.float32, 5 * 9 * 11, f"{n} cores")
            assert np.array_equal(c, d)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("pixels", [1, 30, 200])
def test_conv2d_gives_the_same_in_tiles_of_every_size(name, pixels, monkeypatch):
    x, w, b, options = _case(name)
    whole = _both_ways(x, w, b, options)
    monkeypatch.setattr(conv, "_PIXELS", pixels)
    monkeypatch.setattr(conv, "_cache", lambda: 1)
    for a, c in zip(whole, _both_ways(x, w, b, options), strict=True):
        agree(c, a, np.float32, 5 * 9 * 11, "in tiles")


def _odd(a, kind):
    """An array of the same numbers that is laid out oddly."""
    if kind == "strided":
        wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
        wide[..., ::2] = a
        return wide[..., ::2]
    if kind == "reversed":
        return np.ascontiguousarray(a[..., ::-1])[..., ::-1]
    if kind == "read-only":
        a = a.copy()
        a.flags.writeable = False
        return a
    raw = np.zeros(a.nbytes + 1, np.uint8)[1:]  # misaligned
    odd = raw.view(a.dtype).reshape(a.shape)
    odd[...] = a
    return odd


def test_arrays_laid_out_oddly_are_copied_and_not_compiled_for():
    loops = pytest.importorskip("xpnet.kernels.numba.conv")
    x, w, b, options = _case("3x3")
    _both_ways(_odd(x, "read-only"), _odd(w, "misaligned"), _odd(b, "strided"), options)
    for loop in (loops._unroll, loops._unroll_by_tap, loops._fold):
        assert all(array.mutable and array.aligned for types in loop.signatures for array in types[:2])


@pytest.mark.usefixtures("folder")
def test_a_gradient_that_is_not_written_is_not_written():
    x, w, b, options = _case("3x3")
    y, vjp = ops.conv2d(x, w, b, **options)
    dy = np.ones_like(y)
    vjp(dy, (True, True, True))
    assert (dy == 1).all()


def test_a_cache_that_is_no_number_of_bytes_is_an_error(monkeypatch):
    conv._cache.cache_clear()
    monkeypatch.setenv("XPNET_CACHE", "a lot")
    try:
        with raises(ConfigError, "XPNET_CACHE", "a lot"):
            ops.conv2d(*_case("3x3")[:2])
        monkeypatch.setenv("XPNET_CACHE", "4096")
        ops.conv2d(*_case("3x3")[:2])
        assert conv._cache() == 4096
    finally:
        conv._cache.cache_clear()
