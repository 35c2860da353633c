"""CuPy's driver against a stand-in for CuPy, where CuPy's functions are not NumPy's: no GPU is needed, nor CuPy."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from xpnet.kernels.cuda.driver import Driver


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    # cupy.ascontiguousarray gives an array of at least one axis, as NumPy's does
    monkeypatch.setitem(
        sys.modules, "cupy", SimpleNamespace(ascontiguousarray=np.ascontiguousarray, empty=np.empty, zeros=np.zeros)
    )
    return Driver()


def test_a_contiguous_array_is_itself_with_no_axis_too(driver: Driver) -> None:
    for shape in ((), (3,), (2, 3), (0, 2)):
        x = np.ones(shape, np.float32)
        assert driver.contiguous(x) is x


def test_an_array_with_gaps_or_turned_is_copied(driver: Driver) -> None:
    whole = np.arange(24.0).reshape(4, 6)
    for x in (whole[:, 1:4], whole.T, whole[::-1], np.broadcast_to(whole[0], (2, 6))):
        y = driver.contiguous(x)
        assert y.flags.c_contiguous
        np.testing.assert_array_equal(y, x)
