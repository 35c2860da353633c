"""Arrays for tests of CUDA kernels, how far results may be from exact ones, and which kernels were launched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from emulator import TAPE

__all__ = ["DOUBLE", "FLOAT", "HALF", "close", "drawn", "dtypes", "launched", "wide"]

FLOAT, DOUBLE, HALF = np.float32, np.float64, np.float16
dtypes = pytest.mark.parametrize("dtype", [FLOAT, DOUBLE, HALF], ids=["float", "double", "half"])
EPS = {FLOAT: 6e-8, DOUBLE: 2e-16, HALF: 5e-4}  # of a result that is rounded once


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def wide(dtype: Any) -> Any:
    return DOUBLE if dtype is DOUBLE else FLOAT


def launched(work: Callable[[], Any]) -> tuple[Any, list[str]]:
    """What work returns, and the kernels that it launched."""
    before = len(TAPE.launches)
    result = work()
    return result, TAPE.launches[before:]


def close(got: Any, want: np.ndarray, dtype: Any, what: str = "", terms: float = 16.0) -> None:
    """Agree to some roundings, relative to the largest number wanted, and to one in the dtype of the result."""
    allowed = terms * EPS[wide(dtype)] * max(1.0, float(np.abs(want).max())) + EPS[dtype] * np.abs(want)
    error = np.abs(np.asarray(got.get(), np.float64) - want)
    assert got.dtype == dtype, what
    assert np.all(error <= allowed), f"{what}: {float((error / allowed).max())} times what is allowed"
