"""Every backend: arrays that come and go unchanged, memory figures."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.harness import raises
from xpnet.backend import backend_of, get_backend
from xpnet.errors import DTypeError

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64"]


def test_a_backend_cannot_be_changed(backend):
    with pytest.raises(dataclasses.FrozenInstanceError):
        backend.device = "elsewhere"


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 5, 7)], ids=str)
def test_an_array_makes_the_round_trip_unchanged(backend, name, shape):
    if name == "float64" and "no_float64" in backend.spec:
        pytest.skip("the device has no float64")
    a = np.arange(int(np.prod(shape))).astype(name).reshape(shape)
    x = backend.from_numpy(a)
    assert x.dtype == getattr(backend.xp, name)
    assert tuple(x.shape) == shape
    assert backend_of(x) == backend
    back = backend.to_numpy(x)
    assert type(back) is np.ndarray
    assert back.dtype == a.dtype
    assert np.array_equal(back, a)


def test_int64_becomes_int32_where_the_device_has_no_int64_unless_a_number_needs_it():
    pytest.importorskip("array_api_strict")
    narrow = get_backend("array-api-strict:no_x64")
    x = narrow.from_numpy(np.array([-3, 2**31 - 1]))
    assert x.dtype == narrow.xp.int32
    assert narrow.to_numpy(x).tolist() == [-3, 2**31 - 1]
    with raises(DTypeError, "from_numpy", "no_x64", "int64"):
        narrow.from_numpy(np.array([0, 2**32]))


@pytest.mark.parametrize(
    "view",
    [lambda a: a[::2], lambda a: a[::-1], lambda a: a.T, lambda a: a[:, :0]],
    ids=["strided", "reversed", "transposed", "empty"],
)
def test_views_make_the_round_trip_too(backend, view):
    a = view(np.arange(30, dtype=np.float32).reshape(5, 6))
    assert np.array_equal(backend.to_numpy(backend.from_numpy(a)), a)


def test_a_read_only_array_can_be_moved(backend):
    a = np.arange(6, dtype=np.float32)
    a.setflags(write=False)
    assert np.array_equal(backend.to_numpy(backend.from_numpy(a)), a)


def test_moving_copies_both_ways(backend):
    a = np.zeros(3, np.float32)
    x = backend.from_numpy(a)
    a[0] = 1
    back = backend.to_numpy(x)
    assert back.tolist() == [0, 0, 0]
    back[1] = 2
    assert back.flags.writeable
    assert backend.to_numpy(x).tolist() == [0, 0, 0]


def test_extreme_values_make_the_round_trip(backend):
    a = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38], np.float32)
    assert backend.to_numpy(backend.from_numpy(a)).tobytes() == a.tobytes()
    b = np.array([2**63 - 1, -(2**63)])
    assert np.array_equal(backend.to_numpy(backend.from_numpy(b)), b)


def test_synchronize_returns(backend):
    assert backend.synchronize() is None


def test_memory_figures_are_positive_and_in_order(backend):
    used, peak, total = backend.memory()
    assert 0 < used <= total
    assert 0 < peak <= total


def test_memory_in_use_grows_with_an_array():
    numpy = get_backend("numpy")
    before = numpy.memory().used
    held = np.ones(8_000_000)  # 64 MB: malloc keeps freed memory, but gives so large a block pages of its own
    assert numpy.memory().used - before > held.nbytes // 2
