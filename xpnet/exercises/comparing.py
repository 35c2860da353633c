"""Numbers to check an op with, and the comparison of two results."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy import abs as magnitude
from numpy import allclose, argwhere, asarray, isclose, isfinite  # before a student's file replaces one

from xpnet.backend import Backend, get_backend

__all__ = ["HOST", "CheckError", "agree", "difference", "float64_ok", "float_types", "put", "require", "sample",
           "tolerance"]  # fmt: skip

HOST = get_backend("numpy")


class CheckError(AssertionError):
    """A check that failed.

    Args:
        what: what was checked, such as "forward float32 on numpy:cpu".
        got, want: the two arrays that should be equal, where the check compared two.
        kind: "value", "shape", "dtype", "namespace", "device", "modified", "slope", "layout", "none" or "rule".
        part: the number of the input whose gradient, or which itself, was checked; None: the result.
    """

    def __init__(
        self, what: str, got: Any = None, want: Any = None, kind: str = "rule", part: int | None = None
    ) -> None:
        super().__init__(what if got is None else difference(what, got, want))
        self.what, self.got, self.want, self.kind, self.part = what, got, want, kind, part
        self.case: Any = None  # whose check it is


def difference(what: str, got: Any, want: Any) -> str:
    """Say where two arrays differ first: "dx, at [0, 2]: expected 1, got 0"."""
    got, want = asarray(got), asarray(want)
    if got.shape != want.shape:
        return f"{what}: expected shape {want.shape}, got {got.shape}"
    apart = ~isclose(got, want, rtol=1e-6, atol=0, equal_nan=True)
    if not apart.any():  # the difference is small, but larger than the tolerance
        apart = ~((got == want) | ((got != got) & (want != want)))
    at = tuple(int(i) for i in argwhere(apart)[0]) if apart.any() else (0,) * got.ndim
    place = f", at [{', '.join(map(str, at))}]" if at else ""
    digits = 9 if f"{want[at]:.9g}" != f"{got[at]:.9g}" else 17
    return f"{what}{place}: expected {want[at]:.{digits}g}, got {got[at]:.{digits}g}"


def tolerance(dtype: Any, length: int) -> float:
    """The error allowed per unit of magnitude: the bound of a sum of `length` terms, and a few roundings besides."""
    return float(np.finfo(dtype).eps) * (16 + 2 * length)


def float64_ok(backend: Backend) -> bool:
    """Whether the backend's device has float64 numbers."""
    try:
        return backend.from_numpy(np.zeros(1)).dtype == backend.xp.float64
    except (ValueError, TypeError):
        return False


def float_types(backend: Backend) -> list[type]:
    """The precisions to test on a backend, the widest last."""
    return [np.float32, np.float64] if float64_ok(backend) else [np.float32]


def sample(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    """Distinct, evenly spaced numbers in random order: no ties, also between seeds, and nothing on a kink at 0."""
    n = math.prod(shape)
    places = np.random.default_rng([seed, *shape]).permutation(n) + 0.15 + 0.3 * (seed * 0.618034 % 1)
    return (low + (high - low) * places / max(n, 1)).astype(np.float32).astype(np.float64).reshape(shape)


def put(backend: Backend, value: Any, dtype: Any = np.float64) -> Any:
    """Move a NumPy array to the backend, floating numbers in the given precision; pass anything else through."""
    if not isinstance(value, np.ndarray):
        return value
    return backend.from_numpy(value.astype(dtype) if value.dtype.kind == "f" else value)


def agree(got: Any, want: Any, dtype: Any, length: int, what: str, kind: str = "value") -> None:
    """Raise CheckError unless two results agree to the tolerance, relative to the largest number wanted (or 1)."""
    got, want = asarray(got, np.float64), asarray(want, np.float64)
    if got.ndim and want.ndim and got.shape != want.shape:
        raise CheckError(what, got, want, "shape")
    finite = magnitude(want[isfinite(want)])
    scale = max(1.0, float(finite.max()) if finite.size else 1.0)
    if not allclose(got, want, rtol=0, atol=scale * tolerance(dtype, length), equal_nan=True):
        raise CheckError(what, got, want, kind)


def require(condition: bool, what: str, kind: str = "rule") -> None:
    """Raise CheckError unless a condition holds."""
    if not condition:
        raise CheckError(what, kind=kind)
