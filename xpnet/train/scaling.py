"""How data is brought to the scale of the training set and normalized: one array of examples, or each of several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.backend import Array, Backend
from xpnet.data import Dataset, Normalize, Scale, several
from xpnet.data.lazy import examples
from xpnet.errors import ConfigError, DataError, DTypeError, ShapeError
from xpnet.output import counted

__all__ = ["converted", "from_json", "is_table", "measure", "normalization", "read_examples", "to_json"]


def measure(train: Dataset, normalize: Any) -> tuple[Any, Any]:
    """Return the scale of a training set, and how it is normalized if that is not given: each in the form of its x."""
    sets = train.inputs()
    scales = [Scale.of(part.x, part.white) for part in sets]
    if normalize is None and any(scale.normalized for scale in scales):
        each = [
            Normalize.of(part, scale.columns) if scale.normalized else None
            for part, scale in zip(sets, scales, strict=True)
        ]
        normalize = several.like(train.x, each)
    return several.like(train.x, scales), normalize


def is_table(train: Dataset) -> bool:
    """Whether a training set is rows of numbers, (N, D), that are not pixels."""
    x = train.x
    return isinstance(x, np.ndarray) and x.ndim == 2 and x.dtype != np.uint8 and not Scale.of(x, train.white).white


def read_examples(where: str, x: Any, scale: Any) -> Any:
    """Return examples of the host, or Lazy ones, each array (N, ...), in the form that a model was fitted on.

    Raises:
        ShapeError, DTypeError: x is no array of numbers (N, ...), N >= 1, or as many as the model has inputs.
    """
    is_tuple = isinstance(x, tuple) and (several.is_several(scale) or all(hasattr(a, "shape") for a in x))
    if is_tuple or isinstance(x, dict):
        found = several.like(x, [_read(where, a, None, least=1) for a in several.each(x)])
    else:
        found = x if scale is None or several.is_several(scale) else _read(where, x, scale)
        found = _read(where, x, None) if found is x else found
    if scale is not None and several.form(found) != several.form(scale):
        if isinstance(scale, dict) and isinstance(found, dict) and set(scale) == set(found):
            return {name: found[name] for name in scale}
        rule = "the inputs that the model was fitted on"
        raise ShapeError(where, rule, inputs=_form(found), fitted=_form(scale))
    if len({len(a) for a in several.each(found)}) != 1:
        raise ShapeError(where, "inputs of the same examples", shapes=several.shape(found))
    return found


def _form(x: Any) -> str:
    return (
        ", ".join(map(str, x))
        if isinstance(x, dict)
        else counted(len(x), "array")
        if isinstance(x, tuple)
        else "one array"
    )


def _read(where: str, x: Any, scale: Scale | None, least: int = 2) -> Any:
    x = examples(where, x)
    if x.ndim < least or not len(x):
        raise ShapeError(where, "x of shape (N, ...), N >= 1", x=x.shape)
    if x.ndim == 1:
        x = x[:, np.newaxis]
    if x.ndim == 3 and scale is not None and not scale.sequence:
        x = x[..., np.newaxis]  # (N, H, W, 1), as in training
    if x.dtype.kind not in "buif":
        raise DTypeError(where, "x of real numbers", x=x.dtype)
    return x


def normalization(where: str, x: Any, scale: Any, normalize: Any, **white: Any) -> Any:
    """Return what brings data, (N, ...), to the scale of the training set and normalizes it, in the form of x; or None.

    Args:
        where: for messages.
        x: the data; scale, normalize: of the training set, or None.
        white: that of x, as Scale.factor takes it.
    """
    if not several.is_several(x):
        return _normalization(where, x, scale, normalize, **white)
    n, keys = len(several.each(x)), list(x) if isinstance(x, dict) else range(len(x))
    if normalize is not None and several.form(normalize) != several.form(x):
        raise ConfigError(where, "normalize for each input, as the data has them", normalize=arguments.shown(normalize))
    scales, normalizes = (several.each(each) if each is not None else [None] * n for each in (scale, normalize))
    whites = [{key: w[k] if several.is_several(w) else w for key, w in white.items()} for k in keys]
    parts = zip(several.each(x), scales, normalizes, whites, strict=True)
    return several.like(x, [_normalization(where, a, s, norm, **w) for a, s, norm, w in parts])


def _normalization(where: str, x: Any, scale: Scale | None, normalize: Any, **white: Any) -> Any:
    factor = 1.0 if scale is None else scale.factor(where, x, **white)
    if factor == 1.0:
        return normalize
    if normalize is None:
        return Normalize((0.0,), (1.0,), 1.0 / factor)
    if isinstance(normalize, Normalize):
        return normalize.scaled(factor)
    raise DataError(where, "data on the scale of the training set, for a custom normalize", factor=factor)


def converted(x: Any, normalize: Any, dtype: str, backend: Backend) -> Any:
    """Return a batch of the host on a backend, normalized and in a dtype; or each array of a batch."""
    if not several.is_several(x):
        return _converted(x, normalize, dtype, backend)
    each = several.each(normalize) if normalize is not None else [None] * len(several.each(x))
    return several.like(x, [_converted(a, norm, dtype, backend) for a, norm in zip(several.each(x), each, strict=True)])


def _converted(x: np.ndarray, normalize: Any, dtype: str, backend: Backend) -> Array:
    if x.dtype != np.uint8:
        x = x.astype(dtype if x.dtype == dtype or normalize is None else np.float32, copy=False)
    batch, kind = backend.from_numpy(x), getattr(backend.xp, dtype)
    if isinstance(normalize, Normalize):
        return normalize(batch, dtype)
    return backend.xp.astype(normalize(batch) if normalize else batch, kind, copy=False)


def to_json(each: Any) -> Any:
    """Return a Scale or Normalize, or one for each of several inputs, in a form that JSON can hold."""
    if not several.is_several(each):
        return each.to_json() if each else None
    found = several.like(each, [to_json(one) for one in several.each(each)])
    return {"inputs": found if isinstance(found, dict) else list(found)}


def from_json(values: Any, read: Callable[[Mapping[str, Any]], Any]) -> Any:
    """Undo to_json; read makes one of them."""
    if not isinstance(values, Mapping) or "inputs" not in values:
        return read(values) if values else None
    inputs = values["inputs"]
    found = inputs if isinstance(inputs, dict) else tuple(inputs)
    return several.like(found, [from_json(one, read) for one in several.each(found)])
