"""What data sets of other libraries give, one example or one batch at a time, as NumPy arrays x and y."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.data import several
from xpnet.data.arrays import host
from xpnet.errors import DataError
from xpnet.output import counted

__all__ = ["batch_array", "check_like", "example_array", "host_value", "inputs_of", "log_transposed", "pair_of"]

_INPUTS = ("image", "pixel_values", "img", "x", "inputs", "features")
_TARGETS = ("label", "labels", "y", "target", "targets")

_log = logging.getLogger("xpnet")


def pair_of(where: str, item: Any, place: str) -> tuple[Any, Any]:
    """Return x and y of an example or a batch, which is (x, y), or a dictionary that has them by name.

    Args:
        where, place: for messages, such as "fit" and "batch 3".
        item: what the set gave.
    """
    if isinstance(item, Mapping):
        found = [_key(item, keys) for keys in (_INPUTS, _TARGETS)]
        if None not in found:
            return item[found[0]], item[found[1]]
        rule = "an input (image, pixel_values, x) and a target (label, y, target) by name"
        raise DataError(where, rule, place=place, names=", ".join(map(str, item)))
    if isinstance(item, list | tuple) and len(item) == 2:
        return item[0], item[1]
    got = counted(len(item), "value") if isinstance(item, list | tuple) else arguments.shown(item)
    raise DataError(where, "pairs (x, y)", place=place, value=got)


def inputs_of(where: str, item: Any, place: str, form: Hashable = None) -> tuple[Any, Any]:
    """Return x of an example or a batch that may have no targets, and y or None.

    Args:
        where, item, place: as of pair_of.
        form: of the model's inputs, as several.form says it.
    """
    if isinstance(item, Mapping):
        y, key = item.get(_key(item, _TARGETS)), _key(item, _INPUTS)
        if isinstance(form, tuple) and all(name in item for name in form):
            return {name: item[name] for name in form}, y
        if key is None:
            names = ", ".join(map(str, item))
            raise DataError(where, "an input (image, pixel_values, x) by name", place=place, names=names)
        return item[key], y
    if not isinstance(item, list | tuple):
        return item, None
    if isinstance(form, int) and len(item) == form and not isinstance(item[0], list | tuple):
        return tuple(item), None
    if len(item) in (1, 2):
        return item[0], item[1] if len(item) == 2 else None
    raise DataError(where, "inputs x, or pairs (x, y)", place=place, value=counted(len(item), "value"))


def _key(item: Mapping[Any, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in item), None)


def batch_array(where: str, x: Any) -> tuple[np.ndarray, bool]:
    """Return an array of a batch, and whether its channels were first, as those of torch are."""
    found = host(where, x)
    if _is_of_torch(x) and _is_channels_first(found.shape[1:]):
        return np.moveaxis(found, 1, -1), True
    return found, False


def example_array(where: str, x: Any) -> tuple[np.ndarray, bool]:
    """Return one example as an array, and whether its channels were first."""
    mode = getattr(x, "mode", None)
    if isinstance(mode, str) and hasattr(x, "convert"):  # an image of PIL: palettes and others as colours
        return np.asarray(x if mode in ("L", "RGB") else x.convert("RGB")), False
    found = host_value(where, x)
    if _is_of_torch(x) and _is_channels_first(found.shape):
        return np.moveaxis(found, 0, -1), True
    return found, False


def host_value(where: str, value: Any) -> np.ndarray:
    """Return a number or an array of any library on the host."""
    return np.asarray(value) if np.isscalar(value) or not getattr(value, "shape", (1,)) else host(where, value)


def _is_of_torch(x: Any) -> bool:
    return type(x).__module__.partition(".")[0] == "torch"


def _is_channels_first(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[0] in (1, 3) and shape[2] > 4


def check_like(where: str, first: Any, first_shape: Any, x: Any, shape: Any, **place: int) -> None:
    """Raise DataError unless x has the form and the shape of the first."""
    if several.form(x) != several.form(first) or shape != first_shape:
        raise DataError(where, "examples of one shape", first=first_shape, **place, shape=shape)


def log_transposed(where: str) -> None:
    """Log that the channels of images were moved to the end."""
    _log.info("%s: images (C, H, W) of torch are transposed to (H, W, C)", where)
