"""Sets of other libraries, read into memory: what gives examples (x, y) one by one, or batches of them.

    read_set("fit", torch_dataset), read_set("fit", hugging_face_dataset), read_set("fit", data_loader) -> x, y

Each is read once, generators too, so random transforms are drawn once; augment= draws them anew.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.data import several
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


def read_set(where: str, data: Any, steps: int | None = None) -> tuple[Any, np.ndarray]:
    """Read all examples.

    Args:
        where: for messages.
        data: has a length and gives examples by number: (x, y), or a dictionary with an image (or pixel_values, x) and
            a label (or y, target); or gives batches (x, y) when it is iterated over, as data loaders and generators do.
            x may be a tuple or a dictionary of arrays, which are several inputs.
        steps: how many batches are taken; None: all there are, of one that ends.
    Returns:
        x and y, (N, ...).
    Raises:
        DataError: examples differ in shape, are more than 4 GB, or are no (x, y); or there are fewer batches than
            steps.
    """
    by_number = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    if by_number and steps is not None:
        raise ConfigError(where, "batches, of which steps are taken", "omit steps", data=arguments.shown(data))
    try:
        return _examples(where, data) if by_number else _batches(where, data, steps)
    except XpnetError:
        raise
    except Exception as error:  # of the set's own code
        text = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise DataError.event(where, "the data could not be read", error=text) from error


def _examples(where: str, data: Any) -> tuple[Any, np.ndarray]:
    n, targets = len(data), []
    if not n:
        raise DataError(where, "at least one example", examples=0)
    first: Any = None
    out: list[np.ndarray] = []
    turned = False
    for i in range(n):
        x, y = _pair(where, data[i], f"example {i}")
        found = [_image(where, each) for each in several.each(x)]
        turned = turned or any(each for _, each in found)
        if first is None:
            first = x
            dtypes = [a.dtype if a.dtype == np.uint8 else np.dtype(np.float32) for a, _ in found]
            _check_size(where, n * sum(a.size * t.itemsize for (a, _), t in zip(found, dtypes, strict=True)))
            out = [np.empty((n, *a.shape), t) for (a, _), t in zip(found, dtypes, strict=True)]
        shape = several.like(x, [a.shape for a, _ in found])
        _check_like(where, first, several.like(first, [a.shape[1:] for a in out]), x, shape, example=i)
        for array, (a, _) in zip(out, found, strict=True):
            array[i] = a
        targets.append(y if isinstance(y, str | int | float) else _host_value(where, y))
    _say(where, turned)
    return several.like(first, out), _joined(where, targets)


def _batches(where: str, data: Any, steps: int | None) -> tuple[Any, np.ndarray]:
    xs: list[list[np.ndarray]] = []
    ys: list[np.ndarray] = []
    first, size, turned = None, 0, False
    for i, batch in enumerate(data if steps is None else islice(data, steps)):
        x, y = _pair(where, batch, f"batch {i}")
        found = [_batch(where, each) for each in several.each(x)]
        turned = turned or any(each for _, each in found)
        arrays, target = [a for a, _ in found], np.array(host(where, y))
        if first is None:
            first = x
        shapes = [several.like(x, [a.shape[1:] for a in each]) for each in ((xs or [arrays])[0], arrays)]
        _check_like(where, first, shapes[0], x, shapes[1], batch=i)
        if len({len(a) if a.ndim else -1 for a in (*arrays, target)}) != 1 or not target.ndim:
            shape = several.like(x, [a.shape for a in arrays])
            raise DataError(where, "batches of x (N, ...) and y (N, ...)", batch=i, x=shape, y=target.shape)
        if ys and (target.shape[1:] != ys[0].shape[1:] or target.dtype.kind != ys[0].dtype.kind):
            got = {"first": (ys[0].shape, ys[0].dtype), "batch": i, "targets": (target.shape, target.dtype)}
            got = {k: f"{v[1]} {v[0]}" if isinstance(v, tuple) else v for k, v in got.items()}
            raise DataError(where, "targets of one shape and kind", **got)
        size += sum(a.nbytes for a in arrays)
        _check_size(where, size)
        xs.append(arrays)
        ys.append(target)
    if not xs:
        do = "a generator is read once: make a new one" if hasattr(data, "__next__") else ""
        raise DataError(where, "at least one batch", do, batches=0)
    if steps is not None and len(xs) < steps:
        raise DataError(where, f"{steps} batches, as steps says", batches=len(xs))
    _say(where, turned)
    return several.like(first, [np.concatenate(each) for each in zip(*xs, strict=True)]), np.concatenate(ys)


def _check_like(where: str, first: Any, first_shape: Any, x: Any, shape: Any, **place: int) -> None:
    """Raise DataError unless x has the form and the shape of the first."""
    if several.form(x) != several.form(first) or shape != first_shape:
        raise DataError(where, "examples of one shape", first=first_shape, **place, shape=shape)


def _batch(where: str, x: Any) -> tuple[np.ndarray, bool]:
    """Return an array of a batch, and whether its channels were first."""
    found = np.array(host(where, x))
    if type(x).__module__.startswith("torch") and _is_channels_first(found.shape[1:]):
        return np.moveaxis(found, 1, -1), True
    return found, False


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
        do = "pass a smaller set, steps= of batches without an end, or a Dataset of a data.Lazy, read on the way"
        raise DataError(where, f"at most {_MOST >> 30} GB of examples", do, GB=round(size / (1 << 30), 1))
