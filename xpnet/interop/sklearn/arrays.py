"""The arrays that an estimator is given: on which backend they are, and how they get to the host and to another one."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import check_consistent_length, validate_data

from xpnet import arguments
from xpnet.backend import Array, Backend, backend_of
from xpnet.errors import ConfigError, DTypeError, ShapeError, XpnetError

__all__ = [
    "check_examples",
    "check_targets",
    "check_weights",
    "dtype_name",
    "like",
    "moved",
    "of_host",
    "of_numbers",
]


def of_host(values: Any) -> Any:
    """Return an array of another library than NumPy on the host; anything else as it is."""
    try:
        return backend_of(values).to_numpy(values)
    except XpnetError:
        return values


def moved(x: Array, source: Backend, target: Backend) -> Array:
    """Return an array on another backend; itself where that is its own."""
    return x if source == target else target.from_numpy(source.to_numpy(x))


def of_numbers(values: np.ndarray, x: Array) -> Array:
    """Return numbers of the host on the backend of an array."""
    backend = backend_of(x)
    with backend.active():
        return backend.from_numpy(values)


def dtype_name(x: Array) -> str:
    """Return the name of an array's dtype, as NumPy has it."""
    return str(x.dtype).rpartition(".")[2]


def like(values: Array, x: Array) -> Array:
    """Return an array on the backend of another, in its dtype."""
    backend = backend_of(x)
    return backend.xp.astype(moved(values, backend_of(values), backend), x.dtype, copy=False)


def check_examples(estimator: Any, X: Any, reset: bool) -> Array:
    """Check examples as scikit-learn does, and return them in a floating dtype; images (N, H, W, C) too.

    Args:
        estimator: gets n_features_in_ and feature_names_in_ with reset; else X must have those.
        X: (N, ...), of any library where scikit-learn's array_api_dispatch is on; else they are made NumPy's.
        reset: whether X is the first data.
    Raises:
        ValueError: as scikit-learn's own estimators.
    """
    if _axes(X) <= 2:
        X = validate_data(estimator, X, reset=reset)
        shape = X.shape[1:]
    else:
        X = check_array(X, allow_nd=True, estimator=estimator)
        shape = tuple(X.shape[1:])
        if reset:
            estimator.n_features_in_ = int(np.prod(shape))
    if not reset and tuple(shape) != estimator.shape_in_:
        rule = f"X (N, {', '.join(map(str, estimator.shape_in_))}), as in fit"
        raise ShapeError(type(estimator).__name__, rule, X=tuple(X.shape))
    xp = backend_of(X).xp
    if "complex" in str(X.dtype):
        raise DTypeError(type(estimator).__name__, "X of real numbers", X=X.dtype)
    if X.dtype in (xp.float32, getattr(xp, "float64", None)):
        return X
    is_small = any(X.dtype == getattr(xp, n, None) for n in ("bool", "uint8", "int8", "uint16", "int16", "float16"))
    return xp.astype(X, xp.float32 if is_small else xp.float64)


def _axes(X: Any) -> int:
    """Return how many axes an array has, or a list of lists or arrays."""
    count = 0
    while isinstance(X, list | tuple) and X:
        X, count = X[0], count + 1
    return count + len(getattr(X, "shape", ()))


def check_weights(weights: Any, n: int) -> np.ndarray | None:
    """Return what each example weighs on the host, (N,) float64; None: all alike.

    Raises:
        ShapeError: there are not as many as examples.
        DTypeError, ConfigError: they are no finite numbers >= 0, or all are zero.
    """
    if weights is None:
        return None
    try:
        found = np.asarray(of_host(weights))
        found = np.full(n, found) if not found.ndim else found
        found = found.astype(np.float64, casting="same_kind" if found.dtype.kind == "c" else "unsafe")
    except (TypeError, ValueError):
        raise DTypeError("fit", "sample_weight of numbers", sample_weight=arguments.shown(weights)) from None
    if found.shape != (n,):
        raise ShapeError("fit", "a sample_weight for each example, (N,)", sample_weight=found.shape, N=n)
    if not np.isfinite(found).all() or found.min() < 0:
        raise ConfigError("fit", "sample_weight >= 0, finite", sample_weight=found.min())
    if not found.any():
        raise ConfigError("fit", "sample_weight that is not zero of every example", sample_weight="all zero")
    if (found == found[0]).all():
        return None
    return np.ldexp(found, -int(np.frexp(found.max())[1]))  # within 1, and the same to the last digit


def check_targets(estimator: Any, X: Array, y: Any) -> Any:
    """Return targets on the host; ValueError where there are none, or not as many as examples."""
    if y is None:
        name = type(estimator).__name__
        raise ValueError(f"This {name} estimator requires y to be passed, but the target y is None.")
    y = of_host(y)
    check_consistent_length(X, y)
    return y
