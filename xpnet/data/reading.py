"""Sets of other libraries, read into memory: what gives examples (x, y) one by one, or batches of them.

    read_set("fit", torch_dataset), read_set("fit", hugging_face_dataset), read_set("fit", data_loader) -> x, y

Each is read once, so random transforms are drawn once; augment= draws them anew.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.data.arrays import host
from xpnet.errors import ConfigError, DataError, XpnetError

__all__ = ["is_set", "read_set"]

_MOST = 4 << 30  # bytes of examples
_INPUTS = ("image", "pixel_values", "img", "x", "inputs", "features")
_TARGETS = ("label", "labels", "y", "target", "targets")

_ARRAYS = ("dtype", "columns", "__array__", "__dlpack__", "__array_interface__", "__dataframe__")  # or frames

_log = logging.getLogger("xpnet")


def is_set(data: Any) -> bool:
    """Tell whether data gives examples by number, or batches; arrays, frames, tuples and dictionaries do not."""
    if isinstance(data, list):
        return len(data) > 2 and all(isinstance(item, dict | tuple) and len(item) == 2 for item in data[:3])
    if isinstance(data, Sequence | Mapping | type) or any(hasattr(data, name) for name in _ARRAYS):
        return False
    return (hasattr(data, "__len__") and hasattr(data, "__getitem__")) or hasattr(data, "__iter__")


def read_set(where: str, data: Any) -> tuple[Any, np.ndarray]:
    """Read all examples.

    Args:
        where: for messages.
        data: has a length and gives examples by number: (x, y), or a dictionary with an image (or pixel_values, x) and
            a label (or y, target); or gives batches (x, y) when it is iterated over, each time anew.
    Returns:
        x and y, (N, ...).
    Raises:
        DataError: examples differ in shape, are more than 4 GB, or are no (x, y).
        ConfigError: it is a generator or another iterator, which cannot be read again.
    """
    if hasattr(data, "__next__"):
        do = "pass a list of its batches, a data loader, or arrays"
        raise ConfigError(where, "a set that can be read again", do, data=arguments.shown(data))
    by_number = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    try:
        return _examples(where, data) if by_number else _batches(where, data)
    except XpnetError:
        raise
    except Exception as error:  # of the set's own code
        text = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise DataError.event(where, "the data could not be read", error=text) from error


def _examples(where: str, data: Any) -> tuple[np.ndarray, np.ndarray]:
    n, targets = len(data), []
    if not n:
        raise DataError(where, "at least one example", examples=0)
    out: np.ndarray | None = None
    turned = False
    for i in range(n):
        x, y = _pair(where, data[i], f"example {i}")
        x, turned = _image(where, x)
        if out is None:
            dtype = x.dtype if x.dtype == np.uint8 else np.dtype(np.float32)
            _check_size(where, n * x.size * dtype.itemsize)
            out = np.empty((n, *x.shape), dtype)
        if x.shape != out.shape[1:]:
            raise DataError(where, "examples of one shape", first=out.shape[1:], example=i, shape=x.shape)
        out[i] = x
        targets.append(y if isinstance(y, str | int | float) else _host_value(where, y))
    assert out is not None
    _say(where, turned)
    return out, _joined(where, targets)


def _batches(where: str, data: Any) -> tuple[np.ndarray, np.ndarray]:
    xs, ys, size, turned = [], [], 0, False
    for i, batch in enumerate(data):
        x, y = _pair(where, batch, f"batch {i}")
        is_torch = type(x).__module__.startswith("torch")
        x = np.array(host(where, x))
        if is_torch and _is_channels_first(x.shape[1:]):
            x, turned = np.moveaxis(x, 1, -1), True
        if not x.ndim or (xs and x.shape[1:] != xs[0].shape[1:]):
            raise DataError(where, "batches of examples of one shape", batch=i, shape=x.shape)
        size += x.nbytes
        _check_size(where, size)
        xs.append(x)
        ys.append(np.array(host(where, y)))
    if not xs:
        raise DataError(where, "at least one batch", batches=0)
    _say(where, turned)
    return np.concatenate(xs), np.concatenate(ys)


def _pair(where: str, item: Any, what: str) -> tuple[Any, Any]:
    """Return x and y of an example or a batch."""
    if isinstance(item, Mapping):
        found = [next((key for key in keys if key in item), None) for keys in (_INPUTS, _TARGETS)]
        if None not in found:
            return item[found[0]], item[found[1]]
        rule = "an input (image, pixel_values, x) and a target (label, y, target) by name"
        raise DataError(where, rule, place=what, names=", ".join(map(str, item)))
    if isinstance(item, list | tuple) and len(item) == 2:
        return item[0], item[1]
    got = f"{len(item)} values" if isinstance(item, list | tuple) else arguments.shown(item)
    raise DataError(where, "pairs (x, y)", place=what, value=got)


def _image(where: str, x: Any) -> tuple[np.ndarray, bool]:
    """Return one example as an array, and whether its channels were first, as those of torch are."""
    mode = getattr(x, "mode", None)
    if isinstance(mode, str) and hasattr(x, "convert"):  # an image of PIL: palettes and others as colours
        return np.asarray(x if mode in ("L", "RGB") else x.convert("RGB")), False
    found = _host_value(where, x)
    if type(x).__module__.startswith("torch") and _is_channels_first(found.shape):
        return np.moveaxis(found, 0, -1), True
    return found, False


def _host_value(where: str, value: Any) -> np.ndarray:
    """Return a number or an array of any library on the host."""
    return np.asarray(value) if np.isscalar(value) or not getattr(value, "shape", (1,)) else host(where, value)


def _is_channels_first(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[0] in (1, 3) and shape[2] > 4


def _say(where: str, turned: bool) -> None:
    if turned:
        _log.info("%s: images (C, H, W) of torch are turned to (H, W, C)", where)


def _joined(where: str, targets: list[Any]) -> np.ndarray:
    try:
        return np.asarray(targets)
    except ValueError as error:
        raise DataError(where, "targets of one shape", error=error) from error


def _check_size(where: str, size: int) -> None:
    if size > _MOST:
        do = "pass a smaller set, or a Dataset of a data.Lazy, which is read on the way"
        raise DataError(where, f"at most {_MOST >> 30} GB of examples", do, GB=round(size / (1 << 30), 1))
